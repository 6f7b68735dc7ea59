using System.Reflection;
using System.Text.Json;
using Bert4Rec.Configuration;

namespace Bert4Rec.Tests.Configuration;

public sealed class RunConfigTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    // A file as users of RecBole have it, some keys of which do nothing there either.
    private const string RecboleFile = """
        data_path: dataset/
        dataset: ecommerce
        USER_ID_FIELD: user_id
        ITEM_ID_FIELD: product_id
        RATING_FIELD: event_type
        TIME_FIELD: event_time
        load_col:
          inter: [user_id, product_id, event_time, event_type]
          user: [user_id, user_session]
          item: [product_id, category_id, category_code, brand, price]
        ITEM_LIST_LENGTH_FIELD: item_length
        LIST_SUFFIX: _list
        MAX_ITEM_LIST_LENGTH: 50
        embedding_size: 64
        hidden_size: 128
        inner_size: 256
        n_layers: 2
        dropout_prob: 0.3
        loss_type: 'CE'
        mask_ratio: 0.2
        hidden_act: 'gelu'
        epochs: 50
        train_batch_size: 4096
        learner: adam
        learning_rate: 0.001
        train_neg_sample_args: ~
        eval_steps: 1
        eval_args:
          group_by: user
          order: TO
          split: {'RS': [7,1,2]}
          mode: full
        metrics: ["Recall", "MRR", "NDCG", "Hit", "Precision", "GAUC",
          "ItemCoverage", "AveragePopularity", "GiniIndex", "ShannonEntropy", "TailPercentage"]
        topk: [1,5,10,15]
        valid_metric: MRR@10
        metric_decimal_place: 4
        eval_batch_size: 4096

        """;

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Defaults_of_the_compatible_mode_are_RecBoles()
    {
        var config = RunConfig.Load([], ["recbole_compatible=true"]);
        Assert.Equal(
            ("user_id", "item_id", "timestamp"),
            (config.UserIdField, config.ItemIdField, config.TimeField));
        Assert.Equal(('\t', ' ', 50), (config.FieldSeparator, config.SequenceSeparator, config.MaximumItemListLength));
        Assert.Equal((64, 256, 2, 2), (config.HiddenSize, config.InnerSize, config.Layers, config.Heads));
        Assert.Equal(
            (0.2, 0.2, 1e-12, 0.02),
            (config.HiddenDropoutProbability, config.AttentionDropoutProbability, config.LayerNormEpsilon, config.InitializerRange));
        Assert.Equal((0.2, 0.5), (config.MaskRatio, config.FineTuningRatio));
        Assert.Equal((300, 2048, 1e-3, 0.0), (config.Epochs, config.TrainBatchSize, config.LearningRate, config.WeightDecay));
        Assert.Equal(
            (4096, 1, 10, 2020, 4),
            (config.EvalBatchSize, config.EvalStep, config.StoppingStep, config.Seed, config.MetricDecimalPlace));
        Assert.Equal([Metric.Recall, Metric.MRR, Metric.NDCG, Metric.Hit, Metric.Precision], config.Metrics);
        Assert.Equal([10], config.TopK);
        Assert.Equal(
            ("MRR@10", Metric.MRR, 10, true),
            (config.ValidMetric, config.ValidMetricKind, config.ValidMetricCutoff, config.ValidMetricBigger));
        Assert.Equal(new EvalArgs(new LeaveOneOut(true, true), default, default), config.EvalArgs);
        Assert.Null(config.ClipGradNorm);
        Assert.Null(config.SoftmaxSamples);
        Assert.Null(config.LoadColumns);
        Assert.Null(config.Dataset);
        Assert.Empty(config.Warnings);
    }

    [Fact]
    public void The_experiments_file_loads_as_it_is_and_names_the_keys_that_were_meant()
    {
        string file = _folder.Write("experiment.yaml", RecboleFile);
        var config = RunConfig.Load([file], []);
        Assert.Equal(("ecommerce", "product_id", "event_time"), (config.Dataset, config.ItemIdField, config.TimeField));
        Assert.Equal((128, 50, 4096), (config.HiddenSize, config.Epochs, config.TrainBatchSize));
        Assert.Equal(new RatioSplit(0.7, 0.1, 0.2), config.EvalArgs.Split);
        Assert.Equal(11, config.Metrics.Count);
        Assert.Equal([1, 5, 10, 15], config.TopK);
        Assert.Equal(["product_id", "category_id", "category_code", "brand", "price"], config.LoadColumns!["item"]);
        Assert.Equal(
            [
                $"{file}:14: embedding_size has no effect on BERT4Rec; the key meant is hidden_size",
                $"{file}:18: dropout_prob has no effect on BERT4Rec; the key meant is hidden_dropout_prob and attn_dropout_prob",
                $"{file}:27: eval_steps has no effect on BERT4Rec; the key meant is eval_step",
            ],
            config.Warnings);
    }

    [Theory]
    [InlineData("ecommerce")]
    [InlineData("ml-100k")]
    [InlineData("sample")]
    public void Our_configs_load_without_a_warning(string name)
    {
        var config = RunConfig.Load([Path.Combine(TestFiles.RepositoryRoot, "configs", name + ".yaml")], []);
        Assert.Equal(name, config.Dataset);
        Assert.Empty(config.Warnings);
    }

    /// <summary>RecBole updates its dictionary with each file, and fills up eval_args alone with defaults.</summary>
    [Fact]
    public void A_later_value_replaces_the_whole_earlier_one()
    {
        string first = _folder.Write("first.yaml", "epochs: 5\nhidden_size: 32\neval_args: {split: {RS: [8, 1, 1]}, mode: uni100}\n"
            + "val_interval: {rating: '[3,inf)'}\nload_col: {inter: [a, b], item: [b]}\n");
        string second = _folder.Write("second.yaml", "hidden_size: 16\neval_args:\n  split: {LS: test_only}\n"
            + "val_interval: {year: '(1990,2000]'}\n");
        var config = RunConfig.Load([first, second], ["topk=[5,10]", "epochs=7", "learning_rate=1e-3", "load_col={inter: [b]}"]);
        Assert.Equal((7, 16, 1e-3), (config.Epochs, config.HiddenSize, config.LearningRate));
        Assert.Equal([5, 10], config.TopK);
        Assert.Equal(new EvalArgs(new LeaveOneOut(false, true), default, default), config.EvalArgs);
        Assert.Equal(["year"], config.ValueFilters.Select(filter => filter.Field));
        Assert.Equal(["inter"], config.LoadColumns!.Keys);
        Assert.Equal(["b"], config.LoadColumns["inter"]);
    }

    [Fact]
    public void Dots_reach_inside_a_value_and_leave_the_rest()
    {
        string file = _folder.Write("a.yaml", "eval_args: {split: {RS: [8, 1, 1]}, mode: uni100}\nval_interval: &v {rating: '[3,inf)'}\n"
            + "load_col:\n  inter: [a, b]\n  item: [b]\nunknown: *v\n");
        var config = RunConfig.Load(
            [file],
            [
                "eval_args.mode={valid: full, test: pop50}", "eval_args.split.LS=valid_only",
                "val_interval.year=(1990,2000]", "load_col.item=[c]",
            ]);
        Assert.Equal(new EvalArgs(new LeaveOneOut(true, false), default, new(CandidateSource.Popularity, 50)), config.EvalArgs);
        Assert.Equal(["rating", "year"], config.ValueFilters.Select(filter => filter.Field));
        Assert.Equal(["a", "b"], config.LoadColumns!["inter"]);
        Assert.Equal(["c"], config.LoadColumns["item"]);
        Assert.Equal((file + ":4", "--set load_col.item=[c]"), (config.Where("load_col", "inter"), config.Where("load_col", "item")));
        Assert.Equal(
            (file + ":2", "--set val_interval.year=(1990,2000]"),
            (config.Where("val_interval", "rating"), config.Where("val_interval", "year")));
    }

    [Fact]
    public void An_anchor_may_be_used_where_it_is_known_before()
    {
        var config = RunConfig.Load([_folder.Write("a.yaml", "topk: &k [5, 7]\nunknown: {a: *k, b: *k}\neval_batch_size: 3\n")], []);
        Assert.Equal([5, 7], config.TopK);
    }

    [Fact]
    public void Null_is_the_default_again()
    {
        string file = _folder.Write("a.yaml", "clip_grad_norm: 5\nepochs: 3\n");
        var config = RunConfig.Load([file], ["clip_grad_norm=~", "epochs="]);
        Assert.Null(config.ClipGradNorm);
        Assert.Equal(RunConfig.Load([], []).Epochs, config.Epochs);
    }

    [Theory]
    [InlineData("learning_rate=1e-3", 1e-3)]
    [InlineData("learning_rate=1E-3", 1e-3)]
    [InlineData("learning_rate=.5", 0.5)]
    [InlineData("learning_rate=1", 1.0)]
    public void Numbers_may_be_written_with_an_exponent(string setting, double expected) =>
        Assert.Equal(expected, RunConfig.Load([], [setting]).LearningRate);

    [Theory]
    [InlineData("clip_grad_norm=5", 5)]
    [InlineData("clip_grad_norm={max_norm: 2.5, norm_type: 2}", 2.5)]
    [InlineData("clip_grad_norm={max_norm: 1}", 1)]
    public void Clipping_is_a_number_or_RecBoles_mapping(string setting, double expected) =>
        Assert.Equal(expected, RunConfig.Load([], [setting]).ClipGradNorm);

    [Theory]
    [InlineData("field_separator=\"\\t\"", '\t')]
    [InlineData("field_separator='\\t'", '\t')]
    [InlineData("field_separator=','", ',')]
    public void Separators(string setting, char expected) =>
        Assert.Equal(expected, RunConfig.Load([], [setting]).FieldSeparator);

    [Fact]
    public void An_interval_needs_no_quotes_on_the_command_line()
    {
        string[] overrides = ["item_inter_num_interval=[10,inf)", "val_interval.rating=(3,inf)", "user_inter_num_interval=[2,4]"];
        var config = RunConfig.Load([], overrides);
        Assert.False(config.ItemInteractionInterval!.Contains(9));
        Assert.True(config.ItemInteractionInterval.Contains(10));
        Assert.False(config.ValueFilters[0].Intervals!.Contains(3));
        Assert.True(config.UserInteractionInterval!.Contains(4));
        Assert.False(config.UserInteractionInterval.Contains(5));
    }

    [Fact]
    public void Metrics_are_read_without_regard_to_case()
    {
        var config = RunConfig.Load([], ["metrics=[recall, ndcg, GINIINDEX]", "valid_metric=giniindex@5", "topk=5"]);
        Assert.Equal([Metric.Recall, Metric.NDCG, Metric.GiniIndex], config.Metrics);
        Assert.Equal(("GiniIndex@5", false), (config.ValidMetric, config.ValidMetricBigger));
        Assert.Equal([Metric.MAP], RunConfig.Load([], ["metrics=map"]).Metrics);
        Assert.Equal("GAUC", RunConfig.Load([], ["valid_metric=gauc"]).ValidMetric);
    }

    [Theory]
    [InlineData("hiden_size: 3", "1: unknown key 'hiden_size' has no effect; the nearest known key is hidden_size")]
    [InlineData("user_id_field: u", "1: unknown key 'user_id_field' has no effect; the nearest known key is USER_ID_FIELD")]
    [InlineData("train_neg_sample_args: {distribution: uniform}",
        "1: train_neg_sample_args has no effect here: the CE loss has no negative samples")]
    [InlineData("RATING_FIELD: stars",
        "1: RATING_FIELD has no effect: every interaction counts alike, whatever its rating; drop some with val_interval")]
    [InlineData("ITEM_LIST_LENGTH_FIELD: n",
        "1: ITEM_LIST_LENGTH_FIELD has no effect: histories are made here and have no column that one could name")]
    [InlineData("LIST_SUFFIX: [a]", "1: LIST_SUFFIX has no effect: histories are made here and have no column that one could name")]
    [InlineData("objective: next_item\nmask_ratio: 0.4", "2: mask_ratio has no effect: only the cloze objective masks events")]
    [InlineData("initializer: xavier\ninitializer_range: 1", "2: initializer_range has no effect: the initializer has ranges of its own")]
    [InlineData("load_col: {inter: '*', kg: [head]}", "1: load_col.kg has no effect: only .inter, .user and .item files are read")]
    public void Keys_without_effect_warn(string text, string warning)
    {
        string file = _folder.Write("a.yaml", text);
        Assert.Equal([$"{file}:{warning}"], RunConfig.Load([file], []).Warnings);
    }

    [Theory]
    [InlineData("train_neg_sample_args: ~")]
    [InlineData("rm_dup_inter: ~")]
    [InlineData("gpu_id: '0'\nuse_gpu: True\nstate: INFO\nworker: 0\nreproducibility: True\ncheckpoint_dir: saved\nshow_progress: True")]
    [InlineData("model: BERT4Rec")]
    [InlineData("objective: next_item\nmask_ratio: 0.2\nft_ratio: 0.5\ninitializer_range: 1")]
    [InlineData("objective: auto\nmask_ratio: 0.4")]
    [InlineData("")]
    [InlineData("# nothing but a comment\n")]
    public void Keys_without_consequence_are_silent(string text) =>
        Assert.Empty(RunConfig.Load([_folder.Write("a.yaml", text)], []).Warnings);

    [Theory]
    [InlineData("hidden_size: x", "1: hidden_size must be a whole number from 1 to 65536, not 'x'")]
    [InlineData("\nhidden_size: 0", "2: hidden_size must be a whole number from 1 to 65536, not '0'")]
    [InlineData("hidden_size: 64.5", "1: hidden_size must be a whole number")]
    [InlineData("hidden_size: [64]", "1: hidden_size must be a whole number from 1 to 65536, not a list")]
    [InlineData("n_heads: 3", "hidden_size 64 is not divisible by n_heads 3")]
    [InlineData("hidden_size: 65", "1: hidden_size 65 is not divisible by n_heads 2 (default); try 66")]
    [InlineData("hidden_dropout_prob: 1", "1: hidden_dropout_prob must be a probability of at least 0 and below 1, not '1'")]
    [InlineData("mask_ratio: 0", "1: mask_ratio must be a number above 0 and at most 1")]
    [InlineData("mask_ratio: .nan", "1: mask_ratio must be")]
    [InlineData("recbole_compatible: true\nmask_ratio: 0.01", "2: mask_ratio 0.01 of MAX_ITEM_LIST_LENGTH 50 is less than one event")]
    [InlineData("softmax_samples: -1", "1: softmax_samples must be a whole number of at least 0, not '-1'")]
    [InlineData("recbole_compatible: true\nsoftmax_samples: 9", "2: softmax_samples: RecBole takes the loss over the whole catalogue")]
    [InlineData("ft_ratio: 2", "1: ft_ratio must be a probability from 0 to 1")]
    [InlineData("learning_rate: 1e-60", "1: learning_rate must be a number above 0")]
    [InlineData("recbole_compatible: maybe", "1: recbole_compatible must be true or false, not 'maybe'")]
    [InlineData("hidden_act: relu", "1: hidden_act must be gelu (the only activation there is), not 'relu'")]
    [InlineData("loss_type: BPR", "1: loss_type must be CE (cross entropy, the only loss there is), not 'BPR'")]
    [InlineData("learner: sgd", "1: learner must be adam or adamw, not 'sgd'")]
    [InlineData("adam_beta1: 1", "1: adam_beta1 must be a number of at least 0 and below 1, not '1'")]
    [InlineData("adam_beta2: 0.99999999999", "1: adam_beta2 must be a number of at least 0 and below 1")]
    [InlineData("lr_schedule: step", "1: lr_schedule must be constant or linear or cosine, not 'step'")]
    [InlineData("warmup_ratio: 1.5", "1: warmup_ratio must be a probability from 0 to 1")]
    [InlineData("initializer: kaiming", "1: initializer must be normal or xavier, not 'kaiming'")]
    [InlineData("position_order: 0", "1: position_order must be oldest or newest, not '0'")]
    [InlineData("norm_first: before", "1: norm_first must be true or false, not 'before'")]
    [InlineData("metrics:\n- Recall\n- Recal", "3: metrics must be Recall, MRR, NDCG,")]
    [InlineData("metrics: []", "1: metrics must not be an empty list")]
    [InlineData("topk: [0]", "1: topk must be a whole number of at least 1, not '0'")]
    [InlineData("valid_metric: MRR", "1: valid_metric must be")]
    [InlineData("valid_metric: GAUC@5", "1: valid_metric must be")]
    [InlineData("valid_metric: Foo@10", "1: valid_metric must be")]
    [InlineData("eval_args: full", "1: eval_args must be a mapping of split, group_by, order and mode, not 'full'")]
    [InlineData("eval_args:\n  splt: {LS: test_only}", "2: a key of eval_args must be split or group_by or order or mode, not 'splt'")]
    [InlineData("eval_args:\n  order: RO", "2: eval_args.order must be TO")]
    [InlineData("eval_args:\n  group_by: none", "2: eval_args.group_by must be user, not 'none'")]
    [InlineData("eval_args:\n  split: {LS: last}", "2: eval_args.split.LS must be valid_and_test or valid_only or test_only, not 'last'")]
    [InlineData("eval_args:\n  split: {RS: [1, 2]}", "2: eval_args.split.RS must be three shares")]
    [InlineData("eval_args:\n  split: {RS: [0, 1, 1]}", "2: eval_args.split.RS must be three shares")]
    [InlineData("eval_args:\n  split: {RS: [1, -1, 1]}", "2: eval_args.split.RS must be three shares")]
    [InlineData("eval_args:\n  split: {RS: [8,1,1], LS: test_only}", "2: eval_args.split must be one of")]
    [InlineData("eval_args:\n  mode: uni", "2: eval_args.mode must be full, uniN or popN")]
    [InlineData("eval_args:\n  mode: {valid: labeled}", "2: eval_args.mode must be full, uniN or popN")]
    [InlineData("user_inter_num_interval: 5", "1: user_inter_num_interval must be an interval like \"[10,inf)\"")]
    [InlineData("user_inter_num_interval: '[5,1]'", "1: user_inter_num_interval must be an interval")]
    [InlineData("val_interval: '[3,inf)'", "1: val_interval must be a mapping")]
    [InlineData("val_interval:\n  rating: high", "2: val_interval.rating must be an interval like")]
    [InlineData("load_col: {item: [item_id]}", "1: load_col must list the columns of inter")]
    [InlineData("clip_grad_norm: {max_norm: 1, norm_type: 1}", "1: clip_grad_norm.norm_type must be 2")]
    [InlineData("clip_grad_norm: {norm_type: 2}",
        "1: clip_grad_norm must be a number above 0 or {max_norm: 5, norm_type: 2}, not a mapping")]
    [InlineData("clip_grad_norm: 0", "1: clip_grad_norm must be a number above 0")]
    [InlineData("field_separator: abc", "1: field_separator must be one ASCII character, a TAB or one that prints, not 'abc'")]
    [InlineData("seq_separator: \"\\t\"", "1: seq_separator and field_separator must differ")]
    [InlineData("ITEM_ID_FIELD: user_id", "1: ITEM_ID_FIELD and USER_ID_FIELD are both 'user_id'")]
    [InlineData("TIME_FIELD: item_id", "1: TIME_FIELD 'item_id' is the column of the ids")]
    [InlineData("a: 1\nb: [", "3: not YAML:")]
    [InlineData("epochs: 1\nepochs: 2", "2: not YAML: Duplicate key")]
    [InlineData("- epochs", "1: a config is a mapping of 'key: value' lines")]
    [InlineData("[a, b]: 1", "1: a key must be a plain word")]
    [InlineData("a: 1\n---\nb: 2", "3: not YAML: a second document begins here")]
    [InlineData("a: &x {b: *x}", "1: not YAML: the alias *x stands for nothing before it")]
    [InlineData("a: *x\nb: &x 1", "1: not YAML: the alias *x stands for nothing before it")]
    [InlineData("epochs: 1\n!!str hidden_size: 3", "2: not YAML: a key with the tag")]
    [InlineData("\ndataset: ../../x", "2: dataset must be a name, not a path (the folder of datasets is data_path), not '../../x'")]
    [InlineData("dataset: ..", "1: dataset must be a name, not a path")]
    [InlineData("dataset: /a/x", "1: dataset must be a name, not a path")]
    [InlineData("dataset: a\\b", "1: dataset must be a name, not a path")]
    [InlineData("dataset: ''", "1: dataset must be text, not ''")]
    [InlineData("dataset: \"a\\0\"", "1: dataset must be text")]
    [InlineData("data_path: \"a\\0\"", "1: data_path must be text")]
    public void Errors_name_file_and_line(string text, string message)
    {
        string file = _folder.Write("a.yaml", text);
        var error = Assert.Throws<InputException>(() => RunConfig.Load([file], []));
        Assert.Contains(message, error.Message);
        Assert.DoesNotContain('\n', error.Message);
        if (char.IsDigit(message[0]))
            Assert.StartsWith($"{file}:{message}", error.Message);
    }

    [Theory]
    [InlineData("epochs", "'epochs': a setting is key=value")]
    [InlineData("=5", "'=5': a setting is key=value")]
    [InlineData("eval_args..mode=full", "'eval_args..mode=full': a setting is key=value")]
    [InlineData("topk=[5,10", "--set topk=[5,10: topk must be a whole number of at least 1, not '[5,10'")]
    [InlineData("epochs.x=5", "--set epochs.x=5: epochs must be a whole number of at least 1, not a mapping")]
    public void Errors_in_overrides_name_the_override(string setting, string message) =>
        Assert.StartsWith(message, Assert.Throws<InputException>(() => RunConfig.Load([], [setting])).Message);

    [Fact]
    public void A_missing_file_is_named() =>
        Assert.StartsWith(
            "/nowhere/a.yaml: there is no such file",
            Assert.Throws<InputException>(() => RunConfig.Load(["/nowhere/a.yaml"], [])).Message);

    [Theory]
    [InlineData()]
    [InlineData("recbole_compatible=true")]
    [InlineData("topk=[5,10]", "eval_args={split: {RS: [7,1,2]}, mode: {valid: full, test: uni100}}",
        "clip_grad_norm={max_norm: 5}", "field_separator=','")]
    [InlineData("val_interval={rating: '[3,inf)', kind: [a, b]}",
        "item_inter_num_interval=[10,inf)", "load_col={inter: '*', item: [item_id]}")]
    [InlineData("norm_first=true", "position_order=newest", "initializer=Xavier", "learner=AdamW", "lr_schedule=COSINE", "warmup_ratio=.1")]
    [InlineData("dataset='null'", "data_path='a: b'", "USER_ID_FIELD='~'", "seq_separator='#'", "TIME_FIELD='1e3'", "hiden_size=5")]
    public void ToYaml_loads_as_the_same_config(params string[] overrides)
    {
        var config = RunConfig.Load([], overrides);
        string yaml = config.ToYaml();
        var again = RunConfig.Load([_folder.Write("a.yaml", yaml)], []);
        Assert.Equal(yaml, again.ToYaml());
        Assert.Equal(Values(config), Values(again));
        Assert.Empty(again.Warnings);
    }

    [Fact]
    public void ToYaml_of_the_experiment_loads_as_the_same_config()
    {
        var config = RunConfig.Load([_folder.Write("a.yaml", RecboleFile)], []);
        Assert.Equal(Values(config), Values(RunConfig.Load([_folder.Write("b.yaml", config.ToYaml())], [])));
    }

    [Fact]
    public void ToYaml_has_every_key()
    {
        string yaml = RunConfig.Load([], []).ToYaml();
        Assert.All(ConfigKeys.All, key => Assert.Contains($"\n{key.Name}:", "\n" + yaml));
    }

    [Theory]
    [InlineData("seed: 1", Objective.Cloze, true, 0.1, 32)]
    [InlineData("objective: next_item", Objective.NextItem, true, 0.2, 128)]
    [InlineData("model: SASRec", Objective.NextItem, false, 0.5, 128)]
    [InlineData("model: sasrec\nrecbole_compatible: true", Objective.NextItem, false, 0.5, 2048)]
    [InlineData("model: BERT4Rec\nrecbole_compatible: true", Objective.Cloze, true, 0.2, 2048)]
    [InlineData("model: SASRec\nobjective: cloze\noutput_head: true", Objective.Cloze, true, 0.1, 32)]
    public void The_model_and_the_objective_choose_defaults(string text, Enum objective, bool outputHead, double dropout, int batch)
    {
        var config = Parse(text);
        Assert.Equal(
            ((Objective)objective, outputHead, dropout, batch),
            (config.Objective, config.OutputHead, config.HiddenDropoutProbability, config.TrainBatchSize));
        Assert.Equal(!config.RecboleCompatible, config.Blend);
        Assert.Equal(config.ToYaml(), Parse(config.ToYaml()).ToYaml());
    }

    [Theory]
    [InlineData("model: GRU4Rec", "1: model must be BERT4Rec or SASRec")]
    [InlineData("recbole_compatible: true\nobjective: auto", "2: objective auto: RecBole's BERT4Rec has another")]
    [InlineData("objective: both", "1: objective must be cloze or next_item")]
    [InlineData("recbole_compatible: true\nobjective: next_item", "2: objective next_item: RecBole's BERT4Rec has another")]
    [InlineData("recbole_compatible: true\nmodel: SASRec\noutput_head: true", "3: output_head: RecBole's SASRec has none")]
    [InlineData("recbole_compatible: true\nexclude_seen: true", "2: exclude_seen: RecBole ranks seen items too")]
    [InlineData("recbole_compatible: true\nblend: true", "2: blend: RecBole's score is the model's alone")]
    public void A_model_that_is_not_to_be_had_is_refused(string text, string message) =>
        Assert.Contains(message, Assert.Throws<InputException>(() => Parse(text)).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("norm_first: yes", "2: norm_first yes: RecBole's BERT4Rec has false; leave it out, or recbole_compatible")]
    [InlineData("position_order: newest", "2: position_order newest: RecBole's BERT4Rec has oldest")]
    [InlineData("initializer: xavier", "2: initializer xavier: RecBole's BERT4Rec has normal")]
    [InlineData("learner: adamw", "2: learner adamw: RecBole's BERT4Rec has adam;")]
    [InlineData("adam_beta1: 0.8", "2: adam_beta1 0.8: RecBole's BERT4Rec has 0.9;")]
    [InlineData("adam_beta2: 0.98", "2: adam_beta2 0.98: RecBole's BERT4Rec has 0.999")]
    [InlineData("lr_schedule: cosine", "2: lr_schedule cosine: RecBole's BERT4Rec has constant")]
    [InlineData("warmup_ratio: 0.1", "2: warmup_ratio 0.1: RecBole's BERT4Rec has 0;")]
    [InlineData("model: SASRec\nlr_schedule: linear", "3: lr_schedule linear: RecBole's SASRec has constant")]
    public void What_RecBole_has_no_choice_of_is_refused_in_its_mode(string text, string message) =>
        Assert.Contains(
            message,
            Assert.Throws<InputException>(() => Parse("recbole_compatible: true\n" + text)).Message,
            StringComparison.Ordinal);

    [Fact]
    public void The_choices_may_be_written_out_in_RecBoles_mode() => Assert.Empty(Parse(
        "recbole_compatible: true\nnorm_first: no\nposition_order: Oldest\ninitializer: normal\nlearner: Adam\nadam_beta1: 0.90\n"
        + "adam_beta2: 0.999\nlr_schedule: Constant\nwarmup_ratio: 0.0").Warnings);

    private RunConfig Parse(string text) => RunConfig.Load([_folder.Write("a.yaml", text)], []);

    [Theory]
    [InlineData("seed: 1", 199, "newest 0.3 0.3 0.5 0.2 160", 0.5)]
    [InlineData("seed: 1", 199_999, "newest 0.3 0.3 0.5 0.2 20", 0.5)]
    [InlineData("seed: 1", 200, "oldest 0.1 0.1 0.3 0.3 100", 0.2)]
    [InlineData("hidden_dropout_prob: 0.1\nmask_ratio: 0.4", 199, "newest 0.1 0.3 0.4 0.2 160", 0.5)]
    [InlineData("objective: next_item", 199, "oldest 0.5 0.5 0.2 0.5 10", 0.5)]
    [InlineData("objective: next_item", 200, "oldest 0.2 0.2 0.2 0.5 10", 0.2)]
    [InlineData("objective: next_item\nattn_dropout_prob: 0.1", 200, "oldest 0.2 0.1 0.2 0.5 10", 0.1)]
    [InlineData("model: SASRec", 200, "oldest 0.5 0.5 0.2 0.5 10", 0.5)]
    [InlineData("recbole_compatible: true", 199, "oldest 0.2 0.2 0.2 0.5 10", 0.2)]
    public void Sparse_and_dense_data_have_defaults_of_their_own(string text, int events, string expected, double dropoutOfNextItem)
    {
        int items = events < 1000 ? 10 : 10_000;
        var config = Parse(text).ForData(events, items, events);
        Assert.Equal(expected, Values(config));
        bool isGiven = config.RecboleCompatible || config.Model == "SASRec";
        Assert.Equal(!isGiven && events is 199 or 199_999, config.DataNote() is not null);
        Assert.False(config.AwaitsData);
        // What was chosen stays: on other data, over other settings, and written out.
        Assert.Same(config, config.ForData(events < 200 ? 10_000 : 10, 10, 10));
        Assert.Equal(config.ToYaml(), config.WithFreshDefaults([]).ToYaml());
        Assert.Equal(config.ToYaml(), config.With("seed=2", "seed=2020").With($"seed={config.Seed}").ToYaml());
        Assert.Equal(config.ToYaml(), Parse(config.ToYaml()).ForData(10, 10, 10).ToYaml());
        if (!config.RecboleCompatible)
            Assert.Equal(dropoutOfNextItem, config.WithFreshDefaults(["objective=next_item"]).AttentionDropoutProbability);

        static string Values(RunConfig config) => FormattableString.Invariant(
            $"{config.PositionOrder.ToString().ToLowerInvariant()} {config.HiddenDropoutProbability} {config.AttentionDropoutProbability}")
            + FormattableString.Invariant($" {config.MaskRatio} {config.FineTuningRatio} {config.StoppingStep}");
    }

    [Theory]
    [InlineData("objective: next_item", 74, 10, 50, 128)]
    [InlineData("objective: next_item", 75, 10, 200, 64)]
    [InlineData("objective: next_item", 75, 1000, 50, 128)]
    [InlineData("objective: next_item\nMAX_ITEM_LIST_LENGTH: 100", 75, 10, 100, 64)]
    [InlineData("objective: next_item\ntrain_batch_size: 128", 75, 10, 200, 128)]
    [InlineData("objective: cloze", 75, 10, 50, 32)]
    [InlineData("model: SASRec", 75, 10, 50, 128)]
    [InlineData("recbole_compatible: true", 75, 10, 50, 2048)]
    public void Long_histories_of_dense_data_have_defaults_of_their_own(string text, int eventsAUser, int items, int length, int batch)
    {
        var config = Parse(text).ForData(100 * eventsAUser, items, 100);
        Assert.Equal((length, batch), (config.MaximumItemListLength, config.TrainBatchSize));
        Assert.False(Parse(config.ToYaml()).AwaitsData);
    }

    [Theory]
    [InlineData("objective: next_item", 9_999, null)]
    [InlineData("objective: next_item", 10_000, 2048)]
    [InlineData("seed: 1", 10_000, 2048)]
    [InlineData("softmax_samples: 5", 10_000, 5)]
    [InlineData("softmax_samples: 0", 10_000, null)]
    [InlineData("model: SASRec", 10_000, null)]
    [InlineData("recbole_compatible: true", 10_000, null)]
    public void Of_a_large_catalogue_a_part_is_scored(string text, int items, int? samples)
    {
        var config = Parse(text).ForData(1_000_000, items, 1_000_000);
        Assert.Equal(samples, config.SoftmaxSamples);
        // A training that goes on asks the data no more.
        Assert.False(Parse(config.ToYaml()).AwaitsData);
    }

    [Fact]
    public void What_goes_with_the_data_is_named_where_nobody_gave_it()
    {
        string note = Parse("mask_ratio: 0.4").ForData(10, 10, 10).DataNote()!;
        Assert.Equal(
            "fewer than 20 events an item, and than 100,000 in all: by default hidden_dropout_prob 0.3, attn_dropout_prob 0.3, "
            + "position_order newest, ft_ratio 0.2, stopping_step 160",
            note);
        Assert.Equal(
            "fewer than 20 events an item: by default hidden_dropout_prob 0.5",
            Parse("objective: next_item\nattn_dropout_prob: 0.3").ForData(10, 10, 10).DataNote());
        Assert.Equal(
            "at least 75 events a user: by default MAX_ITEM_LIST_LENGTH 200, train_batch_size 64, stopping_step 30",
            Parse("objective: next_item").ForData(7500, 10, 100).DataNote());
        Assert.EndsWith(
            "stopping_step 20; at least 10,000 items: by default softmax_samples 2048",
            Parse("mask_ratio: 0.4").ForData(150_000, 10_000, 150_000).DataNote(),
            StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("", "abc", 3)]
    [InlineData("kitten", "sitting", 3)]
    [InlineData("flaw", "lawn", 2)]
    [InlineData("same", "same", 0)]
    public void Edit_distance(string a, string b, int expected) => Assert.Equal(expected, ConfigKeys.EditDistance(a, b));

    [Theory]
    [InlineData("epochs: 3", true)]
    [InlineData("objective: auto", true)]
    [InlineData("model: BERT4Rec\nobjective: auto", true)]
    [InlineData("model: BERT4Rec", false)]
    [InlineData("objective: cloze", false)]
    [InlineData("objective: ~", true)]
    [InlineData("recbole_compatible: true", false)]
    public void The_objective_is_open_where_nobody_chose_it(string text, bool isOpen)
    {
        var config = RunConfig.Load([_folder.Write("a.yaml", text)], []);
        Assert.Equal(isOpen, config.LeavesObjectiveOpen());
        Assert.Equal(isOpen, config.With("dataset=a").LeavesObjectiveOpen());
        if (config.ComparesObjectives)
            Assert.Contains("a.yaml:", Assert.Throws<InputException>(config.RequireObjective).Message);
        else
            config.RequireObjective();
    }

    /// <summary>As if it had stood in the file: With keeps what the first objective's defaults were.</summary>
    [Fact]
    public void Fresh_defaults_are_those_of_what_is_put_over_the_settings()
    {
        const string Text = "event_log: a.csv\ntrain_batch_size: 7\n";
        var config = RunConfig.Load([_folder.Write("a.yaml", Text)], []).With("data_path=b", "event_log=~");
        var fresh = config.WithFreshDefaults(["objective=next_item"]);
        Assert.Equal((0.1, 0.2), (config.HiddenDropoutProbability, fresh.HiddenDropoutProbability));
        Assert.Equal((7, "b", "product_id"), (fresh.TrainBatchSize, fresh.DataPath, fresh.ItemIdField));
        Assert.Equal(0.1, config.With("objective=next_item").HiddenDropoutProbability);
        Assert.Equal(config.ToYaml(), config.WithFreshDefaults([]).ToYaml());
    }

    [Theory]
    [InlineData("[1,3]", new[] { 1.0, 2, 3 }, new[] { 0.9, 3.1 })]
    [InlineData("(1,3)", new[] { 2.0 }, new[] { 1.0, 3 })]
    [InlineData("[1,3);[5,inf)", new[] { 1.0, 5, 1e300 }, new[] { 3.0, 4 })]
    [InlineData("(-inf,0]", new[] { -1e9, 0 }, new[] { 0.5 })]
    public void Intervals_hold_what_they_say(string text, double[] inside, double[] outside)
    {
        Assert.True(Intervals.TryParse(text, out var intervals));
        Assert.All(inside, value => Assert.True(intervals.Contains(value)));
        Assert.All(outside, value => Assert.False(intervals.Contains(value)));
    }

    [Fact]
    public void Mutated_configs_end_in_an_InputException_or_load()
    {
        var random = new Random(1);
        string extra = RecboleFile + "clip_grad_norm: {max_norm: 5, norm_type: 2}\n"
            + "val_interval: {rating: '[3,inf)'}\nuser_inter_num_interval: '[2,5]'\n";
        int loaded = 0;
        for (int i = 0; i < 500; i++)
        {
            char[] text = extra.ToCharArray();
            for (int change = random.Next(1, 4); change > 0; change--)
                text[random.Next(text.Length)] = "{}[]:,-'\"~&*#!|>%@ \n\t0a\0"[random.Next(24)];
            string file = _folder.Write("a.yaml", new string(text));
            try
            {
                Assert.NotEmpty(RunConfig.Load([file], []).ToYaml());
                loaded++;
            }
            catch (InputException e)
            {
                Assert.Contains(file, e.Message);
                Assert.DoesNotContain('\n', e.Message);
            }
        }
        Assert.InRange(loaded, 30, 470);
    }

    /// <summary>Every public property's value, as text.</summary>
    private static string Values(RunConfig config) => string.Join(
        "\n",
        typeof(RunConfig).GetProperties(BindingFlags.Public | BindingFlags.Instance)
            .Where(property => property.Name != nameof(RunConfig.Warnings))
            .Select(property => $"{property.Name} {JsonSerializer.Serialize(property.GetValue(config))}")
            .Append(config.EvalArgs.ToString()));
}
