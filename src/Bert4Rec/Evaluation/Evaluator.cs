using Bert4Rec.Configuration;
using Bert4Rec.Data;

namespace Bert4Rec.Evaluation;

/// <summary>What an evaluation measured.</summary>
/// <param name="Metrics">Values by RecBole's names ("recall@10"), in the order of the settings.</param>
/// <param name="StandardErrors">Of those that are means over samples of what the target's place alone decides.</param>
/// <param name="Gains">[samples] NDCG of each at <see cref="EvaluationSettings.ComparedCutoff"/>.</param>
/// <param name="Places">[items] How many of the longest lists an item is in.</param>
internal sealed record Measurement(
    IReadOnlyDictionary<string, double> Metrics, IReadOnlyDictionary<string, double> StandardErrors, double[] Gains, int[] Places);

/// <summary>
/// Ranks the catalogue, or some of it, for every sample and reports the metrics: streaming, a batch of samples at a time.
/// </summary>
/// <remarks>
/// In the sampled modes each sample is ranked against its own candidates, an item drawn twice counting once. (RecBole puts the samples of
/// one user in one list there; with leave-one-out, one sample a user, that is the same.)
/// </remarks>
internal static class Evaluator
{
    /// <summary>List places, or candidates, of a batch: bounds its memory where the lists are long.</summary>
    private const int LargestBatch = 1 << 26;

    /// <param name="dataset">The events that the samples point into.</param>
    /// <param name="training">Counts of the training part.</param>
    /// <param name="progress">Told after each batch.</param>
    /// <returns>Values by RecBole's names ("recall@10"), in the order of the settings.</returns>
    /// <exception cref="InputException">There are no samples.</exception>
    public static IReadOnlyDictionary<string, double> Evaluate(
        IRanker ranker,
        InteractionDataset dataset,
        TrainingStatistics training,
        ReadOnlyMemory<Sample> samples,
        EvaluationSettings settings,
        IProgress<ProgressUpdate>? progress = null) =>
        Measure(ranker, dataset, training, samples, settings, progress).Metrics;

    /// <summary>As <see cref="Evaluate"/>, with what a comparison needs besides.</summary>
    /// <inheritdoc cref="Evaluate"/>
    internal static Measurement Measure(
        IRanker ranker,
        InteractionDataset dataset,
        TrainingStatistics training,
        ReadOnlyMemory<Sample> samples,
        EvaluationSettings settings,
        IProgress<ProgressUpdate>? progress = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(settings.BatchSize, 1);
        if (samples.IsEmpty)
        {
            throw new InputException(
                "no samples to evaluate: the split leaves none in this part (leave-one-out needs users of three or more events)");
        }
        var metrics = new MetricAccumulator(settings.Metrics, settings.TopK, training.ItemCounts);
        // No list is longer than the catalogue, whatever length a metric is named after.
        int k = Math.Clamp(settings.TopK.Max(), 1, dataset.ItemCount - 1);
        int batchSize = Math.Min(
            settings.BatchSize, Math.Min(samples.Length, Math.Max(1, LargestBatch / Math.Max(k, settings.Mode.Draws + 1))));
        var topItems = new int[batchSize * k];
        var places = new TargetRank[batchSize];
        var gains = new double[samples.Length];
        var sampled = settings.Mode.Source == CandidateSource.Full
            ? null
            : new SampledRanking(ranker, dataset, training, settings, batchSize);
        for (int start = 0; start < samples.Length; start += batchSize)
        {
            var batch = samples.Span.Slice(start, Math.Min(batchSize, samples.Length - start));
            var seen = settings.ExcludeSeen ? SeenItems.Of(dataset, batch) : null;
            if (sampled is null)
                ranker.Rank(dataset, batch, k, topItems.AsSpan(0, batch.Length * k), places.AsSpan(0, batch.Length), seen);
            else
                sampled.Rank(batch, k, topItems, places, seen);
            for (int i = 0; i < batch.Length; i++)
            {
                bool isLeftOut = seen?.Contains(i, dataset.Target(batch[i])) ?? false;
                if (isLeftOut)
                    places[i] = TargetRank.Last;
                int ranked = sampled?.Ranked[i] ?? dataset.ItemCount - 1 - (seen?[i].Length ?? 0);
                gains[start + i] = MetricAccumulator.Gain(places[i], settings.ComparedCutoff);
                metrics.Add(topItems.AsSpan(i * k, k), places[i], isLeftOut ? ranked + 1 : ranked, batch[i].User);
            }
            progress?.Report(new($"evaluating {ranker.Name}", start + batch.Length, samples.Length, "samples"));
        }
        return new(metrics.Result(), metrics.StandardErrors(), gains, metrics.Places);
    }

    /// <summary>Ranks each target against its drawn candidates.</summary>
    private sealed class SampledRanking(
        IRanker ranker, InteractionDataset dataset, TrainingStatistics training, EvaluationSettings settings, int batchSize)
    {
        private readonly CandidateSampler _sampler = new(settings.Mode, settings.Seed, training.ItemCounts);
        private readonly int[] _candidates = new int[batchSize * (settings.Mode.Draws + 1)];
        private readonly float[] _scores = new float[batchSize * (settings.Mode.Draws + 1)];

        /// <summary>[batch] Distinct candidates of each sample, without those left out.</summary>
        public int[] Ranked { get; } = new int[batchSize];

        public void Rank(ReadOnlySpan<Sample> batch, int k, Span<int> topItems, Span<TargetRank> places, SeenItems? seen)
        {
            int width = settings.Mode.Draws + 1;
            for (int i = 0; i < batch.Length; i++)
                _sampler.Draw(batch[i].Event, dataset.Target(batch[i]), _candidates.AsSpan(i * width, width));
            ranker.Score(dataset, batch, _candidates.AsSpan(0, batch.Length * width), _scores.AsSpan(0, batch.Length * width));
            for (int i = 0; i < batch.Length; i++)
            {
                int target = _candidates[i * width];
                float targetScore = _scores[i * width];
                (int Item, float Score)[] ranking =
                [
                    .. _candidates.Skip(i * width).Take(width).Zip(_scores.Skip(i * width))
                        .Where(c => !(seen?.Contains(i, c.First) ?? false))
                        .DistinctBy(c => c.First).OrderByDescending(c => c.Second).ThenBy(c => c.First),
                ];
                places[i] = new(
                    ranking.Count(c => c.Score > targetScore),
                    ranking.Count(c => c.Score == targetScore) - 1,
                    ranking.Count(c => c.Score == targetScore && c.Item < target));
                Ranked[i] = ranking.Length;
                var list = topItems.Slice(i * k, k);
                list.Clear();
                for (int j = 0; j < Math.Min(k, ranking.Length); j++)
                    list[j] = ranking[j].Item;
            }
        }
    }
}
