namespace Bert4Rec.Kernels;

/// <summary>
/// The operations BERT4Rec is made of. The model calls them in order, forward and then in reverse; a backend supplies the arithmetic, in a
/// method of the same name that ends in Core. What an operation computes, which shapes it takes, what it reads and what it writes stand
/// here.
/// </summary>
/// <remarks>
/// <para>Shapes: T packed tokens of a micro-batch (no padding), B sequences, Q rows that are queries, M masked rows, H hidden size, I inner
/// size, V catalogue size with the padding item 0, V+1 rows in the item table with <c>[mask]</c> last (V in a causal model, which has
/// none).</para>
/// <para>A backward adds to gradients of parameters (+=) and sets gradients of activations (=) unless it says otherwise. Every sum has a
/// fixed order: the same call on the same device gives the same bits.</para>
/// <para>Operations may be asynchronous; reading a buffer waits for them. One instance serves one thread at a time. Every operation throws
/// an <see cref="ArgumentException"/> where the shapes of its operands do not fit together.</para>
/// </remarks>
public abstract class KernelSet : IDisposable
{
    private protected KernelSet()
    {
    }

    /// <summary>The device, for people: "cpu (512-bit vectors)", "cuda:0 NVIDIA H100".</summary>
    public abstract string Name { get; }

    /// <summary>The device's own memory in bytes, which bounds a micro-batch; null where the host's caches do.</summary>
    public abstract long? MemoryBytes { get; }

    /// <summary>Is told of every operation before and after it; null for nobody.</summary>
    public IKernelObserver? Observer { get; set; }

    /// <summary>New zeroed memory on this device.</summary>
    public abstract DeviceBuffer<float> AllocateFloats(long length);

    /// <inheritdoc cref="AllocateFloats"/>
    public abstract DeviceBuffer<int> AllocateInts(long length);

    /// <summary>
    /// Where kernels have to be compiled, goes through work without doing it, and compiles what it takes; elsewhere nothing. Work memory
    /// keeps its contents.
    /// </summary>
    /// <exception cref="DeviceException">The device refuses a kernel.</exception>
    internal virtual void Rehearse(Action work)
    {
    }

    /// <summary>
    /// What of <see cref="EmbeddingBackward"/> needs no gradient, where that can be done beside other operations; elsewhere nothing. The
    /// tokens and positions stay as they are until then.
    /// </summary>
    internal virtual void BeginEmbeddingBackward(Indices tokens, Indices positions, Tensor dItems, Tensor dPositions)
    {
    }

    /// <summary>Gives back what the kernels work in; buffers are disposed one by one, before.</summary>
    public abstract void Dispose();

    // ---- Element by element ----

    /// <summary>x = value.</summary>
    public void Fill(Tensor x, float value)
    {
        using var call = Begin(nameof(Fill), read: [], set: [x]);
        FillCore(x, value);
    }

    /// <summary>target += addend, of equal length.</summary>
    public void Add(Tensor target, Tensor addend)
    {
        Require(target.Length == addend.Length, "target and addend of equal length");
        using var call = Begin(nameof(Add), read: [addend], add: [target]);
        AddCore(target, addend);
    }

    /// <summary>accumulator[0] += Σ x; the accumulator has one element.</summary>
    public void AddSum(Tensor x, Tensor accumulator)
    {
        Require(accumulator.Length == 1, "accumulator [1]");
        using var call = Begin(nameof(AddSum), read: [x], add: [accumulator]);
        AddSumCore(x, accumulator);
    }

    private protected abstract void FillCore(Tensor x, float value);

    private protected abstract void AddCore(Tensor target, Tensor addend);

    private protected abstract void AddSumCore(Tensor x, Tensor accumulator);

    // ---- Embedding ----

    /// <summary>x[t] = items[tokens[t]] + positionTable[positions[t]].</summary>
    /// <param name="tokens">[T] ids of rows of <paramref name="items"/>.</param>
    /// <param name="positions">[T] rows of <paramref name="positionTable"/>.</param>
    /// <param name="items">[V+1, H], or [V, H] without <c>[mask]</c>.</param>
    /// <param name="positionTable">[maximum length, H]</param>
    /// <param name="x">[T, H]</param>
    public void EmbeddingForward(Indices tokens, Indices positions, Tensor items, Tensor positionTable, Tensor x)
    {
        RequireEmbedding(tokens, positions, items, positionTable, x);
        // Of each table as many rows are read as x has.
        using var call = Begin(nameof(EmbeddingForward), read: [x, x], set: [x], tokens: tokens.Length);
        EmbeddingForwardCore(tokens, positions, items, positionTable, x);
    }

