using Bert4Rec.Kernels;

namespace Bert4Rec.Benchmarks;

/// <summary>What calls of an operation cost, in sum.</summary>
/// <param name="Calls">How many.</param>
/// <param name="Seconds">In them.</param>
/// <param name="FloatingPointOperations">Of the matrix products in them, two for a multiply-add; nothing else is counted.</param>
/// <param name="Bytes">Of their operands and results, each touched once.</param>
internal readonly record struct Cost(long Calls, double Seconds, double FloatingPointOperations, double Bytes)
{
    public static Cost operator +(Cost a, Cost b) =>
        new(a.Calls + b.Calls, a.Seconds + b.Seconds, a.FloatingPointOperations + b.FloatingPointOperations, a.Bytes + b.Bytes);
}

/// <summary>
/// Times every operation of kernels that return when they are done, as those of the cpu do, and counts its work from its shapes. Rounds of
/// the same calls keep the least time of each call, on the thread's own clock: what else the machine did meanwhile drops out.
/// </summary>
internal sealed class ProfiledKernels(IKernels inner) : IKernels
{
    private readonly List<(string Operation, int Outputs, int Inputs, Cost Cost)> _calls = [];
    private int _next;
    private int[] _queryOffsets = [];
    private int[] _keyOffsets = [];

    public string Name => inner.Name;

    public long? MemoryBytes => inner.MemoryBytes;

    /// <summary>The calls of a round; those of linear layers name their shape.</summary>
    public IEnumerable<(string Name, Cost Cost)> Calls => _calls.Select(
        call => (call.Outputs == 0 ? call.Operation : $"{call.Operation} {call.Inputs} → {call.Outputs}", call.Cost));

    /// <summary>Tokens of the round that were masked, and so trained on.</summary>
    public long Tokens { get; private set; }

    public void BeginRound() => Tokens = _next = 0;

    // Whoever made the inner kernels disposes of them.
    public void Dispose()
    {
    }

    public DeviceBuffer<float> AllocateFloats(long length) => inner.AllocateFloats(length);

    public DeviceBuffer<int> AllocateInts(long length) => inner.AllocateInts(length);

    public void Fill(Tensor x, float value)
    {
        double start = ThreadClock.Now();
        inner.Fill(x, value);
        Count(nameof(Fill), start, x.Length);
    }

    public void Add(Tensor target, Tensor addend)
    {
        double start = ThreadClock.Now();
        inner.Add(target, addend);
        Count(nameof(Add), start, 3 * target.Length);
    }

    public void AddSum(Tensor x, Tensor accumulator)
    {
        double start = ThreadClock.Now();
        inner.AddSum(x, accumulator);
        Count(nameof(AddSum), start, x.Length);
    }

    public void EmbeddingForward(Indices tokens, Indices positions, Tensor items, Tensor positionTable, Tensor x)
    {
        double start = ThreadClock.Now();
        inner.EmbeddingForward(tokens, positions, items, positionTable, x);
        Count(nameof(EmbeddingForward), start, 3 * x.Length);
    }

    public void EmbeddingBackward(Indices tokens, Indices positions, Tensor dx, Tensor dItems, Tensor dPositions)
    {
        double start = ThreadClock.Now();
        inner.EmbeddingBackward(tokens, positions, dx, dItems, dPositions);
        Count(nameof(EmbeddingBackward), start, 5 * dx.Length);
    }

    public void LinearForward(Tensor x, Tensor weight, Tensor bias, Tensor y)
    {
        double start = ThreadClock.Now();
        inner.LinearForward(x, weight, bias, y);
        CountLinear(nameof(LinearForward), start, x, weight, y, 0);
    }

    public void LinearGeluForward(Tensor x, Tensor weight, Tensor bias, Tensor y, Tensor slope)
    {
        double start = ThreadClock.Now();
        inner.LinearGeluForward(x, weight, bias, y, slope);
        CountLinear(nameof(LinearGeluForward), start, x, weight, y, slope.Length);
    }

    public void LinearBackwardInput(Tensor dy, Tensor weight, Tensor slope, Tensor dx, bool accumulate)
    {
        double start = ThreadClock.Now();
        inner.LinearBackwardInput(dy, weight, slope, dx, accumulate);
        CountLinear(nameof(LinearBackwardInput), start, dx, weight, dy, slope.Length + (accumulate ? dx.Length : 0));
    }

