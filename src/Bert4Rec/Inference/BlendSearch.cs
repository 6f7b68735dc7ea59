using System.Text.Json.Serialization;
using Bert4Rec.Evaluation;
using Bert4Rec.Model;

namespace Bert4Rec.Inference;

/// <summary>What the validation part says of a blend.</summary>
/// <param name="Weights">The best of those tried; <see cref="BlendWeights.None"/> where none is better than the model alone by more than
/// chance.</param>
/// <param name="Samples">How many samples they were tried on.</param>
/// <param name="Without">Mean NDCG of the model alone on them.</param>
/// <param name="With">Mean NDCG with the weights.</param>
/// <param name="P">Of the paired test between the two; 1 for the model alone.</param>
public sealed record BlendChoice(BlendWeights Weights, int Samples, double Without, double With, double P)
{
    /// <summary>The epoch that is best without a blend, where the last is taken, which is better with one; null elsewhere.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public int? InsteadOfEpoch { get; init; }
}

/// <summary>What a sample's gain depends on, whatever the weights.</summary>
/// <param name="Others">The model's scores of the k best items that are not blended, best first.</param>
/// <param name="Scores">The model's scores of the blended items, the target among them.</param>
/// <param name="Terms">What the rules know of them.</param>
/// <param name="Target">Which of them is the target; <see cref="LeftOut"/> where the target must not be in the list, as one that was seen
/// already where those are left out: no weights gain by it.</param>
internal sealed record BlendSample(float[] Others, float[] Scores, BlendTerms[] Terms, int Target)
{
    public const int LeftOut = -1;

    /// <summary>NDCG@k, k being the number of others.</summary>
    public double Gain(BlendWeights weights)
    {
        if (Target == LeftOut)
            return 0;
        float score = Scores[Target] + weights.Boost(Terms[Target]);
        int better = 0;
        while (better < Others.Length && Others[better] > score)
            better++;
        for (int i = 0; i < Scores.Length && better < Others.Length; i++)
            better += i != Target && Scores[i] + weights.Boost(Terms[i]) > score ? 1 : 0;
        return MetricAccumulator.Gain(new(better, 0, 0), Others.Length);
    }
}

/// <summary>
/// Chooses the weights of a <see cref="Blend"/> by NDCG: the two of the transitions from a grid, then the two of the history, then that of
/// what is alike; then those of the transitions, and of what is alike, again. Then, twice, that of the very next item and
/// all others after it, which are kept if they are better by more than chance: where a few samples choose, one number more would rather
/// fit those.
/// </summary>
internal sealed class BlendSearch
{
    /// <summary>Samples that are enough to tell weights apart; of more, as many are taken at even distances.</summary>
    public const int EnoughSamples = 10_000;

    /// <summary>Lists need be no longer to tell weights apart, and each sample keeps a score a place.</summary>
    public const int LongestList = 1000;

    private static readonly float[] s_transitions = [0, 0.3f, 0.6f, 1, 1.5f, 2, 3, 4, 6, 8], s_scales = [10, 100, 1000, 10_000];
    private static readonly float[] s_seen = [BlendWeights.LeavesOut, -8, -2, -0.5f, 0, 0.5f, 1, 2, 4, 8], s_recent = [0, 1, 2, 4, 8, 16];
    private static readonly float[] s_similar = [0, 0.3f, 0.6f, 1, 1.5f, 2, 3, 4, 6, 8, 12];
    private static readonly float[] s_next = [0.3f, 0.6f, 1, 1.5f, 2, 3, 4, 6, 8, 12, 16];

    private readonly BlendSample[] _samples;
    private readonly int[] _users;
    private readonly Workers _workers;
    private readonly double[] _alone;
    private double[] _best;
    private BlendWeights _weights = BlendWeights.None with { Shrinkage = ItemTransitions.Shrinkage };

    private BlendSearch(BlendSample[] samples, int[] users, Workers workers)
    {
        _samples = samples;
        _users = users;
        _workers = workers;
        _best = _alone = Gains(_weights);
    }

    /// <param name="samples">At least one.</param>
    /// <param name="users">[samples] Whose each is.</param>
    /// <param name="workers">Share the samples.</param>
    /// <param name="metric">The name of what is compared.</param>
    public static BlendChoice Choose(BlendSample[] samples, int[] users, Workers workers, string metric)
    {
        var search = new BlendSearch(samples, users, workers);
        search.TryTransitions();
        search.TryHistory();
        search.TrySimilar();
        search.TryTransitions();
        search.TrySimilar();
        search.TryNext(metric);
        double alone = search._alone.Average(), best = search._best.Average();
        var comparison = Comparison.Of(metric, search._best, search._alone, users);
        return comparison.IsBetter
            ? new(search._weights, samples.Length, alone, best, comparison.P)
            : new(BlendWeights.None, samples.Length, alone, alone, 1);
    }

    private void TryTransitions() => Try(
        from scale in s_scales
        from transition in s_transitions
        select _weights with { Transition = transition, Scale = scale });

    private void TryHistory() => Try(
        from seen in s_seen
        from recent in s_recent
        select _weights with { Seen = seen, Recent = recent });

    private void TrySimilar()
    {
        if (_samples.Any(sample => sample.Terms.Any(terms => terms.Similarity != 0)))
            Try(s_similar.Select(similar => _weights with { Similar = similar }));
    }

    private void TryNext(string metric)
    {
        var (weights, best) = (_weights, _best);
        for (int round = 0; round < 2; round++)
        {
            Try(s_next.Select(next => _weights with { Next = next }));
            if (_weights.Next == 0)
                return;
            TryTransitions();
            TryHistory();
            TrySimilar();
        }
        if (!Comparison.Of(metric, _best, best, _users).IsBetter)
            (_weights, _best) = (weights, best);
    }

    private void Try(IEnumerable<BlendWeights> trials)
    {
        foreach (var trial in trials)
        {
            double[] gains = Gains(trial);
            if (gains.Sum() > _best.Sum())
                (_weights, _best) = (trial, gains);
        }
    }

    /// <summary>[samples]</summary>
    private double[] Gains(BlendWeights weights)
    {
        var gains = new double[_samples.Length];
        _workers.Run(worker =>
        {
            for (int i = worker; i < gains.Length; i += _workers.Count)
                gains[i] = _samples[i].Gain(weights);
        });
        return gains;
    }
}
