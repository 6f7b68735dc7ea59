using Bert4Rec.Kernels;

namespace Bert4Rec.Model;

/// <summary>
/// The rows of the item table that a step of sampled softmax works with, gathered side by side: to the model they are a whole catalogue, of
/// the step's candidates under compact ids, and <c>[mask]</c> behind them. A gradient of it has no row for any other item.
/// </summary>
internal sealed class SampledCatalogue : IDisposable
{
    private readonly ModelShape _shape;
    private readonly DeviceBuffer<int> _rows;
    private readonly DeviceBuffer<float> _items;
    private readonly DeviceBuffer<float> _bias;
    private readonly DeviceBuffer<float> _corrections;

    /// <param name="shape">The whole model.</param>
    /// <param name="capacity">Candidates of a step, at most.</param>
    public SampledCatalogue(KernelSet kernels, ModelShape shape, int capacity)
    {
        _shape = shape;
        Layout = new ParameterLayout(shape with { ItemCount = capacity });
        _rows = kernels.AllocateInts(Layout.Shape.TokenCount);
        _items = kernels.AllocateFloats((long)Layout.Shape.TokenCount * shape.HiddenSize);
        _bias = kernels.AllocateFloats(capacity);
        _corrections = kernels.AllocateFloats(capacity);
    }

    /// <summary>That of the gradients: the whole model's, but for a catalogue of as many items as there is room for.</summary>
    public ParameterLayout Layout { get; }

    /// <summary>Candidates of the step.</summary>
    public int Count { get; private set; }

    /// <summary>[Count], and one more where there is a <c>[mask]</c>: the row of the item table that each row here is.</summary>
    public Indices TokenRows => Indices.Of(_rows).First(_shape.Causal ? Count : Count + 1);

    /// <summary>[Count]: the item that each candidate is.</summary>
    public Indices CandidateRows => Indices.Of(_rows).First(Count);

    /// <summary>
    /// Rows for as many tokens as there is room for: [capacity + 1, H], or [capacity, H] where there is no <c>[mask]</c>.
    /// </summary>
    public Tensor Items => new(_items, 0, Layout.Shape.TokenCount, _shape.HiddenSize);

    /// <summary>The candidates' rows and biases, corrections included, with the room for more.</summary>
    public WeightAndBias Catalogue => new(Items.First(Layout.Shape.ItemCount), Tensor.Of(_bias));

    /// <summary>Brings a step's candidates to the device.</summary>
    /// <param name="items">[Count + 1] their ids, and room for one more.</param>
    /// <param name="corrections">[Count] what is added to their scores.</param>
    public void Upload(Span<int> items, ReadOnlySpan<float> corrections)
    {
        Count = corrections.Length;
        items[Count] = _shape.MaskToken;
        TokenRows.Upload(items[..TokenRows.Length]);
        (_shape.OutputHead ? _corrections : _bias).Upload(corrections);
    }

    /// <summary>Gathers a part of the rows; different parts may be gathered on different threads.</summary>
    /// <param name="kernels">The thread's.</param>
    /// <param name="layout">The whole model's.</param>
    /// <param name="parameters">Of this layout.</param>
    /// <param name="part">From 0.</param>
    public void Gather(KernelSet kernels, ParameterLayout layout, DeviceBuffer<float> parameters, int part, int parts)
    {
        var (first, count) = Part(TokenRows.Length, part, parts);
        kernels.GatherRowsForward(
            layout.View(parameters, "item_embedding.weight"), TokenRows.Slice(first, count), Items.SliceRows(first, count));
        if (!_shape.OutputHead)
            return;
        (first, count) = Part(Count, part, parts);
        Tensor bias = new(_bias, first, count, 1);
        kernels.GatherRowsForward(layout.BiasRows(parameters), CandidateRows.Slice(first, count), bias);
        kernels.Add(bias, new(_corrections, first, count, 1));
    }

    /// <summary>Of so many rows, the first one of a part and how many it has.</summary>
    public static (int First, int Count) Part(int rows, int part, int parts)
    {
        int first = (int)((long)rows * part / parts), end = (int)((long)rows * (part + 1) / parts);
        return (first, end - first);
    }

    public void Dispose()
    {
        _rows.Dispose();
        _items.Dispose();
        _bias.Dispose();
        _corrections.Dispose();
    }
}