    /// <summary>dItems[tokens[t]] += dx[t] for tokens other than padding (0), dPositions[positions[t]] += dx[t].</summary>
    public void EmbeddingBackward(Indices tokens, Indices positions, Tensor dx, Tensor dItems, Tensor dPositions)
    {
        RequireEmbedding(tokens, positions, dItems, dPositions, dx);
        using var call = Begin(nameof(EmbeddingBackward), read: [dx], add: [dItems, dPositions], touched: 5 * dx.Length);
        EmbeddingBackwardCore(tokens, positions, dx, dItems, dPositions);
    }

    /// <summary>y[m] = x[rows[m]].</summary>
    /// <param name="x">[T, H]</param>
    /// <param name="rows">[M]</param>
    /// <param name="y">[M, H]</param>
    public void GatherRowsForward(Tensor x, Indices rows, Tensor y)
    {
        Require(y.Rows == rows.Length && y.Columns == x.Columns, "y [rows, H]");
        using var call = Begin(nameof(GatherRowsForward), read: [y], set: [y]);
        GatherRowsForwardCore(x, rows, y);
    }

    /// <summary>dx[rows[m]] += dy[m]; no row occurs twice.</summary>
    public void GatherRowsBackward(Tensor dy, Indices rows, Tensor dx)
    {
        Require(dy.Rows == rows.Length && dy.Columns == dx.Columns, "dy [rows, H]");
        using var call = Begin(nameof(GatherRowsBackward), read: [dy], add: [dx], touched: 3 * dy.Length);
        GatherRowsBackwardCore(dy, rows, dx);
    }

    private protected abstract void EmbeddingForwardCore(Indices tokens, Indices positions, Tensor items, Tensor positionTable, Tensor x);

    private protected abstract void EmbeddingBackwardCore(Indices tokens, Indices positions, Tensor dx, Tensor dItems, Tensor dPositions);

    private protected abstract void GatherRowsForwardCore(Tensor x, Indices rows, Tensor y);

    private protected abstract void GatherRowsBackwardCore(Tensor dy, Indices rows, Tensor dx);

    // ---- Linear layers ----

    /// <summary>y = x · weightᵀ + bias.</summary>
    /// <param name="x">[T, K]</param>
    /// <param name="layer">weight [N, K], as PyTorch's Linear keeps it, and bias [N].</param>
    /// <param name="y">[T, N]</param>
    public void LinearForward(Tensor x, WeightAndBias layer, Tensor y)
    {
        RequireLinear(x, layer, y);
        using var call = Begin(nameof(LinearForward), read: [x, layer.Weight], set: [y], multiplyAdds: x.Length * y.Columns);
        LinearForwardCore(x, layer, y);
    }

    /// <summary>u = x · weightᵀ + bias; y = gelu(u) = u Φ(u), Φ the normal distribution function (the erf form).</summary>
    /// <param name="x">[T, K]</param>
    /// <param name="layer">weight [N, K], bias [N]</param>
    /// <param name="y">[T, N]</param>
    /// <param name="slope">[T, N], set to gelu'(u) = Φ(u) + u φ(u), all that the backward needs of u. None in inference.</param>
    public void LinearGeluForward(Tensor x, WeightAndBias layer, Tensor y, Tensor slope)
    {
        RequireLinear(x, layer, y);
        Require(slope.IsNone || slope.Length == y.Length, "slope [T, N]");
        using var call = Begin(nameof(LinearGeluForward), read: [x, layer.Weight], set: [y, slope], multiplyAdds: x.Length * y.Columns);
        LinearGeluForwardCore(x, layer, y, slope);
    }

