using System.Runtime.Intrinsics;

namespace Bert4Rec.Kernels.Cpu;

/// <summary>The SIMD backend: one thread, vectors as wide as the machine has.</summary>
public static class CpuKernels
{
    /// <summary>Kernels with the widest vectors that this machine runs in hardware.</summary>
    public static IKernels Create() => Create(Vector512.IsHardwareAccelerated ? 512 : Vector256.IsHardwareAccelerated ? 256 : 128);

    /// <summary>Kernels with vectors of so many bits; wider than the hardware's they are right, but slow.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The width is not 512, 256 or 128.</exception>
    public static IKernels Create(int bits) => bits switch
    {
        512 => new CpuKernels<Simd512, Vector512<float>>("cpu (512-bit vectors)"),
        256 => new CpuKernels<Simd256, Vector256<float>>("cpu (256-bit vectors)"),
        128 => new CpuKernels<Simd128, Vector128<float>>("cpu (128-bit vectors)"),
        _ => throw new ArgumentOutOfRangeException(nameof(bits), $"vectors of {bits} bits: 512, 256 and 128 are there"),
    };
}

internal sealed unsafe class CpuKernels<S, V>(string name) : IKernels
    where S : struct, ISimd<V>
    where V : struct
{
    private readonly Scratch _scratch = new();

    public string Name => name;

    public DeviceBuffer<float> AllocateFloats(long length) => new CpuBuffer<float>(length);

    public DeviceBuffer<int> AllocateInts(long length) => new CpuBuffer<int>(length);

    public void Dispose() => _scratch.Dispose();

    public void Fill(Tensor x, float value)
    {
        float* p = At(x);
        for (long i = 0; i < x.Length; i += 1 << 30)
            new Span<float>(p + i, (int)Math.Min(1 << 30, x.Length - i)).Fill(value);
    }

    public void Add(Tensor target, Tensor addend)
    {
        Require(target.Length == addend.Length, "target and addend of equal length");
        Embedding<S, V>.AddRows(At(target), At(addend), At(target), target.Length);
    }

    public void AddSum(Tensor x, Tensor accumulator)
    {
        float* p = At(x);
        double sum = 0;
        for (long i = 0; i < x.Length; i++)
            sum += p[i];
        *At(accumulator) += (float)sum;
    }

    public void EmbeddingForward(Indices tokens, Indices positions, Tensor items, Tensor positionTable, Tensor x)
    {
        Require(x.Rows == tokens.Length && x.Rows == positions.Length && x.Columns == items.Columns && x.Columns == positionTable.Columns, "x [tokens, H]");
        Embedding<S, V>.Forward(At(tokens), At(positions), At(items), At(positionTable), At(x), x.Rows, x.Columns);
    }

    public void EmbeddingBackward(Indices tokens, Indices positions, Tensor dx, Tensor dItems, Tensor dPositions)
    {
        Require(dx.Rows == tokens.Length && dx.Rows == positions.Length && dx.Columns == dItems.Columns && dx.Columns == dPositions.Columns, "dx [tokens, H]");
        Embedding<S, V>.Backward(At(tokens), At(positions), At(dx), At(dItems), At(dPositions), dx.Rows, dx.Columns);
    }

    public void LinearForward(Tensor x, Tensor weight, Tensor bias, Tensor y)
    {
        CheckLinear(x, weight, y, bias);
        MatMul<S, V>.Forward(_scratch, At(x), At(weight), At(bias), At(y), null, false, x.Rows, weight.Rows, weight.Columns);
    }

    public void LinearGeluForward(Tensor x, Tensor weight, Tensor bias, Tensor y, Tensor slope)
    {
        CheckLinear(x, weight, y, bias);
        MatMul<S, V>.Forward(_scratch, At(x), At(weight), At(bias), At(y), OrNull(slope), true, x.Rows, weight.Rows, weight.Columns);
    }

    public void LinearBackwardInput(Tensor dy, Tensor weight, Tensor slope, Tensor dx, bool accumulate)
    {
        CheckLinear(dx, weight, dy, default);
        Require(slope.IsNone || !accumulate, "no slope where dx accumulates");
        MatMul<S, V>.BackwardInput(_scratch, At(dy), At(weight), OrNull(slope), At(dx), accumulate, dy.Rows, weight.Rows, weight.Columns);
    }

    public void LinearBackwardWeight(Tensor dy, Tensor x, Tensor dWeight, Tensor dBias)
    {
        CheckLinear(x, dWeight, dy, dBias);
        MatMul<S, V>.BackwardWeight(At(dy), At(x), At(dWeight), At(dBias), dy.Rows, dWeight.Rows, dWeight.Columns);
    }

    public void GeluBackward(Tensor dy, Tensor slope)
    {
        Require(dy.Length == slope.Length, "dy and slope of equal length");
        Gelu<S, V>.Backward(At(dy), At(slope), dy.Length);
    }

    public void Dropout(Tensor x, in Dropout dropout) => DropoutLayer<S, V>.Apply(_scratch, At(x), dropout, x.Rows, x.Columns);

    public void LayerNormForward(Tensor x, Tensor residual, in Dropout dropout, Tensor gain, Tensor bias, float epsilon, Tensor y, Tensor statistics)
    {
        Require(y.Length == x.Length && gain.Length == x.Columns && bias.Length == x.Columns && statistics.Length == 2L * x.Rows, "y [T, H], gain [H], statistics [T, 2]");
        Require(!residual.IsNone || dropout.IsNone, "a residual where there is dropout");
        LayerNorm<S, V>.Forward(_scratch, At(x), OrNull(residual), dropout, At(gain), At(bias), epsilon, At(y), At(statistics), x.Rows, x.Columns);
    }

    public void LayerNormBackward(Tensor dy, Tensor x, Tensor gain, Tensor statistics, in Dropout dropout, Tensor dSum, Tensor dInput, Tensor dGain, Tensor dBias)
    {
        Require(dy.Length == x.Length && dSum.Length == x.Length && statistics.Length == 2L * x.Rows, "dy and dSum [T, H], statistics [T, 2]");
        LayerNorm<S, V>.Backward(
            _scratch, At(dy), At(x), At(gain), At(statistics), dropout, At(dSum), OrNull(dInput), At(dGain), At(dBias), x.Rows, x.Columns);
    }

    public void AttentionForward(Tensor q, Tensor kv, Indices queryOffsets, Indices keyOffsets, int heads, int maximumLength, in Dropout dropout, Tensor output, Tensor logSumExp)
    {
        CheckAttention(q, kv, queryOffsets, keyOffsets, heads, output, logSumExp);
        Attention<S, V>.Forward(
            _scratch, At(q), At(kv), At(queryOffsets), At(keyOffsets), queryOffsets.Length - 1, heads, maximumLength, dropout, At(output), At(logSumExp), q.Columns);
    }

    public void AttentionBackward(Tensor dOutput, Tensor q, Tensor kv, Tensor output, Tensor logSumExp, Indices queryOffsets, Indices keyOffsets, int heads, int maximumLength, in Dropout dropout, Tensor dq, Tensor dkv)
    {
        CheckAttention(q, kv, queryOffsets, keyOffsets, heads, output, logSumExp);
        Require(dq.Length == q.Length && dkv.Length == kv.Length && dOutput.Length == output.Length, "gradients shaped as what they are of");
        Attention<S, V>.Backward(
            _scratch, At(dOutput), At(q), At(kv), At(output), At(logSumExp), At(queryOffsets), At(keyOffsets), queryOffsets.Length - 1, heads, maximumLength, dropout, At(dq), At(dkv), q.Columns);
    }

    public int ClozeMask(Indices tokens, Indices offsets, in ClozeMasking masking, Indices maskedTokens, Indices maskedRows, Indices targets, Indices maskedOffsets)
    {
        Require(maskedTokens.Length >= tokens.Length && maskedRows.Length >= tokens.Length && targets.Length >= tokens.Length && maskedOffsets.Length == offsets.Length, "room for T entries");
        return ClozeMask<S, V>.Draw(
            _scratch, At(tokens), At(offsets), offsets.Length - 1, masking, At(maskedTokens), At(maskedRows), At(targets), At(maskedOffsets));
    }

    public void GatherRows(Tensor x, Indices rows, Tensor y)
    {
        Require(y.Rows == rows.Length && y.Columns == x.Columns, "y [rows, H]");
        Embedding<S, V>.Gather(At(x), At(rows), At(y), rows.Length, x.Columns);
    }

    public void GatherRowsBackward(Tensor dy, Indices rows, Tensor dx)
    {
        Require(dy.Rows == rows.Length && dy.Columns == dx.Columns, "dy [rows, H]");
        Embedding<S, V>.GatherBackward(At(dy), At(rows), At(dx), rows.Length, dx.Columns);
    }

    public void SoftmaxCrossEntropyForward(Tensor h, Tensor items, Tensor bias, Indices targets, Tensor losses, Tensor logSumExp)
    {
        CheckScores(h, items, bias);
        Require(targets.Length == h.Rows && losses.Length == h.Rows && logSumExp.Length == h.Rows, "targets, losses and logSumExp [M]");
        SoftmaxCrossEntropy<S, V>.Forward(
            _scratch, At(h), At(items), At(bias), At(targets), At(losses), At(logSumExp), h.Rows, items.Rows, items.Columns);
    }

    public void SoftmaxCrossEntropyBackward(Tensor h, Tensor items, Tensor bias, Indices targets, Tensor logSumExp, float scale, Tensor dh, Tensor dItems, Tensor dBias)
    {
        CheckScores(h, items, bias);
        Require(targets.Length == h.Rows && logSumExp.Length == h.Rows && dh.Length == h.Length && dItems.Length >= items.Length, "targets and logSumExp [M], dh [M, H]");
        SoftmaxCrossEntropy<S, V>.Backward(
            _scratch, At(h), At(items), At(bias), At(targets), At(logSumExp), scale, At(dh), At(dItems), At(dBias), h.Rows, items.Rows, items.Columns);
    }

    public double SumOfSquares(Tensor x) => AdamOptimizer<S, V>.SumOfSquares(At(x), x.Length);

    public void Adam(Tensor parameters, Tensor gradients, Tensor firstMoments, Tensor secondMoments, in AdamStep step)
    {
        Require(gradients.Length == parameters.Length && firstMoments.Length == parameters.Length && secondMoments.Length == parameters.Length, "four buffers of equal length");
        AdamOptimizer<S, V>.Update(At(parameters), At(gradients), At(firstMoments), At(secondMoments), step, parameters.Length);
    }

    public void TopK(Tensor h, Tensor items, Tensor bias, Indices targets, Indices excludedOffsets, Indices excludedItems, Indices topItems, Tensor topScores, Indices targetRanks)
    {
        CheckScores(h, items, bias);
        Require(topItems.Length == topScores.Length && topScores.Rows == h.Rows && topScores.Columns > 0, "topItems and topScores [B, k]");
        Require(targets.IsNone == targetRanks.IsNone && (targets.IsNone || (targets.Length == h.Rows && targetRanks.Length == 3 * h.Rows)), "targets [B] with ranks [B·3]");
        TopK<S, V>.Rank(
            _scratch, At(h), At(items), At(bias), OrNull(targets), OrNull(excludedOffsets), OrNull(excludedItems), At(topItems), At(topScores), OrNull(targetRanks), h.Rows, items.Rows, items.Columns, topScores.Columns);
    }

    public void ScoreItems(Tensor h, Tensor items, Tensor bias, Indices candidates, Tensor scores)
    {
        CheckScores(h, items, bias);
        Require(candidates.Length == scores.Length && scores.Rows == h.Rows, "candidates and scores [B, C]");
        TopK<S, V>.Score(At(h), At(items), At(bias), At(candidates), At(scores), scores.Rows, scores.Columns, items.Columns);
    }

    private static void CheckLinear(Tensor x, Tensor weight, Tensor y, Tensor bias) =>
        Require(
            x.Rows == y.Rows && x.Columns == weight.Columns && y.Columns == weight.Rows && (bias.IsNone || bias.Length == weight.Rows),
            "x [T, K], weight [N, K], bias [N], y [T, N]");

    private static void CheckAttention(Tensor q, Tensor kv, Indices queryOffsets, Indices keyOffsets, int heads, Tensor output, Tensor logSumExp) =>
        Require(
            q.Columns % heads == 0 && kv.Columns == 2 * q.Columns && queryOffsets.Length == keyOffsets.Length && output.Length == q.Length
                && logSumExp.Length == (long)q.Rows * heads,
            "q and output [Q, H], kv [T, 2H], offsets [B+1], logSumExp [Q, heads], heads dividing H");

    private static void CheckScores(Tensor h, Tensor items, Tensor bias) =>
        Require(h.Columns == items.Columns && bias.Length == items.Rows, "h [M, H], items [V, H], bias [V]");

    private static void Require(bool condition, string shapes)
    {
        if (!condition)
            throw new ArgumentException($"the operands do not fit together: {shapes}");
    }

    private static float* At(Tensor x) => ((CpuBuffer<float>)x.Buffer).Pointer + x.Offset;

    private static float* OrNull(Tensor x) => x.IsNone ? null : At(x);

    private static int* At(Indices x) => ((CpuBuffer<int>)x.Buffer).Pointer + x.Offset;

    private static int* OrNull(Indices x) => x.IsNone ? null : At(x);
}
