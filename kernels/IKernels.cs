namespace Bert4Rec.Kernels;

/// <summary>
/// The operations BERT4Rec is made of. The model calls them in order, forward and then in reverse; a backend supplies the arithmetic.
/// </summary>
/// <remarks>
/// <para>Shapes: T packed tokens of a micro-batch (no padding), B sequences, M masked rows, H hidden size, I inner size, V catalogue size with
/// the padding item 0, V+1 rows in the item table with <c>[mask]</c> last.</para>
/// <para>A backward adds to gradients of parameters (+=) and sets gradients of activations (=) unless it says otherwise. Every sum has a fixed
/// order: the same call on the same device gives the same bits.</para>
/// <para>Operations may be asynchronous; reading a buffer waits for them. One instance serves one thread at a time.</para>
/// </remarks>
public interface IKernels : IDisposable
{
    /// <summary>The device, for people: "cpu (AVX-512)", "cuda:0 NVIDIA H100".</summary>
    string Name { get; }

    /// <summary>The device's own memory, which bounds a micro-batch; null where the host's caches do.</summary>
    long? MemoryBytes { get; }

    /// <summary>New zeroed memory on this device.</summary>
    DeviceBuffer<float> AllocateFloats(long length);

    /// <inheritdoc cref="AllocateFloats"/>
    DeviceBuffer<int> AllocateInts(long length);

    /// <summary>x = value.</summary>
    void Fill(Tensor x, float value);

    /// <summary>target += addend, of equal shape.</summary>
    void Add(Tensor target, Tensor addend);

    /// <summary>accumulator[0] += Σ x; the accumulator has one element.</summary>
    void AddSum(Tensor x, Tensor accumulator);

    // ---- Embedding ----

    /// <summary>x[t] = items[tokens[t]] + positionTable[positions[t]].</summary>
    /// <param name="tokens">[T] ids of rows of <paramref name="items"/>.</param>
    /// <param name="positions">[T] rows of <paramref name="positionTable"/>.</param>
    /// <param name="items">[V+1, H]</param>
    /// <param name="positionTable">[maximum length, H]</param>
    /// <param name="x">[T, H]</param>
    void EmbeddingForward(Indices tokens, Indices positions, Tensor items, Tensor positionTable, Tensor x);

    /// <summary>dItems[tokens[t]] += dx[t] for tokens other than padding (0), dPositions[positions[t]] += dx[t].</summary>
    void EmbeddingBackward(Indices tokens, Indices positions, Tensor dx, Tensor dItems, Tensor dPositions);

    // ---- Matrix products ----

    /// <summary>y = x · weightᵀ + bias.</summary>
    /// <param name="x">[T, K]</param>
    /// <param name="weight">[N, K], as PyTorch's Linear keeps it.</param>
    /// <param name="bias">[N]</param>
    /// <param name="y">[T, N]</param>
    void LinearForward(Tensor x, Tensor weight, Tensor bias, Tensor y);

    /// <summary>u = x · weightᵀ + bias; y = gelu(u) = u Φ(u), Φ the normal distribution function (the erf form).</summary>
    /// <param name="x">[T, K]</param>
    /// <param name="weight">[N, K]</param>
    /// <param name="bias">[N]</param>
    /// <param name="y">[T, N]</param>
    /// <param name="slope">[T, N], set to gelu'(u) = Φ(u) + u φ(u), all that the backward needs of u. None in inference.</param>
    void LinearGeluForward(Tensor x, Tensor weight, Tensor bias, Tensor y, Tensor slope);

    /// <summary>dx = dy · weight, times <paramref name="slope"/> element by element where there is one.</summary>
    /// <param name="dy">[T, N]</param>
    /// <param name="weight">[N, K]</param>
    /// <param name="slope">[T, K] the gelu slope of the layer that made x, or none.</param>
    /// <param name="dx">[T, K]</param>
    /// <param name="accumulate">dx += instead of dx = (not with a slope).</param>
    void LinearBackwardInput(Tensor dy, Tensor weight, Tensor slope, Tensor dx, bool accumulate);

    /// <summary>dWeight += dyᵀ · x; dBias += column sums of dy.</summary>
    void LinearBackwardWeight(Tensor dy, Tensor x, Tensor dWeight, Tensor dBias);

