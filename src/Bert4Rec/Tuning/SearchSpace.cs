using System.Globalization;
using Bert4Rec.Configuration;
using Bert4Rec.Kernels;
using Bert4Rec.Serialization;
using YamlDotNet.RepresentationModel;

namespace Bert4Rec.Tuning;

/// <summary>
/// What a tuning draws from: for some keys of a config the values that may be taken, as YAML. <c>key: [a, b]</c> is a choice,
/// <c>key: {uniform: [a, b]}</c>, <c>{log_uniform: [a, b]}</c> and <c>{int: [a, b]}</c> are ranges, both ends included.
/// </summary>
internal sealed class SearchSpace
{
    private const int LongestFile = 1 << 20, MostMisses = 1000;
    private const uint DrawStream = 0x54554e45;
    private const string DefaultPath = "the default search space";
    private const string ObjectiveKey = "objective";
    private const string Uniform = "uniform", LogUniform = "log_uniform", Whole = "int";

    private const string ClozeDefault = """
        learning_rate: {log_uniform: [0.0003, 0.003]}
        hidden_dropout_prob: {uniform: [0.05, 0.5]}
        attn_dropout_prob: {uniform: [0.05, 0.5]}
        train_batch_size: [32, 64, 128, 256]
        hidden_size: [64, 128]
        n_layers: [1, 2, 3]
        mask_ratio: {uniform: [0.15, 0.6]}
        """;

    private const string NextItemDefault = """
        learning_rate: {log_uniform: [0.0003, 0.003]}
        hidden_dropout_prob: {uniform: [0.2, 0.7]}
        attn_dropout_prob: {uniform: [0.1, 0.7]}
        train_batch_size: [64, 128, 256, 512]
        hidden_size: [64, 128]
        n_layers: [1, 2, 3]
        """;

    /// <summary>What all trials must have in common: the data, what they are compared by, and how long they take.</summary>
    private static readonly HashSet<string> s_shared =
    [
        "recbole_compatible", "data_path", "dataset", "event_log", "field_separator", "seq_separator", "USER_ID_FIELD", "ITEM_ID_FIELD",
        "RATING_FIELD", "TIME_FIELD", "load_col", "val_interval", "filter_inter_by_user_or_item", "user_inter_num_interval",
        "item_inter_num_interval", "ITEM_LIST_LENGTH_FIELD", "LIST_SUFFIX", "seed", "epochs", "eval_step", "stopping_step", "eval_args",
        "eval_batch_size", "metrics", "topk", "valid_metric", "valid_metric_bigger", "metric_decimal_place", "exclude_seen", "refit",
        "blend",
    ];

    /// <summary>Keys that can be tuned and are whole numbers.</summary>
    private static readonly HashSet<string> s_whole =
    [
        "MAX_ITEM_LIST_LENGTH", "hidden_size", "inner_size", "n_layers", "n_heads", "softmax_samples", "train_batch_size",
    ];

    private readonly Dimension[] _dimensions;

    private SearchSpace(IEnumerable<Dimension> dimensions) => _dimensions = [.. dimensions];

    /// <summary>Reads a space.</summary>
    /// <exception cref="InputException">The file cannot be read; or is no search space, which is a wrong usage, told by its
    /// line.</exception>
    public static SearchSpace Load(string path)
    {
        if (Directory.Exists(path))
            throw new InputException($"{path}: a folder; give a YAML file with what to draw from");
        string text = InputFile.ReadText(path, LongestFile, "a search space");
        return AsUsage(() => new SearchSpace(Parse(text, path)));
    }

    /// <summary>
    /// Where no other is given: the learning rate, what keeps a model from overfitting, and its sizes. Choices that the other settings rule
    /// out are left out.
    /// </summary>
    public static SearchSpace Default(RunConfig config) => new(
        Parse(config.Objective == Objective.NextItem ? NextItemDefault : ClozeDefault, DefaultPath)
            .Select(dimension => dimension with { Values = [.. dimension.Values.Where(value => Accepts(config, dimension.Key, value))] })
            // Of a range both ends are wanted, or what is drawn between them may be refused, too.
            .Where(dimension => dimension.Values.Count > (dimension.OfRange is null ? 0 : 1)));

    /// <summary>Settings drawn at random, "key=value" each, no two draws the same; few where the space holds no more.</summary>
    /// <param name="seed">The same one draws the same.</param>
    public IEnumerable<IReadOnlyList<string>> Draw(ulong seed)
    {
        var drawn = new HashSet<string>();
        uint draw = 0;
        for (int misses = 0; misses < MostMisses; draw++)
        {
            var random = new PhiloxSequence(seed, DrawStream, draw);
            var settings = new string[_dimensions.Length];
            for (int i = 0; i < settings.Length; i++)
                settings[i] = Setting(_dimensions[i].Key, _dimensions[i].Draw(random.NextUnit()));
            if (drawn.Add(string.Join('\n', settings)))
            {
                misses = 0;
                yield return settings;
            }
            else
            {
                misses++;
            }
        }
    }

