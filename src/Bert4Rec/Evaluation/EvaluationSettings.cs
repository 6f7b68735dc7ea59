using Bert4Rec.Configuration;

namespace Bert4Rec.Evaluation;

/// <summary>How to evaluate.</summary>
internal sealed record EvaluationSettings
{
    /// <summary>How a result of <see cref="ExcludeSeen"/> is named.</summary>
    public const string SeenLeftOut = "seen items left out";

    public EvaluationMode Mode { get; init; }

    /// <summary>What a result's metrics are not the plain ones for, beginning with a comma each: ", among 100 drawn items".</summary>
    public static string Named(EvaluationMode mode, bool excludesSeen) => (mode.Source switch
    {
        CandidateSource.Uniform => $", each target among {mode.Draws} items drawn evenly",
        CandidateSource.Popularity => $", each target among {mode.Draws} items drawn by popularity",
        _ => "",
    }) + (excludesSeen ? $", {SeenLeftOut}" : "");

    /// <summary>What to report, in this order.</summary>
    public IReadOnlyList<Metric> Metrics { get; init; } = Enum.GetValues<Metric>();

    /// <summary>List lengths.</summary>
    public IReadOnlyList<int> TopK { get; init; } = [10];

    /// <summary>The k of the NDCG@k by which rankers are compared: 10 where it is asked for, else the longest.</summary>
    public int ComparedCutoff => TopK.Contains(10) ? 10 : TopK.Max();

    /// <summary>Samples ranked at once.</summary>
    public int BatchSize { get; init; } = 4096;

    /// <summary>Of the drawn competitors.</summary>
    public ulong Seed { get; init; } = 2020;

    /// <summary>
    /// Leave the items of a sample's whole history out of its ranking. A target among them cannot be found: it ranks behind everything.
    /// </summary>
    public bool ExcludeSeen { get; init; }

    /// <summary>What a config asks for.</summary>
    /// <param name="mode">Its mode for the part to evaluate.</param>
    public static EvaluationSettings Of(RunConfig config, EvaluationMode mode) => new()
    {
        Mode = mode,
        Metrics = config.Metrics,
        TopK = config.TopK,
        BatchSize = config.EvalBatchSize,
        Seed = (ulong)config.Seed,
        ExcludeSeen = config.ExcludeSeen,
    };

    /// <summary>What a training measures: the metrics listed, and the one that chooses the model whether it is listed or not.</summary>
    internal static EvaluationSettings OfTraining(RunConfig config, EvaluationMode mode) => Of(config, mode) with
    {
        Metrics = [.. config.Metrics.Append(config.ValidMetricKind).Distinct()],
        TopK = [.. config.TopK.Concat(config.ValidMetricCutoff > 0 ? [config.ValidMetricCutoff] : []).Distinct()],
    };
}