    /// <summary>dx = dy · weight, times <paramref name="slope"/> element by element where there is one.</summary>
    /// <param name="dy">[T, N]</param>
    /// <param name="weight">[N, K]</param>
    /// <param name="slope">[T, K] the gelu slope of the layer that made x, or none.</param>
    /// <param name="dx">[T, K]</param>
    /// <param name="accumulate">dx += instead of dx = (not with a slope).</param>
    public void LinearBackwardInput(Tensor dy, Tensor weight, Tensor slope, Tensor dx, bool accumulate)
    {
        Require(
            dx.Rows == dy.Rows && dx.Columns == weight.Columns && dy.Columns == weight.Rows, "dy [T, N], weight [N, K], dx [T, K]");
        Require(slope.IsNone || (!accumulate && slope.Length == dx.Length), "slope [T, K], and none where dx accumulates");
        using var call = Begin(
            nameof(LinearBackwardInput),
            read: [dy, weight, slope],
            set: [accumulate ? default : dx],
            add: [accumulate ? dx : default],
            multiplyAdds: dy.Length * dx.Columns);
        LinearBackwardInputCore(dy, weight, slope, dx, accumulate);
    }

    /// <summary>gradient's weight += dyᵀ · x; its bias += column sums of dy.</summary>
    /// <param name="dy">[T, N]</param>
    /// <param name="x">[T, K]</param>
    /// <param name="gradient">[N, K] and [N]</param>
    public void LinearBackwardWeight(Tensor dy, Tensor x, WeightAndBias gradient)
    {
        RequireLinear(x, gradient, dy);
        using var call = Begin(
            nameof(LinearBackwardWeight), read: [dy, x], add: [gradient.Weight, gradient.Bias], multiplyAdds: dy.Length * x.Columns);
        LinearBackwardWeightCore(dy, x, gradient);
    }

    /// <summary>dy ∘= slope, where no product stands behind the gelu to take it up.</summary>
    public void GeluBackward(Tensor dy, Tensor slope)
    {
        Require(dy.Length == slope.Length, "dy and slope of equal length");
        using var call = Begin(nameof(GeluBackward), read: [dy, slope], set: [dy]);
        GeluBackwardCore(dy, slope);
    }

    private protected abstract void LinearForwardCore(Tensor x, WeightAndBias layer, Tensor y);

    private protected abstract void LinearGeluForwardCore(Tensor x, WeightAndBias layer, Tensor y, Tensor slope);

    private protected abstract void LinearBackwardInputCore(Tensor dy, Tensor weight, Tensor slope, Tensor dx, bool accumulate);

    private protected abstract void LinearBackwardWeightCore(Tensor dy, Tensor x, WeightAndBias gradient);

    private protected abstract void GeluBackwardCore(Tensor dy, Tensor slope);

    // ---- Dropout, residual, layer norm ----

    /// <summary>x ∘= M, M = 0 or 1 / (1 − p), in place. Its own backward.</summary>
    public void Dropout(Tensor x, in DropoutMask dropout)
    {
        using var call = Begin(nameof(Dropout), read: [x], set: [x]);
        DropoutCore(x, dropout);
    }

    /// <summary>
    /// s = residual + dropout(x), kept in x for the backward; y = gain ∘ (s − mean) / √(variance + ε) + bias, row by row.
    /// </summary>
    /// <param name="x">[T, H], overwritten by s.</param>
    /// <param name="residual">[T, H], or none, and then no dropout.</param>
    /// <param name="dropout">Its rows are the rows of x.</param>
    /// <param name="norm">The gain (its weight) [H], bias [H]</param>
    /// <param name="epsilon">ε</param>
    /// <param name="y">[T, H]</param>
    /// <param name="statistics">[T, 2]: mean and 1 / √(variance + ε) of each row.</param>
    public void LayerNormForward(
        Tensor x, Tensor residual, in DropoutMask dropout, WeightAndBias norm, float epsilon, Tensor y, Tensor statistics)
    {
        Require(
            y.Length == x.Length && norm.Weight.Length == x.Columns && norm.Bias.Length == x.Columns && statistics.Length == 2L * x.Rows,
            "y [T, H], weight and bias [H], statistics [T, 2]");
        Require(residual.IsNone ? dropout.IsNone : residual.Length == x.Length, "residual [T, H], and one where there is dropout");
        using var call = Begin(nameof(LayerNormForward), read: [x, residual], set: [residual.IsNone ? default : x, y]);
        LayerNormForwardCore(x, residual, dropout, norm, epsilon, y, statistics);
    }

