using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// The GPU backend: checks the operands and hands them to the layers, whose files hold the device code. All launches go into one queue and
/// return at once; only a download, and the count of a cloze mask, wait for the device.
/// </summary>
public sealed class GpuKernels : IKernels
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
    public static IKernels Create(string device, Precision precision = Precision.Full) => new GpuKernels(GpuDevices.Open(device, precision));

    public string Name => _device.Name;

    public long? MemoryBytes => _device.Accelerator.MemorySize;

    public DeviceBuffer<float> AllocateFloats(long length)
    {
        // ILGPU 1.5.3 clears the wrong part of a block on OpenCL: it multiplies the start of a view by the element size twice.
        var floats = new GpuFloats(_device, length);
        _elementwise.Fill(floats.ForCompute(), 0);
        return floats;
    }

    public DeviceBuffer<int> AllocateInts(long length) => new GpuIntegers(_device, length);

    public void Dispose() => _device.Dispose();

    public void Fill(Tensor x, float value) => _elementwise.Fill(At(x), value);

    public void Add(Tensor target, Tensor addend)
    {
        Shapes.Add(target, addend);
        _elementwise.Add(At(target), At(addend));
    }

    public void AddSum(Tensor x, Tensor accumulator) => _adam.AddSum(At(x), At(accumulator));

    public void EmbeddingForward(Indices tokens, Indices positions, Tensor items, Tensor positionTable, Tensor x)
    {
        Shapes.Embedding(tokens, positions, items, positionTable, x);
        _embedding.Forward(At(tokens), At(positions), At(items), At(positionTable), At(x), x.Rows, x.Columns);
    }

    public void EmbeddingBackward(Indices tokens, Indices positions, Tensor dx, Tensor dItems, Tensor dPositions)
    {
        Shapes.Embedding(tokens, positions, dItems, dPositions, dx);
        _embedding.Backward(At(tokens), At(positions), At(dx), At(dItems), At(dPositions), dx.Rows, dx.Columns);
    }

    public void LinearForward(Tensor x, Tensor weight, Tensor bias, Tensor y)
    {
        Shapes.LinearForward(x, weight, y, bias);
        _matMul.Forward(At(x), At(weight), At(bias), At(y), x.Rows, weight.Rows, weight.Columns);
    }

    public void LinearGeluForward(Tensor x, Tensor weight, Tensor bias, Tensor y, Tensor slope)
    {
        Shapes.LinearForward(x, weight, y, bias);
        _matMul.ForwardGelu(At(x), At(weight), At(bias), At(y), At(slope), x.Rows, weight.Rows, weight.Columns);
    }

    public void LinearBackwardInput(Tensor dy, Tensor weight, Tensor slope, Tensor dx, bool accumulate)
    {
        Shapes.LinearBackwardInput(dy, weight, slope, dx, accumulate);
        _matMul.BackwardInput(At(dy), At(weight), At(slope), At(dx), accumulate, dy.Rows, weight.Rows, weight.Columns);
    }

    public void LinearBackwardWeight(Tensor dy, Tensor x, Tensor dWeight, Tensor dBias)
    {
        Shapes.Linear(x, dWeight, dy, dBias);
        _matMul.BackwardWeight(At(dy), At(x), At(dWeight), At(dBias), dy.Rows, dWeight.Rows, dWeight.Columns);
    }

    public void GeluBackward(Tensor dy, Tensor slope)
    {
        Shapes.Gelu(dy, slope);
        _gelu.Backward(At(dy), At(slope));
    }

    public void Dropout(Tensor x, in Dropout dropout)
    {
        if (!dropout.IsNone)
            _dropout.Apply(At(x), dropout, x.Rows, x.Columns);
    }

    public void LayerNormForward(
        Tensor x, Tensor residual, in Dropout dropout, Tensor gain, Tensor bias, float epsilon, Tensor y, Tensor statistics)
    {
        Shapes.LayerNormForward(x, residual, dropout, gain, bias, y, statistics);
        _layerNorm.Forward(At(x), At(residual), dropout, At(gain), At(bias), epsilon, At(y), At(statistics), x.Rows, x.Columns);
    }

    public void LayerNormBackward(
        Tensor dy, Tensor x, Tensor gain, Tensor statistics, in Dropout dropout, Tensor dSum, Tensor dInput, Tensor dGain, Tensor dBias)
    {
        Shapes.LayerNormBackward(dy, x, statistics, dSum);
        _layerNorm.Backward(
            At(dy), At(x), At(gain), At(statistics), dropout, At(dSum), At(dInput), At(dGain), At(dBias), x.Rows, x.Columns);
    }

    public void AttentionForward(
        Tensor q, Tensor kv, Indices queryOffsets, Indices keyOffsets, int heads, int maximumLength, in Dropout dropout, Tensor output, Tensor logSumExp)
    {
        Shapes.Attention(q, kv, queryOffsets, keyOffsets, heads, output, logSumExp);
        _attention.Forward(
            At(q), At(kv), At(queryOffsets), At(keyOffsets), queryOffsets.Length - 1, heads, maximumLength, dropout, At(output), At(logSumExp), q.Columns);
    }

    public void AttentionBackward(
        Tensor dOutput, Tensor q, Tensor kv, Tensor output, Tensor logSumExp, Indices queryOffsets, Indices keyOffsets, int heads, int maximumLength, in Dropout dropout, Tensor dq, Tensor dkv)
    {
        Shapes.AttentionBackward(dOutput, q, kv, output, logSumExp, queryOffsets, keyOffsets, heads, dq, dkv);
        _attention.Backward(
            At(dOutput), At(q), At(kv), At(output), At(logSumExp), At(queryOffsets), At(keyOffsets), queryOffsets.Length - 1, heads, maximumLength, dropout, At(dq), At(dkv), q.Rows, q.Columns);
    }

    public int ClozeMask(
        Indices tokens, Indices offsets, in ClozeMasking masking, Indices maskedTokens, Indices maskedRows, Indices targets, Indices maskedOffsets)
    {
        Shapes.ClozeMask(tokens, offsets, maskedTokens, maskedRows, targets, maskedOffsets);
        return _clozeMask.Draw(
            AtTransfer(tokens),
            AtTransfer(offsets),
            offsets.Length - 1,
            masking,
            AtTransfer(maskedTokens),
            AtTransfer(maskedRows),
            AtTransfer(targets),
            AtTransfer(maskedOffsets));
    }

    public void GatherRows(Tensor x, Indices rows, Tensor y)
    {
        Shapes.GatherRows(x, rows, y);
        _embedding.Gather(At(x), At(rows), At(y), rows.Length, x.Columns);
    }

    public void GatherRowsBackward(Tensor dy, Indices rows, Tensor dx)
    {
        Shapes.GatherRows(dx, rows, dy);
        _embedding.GatherBackward(At(dy), At(rows), At(dx), rows.Length, dx.Columns);
    }

    public void SoftmaxCrossEntropyForward(Tensor h, Tensor items, Tensor bias, Indices targets, Tensor losses, Tensor logSumExp)
    {
        Shapes.SoftmaxCrossEntropyForward(h, items, bias, targets, losses, logSumExp);
        _crossEntropy.Forward(At(h), At(items), At(bias), At(targets), At(losses), At(logSumExp), h.Rows, items.Rows, items.Columns);
    }

    public void SoftmaxCrossEntropyBackward(
        Tensor h, Tensor items, Tensor bias, Indices targets, Tensor logSumExp, float scale, Tensor dh, Tensor dItems, Tensor dBias)
    {
        Shapes.SoftmaxCrossEntropyBackward(h, items, bias, targets, logSumExp, dh, dItems, dBias);
        _crossEntropy.Backward(
            At(h), At(items), At(bias), At(targets), At(logSumExp), scale, At(dh), At(dItems), At(dBias), h.Rows, items.Rows, items.Columns);
    }

    public void Norm(Tensor x, Tensor result) => _adam.Norm(At(x), At(result));

    public void Adam(Tensor parameters, Tensor gradients, Tensor firstMoments, Tensor secondMoments, Tensor norms, in AdamStep step)
    {
        Shapes.Adam(parameters, gradients, firstMoments, secondMoments, norms, step);
        _adam.Update(At(parameters), At(gradients), At(firstMoments), At(secondMoments), At(norms), step);
    }

    public void TopK(
        Tensor h, Tensor items, Tensor bias, Indices targets, Indices excludedOffsets, Indices excludedItems, Indices topItems, Tensor topScores, Indices targetRanks)
    {
        Shapes.TopK(h, items, bias, targets, excludedOffsets, excludedItems, topItems, topScores, targetRanks);
        _topK.Rank(
            At(h), At(items), At(bias), At(targets), At(excludedOffsets), At(excludedItems), At(topItems), At(topScores), At(targetRanks), h.Rows, items.Rows, items.Columns, topScores.Columns);
    }

    public void ScoreItems(Tensor h, Tensor items, Tensor bias, Indices candidates, Tensor scores)
    {
        Shapes.ScoreItems(h, items, bias, candidates, scores);
        _topK.Score(At(h), At(items), At(bias), At(candidates), At(scores), scores.Rows, scores.Columns, items.Columns);
    }

    /// <summary>The tensor's part of its buffer; an empty view where there is none.</summary>
    private static ArrayView<float> At(Tensor x) => x.IsNone ? default : ((GpuFloats)x.Buffer).ForCompute().SubView(x.Offset, x.Length);

    private static ArrayView<int> At(Indices x) => x.IsNone ? default : ((GpuIntegers)x.Buffer).ForCompute().SubView(x.Offset, x.Length);

    /// <summary>As <see cref="At(Indices)"/>, for the transfer queue.</summary>
    private static ArrayView<int> AtTransfer(Indices x) => ((GpuIntegers)x.Buffer).ForTransfer().SubView(x.Offset, x.Length);
}
