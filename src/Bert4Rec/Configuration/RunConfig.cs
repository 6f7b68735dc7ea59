using System.Globalization;
using YamlDotNet.RepresentationModel;

namespace Bert4Rec.Configuration;

/// <summary>
/// The settings of a run: RecBole's YAML keys under C# names, checked, then immutable. <see cref="ConfigKeys"/> has the defaults.
/// </summary>
/// <param name="tree">Where each value was written.</param>
/// <param name="settings">The values, defaults included.</param>
/// <param name="read">Reads them, in the order of the properties: of two that are wrong, the first is told.</param>
/// <param name="data">Null until the data is known.</param>
internal sealed class RunConfig(ConfigTree tree, YamlMappingNode settings, ConfigReader read, DataShape? data)
{
    private const string SasRec = "SASRec", AdamW = "adamw";

    private static readonly string[] s_models = ["BERT4Rec", SasRec];

    private readonly List<string> _warnings = read.Warnings;

    /// <summary>Exactly RecBole's way of training, instead of ours: every prefix a sample of its own.</summary>
    public bool RecboleCompatible { get; } = read.Flag("recbole_compatible");

    /// <summary>BERT4Rec or SASRec: RecBole's models, whose defaults a config has.</summary>
    public string Model { get; } = read.OneOf(read["model"], "model", s_models);

    /// <summary>Cloze, too, as long as <see cref="ComparesObjectives"/>.</summary>
    public Objective Objective { get; } = ObjectiveNames.Read(read);

    /// <summary>objective: auto, which trains nothing before one of both is chosen.</summary>
    public bool ComparesObjectives { get; } = ObjectiveNames.IsAuto(read);

    /// <summary>Whether a dense layer with gelu and layer norm stands before the item table, and a bias behind it.</summary>
    public bool OutputHead { get; } = read.Flag("output_head");

    /// <summary>Folder of datasets, relative to the current directory; or the dataset's own folder.</summary>
    public string DataPath { get; } = read.Text("data_path");

    /// <summary>The log that the dataset is made from; null where it starts from atomic files.</summary>
    public EventLogSettings? EventLog { get; } = read.IsSet("event_log") ? EventLogSettings.Read(read, "event_log") : null;

    private readonly string? _dataset = read.OptionalFileName("dataset");

    /// <summary>
    /// Name of the dataset: its files are DataPath/Dataset/Dataset.inter and so on. Null when none was named, and no log to name it after.
    /// </summary>
    public string? Dataset => _dataset ?? EventLog?.Name;

    public char FieldSeparator { get; } = read.Separator("field_separator");

    public char SequenceSeparator { get; } = read.Separator("seq_separator");

    public string UserIdField { get; } = read.Text("USER_ID_FIELD");

    public string ItemIdField { get; } = read.Text("ITEM_ID_FIELD");

    public string TimeField { get; } = read.Text("TIME_FIELD");

    /// <summary>
    /// Columns to load by file suffix (inter, user, item), null for all of a file's; a file not listed is not read. Null: all files.
    /// </summary>
    public IReadOnlyDictionary<string, IReadOnlyList<string>?>? LoadColumns { get; } = ReadLoadColumns(read);

    /// <summary>val_interval: which values of a field keep a row.</summary>
    public IReadOnlyList<ValueFilter> ValueFilters { get; } = ReadValueFilters(read);

    /// <summary>Drop interactions whose user or item is in no row of a loaded .user or .item file.</summary>
    public bool FilterByUserOrItem { get; } = read.Flag("filter_inter_by_user_or_item");

    /// <summary>How many interactions a user who stays has.</summary>
    public Intervals? UserInteractionInterval { get; } = read.OptionalIntervals("user_inter_num_interval");

    /// <summary>How many interactions an item that stays has.</summary>
    public Intervals? ItemInteractionInterval { get; } = read.OptionalIntervals("item_inter_num_interval");

    /// <summary>Events a history has at most.</summary>
    public int MaximumItemListLength { get; } = read.Whole("MAX_ITEM_LIST_LENGTH", 2, ushort.MaxValue);