    /// <summary>dy ∘= slope, where no product stands behind the gelu to take it up.</summary>
    void GeluBackward(Tensor dy, Tensor slope);

    // ---- Dropout, residual, layer norm ----

    /// <summary>x ∘= mask / (1 − p), in place. Its own backward.</summary>
    void Dropout(Tensor x, in Dropout dropout);

    /// <summary>x = residual + dropout(x), kept for the backward; y = gain ∘ (x − mean) / √(variance + ε) + bias, row by row.</summary>
    /// <param name="x">[T, H], overwritten by the sum.</param>
    /// <param name="residual">[T, H] or none.</param>
    /// <param name="dropout">Its rows are the rows of x.</param>
    /// <param name="gain">[H]</param>
    /// <param name="bias">[H]</param>
    /// <param name="epsilon">ε</param>
    /// <param name="y">[T, H]</param>
    /// <param name="statistics">[T, 2]: mean and 1 / √(variance + ε) of each row.</param>
    void LayerNormForward(Tensor x, Tensor residual, in Dropout dropout, Tensor gain, Tensor bias, float epsilon, Tensor y, Tensor statistics);

    /// <summary>
    /// With x̂ = (x − mean) / σ and g = gain ∘ dy: dSum = (g − mean(g) − x̂ ∘ mean(g ∘ x̂)) / σ, the gradient of x and of the residual;
    /// dInput = dropout(dSum); dGain += Σ dy ∘ x̂; dBias += Σ dy.
    /// </summary>
    /// <param name="dy">[T, H]</param>
    /// <param name="x">[T, H], the sum that the forward left there.</param>
    /// <param name="gain">[H]</param>
    /// <param name="statistics">[T, 2]</param>
    /// <param name="dropout">As in the forward.</param>
    /// <param name="dSum">[T, H]; may be <paramref name="dy"/> itself.</param>
    /// <param name="dInput">[T, H], or none where there was no dropout and no residual.</param>
    /// <param name="dGain">[H]</param>
    /// <param name="dBias">[H]</param>
    void LayerNormBackward(Tensor dy, Tensor x, Tensor gain, Tensor statistics, in Dropout dropout, Tensor dSum, Tensor dInput, Tensor dGain, Tensor dBias);

    // ---- Attention ----

    /// <summary>
    /// For each sequence and head: output = dropout(softmax(q kᵀ / √d)) v over the sequence's own keys, d = H / heads. The queries of a
    /// sequence may be fewer than its keys: the last layer is asked only for the rows that somebody reads.
    /// </summary>
    /// <param name="q">[Q, H]</param>
    /// <param name="kv">[T, 2H]: keys, then values.</param>
    /// <param name="queryOffsets">[B+1]: sequence b has the queries queryOffsets[b] to queryOffsets[b+1].</param>
    /// <param name="keyOffsets">[B+1]: the same for keys.</param>
    /// <param name="heads">Number of heads; head h is columns h·d to (h+1)·d.</param>
    /// <param name="maximumLength">No sequence has more keys than this.</param>
    /// <param name="dropout">On the probabilities. The row is the query's, the column the key's place in its sequence; head h draws from
    /// stream + (h &lt;&lt; 16).</param>
    /// <param name="output">[Q, H]</param>
    /// <param name="logSumExp">[Q, heads]: log Σ exp of the scaled scores.</param>
    void AttentionForward(Tensor q, Tensor kv, Indices queryOffsets, Indices keyOffsets, int heads, int maximumLength, in Dropout dropout, Tensor output, Tensor logSumExp);

    /// <summary>
    /// With P the probabilities, recomputed from <paramref name="logSumExp"/>, M the dropout mask, dP = M ∘ (dOutput vᵀ) and
    /// D = rowsum(dOutput ∘ output): dS = P ∘ (dP − D); dq = dS k / √d; dk = dSᵀ q / √d; dv = (M ∘ P)ᵀ dOutput.
    /// </summary>
    /// <param name="dq">[Q, H]</param>
    /// <param name="dkv">[T, 2H]</param>
    void AttentionBackward(Tensor dOutput, Tensor q, Tensor kv, Tensor output, Tensor logSumExp, Indices queryOffsets, Indices keyOffsets, int heads, int maximumLength, in Dropout dropout, Tensor dq, Tensor dkv);