    /// <summary>Tries settings on a config, without training: the ends of every range, every choice, and what would be drawn.</summary>
    /// <param name="config">The settings that the drawn ones are put over.</param>
    /// <exception cref="InputException">A value is none that its key can have, or does not go with others: a wrong usage.</exception>
    public SpaceCheck Check(RunConfig config, int draws) => AsUsage(() =>
    {
        foreach (Dimension dimension in _dimensions)
        {
            foreach (string value in dimension.Values)
                Over(config, [Setting(dimension.Key, value)]);
        }
        IReadOnlyList<string>[] drawn = [.. Draw((ulong)config.Seed).Take(draws)];
        RunConfig[] tried = [.. drawn.Select(settings => Over(config, settings))];
        var idle = new Dictionary<string, string>();
        foreach (Dimension dimension in _dimensions)
        {
            if (tried.Length > 0 && tried.All(settings => settings.WhyIdle(dimension.Key) is not null))
                idle[dimension.Key] = $"{dimension.Where}: {dimension.Key} has no effect: {tried[0].WhyIdle(dimension.Key)}";
        }
        return new SpaceCheck(drawn.Length, idle);
    });

    /// <summary>Refuses the objective as a key, for it is chosen before anything is drawn.</summary>
    /// <exception cref="InputException">It is one: a wrong usage.</exception>
    public void RefuseObjective()
    {
        if (_dimensions.FirstOrDefault(dimension => dimension.Key == ObjectiveKey) is { } dimension)
        {
            throw new InputException(
                $"{dimension.Where}: both objectives are compared before anything is drawn; set objective, or leave it out of the space")
            { IsWrongUsage = true };
        }
    }

    /// <summary>A config with drawn settings over it.</summary>
    private RunConfig Over(RunConfig config, IReadOnlyList<string> settings) => config.WithFreshDefaults(settings, setting =>
        _dimensions.FirstOrDefault(dimension => setting.StartsWith(dimension.Key + "=", StringComparison.Ordinal))?.Where);

    /// <summary>A line a key.</summary>
    public override string ToString() => string.Join("; ", _dimensions.Select(dimension => dimension.Text));

    private static bool Accepts(RunConfig config, string key, string value)
    {
        try
        {
            config.WithFreshDefaults([Setting(key, value)]);
            return true;
        }
        catch (InputException)
        {
            return false;
        }
    }

    private static List<Dimension> Parse(string text, string path)
    {
        var tree = new ConfigTree();
        tree.AddText(text, path);
        var read = new ConfigReader(tree, tree.Root);
        var dimensions = new List<Dimension>();
        foreach (var (name, node) in tree.Root.Children)
        {
            string key = ((YamlScalarNode)name).Value!;
            if (!ConfigKeys.All.Any(known => known.Name == key) || ConfigKeys.Idle.ContainsKey(key))
            {
                throw tree.Error(
                    name, $"no such key to tune: '{Printable.Short(key)}'; the nearest known key is {ConfigKeys.Nearest(key)}");
            }
            if (s_shared.Contains(key))
            {
                throw tree.Error(
                    name, $"{key} cannot be tuned: all trials have the same data, epochs and evaluation; set it in the config");
            }
            dimensions.Add(node switch
            {
                YamlSequenceNode { Children.Count: 0 } => throw tree.Error(node, $"{key} is an empty list; write what to choose from"),
                YamlSequenceNode list => Choice(tree, read, key, list),
                YamlMappingNode { Children.Count: 1 } range => Range(tree, read, key, range),
                _ => throw read.WrongValue(
                    node, key, "a list of choices, or one of {uniform: [a, b]}, {log_uniform: [a, b]} and {int: [a, b]}"),
            });
        }
        return dimensions.Count > 0
            ? dimensions
            : throw InputException.At(path, 1, "no key to tune; write lines like 'learning_rate: {log_uniform: [0.0003, 0.003]}'");
    }

