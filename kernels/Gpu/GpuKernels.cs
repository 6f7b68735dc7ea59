using Bert4Rec.Kernels.Gpu.Runtime;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// The GPU backend: hands operands to the layers, whose files hold the device code. All launches go into one queue and return at once; only
/// a download, and the count of a cloze mask, wait for the device.
/// </summary>
public sealed class GpuKernels : KernelSet
{
    private readonly Elementwise _elementwise;
    private readonly Embedding _embedding;
    private readonly Linear _linear;
    private readonly Gelu _gelu;
    private readonly Dropout _dropout;
    private readonly LayerNorm _layerNorm;
    private readonly Attention _attention;
    private readonly ClozeMask _clozeMask;
    private readonly SoftmaxCrossEntropy _crossEntropy;
    private readonly Adam _adam;
    private readonly TopK _topK;

    internal GpuKernels(GpuDevice device)
    {
        Device = device;
        _elementwise = new(device);
        _embedding = new(device);
        _linear = new(device);
        _gelu = new(device);
        _dropout = new(device);
        _layerNorm = new(device);
        _attention = new(device);
        _clozeMask = new(device);
        _crossEntropy = new(device, _linear);
        _adam = new(device);
        _topK = new(device, _linear);
    }

    /// <summary>Kernels on "cuda", "cuda:1", "opencl", "opencl:1", "ilgpu-cpu", "ptx" or "ptx:90".</summary>
    /// <exception cref="DeviceException">There is no such device here, or it cannot run the kernels, or not in this precision.</exception>
    public static KernelSet Create(string device, Precision precision = Precision.Full) =>
        new GpuKernels(GpuDevices.Open(device, precision));

    internal GpuDevice Device { get; }

    /// <inheritdoc/>
    public override string Name => Device.Name;

    /// <inheritdoc/>
    public override long? MemoryBytes => Device.Accelerator.MemorySize;

    /// <inheritdoc/>
    public override DeviceBuffer<float> AllocateFloats(long length)
    {
        // ILGPU 1.5.3 clears the wrong part of a block on OpenCL: it multiplies the start of a view by the element size twice.
        var floats = new GpuFloats(Device, length);
        _elementwise.Fill(floats.ForCompute(), 0);
        return floats;
    }

    /// <inheritdoc/>
    public override DeviceBuffer<int> AllocateInts(long length) => new GpuIntegers(Device, length);

    /// <inheritdoc/>
    public override void Dispose() => Device.Dispose();

    internal override void Rehearse(Action work) => Device.Rehearse(work);

    internal override void BeginEmbeddingBackward(Indices tokens, Indices positions, Tensor dItems, Tensor dPositions) =>
        _embedding.BeginBackward(tokens, positions, dItems, dPositions);

    private protected override void FillCore(Tensor x, float value) => _elementwise.Fill(x.View(), value);

    private protected override void AddCore(Tensor target, Tensor addend) => _elementwise.Add(target, addend);

    private protected override void AddSumCore(Tensor x, Tensor accumulator) => _elementwise.AddSum(x, accumulator);

    private protected override void EmbeddingForwardCore(Indices tokens, Indices positions, Tensor items, Tensor positionTable, Tensor x) =>
        _embedding.Forward(tokens, positions, items, positionTable, x);

    private protected override void EmbeddingBackwardCore(Indices tokens, Indices positions, Tensor dx, Tensor dItems, Tensor dPositions) =>
        _embedding.Backward(tokens, positions, dx, dItems, dPositions);

    private protected override void GatherRowsForwardCore(Tensor x, Indices rows, Tensor y) => _embedding.Gather(x, rows, y);

    private protected override void GatherRowsBackwardCore(Tensor dy, Indices rows, Tensor dx) => _embedding.GatherBackward(dy, rows, dx);

    private protected override void LinearForwardCore(Tensor x, WeightAndBias layer, Tensor y) => _linear.Forward(x, layer, y.View());

