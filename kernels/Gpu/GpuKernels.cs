using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// The GPU backend: checks the operands and hands them to the layers, whose files hold the device code. All launches go into one queue and
/// return at once; only a download, and the count of a cloze mask, wait for the device.
/// </summary>
public sealed class GpuKernels : KernelSet
{
    private readonly GpuDevice _device;
    private readonly Elementwise _elementwise;
    private readonly Embedding _embedding;
    private readonly MatMul _matMul;
    private readonly Gelu _gelu;
    private readonly DropoutLayer _dropout;
    private readonly LayerNorm _layerNorm;
    private readonly Attention _attention;
    private readonly ClozeMask _clozeMask;
    private readonly SoftmaxCrossEntropy _crossEntropy;
    private readonly AdamOptimizer _adam;
    private readonly TopK _topK;

    internal GpuKernels(GpuDevice device)
    {
        _device = device;
        _elementwise = new(device);
        _embedding = new(device);
        _matMul = new(device);
        _gelu = new(device);
        _dropout = new(device);
        _layerNorm = new(device);
        _attention = new(device);
        _clozeMask = new(device);
        _crossEntropy = new(device, _matMul);
        _adam = new(device);
        _topK = new(device, _matMul);
    }

    /// <summary>Kernels on "cuda", "cuda:1", "opencl", "opencl:1" or "ilgpu-cpu".</summary>
    /// <exception cref="DeviceException">There is no such device here, or it cannot run the kernels, or not in this precision.</exception>
    public static KernelSet Create(string device, Precision precision = Precision.Full) => new GpuKernels(GpuDevices.Open(device, precision));

    public override string Name => _device.Name;

    public override long? MemoryBytes => _device.Accelerator.MemorySize;

    public override DeviceBuffer<float> AllocateFloats(long length)
    {
        // ILGPU 1.5.3 clears the wrong part of a block on OpenCL: it multiplies the start of a view by the element size twice.
        var floats = new GpuFloats(_device, length);
        _elementwise.Fill(floats.ForCompute(), 0);
        return floats;
    }

    public override DeviceBuffer<int> AllocateInts(long length) => new GpuIntegers(_device, length);

    public override void Dispose() => _device.Dispose();

    protected override void FillCore(Tensor x, float value) => _elementwise.Fill(At(x), value);

    protected override void AddCore(Tensor target, Tensor addend) =>
        _elementwise.Add(At(target), At(addend));

    protected override void AddSumCore(Tensor x, Tensor accumulator) => _adam.AddSum(At(x), At(accumulator));

    protected override void EmbeddingForwardCore(Indices tokens, Indices positions, Tensor items, Tensor positionTable, Tensor x) =>
        _embedding.Forward(At(tokens), At(positions), At(items), At(positionTable), At(x), x.Rows, x.Columns);

    protected override void EmbeddingBackwardCore(Indices tokens, Indices positions, Tensor dx, Tensor dItems, Tensor dPositions) =>
        _embedding.Backward(At(tokens), At(positions), At(dx), At(dItems), At(dPositions), dx.Rows, dx.Columns);

    protected override void LinearForwardCore(Tensor x, WeightAndBias layer, Tensor y) =>
        _matMul.Forward(At(x), At(layer.Weight), At(layer.Bias), At(y), x.Rows, layer.Weight.Rows, layer.Weight.Columns);

    protected override void LinearGeluForwardCore(Tensor x, WeightAndBias layer, Tensor y, Tensor slope) =>
        _matMul.ForwardGelu(At(x), At(layer.Weight), At(layer.Bias), At(y), At(slope), x.Rows, layer.Weight.Rows, layer.Weight.Columns);

    protected override void LinearBackwardInputCore(Tensor dy, Tensor weight, Tensor slope, Tensor dx, bool accumulate) =>
        _matMul.BackwardInput(At(dy), At(weight), At(slope), At(dx), accumulate, dy.Rows, weight.Rows, weight.Columns);

    protected override void LinearBackwardWeightCore(Tensor dy, Tensor x, WeightAndBias gradient) =>
        _matMul.BackwardWeight(At(dy), At(x), At(gradient.Weight), At(gradient.Bias), dy.Rows, gradient.Weight.Rows, gradient.Weight.Columns);

    protected override void GeluBackwardCore(Tensor dy, Tensor slope) =>
        _gelu.Backward(At(dy), At(slope));

    protected override void DropoutCore(Tensor x, in DropoutMask dropout)
    {
        if (!dropout.IsNone)
            _dropout.Apply(At(x), dropout, x.Rows, x.Columns);
    }

    protected override void LayerNormForwardCore(
        Tensor x, Tensor residual, in DropoutMask dropout, WeightAndBias norm, float epsilon, Tensor y, Tensor statistics) =>
        _layerNorm.Forward(At(x), At(residual), dropout, At(norm.Weight), At(norm.Bias), epsilon, At(y), At(statistics), x.Rows, x.Columns);