    public int HiddenSize { get; } = read.Whole("hidden_size", 1, 1 << 16);

    public int InnerSize { get; } = read.Whole("inner_size", 1, 1 << 18);

    public int Layers { get; } = read.Whole("n_layers", 1, 1000);

    public int Heads { get; } = read.Whole("n_heads", 1, 1000);

    public double HiddenDropoutProbability { get; } = read.DropoutProbability("hidden_dropout_prob");

    public double AttentionDropoutProbability { get; } = read.DropoutProbability("attn_dropout_prob");

    public double LayerNormEpsilon { get; } = read.Positive("layer_norm_eps");

    /// <summary>norm_first (ours): layer norm before each sublayer and after the last one, instead of after each residual.</summary>
    public bool NormFirst { get; } = read.Flag("norm_first");

    /// <summary>position_order (ours).</summary>
    public PositionOrder PositionOrder { get; } = read.OneOf<PositionOrder>("position_order");

    /// <summary>initializer (ours).</summary>
    public Initializer Initializer { get; } = read.OneOf<Initializer>("initializer");

    /// <summary>Standard deviation of the initial weights, where <see cref="Initializer"/> is Normal.</summary>
    public double InitializerRange { get; } = read.Positive("initializer_range");

    /// <summary>
    /// softmax_samples (ours): items drawn for each batch, which with its own stand for the catalogue in the loss; null, written 0, for the
    /// whole catalogue.
    /// </summary>
    public int? SoftmaxSamples { get; } = read.Whole("softmax_samples", 0) is > 0 and int samples ? samples : null;

    public double MaskRatio { get; } = read.Real("mask_ratio", "a number above 0 and at most 1", value => (float)value > 0 && value <= 1);

    /// <summary>ft_ratio: share of batches (RecBole) or sequences (ours) that mask the last event only.</summary>
    public double FineTuningRatio { get; } = read.Probability("ft_ratio");

    public int Seed { get; } = read.Whole("seed", 0);

    public int Epochs { get; } = read.Whole("epochs", 1);

    public int TrainBatchSize { get; } = read.Whole("train_batch_size", 1);

    /// <summary>Whether weight decay stays out of the gradient: learner adamw.</summary>
    public bool DecoupledDecay { get; } = read.OneOf(read["learner"], "learner", "adam", AdamW) == AdamW;

    /// <summary>adam_beta1 (ours): decay of the running mean of the gradient.</summary>
    public double AdamBeta1 { get; } = ReadBeta(read, "adam_beta1");

    /// <summary>adam_beta2 (ours): decay of the running mean of its square.</summary>
    public double AdamBeta2 { get; } = ReadBeta(read, "adam_beta2");

    /// <summary>The highest rate, where it changes.</summary>
    public double LearningRate { get; } = read.Positive("learning_rate");

    /// <summary>lr_schedule (ours): the course of the rate over <see cref="Epochs"/>.</summary>
    public LearningRateSchedule LearningRateSchedule { get; } = read.OneOf<LearningRateSchedule>("lr_schedule");

    /// <summary>warmup_ratio (ours): share of the steps of <see cref="Epochs"/> in which the rate rises evenly from 0.</summary>
    public double WarmupRatio { get; } = read.Probability("warmup_ratio");

    public double WeightDecay { get; } =
        read.Real("weight_decay", "a number of at least 0", value => value >= 0 && float.IsFinite((float)value));

    /// <summary>Largest L2 norm of the whole gradient, or null for no clipping.</summary>
    public double? ClipGradNorm { get; } = ReadClipGradNorm(read);

    /// <summary>Epochs from one validation to the next.</summary>
    public int EvalStep { get; } = read.Whole("eval_step", 1);

    /// <summary>Validations without a new best after which training stops.</summary>
    public int StoppingStep { get; } = read.Whole("stopping_step", 0);

    /// <summary>By which share of it a validation must be better for the count of <see cref="StoppingStep"/> to begin anew.</summary>
    public double StoppingMargin { get; } =
        read.Real("stopping_margin", "a share of at least 0 and below 1", value => value is >= 0 and < 1);

