namespace Bert4Rec.Configuration;

/// <summary>
/// The keys of a config: those of a resolved one, with their defaults, and RecBole's others. All defaults stand in this file.
/// </summary>
internal static class ConfigKeys
{
    /// <summary>
    /// Keys in the order in which a resolved config is written; all but the <see cref="Idle"/> ones act. Defaults are YAML.
    /// </summary>
    public static IReadOnlyList<ConfigKey> All { get; } =
    [
        new("recbole_compatible", "false"),
        new("model", "BERT4Rec"),
        new("objective", "cloze", SasRec: "next_item"),
        new("output_head", "true", SasRec: "false"),
        new("average_decay", "0", "0.98", NextItem: "0.9"),
        new("refit", "false"),
        new("blend", "false", "true", NextItem: "true"),
        new("data_path", "dataset/"),
        new("dataset", "~"),
        new("event_log", "~"),
        new("field_separator", "\"\\t\""),
        new("seq_separator", "\" \""),
        new("USER_ID_FIELD", "user_id"),
        new("ITEM_ID_FIELD", "item_id", EventLogDefault: "product_id"),
        new("RATING_FIELD", "rating", EventLogDefault: "event_type"),
        new("TIME_FIELD", "timestamp", EventLogDefault: "event_time"),
        new(
            "load_col",
            "~",
            EventLogDefault: "{inter: [user_id, product_id, event_time], item: [product_id, category_code, brand, price]}"),
        new("val_interval", "~"),
        new("filter_inter_by_user_or_item", "true", OwnDefault: "false", NextItem: "false"),
        new("user_inter_num_interval", "~"),
        new("item_inter_num_interval", "~"),
        new("ITEM_LIST_LENGTH_FIELD", "item_length"),
        new("LIST_SUFFIX", "_list"),
        new("MAX_ITEM_LIST_LENGTH", "50", LongHistories: "200"),
        new("hidden_size", "64"),
        new("inner_size", "256"),
        new("n_layers", "2"),
        new("n_heads", "2"),
        new("hidden_dropout_prob", "0.2", "0.1", SasRec: "0.5", NextItem: "0.5", DenseNextItem: "0.2", Sparse: "0.3"),
        new("attn_dropout_prob", "0.2", "0.1", SasRec: "0.5", NextItem: "0.5", DenseNextItem: "0.2", Sparse: "0.3"),
        new("hidden_act", "gelu"),
        new("layer_norm_eps", "1e-12"),
        new("norm_first", "false"),
        new("position_order", "oldest", Sparse: "newest"),
        new("initializer", "normal"),
        new("initializer_range", "0.02"),
        new("loss_type", "CE"),
        new("softmax_samples", "0", LargeCatalogue: "2048"),
        new("mask_ratio", "0.2", "0.3", Sparse: "0.5"),
        new("ft_ratio", "0.5", "0.3", Sparse: "0.2"),
        new("seed", "2020"),
        new("epochs", "300", "160"),
        new("train_batch_size", "2048", "32", NextItem: "128", LongHistories: "64"),
        new("learner", "adam"),
        new("adam_beta1", "0.9"),
        new("adam_beta2", "0.999"),
        new("learning_rate", "0.001"),
        new("lr_schedule", "constant"),
        new("warmup_ratio", "0"),
        new("weight_decay", "0.0"),
        new("clip_grad_norm", "~"),
        new("eval_step", "1"),
        new("stopping_step", "10", "100", NextItem: "10", LongHistories: "30", Sparse: "20", Small: "160"),
        new("stopping_margin", "0", NextItem: "0.002"),
        new("eval_args", "{group_by: user, order: TO, split: {LS: valid_and_test}, mode: full}"),
        new("exclude_seen", "false"),
        new("eval_batch_size", "4096"),
        new("metrics", "[Recall, MRR, NDCG, Hit, Precision]"),
        new("topk", "[10]"),
        new("valid_metric", "MRR@10"),
        new("valid_metric_bigger", "~"),
        new("metric_decimal_place", "4"),
    ];

    /// <summary>
    /// Keys of <see cref="All"/> that change nothing, as with RecBole's BERT4Rec: a warning where they have another value than by default.
    /// </summary>
    public static IReadOnlyDictionary<string, string> Idle { get; } = new Dictionary<string, string>
    {
        ["RATING_FIELD"] = "every interaction counts alike, whatever its rating; drop some with val_interval",
        ["ITEM_LIST_LENGTH_FIELD"] = "histories are made here and have no column that one could name",
        ["LIST_SUFFIX"] = "histories are made here and have no column that one could name",
    };

