using System.Runtime.CompilerServices;

namespace Bert4Rec.Kernels.Cpu;

/// <summary>
/// Multi-head attention over ragged sequences. A block of queries meets all keys of its sequence at once: the scores of one block and head
/// stay in cache (48 × 50 of them are 10 KB) between the two products, and the backward makes them again from the saved log-sum-exp. From
/// left to right, a block meets only the keys up to its newest query's, and in each of its rows the probabilities past the row's own key
/// are 0.
/// </summary>
internal static unsafe class Attention<V>
    where V : struct, IVector<V>
{
    /// <summary>Queries of a block: eight register tiles of six rows.</summary>
    private const int QueryBlock = 48;

    public static void Forward(
        Scratch scratch, Tensor q, Tensor kv, in AttentionLayout layout, in DropoutMask dropout, Tensor output, Tensor logSumExp)
    {
        int h = q.Columns, d = h / layout.Heads;
        int* queryOffsets = layout.QueryOffsets.Pointer(), keyOffsets = layout.KeyOffsets.Pointer();
        var work = new Workspace(scratch, d, layout.MaximumLength, dropout);
        Matrix qs = new(q), kvs = new(kv), outputs = new(output), logSumExps = new(logSumExp);
        float scale = 1f / MathF.Sqrt(d);
        for (int b = 0; b + 1 < layout.KeyOffsets.Length; b++)
        {
            int firstQuery = queryOffsets[b], queries = queryOffsets[b + 1] - firstQuery;
            if (queries == 0)
                continue;
            int keys = keyOffsets[b + 1] - keyOffsets[b], stride = Product<V>.RoundUp(keys);
            var causal = new CausalMask(queries, keys, layout.Causal);
            Matrix kT = new(work.KeysTransposed, stride); // [d, keys]
            Matrix p = new(work.P, stride);
            for (int head = 0; head < layout.Heads; head++)
            {
                Matrix k = kvs.From(keyOffsets[b], head * d), v = k.FromColumn(h);
                var headDropout = ForHead(dropout, head);
                Product<V>.Transpose(k, keys, d, kT);
                for (int first = 0; first < queries; first += QueryBlock)
                {
                    int row = firstQuery + first, block = Math.Min(QueryBlock, queries - first);
                    int seen = causal.KeysSeenBy(first + block - 1);
                    Product<V>.MultiplyAdd(block, Product<V>.RoundUp(seen), d, qs.From(row, head * d), kT, work.Zeros, p);
                    Softmax(p, causal, first, block, scale, headDropout, (uint)row, work.Mask, logSumExps.From(row, head));
                    Product<V>.MultiplyAdd(block, d, seen, p, v, work.Zeros, outputs.From(row, head * d));
                }
            }
        }
    }

    public static void Backward(
        Scratch scratch,
        Tensor dOutput,
        Tensor q,
        Tensor kv,
        Tensor output,
        Tensor logSumExp,
        in AttentionLayout layout,
        in DropoutMask dropout,
        Tensor dq,
        Tensor dkv)
    {
        int h = q.Columns, d = h / layout.Heads;
        int* queryOffsets = layout.QueryOffsets.Pointer(), keyOffsets = layout.KeyOffsets.Pointer();
        var work = new Workspace(scratch, d, layout.MaximumLength, dropout);
        Matrix qs = new(q), kvs = new(kv), outputs = new(output), logSumExps = new(logSumExp);
        Matrix dOutputs = new(dOutput), dqs = new(dq), dkvs = new(dkv);
        // D = rowsum(dO ∘ O), as in Reference.
        float* rowSums = stackalloc float[QueryBlock];
        float scale = 1f / MathF.Sqrt(d);
        for (int b = 0; b + 1 < layout.KeyOffsets.Length; b++)
        {
            int firstQuery = queryOffsets[b], queries = queryOffsets[b + 1] - firstQuery;
            int keys = keyOffsets[b + 1] - keyOffsets[b], stride = Product<V>.RoundUp(keys);
            new Span<float>(dkvs.Row(keyOffsets[b]), keys * 2 * h).Clear();
            if (queries == 0)
                continue;
            var causal = new CausalMask(queries, keys, layout.Causal);
            Matrix kT = new(work.KeysTransposed, stride), vT = new(work.ValuesTransposed, stride); // [d, keys]
            Matrix p = new(work.P, stride), dp = new(work.DP, stride);
            for (int head = 0; head < layout.Heads; head++)
            {
                Matrix k = kvs.From(keyOffsets[b], head * d), v = k.FromColumn(h);
                Matrix dk = dkvs.From(keyOffsets[b], head * d), dv = dk.FromColumn(h);
                var headDropout = ForHead(dropout, head);
                Product<V>.Transpose(k, keys, d, kT);
                Product<V>.Transpose(v, keys, d, vT);
                for (int first = 0; first < queries; first += QueryBlock)
                {
                    int row = firstQuery + first, block = Math.Min(QueryBlock, queries - first);
                    Matrix qBlock = qs.From(row, head * d), outputBlock = outputs.From(row, head * d);
                    var dOutputBlock = dOutputs.From(row, head * d);
                    int seen = causal.KeysSeenBy(first + block - 1);
                    Product<V>.MultiplyAdd(block, Product<V>.RoundUp(seen), d, qBlock, kT, work.Zeros, p);
                    Product<V>.MultiplyAdd(block, Product<V>.RoundUp(seen), d, dOutputBlock, vT, work.Zeros, dp);
                    for (int i = 0; i < block; i++)
                        rowSums[i] = Dot(dOutputBlock.Row(i), outputBlock.Row(i), d);
                    for (int i = 0; i < block; i++)
                    {
                        float rowSum = rowSums[i], lse = logSumExps.Row(row + i)[head];
                        int own = causal.KeysSeenBy(first + i);
                        if (!headDropout.IsNone)
                            Dropout<V>.DrawRow(headDropout, (uint)(row + i), work.Mask, own);
                        SoftmaxBackward(p.Row(i), dp.Row(i), own, scale, lse, rowSum, work.Mask);
                        ClearPast(own, seen, p.Row(i));
                        ClearPast(own, seen, dp.Row(i));
                    }
                    Product<V>.MultiplyAdd(seen, d, block, p.Transposed, dOutputBlock, dv, dv);
                    Product<V>.MultiplyAdd(seen, d, block, dp.Transposed, qBlock, dk, dk);
                    Product<V>.MultiplyAdd(block, d, seen, dp, k, work.Zeros, dqs.From(row, head * d));
                }
            }
        }
    }

    /// <summary>
    /// Turns rows of q·k into M ∘ P: 0 from the end of a row's own keys to the end of the block's. logSumExp gets log Σ exp of the
    /// scaled scores. All maxima, then all sums, then all probabilities: within a row each would wait for the one before.
    /// </summary>
    private static void Softmax(
        Matrix p, CausalMask causal, int first, int rows, float scale, in DropoutMask dropout, uint row, float* mask, Matrix logSumExp)
    {
        float* maxima = stackalloc float[QueryBlock], sums = stackalloc float[QueryBlock];
        for (int i = 0; i < rows; i++)
        {
            int keys = causal.KeysSeenBy(first + i);
            V largest = float.NegativeInfinity;
            int j = 0;
            for (; j + V.Width <= keys; j += V.Width)
                largest = V.Max(largest, V.Load(p.Row(i) + j));
            if (j < keys)
                largest = V.Max(largest, V.SelectFirst(keys - j, V.Load(p.Row(i) + j), float.NegativeInfinity));
            maxima[i] = V.MaxLane(largest) * scale;
        }
        for (int i = 0; i < rows; i++)
        {
            int keys = causal.KeysSeenBy(first + i);
            float* scores = p.Row(i);
            V total = 0, shift = -maxima[i];
            int j = 0;
            for (; j + V.Width <= keys; j += V.Width)
            {
                var e = V.Exp(V.MultiplyAdd(V.Load(scores + j), scale, shift));
                total += e;
                e.Store(scores + j);
            }
            if (j < keys)
            {
                var e = V.SelectFirst(keys - j, V.Exp(V.MultiplyAdd(V.Load(scores + j), scale, shift)), 0);
                total += e;
                e.Store(scores + j);
            }
            sums[i] = V.Sum(total);
        }
        int seen = causal.KeysSeenBy(first + rows - 1);
        for (int i = 0; i < rows; i++)
        {
            int keys = causal.KeysSeenBy(first + i);
            float* probabilities = p.Row(i);
            V inverse = 1f / sums[i];
            if (!dropout.IsNone)
                Dropout<V>.DrawRow(dropout, row + (uint)i, mask, keys);
            for (int j = 0; j < keys; j += V.Width)
                (V.Load(probabilities + j) * inverse * V.Load(mask + j)).Store(probabilities + j);
            ClearPast(keys, seen, probabilities);
            *logSumExp.Row(i) = maxima[i] + MathF.Log(sums[i]);
        }
    }

    /// <summary>Clears what a row has past its own keys, up to those that its block sees.</summary>
    private static void ClearPast(int keys, int seen, float* row)
    {
        if (keys == seen)
            return;
        int j = keys / V.Width * V.Width;
        V.SelectFirst(keys - j, V.Load(row + j), 0).Store(row + j);
        for (j += V.Width; j < seen; j += V.Width)
            default(V).Store(row + j);
    }

    /// <summary>Of a row, q·k and dO·v: p becomes M ∘ P; dp becomes dS / √d = P ∘ (M ∘ dp − D) / √d, D the row sum.</summary>
    private static void SoftmaxBackward(float* p, float* dp, int keys, float scale, float logSumExp, float rowSum, float* mask)
    {
        for (int j = 0; j < keys; j += V.Width)
        {
            V probability = V.Exp(V.MultiplyAdd(V.Load(p + j), scale, -logSumExp)), m = V.Load(mask + j);
            var dProbability = V.Load(dp + j) * m - rowSum;
            (probability * dProbability * scale).Store(dp + j);
            (probability * m).Store(p + j);
        }
    }

    private static float Dot(float* a, float* b, int length)
    {
        V sum = 0;
        int j = 0;
        for (; j + V.Width <= length; j += V.Width)
            sum = V.MultiplyAdd(V.Load(a + j), V.Load(b + j), sum);
        if (j < length)
            sum = V.MultiplyAdd(V.LoadFirst(a + j, length - j), V.LoadFirst(b + j, length - j), sum);
        return V.Sum(sum);
    }

    // Apart from its callers, which keep the compiler's inlining for what runs row by row.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static DropoutMask ForHead(in DropoutMask dropout, int head) =>
        dropout.IsNone ? dropout : new(dropout.Probability, dropout.Key with { Stream = dropout.Key.Stream + ((uint)head << 16) });

    /// <summary>Which keys of its sequence a query sees: all, or in a causal layout its own and the older ones.</summary>
    private readonly record struct CausalMask(int Queries, int Keys, bool IsCausal)
    {
        /// <summary>How many, from the oldest on.</summary>
        public int KeysSeenBy(int query) => IsCausal ? Keys - Queries + query + 1 : Keys;
    }

    private readonly ref struct Workspace
    {
        /// <summary>One row of zeros for all, to start products from.</summary>
        public readonly Matrix Zeros;
        public readonly float* KeysTransposed, ValuesTransposed, P, DP;

        /// <summary>Of a row: drawn for each, or ones where nothing is dropped.</summary>
        public readonly float* Mask;

        public Workspace(Scratch scratch, int d, int maximumLength, in DropoutMask dropout)
        {
            int stride = Product<V>.RoundUp(maximumLength), zeros = Product<V>.RoundUp(Math.Max(maximumLength, d));
            long ofKeys = (long)d * stride, ofScores = (long)QueryBlock * stride;
            float* memory = scratch.Request(zeros + (2 * ofKeys) + (2 * ofScores) + Dropout<V>.MaskLength(maximumLength));
            Zeros = new(memory, 0);
            new Span<float>(memory, zeros).Clear();
            KeysTransposed = memory + zeros;
            ValuesTransposed = KeysTransposed + ofKeys;
            P = ValuesTransposed + ofKeys;
            DP = P + ofScores;
            Mask = DP + ofScores;
            if (dropout.IsNone)
                new Span<float>(Mask, stride).Fill(1);
        }
    }
}
