using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Tests.Evaluation;
using Bert4Rec.Training;
using Bert4Rec.Tuning;

namespace Bert4Rec.Tests.Configuration;

/// <summary>What a new key must have been thought of for, lest it be passed over without a word.</summary>
public sealed class ConfigKeysTests : IDisposable
{
    private static readonly Dictionary<string, string> Answers = new()
    {
        [""] = "refit data_path dataset event_log RATING_FIELD ITEM_LIST_LENGTH_FIELD LIST_SUFFIX epochs eval_step stopping_step "
            + "eval_batch_size metrics topk metric_decimal_place",
        ["RecBole's"] = "blend",
        ["RecBole's, kept"] = "exclude_seen",
        ["RecBole's, kept, tuned"] = "objective output_head norm_first position_order initializer",
        ["RecBole's, tuned"] = "softmax_samples learner adam_beta1 adam_beta2 lr_schedule warmup_ratio",
        ["kept"] = "seed eval_args valid_metric valid_metric_bigger",
        ["kept, tuned"] = "MAX_ITEM_LIST_LENGTH hidden_size inner_size n_layers n_heads layer_norm_eps mask_ratio ft_ratio",
        ["kept, cached"] = "recbole_compatible",
        ["tuned"] = "model average_decay hidden_dropout_prob attn_dropout_prob hidden_act initializer_range loss_type train_batch_size "
            + "learning_rate weight_decay clip_grad_norm stopping_margin",
        ["cached"] = "field_separator seq_separator USER_ID_FIELD ITEM_ID_FIELD TIME_FIELD load_col val_interval "
            + "filter_inter_by_user_or_item user_inter_num_interval item_inter_num_interval",
    };

    private readonly TemporaryFolder _folder = new();

    public static TheoryData<string> Acting => [.. ConfigKeys.All.Select(key => key.Name).Where(key => !ConfigKeys.Idle.ContainsKey(key))];

    public void Dispose() => _folder.Dispose();

    /// <summary>What is no value of any key is refused.</summary>
    [Theory]
    [MemberData(nameof(Acting))]
    public void Every_key_is_read(string key)
    {
        string file = _folder.Write("a.yaml", $"{key}: {{nonsense: {{a: b}}}}");
        Assert.StartsWith($"{file}:1: ", Assert.Throws<InputException>(() => RunConfig.Load([file], [])).Message);
    }

    /// <summary>
    /// A key that is new fails here until its name stands with what the code does with it: whether RecBole's mode refuses other values than
    /// RecBole's (RunConfig.RecBolesChoices), a training that is resumed keeps it (Checkpoint.Origin), a tuning may draw it
    /// (SearchSpace.s_shared has those that it may not), and a dataset's cache is made anew with another (DatasetCache.Settings).
    /// </summary>
    [Fact]
    public void Every_key_has_been_thought_of()
    {
        var dataset = SmallDatasets.Random(seed: 1, users: 9, itemCount: 9, longest: 9);
        string[] origin =
        [
            .. Checkpoint.Origin(RunConfig.Load([], []), dataset, SmallDatasets.LeaveOneOut(dataset)).Keys.Select(key => key.Split('.')[0]),
        ];
        var expected = Answers.SelectMany(pair => pair.Value.Split(' ').Select(key => (key, pair.Key))).ToDictionary();
        string[] differences =
        [
            .. ConfigKeys.All.Select(key => (key.Name, Said: string.Join(", ", Said(key.Name, origin))))
                .Where(key => expected.GetValueOrDefault(key.Name) != key.Said).Select(key => $"{key.Name}: the code says '{key.Said}'"),
        ];
        Assert.True(differences.Length == 0, $"if that is meant, write it here:\n{string.Join('\n', differences)}");
    }

    private IEnumerable<string> Said(string key, string[] origin)
    {
        if (IsRefusedByRecBolesMode(key))
            yield return "RecBole's";
        if (origin.Contains(key))
            yield return "kept";
        if (CanBeTuned(key))
            yield return "tuned";
        if (DatasetCache.Settings.Contains(key))
            yield return "cached";
    }

    /// <summary>With a value that it may have else.</summary>
    private static bool IsRefusedByRecBolesMode(string key)
    {
        var defaults = RunConfig.Load([], ["recbole_compatible=true"]);
        foreach (string value in (string[])["true", "false", "7", "0.25", "next_item", "newest", "xavier", "adamw", "linear"])
        {
            try
            {
                if (RunConfig.Load([], [$"{key}={value}"]).ValueOf(key) == defaults.ValueOf(key))
                    continue;
            }
            catch (InputException)
            {
                continue;
            }
            try
            {
                RunConfig.Load([], ["recbole_compatible=true", $"{key}={value}"]);
            }
            catch (InputException e) when (e.Message.Contains("RecBole", StringComparison.Ordinal))
            {
                return true;
            }
        }
        return false;
    }

    private bool CanBeTuned(string key)
    {
        try
        {
            SearchSpace.Load(_folder.Write("space.yaml", $"{key}: [1, 2]"));
            return true;
        }
        catch (InputException e)
        {
            return !e.Message.Contains("cannot be tuned", StringComparison.Ordinal)
                && !e.Message.Contains("no such key", StringComparison.Ordinal);
        }
    }
}