    private static Dimension Choice(ConfigTree tree, ConfigReader read, string key, YamlSequenceNode list)
    {
        // A trial trains with one of them: auto, and the default, would be a choice within the choice.
        if (key == ObjectiveKey)
        {
            foreach (YamlNode node in list)
                read.OneOf(node, "objective in a search space", ObjectiveNames.Of(Objective.Cloze), ObjectiveNames.Of(Objective.NextItem));
        }
        string[] values =
        [
            .. list.Select(node => node is YamlScalarNode scalar
                ? scalar.Style == YamlDotNet.Core.ScalarStyle.Plain ? scalar.Value! : RunConfig.Quoted(scalar.Value!)
                : throw tree.Error(node, $"{key}: a choice is a single value")),
        ];
        return new(key, tree.Where(list), values, $"{key}: [{string.Join(", ", values)}]", null);
    }

    private static Dimension Range(ConfigTree tree, ConfigReader read, string key, YamlMappingNode range)
    {
        var (name, ends) = range.Children[0];
        string kind = read.OneOf(name, $"the range of {key}", Uniform, LogUniform, Whole);
        string what = $"{key}: {kind}";
        if (ends is not YamlSequenceNode { Children.Count: 2 } pair)
            throw read.WrongValue(ends, what, "a list of two numbers, the smaller one first");
        double[] values = [.. pair.Select(End)];
        (double low, double high) = (values[0], values[1]);
        if (low >= high)
            throw tree.Error(ends, $"{what}: {Text(low)} is not below {Text(high)}; write the smaller number first");
        if (kind != Whole && s_whole.Contains(key))
            throw tree.Error(range, $"{key} is a whole number: write int in place of {kind}");
        string format = $"G{Digits(low, high, kind == LogUniform)}";
        Func<double, string> draw = kind switch
        {
            Whole => unit => Text(Math.Min(low + Math.Floor(unit * (high - low + 1)), high)),
            LogUniform => unit => Rounded(low * Math.Pow(high / low, unit)),
            _ => unit => Rounded(low + (unit * (high - low))),
        };
        return new(key, tree.Where(range), [Text(low), Text(high)], $"{key}: {{{kind}: [{Text(low)}, {Text(high)}]}}", draw);

        double End(YamlNode node) => kind switch
        {
            Whole => read.Whole(node, what, 0),
            LogUniform => read.Real(node, what, "a number above 0", value => value > 0),
            _ => read.Real(node, what, "a number", _ => true),
        };

        string Rounded(double value) => Text(Math.Clamp(
            double.Parse(value.ToString(format, CultureInfo.InvariantCulture), CultureInfo.InvariantCulture), low, high));
    }

    /// <summary>
    /// Digits that make some hundred steps of a range, or a thousand: as fine as anyone could tell apart, and read and copied more
    /// easily. Three, or more where the ends agree in some.
    /// </summary>
    private static int Digits(double low, double high, bool isLogarithmic)
    {
        const int Fewest = 3, Most = 15, FewestSteps = 200;
        const double Tolerance = 1e-9;
        double highest = Math.Max(Math.Abs(low), Math.Abs(high));
        double steps = isLogarithmic
            ? Place(high) - Place(low)
            : (high - low) / Math.Pow(10, Math.Ceiling(Math.Log10(highest)) - Fewest);
        return Math.Clamp(Fewest + (int)Math.Ceiling(Math.Log10(FewestSteps / steps) - Tolerance), Fewest, Most);

        // The numbers of three digits from 1 to a value: 900 from a power of ten to the next.
        static double Place(double value)
        {
            double power = Math.Floor(Math.Log10(value));
            return (900 * power) + (100 * (value / Math.Pow(10, power)));
        }
    }

    private static string Setting(string key, string value) => $"{key}={value}";

    private static string Text(double value) => value.ToString(CultureInfo.InvariantCulture);

    private static T AsUsage<T>(Func<T> read)
    {
        try
        {
            return read();
        }
        catch (InputException e)
        {
            throw new InputException(e.Message, e) { IsWrongUsage = true };
        }
    }

    /// <param name="Where">"FILE:LINE".</param>
    /// <param name="Values">The choices, or the ends of the range.</param>
    /// <param name="Text">All of it on a line.</param>
    /// <param name="OfRange">A value of the range for a number in [0, 1); null for choices.</param>
    private sealed record Dimension(string Key, string Where, IReadOnlyList<string> Values, string Text, Func<double, string>? OfRange)
    {
        public string Draw(double unit) => OfRange is null ? Values[(int)(unit * Values.Count)] : OfRange(unit);
    }
}

/// <summary>What trying a <see cref="SearchSpace"/> found.</summary>
/// <param name="Drawn">Different settings that were drawn.</param>
/// <param name="Idle">Why a key does nothing, whatever is drawn, with its place.</param>
internal sealed record SpaceCheck(int Drawn, IReadOnlyDictionary<string, string> Idle);