    public void LinearBackwardWeight(Tensor dy, Tensor x, Tensor dWeight, Tensor dBias)
    {
        double start = ThreadClock.Now();
        inner.LinearBackwardWeight(dy, x, dWeight, dBias);
        CountLinear(nameof(LinearBackwardWeight), start, x, dWeight, dy, dWeight.Length);
    }

    public void GeluBackward(Tensor dy, Tensor slope)
    {
        double start = ThreadClock.Now();
        inner.GeluBackward(dy, slope);
        Count(nameof(GeluBackward), start, 3 * dy.Length);
    }

    public void Dropout(Tensor x, in Dropout dropout)
    {
        double start = ThreadClock.Now();
        inner.Dropout(x, dropout);
        Count(nameof(Dropout), start, 2 * x.Length);
    }

    public void LayerNormForward(Tensor x, Tensor residual, in Dropout dropout, Tensor gain, Tensor bias, float epsilon, Tensor y, Tensor statistics)
    {
        double start = ThreadClock.Now();
        inner.LayerNormForward(x, residual, dropout, gain, bias, epsilon, y, statistics);
        Count(nameof(LayerNormForward), start, (2 * x.Length) + (2 * residual.Length));
    }

    public void LayerNormBackward(Tensor dy, Tensor x, Tensor gain, Tensor statistics, in Dropout dropout, Tensor dSum, Tensor dInput, Tensor dGain, Tensor dBias)
    {
        double start = ThreadClock.Now();
        inner.LayerNormBackward(dy, x, gain, statistics, dropout, dSum, dInput, dGain, dBias);
        Count(nameof(LayerNormBackward), start, (3 * dy.Length) + dInput.Length);
    }

    public void AttentionForward(Tensor q, Tensor kv, Indices queryOffsets, Indices keyOffsets, int heads, int maximumLength, in Dropout dropout, Tensor output, Tensor logSumExp)
    {
        double start = ThreadClock.Now();
        inner.AttentionForward(q, kv, queryOffsets, keyOffsets, heads, maximumLength, dropout, output, logSumExp);
        double end = ThreadClock.Now();
        string name = nameof(AttentionForward) + Queries(q, kv);
        Count(name, start, end, kv.Length + (2 * q.Length), 2 * 2.0 * q.Columns * Pairs(queryOffsets, keyOffsets));
    }

    public void AttentionBackward(Tensor dOutput, Tensor q, Tensor kv, Tensor output, Tensor logSumExp, Indices queryOffsets, Indices keyOffsets, int heads, int maximumLength, in Dropout dropout, Tensor dq, Tensor dkv)
    {
        double start = ThreadClock.Now();
        inner.AttentionBackward(dOutput, q, kv, output, logSumExp, queryOffsets, keyOffsets, heads, maximumLength, dropout, dq, dkv);
        double end = ThreadClock.Now();
        string name = nameof(AttentionBackward) + Queries(q, kv);
        Count(name, start, end, (2 * kv.Length) + (4 * q.Length), 5 * 2.0 * q.Columns * Pairs(queryOffsets, keyOffsets));
    }

    public int ClozeMask(Indices tokens, Indices offsets, in ClozeMasking masking, Indices maskedTokens, Indices maskedRows, Indices targets, Indices maskedOffsets)
    {
        Tokens += tokens.Length;
        double start = ThreadClock.Now();
        int masked = inner.ClozeMask(tokens, offsets, masking, maskedTokens, maskedRows, targets, maskedOffsets);
        Count(nameof(ClozeMask), start, 2 * tokens.Length);
        return masked;
    }

    public void GatherRows(Tensor x, Indices rows, Tensor y)
    {
        double start = ThreadClock.Now();
        inner.GatherRows(x, rows, y);
        Count(nameof(GatherRows), start, 2 * y.Length);
    }

    public void GatherRowsBackward(Tensor dy, Indices rows, Tensor dx)
    {
        double start = ThreadClock.Now();
        inner.GatherRowsBackward(dy, rows, dx);
        Count(nameof(GatherRowsBackward), start, 3 * dy.Length);
    }

