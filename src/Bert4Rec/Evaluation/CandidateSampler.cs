using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Kernels;

namespace Bert4Rec.Evaluation;

/// <summary>
/// Draws the items that a target competes with. As in RecBole's RepeatableSampler, the one it uses for sequential models: with replacement,
/// never the target, and items of the history may be drawn.
/// </summary>
/// <remarks>
/// RecBole takes popularity from the targets of all three parts; here it is that of the training part, so that nothing of the test part
/// leaks into its own evaluation. What is drawn depends on (seed, sample) only, not on how the samples are batched.
/// </remarks>
internal sealed class CandidateSampler
{
    // Streams of the evaluation; training's are the small numbers.
    private const uint Stream = 0xE7A10000;

    private readonly EvaluationMode _mode;
    private readonly ulong _seed;
    private readonly int _itemCount;

    /// <summary>[items] Σ of the training counts up to and with an item.</summary>
    private readonly long[] _cumulative;

    public CandidateSampler(EvaluationMode mode, ulong seed, int[] trainItemCounts)
    {
        _mode = mode;
        _seed = seed;
        _itemCount = trainItemCounts.Length;
        _cumulative = new long[_itemCount];
        for (int i = 1; i < _itemCount; i++)
            _cumulative[i] = _cumulative[i - 1] + trainItemCounts[i];
    }

    /// <summary>
    /// Fills <paramref name="candidates"/> with the target and the items drawn; where there is no other item, with the target alone.
    /// </summary>
    /// <param name="sampleEvent">The sample's event, which is its random numbers' row.</param>
    public void Draw(int sampleEvent, int target, Span<int> candidates)
    {
        candidates.Fill(target);
        var random = new PhiloxSequence(_seed, Stream + (uint)_mode.Source, (uint)sampleEvent);
        foreach (ref int candidate in candidates[1..])
            candidate = _mode.Source == CandidateSource.Uniform ? DrawUniform(ref random, target) : DrawByPopularity(ref random, target);
    }

    private int DrawUniform(ref PhiloxSequence random, int target)
    {
        int others = _itemCount - 2;
        if (others == 0)
            return target;
        int item = 1 + (int)random.NextBelow(others);
        return item < target ? item : item + 1;
    }

    private int DrawByPopularity(ref PhiloxSequence random, int target)
    {
        long before = _cumulative[target - 1], own = _cumulative[target] - before, others = _cumulative[^1] - own;
        if (others == 0)
            return target;
        long place = random.NextBelow(others);
        if (place >= before)
            place += own;
        return CumulativeWeights.Find(_cumulative, place);
    }
}
