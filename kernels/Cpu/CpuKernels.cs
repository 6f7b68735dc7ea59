using System.Runtime.Intrinsics;

namespace Bert4Rec.Kernels.Cpu;

/// <summary>The SIMD backend: one thread, vectors as wide as the machine has.</summary>
public static class CpuKernels
{
    /// <summary>Kernels with the widest vectors that this machine runs in hardware.</summary>
    public static KernelSet Create() => Create(Vector512.IsHardwareAccelerated ? 512 : Vector256.IsHardwareAccelerated ? 256 : 128);

    /// <summary>Kernels with vectors of so many bits; wider than the hardware's they are right, but slow.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The width is not 512, 256 or 128.</exception>
    public static KernelSet Create(int bits) => bits switch
    {
        512 => new CpuKernels<Simd512, Vector512<float>>("cpu (512-bit vectors)"),
        256 => new CpuKernels<Simd256, Vector256<float>>("cpu (256-bit vectors)"),
        128 => new CpuKernels<Simd128, Vector128<float>>("cpu (128-bit vectors)"),
        _ => throw new ArgumentOutOfRangeException(nameof(bits), $"vectors of {bits} bits: 512, 256 and 128 are there"),
    };
}

internal sealed unsafe class CpuKernels<S, V>(string name) : KernelSet
    where S : struct, ISimd<V>
    where V : struct
{
    private readonly Scratch _scratch = new();

    public override string Name => name;

    public override long? MemoryBytes => null;

    public override DeviceBuffer<float> AllocateFloats(long length) => new CpuBuffer<float>(length);

    public override DeviceBuffer<int> AllocateInts(long length) => new CpuBuffer<int>(length);

    public override void Dispose() => _scratch.Dispose();

    protected override void FillCore(Tensor x, float value)
    {
        float* p = At(x);
        for (long i = 0; i < x.Length; i += 1 << 30)
            new Span<float>(p + i, (int)Math.Min(1 << 30, x.Length - i)).Fill(value);
    }

    protected override void AddCore(Tensor target, Tensor addend) =>
        Embedding<S, V>.AddRows(At(target), At(addend), At(target), target.Length);

    protected override void AddSumCore(Tensor x, Tensor accumulator)
    {
        float* p = At(x);
        double sum = 0;
        for (long i = 0; i < x.Length; i++)
            sum += p[i];
        *At(accumulator) += (float)sum;
    }

    protected override void EmbeddingForwardCore(Indices tokens, Indices positions, Tensor items, Tensor positionTable, Tensor x) =>
        Embedding<S, V>.Forward(At(tokens), At(positions), At(items), At(positionTable), At(x), x.Rows, x.Columns);

    protected override void EmbeddingBackwardCore(Indices tokens, Indices positions, Tensor dx, Tensor dItems, Tensor dPositions) =>
        Embedding<S, V>.Backward(At(tokens), At(positions), At(dx), At(dItems), At(dPositions), dx.Rows, dx.Columns);

    protected override void LinearForwardCore(Tensor x, WeightAndBias layer, Tensor y) =>
        MatMul<S, V>.Forward(_scratch, At(x), At(layer.Weight), At(layer.Bias), At(y), null, false, x.Rows, layer.Weight.Rows, layer.Weight.Columns);

    protected override void LinearGeluForwardCore(Tensor x, WeightAndBias layer, Tensor y, Tensor slope) =>
        MatMul<S, V>.Forward(_scratch, At(x), At(layer.Weight), At(layer.Bias), At(y), OrNull(slope), true, x.Rows, layer.Weight.Rows, layer.Weight.Columns);

    protected override void LinearBackwardInputCore(Tensor dy, Tensor weight, Tensor slope, Tensor dx, bool accumulate) =>
        MatMul<S, V>.BackwardInput(_scratch, At(dy), At(weight), OrNull(slope), At(dx), accumulate, dy.Rows, weight.Rows, weight.Columns);

    protected override void LinearBackwardWeightCore(Tensor dy, Tensor x, WeightAndBias gradient) =>
        MatMul<S, V>.BackwardWeight(At(dy), At(x), At(gradient.Weight), At(gradient.Bias), dy.Rows, gradient.Weight.Rows, gradient.Weight.Columns);

    protected override void GeluBackwardCore(Tensor dy, Tensor slope) =>
        Gelu<S, V>.Backward(At(dy), At(slope), dy.Length);

    protected override void DropoutCore(Tensor x, in DropoutMask dropout) =>
        DropoutLayer<S, V>.Apply(_scratch, At(x), dropout, x.Rows, x.Columns);

    protected override void LayerNormForwardCore(
        Tensor x, Tensor residual, in DropoutMask dropout, WeightAndBias norm, float epsilon, Tensor y, Tensor statistics) =>
        LayerNorm<S, V>.Forward(_scratch, At(x), OrNull(residual), dropout, At(norm.Weight), At(norm.Bias), epsilon, At(y), At(statistics), x.Rows, x.Columns);

    protected override void LayerNormBackwardCore(
        Tensor dy, Tensor x, Tensor weight, Tensor statistics, in DropoutMask dropout, Tensor dSum, Tensor dInput, WeightAndBias gradient) =>
        LayerNorm<S, V>.Backward(
            _scratch, At(dy), At(x), At(weight), At(statistics), dropout, At(dSum), OrNull(dInput), At(gradient.Weight), At(gradient.Bias), x.Rows, x.Columns);

    protected override void AttentionForwardCore(
        Tensor q, Tensor kv, in AttentionLayout layout, in DropoutMask dropout, Tensor output, Tensor logSumExp) =>
        Attention<S, V>.Forward(
            _scratch, At(q), At(kv), At(layout.QueryOffsets), At(layout.KeyOffsets), layout.QueryOffsets.Length - 1, layout.Heads, layout.MaximumLength, dropout, At(output), At(logSumExp), q.Columns);

    protected override void AttentionBackwardCore(
        Tensor dOutput, Tensor q, Tensor kv, Tensor output, Tensor logSumExp, in AttentionLayout layout, in DropoutMask dropout, Tensor dq, Tensor dkv) =>
        Attention<S, V>.Backward(
            _scratch, At(dOutput), At(q), At(kv), At(output), At(logSumExp), At(layout.QueryOffsets), At(layout.KeyOffsets), layout.QueryOffsets.Length - 1, layout.Heads, layout.MaximumLength, dropout, At(dq), At(dkv), q.Columns);

    protected override int ClozeMaskCore(
        Indices tokens, Indices offsets, in ClozeMasking masking, Indices maskedTokens, Indices maskedRows, Indices targets, Indices maskedOffsets) =>
        ClozeMask<S, V>.Draw(
            _scratch, At(tokens), At(offsets), offsets.Length - 1, masking, At(maskedTokens), At(maskedRows), At(targets), At(maskedOffsets));

    protected override void GatherRowsForwardCore(Tensor x, Indices rows, Tensor y) =>
        Embedding<S, V>.Gather(At(x), At(rows), At(y), rows.Length, x.Columns);

    protected override void GatherRowsBackwardCore(Tensor dy, Indices rows, Tensor dx) =>
        Embedding<S, V>.GatherBackward(At(dy), At(rows), At(dx), rows.Length, dx.Columns);

    protected override void SoftmaxCrossEntropyForwardCore(
        Tensor h, WeightAndBias catalogue, Indices targets, Tensor losses, Tensor logSumExp) =>
        SoftmaxCrossEntropy<S, V>.Forward(
            _scratch, At(h), At(catalogue.Weight), At(catalogue.Bias), At(targets), At(losses), At(logSumExp), h.Rows, catalogue.Weight.Rows, catalogue.Weight.Columns);

    protected override void SoftmaxCrossEntropyBackwardCore(
        Tensor h, WeightAndBias catalogue, Indices targets, Tensor logSumExp, float scale, Tensor dh, WeightAndBias gradient) =>
        SoftmaxCrossEntropy<S, V>.Backward(
            _scratch, At(h), At(catalogue.Weight), At(catalogue.Bias), At(targets), At(logSumExp), scale, At(dh), At(gradient.Weight), At(gradient.Bias), h.Rows, catalogue.Weight.Rows, catalogue.Weight.Columns);

    protected override void GradientNormCore(Tensor x, Tensor result) =>
        *At(result) = (float)Math.Sqrt(AdamOptimizer<S, V>.SumOfSquares(At(x), x.Length));

    protected override void AdamCore(
        Tensor parameters, Tensor gradients, Tensor firstMoments, Tensor secondMoments, Tensor norms, in AdamStep step)
    {
        float gradientScale = norms.IsNone ? 1 : step.ClippingScale(new ReadOnlySpan<float>(At(norms), (int)norms.Length));
        AdamOptimizer<S, V>.Update(At(parameters), At(gradients), At(firstMoments), At(secondMoments), step, gradientScale, parameters.Length);
    }

    protected override void TopKCore(
        Tensor h, WeightAndBias catalogue, Indices targets, Exclusions exclusions, Indices topItems, Tensor topScores, Indices targetRanks) =>
        TopK<S, V>.Rank(
            _scratch, At(h), At(catalogue.Weight), At(catalogue.Bias), OrNull(targets), OrNull(exclusions.Offsets), OrNull(exclusions.Items), At(topItems), At(topScores), OrNull(targetRanks), h.Rows, catalogue.Weight.Rows, catalogue.Weight.Columns, topScores.Columns);

    protected override ICatalogueIndex IndexCatalogueCore(WeightAndBias catalogue) =>
        new CatalogueIndex<S, V>(catalogue.Weight, catalogue.Bias);

    protected override void ScoreItemsCore(Tensor h, WeightAndBias catalogue, Indices candidates, Tensor scores) =>
        TopK<S, V>.Score(At(h), At(catalogue.Weight), At(catalogue.Bias), At(candidates), At(scores), scores.Rows, scores.Columns, catalogue.Weight.Columns);

    private static float* At(Tensor x) => ((CpuBuffer<float>)x.Buffer).Pointer + x.Offset;

    private static float* OrNull(Tensor x) => x.IsNone ? null : At(x);

    private static int* At(Indices x) => ((CpuBuffer<int>)x.Buffer).Pointer + x.Offset;

    private static int* OrNull(Indices x) => x.IsNone ? null : At(x);
}