    /// <summary>
    /// average_decay (ours): the model is a running mean of the parameters after each epoch, with this weight for the past; 0 for none.
    /// </summary>
    public double AverageDecay { get; } = read.Real("average_decay", "a number of at least 0 and below 1", value => value is >= 0 and < 1);

    /// <summary>
    /// refit (ours): train the model that recommends anew, on all events, for as many epochs as validation found to be best.
    /// </summary>
    public bool Refit { get; } = read.Flag("refit");

    /// <summary>
    /// blend (ours): what followed what in the training part, and the history's own items, count in the score as much as validation says.
    /// </summary>
    public bool Blend { get; } = read.Flag("blend");

    public EvalArgs EvalArgs { get; } = ReadEvalArgs(read);

    /// <summary>exclude_seen (ours): evaluation leaves the items of a history out of its ranking.</summary>
    public bool ExcludeSeen { get; } = read.Flag("exclude_seen");

    public int EvalBatchSize { get; } = read.Whole("eval_batch_size", 1);

    public IReadOnlyList<Metric> Metrics { get; } = read.List(read["metrics"], "metrics", (node, key) =>
        MetricNames.TryParse(read.Text(node, key), out var metric)
            ? metric
            : throw read.WrongValue(node, key, string.Join(", ", Enum.GetNames<Metric>())));

    public IReadOnlyList<int> TopK { get; } = read.List(read["topk"], "topk", (node, key) => read.Whole(node, key, 1));

    private readonly (Metric Kind, int Cutoff) _valid = ReadValidMetric(read);

    /// <summary>"MRR@10": the metric that chooses the best model.</summary>
    public string ValidMetric => ValidMetricCutoff > 0 ? $"{ValidMetricKind}@{ValidMetricCutoff}" : $"{ValidMetricKind}";

    public Metric ValidMetricKind => _valid.Kind;

    /// <summary>k of the valid metric, 0 for GAUC.</summary>
    public int ValidMetricCutoff => _valid.Cutoff;

    private readonly bool? _bigger = read.IsSet("valid_metric_bigger") ? read.Flag("valid_metric_bigger") : null;

    public bool ValidMetricBigger => _bigger ?? ValidMetricKind.BiggerIsBetter();

    public int MetricDecimalPlace { get; } = read.Whole("metric_decimal_place", 0, 15);

    /// <summary>What was read but has no effect, each with its place and the key meant.</summary>
    public IReadOnlyList<string> Warnings => _warnings;

    /// <summary>Reads YAML files and "key=value" overrides, later ones over earlier ones.</summary>
    /// <exception cref="InputException">A file cannot be read, a value is wrong, or values contradict each other.</exception>
    public static RunConfig Load(IReadOnlyList<string> files, IReadOnlyList<string> overrides)
    {
        var tree = new ConfigTree();
        foreach (string file in files)
            tree.AddFile(file);
        return Load(tree, overrides);
    }

    /// <summary>The settings that <see cref="ToYaml"/> wrote, and others over them.</summary>
    /// <param name="path">The file that it stands in, for errors.</param>
    internal static RunConfig Parse(string yaml, string path, IReadOnlyList<string> overrides)
    {
        var tree = new ConfigTree();
        tree.AddText(yaml, path);
        return Load(tree, overrides);
    }

    private static RunConfig Load(ConfigTree tree, IReadOnlyList<string> overrides)
    {
        foreach (string setting in overrides)
            tree.AddOverride(setting);
        RunConfig config = Of(tree);
        config.WarnOfKeysWithoutEffect();
        return config;
    }

    private static RunConfig Of(ConfigTree tree, DataShape? data = null)
    {
        YamlMappingNode settings = Resolve(tree, data ?? default);
        var read = new ConfigReader(tree, settings);
        var config = new RunConfig(tree, settings, read, data);
        config.CheckContradictions(read);
        return config;
    }