    protected override void LayerNormBackwardCore(
        Tensor dy, Tensor x, Tensor weight, Tensor statistics, in DropoutMask dropout, Tensor dSum, Tensor dInput, WeightAndBias gradient) =>
        _layerNorm.Backward(
            At(dy), At(x), At(weight), At(statistics), dropout, At(dSum), At(dInput), At(gradient.Weight), At(gradient.Bias), x.Rows, x.Columns);

    protected override void AttentionForwardCore(
        Tensor q, Tensor kv, in AttentionLayout layout, in DropoutMask dropout, Tensor output, Tensor logSumExp) =>
        _attention.Forward(
            At(q), At(kv), At(layout.QueryOffsets), At(layout.KeyOffsets), layout.QueryOffsets.Length - 1, layout.Heads, layout.MaximumLength, dropout, At(output), At(logSumExp), q.Columns);

    protected override void AttentionBackwardCore(
        Tensor dOutput, Tensor q, Tensor kv, Tensor output, Tensor logSumExp, in AttentionLayout layout, in DropoutMask dropout, Tensor dq, Tensor dkv) =>
        _attention.Backward(
            At(dOutput), At(q), At(kv), At(output), At(logSumExp), At(layout.QueryOffsets), At(layout.KeyOffsets), layout.QueryOffsets.Length - 1, layout.Heads, layout.MaximumLength, dropout, At(dq), At(dkv), q.Rows, q.Columns);

    protected override int ClozeMaskCore(
        Indices tokens, Indices offsets, in ClozeMasking masking, Indices maskedTokens, Indices maskedRows, Indices targets, Indices maskedOffsets) =>
        _clozeMask.Draw(
            AtTransfer(tokens),
            AtTransfer(offsets),
            offsets.Length - 1,
            masking,
            AtTransfer(maskedTokens),
            AtTransfer(maskedRows),
            AtTransfer(targets),
            AtTransfer(maskedOffsets));

    protected override void GatherRowsForwardCore(Tensor x, Indices rows, Tensor y) =>
        _embedding.Gather(At(x), At(rows), At(y), rows.Length, x.Columns);

    protected override void GatherRowsBackwardCore(Tensor dy, Indices rows, Tensor dx) =>
        _embedding.GatherBackward(At(dy), At(rows), At(dx), rows.Length, dx.Columns);

    protected override void SoftmaxCrossEntropyForwardCore(
        Tensor h, WeightAndBias catalogue, Indices targets, Tensor losses, Tensor logSumExp) =>
        _crossEntropy.Forward(At(h), At(catalogue.Weight), At(catalogue.Bias), At(targets), At(losses), At(logSumExp), h.Rows, catalogue.Weight.Rows, catalogue.Weight.Columns);

    protected override void SoftmaxCrossEntropyBackwardCore(
        Tensor h, WeightAndBias catalogue, Indices targets, Tensor logSumExp, float scale, Tensor dh, WeightAndBias gradient) =>
        _crossEntropy.Backward(
            At(h), At(catalogue.Weight), At(catalogue.Bias), At(targets), At(logSumExp), scale, At(dh), At(gradient.Weight), At(gradient.Bias), h.Rows, catalogue.Weight.Rows, catalogue.Weight.Columns);

    protected override void GradientNormCore(Tensor x, Tensor result) => _adam.Norm(At(x), At(result));

    protected override void AdamCore(
        Tensor parameters, Tensor gradients, Tensor firstMoments, Tensor secondMoments, Tensor norms, in AdamStep step) =>
        _adam.Update(At(parameters), At(gradients), At(firstMoments), At(secondMoments), At(norms), step);

    protected override void TopKCore(
        Tensor h, WeightAndBias catalogue, Indices targets, Exclusions exclusions, Indices topItems, Tensor topScores, Indices targetRanks) =>
        _topK.Rank(
            At(h), At(catalogue.Weight), At(catalogue.Bias), At(targets), At(exclusions.Offsets), At(exclusions.Items), At(topItems), At(topScores), At(targetRanks), h.Rows, catalogue.Weight.Rows, catalogue.Weight.Columns, topScores.Columns);

    protected override void ScoreItemsCore(Tensor h, WeightAndBias catalogue, Indices candidates, Tensor scores) =>
        _topK.Score(At(h), At(catalogue.Weight), At(catalogue.Bias), At(candidates), At(scores), scores.Rows, scores.Columns, catalogue.Weight.Columns);

    /// <summary>The tensor's part of its buffer; an empty view where there is none.</summary>
    private static ArrayView<float> At(Tensor x) => x.IsNone ? default : ((GpuFloats)x.Buffer).ForCompute().SubView(x.Offset, x.Length);

    private static ArrayView<int> At(Indices x) => x.IsNone ? default : ((GpuIntegers)x.Buffer).ForCompute().SubView(x.Offset, x.Length);

    /// <summary>As <see cref="At(Indices)"/>, for the transfer queue.</summary>
    private static ArrayView<int> AtTransfer(Indices x) => ((GpuIntegers)x.Buffer).ForTransfer().SubView(x.Offset, x.Length);
}
