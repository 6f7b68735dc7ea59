using Bert4Rec.Kernels;

namespace Bert4Rec.Model;

/// <summary>
/// All that a forward pass keeps and a backward pass works in, planned once for the largest micro-batch as views into one buffer.
/// </summary>
/// <param name="training">Whether there will be a backward pass.</param>
/// <param name="buffer">Where the tensors lie.</param>
/// <param name="take">Gives the next tensor of so many columns.</param>
internal sealed class Activations(ModelShape shape, bool training, DeviceBuffer<float>? buffer, Func<int, Tensor> take) : IDisposable
{
    /// <summary>Tensors start on boundaries of a cache line, which suit the loads of every device.</summary>
    private const int Alignment = 16;

    /// <summary>Memory on a device for micro-batches of up to so many tokens.</summary>
    public static Activations Allocate(KernelSet kernels, ModelShape shape, int tokens, bool training)
    {
        long length = 0;
        _ = new Activations(shape, training, null, columns =>
        {
            length += Padded(columns);
            return default;
        });
        var buffer = kernels.AllocateFloats(length);
        long offset = 0;
        return new(shape, training, buffer, columns =>
        {
            var tensor = new Tensor(buffer, offset, tokens, columns);
            offset += Padded(columns);
            return tensor;
        });

        long Padded(int columns) => (((long)tokens * columns) + Alignment - 1) / Alignment * Alignment;
    }

    /// <summary>What a training step keeps of each token.</summary>
    public static long FloatsPerToken(ModelShape shape)
    {
        long columns = 0;
        _ = new Activations(shape, true, null, more =>
        {
            columns += more;
            return default;
        });
        return columns;
    }

    /// <summary>Item plus position; the embedding's norm normalises it.</summary>
    public Tensor Embedded { get; } = take(shape.HiddenSize);

    public Tensor EmbeddingOutput { get; } = take(shape.HiddenSize);

    public Tensor EmbeddingStatistics { get; } = take(2);

    /// <summary>The rows of the last layer's input that are queries.</summary>
    public Tensor QueryInput { get; } = take(shape.HiddenSize);

    /// <summary>Pre-norm: what the first layer reads.</summary>
    public Tensor FirstNormalised { get; } = shape.NormFirst ? take(shape.HiddenSize) : default;

    public Tensor FirstStatistics { get; } = shape.NormFirst ? take(2) : default;

    /// <summary>Pre-norm: the query rows of what the last layer's attention is added to.</summary>
    public Tensor QueryResidual { get; } = shape.NormFirst ? take(shape.HiddenSize) : default;

    /// <summary>[layers] Without a backward pass, a layer's values are free for the next layer: all have the same memory.</summary>
    public IReadOnlyList<LayerActivations> Layers { get; } = training
        ? [.. Enumerable.Range(0, shape.Layers).Select(_ => new LayerActivations(take, shape, training))]
        : [.. Enumerable.Repeat(new LayerActivations(take, shape, training), shape.Layers)];

    /// <summary>[layers] The norm of each feed-forward's sum, which the next layer reads.</summary>
    public IReadOnlyList<Tensor> Outputs { get; } = [.. Enumerable.Range(0, shape.Layers).Select(_ => take(shape.HiddenSize))];

    /// <summary>gelu(output_ffn(x)), before its norm.</summary>
    public Tensor OutputHeadInner { get; } = shape.OutputHead ? take(shape.HiddenSize) : default;

    public Tensor OutputHeadSlope { get; } = training && shape.OutputHead ? take(shape.HiddenSize) : default;

    /// <summary>h, what the items are compared with.</summary>
    public Tensor Hidden { get; } = shape.OutputHead ? take(shape.HiddenSize) : default;

    public Tensor OutputHeadStatistics { get; } = shape.OutputHead ? take(2) : default;

    /// <summary>Cross-entropy of each query row.</summary>
    public Tensor Losses { get; } = training ? take(1) : default;

    /// <summary>log Σ exp of the scores of each query row.</summary>
    public Tensor ScoreLogSumExp { get; } = training ? take(1) : default;

    public Tensor DHidden { get; } = training ? take(shape.HiddenSize) : default;

    /// <summary>Of the last layer's output.</summary>
    public Tensor DOutput { get; } = training ? take(shape.HiddenSize) : default;

    /// <summary>Of what a residual connection adds: the feed-forward's output, and when that is done with, the attention's.</summary>
    public Tensor DBranch { get; } = training ? take(shape.HiddenSize) : default;

    public Tensor DInner { get; } = training ? take(shape.InnerSize) : default;

    public Tensor DAttention { get; } = training ? take(shape.HiddenSize) : default;

    public Tensor DQuery { get; } = training ? take(shape.HiddenSize) : default;

    public Tensor DKeyValue { get; } = training ? take(2 * shape.HiddenSize) : default;

    /// <summary>Of the last layer's input, of all rows.</summary>
    public Tensor DX { get; } = training ? take(shape.HiddenSize) : default;

    /// <summary>Pre-norm: of what a layer's attention is added to, which is not the layer's input then.</summary>
    public Tensor DResidual { get; } = training && shape.NormFirst ? take(shape.HiddenSize) : default;

    /// <summary>The same, of the last layer's query rows.</summary>
    public Tensor DQueryResidual { get; } = training && shape.NormFirst ? take(shape.HiddenSize) : default;

    public void Dispose() => buffer?.Dispose();
}

/// <summary>What one encoder layer keeps beside its output.</summary>
internal sealed class LayerActivations(Func<int, Tensor> take, ModelShape shape, bool training)
{
    public Tensor Query { get; } = take(shape.HiddenSize);

    public Tensor KeyValue { get; } = take(2 * shape.HiddenSize);

    public Tensor AttentionLogSumExp { get; } = take(shape.Heads);

    public Tensor Attention { get; } = take(shape.HiddenSize);

    /// <summary>Residual + dropout(dense(attention)), before its norm.</summary>
    public Tensor AttentionSum { get; } = take(shape.HiddenSize);

    public Tensor AttentionStatistics { get; } = take(2);

    /// <summary>The norm of that, which the feed-forward reads.</summary>
    public Tensor AttentionOutput { get; } = take(shape.HiddenSize);

    public Tensor Inner { get; } = take(shape.InnerSize);

    public Tensor InnerSlope { get; } = training ? take(shape.InnerSize) : default;

    public Tensor FeedForwardSum { get; } = take(shape.HiddenSize);

    public Tensor FeedForwardStatistics { get; } = take(2);
}
