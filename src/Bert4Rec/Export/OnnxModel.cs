using Bert4Rec.Model;

namespace Bert4Rec.Export;

/// <summary>
/// The network of <see cref="Bert4RecModel"/> as an ONNX graph. What <see cref="Inference.Predictor"/> does before it is in the graph too:
/// only the newest events count, positions are counted among them, and <c>[mask]</c> is put behind them.
/// </summary>
/// <param name="layout">Of the parameters.</param>
/// <param name="parameters">[layout.Length]; read when the graph is written.</param>
internal sealed class OnnxModel(ParameterLayout layout, float[] parameters)
{
    public const string History = "history", Mask = "mask", Scores = "scores";

    /// <summary>What stands for a score of attention to what must not be seen: e to it is 0, and no sum of such is no number.</summary>
    private const float Unseen = -1e9f;

    private readonly OnnxGraph _graph = new("bert4rec");
    private readonly HashSet<string> _constants = [];
    private readonly ModelShape _shape = layout.Shape;

    /// <summary>Builds the graph.</summary>
    /// <param name="alwaysDropsOldest">RecBole's habit, as in <see cref="Inference.Predictor"/>.</param>
    public static OnnxGraph Build(ParameterLayout layout, float[] parameters, bool alwaysDropsOldest)
    {
        var model = new OnnxModel(layout, parameters);
        model.Add(alwaysDropsOldest);
        return model._graph;
    }

    private void Add(bool alwaysDropsOldest)
    {
        _graph.Input(History, OnnxGraph.ElementType.Int64, ("batch", -1), ("length", -1));
        _graph.Input(Mask, OnnxGraph.ElementType.Bool, ("batch", -1), ("length", -1));
        _graph.Output(Scores, OnnxGraph.ElementType.Float, ("batch", -1), ("items", _shape.ItemCount));
        _graph.Integer("zero", 0);
        _graph.Integer("one", 1);
        _graph.Integers("axis_0", 0);
        _graph.Integers("axis_1", 1);
        (string tokens, string isSeen) = Tokens(alwaysDropsOldest);

        // Keys that any query sees [B, 1, 1, T]; and, from left to right, those that a query sees of a sequence [1, 1, T, T].
        string keys = Node("Unsqueeze", isSeen, _graph.Integers("axes_1_2", 1, 2));
        string ordered = keys;
        if (_shape.Causal)
        {
            string length = Node("Squeeze", _graph.Node("Shape", [tokens], ("start", 1L), ("end", 2L)), "axis_0");
            string places = Node("Range", "zero", length, "one");
            string notAfter = Node("LessOrEqual", Node("Unsqueeze", places, "axis_0"), Node("Unsqueeze", places, "axis_1"));
            ordered = Node("And", keys, notAfter);
        }

        string x = Norm("LayerNorm", Node("Add", Node("Gather", Table("item_embedding.weight"), tokens), PositionRows(isSeen)));
        string residual = x;
        if (_shape.NormFirst)
            x = Norm(LayerNames.AttentionNorm(0), x);
        for (int layer = 0; layer < _shape.Layers; layer++)
        {
            bool isLast = layer == _shape.Layers - 1;
            // Of the last layer only the row that predicts is read, and it sees all that is there.
            (x, residual) = Layer(layer, x, residual, isLast ? keys : ordered, isLast ? isSeen : null);
        }
        string h = Node("Squeeze", x, "axis_1");
        if (_shape.OutputHead)
            h = Norm("output_ln", Gelu(Linear("output_ffn", h)));

        string items = _shape.Causal
            ? "item_embedding.weight"
            : Node("Slice", "item_embedding.weight", "axis_0", _graph.Integers("item_count", _shape.ItemCount), "axis_0");
        float[] bias = _shape.OutputHead ? Values("output_bias").ToArray() : new float[_shape.ItemCount];
        // Item 0 is padding, which nobody is to be shown.
        bias[0] = float.NegativeInfinity;
        _graph.Named(Scores, "Gemm", [h, items, _graph.Constant("item_bias", bias, bias.Length)], ("transB", 1L));
    }

    /// <summary>What the network reads, [B, T], and which of it is there: the newest events, and <c>[mask]</c> behind them.</summary>
    private (string Tokens, string IsSeen) Tokens(bool alwaysDropsOldest)
    {
        string given = Integer(Mask), upTo = Node("CumSum", given, "one");
        string count = _graph.Node("ReduceSum", [given, "axis_1"], ("keepdims", 1L));
        string limit = _graph.Integer("history_length", _shape.HistoryLength);
        if (alwaysDropsOldest && !_shape.Causal)
            limit = Node("Sub", Node("Min", count, _graph.Integer("maximum_length", _shape.MaximumLength)), "one");
        string isNew = Node("Less", Node("Sub", count, upTo), limit);
        string isSeen = Node("And", Mask, isNew);
        string tokens = Node("Where", isSeen, History, "zero");
        if (_shape.Causal)
            return (tokens, isSeen);
        string batch = _graph.Node("Shape", [History], ("start", 0L), ("end", 1L));
        string column = _graph.Node("Concat", [batch, "axis_1"], ("axis", 0L));
        string mask = Node("Expand", _graph.Integer("mask_token", _shape.MaskToken), column);
        string always = _graph.Node("Cast", [mask], ("to", (long)OnnxGraph.ElementType.Bool));
        return (
            _graph.Node("Concat", [tokens, mask], ("axis", 1L)),
            _graph.Node("Concat", [isSeen, always], ("axis", 1L)));
    }