    // ---- Cloze ----

    /// <summary>Draws a cloze mask; see <see cref="ClozeMasking"/>. Outputs have room for T entries; the number M of masked rows is returned.</summary>
    /// <param name="tokens">[T]</param>
    /// <param name="offsets">[B+1]</param>
    /// <param name="masking">How to mask.</param>
    /// <param name="maskedTokens">[T], tokens with <c>[mask]</c> where masked.</param>
    /// <param name="maskedRows">[M] ascending: the masked rows that the loss counts.</param>
    /// <param name="targets">[M], their original tokens.</param>
    /// <param name="maskedOffsets">[B+1]: sequence b's masked rows are maskedOffsets[b] to maskedOffsets[b+1].</param>
    int ClozeMask(Indices tokens, Indices offsets, in ClozeMasking masking, Indices maskedTokens, Indices maskedRows, Indices targets, Indices maskedOffsets);

    /// <summary>y[m] = x[rows[m]].</summary>
    void GatherRows(Tensor x, Indices rows, Tensor y);

    /// <summary>dx[rows[m]] += dy[m]; no row occurs twice.</summary>
    void GatherRowsBackward(Tensor dy, Indices rows, Tensor dx);

    // ---- Softmax cross-entropy with the tied item table ----

    /// <summary>
    /// score = h · itemsᵀ + bias over all V items, padding included; logSumExp[m] = log Σ exp(score[m]);
    /// losses[m] = logSumExp[m] − score[m, targets[m]]. Scores are never stored.
    /// </summary>
    /// <param name="h">[M, H]</param>
    /// <param name="items">[V, H]</param>
    /// <param name="bias">[V]</param>
    /// <param name="targets">[M]</param>
    /// <param name="losses">[M]</param>
    /// <param name="logSumExp">[M]</param>
    void SoftmaxCrossEntropyForward(Tensor h, Tensor items, Tensor bias, Indices targets, Tensor losses, Tensor logSumExp);

    /// <summary>dScore = scale (softmax − onehot(target)); dh = dScore · items; dItems += dScoreᵀ · h; dBias += column sums of dScore.</summary>
    void SoftmaxCrossEntropyBackward(Tensor h, Tensor items, Tensor bias, Indices targets, Tensor logSumExp, float scale, Tensor dh, Tensor dItems, Tensor dBias);

    // ---- Adam ----

    /// <summary>result[0] = √(Σ x²), finite even where a square is not: a gradient that explodes is to be clipped.</summary>
    void Norm(Tensor x, Tensor result);

    /// <summary>One step of Adam over flat buffers of equal length; see <see cref="AdamStep"/>. Sets the gradients to zero.</summary>
    /// <param name="parameters">[N]</param>
    /// <param name="gradients">[N]</param>
    /// <param name="firstMoments">[N]</param>
    /// <param name="secondMoments">[N]</param>
    /// <param name="norms">Norms of the parts of the whole gradient; none where nothing is clipped.</param>
    /// <param name="step">The step.</param>
    void Adam(Tensor parameters, Tensor gradients, Tensor firstMoments, Tensor secondMoments, Tensor norms, in AdamStep step);

    // ---- Ranking ----

    /// <summary>The k best of the items 1 to V−1 by score = h · itemsᵀ + bias; equal scores rank by lower id.</summary>
    /// <param name="h">[B, H]</param>
    /// <param name="items">[V, H]</param>
    /// <param name="bias">[V]</param>
    /// <param name="targets">[B] or none: the items whose rank is wanted.</param>
    /// <param name="excludedOffsets">[B+1] or none: row b must not get excludedItems[excludedOffsets[b]] to [excludedOffsets[b+1]].</param>
    /// <param name="excludedItems">Ids, ascending within a row; or none.</param>
    /// <param name="topItems">[B·k] ids, best first; 0 where there are fewer than k.</param>
    /// <param name="topScores">[B, k]; negative infinity where there are fewer than k.</param>
    /// <param name="targetRanks">[B·3] or none: how many items score higher than the target, how many equally, and how many of these have a
    /// lower id (the target itself counts in none of the three).</param>
    void TopK(Tensor h, Tensor items, Tensor bias, Indices targets, Indices excludedOffsets, Indices excludedItems, Indices topItems, Tensor topScores, Indices targetRanks);