    /// <summary>
    /// With r = 1 / √(variance + ε), s what the forward left in x, x̂ = (s − mean) r and g = gain ∘ dy:
    /// dSum = r (g − mean(g) − x̂ ∘ mean(g ∘ x̂)), the gradient of s and of the residual;
    /// dInput = dropout(dSum), that of the forward's x; the gain's gradient += Σ dy ∘ x̂; the bias's += Σ dy.
    /// </summary>
    /// <param name="dy">[T, H]</param>
    /// <param name="x">[T, H]: s.</param>
    /// <param name="weight">[H]: the gain.</param>
    /// <param name="statistics">[T, 2]</param>
    /// <param name="dropout">As in the forward.</param>
    /// <param name="dSum">[T, H]; may be <paramref name="dy"/> itself.</param>
    /// <param name="dInput">[T, H], or none where there was no dropout and no residual.</param>
    /// <param name="gradient">[H] and [H]</param>
    public void LayerNormBackward(
        Tensor dy, Tensor x, Tensor weight, Tensor statistics, in DropoutMask dropout, Tensor dSum, Tensor dInput, WeightAndBias gradient)
    {
        Require(
            dy.Length == x.Length && dSum.Length == x.Length && (dInput.IsNone || dInput.Length == x.Length)
                && weight.Length == x.Columns && statistics.Length == 2L * x.Rows,
            "dy, dSum and dInput [T, H], weight [H], statistics [T, 2]");
        Require(gradient.Weight.Length == x.Columns && gradient.Bias.Length == x.Columns, "gradient [H] and [H]");
        using var call = Begin(nameof(LayerNormBackward), read: [dy, x], set: [dSum, dInput], add: [gradient.Weight, gradient.Bias]);
        LayerNormBackwardCore(dy, x, weight, statistics, dropout, dSum, dInput, gradient);
    }

    private protected abstract void DropoutCore(Tensor x, in DropoutMask dropout);

    private protected abstract void LayerNormForwardCore(
        Tensor x, Tensor residual, in DropoutMask dropout, WeightAndBias norm, float epsilon, Tensor y, Tensor statistics);

    private protected abstract void LayerNormBackwardCore(
        Tensor dy, Tensor x, Tensor weight, Tensor statistics, in DropoutMask dropout, Tensor dSum, Tensor dInput, WeightAndBias gradient);

    // ---- Attention ----

    /// <summary>
    /// For each sequence and head: output = dropout(softmax(q kᵀ / √d)) v over the sequence's own keys, d = H / heads. The queries of a
    /// sequence may be fewer than its keys: the last layer is asked only for the rows that somebody reads. In a causal layout a query sees
    /// its own key and the older ones.
    /// </summary>
    /// <param name="q">[Q, H]; head h is columns h·d to (h+1)·d.</param>
    /// <param name="kv">[T, 2H]: keys, then values.</param>
    /// <param name="layout">Which rows belong to which sequence.</param>
    /// <param name="dropout">On the probabilities. The row is the query's, the column the key's place in its sequence; head h draws from
    /// stream + (h &lt;&lt; 16).</param>
    /// <param name="output">[Q, H]</param>
    /// <param name="logSumExp">[Q, heads]: log Σ exp of the scaled scores.</param>
    public void AttentionForward(
        Tensor q, Tensor kv, in AttentionLayout layout, in DropoutMask dropout, Tensor output, Tensor logSumExp)
    {
        RequireAttention(q, kv, layout, output, logSumExp);
        using var call = Begin(
            nameof(AttentionForward), read: [q, kv], set: [output, logSumExp], multiplyAdds: 2 * q.Columns * ScoreCount(layout));
        AttentionForwardCore(q, kv, layout, dropout, output, logSumExp);
    }