    private protected override void LinearGeluForwardCore(Tensor x, WeightAndBias layer, Tensor y, Tensor slope) =>
        _linear.GeluForward(x, layer, y, slope);

    private protected override void LinearBackwardInputCore(Tensor dy, Tensor weight, Tensor slope, Tensor dx, bool accumulate) =>
        _linear.BackwardInput(new(dy), weight, slope, dx, accumulate);

    private protected override void LinearBackwardWeightCore(Tensor dy, Tensor x, WeightAndBias gradient) =>
        _linear.BackwardWeight(new(dy), x, gradient);

    private protected override void GeluBackwardCore(Tensor dy, Tensor slope) => _gelu.Backward(dy, slope);

    private protected override void DropoutCore(Tensor x, in DropoutMask dropout) => _dropout.Apply(x, dropout);

    private protected override void LayerNormForwardCore(
        Tensor x, Tensor residual, in DropoutMask dropout, WeightAndBias norm, float epsilon, Tensor y, Tensor statistics) =>
        _layerNorm.Forward(x, residual, dropout, norm, epsilon, y, statistics);

    private protected override void LayerNormBackwardCore(
        Tensor dy,
        Tensor x,
        Tensor weight,
        Tensor statistics,
        in DropoutMask dropout,
        Tensor dSum,
        Tensor dInput,
        WeightAndBias gradient) =>
        _layerNorm.Backward(dy, x, weight, statistics, dropout, dSum, dInput, gradient);

    private protected override void AttentionForwardCore(
        Tensor q, Tensor kv, in AttentionLayout layout, in DropoutMask dropout, Tensor output, Tensor logSumExp) =>
        _attention.Forward(q, kv, layout, dropout, output, logSumExp);

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
        _attention.Backward(dOutput, q, kv, output, logSumExp, layout, dropout, dq, dkv);

    private protected override int ClozeMaskCore(
        Indices tokens,
        Indices offsets,
        in ClozeMasking masking,
        Indices maskedTokens,
        Indices maskedRows,
        Indices targets,
        Indices maskedOffsets) =>
        _clozeMask.Draw(tokens, offsets, masking, maskedTokens, maskedRows, targets, maskedOffsets);

    private protected override void SoftmaxCrossEntropyForwardCore(
        Tensor h, WeightAndBias catalogue, Indices targets, Tensor losses, Tensor logSumExp) =>
        _crossEntropy.Forward(h, catalogue, targets, losses, logSumExp);

    private protected override void SoftmaxCrossEntropyBackwardCore(
        Tensor h, WeightAndBias catalogue, Indices targets, Tensor logSumExp, float scale, Tensor dh, WeightAndBias gradient) =>
        _crossEntropy.Backward(h, catalogue, targets, logSumExp, scale, dh, gradient);

    private protected override void GradientNormCore(Tensor x, Tensor result) => _adam.GradientNorm(x, result);

    private protected override void AdamCore(
        Tensor parameters, Tensor gradients, Tensor firstMoments, Tensor secondMoments, Tensor norms, in AdamStep step) =>
        _adam.Step(parameters, gradients, firstMoments, secondMoments, norms, step);

    private protected override void AdamRowsCore(
        Tensor parameters, Indices rows, Tensor gradients, Tensor firstMoments, Tensor secondMoments, Tensor norms, in AdamStep step) =>
        _adam.StepRows(parameters, rows, gradients, firstMoments, secondMoments, norms, step);

    private protected override void TopKCore(
        Tensor h,
        WeightAndBias catalogue,
        Indices targets,
        Tensor targetBoosts,
        Exclusions exclusions,
        Indices topItems,
        Tensor topScores,
        Indices targetRanks) =>
        _topK.Rank(h, catalogue, targets, targetBoosts, exclusions, topItems, topScores, targetRanks);

    private protected override void ScoreItemsCore(Tensor h, WeightAndBias catalogue, Indices candidates, Tensor scores) =>
        _topK.Score(h, catalogue, candidates, scores);
}