    /// <summary>The same settings, but for some: "key=value" as on the command line.</summary>
    public RunConfig With(params IReadOnlyList<string> overrides)
    {
        var changed = new ConfigTree(tree, settings);
        foreach (string setting in overrides)
            changed.AddOverride(setting);
        return Of(changed, data);
    }

    /// <summary>
    /// The same settings and others over them, as if all had been given at once: what nobody gave takes the default that goes with them,
    /// where <see cref="With"/> keeps the one it has.
    /// </summary>
    /// <param name="origin">Where an override stands, for errors; null for the command line.</param>
    /// <param name="known">What the data is like, if that is known only now.</param>
    /// <exception cref="InputException">A value is wrong, or values contradict each other.</exception>
    internal RunConfig WithFreshDefaults(IEnumerable<string> overrides, Func<string, string?>? origin = null, DataShape? known = null)
    {
        // The names of columns are the data's, though nobody gave them.
        var given = new YamlMappingNode(settings.Children.Where(setting =>
            tree.Where(setting.Value) != ConfigTree.Default
            || ConfigKeys.All.Any(key => key.Name == ((YamlScalarNode)setting.Key).Value && key.EventLogDefault is not null)));
        var changed = new ConfigTree(tree, given);
        foreach (string setting in overrides)
            changed.AddOverride(setting, origin?.Invoke(setting));
        return Of(changed, known ?? data);
    }

    /// <summary>Whether some defaults depend on the data, which is not known yet.</summary>
    internal bool AwaitsData => data is null
        && (LeftToData(Objective).Any() || (LeavesObjectiveOpen() && Enum.GetValues<Objective>().Any(other => LeftToData(other).Any())));

    private IEnumerable<ConfigKey> LeftToData(Objective objective) => RecboleCompatible || Model == SasRec
        ? []
        : ConfigKeys.All.Where(key => key.IsLeftToData(objective == Objective.NextItem) && !IsGiven(key.Name));

    /// <summary>The same settings, with the defaults that go with so much data, padding left out.</summary>
    internal RunConfig ForData(long events, int items, int users) =>
        AwaitsData ? WithFreshDefaults([], known: DataShape.Of(events, items, users)) : this;

    /// <summary>Says which defaults are those of sparse data, of long histories or of a large catalogue; null where none is.</summary>
    internal string? DataNote()
    {
        if (data is not { } shape)
            return null;
        List<string> notes = [];
        if (shape.Density != Density.Dense)
        {
            bool isSmall = shape.Density == Density.Small && Objective == Objective.Cloze;
            AddNote(
                $"fewer than {DataShape.SparseBelow} events an item{(isSmall ? $", and than {DataShape.SmallBelow:N0} in all" : "")}",
                key => key.LargeCatalogue is null && (key.LongHistories is null || Objective == Objective.Cloze));
        }
        if (shape.HasLongHistories)
            AddNote($"at least {DataShape.LongHistories} events a user", key => key.LongHistories is not null);
        if (shape.HasLargeCatalogue)
            AddNote($"at least {DataShape.LargeCatalogue:N0} items", key => key.LargeCatalogue is not null);
        return notes.Count == 0 ? null : string.Join("; ", notes);

        void AddNote(string reason, Func<ConfigKey, bool> isOfIt)
        {
            string[] chosen = [.. LeftToData(Objective).Where(isOfIt).Select(key => $"{key.Name} {settings[key.Name]}")];
            if (chosen.Length > 0)
                notes.Add($"{reason}: by default {string.Join(", ", chosen)}");
        }
    }

    /// <summary>Whether a key was written somewhere, and has not its default.</summary>
    public bool IsGiven(string key) => Where(key) != ConfigTree.Default;

    /// <summary>Whether the data may choose the objective: it is auto, or neither it nor the model was given.</summary>
    public bool LeavesObjectiveOpen() =>
        ComparesObjectives || (!RecboleCompatible && !IsGiven("model") && !IsGiven("objective"));