    /// <summary>
    /// With P the probabilities, recomputed from <paramref name="logSumExp"/>, M the dropout mask, dP = M ∘ (dOutput vᵀ) and
    /// D = rowsum(dOutput ∘ output): dS = P ∘ (dP − D); dq = dS k / √d; dk = dSᵀ q / √d; dv = (M ∘ P)ᵀ dOutput.
    /// </summary>
    /// <param name="dOutput">[Q, H]</param>
    /// <param name="q">[Q, H]</param>
    /// <param name="kv">[T, 2H]</param>
    /// <param name="output">[Q, H]</param>
    /// <param name="logSumExp">[Q, heads]</param>
    /// <param name="layout">As in the forward.</param>
    /// <param name="dropout">As in the forward.</param>
    /// <param name="dq">[Q, H]</param>
    /// <param name="dkv">[T, 2H]</param>
    public void AttentionBackward(
        Tensor dOutput,
        Tensor q,
        Tensor kv,
        Tensor output,
        Tensor logSumExp,
        in AttentionLayout layout,
        in DropoutMask dropout,
        Tensor dq,
        Tensor dkv)
    {
        RequireAttention(q, kv, layout, output, logSumExp);
        Require(
            dq.Length == q.Length && dkv.Length == kv.Length && dOutput.Length == output.Length,
            "dq and dOutput [Q, H], dkv [T, 2H]");
        using var call = Begin(
            nameof(AttentionBackward), read: [q, kv, output, dOutput], set: [dq, dkv], multiplyAdds: 5 * q.Columns * ScoreCount(layout));
        AttentionBackwardCore(dOutput, q, kv, output, logSumExp, layout, dropout, dq, dkv);
    }

    private protected abstract void AttentionForwardCore(
        Tensor q, Tensor kv, in AttentionLayout layout, in DropoutMask dropout, Tensor output, Tensor logSumExp);

    private protected abstract void AttentionBackwardCore(
        Tensor dOutput,
        Tensor q,
        Tensor kv,
        Tensor output,
        Tensor logSumExp,
        in AttentionLayout layout,
        in DropoutMask dropout,
        Tensor dq,
        Tensor dkv);

    // ---- Cloze ----

    /// <summary>
    /// Draws a cloze mask; see <see cref="ClozeMasking"/>. Outputs have room for T entries; the number M of masked rows is returned.
    /// </summary>
    /// <param name="tokens">[T]</param>
    /// <param name="offsets">[B+1]</param>
    /// <param name="masking">How to mask.</param>
    /// <param name="maskedTokens">[T], tokens with <c>[mask]</c> where masked.</param>
    /// <param name="maskedRows">[M] ascending: the masked rows that the loss counts.</param>
    /// <param name="targets">[M], their original tokens.</param>
    /// <param name="maskedOffsets">[B+1]: sequence b's masked rows are maskedOffsets[b] to maskedOffsets[b+1].</param>
    public int ClozeMask(
        Indices tokens,
        Indices offsets,
        in ClozeMasking masking,
        Indices maskedTokens,
        Indices maskedRows,
        Indices targets,
        Indices maskedOffsets)
    {
        Require(
            maskedTokens.Length >= tokens.Length && maskedRows.Length >= tokens.Length && targets.Length >= tokens.Length
                && maskedOffsets.Length == offsets.Length,
            "room for T entries");
        using var call = Begin(nameof(ClozeMask), read: [], touched: 2L * tokens.Length, drawn: targets);
        return ClozeMaskCore(tokens, offsets, masking, maskedTokens, maskedRows, targets, maskedOffsets);
    }

    private protected abstract int ClozeMaskCore(
        Indices tokens,
        Indices offsets,
        in ClozeMasking masking,
        Indices maskedTokens,
        Indices maskedRows,
        Indices targets,
        Indices maskedOffsets);

    // ---- Softmax cross-entropy with the tied item table ----

    /// <summary>
    /// score = h · weightᵀ + bias over all V items, padding included; logSumExp[m] = log Σ exp(score[m]);
    /// losses[m] = logSumExp[m] − score[m, targets[m]]. Scores are never stored.
    /// </summary>
    /// <param name="h">[M, H]</param>
    /// <param name="catalogue">weight [V, H], bias [V]</param>
    /// <param name="targets">[M]</param>
    /// <param name="losses">[M]</param>
    /// <param name="logSumExp">[M]</param>
    public void SoftmaxCrossEntropyForward(Tensor h, WeightAndBias catalogue, Indices targets, Tensor losses, Tensor logSumExp)
    {
        RequireScores(h, catalogue);
        Require(targets.Length == h.Rows && losses.Length == h.Rows && logSumExp.Length == h.Rows, "targets, losses and logSumExp [M]");
        using var call = Begin(
            nameof(SoftmaxCrossEntropyForward),
            read: [h, catalogue.Weight],
            set: [losses, logSumExp],
            multiplyAdds: h.Length * catalogue.Weight.Rows);
        SoftmaxCrossEntropyForwardCore(h, catalogue, targets, losses, logSumExp);
    }