    /// <summary>scores[b, c] = h[b] · items[candidates[b·C + c]] + bias[that].</summary>
    /// <param name="candidates">[B·C]</param>
    /// <param name="scores">[B, C]</param>
    void ScoreItems(Tensor h, Tensor items, Tensor bias, Indices candidates, Tensor scores);

    /// <summary>Prepares a trained catalogue for <see cref="TopK"/> of single rows; null where that would not make it faster.</summary>
    /// <param name="items">[V, H]; must not change while the index is used.</param>
    /// <param name="bias">[V]; likewise.</param>
    ICatalogueIndex? IndexCatalogue(Tensor items, Tensor bias) => null;
}

/// <summary>A catalogue whose best items for one row are found without reading all of it.</summary>
public interface ICatalogueIndex : IDisposable
{
    /// <summary>What <see cref="IKernels.TopK"/> gives for one row, where the index is of use for it.</summary>
    /// <param name="h">[1, H]</param>
    /// <param name="excluded">Items that must not come, ascending.</param>
    /// <param name="topItems">[k] ids, best first; 0 where there are fewer than k.</param>
    /// <param name="topScores">[k]; negative infinity where there are fewer than k.</param>
    /// <returns>False where it is not: nothing is written then.</returns>
    bool TryTopK(Tensor h, ReadOnlySpan<int> excluded, Span<int> topItems, Span<float> topScores);
}

/// <summary>
/// The cloze objective (Sun et al., "BERT4Rec", CIKM 2019): hide some events, predict them from both sides. A sequence is drawn, with
/// probability <see cref="LastOnlyShare"/>, to hide only its last event, which is what recommending asks for; otherwise each event is hidden
/// with probability <see cref="MaskRatio"/>.
/// </summary>
/// <param name="Key">Rows are sequences. Event p of a sequence compares the cell's column p with MaskRatio; the last-only draw is column 0 of
/// stream + 1. A draw is <see cref="Philox.ToUnit"/> &lt; probability.</param>
/// <param name="MaskRatio">Probability of each event.</param>
/// <param name="LastOnlyShare">Probability of a sequence.</param>
/// <param name="MaskToken">Id of <c>[mask]</c>.</param>
/// <param name="CountedLimit">Of a sequence's masked events, the loss counts the last so many; the others are masked all the same.</param>
/// <param name="SkipFirst">RecBole's: an event masked at position 0 is masked and takes its place in CountedLimit, but is not counted.</param>
/// <param name="AtLeastOne">A sequence that drew no mask gets its last event masked.</param>
public readonly record struct ClozeMasking(RandomKey Key, float MaskRatio, float LastOnlyShare, int MaskToken, int CountedLimit, bool SkipFirst, bool AtLeastOne);

/// <summary>
/// Adam (Kingma &amp; Ba, 2015) as PyTorch computes it: g = clip · gradient + weightDecay · parameter; m = β₁m + (1−β₁)g;
/// v = β₂v + (1−β₂)g²; parameter −= learningRate · (m / (1−β₁ᵗ)) / (√(v / (1−β₂ᵗ)) + ε).
/// </summary>
/// <param name="Step">t, from 1.</param>
/// <param name="LearningRate">Step length.</param>
/// <param name="Beta1">Decay of the first moment.</param>
/// <param name="Beta2">Decay of the second moment.</param>
/// <param name="Epsilon">Added outside the root.</param>
/// <param name="WeightDecay">L2 penalty, added to the gradient.</param>
/// <param name="MaximumNorm">Where the gradient's global norm is known and larger, clip = MaximumNorm / (norm + 10⁻⁶), else 1.</param>
public readonly record struct AdamStep(
    int Step, float LearningRate, float Beta1 = 0.9f, float Beta2 = 0.999f, float Epsilon = 1e-8f, float WeightDecay = 0, float MaximumNorm = float.PositiveInfinity)
{
    /// <summary>clip, from the norms of the gradient's parts.</summary>
    public float ClippingScale(ReadOnlySpan<float> norms)
    {
        double sum = 0;
        foreach (float part in norms)
            sum += (double)part * part;
        double norm = Math.Sqrt(sum);
        return norm > MaximumNorm ? (float)(MaximumNorm / (norm + 1e-6)) : 1;
    }
}