    /// <summary>Refuses objective: auto.</summary>
    /// <exception cref="InputException">The objective is not chosen yet.</exception>
    public void RequireObjective()
    {
        if (ComparesObjectives)
        {
            throw new InputException(
                $"{Where("objective")}: objective auto compares both objectives, which only run and tune do; name cloze or next_item");
        }
    }

    /// <summary>Every setting, defaults included, as YAML that reads back to the same config.</summary>
    /// <param name="keys">Of the settings these only; null for all.</param>
    public string ToYaml(IReadOnlyCollection<string>? keys = null)
    {
        var writer = new StringWriter { NewLine = "\n" };
        var written = keys is null
            ? settings
            : new YamlMappingNode(settings.Children.Where(setting => keys.Contains(((YamlScalarNode)setting.Key).Value!)));
        new YamlStream(new YamlDocument(written)).Save(writer, assignAnchors: false);
        string text = writer.ToString();
        return text.EndsWith("...\n", StringComparison.Ordinal) ? text[..^4] : text;
    }

    /// <summary>"key=value" of what the columns are called in atomic files that were made from an event log.</summary>
    internal static IReadOnlyList<string> ColumnsOfEventLogs { get; } =
        [.. ConfigKeys.All.Where(key => key.EventLogDefault is not null).Select(key => $"{key.Name}={key.EventLogDefault}")];

    /// <summary>Which events there are depends on these, wherever the files lie.</summary>
    internal static IReadOnlyList<string> DataKeys { get; } =
        ["dataset", "val_interval", "filter_inter_by_user_or_item", "user_inter_num_interval", "item_inter_num_interval"];

    /// <summary>A key's value as text that is the same for the same value, however it was written.</summary>
    internal string ValueOf(string key)
    {
        return Text(settings[key]);

        static string Text(YamlNode node) => node switch
        {
            _ when ConfigTree.IsNull(node) => "~",
            YamlScalarNode scalar when bool.TryParse(scalar.Value, out bool flag) => flag ? "true" : "false",
            YamlScalarNode scalar => scalar.Value!.Replace(" ", ""),
            YamlSequenceNode list => $"[{string.Join(',', list.Select(Text))}]",
            YamlMappingNode mapping => $"{{{string.Join(", ", mapping.Children.Select(Entry))}}}",
            _ => node.ToString(),
        };

        static string Entry(KeyValuePair<YamlNode, YamlNode> entry) => $"{Text(entry.Key)}: {Text(entry.Value)}";
    }

    /// <summary>A text as YAML, for "key=value": it stands for exactly this text.</summary>
    public static string Quoted(string text) => $"'{text.Replace("'", "''", StringComparison.Ordinal)}'";

    /// <summary>Where a key's value was written, or what it says of one name, for messages: "FILE:LINE".</summary>
    public string Where(string key, string? name = null)
    {
        var value = settings[key];
        return tree.Where(
            name is not null && value is YamlMappingNode mapping && mapping.Children.TryGetValue(name, out var inner) ? inner : value);
    }

    /// <summary>Whether the file with this suffix ("item") is wanted.</summary>
    public bool LoadsFile(string suffix) => LoadColumns is null || LoadColumns.ContainsKey(suffix);

    /// <summary>The defaults depend on a few keys, which are read before them.</summary>
    private static YamlMappingNode Resolve(ConfigTree tree, DataShape data)
    {
        var read = new ConfigReader(tree, tree.Resolve(default));
        var kind = new ConfigKind(
            read.Flag("recbole_compatible"), read.OneOf(read["model"], "model", s_models) == SasRec, PredictsNext: false, data);
        bool predictsNext = ObjectiveNames.Read(new ConfigReader(tree, tree.Resolve(kind))) == Objective.NextItem;
        return tree.Resolve(kind with { PredictsNext = predictsNext });
    }

    private static double ReadBeta(ConfigReader read, string key) =>
        read.Real(key, "a number of at least 0 and below 1", value => value >= 0 && (float)value < 1);