    /// <summary>[B, T, H]: positions are counted among what is there; what is not takes any.</summary>
    private string PositionRows(string isSeen)
    {
        string there = Integer(isSeen), upTo = Node("CumSum", there, "one");
        string position = _shape.NewestFirst
            ? Node("Sub", _graph.Node("ReduceSum", [there, "axis_1"], ("keepdims", 1L)), upTo)
            : Node("Sub", upTo, "one");
        return Node("Gather", Table("position_embedding.weight"), Node("Where", isSeen, position, "zero"));
    }

    /// <param name="x">[B, T, H] what it reads.</param>
    /// <param name="residual">[B, T, H] what its attention is added to.</param>
    /// <param name="visible">Which keys a query sees.</param>
    /// <param name="queryOfLast">Which of T are there, where only the last of them asks; null where all do.</param>
    /// <returns>Output, and what the next layer's attention is added to; [B, 1, H] where only the last row asked.</returns>
    private (string Output, string Residual) Layer(int layer, string x, string residual, string visible, string? queryOfLast)
    {
        string attention = LayerNames.Attention(layer), feedForward = LayerNames.FeedForward(layer);
        string asking = x;
        if (queryOfLast is not null)
        {
            string last = LastRow(queryOfLast);
            asking = Row(x, last);
            residual = _shape.NormFirst ? Row(residual, last) : asking;
        }
        string query = Heads(Linear($"{attention}.query", asking), 0, 2, 1, 3);
        string key = Heads(Linear($"{attention}.key", x), 0, 2, 3, 1), value = Heads(Linear($"{attention}.value", x), 0, 2, 1, 3);
        float scale = 1 / MathF.Sqrt(_shape.HiddenSize / _shape.Heads);
        string similarity = Node("Mul", Node("MatMul", query, key), Once("attention_scale", scale));
        string weights = _graph.Node("Softmax", [Node("Where", visible, similarity, Once("unseen", Unseen))], ("axis", -1L));
        string mixed = _graph.Node("Transpose", [Node("MatMul", weights, value)], ("perm", new long[] { 0, 2, 1, 3 }));
        string joined = Node("Reshape", mixed, OnceIntegers("hidden", 0, 0, _shape.HiddenSize));

        (string afterAttention, string afterFeedForward) = LayerNames.Norms(_shape, layer);
        string attentionSum = Node("Add", Linear($"{attention}.dense", joined), residual);
        string y = Norm(afterAttention, attentionSum);
        string outer = Linear($"{feedForward}.dense_2", Gelu(Linear($"{feedForward}.dense_1", y)));
        string sum = Node("Add", outer, _shape.NormFirst ? attentionSum : y);
        string output = Norm(afterFeedForward, sum);
        return (output, _shape.NormFirst ? sum : output);
    }

    /// <summary>[B, 1]: the place of the last of those that are there; the first of the largest counts.</summary>
    private string LastRow(string isSeen) =>
        _graph.Node("ArgMax", [Node("CumSum", Integer(isSeen), "one")], ("axis", 1L), ("keepdims", 1L));

    /// <summary>[B, 1, H]</summary>
    private string Row(string x, string row) =>
        Node("Unsqueeze", _graph.Node("GatherND", [x, row], ("batch_dims", 1L)), "axis_1");

    /// <summary>[B, T, H] as heads, [B, A, T, D] or as the order says.</summary>
    private string Heads(string x, params long[] order)
    {
        string cut = Node("Reshape", x, OnceIntegers("heads", 0, 0, _shape.Heads, _shape.HiddenSize / _shape.Heads));
        return _graph.Node("Transpose", [cut], ("perm", order));
    }

    private string Linear(string name, string x)
    {
        int[] shape = layout[$"{name}.weight"].Shape;
        ReadOnlySpan<float> weight = Values($"{name}.weight").Span;
        var transposed = new float[weight.Length];
        for (int output = 0; output < shape[0]; output++)
        {
            for (int input = 0; input < shape[1]; input++)
                transposed[(input * shape[0]) + output] = weight[(output * shape[1]) + input];
        }
        string product = Node("MatMul", x, _graph.Constant($"{name}.weight", transposed, shape[1], shape[0]));
        return Node("Add", product, Table($"{name}.bias"));
    }

    private string Norm(string name, string x) =>
        _graph.Node(
            "LayerNormalization",
            [x, Table($"{name}.weight"), Table($"{name}.bias")],
            ("axis", -1L),
            ("epsilon", _shape.LayerNormEpsilon));

    /// <summary>u Φ(u), by erf.</summary>
    private string Gelu(string u)
    {
        string erf = Node("Erf", Node("Mul", u, Once("root_of_half", 1 / MathF.Sqrt(2))));
        return Node("Mul", Node("Mul", u, Once("half", 0.5f)), Node("Add", erf, Once("one_as_float", 1f)));
    }

    /// <summary>A parameter as it lies there.</summary>
    private string Table(string name) => _graph.Constant(name, Values(name), [.. layout[name].Shape.Select(side => (long)side)]);

    private ReadOnlyMemory<float> Values(string name) => parameters.AsMemory(layout[name].Range);

    private string Once(string name, float value) => _constants.Add(name) ? _graph.Constant(name, value) : name;

    private string OnceIntegers(string name, params long[] values) => _constants.Add(name) ? _graph.Integers(name, values) : name;

    private string Integer(string condition) => _graph.Node("Cast", [condition], ("to", (long)OnnxGraph.ElementType.Int64));

    private string Node(string operation, params string[] inputs) => _graph.Node(operation, inputs);
}
