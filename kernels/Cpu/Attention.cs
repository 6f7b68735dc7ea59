namespace Bert4Rec.Kernels.Cpu;

/// <summary>
/// Multi-head attention over ragged sequences. A block of queries meets all keys of its sequence at once: the scores of one block and head
/// live in the first-level cache between the two products, and the backward makes them again from the saved log-sum-exp.
/// </summary>
internal static unsafe class Attention<S, V>
    where S : struct, ISimd<V>
    where V : struct
{
    private const int QueryBlock = 48;

    public static void Forward(
        Scratch scratch, float* q, float* kv, int* queryOffsets, int* keyOffsets, int sequences, int heads, int maximumLength, in DropoutMask dropout, float* output, float* logSumExp, int h)
    {
        int d = h / heads;
        var work = new Workspace(scratch, d, maximumLength);
        float scale = 1f / MathF.Sqrt(d);
        for (int b = 0; b < sequences; b++)
        {
            int firstQuery = queryOffsets[b], queries = queryOffsets[b + 1] - firstQuery;
            if (queries == 0)
                continue;
            int keys = keyOffsets[b + 1] - keyOffsets[b], stride = MatMul<S, V>.RoundUp(keys);
            for (int head = 0; head < heads; head++)
            {
                float* k = kv + ((long)keyOffsets[b] * 2 * h) + (head * d);
                var headDropout = ForHead(dropout, head);
                MatMul<S, V>.Transpose(k, 2 * h, keys, d, work.KeysTransposed, stride);
                for (int first = 0; first < queries; first += QueryBlock)
                {
                    int row = firstQuery + first, block = Math.Min(QueryBlock, queries - first);
                    long at = ((long)row * h) + (head * d);
                    MatMul<S, V>.Product(block, stride, d, q + at, h, 1, work.KeysTransposed, stride, work.Zeros, 0, work.P, stride);
                    for (int i = 0; i < block; i++)
                        logSumExp[((row + i) * heads) + head] = Softmax(work.P + (i * stride), keys, scale, headDropout, (uint)(row + i), work.Mask);
                    MatMul<S, V>.Product(block, d, keys, work.P, stride, 1, k + h, 2 * h, work.Zeros, 0, output + at, h);
                }
            }
        }
    }

    public static void Backward(
        Scratch scratch, float* dOutput, float* q, float* kv, float* output, float* logSumExp, int* queryOffsets, int* keyOffsets, int sequences, int heads, int maximumLength, in DropoutMask dropout, float* dq, float* dkv, int h)
    {
        int d = h / heads;
        var work = new Workspace(scratch, d, maximumLength);
        float scale = 1f / MathF.Sqrt(d);
        for (int b = 0; b < sequences; b++)
        {
            int firstQuery = queryOffsets[b], queries = queryOffsets[b + 1] - firstQuery;
            int keys = keyOffsets[b + 1] - keyOffsets[b], stride = MatMul<S, V>.RoundUp(keys);
            long keyStart = (long)keyOffsets[b] * 2 * h;
            new Span<float>(dkv + keyStart, keys * 2 * h).Clear();
            if (queries == 0)
                continue;
            for (int head = 0; head < heads; head++)
            {
                float* k = kv + keyStart + (head * d);
                float* dk = dkv + keyStart + (head * d);
                var headDropout = ForHead(dropout, head);
                MatMul<S, V>.Transpose(k, 2 * h, keys, d, work.KeysTransposed, stride);
                MatMul<S, V>.Transpose(k + h, 2 * h, keys, d, work.ValuesTransposed, stride);
                for (int first = 0; first < queries; first += QueryBlock)
                {
                    int row = firstQuery + first, block = Math.Min(QueryBlock, queries - first);
                    long at = ((long)row * h) + (head * d);
                    MatMul<S, V>.Product(block, stride, d, q + at, h, 1, work.KeysTransposed, stride, work.Zeros, 0, work.P, stride);
                    MatMul<S, V>.Product(block, stride, d, dOutput + at, h, 1, work.ValuesTransposed, stride, work.Zeros, 0, work.DP, stride);
                    for (int i = 0; i < block; i++)
                    {
                        long rowAt = at + ((long)i * h);
                        float delta = Dot(dOutput + rowAt, output + rowAt, d);
                        SoftmaxBackward(
                            work.P + (i * stride), work.DP + (i * stride), keys, scale, logSumExp[((row + i) * heads) + head], delta, headDropout, (uint)(row + i), work.Mask);
                    }
                    MatMul<S, V>.Product(keys, d, block, work.P, 1, stride, dOutput + at, h, dk + h, 2 * h, dk + h, 2 * h);
                    MatMul<S, V>.Product(keys, d, block, work.DP, 1, stride, q + at, h, dk, 2 * h, dk, 2 * h);
                    MatMul<S, V>.Product(block, d, keys, work.DP, stride, 1, k, 2 * h, work.Zeros, 0, dq + at, h);
                }
            }
        }
    }

    /// <summary>Turns a row of q·k into dropped-out probabilities; returns log Σ exp of the scaled scores. Lanes past the keys become 0.</summary>
    private static float Softmax(float* p, int keys, float scale, in DropoutMask dropout, uint row, float* mask)
    {
        var largest = S.Broadcast(float.NegativeInfinity);
        for (int j = 0; j < keys; j += S.Width)
            largest = S.Max(largest, S.Select(Simd<S, V>.FirstLanes(keys - j), S.Load(p + j), S.Broadcast(float.NegativeInfinity)));
        float max = S.MaxLane(largest) * scale;
        var total = S.Broadcast(0);
        for (int j = 0; j < keys; j += S.Width)
        {
            var e = Simd<S, V>.Exp(S.MultiplyAdd(S.Load(p + j), S.Broadcast(scale), S.Broadcast(-max)));
            e = S.Select(Simd<S, V>.FirstLanes(keys - j), e, S.Broadcast(0));
            total = S.Add(total, e);
            S.Store(e, p + j);
        }
        float sum = S.Sum(total);
        var inverse = S.Broadcast(1f / sum);
        if (!dropout.IsNone)
            Simd<S, V>.DropoutRow(dropout, dropout.Key.FirstRow + row, mask, keys);
        for (int j = 0; j < keys; j += S.Width)
        {
            var probability = S.Multiply(S.Load(p + j), inverse);
            S.Store(dropout.IsNone ? probability : S.Multiply(probability, S.Load(mask + j)), p + j);
        }
        return max + MathF.Log(sum);
    }

    /// <summary>From q·k and dOutput·v of a row: p becomes M ∘ P, dp becomes P ∘ (M ∘ dp − delta) / √d.</summary>
    private static void SoftmaxBackward(
        float* p, float* dp, int keys, float scale, float logSumExp, float delta, in DropoutMask dropout, uint row, float* mask)
    {
        if (!dropout.IsNone)
            Simd<S, V>.DropoutRow(dropout, dropout.Key.FirstRow + row, mask, keys);
        for (int j = 0; j < keys; j += S.Width)
        {
            var probability = Simd<S, V>.Exp(S.MultiplyAdd(S.Load(p + j), S.Broadcast(scale), S.Broadcast(-logSumExp)));
            probability = S.Select(Simd<S, V>.FirstLanes(keys - j), probability, S.Broadcast(0));
            var m = dropout.IsNone ? S.Broadcast(1) : S.Load(mask + j);
            var dProbability = S.Subtract(S.Multiply(S.Load(dp + j), m), S.Broadcast(delta));
            S.Store(S.Multiply(S.Multiply(probability, dProbability), S.Broadcast(scale)), dp + j);
            S.Store(S.Multiply(probability, m), p + j);
        }
    }

    private static float Dot(float* a, float* b, int length)
    {
        var sum = S.Broadcast(0);
        for (int j = 0; j < length; j += S.Width)
            sum = S.MultiplyAdd(Simd<S, V>.LoadFirst(a + j, length - j), Simd<S, V>.LoadFirst(b + j, length - j), sum);
        return S.Sum(sum);
    }

    private static DropoutMask ForHead(in DropoutMask dropout, int head) =>
        dropout.IsNone ? dropout : new(dropout.Probability, dropout.Key with { Stream = dropout.Key.Stream + ((uint)head << 16) });

    private readonly ref struct Workspace
    {
        public Workspace(Scratch scratch, int d, int maximumLength)
        {
            int stride = MatMul<S, V>.RoundUp(maximumLength) + 64;
            int zeros = Math.Max(stride, d) + 64;
            float* p = scratch.Request(zeros + (2L * d * stride) + (2L * QueryBlock * stride) + stride + 64);
            Zeros = p;
            new Span<float>(Zeros, zeros).Clear();
            KeysTransposed = Zeros + zeros;
            ValuesTransposed = KeysTransposed + ((long)d * stride);
            P = ValuesTransposed + ((long)d * stride);
            DP = P + ((long)QueryBlock * stride);
            Mask = DP + ((long)QueryBlock * stride);
        }

        public float* Zeros { get; }

        public float* KeysTransposed { get; }

        public float* ValuesTransposed { get; }

        public float* P { get; }

        public float* DP { get; }

        public float* Mask { get; }
    }
}