    private static double? ReadClipGradNorm(ConfigReader read)
    {
        const string Key = "clip_grad_norm";
        const string Wanted = "a number above 0 or {max_norm: 5, norm_type: 2}";
        if (!read.IsSet(Key))
            return null;
        var node = read[Key];
        if (node is YamlMappingNode mapping)
        {
            foreach (var (name, value) in mapping.Children)
            {
                if (read.OneOf(name, $"a key of {Key}", "max_norm", "norm_type") == "norm_type")
                    read.Real(value, $"{Key}.norm_type", "2 (the L2 norm, the only one there is)", norm => norm == 2);
            }
            if (!mapping.Children.TryGetValue("max_norm", out node))
                throw read.WrongValue(mapping, Key, Wanted);
        }
        return read.Real(node, Key, Wanted, norm => (float)norm > 0 && float.IsFinite((float)norm));
    }

    private static List<ValueFilter> ReadValueFilters(ConfigReader read)
    {
        const string Key = "val_interval";
        var filters = new List<ValueFilter>();
        if (!read.IsSet(Key))
            return filters;
        foreach (var (name, value) in read.Mapping(read[Key], Key, "a mapping like {rating: \"[3,inf)\"}").Children)
        {
            string field = read.Text(name, $"a field of {Key}");
            if (ConfigTree.IsNull(value))
                continue;
            var tokens = value is YamlSequenceNode list ? read.List(list, $"{Key}.{field}", read.Text) : null;
            var intervals = ConfigReader.TryReadIntervals(value);
            if (tokens is null && intervals is null)
                throw read.WrongValue(value, $"{Key}.{field}", "an interval like \"[3,inf)\", in quotes, or a list of tokens");
            filters.Add(new ValueFilter(field, intervals, tokens));
        }
        return filters;
    }

    private static EvalArgs ReadEvalArgs(ConfigReader read)
    {
        const string Key = "eval_args";
        var args = read.Mapping(read[Key], Key, "a mapping of split, group_by, order and mode");
        foreach (var name in args.Children.Keys)
            read.OneOf(name, $"a key of {Key}", "split", "group_by", "order", "mode");
        read.OneOf(args["group_by"], $"{Key}.group_by", "user");
        read.Only(args["order"], $"{Key}.order", "TO", "by time: what comes next has no meaning in another order");
        var (valid, test) = ReadModes(read, args["mode"]);
        return new EvalArgs(ReadSplit(read, args["split"]), valid, test);
    }

    private static SplitRule ReadSplit(ConfigReader read, YamlNode node)
    {
        const string Key = "eval_args.split";
        const string Wanted = "{LS: valid_and_test} or {RS: [8, 1, 1]}";
        var split = read.Mapping(node, Key, Wanted);
        if (split.Children.Count != 1)
            throw read.WrongValue(node, Key, $"one of {Wanted}");
        var (name, value) = split.Children[0];
        if (read.OneOf(name, Key, "LS", "RS") == "LS")
        {
            string parts = read.OneOf(value, $"{Key}.LS", "valid_and_test", "valid_only", "test_only");
            return new LeaveOneOut(parts != "test_only", parts != "valid_only");
        }
        const string Shares = "three shares like [8, 1, 1], of train, valid and test, the first above 0";
        if (value is not YamlSequenceNode { Children.Count: 3 } list)
            throw read.WrongValue(value, $"{Key}.RS", Shares);
        double[] shares = [.. list.Select(share => read.Real(share, $"{Key}.RS", Shares, number => number >= 0))];
        double sum = shares.Sum();
        if (shares[0] <= 0 || !double.IsFinite(sum))
            throw read.WrongValue(value, $"{Key}.RS", Shares);
        return new RatioSplit(shares[0] / sum, shares[1] / sum, shares[2] / sum);
    }

