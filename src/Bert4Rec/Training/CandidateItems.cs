using Bert4Rec.Data;
using Bert4Rec.Kernels;

namespace Bert4Rec.Training;

/// <summary>
/// Sampled softmax: the items that a step's scores are taken of, instead of the whole catalogue, and what is added to the scores so that
/// their softmax still speaks of the catalogue.
/// </summary>
/// <remarks>
/// <para>The candidates are the batch's own events B, all of them, and D, what N draws with replacement from a proposal q leave. An item v
/// outside of B is in D with probability π(v) = 1 − (1 − q(v))ᴺ. So the sum that stands for
/// Z = Σ exp(s(v)) over the catalogue,</para>
/// <para>Ẑ = Σ exp(s(v)) over B + Σ exp(s(v)) / π(v) over D without B = Σ exp(s(v) + c(v)) over both, c(v) = 0 in B,
/// else −log π(v),</para>
/// <para>has the mean Z whatever the batch is (Horvitz and Thompson, "A Generalization of Sampling Without Replacement from a Finite
/// Universe", JASA 47, 1952), and the loss log Ẑ − s(target) is the cross-entropy of the candidates with c as a bias: importance
/// sampling as of Bengio and Senécal, "Adaptive Importance Sampling to Accelerate Training of a Neural Probabilistic Language Model", IEEE
/// Trans. Neural Networks 19(4), 2008, with the log-probability correction of TensorFlow's sampled_softmax_loss. A target is in B, so its
/// score is not corrected, and an item that is drawn and a target, an accidental hit there, is one candidate here. log Ẑ and its
/// gradient, a quotient of sums, are off by O(1/N).</para>
/// <para>The variance of Ẑ is least where π(v) ∝ exp(s(v)): q follows the training events, whose frequencies the scores learn first,
/// to the power of 3/4 as word2vec's, so that rare items are not drawn too rarely to be told apart: q(v) ∝ (1 + events of v)^¾. The
/// batch itself is the part of the sample that follows them to the power of 1.</para>
/// </remarks>
internal sealed class CandidateItems
{
    /// <summary>Apart from the other rows of numbers of a run: orders, windows, masks, dropout.</summary>
    private const uint Stream = 0x53534D58;

    private const int Absent = -1;

    private readonly ulong _seed;
    private readonly int _samples;
    private readonly int _ahead;

    /// <summary>[items] Σ of the weights up to and with an item.</summary>
    private readonly double[] _cumulative;

    /// <summary>[items] The compact id, or Absent.</summary>
    private readonly int[] _places;

    private readonly int[] _items;
    private readonly float[] _corrections;
    private readonly int[] _events;
    private readonly SequenceSpan[] _sequences;
    private int _sequenceCount;

    /// <param name="samples">N; of as many as the catalogue has items or more, every item is a candidate, without a correction.</param>
    /// <param name="eventCounts">[items] how often each occurs among the training events.</param>
    /// <param name="seed">Of the draws.</param>
    /// <param name="batchSize">Sequences of a batch, at most.</param>
    /// <param name="maximumLength">Events of a sequence, at most.</param>
    /// <param name="predictsNext">Whether the event after each sequence belongs to it as a target.</param>
    public CandidateItems(int samples, int[] eventCounts, ulong seed, int batchSize, int maximumLength, bool predictsNext)
    {
        _seed = seed;
        _samples = samples;
        _ahead = predictsNext ? 1 : 0;
        _cumulative = new double[eventCounts.Length];
        double sum = 0;
        for (int item = 0; item < eventCounts.Length; item++)
        {
            // x^¾ by roots alone, which every machine rounds alike.
            double root = Math.Sqrt(1 + eventCounts[item]);
            sum += root * Math.Sqrt(root);
            _cumulative[item] = sum;
        }
        _places = new int[eventCounts.Length];
        Array.Fill(_places, Absent);
        long events = (long)batchSize * (maximumLength + _ahead);
        Capacity = (int)Math.Min(eventCounts.Length, 1 + events + samples);
        _items = new int[Capacity + 1];
        _corrections = new float[Capacity];
        _events = new int[events];
        _sequences = new SequenceSpan[batchSize];
    }

    /// <summary>Candidates of a step, at most.</summary>
    public int Capacity { get; }

    /// <summary>Candidates of the step.</summary>
    public int Count { get; private set; }

    /// <summary>[Count + 1] Their ids by compact id, and room for one more. Compact id 0 is the padding item.</summary>
    public Span<int> Items => _items.AsSpan(0, Count + 1);

    /// <summary>[Count] c, by compact id.</summary>
    public ReadOnlySpan<float> Corrections => _corrections.AsSpan(0, Count);

    /// <summary>The batch's events as compact ids, sequence by sequence; where the next are predicted, with the one after each.</summary>
    public int[] Events => _events;

    /// <summary>The batch's sequences, in <see cref="Events"/>.</summary>
    public ReadOnlySpan<SequenceSpan> Sequences => _sequences.AsSpan(0, _sequenceCount);

    /// <summary>Draws a step's candidates, the same for (seed, step, batch) whoever works on them.</summary>
    /// <param name="sequences">The batch.</param>
    public void Draw(int step, int[] events, ReadOnlySpan<SequenceSpan> sequences)
    {
        foreach (int item in _items.AsSpan(0, Count))
            _places[item] = Absent;
        Count = 0;
        Place(0, 1);
        _sequenceCount = sequences.Length;
        int next = 0;
        for (int b = 0; b < sequences.Length; b++)
        {
            var (start, length) = sequences[b];
            _sequences[b] = new(next, length);
            foreach (int item in events.AsSpan(start, length + _ahead))
                _events[next++] = Place(item, 1);
        }
        if (_samples >= _places.Length)
        {
            for (int item = 0; item < _places.Length; item++)
                Place(item, 1);
            return;
        }
        var random = new PhiloxSequence(_seed, Stream, (uint)step);
        for (int i = 0; i < _samples; i++)
        {
            int item = CumulativeWeights.Find(_cumulative, random.NextUnit() * _cumulative[^1]);
            Place(item, InclusionProbability(item));
        }
    }

    /// <summary>π: how likely an item is among the draws.</summary>
    private double InclusionProbability(int item)
    {
        double weight = _cumulative[item] - (item > 0 ? _cumulative[item - 1] : 0);
        return 1 - Math.Pow(1 - (weight / _cumulative[^1]), _samples);
    }

    /// <summary>The compact id of an item, which becomes a candidate where it is none yet.</summary>
    private int Place(int item, double probability)
    {
        ref int place = ref _places[item];
        if (place == Absent)
        {
            place = Count++;
            _items[place] = item;
            _corrections[place] = (float)-Math.Log(probability);
        }
        return place;
    }
}