    /// <summary>
    /// dScore = scale (softmax − onehot(target)); dh = dScore · weight; the gradient's weight += dScoreᵀ · h, its bias += column sums
    /// of dScore.
    /// </summary>
    /// <param name="h">[M, H]</param>
    /// <param name="catalogue">weight [V, H], bias [V]</param>
    /// <param name="targets">[M]</param>
    /// <param name="logSumExp">[M]</param>
    /// <param name="scale">Gradient of the objective by each loss.</param>
    /// <param name="dh">[M, H]</param>
    /// <param name="gradient">[V, H] and [V]</param>
    public void SoftmaxCrossEntropyBackward(
        Tensor h, WeightAndBias catalogue, Indices targets, Tensor logSumExp, float scale, Tensor dh, WeightAndBias gradient)
    {
        RequireScores(h, catalogue);
        Require(
            targets.Length == h.Rows && logSumExp.Length == h.Rows && dh.Length == h.Length
                && gradient.Weight.Length == catalogue.Weight.Length && gradient.Bias.Length == catalogue.Bias.Length,
            "targets and logSumExp [M], dh [M, H], gradient [V, H] and [V]");
        using var call = Begin(
            nameof(SoftmaxCrossEntropyBackward),
            read: [h, catalogue.Weight],
            set: [dh],
            add: [gradient.Weight, gradient.Bias],
            multiplyAdds: 3 * h.Length * catalogue.Weight.Rows);
        SoftmaxCrossEntropyBackwardCore(h, catalogue, targets, logSumExp, scale, dh, gradient);
    }

    private protected abstract void SoftmaxCrossEntropyForwardCore(
        Tensor h, WeightAndBias catalogue, Indices targets, Tensor losses, Tensor logSumExp);

    private protected abstract void SoftmaxCrossEntropyBackwardCore(
        Tensor h, WeightAndBias catalogue, Indices targets, Tensor logSumExp, float scale, Tensor dh, WeightAndBias gradient);

    // ---- Adam ----

    /// <summary>result[0] = √(Σ x²), finite even where a square is not: a gradient that explodes is to be clipped.</summary>
    public void GradientNorm(Tensor x, Tensor result)
    {
        Require(result.Length == 1, "result [1]");
        using var call = Begin(nameof(GradientNorm), read: [x], set: [result]);
        GradientNormCore(x, result);
    }

    /// <summary>One step of Adam over flat buffers of equal length; see <see cref="AdamStep"/>. Sets the gradients to zero.</summary>
    /// <param name="parameters">[N]</param>
    /// <param name="gradients">[N]</param>
    /// <param name="firstMoments">[N]</param>
    /// <param name="secondMoments">[N]</param>
    /// <param name="norms">Norms of the parts of the whole gradient; none where nothing is clipped.</param>
    /// <param name="step">The step's number, its length and its decays.</param>
    public void Adam(Tensor parameters, Tensor gradients, Tensor firstMoments, Tensor secondMoments, Tensor norms, in AdamStep step)
    {
        Require(
            gradients.Length == parameters.Length && firstMoments.Length == parameters.Length && secondMoments.Length == parameters.Length,
            "four buffers of equal length");
        Require(!norms.IsNone || float.IsPositiveInfinity(step.MaximumNorm), "norms where there is a maximum");
        using var call = Begin(nameof(Adam), read: [gradients], set: [gradients], add: [parameters, firstMoments, secondMoments]);
        AdamCore(parameters, gradients, firstMoments, secondMoments, norms, step);
    }

