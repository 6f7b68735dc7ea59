namespace Bert4Rec.Kernels;

/// <summary>Whether the operands of an operation fit together; the shapes are those in <see cref="IKernels"/>.</summary>
/// <exception cref="ArgumentException">They do not (thrown by every method).</exception>
internal static class Shapes
{
    public static void Add(Tensor target, Tensor addend) => Require(target.Length == addend.Length, "target and addend of equal length");

    public static void Embedding(Indices tokens, Indices positions, Tensor items, Tensor positionTable, Tensor x) =>
        Require(
            x.Rows == tokens.Length && x.Rows == positions.Length && x.Columns == items.Columns && x.Columns == positionTable.Columns,
            "x [tokens, H]");

    public static void Linear(Tensor x, Tensor weight, Tensor y, Tensor bias) =>
        Require(
            x.Rows == y.Rows && x.Columns == weight.Columns && y.Columns == weight.Rows && (bias.IsNone || bias.Length == weight.Rows),
            "x [T, K], weight [N, K], bias [N], y [T, N]");

    public static void LinearForward(Tensor x, Tensor weight, Tensor y, Tensor bias)
    {
        Linear(x, weight, y, bias);
        Require(!bias.IsNone, "a bias [N]");
    }

    public static void LinearBackwardInput(Tensor dy, Tensor weight, Tensor slope, Tensor dx, bool accumulate)
    {
        Linear(dx, weight, dy, default);
        Require(slope.IsNone || (!accumulate && slope.Length == dx.Length), "slope [T, K], and none where dx accumulates");
    }

    public static void Gelu(Tensor dy, Tensor slope) => Require(dy.Length == slope.Length, "dy and slope of equal length");

    public static void LayerNormForward(
        Tensor x, Tensor residual, in Dropout dropout, Tensor gain, Tensor bias, Tensor y, Tensor statistics)
    {
        Require(
            y.Length == x.Length && gain.Length == x.Columns && bias.Length == x.Columns && statistics.Length == 2L * x.Rows,
            "y [T, H], gain [H], statistics [T, 2]");
        Require(!residual.IsNone || dropout.IsNone, "a residual where there is dropout");
    }

    public static void LayerNormBackward(Tensor dy, Tensor x, Tensor statistics, Tensor dSum) =>
        Require(dy.Length == x.Length && dSum.Length == x.Length && statistics.Length == 2L * x.Rows, "dy and dSum [T, H], statistics [T, 2]");

    public static void Attention(Tensor q, Tensor kv, Indices queryOffsets, Indices keyOffsets, int heads, Tensor output, Tensor logSumExp) =>
        Require(
            q.Columns % heads == 0 && kv.Columns == 2 * q.Columns && queryOffsets.Length == keyOffsets.Length && output.Length == q.Length
                && logSumExp.Length == (long)q.Rows * heads,
            "q and output [Q, H], kv [T, 2H], offsets [B+1], logSumExp [Q, heads], heads dividing H");

    public static void AttentionBackward(
        Tensor dOutput, Tensor q, Tensor kv, Tensor output, Tensor logSumExp, Indices queryOffsets, Indices keyOffsets, int heads, Tensor dq, Tensor dkv)
    {
        Attention(q, kv, queryOffsets, keyOffsets, heads, output, logSumExp);
        Require(dq.Length == q.Length && dkv.Length == kv.Length && dOutput.Length == output.Length, "gradients shaped as what they are of");
    }

    public static void ClozeMask(
        Indices tokens, Indices offsets, Indices maskedTokens, Indices maskedRows, Indices targets, Indices maskedOffsets) =>
        Require(
            maskedTokens.Length >= tokens.Length && maskedRows.Length >= tokens.Length && targets.Length >= tokens.Length
                && maskedOffsets.Length == offsets.Length,
            "room for T entries");

    public static void GatherRows(Tensor x, Indices rows, Tensor y) => Require(y.Rows == rows.Length && y.Columns == x.Columns, "y [rows, H]");

    public static void SoftmaxCrossEntropyForward(Tensor h, Tensor items, Tensor bias, Indices targets, Tensor losses, Tensor logSumExp)
    {
        Scores(h, items, bias);
        Require(targets.Length == h.Rows && losses.Length == h.Rows && logSumExp.Length == h.Rows, "targets, losses and logSumExp [M]");
    }

    public static void SoftmaxCrossEntropyBackward(
        Tensor h, Tensor items, Tensor bias, Indices targets, Tensor logSumExp, Tensor dh, Tensor dItems, Tensor dBias)
    {
        Scores(h, items, bias);
        Require(
            targets.Length == h.Rows && logSumExp.Length == h.Rows && dh.Length == h.Length && dItems.Length >= items.Length
                && dBias.Length == bias.Length,
            "targets and logSumExp [M], dh [M, H], dItems [V, H], dBias [V]");
    }

    public static void Adam(
        Tensor parameters, Tensor gradients, Tensor firstMoments, Tensor secondMoments, Tensor norms, in AdamStep step)
    {
        Require(
            gradients.Length == parameters.Length && firstMoments.Length == parameters.Length && secondMoments.Length == parameters.Length,
            "four buffers of equal length");
        Require(!norms.IsNone || float.IsPositiveInfinity(step.MaximumNorm), "norms where there is a maximum");
    }

    public static void TopK(
        Tensor h, Tensor items, Tensor bias, Indices targets, Indices excludedOffsets, Indices excludedItems, Indices topItems, Tensor topScores, Indices targetRanks)
    {
        Scores(h, items, bias);
        Require(topItems.Length == topScores.Length && topScores.Rows == h.Rows && topScores.Columns > 0, "topItems and topScores [B, k]");
        Require(
            targets.IsNone == targetRanks.IsNone && (targets.IsNone || (targets.Length == h.Rows && targetRanks.Length == 3 * h.Rows)),
            "targets [B] with ranks [B·3]");
        Require(excludedOffsets.IsNone || excludedOffsets.Length == h.Rows + 1, "excludedOffsets [B+1]");
    }

    public static void ScoreItems(Tensor h, Tensor items, Tensor bias, Indices candidates, Tensor scores)
    {
        Scores(h, items, bias);
        Require(candidates.Length == scores.Length && scores.Rows == h.Rows, "candidates and scores [B, C]");
    }

    public static void IndexCatalogue(Tensor items, Tensor bias) => Require(bias.Length == items.Rows, "items [V, H], bias [V]");

    private static void Scores(Tensor h, Tensor items, Tensor bias) =>
        Require(h.Columns == items.Columns && bias.Length == items.Rows, "h [M, H], items [V, H], bias [V]");

    private static void Require(bool condition, string shapes)
    {
        if (!condition)
            throw new ArgumentException($"the operands do not fit together: {shapes}");
    }
}