    public void SoftmaxCrossEntropyForward(Tensor h, Tensor items, Tensor bias, Indices targets, Tensor losses, Tensor logSumExp)
    {
        double start = ThreadClock.Now();
        inner.SoftmaxCrossEntropyForward(h, items, bias, targets, losses, logSumExp);
        Count(nameof(SoftmaxCrossEntropyForward), start, ThreadClock.Now(), h.Length + items.Length, 2.0 * h.Length * items.Rows);
    }

    public void SoftmaxCrossEntropyBackward(Tensor h, Tensor items, Tensor bias, Indices targets, Tensor logSumExp, float scale, Tensor dh, Tensor dItems, Tensor dBias)
    {
        double start = ThreadClock.Now();
        inner.SoftmaxCrossEntropyBackward(h, items, bias, targets, logSumExp, scale, dh, dItems, dBias);
        Count(
            nameof(SoftmaxCrossEntropyBackward), start, ThreadClock.Now(), (2 * h.Length) + (3 * items.Length), 3 * 2.0 * h.Length * items.Rows);
    }

    public void Norm(Tensor x, Tensor result)
    {
        double start = ThreadClock.Now();
        inner.Norm(x, result);
        Count(nameof(Norm), start, x.Length);
    }

    public void Adam(Tensor parameters, Tensor gradients, Tensor firstMoments, Tensor secondMoments, Tensor norms, in AdamStep step)
    {
        double start = ThreadClock.Now();
        inner.Adam(parameters, gradients, firstMoments, secondMoments, norms, step);
        Count(nameof(Adam), start, 8 * parameters.Length);
    }

    public void TopK(Tensor h, Tensor items, Tensor bias, Indices targets, Indices excludedOffsets, Indices excludedItems, Indices topItems, Tensor topScores, Indices targetRanks)
    {
        double start = ThreadClock.Now();
        inner.TopK(h, items, bias, targets, excludedOffsets, excludedItems, topItems, topScores, targetRanks);
        Count(nameof(TopK), start, ThreadClock.Now(), h.Length + items.Length, 2.0 * h.Length * items.Rows);
    }

    public void ScoreItems(Tensor h, Tensor items, Tensor bias, Indices candidates, Tensor scores)
    {
        double start = ThreadClock.Now();
        inner.ScoreItems(h, items, bias, candidates, scores);
        Count(nameof(ScoreItems), start, ThreadClock.Now(), (scores.Length + h.Rows) * h.Columns, 2.0 * scores.Length * h.Columns);
    }

    private static string Queries(Tensor q, Tensor kv) => q.Rows == kv.Rows ? "" : ", some queries";

    /// <summary>Σ queries · keys over the sequences.</summary>
    private double Pairs(Indices queryOffsets, Indices keyOffsets)
    {
        if (_queryOffsets.Length < queryOffsets.Length)
            (_queryOffsets, _keyOffsets) = (new int[queryOffsets.Length], new int[queryOffsets.Length]);
        queryOffsets.Buffer.Download(_queryOffsets.AsSpan(0, queryOffsets.Length), queryOffsets.Offset);
        keyOffsets.Buffer.Download(_keyOffsets.AsSpan(0, keyOffsets.Length), keyOffsets.Offset);
        double pairs = 0;
        for (int b = 0; b + 1 < queryOffsets.Length; b++)
            pairs += (double)(_queryOffsets[b + 1] - _queryOffsets[b]) * (_keyOffsets[b + 1] - _keyOffsets[b]);
        return pairs;
    }

    private void CountLinear(string operation, double start, Tensor x, Tensor weight, Tensor y, long besides) => Count(
        operation,
        start,
        ThreadClock.Now(),
        x.Length + weight.Length + y.Length + besides,
        2.0 * x.Length * weight.Rows,
        weight.Rows,
        weight.Columns);

    private void Count(string operation, double start, long values) => Count(operation, start, ThreadClock.Now(), values, 0);

    private void Count(string operation, double start, double end, long values, double floatingPointOperations, int outputs = 0, int inputs = 0)
    {
        double seconds = end - start;
        if (_next == _calls.Count)
            _calls.Add((operation, outputs, inputs, new Cost(1, seconds, floatingPointOperations, values * (double)sizeof(float))));
        else if (seconds < _calls[_next].Cost.Seconds)
            _calls[_next] = _calls[_next] with { Cost = _calls[_next].Cost with { Seconds = seconds } };
        _next++;
    }
}