    private static (EvaluationMode Valid, EvaluationMode Test) ReadModes(ConfigReader read, YamlNode node)
    {
        const string Key = "eval_args.mode";
        if (node is not YamlMappingNode modes)
            return (Mode(node), Mode(node));
        foreach (var name in modes.Children.Keys)
            read.OneOf(name, $"a key of {Key}", "valid", "test");
        EvaluationMode? valid = modes.Children.TryGetValue("valid", out var forValid) ? Mode(forValid) : null;
        EvaluationMode? test = modes.Children.TryGetValue("test", out var forTest) ? Mode(forTest) : null;
        return (valid ?? test ?? default(EvaluationMode), test ?? valid ?? default(EvaluationMode));

        EvaluationMode Mode(YamlNode value) =>
            EvaluationMode.TryParse((value as YamlScalarNode)?.Value ?? "", out var mode)
                ? mode
                : throw read.WrongValue(
                    value, Key, $"full, uniN or popN (N sampled items, from 1 to {EvaluationMode.MaximumDraws}, for example uni100)");
    }

    private static Dictionary<string, IReadOnlyList<string>?>? ReadLoadColumns(ConfigReader read)
    {
        const string Key = "load_col";
        if (!read.IsSet(Key))
            return null;
        var columns = new Dictionary<string, IReadOnlyList<string>?>();
        foreach (var (name, value) in read.Mapping(read[Key], Key, "a mapping like {inter: [user_id, item_id, timestamp]}").Children)
        {
            string suffix = read.Text(name, $"a key of {Key}");
            if (suffix is not ("inter" or "user" or "item"))
                read.Warn(name, $"{Key}.{suffix} has no effect: only .inter, .user and .item files are read");
            else
                columns[suffix] = IsAll(value) ? null : read.List(value, $"{Key}.{suffix}", read.Text);
        }
        if (!columns.ContainsKey("inter"))
            throw read.Error(Key, $"{Key} must list the columns of inter; '*' stands for all of them");
        return columns;

        static bool IsAll(YamlNode value) => ConfigTree.IsNull(value) || value is YamlScalarNode { Value: "*" };
    }

    private static (Metric Kind, int Cutoff) ReadValidMetric(ConfigReader read)
    {
        const string Key = "valid_metric";
        if (MetricNames.TryParse(read.Text(Key), out var metric, out int cutoff))
            return (metric, cutoff);
        string names = string.Join(", ", Enum.GetValues<Metric>().Where(MetricNames.HasCutoff));
        throw read.WrongValue(read[Key], Key, $"GAUC, or with @k one of {names}");
    }

    private void CheckContradictions(ConfigReader read)
    {
        read.Only(read["hidden_act"], "hidden_act", "gelu", "the only activation there is");
        read.Only(read["loss_type"], "loss_type", "CE", "cross entropy, the only loss there is");
        if (HiddenSize % Heads != 0)
        {
            int next = ((HiddenSize / Heads) + 1) * Heads;
            string heads = $"n_heads {Heads} ({Where("n_heads")})";
            throw read.Error("hidden_size", $"hidden_size {HiddenSize} is not divisible by {heads}; try {next}");
        }
        if (RecboleCompatible && RecBolesChoices(read).FirstOrDefault(choice => !choice.IsRecBoles) is { Key: not null } other)
            throw read.Error(other.Key, $"{other.Message}; leave it out, or recbole_compatible");
        if (UserIdField == ItemIdField)
            throw read.Error("ITEM_ID_FIELD", $"ITEM_ID_FIELD and USER_ID_FIELD are both '{UserIdField}'; name a column for each");
        if (TimeField == UserIdField || TimeField == ItemIdField)
            throw read.Error("TIME_FIELD", $"TIME_FIELD '{TimeField}' is the column of the ids; name the column of the time");
        if (FieldSeparator == SequenceSeparator)
            throw read.Error("seq_separator", "seq_separator and field_separator must differ");
        if (RecboleCompatible && Objective == Objective.Cloze && (int)(MaskRatio * MaximumItemListLength) < 1)
        {
            throw read.Error(
                "mask_ratio",
                $"mask_ratio {MaskRatio} of MAX_ITEM_LIST_LENGTH {MaximumItemListLength} is less than one event; raise it");
        }
    }

