using Bert4Rec.Kernels;

namespace Bert4Rec.Checking;

/// <summary>
/// Kernels one of whose backward passes is wrong by one percent: what they set is multiplied by 1.01, and so is what they add. Kernels without
/// a backward get their result so; of the cloze mask, whose results are whole numbers, the first target is another item. To see that the check
/// would find such a mistake.
/// </summary>
internal sealed class BrokenKernels(IKernels inner, string broken) : IKernels
{
    private const float Factor = 1.01f;

    public static IReadOnlyList<string> Names { get; } =
        ["embedding", "gather-rows", "linear", "gelu", "dropout", "layer-norm", "attention", "softmax-cross-entropy",
            "cloze-mask", "score-items", "top-k", "norm", "adam"];

    public string Name => inner.Name;

    public long? MemoryBytes => inner.MemoryBytes;

    public DeviceBuffer<float> AllocateFloats(long length) => inner.AllocateFloats(length);

    public DeviceBuffer<int> AllocateInts(long length) => inner.AllocateInts(length);

    // Whoever made the inner kernels disposes of them.
    public void Dispose()
    {
    }

    public void Fill(Tensor x, float value) => inner.Fill(x, value);

    public void Add(Tensor target, Tensor addend) => inner.Add(target, addend);

    public void AddSum(Tensor x, Tensor accumulator) => inner.AddSum(x, accumulator);

    public void EmbeddingForward(Indices tokens, Indices positions, Tensor items, Tensor positionTable, Tensor x) =>
        inner.EmbeddingForward(tokens, positions, items, positionTable, x);

    public void EmbeddingBackward(Indices tokens, Indices positions, Tensor dx, Tensor dItems, Tensor dPositions) =>
        Break("embedding", () => inner.EmbeddingBackward(tokens, positions, dx, dItems, dPositions), [], [dItems, dPositions]);

    public void LinearForward(Tensor x, Tensor weight, Tensor bias, Tensor y) => inner.LinearForward(x, weight, bias, y);

    public void LinearGeluForward(Tensor x, Tensor weight, Tensor bias, Tensor y, Tensor slope) =>
        inner.LinearGeluForward(x, weight, bias, y, slope);

    public void LinearBackwardInput(Tensor dy, Tensor weight, Tensor slope, Tensor dx, bool accumulate) =>
        Break("linear", () => inner.LinearBackwardInput(dy, weight, slope, dx, accumulate), accumulate ? [] : [dx], accumulate ? [dx] : []);

    public void LinearBackwardWeight(Tensor dy, Tensor x, Tensor dWeight, Tensor dBias) =>
        Break("linear", () => inner.LinearBackwardWeight(dy, x, dWeight, dBias), [], [dWeight, dBias]);

    public void GeluBackward(Tensor dy, Tensor slope) => Break("gelu", () => inner.GeluBackward(dy, slope), [dy], []);

    public void Dropout(Tensor x, in Dropout dropout)
    {
        var copy = dropout;
        Break("dropout", () => inner.Dropout(x, copy), [x], []);
    }

    public void LayerNormForward(
        Tensor x, Tensor residual, in Dropout dropout, Tensor gain, Tensor bias, float epsilon, Tensor y, Tensor statistics) =>
        inner.LayerNormForward(x, residual, dropout, gain, bias, epsilon, y, statistics);

    public void LayerNormBackward(
        Tensor dy, Tensor x, Tensor gain, Tensor statistics, in Dropout dropout, Tensor dSum, Tensor dInput, Tensor dGain, Tensor dBias)
    {
        var copy = dropout;
        Break(
            "layer-norm",
            () => inner.LayerNormBackward(dy, x, gain, statistics, copy, dSum, dInput, dGain, dBias),
            dInput.IsNone ? [dSum] : [dSum, dInput],
            [dGain, dBias]);
    }

    public void AttentionForward(
        Tensor q, Tensor kv, Indices queryOffsets, Indices keyOffsets, int heads, int maximumLength, in Dropout dropout, Tensor output, Tensor logSumExp) =>
        inner.AttentionForward(q, kv, queryOffsets, keyOffsets, heads, maximumLength, dropout, output, logSumExp);

