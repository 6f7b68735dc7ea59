using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Evaluation;
using Bert4Rec.EventLog;
using Bert4Rec.Inference;
using Bert4Rec.Kernels;
using Bert4Rec.Model;
using Bert4Rec.Training;
using Bert4Rec.Tuning;

namespace Bert4Rec.Pipeline;

/// <summary>What the lists of ten of a ranker are like, over all samples.</summary>
/// <param name="Metrics">Recall@10, NDCG@10 and the Gini index, ranking the whole catalogue.</param>
/// <param name="Places">[items] How many lists an item is in.</param>
internal sealed record ListStatistics(string Name, IReadOnlyDictionary<string, double> Metrics, long[] Places);

/// <summary>A user whose next item is known, and what the model says.</summary>
/// <param name="History">Item ids, oldest first.</param>
/// <param name="Target">What came next.</param>
/// <param name="Rank">Its place in the model's list, from 1; null where it was left out.</param>
/// <param name="Recommended">The first ten of that list.</param>
internal sealed record ExampleUser(string User, int[] History, int Target, int? Rank, int[] Recommended);

/// <summary>Everything that the report of a run shows. No times: the same run gives the same report.</summary>
internal sealed record RunReport(
    RunConfig Config,
    InteractionDataset Dataset,
    DatasetSplit Split,
    TrainingStatistics Statistics,
    TrainingResult Result,
    IReadOnlyList<EpochReport> Epochs,
    string Part,
    Sample[] Samples,
    IReadOnlyList<ListStatistics> Rankers,
    IReadOnlyList<ExampleUser> Examples)
{
    /// <summary>The analysis of the log that the data is from; null where there is none.</summary>
    public LogAnalysis? Log { get; init; }

    public IReadOnlyList<ManifestStep> Steps { get; init; } = [];

    /// <summary>Whether seen items were left out of the rules' lists because the model's blend leaves them out.</summary>
    public bool RulesExcludeSeen { get; init; }

    /// <summary>Epochs of the model that recommends; 0 where there is none but the held-out one.</summary>
    public long RefitEpochs { get; init; }

    /// <summary>What a tuning chose, or a comparison of objectives; null where there was nothing to choose.</summary>
    public TuneResult? Choice { get; init; }

    /// <summary>Length of the lists.</summary>
    private const int ListLength = 10;

    private const int ExampleCount = 10, ExampleHistory = 3;
    private const uint ExampleStream = 0x5409_0100;

    private static readonly EvaluationSettings _settings = new()
    {
        Metrics = [Metric.Recall, Metric.NDCG, Metric.GiniIndex],
        TopK = [ListLength],
    };

    /// <summary>Loads a finished run and looks at the lists of its held-out model, and of the baselines.</summary>
    public static RunReport Gather(
        RunConfig config, RunOptions options, IProgress<ProgressUpdate>? progress, CancellationToken cancellation)
    {
        string directory = options.OutputDirectory;
        var folder = ModelFolder.Load(directory, config, progress);
        var dataset = folder.Dataset;
        var split = Splitter.Split(dataset, config.EvalArgs);
        var statistics = TrainingStatistics.Count(dataset, split.Train);
        var (part, samples) = split.Test.Length > 0 ? ("test", split.Test) : ("valid", split.Valid);
        using var device = new DeviceSet(options.Device, options.Threads, options.Precision);
        using var parameters = device.Kernels[0].AllocateFloats(folder.Layout.Length);
        parameters.Upload(folder.Parameters);
        using var model = new ModelRanker(device.Kernels, device.Workers, folder.Layout, parameters, config.RecboleCompatible);
        model.Use(folder.Blend);
        bool leavesSeenOut = folder.Blend?.Weights.LeavesSeenOut ?? false;
        IRanker[] rankers = samples.Length == 0 ? [] : [model, .. Baselines.Of(dataset, split, statistics, progress)];
        var lists = new List<ListStatistics>();
        foreach (var ranker in rankers)
        {
            cancellation.ThrowIfCancellationRequested();
            var settings = _settings with { ExcludeSeen = config.ExcludeSeen || (leavesSeenOut && ranker != model) };
            var measured = Evaluator.Measure(ranker, dataset, statistics, samples, settings, progress);
            lists.Add(new(ranker.Name, measured.Metrics, Array.ConvertAll(measured.Places, count => (long)count)));
        }
        return new(
            config,
            dataset,
            split,
            statistics,
            ResultFile.Read(directory),
            MetricsLog.Read(directory),
            part,
            samples,
            lists,
            PickExamples(model, dataset, samples, config, folder.Layout.Shape.MaximumLength))
        {
            RulesExcludeSeen = leavesSeenOut && !config.ExcludeSeen,
        };
    }

    /// <summary>Users drawn at random, whatever the model says of them; those with some history, if there are any.</summary>
    private static ExampleUser[] PickExamples(
        ModelRanker model, InteractionDataset dataset, Sample[] samples, RunConfig config, int maximumLength)
    {
        Sample[] users = [.. samples.DistinctBy(sample => sample.User)];
        Sample[] telling = [.. users.Where(sample => dataset.History(sample, maximumLength).Length >= ExampleHistory)];
        if (telling.Length == 0)
            telling = users;
        new PhiloxSequence((ulong)config.Seed, ExampleStream, 0).Shuffle<Sample>(telling);
        telling = telling[..Math.Min(ExampleCount, telling.Length)];
        if (telling.Length == 0)
            return [];
        var items = new int[telling.Length * ListLength];
        var places = new TargetRank[telling.Length];
        var seen = config.ExcludeSeen ? SeenItems.Of(dataset, telling) : null;
        model.Rank(dataset, telling, ListLength, items, places, seen);
        return [.. telling.Select((sample, i) => new ExampleUser(
            dataset.Users[sample.User],
            dataset.History(sample, int.MaxValue).ToArray(),
            dataset.Target(sample),
            seen?.Contains(i, dataset.Target(sample)) ?? false ? null : places[i].Position + 1,
            [.. items.AsSpan(i * ListLength, ListLength).ToArray().Where(item => item > 0)]))];
    }
}