    /// <summary>
    /// <see cref="Adam"/> for some rows of a table, as PyTorch's SparseAdam: parameters[rows[m]] and its moments step with gradients[m],
    /// which are set to zero. The other rows and their moments stay as they are, weight decay or not.
    /// </summary>
    /// <param name="parameters">[V, H]</param>
    /// <param name="rows">[M], none of them twice.</param>
    /// <param name="gradients">[M, H]</param>
    /// <param name="firstMoments">[V, H]</param>
    /// <param name="secondMoments">[V, H]</param>
    /// <param name="norms">As in <see cref="Adam"/>.</param>
    /// <param name="step">As in <see cref="Adam"/>: its number counts all steps, not those of a row.</param>
    public void AdamRows(
        Tensor parameters, Indices rows, Tensor gradients, Tensor firstMoments, Tensor secondMoments, Tensor norms, in AdamStep step)
    {
        Require(
            gradients.Rows == rows.Length && gradients.Columns == parameters.Columns && firstMoments.Length == parameters.Length
                && secondMoments.Length == parameters.Length,
            "gradients [rows, H], parameters and moments [V, H]");
        Require(!norms.IsNone || float.IsPositiveInfinity(step.MaximumNorm), "norms where there is a maximum");
        using var call = Begin(
            nameof(AdamRows),
            read: [gradients],
            set: [gradients],
            add: [parameters, firstMoments, secondMoments],
            touched: 8 * gradients.Length);
        AdamRowsCore(parameters, rows, gradients, firstMoments, secondMoments, norms, step);
    }

    private protected abstract void GradientNormCore(Tensor x, Tensor result);

    private protected abstract void AdamCore(
        Tensor parameters, Tensor gradients, Tensor firstMoments, Tensor secondMoments, Tensor norms, in AdamStep step);

    private protected abstract void AdamRowsCore(
        Tensor parameters, Indices rows, Tensor gradients, Tensor firstMoments, Tensor secondMoments, Tensor norms, in AdamStep step);

    // ---- Ranking ----

    /// <summary>The k best of the items 1 to V−1 by score = h · weightᵀ + bias; equal scores rank by lower id.</summary>
    /// <param name="h">[B, H]</param>
    /// <param name="catalogue">weight [V, H], bias [V]</param>
    /// <param name="targets">[B] or none: the items whose rank is wanted.</param>
    /// <param name="targetBoosts">[1, B] or none: added to the targets' scores before they are compared with the others'.</param>
    /// <param name="exclusions">Items that a row must not get, or none.</param>
    /// <param name="topItems">[B·k] ids, best first; 0 where there are fewer than k.</param>
    /// <param name="topScores">[B, k]; negative infinity where there are fewer than k.</param>
    /// <param name="targetRanks">[B·3] or none: how many items score higher than the target, how many equally, and how many of these have
    /// a lower id. The target itself and the row's excluded items count in none of the three; an excluded target has its place among the
    /// items that are not.</param>
    public void TopK(
        Tensor h,
        WeightAndBias catalogue,
        Indices targets,
        Tensor targetBoosts,
        Exclusions exclusions,
        Indices topItems,
        Tensor topScores,
        Indices targetRanks)
    {
        RequireScores(h, catalogue);
        Require(topItems.Length == topScores.Length && topScores.Rows == h.Rows && topScores.Columns > 0, "topItems and topScores [B, k]");
        Require(
            targets.IsNone == targetRanks.IsNone && (targets.IsNone || (targets.Length == h.Rows && targetRanks.Length == 3 * h.Rows)),
            "targets [B] with ranks [B·3]");
        Require(targetBoosts.IsNone || targetBoosts.Length == targets.Length, "boosts of the targets [1, B]");
        Require(exclusions.Offsets.IsNone || exclusions.Offsets.Length == h.Rows + 1, "offsets of the exclusions [B+1]");
        using var call = Begin(
            nameof(TopK), read: [h, catalogue.Weight], set: [topScores], multiplyAdds: h.Length * catalogue.Weight.Rows);
        TopKCore(h, catalogue, targets, targetBoosts, exclusions, topItems, topScores, targetRanks);
    }