    public void AttentionBackward(
        Tensor dOutput, Tensor q, Tensor kv, Tensor output, Tensor logSumExp, Indices queryOffsets, Indices keyOffsets, int heads, int maximumLength, in Dropout dropout, Tensor dq, Tensor dkv)
    {
        var copy = dropout;
        Break(
            "attention",
            () => inner.AttentionBackward(dOutput, q, kv, output, logSumExp, queryOffsets, keyOffsets, heads, maximumLength, copy, dq, dkv),
            [dq, dkv],
            []);
    }

    public int ClozeMask(
        Indices tokens, Indices offsets, in ClozeMasking masking, Indices maskedTokens, Indices maskedRows, Indices targets, Indices maskedOffsets)
    {
        int count = inner.ClozeMask(tokens, offsets, masking, maskedTokens, maskedRows, targets, maskedOffsets);
        if (broken == "cloze-mask" && count > 0)
            targets.Top(1).Upload([targets.Top(1).ToArray()[0] + 1]);
        return count;
    }

    public void GatherRows(Tensor x, Indices rows, Tensor y) => inner.GatherRows(x, rows, y);

    public void GatherRowsBackward(Tensor dy, Indices rows, Tensor dx) =>
        Break("gather-rows", () => inner.GatherRowsBackward(dy, rows, dx), [], [dx]);

    public void SoftmaxCrossEntropyForward(Tensor h, Tensor items, Tensor bias, Indices targets, Tensor losses, Tensor logSumExp) =>
        inner.SoftmaxCrossEntropyForward(h, items, bias, targets, losses, logSumExp);

    public void SoftmaxCrossEntropyBackward(
        Tensor h, Tensor items, Tensor bias, Indices targets, Tensor logSumExp, float scale, Tensor dh, Tensor dItems, Tensor dBias) =>
        Break(
            "softmax-cross-entropy",
            () => inner.SoftmaxCrossEntropyBackward(h, items, bias, targets, logSumExp, scale, dh, dItems, dBias),
            [dh],
            [dItems, dBias]);

    public void Norm(Tensor x, Tensor result) => Break("norm", () => inner.Norm(x, result), [result], []);

    public void Adam(Tensor parameters, Tensor gradients, Tensor firstMoments, Tensor secondMoments, Tensor norms, in AdamStep step)
    {
        var copy = step;
        Break("adam", () => inner.Adam(parameters, gradients, firstMoments, secondMoments, norms, copy), [], [parameters]);
    }

    public void TopK(
        Tensor h, Tensor items, Tensor bias, Indices targets, Indices excludedOffsets, Indices excludedItems, Indices topItems, Tensor topScores, Indices targetRanks) =>
        Break(
            "top-k",
            () => inner.TopK(h, items, bias, targets, excludedOffsets, excludedItems, topItems, topScores, targetRanks),
            [topScores],
            []);

    public void ScoreItems(Tensor h, Tensor items, Tensor bias, Indices candidates, Tensor scores) =>
        Break("score-items", () => inner.ScoreItems(h, items, bias, candidates, scores), [scores], []);

    /// <param name="kernel">The operation's name.</param>
    /// <param name="operation">It.</param>
    /// <param name="set">Tensors that it sets.</param>
    /// <param name="added">Tensors that it adds to.</param>
    private void Break(string kernel, Action operation, Tensor[] set, Tensor[] added)
    {
        float[][] before = kernel == broken ? [.. added.Select(tensor => tensor.ToArray())] : [];
        operation();
        if (kernel != broken)
            return;
        foreach (var tensor in set)
            tensor.Upload([.. tensor.ToArray().Select(value => Factor * value)]);
        foreach (var (tensor, old) in added.Zip(before))
            tensor.Upload([.. tensor.ToArray().Zip(old, (value, start) => start + (Factor * (value - start)))]);
    }
}
