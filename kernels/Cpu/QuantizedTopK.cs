using System.Numerics;
using System.Runtime.CompilerServices;

namespace Bert4Rec.Kernels.Cpu;

/// <summary>
/// Recommending for one customer takes as long as reading the item table. Here a quantized copy of it is read, in bfloat16 and so half as
/// long, and the exact score is computed only for items that the copy cannot rule out: where no score is further than e from its coarse
/// one, the k best items are among those whose coarse score is at least the k-th best coarse score − 2e.
/// </summary>
/// <remarks>
/// e follows from the Cauchy–Schwarz inequality: ‖h‖ times the largest distance between a row and its copy, and what rounding adds to
/// the two sums. It takes in a handful of items more than k.
/// </remarks>
internal sealed unsafe class QuantizedTopK<V> : IQuantizedTopK
    where V : struct, IVector<V>
{
    /// <summary>Items between two looks at the list.</summary>
    private const int ItemTile = 96;

    /// <summary>The largest relative error of rounding to a float.</summary>
    private const float UnitRoundoff = 1f / (1 << 24);

    private readonly int _count;
    private readonly int _size;
    private readonly Matrix _items;
    private readonly float* _bias;
    private readonly CpuBuffer<float> _coarse;
    private readonly int _paddedSize;
    private readonly float _distance;
    private readonly float _norm;
    private readonly float _largestBias;

    [ThreadStatic]
    private static Workspace? t_work;

    /// <param name="catalogue">weight [V, H], bias [V]; must stay as they are.</param>
    public QuantizedTopK(WeightAndBias catalogue)
    {
        (_count, _size) = (catalogue.Weight.Rows, catalogue.Weight.Columns);
        _items = new(catalogue.Weight);
        _bias = catalogue.Bias.Pointer();
        _paddedSize = (_size + (2 * V.Width) - 1) / (2 * V.Width) * 2 * V.Width;
        _coarse = new CpuBuffer<float>((long)_count * (_paddedSize / 2));
        double distance = 0, norm = 0;
        for (int item = 0; item < _count; item++)
        {
            var (rowDistance, rowNorm) = Copy(_items.Row(item), (uint*)CoarseRow(item), _size);
            distance = Math.Max(distance, rowDistance);
            norm = Math.Max(norm, rowNorm);
            _largestBias = MathF.Max(_largestBias, MathF.Abs(_bias[item]));
        }
        (_distance, _norm) = ((float)Math.Sqrt(distance), (float)Math.Sqrt(norm));
    }

    public bool TryTopK(Tensor h, ReadOnlySpan<int> excluded, Span<int> topItems, Span<float> topScores)
    {
        int wanted = topItems.Length;
        float* row = h.Pointer();
        float error = ErrorOf(row);
        if (wanted > _count / 8 || !float.IsFinite(error))
            return false;
        var work = t_work ??= new();
        Shortlist(work, row, excluded, wanted, 2 * error);
        topItems.Clear();
        topScores.Fill(float.NegativeInfinity);
        float least = work.Best[wanted - 1] - (2 * error);
        fixed (int* items = topItems)
        fixed (float* scores = topScores)
        {
            foreach (var (item, coarse) in work.Candidates)
            {
                if (coarse < least)
                    continue;
                float exact = TopK<V>.Score(row, _items.Row(item), _bias[item], _size);
                if (exact > scores[topItems.Length - 1])
                    TopK<V>.Insert(items, scores, topItems.Length, item, exact);
            }
        }
        return true;
    }

    public void Dispose() => _coarse.Dispose();

    private float* CoarseRow(int item) => _coarse.Pointer + ((long)item * (_paddedSize / 2));

    /// <summary>e: no score is further from its coarse one.</summary>
    private float ErrorOf(float* row)
    {
        double squares = 0;
        for (int j = 0; j < _size; j++)
            squares += (double)row[j] * row[j];
        float perNorm = _distance + (((2 * _size) + 4) * UnitRoundoff * _norm);
        return 1.01f * (((float)Math.Sqrt(squares) * perNorm) + (4 * UnitRoundoff * _largestBias));
    }

    /// <summary>Collects, in ascending order, the items whose coarse score was within the margin of the best ones so far.</summary>
    private void Shortlist(Workspace work, float* row, ReadOnlySpan<int> excluded, int wanted, float margin)
    {
        float* padded = work.Floats.Request(_paddedSize + ItemTile + V.Width), scores = padded + _paddedSize;
        new Span<float>(padded, _paddedSize).Clear();
        new ReadOnlySpan<float>(row, _size).CopyTo(new Span<float>(padded, _paddedSize));
        if (work.Best.Length < wanted)
            work.Best = new float[wanted];
        var best = work.Best.AsSpan(0, wanted);
        best.Fill(float.NegativeInfinity);
        work.Candidates.Clear();
        for (int first = 0; first < _count; first += ItemTile)
        {
            int tile = Math.Min(ItemTile, _count - first);
            ScoreCoarsely(padded, CoarseRow(first), _bias + first, scores, tile, _paddedSize / 2);
            for (int i = 0; i < tile; i += V.Width)
            {
                float least = best[^1] - margin;
                for (uint better = V.GreaterBits(V.Load(scores + i), MathF.BitDecrement(least)); better != 0; better &= better - 1)
                {
                    int at = i + BitOperations.TrailingZeroCount(better);
                    // Padding is never recommended.
                    if (at >= tile || first + at == 0 || excluded.BinarySearch(first + at) >= 0)
                        continue;
                    work.Candidates.Add((first + at, scores[at]));
                    Insert(best, scores[at]);
                }
            }
        }
    }

    /// <summary>Keeps the list in descending order.</summary>
    private static void Insert(Span<float> best, float score)
    {
        if (!(score > best[^1]))
            return;
        int place = best.Length - 1;
        for (; place > 0 && best[place - 1] < score; place--)
            best[place] = best[place - 1];
        best[place] = score;
    }

    /// <summary>scores[i] = row · coarse[i] + bias[i]; a word of a coarse row holds two elements, a vector's width apart.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ScoreCoarsely(float* row, float* coarse, float* bias, float* scores, int count, int words)
    {
        for (int i = 0; i < count; i += 4)
        {
            // Items that are not there repeat the last one.
            int i1 = Math.Min(i + 1, count - 1), i2 = Math.Min(i + 2, count - 1), i3 = Math.Min(i + 3, count - 1);
            float* item0 = coarse + ((long)i * words), item1 = coarse + ((long)i1 * words);
            float* item2 = coarse + ((long)i2 * words), item3 = coarse + ((long)i3 * words);
            V sum0 = 0, sum1 = sum0, sum2 = sum0, sum3 = sum0;
            for (int j = 0; j < words; j += V.Width)
            {
                V low = V.Load(row + (2 * j)), high = V.Load(row + (2 * j) + V.Width);
                V pair0 = V.Load(item0 + j), pair1 = V.Load(item1 + j), pair2 = V.Load(item2 + j), pair3 = V.Load(item3 + j);
                sum0 = V.MultiplyAdd(high, V.UpperHalves(pair0), V.MultiplyAdd(low, V.LowerHalves(pair0), sum0));
                sum1 = V.MultiplyAdd(high, V.UpperHalves(pair1), V.MultiplyAdd(low, V.LowerHalves(pair1), sum1));
                sum2 = V.MultiplyAdd(high, V.UpperHalves(pair2), V.MultiplyAdd(low, V.LowerHalves(pair2), sum2));
                sum3 = V.MultiplyAdd(high, V.UpperHalves(pair3), V.MultiplyAdd(low, V.LowerHalves(pair3), sum3));
            }
            scores[i] = V.Sum(sum0) + bias[i];
            scores[i1] = V.Sum(sum1) + bias[i1];
            scores[i2] = V.Sum(sum2) + bias[i2];
            scores[i3] = V.Sum(sum3) + bias[i3];
        }
    }

    /// <returns>The squared distance of the copy, and the row's squared norm.</returns>
    private static (double Distance, double Norm) Copy(float* row, uint* coarse, int size)
    {
        double distance = 0, norm = 0;
        for (int j = 0; j < size; j++)
        {
            uint half = ToBFloat16(row[j]);
            int lane = j % V.Width, word = (j / (2 * V.Width) * V.Width) + lane;
            coarse[word] |= j / V.Width % 2 == 0 ? half : half << 16;
            double lost = row[j] - BitConverter.UInt32BitsToSingle(half << 16);
            distance += lost * lost;
            norm += (double)row[j] * row[j];
        }
        return (distance, norm);
    }

    /// <summary>The upper half of the bits, rounded to nearest, ties to even.</summary>
    private static uint ToBFloat16(float x)
    {
        uint bits = BitConverter.SingleToUInt32Bits(x);
        return (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
    }

    /// <summary>What one thread works in.</summary>
    private sealed class Workspace
    {
        public Scratch Floats { get; } = new();

        public List<(int Item, float Score)> Candidates { get; } = [];

        public float[] Best { get; set; } = [];
    }
}