    /// <summary>RecBole's keys that its BERT4Rec ignores though their names promise otherwise, and the key meant.</summary>
    public static IReadOnlyDictionary<string, string> Misnamed { get; } = new Dictionary<string, string>
    {
        ["embedding_size"] = "hidden_size",
        ["dropout_prob"] = "hidden_dropout_prob and attn_dropout_prob",
        ["dropout"] = "hidden_dropout_prob and attn_dropout_prob",
        ["hidden_dropout"] = "hidden_dropout_prob",
        ["attn_dropout"] = "attn_dropout_prob",
        ["eval_steps"] = "eval_step",
        ["early_stop"] = "stopping_step",
        ["max_seq_length"] = "MAX_ITEM_LIST_LENGTH",
        ["num_layers"] = "n_layers",
        ["num_heads"] = "n_heads",
        ["batch_size"] = "train_batch_size",
        ["split_ratio"] = "eval_args",
        ["leave_one_num"] = "eval_args",
        ["group_by_user"] = "eval_args",
    };

    /// <summary>RecBole's keys that would change its results and are not to be had here: a warning unless they are null or false.</summary>
    public static IReadOnlyDictionary<string, string> Unsupported { get; } = new Dictionary<string, string>
    {
        ["train_neg_sample_args"] = "the CE loss has no negative samples",
        ["neg_sampling"] = "the CE loss has no negative samples",
        ["training_neg_sample_num"] = "the CE loss has no negative samples",
        ["rm_dup_inter"] = "repeated interactions are kept",
        ["threshold"] = "every interaction is a positive one; drop the others with val_interval",
        ["benchmark_filename"] = "the split is always made by eval_args",
        ["unload_col"] = "list the columns to load in load_col",
        ["unused_col"] = "list the columns to load in load_col",
        ["additional_feat_suffix"] = "only .inter, .user and .item files are read",
        ["alias_of_user_id"] = "no other field shares the user ids",
        ["alias_of_item_id"] = "no other field shares the item ids",
        ["preload_weight"] = "the item embeddings start at random",
        ["lr_scheduler"] = "lr_schedule and warmup_ratio say how the learning rate changes",
    };

    /// <summary>RecBole's keys that say nothing about this model's results: read over in silence.</summary>
    public static IReadOnlySet<string> Silent { get; } = new HashSet<string>
    {
        "gpu_id", "use_gpu", "device", "state", "reproducibility", "checkpoint_dir", "show_progress", "worker", "save_dataset",
        "dataset_save_path", "save_dataloaders", "dataloaders_save_path", "log_wandb", "wandb_project", "config_file", "config_files",
        "encoding", "nproc", "world_size", "offset", "ip", "port", "local_rank", "single_spec", "loss_decimal_place", "require_pow",
        "enable_amp", "enable_scaler", "transform", "repeatable", "shuffle", "seq_len", "LABEL_FIELD", "NEG_PREFIX", "POSITION_FIELD",
        "HEAD_ENTITY_ID_FIELD", "TAIL_ENTITY_ID_FIELD", "RELATION_ID_FIELD", "ENTITY_ID_FIELD", "kg_reverse_r", "entity_kg_num_interval",
        "relation_kg_num_interval", "alias_of_entity_id", "alias_of_relation_id", "normalize_field", "normalize_all", "numerical_features",
        "discretization", "MODEL_TYPE", "MODEL_INPUT_TYPE", "eval_type",
    };

    /// <summary>The key of <see cref="All"/> with this name.</summary>
    public static ConfigKey Get(string name) => All.First(key => key.Name == name);

    /// <summary>The key of <see cref="All"/> that is fewest edits away, without regard to case.</summary>
    public static string Nearest(string key) =>
        All.MinBy(known => EditDistance(known.Name.ToLowerInvariant(), key.ToLowerInvariant()))!.Name;

    /// <summary>Levenshtein's distance.</summary>
    internal static int EditDistance(string a, string b)
    {
        int[] row = [.. Enumerable.Range(0, b.Length + 1)];
        for (int i = 1; i <= a.Length; i++)
        {
            int diagonal = row[0];
            row[0] = i;
            for (int j = 1; j <= b.Length; j++)
            {
                int substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
                diagonal = row[j];
                row[j] = Math.Min(substituted, Math.Min(row[j], row[j - 1]) + 1);
            }
        }
        return row[^1];
    }
}

