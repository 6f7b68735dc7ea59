using Bert4Rec.Data;

namespace Bert4Rec.Evaluation;

/// <summary>A model beside the baselines.</summary>
/// <param name="Metrics">The model's, by name.</param>
/// <param name="StandardErrors">Of those that are means over samples.</param>
/// <param name="Baselines">Each baseline's metrics, by its name.</param>
/// <param name="Comparisons">The model against each baseline, by its name.</param>
/// <param name="RulesExcludeSeen">Whether seen items were left out of the baselines' rankings because the model's blend leaves them out.
/// </param>
internal sealed record ComparedMetrics(
    IReadOnlyDictionary<string, double> Metrics,
    IReadOnlyDictionary<string, double> StandardErrors,
    IReadOnlyDictionary<string, IReadOnlyDictionary<string, double>> Baselines,
    IReadOnlyDictionary<string, Comparison> Comparisons,
    bool RulesExcludeSeen = false);

/// <summary>The baselines of a dataset, and a model beside them.</summary>
internal static class Baselines
{
    /// <summary>Of a part without samples.</summary>
    public static ComparedMetrics None { get; } = new(
        new Dictionary<string, double>(),
        new Dictionary<string, double>(),
        new Dictionary<string, IReadOnlyDictionary<string, double>>(),
        new Dictionary<string, Comparison>());

    /// <summary>Popularity, 'the last item again' and a Markov chain.</summary>
    public static IReadOnlyList<IRanker> Of(
        InteractionDataset dataset, DatasetSplit split, TrainingStatistics statistics, IProgress<ProgressUpdate>? progress = null) =>
        [new PopularityRanker(statistics), new LastItemRanker(statistics), new MarkovRanker(dataset, split.Train, statistics, progress)];

    /// <summary>The name under which a model stands beside itself, its blend left out.</summary>
    public const string NoBlend = "no blend";

    /// <summary>A model's metrics, and each baseline's on the same samples.</summary>
    /// <param name="others">What to set beside it after the baselines.</param>
    /// <param name="dataset">The events that the samples point into.</param>
    /// <param name="statistics">Of its training part.</param>
    /// <param name="samples">At least one.</param>
    /// <param name="leavesSeenOut">Whether the model's blend does, whatever the settings: then the baselines do too, or the model would win
    /// by that alone where nobody comes back to an item.</param>
    /// <param name="progress">Told of the steps counted, and after each batch.</param>
    /// <param name="whenMeasured">Called when <paramref name="model"/> and <paramref name="others"/> have done their work: the baselines'
    /// tables may take the room of theirs.</param>
    public static ComparedMetrics Compare(
        IRanker model,
        IEnumerable<IRanker> others,
        InteractionDataset dataset,
        DatasetSplit split,
        TrainingStatistics statistics,
        Sample[] samples,
        EvaluationSettings settings,
        bool leavesSeenOut,
        IProgress<ProgressUpdate>? progress,
        Action? whenMeasured = null)
    {
        var own = Measure(model, settings);
        KeyValuePair<string, Measurement>[] measured = [.. others.Select(other => Named(other, settings))];
        whenMeasured?.Invoke();
        SpareMemory.GiveBackAfter(dataset);
        var rankers = Of(dataset, split, statistics, progress);
        SpareMemory.GiveBackAfter(dataset);
        var ofRules = settings with { ExcludeSeen = settings.ExcludeSeen || leavesSeenOut };
        var baselines = rankers.Select(ranker => Named(ranker, ofRules)).Concat(measured).ToDictionary();
        string compared = $"ndcg@{settings.ComparedCutoff}";
        int[] users = [.. samples.Select(sample => sample.User)];
        return new(
            own.Metrics,
            own.StandardErrors,
            baselines.ToDictionary(baseline => baseline.Key, baseline => baseline.Value.Metrics),
            baselines.ToDictionary(baseline => baseline.Key, baseline => Comparison.Of(compared, own.Gains, baseline.Value.Gains, users)),
            ofRules != settings);

        KeyValuePair<string, Measurement> Named(IRanker ranker, EvaluationSettings how) => new(ranker.Name, Measure(ranker, how));

        Measurement Measure(IRanker ranker, EvaluationSettings how) =>
            Evaluator.Measure(ranker, dataset, statistics, samples, how, progress);
    }
}
