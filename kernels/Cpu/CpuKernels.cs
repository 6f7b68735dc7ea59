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
        512 => new CpuKernels<F32x16>("cpu (512-bit vectors)"),
        256 => new CpuKernels<F32x8>("cpu (256-bit vectors)"),
        128 => new CpuKernels<F32x4>("cpu (128-bit vectors)"),
        _ => throw new ArgumentOutOfRangeException(nameof(bits), $"vectors of {bits} bits: 512, 256 and 128 are there"),
    };
}

internal sealed unsafe class CpuKernels<V>(string name) : IKernels
    where V : struct, IVector<V>
{
    private readonly Scratch _scratch = new();

    public string Name => name;

    public long? MemoryBytes => null;

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
        Shapes.Add(target, addend);
        Embedding<V>.AddRows(At(target), At(addend), At(target), target.Length);
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
        Shapes.Embedding(tokens, positions, items, positionTable, x);
        Embedding<V>.Forward(At(tokens), At(positions), At(items), At(positionTable), At(x), x.Rows, x.Columns);
    }

    public void EmbeddingBackward(Indices tokens, Indices positions, Tensor dx, Tensor dItems, Tensor dPositions)
    {
        Shapes.Embedding(tokens, positions, dItems, dPositions, dx);
        Embedding<V>.Backward(At(tokens), At(positions), At(dx), At(dItems), At(dPositions), dx.Rows, dx.Columns);
    }

    public void LinearForward(Tensor x, Tensor weight, Tensor bias, Tensor y)
    {
        Shapes.LinearForward(x, weight, y, bias);
        Linear<V>.Forward(_scratch, At(x), At(weight), At(bias), At(y), null, false, x.Rows, weight.Rows, weight.Columns);
    }

    public void LinearGeluForward(Tensor x, Tensor weight, Tensor bias, Tensor y, Tensor slope)
    {
        Shapes.LinearForward(x, weight, y, bias);
        Linear<V>.Forward(_scratch, At(x), At(weight), At(bias), At(y), OrNull(slope), true, x.Rows, weight.Rows, weight.Columns);
    }

    public void LinearBackwardInput(Tensor dy, Tensor weight, Tensor slope, Tensor dx, bool accumulate)
    {
        Shapes.LinearBackwardInput(dy, weight, slope, dx, accumulate);
        Linear<V>.BackwardInput(_scratch, At(dy), At(weight), OrNull(slope), At(dx), accumulate, dy.Rows, weight.Rows, weight.Columns);
    }

    public void LinearBackwardWeight(Tensor dy, Tensor x, Tensor dWeight, Tensor dBias)
    {
        Shapes.Linear(x, dWeight, dy, dBias);
        Linear<V>.BackwardWeight(At(dy), At(x), At(dWeight), At(dBias), dy.Rows, dWeight.Rows, dWeight.Columns);
    }

    public void GeluBackward(Tensor dy, Tensor slope)
    {
        Shapes.Gelu(dy, slope);
        Gelu<V>.Backward(At(dy), At(slope), dy.Length);
    }

    public void Dropout(Tensor x, in Dropout dropout) => DropoutLayer<V>.Apply(_scratch, At(x), dropout, x.Rows, x.Columns);

    public void LayerNormForward(Tensor x, Tensor residual, in Dropout dropout, Tensor gain, Tensor bias, float epsilon, Tensor y, Tensor statistics)
    {
        Shapes.LayerNormForward(x, residual, dropout, gain, bias, y, statistics);
        LayerNorm<V>.Forward(_scratch, At(x), OrNull(residual), dropout, At(gain), At(bias), epsilon, At(y), At(statistics), x.Rows, x.Columns);
    }

    public void LayerNormBackward(Tensor dy, Tensor x, Tensor gain, Tensor statistics, in Dropout dropout, Tensor dSum, Tensor dInput, Tensor dGain, Tensor dBias)
    {
        Shapes.LayerNormBackward(dy, x, statistics, dSum);
        LayerNorm<V>.Backward(
            _scratch, At(dy), At(x), At(gain), At(statistics), dropout, At(dSum), OrNull(dInput), At(dGain), At(dBias), x.Rows, x.Columns);
    }

    public void AttentionForward(Tensor q, Tensor kv, Indices queryOffsets, Indices keyOffsets, int heads, int maximumLength, in Dropout dropout, Tensor output, Tensor logSumExp)
    {
        Shapes.Attention(q, kv, queryOffsets, keyOffsets, heads, output, logSumExp);
        Attention<V>.Forward(
            _scratch, At(q), At(kv), At(queryOffsets), At(keyOffsets), queryOffsets.Length - 1, heads, maximumLength, dropout, At(output), At(logSumExp), q.Columns);
    }

    public void AttentionBackward(Tensor dOutput, Tensor q, Tensor kv, Tensor output, Tensor logSumExp, Indices queryOffsets, Indices keyOffsets, int heads, int maximumLength, in Dropout dropout, Tensor dq, Tensor dkv)
    {
        Shapes.AttentionBackward(dOutput, q, kv, output, logSumExp, queryOffsets, keyOffsets, heads, dq, dkv);
        Attention<V>.Backward(
            _scratch, At(dOutput), At(q), At(kv), At(output), At(logSumExp), At(queryOffsets), At(keyOffsets), queryOffsets.Length - 1, heads, maximumLength, dropout, At(dq), At(dkv), q.Columns);
    }

    public int ClozeMask(Indices tokens, Indices offsets, in ClozeMasking masking, Indices maskedTokens, Indices maskedRows, Indices targets, Indices maskedOffsets)
    {
        Shapes.ClozeMask(tokens, offsets, maskedTokens, maskedRows, targets, maskedOffsets);
        return ClozeMask<V>.Draw(
            _scratch, At(tokens), At(offsets), offsets.Length - 1, masking, At(maskedTokens), At(maskedRows), At(targets), At(maskedOffsets));
    }

    public void GatherRows(Tensor x, Indices rows, Tensor y)
    {
        Shapes.GatherRows(x, rows, y);
        Embedding<V>.Gather(At(x), At(rows), At(y), rows.Length, x.Columns);
    }

    public void GatherRowsBackward(Tensor dy, Indices rows, Tensor dx)
    {
        Shapes.GatherRows(dx, rows, dy);
        Embedding<V>.GatherBackward(At(dy), At(rows), At(dx), rows.Length, dx.Columns);
    }

    public void SoftmaxCrossEntropyForward(Tensor h, Tensor items, Tensor bias, Indices targets, Tensor losses, Tensor logSumExp)
    {
        Shapes.SoftmaxCrossEntropyForward(h, items, bias, targets, losses, logSumExp);
        SoftmaxCrossEntropy<V>.Forward(
            _scratch, At(h), At(items), At(bias), At(targets), At(losses), At(logSumExp), h.Rows, items.Rows, items.Columns);
    }

    public void SoftmaxCrossEntropyBackward(Tensor h, Tensor items, Tensor bias, Indices targets, Tensor logSumExp, float scale, Tensor dh, Tensor dItems, Tensor dBias)
    {
        Shapes.SoftmaxCrossEntropyBackward(h, items, bias, targets, logSumExp, dh, dItems, dBias);
        SoftmaxCrossEntropy<V>.Backward(
            _scratch, At(h), At(items), At(bias), At(targets), At(logSumExp), scale, At(dh), At(dItems), At(dBias), h.Rows, items.Rows, items.Columns);
    }

    public void Norm(Tensor x, Tensor result) => *At(result) = (float)Math.Sqrt(AdamOptimizer<V>.SumOfSquares(At(x), x.Length));

    public void Adam(Tensor parameters, Tensor gradients, Tensor firstMoments, Tensor secondMoments, Tensor norms, in AdamStep step)
    {
        Shapes.Adam(parameters, gradients, firstMoments, secondMoments, norms, step);
        float gradientScale = norms.IsNone ? 1 : step.ClippingScale(new ReadOnlySpan<float>(At(norms), (int)norms.Length));
        AdamOptimizer<V>.Update(At(parameters), At(gradients), At(firstMoments), At(secondMoments), step, gradientScale, parameters.Length);
    }

    public void TopK(Tensor h, Tensor items, Tensor bias, Indices targets, Indices excludedOffsets, Indices excludedItems, Indices topItems, Tensor topScores, Indices targetRanks)
    {
        Shapes.TopK(h, items, bias, targets, excludedOffsets, excludedItems, topItems, topScores, targetRanks);
        TopK<V>.Rank(
            _scratch, At(h), At(items), At(bias), OrNull(targets), OrNull(excludedOffsets), OrNull(excludedItems), At(topItems), At(topScores), OrNull(targetRanks), h.Rows, items.Rows, items.Columns, topScores.Columns);
    }

    public ICatalogueIndex IndexCatalogue(Tensor items, Tensor bias)
    {
        Shapes.IndexCatalogue(items, bias);
        return new CatalogueIndex<V>(items, bias);
    }

    public void ScoreItems(Tensor h, Tensor items, Tensor bias, Indices candidates, Tensor scores)
    {
        Shapes.ScoreItems(h, items, bias, candidates, scores);
        TopK<V>.Score(At(h), At(items), At(bias), At(candidates), At(scores), scores.Rows, scores.Columns, items.Columns);
    }

    private static float* At(Tensor x) => ((CpuBuffer<float>)x.Buffer).Pointer + x.Offset;

    private static float* OrNull(Tensor x) => x.IsNone ? null : At(x);

    private static int* At(Indices x) => ((CpuBuffer<int>)x.Buffer).Pointer + x.Offset;

    private static int* OrNull(Indices x) => x.IsNone ? null : At(x);
}