/// <param name="Name">RecBole's name, or ours.</param>
/// <param name="Default">The default of RecBole's BERT4Rec, as YAML.</param>
/// <param name="OwnDefault">The default without recbole_compatible, where it is another.</param>
/// <param name="EventLogDefault">The default with event_log, where it is another: it names the columns of what is made from the
/// log.</param>
/// <param name="SasRec">The default of RecBole's SASRec, where it is another.</param>
/// <param name="NextItem">The default without recbole_compatible where each event predicts the next, if it is another.</param>
/// <param name="DenseNextItem">Likewise on data that is not sparse, but of SASRec.</param>
/// <param name="LongHistories">Likewise where histories are long too.</param>
/// <param name="Sparse">The default without recbole_compatible of cloze on sparse data, where it is another.</param>
/// <param name="Small">Likewise on data that is small too.</param>
/// <param name="LargeCatalogue">The default without recbole_compatible, but of SASRec, where there are many items, if it is
/// another.</param>
internal sealed record ConfigKey(
    string Name,
    string Default,
    string? OwnDefault = null,
    string? EventLogDefault = null,
    string? SasRec = null,
    string? NextItem = null,
    string? DenseNextItem = null,
    string? LongHistories = null,
    string? Sparse = null,
    string? Small = null,
    string? LargeCatalogue = null)
{
    /// <summary>Whether a value is one that the key has by itself.</summary>
    public bool IsDefault(string? value) => value is not null && (value == Default || value == EventLogDefault);

    /// <summary>Whether the default depends on the data.</summary>
    /// <param name="predictsNext">Whether the objective is next_item.</param>
    public bool IsLeftToData(bool predictsNext) => (LargeCatalogue ?? (predictsNext ? LongHistories ?? DenseNextItem : Sparse)) is not null;

    /// <param name="fromEventLog">Whether the dataset is made from a log.</param>
    public string DefaultFor(ConfigKind kind, bool fromEventLog)
    {
        if (fromEventLog && EventLogDefault is not null)
            return EventLogDefault;
        string recbole = kind.IsSasRec ? SasRec ?? Default : Default;
        if (kind.RecboleCompatible)
            return recbole;
        if (LargeCatalogue is not null && kind is { IsSasRec: false, Data.HasLargeCatalogue: true })
            return LargeCatalogue;
        return (kind.PredictsNext ? OfNextItem(kind) : OfCloze(kind.Data.Density)) ?? recbole;
    }

    private string? OfNextItem(ConfigKind kind) => kind switch
    {
        { IsSasRec: true } => NextItem,
        { Data.HasLongHistories: true } => LongHistories ?? DenseNextItem ?? NextItem,
        { Data.Density: Density.Dense } => DenseNextItem ?? NextItem,
        _ => NextItem,
    };

    private string? OfCloze(Density density) => density switch
    {
        Density.Dense => OwnDefault,
        Density.Small => Small ?? Sparse ?? OwnDefault,
        _ => Sparse ?? OwnDefault,
    };
}

/// <summary>What the defaults of a config depend on, beside whether there is an event log.</summary>
internal readonly record struct ConfigKind(bool RecboleCompatible, bool IsSasRec, bool PredictsNext, DataShape Data);

/// <summary>What some defaults depend on; docs/quality.md has the evidence.</summary>
/// <param name="HasLargeCatalogue">Whether most of a step would go into scores.</param>
/// <param name="HasLongHistories">Whether data is dense, and the mean history longer than a window of 50 events by half.</param>
internal readonly record struct DataShape(Density Density, bool HasLargeCatalogue, bool HasLongHistories)
{
    /// <summary>Events for each item below which data is sparse: shops have some 15, and of MovieLens 100k, which has 60, a third is
    /// dense.</summary>
    public const double SparseBelow = 20;

    /// <summary>Events below which sparse data is small: between lastfm's 52,551 and toys' 167,597.</summary>
    public const long SmallBelow = 100_000;

    /// <summary>Items from which on a catalogue is large: between lastfm's 3,646 and toys' 11,924.</summary>
    public const int LargeCatalogue = 10_000;

    /// <summary>Events for each user from which on histories are long: between lastfm's 48 and MovieLens 100k's 106.</summary>
    public const int LongHistories = 75;

    /// <param name="items">Padding is none of them.</param>
    public static DataShape Of(long events, int items, int users)
    {
        bool isDense = events >= SparseBelow * items;
        return new(
            isDense ? Density.Dense : events >= SmallBelow ? Density.Sparse : Density.Small,
            items >= LargeCatalogue,
            isDense && events >= (long)LongHistories * users);
    }
}

/// <summary>How often items are seen.</summary>
internal enum Density
{
    /// <summary>Every item is seen often.</summary>
    Dense,

    /// <summary>There are few events for each item.</summary>
    Sparse,

    /// <summary>And few in all: an epoch has few steps, and validation may stand still for dozens before it rises again.</summary>
    Small,
}
