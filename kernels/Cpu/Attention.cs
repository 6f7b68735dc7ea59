namespace Bert4Rec.Kernels.Cpu;

/// <summary>
/// Multi-head attention over ragged sequences. A block of queries meets all keys of its sequence at once: the scores of one block and head
/// live in the first-level cache between the two products, and the backward makes them again from the saved log-sum-exp.
/// </summary>
internal static unsafe class Attention<V>
    where V : struct, IVector<V>
{
    private const int QueryBlock = 48;

    public static void Forward(
        Scratch scratch, float* q, float* kv, int* queryOffsets, int* keyOffsets, int sequences, int heads, int maximumLength, in Dropout dropout, float* output, float* logSumExp, int h)
    {
        int d = h / heads;
        var work = new Workspace(scratch, d, maximumLength);
        float scale = 1f / MathF.Sqrt(d);
        for (int b = 0; b < sequences; b++)
        {
            int firstQuery = queryOffsets[b], queries = queryOffsets[b + 1] - firstQuery;
            if (queries == 0)
                continue;
            int keys = keyOffsets[b + 1] - keyOffsets[b], stride = Product<V>.RoundUp(keys);
            for (int head = 0; head < heads; head++)
            {
                float* k = kv + ((long)keyOffsets[b] * 2 * h) + (head * d);
                Matrix keysTransposed = new(work.KeysTransposed, stride), values = new(k + h, 2 * h), p = new(work.P, stride);
                var headDropout = ForHead(dropout, head);
                Product<V>.Transpose(k, 2 * h, keys, d, work.KeysTransposed, stride);
                for (int first = 0; first < queries; first += QueryBlock)
                {
                    int row = firstQuery + first, block = Math.Min(QueryBlock, queries - first);
                    long at = ((long)row * h) + (head * d);
                    Product<V>.MultiplyAdd(block, stride, d, new(q + at, h), keysTransposed, work.Zeros, p);
                    for (int i = 0; i < block; i++)
                        logSumExp[((row + i) * heads) + head] = Softmax(work.P + (i * stride), keys, scale, headDropout, (uint)(row + i), work.Mask);
                    Product<V>.MultiplyAdd(block, d, keys, p, values, work.Zeros, new(output + at, h));
                }
            }
        }
    }

    public static void Backward(
        Scratch scratch, float* dOutput, float* q, float* kv, float* output, float* logSumExp, int* queryOffsets, int* keyOffsets, int sequences, int heads, int maximumLength, in Dropout dropout, float* dq, float* dkv, int h)
    {
        int d = h / heads;
        var work = new Workspace(scratch, d, maximumLength);
        float scale = 1f / MathF.Sqrt(d);
        for (int b = 0; b < sequences; b++)
        {
            int firstQuery = queryOffsets[b], queries = queryOffsets[b + 1] - firstQuery;
            int keys = keyOffsets[b + 1] - keyOffsets[b], stride = Product<V>.RoundUp(keys);
            long keyStart = (long)keyOffsets[b] * 2 * h;
            new Span<float>(dkv + keyStart, keys * 2 * h).Clear();
            if (queries == 0)
                continue;
            for (int head = 0; head < heads; head++)
            {
                float* k = kv + keyStart + (head * d), dk = dkv + keyStart + (head * d);
                Matrix keysTransposed = new(work.KeysTransposed, stride), valuesTransposed = new(work.ValuesTransposed, stride);
                Matrix dKeys = new(dk, 2 * h), dValues = new(dk + h, 2 * h), p = new(work.P, stride), dp = new(work.DP, stride);
                var headDropout = ForHead(dropout, head);
                Product<V>.Transpose(k, 2 * h, keys, d, work.KeysTransposed, stride);
                Product<V>.Transpose(k + h, 2 * h, keys, d, work.ValuesTransposed, stride);
                for (int first = 0; first < queries; first += QueryBlock)
                {
                    int row = firstQuery + first, block = Math.Min(QueryBlock, queries - first);
                    long at = ((long)row * h) + (head * d);
                    Product<V>.MultiplyAdd(block, stride, d, new(q + at, h), keysTransposed, work.Zeros, p);
                    Product<V>.MultiplyAdd(block, stride, d, new(dOutput + at, h), valuesTransposed, work.Zeros, dp);
                    for (int i = 0; i < block; i++)
                    {
                        long rowAt = at + ((long)i * h);
                        float delta = Dot(dOutput + rowAt, output + rowAt, d);
                        SoftmaxBackward(
                            work.P + (i * stride), work.DP + (i * stride), keys, scale, logSumExp[((row + i) * heads) + head], delta, headDropout, (uint)(row + i), work.Mask);
                    }
                    Product<V>.MultiplyAdd(keys, d, block, p.Transposed, new(dOutput + at, h), dValues, dValues);
                    Product<V>.MultiplyAdd(keys, d, block, dp.Transposed, new(q + at, h), dKeys, dKeys);
                    Product<V>.MultiplyAdd(block, d, keys, dp, new(k, 2 * h), work.Zeros, new(dq + at, h));
                }
            }
        }
    }

    /// <summary>Turns a row of q·k into dropped-out probabilities; returns log Σ exp of the scaled scores. Lanes past the keys become 0.</summary>
    private static float Softmax(float* p, int keys, float scale, in Dropout dropout, uint row, float* mask)
    {
        V largest = float.NegativeInfinity;
        for (int j = 0; j < keys; j += V.Width)
            largest = V.Max(largest, V.SelectFirst(keys - j, V.Load(p + j), float.NegativeInfinity));
        float max = V.MaxLane(largest) * scale;
        V total = 0;
        for (int j = 0; j < keys; j += V.Width)
        {
            var e = V.Exp(V.MultiplyAdd(V.Load(p + j), scale, -max));
            e = V.SelectFirst(keys - j, e, 0);
            total += e;
            e.Store(p + j);
        }
        float sum = V.Sum(total);
        V inverse = 1f / sum;
        if (!dropout.IsNone)
            DropoutLayer<V>.DrawRow(dropout, row, mask, keys);
        for (int j = 0; j < keys; j += V.Width)
        {
            var probability = V.Load(p + j) * inverse;
            (dropout.IsNone ? probability : probability * V.Load(mask + j)).Store(p + j);
        }
        return max + MathF.Log(sum);
    }

    /// <summary>From q·k and dOutput·v of a row: p becomes M ∘ P, dp becomes P ∘ (M ∘ dp − delta) / √d.</summary>
    private static void SoftmaxBackward(
        float* p, float* dp, int keys, float scale, float logSumExp, float delta, in Dropout dropout, uint row, float* mask)
    {
        if (!dropout.IsNone)
            DropoutLayer<V>.DrawRow(dropout, row, mask, keys);
        for (int j = 0; j < keys; j += V.Width)
        {
            var probability = V.Exp(V.MultiplyAdd(V.Load(p + j), scale, -logSumExp));
            probability = V.SelectFirst(keys - j, probability, 0);
            V m = dropout.IsNone ? 1 : V.Load(mask + j);
            var dProbability = V.Load(dp + j) * m - delta;
            (probability * dProbability * scale).Store(dp + j);
            (probability * m).Store(p + j);
        }
    }

    private static float Dot(float* a, float* b, int length)
    {
        V sum = 0;
        for (int j = 0; j < length; j += V.Width)
            sum = V.MultiplyAdd(V.LoadFirst(a + j, length - j), V.LoadFirst(b + j, length - j), sum);
        return V.Sum(sum);
    }

    private static Dropout ForHead(in Dropout dropout, int head) =>
        dropout.IsNone ? dropout : new(dropout.Probability, dropout.Key with { Stream = dropout.Key.Stream + ((uint)head << 16) });

    private readonly ref struct Workspace
    {
        public Workspace(Scratch scratch, int d, int maximumLength)
        {
            int stride = Product<V>.RoundUp(maximumLength) + 64;
            int zeros = Math.Max(stride, d) + 64;
            float* p = scratch.Request(zeros + (2L * d * stride) + (2L * QueryBlock * stride) + stride + 64);
            Zeros = new(p, 0);
            new Span<float>(p, zeros).Clear();
            KeysTransposed = p + zeros;
            ValuesTransposed = KeysTransposed + ((long)d * stride);
            P = ValuesTransposed + ((long)d * stride);
            DP = P + ((long)QueryBlock * stride);
            Mask = DP + ((long)QueryBlock * stride);
        }

        /// <summary>One row of zeros for all, to start products from.</summary>
        public Matrix Zeros { get; }

        public float* KeysTransposed { get; }

        public float* ValuesTransposed { get; }

        public float* P { get; }

        public float* DP { get; }

        public float* Mask { get; }
    }
}