    /// <summary>What RecBole leaves no choice of: whether it is chosen as there, and what to say where it is not.</summary>
    private (string Key, bool IsRecBoles, string Message)[] RecBolesChoices(ConfigReader read)
    {
        string objective = ComparesObjectives ? "auto" : ObjectiveNames.Of(Objective);
        bool isSasRec = Model == SasRec;
        return
        [
            (
                "objective",
                !ComparesObjectives && (Objective == Objective.NextItem) == isSasRec,
                $"objective {objective}: RecBole's {Model} has another"),
            ("output_head", OutputHead != isSasRec, $"output_head: RecBole's {Model} has {(OutputHead ? "none" : "one")}"),
            Default("norm_first", !NormFirst),
            Default("position_order", PositionOrder == PositionOrder.Oldest),
            Default("initializer", Initializer == Initializer.Normal),
            Default("learner", !DecoupledDecay),
            Default("adam_beta1", AdamBeta1 == 0.9),
            Default("adam_beta2", AdamBeta2 == 0.999),
            Default("lr_schedule", LearningRateSchedule == LearningRateSchedule.Constant),
            Default("warmup_ratio", WarmupRatio == 0),
            ("blend", !Blend, "blend: RecBole's score is the model's alone"),
            ("softmax_samples", SoftmaxSamples is null, "softmax_samples: RecBole takes the loss over the whole catalogue"),
            ("exclude_seen", !ExcludeSeen, "exclude_seen: RecBole ranks seen items too"),
        ];

        (string Key, bool IsRecBoles, string Message) Default(string key, bool isRecBoles) =>
            (key, isRecBoles, $"{key} {read[key]}: RecBole's {Model} has {ConfigKeys.Get(key).Default}");
    }

    private void WarnOfKeysWithoutEffect()
    {
        foreach (var (name, value) in tree.Root.Children)
        {
            string key = ((YamlScalarNode)name).Value!;
            bool isNull = ConfigTree.IsNull(value);
            string? warning = key switch
            {
                _ when WhyIdle(key) is { } why =>
                    isNull || ConfigKeys.Get(key).IsDefault((value as YamlScalarNode)?.Value) ? null : $"{key} has no effect: {why}",
                _ when settings.Children.ContainsKey(key) || ConfigKeys.Silent.Contains(key) => null,
                _ when ConfigKeys.Misnamed.TryGetValue(key, out string? meant) =>
                    $"{key} has no effect on BERT4Rec; the key meant is {meant}",
                _ when ConfigKeys.Unsupported.TryGetValue(key, out string? instead) =>
                    isNull || ConfigReader.IsWord(value, "false") ? null : $"{key} has no effect here: {instead}",
                _ => $"unknown key '{key}' has no effect; the nearest known key is {ConfigKeys.Nearest(key)}",
            };
            if (warning is not null)
                _warnings.Add($"{tree.Where(name)}: {warning}");
        }
    }

    /// <summary>Why a key does nothing, or nothing beside the other settings; null where it does something.</summary>
    internal string? WhyIdle(string key) => key switch
    {
        "mask_ratio" or "ft_ratio" when Objective == Objective.NextItem && !ComparesObjectives => "only the cloze objective masks events",
        "initializer_range" when Initializer != Initializer.Normal => "the initializer has ranges of its own",
        _ => ConfigKeys.Idle.GetValueOrDefault(key),
    };
}

/// <summary>Keeps the rows whose value of a field lies in the intervals (a float field) or is one of the tokens (a token field).</summary>
/// <param name="Field">A column of .inter, .item or .user.</param>
/// <param name="Intervals">Null if the value was not written as one.</param>
/// <param name="Tokens">Null if the value was not written as a list.</param>
internal sealed record ValueFilter(string Field, Intervals? Intervals, IReadOnlyList<string>? Tokens)
{
    /// <summary>Whether a value as it stands in a file passes; none does not.</summary>
    public bool Passes(string? value) => Intervals is { } intervals
        ? double.TryParse(value, NumberStyles.Float, CultureInfo.InvariantCulture, out double number) && intervals.Contains(number)
        : value is not null && (Tokens?.Contains(value) ?? true);
}
