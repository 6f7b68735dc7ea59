using Bert4Rec.Kernels;

namespace Bert4Rec.Model;

/// <summary>A parameter's name in RecBole's state dict, its place in the flat buffer and its shape there.</summary>
internal sealed record ParameterEntry(string Name, long Offset, int[] Shape)
{
    public long Length => Shape.Aggregate(1L, (product, side) => product * side);

    /// <summary>Its place in an array of the same layout.</summary>
    public Range Range => (int)Offset..(int)(Offset + Length);
}

/// <summary>
/// Where every parameter lies in one flat buffer. Gradients and Adam's moments are buffers of the same layout, so that an optimiser step,
/// the sum of two replicas' gradients and a checkpoint are each one pass over flat memory.
/// </summary>
internal sealed class ParameterLayout
{
    /// <summary>Pre-norm, the norm after the last layer: RecBole has no pre-norm, and so no name for it.</summary>
    public const string FinalNorm = "trm_encoder.LayerNorm";

    private readonly OrderedDictionary<string, ParameterEntry> _entries = new(StringComparer.Ordinal);

    /// <exception cref="InputException">There are more parameters than an array has room for.</exception>
    public ParameterLayout(ModelShape shape)
    {
        Shape = shape;
        int h = shape.HiddenSize;
        // The item table first and the bias of odd length last keep rows on the boundaries of vectors.
        Add("item_embedding.weight", shape.TokenCount, h);
        Add("position_embedding.weight", shape.MaximumLength, h);
        AddLayerNorm("LayerNorm", h);
        for (int layer = 0; layer < shape.Layers; layer++)
        {
            string attention = LayerNames.Attention(layer), feedForward = LayerNames.FeedForward(layer);
            Add($"{attention}.query.weight", h, h);
            Add($"{attention}.query.bias", h);
            // Keys and values side by side: one product makes both.
            Add($"{attention}.key.weight", h, h);
            Add($"{attention}.value.weight", h, h);
            Add($"{attention}.key.bias", h);
            Add($"{attention}.value.bias", h);
            AddLinear($"{attention}.dense", h, h);
            AddLayerNorm($"{attention}.LayerNorm", h);
            AddLinear($"{feedForward}.dense_1", shape.InnerSize, h);
            AddLinear($"{feedForward}.dense_2", h, shape.InnerSize);
            AddLayerNorm($"{feedForward}.LayerNorm", h);
        }
        if (shape.NormFirst)
            AddLayerNorm(FinalNorm, h);
        if (!shape.OutputHead)
            return;
        AddLinear("output_ffn", h, h);
        AddLayerNorm("output_ln", h);
        Add("output_bias", shape.ItemCount);
    }

    public ModelShape Shape { get; }

    public IReadOnlyList<ParameterEntry> Entries => _entries.Values;

    /// <summary>Number of parameters, all of them trainable.</summary>
    public long Length { get; private set; }

    /// <summary>What belongs to no item: all between the item table and the output's bias.</summary>
    public (long Start, long Length) Dense
    {
        get
        {
            long start = this["item_embedding.weight"].Length;
            return (start, (Contains("output_bias") ? this["output_bias"].Offset : Length) - start);
        }
    }

    /// <exception cref="KeyNotFoundException">No parameter has this name.</exception>
    public ParameterEntry this[string name] => _entries[name];

    public bool Contains(string name) => _entries.ContainsKey(name);

    /// <summary>The parameter in a buffer of this layout; a vector is one row.</summary>
    public Tensor View(DeviceBuffer<float> buffer, string name)
    {
        var entry = this[name];
        return new(buffer, entry.Offset, entry.Shape.Length == 1 ? 1 : entry.Shape[0], entry.Shape[^1]);
    }

    /// <summary>[V, 1]: the output's bias in a buffer of this layout, a row an item.</summary>
    public Tensor BiasRows(DeviceBuffer<float> buffer)
    {
        var bias = View(buffer, "output_bias");
        return bias with { Rows = bias.Columns, Columns = 1 };
    }

    /// <summary>The parameters name.weight and name.bias.</summary>
    public WeightAndBias Layer(DeviceBuffer<float> buffer, string name) =>
        new(View(buffer, $"{name}.weight"), View(buffer, $"{name}.bias"));

    private void AddLinear(string name, int outputs, int inputs)
    {
        Add($"{name}.weight", outputs, inputs);
        Add($"{name}.bias", outputs);
    }

    private void AddLayerNorm(string name, int h)
    {
        Add($"{name}.weight", h);
        Add($"{name}.bias", h);
    }

    private void Add(string name, params int[] shape)
    {
        var entry = new ParameterEntry(name, Length, shape);
        _entries.Add(name, entry);
        Length += entry.Length;
        if (Length > Array.MaxLength)
        {
            throw new InputException(
                $"more than {Array.MaxLength:N0} parameters: of hidden_size ({Shape.HiddenSize}), inner_size ({Shape.InnerSize}), "
                + $"n_layers ({Shape.Layers}), MAX_ITEM_LIST_LENGTH ({Shape.MaximumLength}) and the items ({Shape.ItemCount - 1:N0}) "
                + "one must be less");
        }
    }
}

