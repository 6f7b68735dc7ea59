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
        512 => new CpuKernels<F32x16>("cpu (512-bit vectors)"),
        256 => new CpuKernels<F32x8>("cpu (256-bit vectors)"),
        128 => new CpuKernels<F32x4>("cpu (128-bit vectors)"),
        _ => throw new ArgumentOutOfRangeException(nameof(bits), $"vectors of {bits} bits: 512, 256 and 128 are there"),
    };
}

internal sealed class CpuKernels<V>(string name) : KernelSet
    where V : struct, IVector<V>
{
    private readonly Scratch _scratch = new();

    public override string Name => name;

    public override long? MemoryBytes => null;

    public override DeviceBuffer<float> AllocateFloats(long length) => new CpuBuffer<float>(length);

    public override DeviceBuffer<int> AllocateInts(long length) => new CpuBuffer<int>(length);

    public override void Dispose() => _scratch.Dispose();

    private protected override void FillCore(Tensor x, float value) => Elementwise<V>.Fill(x, value);

    private protected override void AddCore(Tensor target, Tensor addend) => Elementwise<V>.Add(target, addend);

    private protected override void AddSumCore(Tensor x, Tensor accumulator) => Elementwise<V>.AddSum(x, accumulator);

    private protected override void EmbeddingForwardCore(Indices tokens, Indices positions, Tensor items, Tensor positionTable, Tensor x) =>
        Embedding<V>.Forward(tokens, positions, items, positionTable, x);

    private protected override void EmbeddingBackwardCore(Indices tokens, Indices positions, Tensor dx, Tensor dItems, Tensor dPositions) =>
        Embedding<V>.Backward(tokens, positions, dx, dItems, dPositions);

    private protected override void GatherRowsForwardCore(Tensor x, Indices rows, Tensor y) => Embedding<V>.Gather(x, rows, y);

    private protected override void GatherRowsBackwardCore(Tensor dy, Indices rows, Tensor dx) => Embedding<V>.GatherBackward(dy, rows, dx);

    private protected override void LinearForwardCore(Tensor x, WeightAndBias layer, Tensor y) => Linear<V>.Forward(_scratch, x, layer, y);

    private protected override void LinearGeluForwardCore(Tensor x, WeightAndBias layer, Tensor y, Tensor slope) =>
        Linear<V>.GeluForward(_scratch, x, layer, y, slope);

    private protected override void LinearBackwardInputCore(Tensor dy, Tensor weight, Tensor slope, Tensor dx, bool accumulate) =>
        Linear<V>.BackwardInput(_scratch, dy, weight, slope, dx, accumulate);

    private protected override void LinearBackwardWeightCore(Tensor dy, Tensor x, WeightAndBias gradient) =>
        Linear<V>.BackwardWeight(dy, x, gradient);

    private protected override void GeluBackwardCore(Tensor dy, Tensor slope) => Gelu<V>.Backward(dy, slope);

    private protected override void DropoutCore(Tensor x, in DropoutMask dropout) => Dropout<V>.Apply(_scratch, x, dropout);

    private protected override void LayerNormForwardCore(
        Tensor x, Tensor residual, in DropoutMask dropout, WeightAndBias norm, float epsilon, Tensor y, Tensor statistics) =>
        LayerNorm<V>.Forward(_scratch, x, residual, dropout, norm, epsilon, y, statistics);

    private protected override void LayerNormBackwardCore(
        Tensor dy,
        Tensor x,
        Tensor weight,
        Tensor statistics,
        in DropoutMask dropout,
        Tensor dSum,
        Tensor dInput,
        WeightAndBias gradient) =>
        LayerNorm<V>.Backward(_scratch, dy, x, weight, statistics, dropout, dSum, dInput, gradient);

    private protected override void AttentionForwardCore(
        Tensor q, Tensor kv, in AttentionLayout layout, in DropoutMask dropout, Tensor output, Tensor logSumExp) =>
        Attention<V>.Forward(_scratch, q, kv, layout, dropout, output, logSumExp);

    private protected override void AttentionBackwardCore(
        Tensor dOutput,
        Tensor q,
        Tensor kv,
        Tensor output,
        Tensor logSumExp,
        in AttentionLayout layout,
        in DropoutMask dropout,
        Tensor dq,
        Tensor dkv) =>
        Attention<V>.Backward(_scratch, dOutput, q, kv, output, logSumExp, layout, dropout, dq, dkv);

    private protected override int ClozeMaskCore(
        Indices tokens,
        Indices offsets,
        in ClozeMasking masking,
        Indices maskedTokens,
        Indices maskedRows,
        Indices targets,
        Indices maskedOffsets) =>
        ClozeMask<V>.Draw(_scratch, tokens, offsets, masking, maskedTokens, maskedRows, targets, maskedOffsets);

    private protected override void SoftmaxCrossEntropyForwardCore(
        Tensor h, WeightAndBias catalogue, Indices targets, Tensor losses, Tensor logSumExp) =>
        SoftmaxCrossEntropy<V>.Forward(_scratch, h, catalogue, targets, losses, logSumExp);

    private protected override void SoftmaxCrossEntropyBackwardCore(
        Tensor h, WeightAndBias catalogue, Indices targets, Tensor logSumExp, float scale, Tensor dh, WeightAndBias gradient) =>
        SoftmaxCrossEntropy<V>.Backward(_scratch, h, catalogue, targets, logSumExp, scale, dh, gradient);

    private protected override void GradientNormCore(Tensor x, Tensor result) => Adam<V>.GradientNorm(x, result);

    private protected override void AdamCore(
        Tensor parameters, Tensor gradients, Tensor firstMoments, Tensor secondMoments, Tensor norms, in AdamStep step) =>
        Adam<V>.Update(parameters, gradients, firstMoments, secondMoments, norms, step);

    private protected override void AdamRowsCore(
        Tensor parameters, Indices rows, Tensor gradients, Tensor firstMoments, Tensor secondMoments, Tensor norms, in AdamStep step) =>
        Adam<V>.UpdateRows(parameters, rows, gradients, firstMoments, secondMoments, norms, step);

    private protected override void TopKCore(
        Tensor h,
        WeightAndBias catalogue,
        Indices targets,
        Tensor targetBoosts,
        Exclusions exclusions,
        Indices topItems,
        Tensor topScores,
        Indices targetRanks) =>
        TopK<V>.Rank(_scratch, h, catalogue, targets, targetBoosts, exclusions, topItems, topScores, targetRanks);

    private protected override void ScoreItemsCore(Tensor h, WeightAndBias catalogue, Indices candidates, Tensor scores) =>
        TopK<V>.Score(h, catalogue, candidates, scores);

    private protected override IQuantizedTopK QuantizeCatalogueCore(WeightAndBias catalogue) => new QuantizedTopK<V>(catalogue);
}
