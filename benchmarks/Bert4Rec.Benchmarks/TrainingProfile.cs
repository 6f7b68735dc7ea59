using System.Diagnostics;
using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Evaluation;
using Bert4Rec.Model;
using Bert4Rec.Training;

namespace Bert4Rec.Benchmarks;

/// <summary>What some training steps took, operation by operation: each call at its fastest of several rounds of the same steps.</summary>
/// <param name="Device">The kernels' name.</param>
/// <param name="Operations">What the calls of each operation cost in sum, threads added.</param>
/// <param name="ThreadSeconds">[threads] Processor time of each thread in all of them.</param>
/// <param name="Tokens">Tokens of the steps' sequences that have a target.</param>
/// <param name="EpochTokens">The same of a whole epoch.</param>
/// <param name="RoundSeconds">The fastest round, on the clock.</param>
internal sealed record TrainingProfile(
    string Device, IReadOnlyDictionary<string, Cost> Operations, double[] ThreadSeconds, long Tokens, long EpochTokens, double RoundSeconds)
{
    /// <summary>What the steps would be multiplied by to be an epoch.</summary>
    public double StepsToEpoch => EpochTokens / (double)Tokens;

    public Cost All => Operations.Values.Aggregate(default(Cost), (sum, cost) => sum + cost);

    /// <summary>Processor time of what does not depend on the catalogue's size.</summary>
    public double EncoderSeconds =>
        Operations.Where(pair => !DependsOnCatalogue(pair.Key)).Sum(pair => pair.Value.Seconds);

    public static TrainingProfile Measure(RunConfig config, InteractionDataset dataset, int threads, int steps, int rounds)
    {
        var split = Splitter.Split(dataset, config.EvalArgs);
        var sequences = TrainingSequences.Of(config, dataset, split);
        using var device = new DeviceSet("cpu", threads);
        KernelProfile[] profiles = [.. device.Kernels.Select(_ => new KernelProfile())];
        for (int i = 0; i < profiles.Length; i++)
            device.Kernels[i].Observer = profiles[i];
        using var trainer = new Trainer(
            TrainerSettings.Of(config, dataset.ItemCount),
            dataset,
            sequences,
            device.Kernels,
            device.Workers,
            TrainingStatistics.Count(dataset, split.Train).EventCounts);
        trainer.BeginEpoch(1);
        int count = trainer.EpochSequences.Count;
        double fastest = double.PositiveInfinity;
        for (int round = 0; round <= rounds; round++)
        {
            foreach (var profile in profiles)
                profile.BeginRound();
            // The same step numbers draw the same masks: every round does the same work.
            trainer.Step = 0;
            long start = Stopwatch.GetTimestamp();
            for (int step = 0, first = 0; step < steps && first < count; step++, first += config.TrainBatchSize)
                trainer.TrainStep(first, Math.Min(config.TrainBatchSize, count - first));
            fastest = Math.Min(fastest, Stopwatch.GetElapsedTime(start).TotalSeconds);
        }
        var sums = new Dictionary<string, Cost>();
        foreach (var (name, cost) in profiles.SelectMany(k => k.Calls))
            sums[name] = sums.GetValueOrDefault(name) + cost;
        return new(
            device.Kernels[0].Name,
            sums,
            [.. profiles.Select(k => k.Calls.Sum(call => call.Cost.Seconds))],
            profiles.Sum(k => k.Tokens),
            trainer.EpochSequences.Where(trainer.HasTarget).Sum(sequence => (long)sequence.Length),
            fastest);
    }

    private static bool DependsOnCatalogue(string operation) =>
        operation.StartsWith("SoftmaxCrossEntropy", StringComparison.Ordinal)
        || operation is "Adam" or "AdamRows" or "Add" or "Fill" or "GradientNorm";
}
