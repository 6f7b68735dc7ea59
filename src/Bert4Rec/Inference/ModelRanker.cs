using Bert4Rec.Data;
using Bert4Rec.Evaluation;
using Bert4Rec.Kernels;
using Bert4Rec.Model;

namespace Bert4Rec.Inference;

/// <summary>The model as a ranker of samples: a contiguous share of them for each kernel set.</summary>
internal sealed class ModelRanker : IRanker, IDisposable
{
    /// <summary>Histories that a device ranks at once, at most.</summary>
    private const int BatchSize = 4096;

    private readonly Predictor[] _predictors;
    private readonly Workers _workers;
    private readonly int _maximumLength;

    public ModelRanker(
        IReadOnlyList<KernelSet> kernels, Workers workers, ParameterLayout layout, DeviceBuffer<float> parameters, bool recboleCompatible)
    {
        _workers = workers;
        _maximumLength = layout.Shape.MaximumLength;
        int capacity = MicroBatchSize.Tokens(layout.Shape, kernels[0], BatchSize);
        _predictors = [.. kernels.Select(k => new Predictor(k, layout, parameters, capacity, recboleCompatible))];
    }

    public string Name => "the model";

    public unsafe void Rank(
        InteractionDataset dataset, ReadOnlySpan<Sample> samples, int k, Span<int> topItems, Span<TargetRank> ranks, SeenItems? seen = null)
    {
        fixed (Sample* samplesAt = samples)
        fixed (int* topItemsAt = topItems)
        fixed (TargetRank* ranksAt = ranks)
        {
            // The workers end before the pins do.
            var (s, t, r, n) = ((nint)samplesAt, (nint)topItemsAt, (nint)ranksAt, samples.Length);
            _workers.Run(worker =>
            {
                int first = Start(worker, n), end = Start(worker + 1, n);
                RankShare(
                    _predictors[worker],
                    dataset,
                    new ReadOnlySpan<Sample>((Sample*)s + first, end - first),
                    k,
                    new Span<int>((int*)t + ((long)first * k), (end - first) * k),
                    new Span<TargetRank>((TargetRank*)r + first, end - first),
                    seen,
                    first);
            });
        }
    }

    public unsafe void Score(InteractionDataset dataset, ReadOnlySpan<Sample> samples, ReadOnlySpan<int> candidates, Span<float> scores)
    {
        fixed (Sample* samplesAt = samples)
        fixed (int* candidatesAt = candidates)
        fixed (float* scoresAt = scores)
        {
            var (s, c, o, n) = ((nint)samplesAt, (nint)candidatesAt, (nint)scoresAt, samples.Length);
            int width = candidates.Length / Math.Max(1, n);
            _workers.Run(worker =>
            {
                int first = Start(worker, n), end = Start(worker + 1, n);
                ScoreShare(
                    _predictors[worker],
                    dataset,
                    new ReadOnlySpan<Sample>((Sample*)s + first, end - first),
                    new ReadOnlySpan<int>((int*)c + ((long)first * width), (end - first) * width),
                    new Span<float>((float*)o + ((long)first * width), (end - first) * width));
            });
        }
    }

    public void Dispose()
    {
        foreach (var predictor in _predictors)
            predictor.Dispose();
    }

    private int Start(int worker, int samples) => (int)((long)samples * worker / _predictors.Length);

    /// <param name="predictor">The worker's own.</param>
    /// <param name="dataset">The events that the samples point into.</param>
    /// <param name="samples">The worker's share of them.</param>
    /// <param name="k">Length of each list.</param>
    /// <param name="topItems">[share × k]</param>
    /// <param name="ranks">[share]</param>
    /// <param name="seen">What is left out, of all samples.</param>
    /// <param name="start">Which of them the share's first one is.</param>
    private void RankShare(
        Predictor predictor,
        InteractionDataset dataset,
        ReadOnlySpan<Sample> samples,
        int k,
        Span<int> topItems,
        Span<TargetRank> ranks,
        SeenItems? seen,
        int start)
    {
        int[] targets = new int[samples.Length], counts = new int[3 * samples.Length];
        var scores = new float[samples.Length * k];
        for (int first = 0; first < samples.Length; first += predictor.Count)
        {
            Fill(predictor, dataset, samples[first..]);
            int count = predictor.Count;
            for (int i = 0; i < count; i++)
                targets[i] = dataset.Target(samples[first + i]);
            int[] offsets = seen is null ? [] : seen.Offsets[(start + first)..(start + first + count + 1)];
            ReadOnlySpan<int> leftOut = seen is null ? [] : seen.Items.AsSpan(offsets[0]..offsets[^1]);
            for (int i = offsets.Length - 1; i >= 0; i--)
                offsets[i] -= offsets[0];
            predictor.TopK(k, targets.AsSpan(0, count), offsets, leftOut, topItems.Slice(first * k, count * k), scores, counts);
            for (int i = 0; i < count; i++)
            {
                var rank = new TargetRank(counts[3 * i], counts[(3 * i) + 1], counts[(3 * i) + 2]);
                int sample = first + i, listed = Math.Min(k, dataset.ItemCount - 1 - (seen?[start + sample].Length ?? 0));
                bool isListed = rank.Position < listed && !(seen?.Contains(start + sample, targets[i]) ?? false);
                // No number is greater than NaN: a target with such a score would count as the first, though the list has another there.
                if (isListed && topItems[(sample * k) + rank.Position] != targets[i])
                    throw NotFinite();
                ThrowIfNotFinite(scores.AsSpan(i * k, listed));
                ranks[sample] = rank;
            }
        }
    }

    private void ScoreShare(
        Predictor predictor, InteractionDataset dataset, ReadOnlySpan<Sample> samples, ReadOnlySpan<int> candidates, Span<float> scores)
    {
        int width = candidates.Length / Math.Max(1, samples.Length);
        for (int first = 0; first < samples.Length; first += predictor.Count)
        {
            Fill(predictor, dataset, samples[first..]);
            var share = scores.Slice(first * width, predictor.Count * width);
            predictor.Score(candidates.Slice(first * width, predictor.Count * width), share);
            ThrowIfNotFinite(share);
        }
    }

    private static void ThrowIfNotFinite(ReadOnlySpan<float> scores)
    {
        foreach (float score in scores)
        {
            if (!float.IsFinite(score))
                throw NotFinite();
        }
    }

    private static InputException NotFinite() => new(
        "the model gives scores that are no finite numbers, which cannot be ranked; "
        + "train with a tenth of learning_rate, or clip_grad_norm: 5")
    {
        IsDivergence = true,
    };

    /// <summary>As many of the samples' histories as fit.</summary>
    private void Fill(Predictor predictor, InteractionDataset dataset, ReadOnlySpan<Sample> samples)
    {
        predictor.Clear();
        foreach (var sample in samples)
        {
            if (!predictor.TryAdd(dataset.History(sample, _maximumLength)))
                break;
        }
    }
}
