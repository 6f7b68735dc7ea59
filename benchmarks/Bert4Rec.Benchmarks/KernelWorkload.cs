using Bert4Rec.Kernels;

namespace Bert4Rec.Benchmarks;

/// <summary>A kernel's call and its work.</summary>
/// <param name="Run">The call.</param>
/// <param name="FloatingPointOperations">Of the matrix products in it.</param>
/// <param name="Bytes">Of its operands and results, each touched once.</param>
internal readonly record struct BenchmarkedCall(Action Run, double FloatingPointOperations, double Bytes);

/// <param name="Tokens">T of a micro-batch.</param>
/// <param name="Length">Of each sequence.</param>
/// <param name="Items">V.</param>
/// <param name="Hidden">H.</param>
/// <param name="Inner">I.</param>
internal sealed record KernelShape(int Tokens, int Length, int Items, int Hidden, int Inner)
{
    public const int Heads = 2;

    public int Sequences => Tokens / Length;

    /// <summary>About as many tokens as a training masks.</summary>
    public int Masked => Tokens / 8;
}

/// <summary>The operands of every kernel at one shape, on one device.</summary>
internal sealed class KernelWorkload : IDisposable
{
    private const float Epsilon = 1e-12f, Probability = 0.2f;
    private const int Cutoff = 20, Candidates = 101;
    private readonly List<IDisposable> _memory = [];
    private readonly KernelSet _kernels;
    private readonly Dictionary<string, BenchmarkedCall> _calls = [];
    private readonly DeviceBuffer<float> _last;
    private readonly float[] _one = new float[1];
    private readonly Random _random = new(1);

    public KernelWorkload(KernelSet kernels, KernelShape shape)
    {
        _kernels = kernels;
        _last = kernels.AllocateFloats(1);
        _memory.Add(_last);
        int h = shape.Hidden, inner = shape.Inner, v = shape.Items, m = shape.Masked, b = shape.Sequences, length = shape.Length;
        int t = b * length;
        var key = new RandomKey(1, 1, 0, 0);
        var dropout = new DropoutMask(Probability, key);

        Tensor items = Normal(v + 1, h), positionTable = Normal(length, h), dItems = Zeros(v + 1, h), dPositions = Zeros(length, h);
        Tensor catalogue = items.First(v), dCatalogue = dItems.First(v), itemBias = Normal(1, v), dItemBias = Zeros(1, v);
        Tensor x = Normal(t, h), y = Zeros(t, h), dy = Normal(t, h), statistics = Zeros(t, 2);
        Tensor wide = Normal(t, inner), slope = Normal(t, inner), dWide = Normal(t, inner);
        Tensor square = Normal(h, h), squareBias = Normal(1, h), dSquare = Zeros(h, h), dSquareBias = Zeros(1, h);
        Tensor up = Normal(inner, h), upBias = Normal(1, inner), dUp = Zeros(inner, h), dUpBias = Zeros(1, inner);
        Tensor gain = Normal(1, h), bias = Normal(1, h), dGain = Zeros(1, h), dBias = Zeros(1, h);
        Tensor keyValue = Normal(t, 2 * h), dKeyValue = Zeros(t, 2 * h), logSumExp = Zeros(t, KernelShape.Heads), attention = Zeros(t, h);
        Tensor hidden = Normal(m, h), dHidden = Zeros(m, h), losses = Zeros(1, m), normaliser = Zeros(1, m);
        Tensor topScores = Zeros(m, Cutoff), candidateScores = Zeros(m, Candidates);
        Indices tokens = Ints(t, _ => _random.Next(1, v)), positions = Ints(t, i => i % length), offsets = Ints(b + 1, i => i * length);
        Indices rows = Ints(m, i => i * 8 % t), targets = Ints(m, _ => _random.Next(1, v));
        Indices candidates = Ints(m * Candidates, _ => _random.Next(1, v));
        Indices topItems = Ints(m * Cutoff, _ => 0), ranks = Ints(3 * m, _ => 0);
        Indices maskedTokens = Ints(t, _ => 0), maskedRows = Ints(t, _ => 0), maskedTargets = Ints(t, _ => 0);
        Indices maskedOffsets = Ints(b + 1, _ => 0);
        int parameters = checked((int)items.Length);
        Tensor flat = Normal(1, parameters), gradients = Normal(1, parameters), first = Zeros(1, parameters), second = Zeros(1, parameters);

        // What the backwards read of the forwards.
        kernels.LayerNormForward(x, y, dropout, new(gain, bias), Epsilon, y, statistics);
        kernels.AttentionForward(dy, keyValue, new(offsets, offsets, KernelShape.Heads, length), dropout, attention, logSumExp);
        kernels.SoftmaxCrossEntropyForward(hidden, new(catalogue, itemBias), targets, losses, normaliser);

        double td = t, th = td * h, pairs = td * length * h, scores = 2.0 * m * v * h, product = 2 * th * h;
        Add("embedding, forward", 0, 3 * th, k => k.EmbeddingForward(tokens, positions, items, positionTable, y));
        Add("embedding, backward", 0, 5 * th, k => k.EmbeddingBackward(tokens, positions, dy, dItems, dPositions));
        Add("linear, forward", product, 2 * th, k => k.LinearForward(x, new(square, squareBias), y));
        Add("linear and gelu, forward", 2 * th * inner, th + (2 * td * inner), k => k.LinearGeluForward(x, new(up, upBias), wide, slope));
        Add("linear, backward of the input", product, 2 * th, k => k.LinearBackwardInput(dy, square, default, y, false));
        Add("linear, backward of the weight", product, 2 * th, k => k.LinearBackwardWeight(dy, x, new(dSquare, dSquareBias)));
        Add("wide linear, backward of the input", 2 * th * inner, th + (td * inner), k =>
            k.LinearBackwardInput(dWide, up, default, y, false));
        Add("wide linear, backward of the weight", 2 * th * inner, th + (td * inner), k =>
            k.LinearBackwardWeight(dWide, x, new(dUp, dUpBias)));
        Add("gelu, backward", 0, 3 * td * inner, k => k.GeluBackward(dWide, slope));
        Add("dropout", 0, 2 * th, k => k.Dropout(dy, dropout));
        Add("layer norm, forward", 0, 4 * th, k => k.LayerNormForward(x, dy, dropout, new(gain, bias), Epsilon, y, statistics));
        Add("layer norm, backward", 0, 4 * th, k => k.LayerNormBackward(dy, x, gain, statistics, dropout, y, attention, new(dGain, dBias)));
        Add("attention, forward", 4 * pairs, 4 * th, k =>
            k.AttentionForward(dy, keyValue, new(offsets, offsets, KernelShape.Heads, length), dropout, attention, logSumExp));
        Add("attention, backward", 10 * pairs, 8 * th, k => k.AttentionBackward(
            x, dy, keyValue, attention, logSumExp, new(offsets, offsets, KernelShape.Heads, length), dropout, y, dKeyValue));
        Add("cloze mask", 0, 2 * td, k => k.ClozeMask(
            tokens,
            offsets,
            new ClozeMasking(key, Probability, 0, v, length, false, true),
            maskedTokens,
            maskedRows,
            maskedTargets,
            maskedOffsets));
        Add("gather rows, forward", 0, 2.0 * m * h, k => k.GatherRowsForward(x, rows, dHidden));
        Add("gather rows, backward", 0, 3.0 * m * h, k => k.GatherRowsBackward(hidden, rows, y));
        Add("softmax cross-entropy, forward", scores, (double)v * h, k =>
            k.SoftmaxCrossEntropyForward(hidden, new(catalogue, itemBias), targets, losses, normaliser));
        Add("softmax cross-entropy, backward", 3 * scores, 3.0 * v * h, k =>
            k.SoftmaxCrossEntropyBackward(
                hidden, new(catalogue, itemBias), targets, normaliser, 1e-3f, dHidden, new(dCatalogue, dItemBias)));
        Add("norm", 0, parameters, k => k.GradientNorm(gradients, Tensor.Of(_last)));
        Add("adam", 0, 8.0 * parameters, k => k.Adam(flat, gradients, first, second, default, new AdamStep(1, 1e-3f)));
        Add("top k", scores, (double)v * h, k =>
            k.TopK(hidden, new(catalogue, itemBias), targets, default, default, topItems, topScores, ranks));
        Add("score items", 2.0 * m * Candidates * h, (double)m * Candidates * h, k =>
            k.ScoreItems(hidden, new(catalogue, itemBias), candidates, candidateScores));
    }