/// <summary>A buffer of the layout seen as the model's operands.</summary>
/// <param name="buffer">Parameters, or their gradients.</param>
/// <param name="noBias">[V] What stands for the output's bias in a model that has none.</param>
/// <param name="sampled">What stands for the item table and the output's bias, or null.</param>
internal sealed class ParameterViews(
    ParameterLayout layout, DeviceBuffer<float> buffer, Tensor noBias, SampledCatalogue? sampled = null)
{
    /// <summary>[V+1, H], or [V, H] where there is no <c>[mask]</c>.</summary>
    public Tensor Items { get; } = sampled?.Items ?? layout.View(buffer, "item_embedding.weight");

    /// <summary>[V, H] and [V]: the item table without <c>[mask]</c>, which is tied to the output, and the output's bias.</summary>
    public WeightAndBias Catalogue { get; } = sampled?.Catalogue ?? new(
        layout.View(buffer, "item_embedding.weight").First(layout.Shape.ItemCount),
        layout.Shape.OutputHead ? layout.View(buffer, "output_bias") : noBias);

    /// <summary>[L, H]</summary>
    public Tensor Positions { get; } = layout.View(buffer, "position_embedding.weight");

    public WeightAndBias EmbeddingNorm { get; } = layout.Layer(buffer, "LayerNorm");

    /// <summary>Pre-norm: between the embedding and the first layer.</summary>
    public WeightAndBias FirstNorm { get; } = layout.Shape.NormFirst ? layout.Layer(buffer, LayerNames.AttentionNorm(0)) : default;

    public IReadOnlyList<LayerViews> Layers { get; } =
        [.. Enumerable.Range(0, layout.Shape.Layers).Select(layer => new LayerViews(layout, buffer, layer))];

    /// <summary>[H, H] and [H]; none without an output head, and so the next.</summary>
    public WeightAndBias OutputHead { get; } = layout.Shape.OutputHead ? layout.Layer(buffer, "output_ffn") : default;

    public WeightAndBias OutputHeadNorm { get; } = layout.Shape.OutputHead ? layout.Layer(buffer, "output_ln") : default;
}

/// <summary>What the parameters of an encoder layer are called.</summary>
internal static class LayerNames
{
    public static string Attention(int layer) => $"trm_encoder.layer.{layer}.multi_head_attention";

    public static string FeedForward(int layer) => $"trm_encoder.layer.{layer}.feed_forward";

    public static string AttentionNorm(int layer) => $"{Attention(layer)}.LayerNorm";

    /// <summary>The norms of the sums of a layer's attention and of its feed-forward.</summary>
    public static (string AfterAttention, string AfterFeedForward) Norms(ModelShape shape, int layer)
    {
        // A norm has its name from the sublayer that it stands behind, or before: then the next sublayer's is the one behind this.
        string feedForwardNorm = $"{FeedForward(layer)}.LayerNorm";
        return shape.NormFirst
            ? (feedForwardNorm, layer == shape.Layers - 1 ? ParameterLayout.FinalNorm : AttentionNorm(layer + 1))
            : (AttentionNorm(layer), feedForwardNorm);
    }
}

internal sealed class LayerViews(ParameterLayout layout, DeviceBuffer<float> buffer, int layer)
{
    public WeightAndBias Query { get; } = layout.Layer(buffer, $"{LayerNames.Attention(layer)}.query");

    /// <summary>[2H, H] and [2H]</summary>
    public WeightAndBias KeyValue { get; } = WithValues(layout.Layer(buffer, $"{LayerNames.Attention(layer)}.key"));

    public WeightAndBias Dense { get; } = layout.Layer(buffer, $"{LayerNames.Attention(layer)}.dense");

    /// <summary>Of the sum of attention and what it is added to.</summary>
    public WeightAndBias NormAfterAttention { get; } = layout.Layer(buffer, LayerNames.Norms(layout.Shape, layer).AfterAttention);

    /// <summary>[I, H] and [I]</summary>
    public WeightAndBias Inner { get; } = layout.Layer(buffer, $"{LayerNames.FeedForward(layer)}.dense_1");

    /// <summary>[H, I] and [H]</summary>
    public WeightAndBias Outer { get; } = layout.Layer(buffer, $"{LayerNames.FeedForward(layer)}.dense_2");

    /// <summary>Of the sum of feed-forward and what it is added to.</summary>
    public WeightAndBias NormAfterFeedForward { get; } = layout.Layer(buffer, LayerNames.Norms(layout.Shape, layer).AfterFeedForward);

    /// <summary>The values' rows lie behind the keys'.</summary>
    private static WeightAndBias WithValues(WeightAndBias key) =>
        new(key.Weight with { Rows = 2 * key.Weight.Rows }, key.Bias with { Columns = 2 * key.Bias.Columns });
}
