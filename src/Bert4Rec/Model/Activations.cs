using Bert4Rec.Kernels;

namespace Bert4Rec.Model;

/// <summary>
/// All that a forward pass keeps and a backward pass works in, planned once for the largest micro-batch as views into one buffer.
/// </summary>
internal sealed class Activations : IDisposable
{
    /// <summary>Tensors start on boundaries of a cache line, which suit the loads of every device.</summary>
    private const int Alignment = 16;

    private readonly DeviceBuffer<float>? _buffer;

    /// <param name="shape">The model.</param>
    /// <param name="training">Whether there will be a backward pass.</param>
    /// <param name="buffer">Where the tensors lie.</param>
    /// <param name="take">Gives the next tensor of so many columns.</param>
    private Activations(ModelShape shape, bool training, DeviceBuffer<float>? buffer, Func<int, Tensor> take)
    {
        _buffer = buffer;
        int h = shape.HiddenSize, inner = shape.InnerSize;
        Embedded = take(h);
        EmbeddingOutput = take(h);
        EmbeddingStatistics = take(2);
        QueryInput = take(h);
        if (shape.NormFirst)
        {
            FirstNormalised = take(h);
            FirstStatistics = take(2);
            QueryResidual = take(h);
        }
        // Without a backward pass, a layer's values are free for the next layer, but for its output.
        LayerActivations? shared = null;
        var layers = new LayerActivations[shape.Layers];
        for (int layer = 0; layer < shape.Layers; layer++)
        {
            layers[layer] = shared is null || training
                ? new LayerActivations(take, shape, training)
                : shared with { Output = take(h) };
            shared = layers[layer];
        }
        Layers = layers;
        if (shape.OutputHead)
        {
            OutputHeadInner = take(h);
            Hidden = take(h);
            OutputHeadStatistics = take(2);
        }
        if (!training)
            return;
        if (shape.OutputHead)
            OutputHeadSlope = take(h);
        Losses = take(1);
        LogSumExp = take(1);
        DHidden = take(h);
        DOutput = take(h);
        DBranch = take(h);
        DInner = take(inner);
        DAttention = take(h);
        DQuery = take(h);
        DKeyValue = take(2 * h);
        DX = take(h);
        if (!shape.NormFirst)
            return;
        DResidual = take(h);
        DQueryResidual = take(h);
    }

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
    public Tensor Embedded { get; private set; }

    public Tensor EmbeddingOutput { get; private set; }

    public Tensor EmbeddingStatistics { get; private set; }

    /// <summary>What the first layer reads where norms stand first; else none, and so the next two.</summary>
    public Tensor FirstNormalised { get; private set; }

    public Tensor FirstStatistics { get; private set; }

    /// <summary>The query rows of what the last layer's attention is added to.</summary>
    public Tensor QueryResidual { get; private set; }

    /// <summary>The rows of the last layer's input that are queries.</summary>
    public Tensor QueryInput { get; private set; }

    public IReadOnlyList<LayerActivations> Layers { get; private set; } = [];

    /// <summary>gelu(output_ffn(x)), before its norm.</summary>
    public Tensor OutputHeadInner { get; private set; }

    public Tensor OutputHeadSlope { get; private set; }

    /// <summary>h, what the items are compared with.</summary>
    public Tensor Hidden { get; private set; }

    public Tensor OutputHeadStatistics { get; private set; }

    public Tensor Losses { get; private set; }

    public Tensor LogSumExp { get; private set; }

    public Tensor DHidden { get; private set; }

    /// <summary>Of the last layer's output.</summary>
    public Tensor DOutput { get; private set; }

    /// <summary>Of what a residual connection adds: the feed-forward's output, and when that is done with, the attention's.</summary>
    public Tensor DBranch { get; private set; }

    public Tensor DInner { get; private set; }

    public Tensor DAttention { get; private set; }

    public Tensor DQuery { get; private set; }

    public Tensor DKeyValue { get; private set; }

    /// <summary>Of the last layer's input, of all rows.</summary>
    public Tensor DX { get; private set; }

    /// <summary>Of what a layer's attention is added to, where that is not the layer's input too; none where it is.</summary>
    public Tensor DResidual { get; private set; }

    /// <summary>The same, of the last layer's query rows.</summary>
    public Tensor DQueryResidual { get; private set; }

    public void Dispose() => _buffer?.Dispose();
}

/// <summary>What one encoder layer keeps.</summary>
internal sealed record LayerActivations
{
    public LayerActivations(Func<int, Tensor> take, ModelShape shape, bool training)
    {
        int h = shape.HiddenSize;
        Query = take(h);
        KeyValue = take(2 * h);
        LogSumExp = take(shape.Heads);
        Attention = take(h);
        AttentionSum = take(h);
        AttentionStatistics = take(2);
        AttentionOutput = take(h);
        Inner = take(shape.InnerSize);
        InnerSlope = training ? take(shape.InnerSize) : default;
        FeedForwardSum = take(h);
        FeedForwardStatistics = take(2);
        Output = take(h);
    }

    public Tensor Query { get; }

    public Tensor KeyValue { get; }

    public Tensor LogSumExp { get; }

    public Tensor Attention { get; }

    /// <summary>Residual + dropout(dense(attention)), before its norm.</summary>
    public Tensor AttentionSum { get; }

    public Tensor AttentionStatistics { get; }

    /// <summary>The norm of that, which the feed-forward half reads.</summary>
    public Tensor AttentionOutput { get; }

    public Tensor Inner { get; }

    public Tensor InnerSlope { get; }

    public Tensor FeedForwardSum { get; }

    public Tensor FeedForwardStatistics { get; }

    /// <summary>The norm of the feed-forward's sum, which the next layer reads.</summary>
    public Tensor Output { get; init; }
}