    /// <summary>scores[b, c] = h[b] · weight[candidates[b·C + c]] + bias[that].</summary>
    /// <param name="h">[B, H]</param>
    /// <param name="catalogue">weight [V, H], bias [V]</param>
    /// <param name="candidates">[B·C]</param>
    /// <param name="scores">[B, C]</param>
    public void ScoreItems(Tensor h, WeightAndBias catalogue, Indices candidates, Tensor scores)
    {
        RequireScores(h, catalogue);
        Require(candidates.Length == scores.Length && scores.Rows == h.Rows, "candidates and scores [B, C]");
        using var call = Begin(
            nameof(ScoreItems),
            read: [h],
            set: [scores],
            touched: (scores.Length + h.Rows) * h.Columns,
            multiplyAdds: scores.Length * h.Columns);
        ScoreItemsCore(h, catalogue, candidates, scores);
    }

    /// <summary>Prepares a trained catalogue for <see cref="TopK"/> of single rows; null where that would not make it faster.</summary>
    /// <param name="catalogue">weight [V, H], bias [V]; must not change while the copy is used.</param>
    public IQuantizedTopK? QuantizeCatalogue(WeightAndBias catalogue)
    {
        Require(catalogue.Bias.Length == catalogue.Weight.Rows, "weight [V, H], bias [V]");
        return QuantizeCatalogueCore(catalogue);
    }

    private protected abstract void TopKCore(
        Tensor h,
        WeightAndBias catalogue,
        Indices targets,
        Tensor targetBoosts,
        Exclusions exclusions,
        Indices topItems,
        Tensor topScores,
        Indices targetRanks);

    private protected abstract void ScoreItemsCore(Tensor h, WeightAndBias catalogue, Indices candidates, Tensor scores);

    private protected virtual IQuantizedTopK? QuantizeCatalogueCore(WeightAndBias catalogue) => null;

    // ---- Shapes that several operations share ----

    private static void RequireEmbedding(Indices tokens, Indices positions, Tensor items, Tensor positionTable, Tensor x) =>
        Require(
            x.Rows == tokens.Length && x.Rows == positions.Length && x.Columns == items.Columns && x.Columns == positionTable.Columns,
            "x [tokens, H]");

    private static void RequireLinear(Tensor x, WeightAndBias layer, Tensor y) =>
        Require(
            x.Rows == y.Rows && x.Columns == layer.Weight.Columns && y.Columns == layer.Weight.Rows
                && layer.Bias.Length == layer.Weight.Rows,
            "x [T, K], weight [N, K], bias [N], y [T, N]");

    private static void RequireAttention(Tensor q, Tensor kv, in AttentionLayout layout, Tensor output, Tensor logSumExp) =>
        Require(
            q.Columns % layout.Heads == 0 && kv.Columns == 2 * q.Columns && layout.QueryOffsets.Length == layout.KeyOffsets.Length
                && output.Length == q.Length && logSumExp.Length == (long)q.Rows * layout.Heads,
            "q and output [Q, H], kv [T, 2H], offsets [B+1], logSumExp [Q, heads], heads dividing H");

    private static void RequireScores(Tensor h, WeightAndBias catalogue) =>
        Require(
            h.Columns == catalogue.Weight.Columns && catalogue.Bias.Length == catalogue.Weight.Rows, "h [M, H], weight [V, H], bias [V]");

    private static void Require(bool condition, string shapes)
    {
        if (!condition)
            throw new ArgumentException($"the operands do not fit together: {shapes}");
    }

    // ---- Observation ----

    private KernelCall.Scope Begin(
        string operation,
        ReadOnlySpan<Tensor> read,
        ReadOnlySpan<Tensor> set = default,
        ReadOnlySpan<Tensor> add = default,
        long multiplyAdds = 0,
        long touched = 0,
        int tokens = 0,
        Indices drawn = default) => new(Observer, new KernelCall
        {
            Operation = operation,
            Read = read,
            Set = set,
            Added = add,
            MultiplyAdds = multiplyAdds,
            Touched = touched,
            Tokens = tokens,
            Drawn = drawn,
        });

    /// <summary>Σ queries · keys over the sequences, for who observes; 0 for nobody, who should not wait for the offsets.</summary>
    private long ScoreCount(in AttentionLayout layout)
    {
        if (Observer is null)
            return 0;
        int[] queries = layout.QueryOffsets.ToArray(), keys = layout.KeyOffsets.ToArray();
        long count = 0;
        for (int b = 0; b + 1 < queries.Length; b++)
            count += (long)(queries[b + 1] - queries[b]) * (keys[b + 1] - keys[b]);
        return count;
    }
}
