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
    private readonly BlendedRanking?[] _blending;
    private readonly Workers _workers;
    private readonly ModelShape _shape;

    public ModelRanker(
        IReadOnlyList<KernelSet> kernels, Workers workers, ParameterLayout layout, DeviceBuffer<float> parameters, bool recboleCompatible)
    {
        _workers = workers;
        _shape = layout.Shape;
        int capacity = MicroBatchSize.Tokens(layout.Shape, kernels[0], BatchSize);
        _blending = new BlendedRanking?[kernels.Count];
        _predictors = [.. kernels.Select(k => new Predictor(k, layout, parameters, capacity, recboleCompatible))];
    }

    /// <summary>The same model without a blend; what it computes with stays the other's.</summary>
    private ModelRanker(ModelRanker blended)
    {
        (_workers, _shape, _predictors) = (blended._workers, blended._shape, blended._predictors);
        _blending = new BlendedRanking?[_predictors.Length];
        Name = Baselines.NoBlend;
    }

    public string Name { get; } = "the model";

    /// <summary>Ranks with a blend from now on; with null by the model alone, as at first.</summary>
    /// <param name="blend">Made for the same catalogue.</param>
    public void Use(Blend? blend)
    {
        for (int worker = 0; worker < _blending.Length; worker++)
            _blending[worker] = blend is null || blend.Weights == BlendWeights.None ? null : new BlendedRanking(blend, _shape.ItemCount);
    }

    /// <summary>The model without its blend; none where there is no blend.</summary>
    public IEnumerable<IRanker> Unblended => _blending[0] is null ? [] : [new ModelRanker(this)];

    /// <summary>Chooses a blend's weights by NDCG@k on samples.</summary>
    /// <param name="dataset">The events that the samples point into.</param>
    /// <param name="samples">At least one.</param>
    /// <param name="rules">What may count beside the model (<see cref="Blend.ToChoose"/>).</param>
    /// <param name="k">Length of the lists.</param>
    /// <param name="excludeSeen">Whether the items of the histories are left out.</param>
    /// <param name="progress">Told after each batch.</param>
    public BlendChoice ChooseBlend(
        InteractionDataset dataset,
        ReadOnlySpan<Sample> samples,
        Blend rules,
        int k,
        bool excludeSeen,
        IProgress<ProgressUpdate>? progress)
    {
        int count = Math.Min(samples.Length, BlendSearch.EnoughSamples);
        var chosen = new Sample[count];
        for (int i = 0; i < count; i++)
            chosen[i] = samples[(int)((long)samples.Length * i / count)];
        var seen = excludeSeen ? SeenItems.Of(dataset, chosen) : null;
        var collected = new BlendSample[count];
        _workers.Run(worker =>
        {
            var ranking = new BlendedRanking(rules, dataset.ItemCount);
            int end = Start(worker + 1, count);
            Predictor predictor = _predictors[worker];
            for (int first = Start(worker, count); first < end; first += predictor.Count)
            {
                Fill(predictor, dataset, chosen.AsSpan(first..end));
                ranking.Clear();
                var targets = new int[predictor.Count];
                for (int i = 0; i < targets.Length; i++)
                {
                    targets[i] = dataset.Target(chosen[first + i]);
                    ranking.Add(
                        dataset.History(chosen[first + i], int.MaxValue), seen is null ? [] : seen[first + i], targets[i]);
                }
                ranking.Collect(predictor, k, targets, collected.AsSpan(first, targets.Length));
                if (worker == 0)
                    progress?.Report(new("choosing the blend", _predictors.Length * (first + (long)targets.Length), count, "samples"));
            }
        });
        return BlendSearch.Choose(collected, [.. chosen.Select(sample => sample.User)], _workers, $"ndcg@{k}");
    }

    public unsafe void Rank(
        InteractionDataset dataset,
        ReadOnlySpan<Sample> samples,
        int k,
        Span<int> topItems,
        Span<TargetRank> places,
        SeenItems? seen = null)
    {
        fixed (Sample* samplesAt = samples)
        fixed (int* topItemsAt = topItems)
        fixed (TargetRank* placesAt = places)
        {
            // The workers end before the pins do.
            var (s, t, p, n) = ((nint)samplesAt, (nint)topItemsAt, (nint)placesAt, samples.Length);
            _workers.Run(worker =>
            {
                int first = Start(worker, n), end = Start(worker + 1, n);
                RankShare(
                    worker,
                    dataset,
                    new ReadOnlySpan<Sample>((Sample*)s + first, end - first),
                    k,
                    new Span<int>((int*)t + ((long)first * k), (end - first) * k),
                    new Span<TargetRank>((TargetRank*)p + first, end - first),
                    seen,
                    first);
            });
        }
    }

    public unsafe void Score(
        InteractionDataset dataset, ReadOnlySpan<Sample> samples, ReadOnlySpan<int> candidates, Span<float> scores)
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
                    worker,
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

    /// <param name="worker">Whose predictor and blend do it.</param>
    /// <param name="dataset">The events that the samples point into.</param>
    /// <param name="samples">The worker's share of them.</param>
    /// <param name="k">Length of each list.</param>
    /// <param name="topItems">[share × k]</param>
    /// <param name="places">[share]</param>
    /// <param name="seen">What is left out, of all samples.</param>
    /// <param name="start">Which of them the share's first one is.</param>
    private void RankShare(
        int worker,
        InteractionDataset dataset,
        ReadOnlySpan<Sample> samples,
        int k,
        Span<int> topItems,
        Span<TargetRank> places,
        SeenItems? seen,
        int start)
    {
        var (predictor, blending) = (_predictors[worker], _blending[worker]);
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
            Span<int> theirTargets = targets.AsSpan(0, count), lists = topItems.Slice(first * k, count * k);
            if (blending is null)
            {
                predictor.TopK(k, theirTargets, [], offsets, leftOut, lists, scores, counts);
            }
            else
            {
                blending.Clear();
                for (int i = 0; i < count; i++)
                {
                    ReadOnlySpan<int> itsLeftOut = seen is null ? [] : seen[start + first + i];
                    blending.Add(dataset.History(samples[first + i], int.MaxValue), itsLeftOut, targets[i]);
                }
                if (!blending.TopK(predictor, k, theirTargets, lists, scores, counts))
                    throw NotFinite();
            }
            for (int i = 0; i < count; i++)
            {
                var rank = new TargetRank(counts[3 * i], counts[(3 * i) + 1], counts[(3 * i) + 2]);
                int sample = first + i, listed = Math.Min(k, dataset.ItemCount - 1 - (seen?[start + sample].Length ?? 0));
                bool isListed = rank.Position < listed && !(seen?.Contains(start + sample, targets[i]) ?? false);
                // No number is greater than NaN: a target with such a score would count as the first, though the list has another there.
                // With a blend that is known by now, and in a low precision two of nearly the same score may stand the other way round:
                // the target's is computed anew, in full precision.
                if (blending is null && isListed && topItems[(sample * k) + rank.Position] != targets[i])
                    throw NotFinite();
                ThrowIfNotFinite(scores.AsSpan(i * k, listed));
                places[sample] = rank;
            }
        }
    }

    private void ScoreShare(
        int worker, InteractionDataset dataset, ReadOnlySpan<Sample> samples, ReadOnlySpan<int> candidates, Span<float> scores)
    {
        var (predictor, blending) = (_predictors[worker], _blending[worker]);
        int width = candidates.Length / Math.Max(1, samples.Length);
        for (int first = 0; first < samples.Length; first += predictor.Count)
        {
            Fill(predictor, dataset, samples[first..]);
            var share = scores.Slice(first * width, predictor.Count * width);
            var theirs = candidates.Slice(first * width, share.Length);
            predictor.Score(theirs, share);
            if (blending is not null)
            {
                for (int i = 0; i < predictor.Count; i++)
                {
                    var history = dataset.History(samples[first + i], int.MaxValue);
                    blending.AddTo(history, theirs.Slice(i * width, width), share.Slice(i * width, width));
                }
            }
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

    /// <summary>What is said of scores that cannot be ranked.</summary>
    public static InputException NotFinite() => new(
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
            if (!predictor.TryAdd(dataset.History(sample, _shape.MaximumLength)))
                break;
        }
    }
}