    /// <summary>By config.</summary>
    public static IReadOnlyDictionary<string, KernelShape> Shapes { get; } = new Dictionary<string, KernelShape>
    {
        ["sample"] = new(1024, 6, 501, 64, 256),
        ["ml-100k"] = new(1024, 50, 1683, 64, 256),
        ["ecommerce"] = new(2048, 5, 19_259, 128, 256),
    };

    public IReadOnlyCollection<string> Names => _calls.Keys;

    public BenchmarkedCall this[string name] => _calls[name];

    /// <summary>Waits for the device: a read does.</summary>
    public void Wait()
    {
        if (_kernels.MemoryBytes is not null)
            _last.Download(_one);
    }

    public void Dispose()
    {
        foreach (var memory in _memory)
            memory.Dispose();
    }

    private void Add(string name, double floatingPointOperations, double values, Action<KernelSet> call) =>
        _calls.Add(name, new(() => call(_kernels), floatingPointOperations, sizeof(float) * values));

    private Tensor Zeros(int rows, int columns)
    {
        var buffer = _kernels.AllocateFloats((long)rows * columns);
        _memory.Add(buffer);
        return new(buffer, 0, rows, columns);
    }

    /// <summary>About 0, small enough to stay finite however often a kernel adds them up.</summary>
    private Tensor Normal(int rows, int columns)
    {
        var tensor = Zeros(rows, columns);
        tensor.Upload([.. Enumerable.Range(0, rows * columns).Select(_ => (_random.NextSingle() - 0.5f) / 5)]);
        return tensor;
    }

    private Indices Ints(int count, Func<int, int> value)
    {
        var buffer = _kernels.AllocateInts(count);
        _memory.Add(buffer);
        buffer.Upload([.. Enumerable.Range(0, count).Select(value)]);
        return Indices.Of(buffer);
    }
}
