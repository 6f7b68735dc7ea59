using Bert4Rec.Kernels;

namespace Bert4Rec.Model;

/// <summary>What a forward pass is asked: the tokens, and the rows whose output somebody will read.</summary>
/// <param name="Tokens">[T] with <c>[mask]</c> where masked.</param>
/// <param name="Positions">[T]</param>
/// <param name="Offsets">[B+1]</param>
/// <param name="QueryRows">[Q] ascending rows, or none for all of them. In a causal model a sequence's newest ones.</param>
/// <param name="QueryOffsets">[B+1]: which of them are whose. None with QueryRows.</param>
/// <param name="FirstRow">Row of the whole batch that row 0 is, for dropout.</param>
/// <param name="FirstQuery">The same of QueryRows.</param>
internal readonly record struct ModelInput(
    Indices Tokens,
    Indices Positions,
    Indices Offsets,
    Indices QueryRows = default,
    Indices QueryOffsets = default,
    uint FirstRow = 0,
    uint FirstQuery = 0);

/// <summary>
/// BERT4Rec: a post-norm BERT encoder whose output at a row is compared with every item (Sun et al., CIKM 2019; layer by layer as
/// RecBole's); from left to right and without output head, SASRec (Kang and McAuley, ICDM 2018; RecBole's likewise). No autograd: <see
/// cref="Forward"/> calls the kernels in order and keeps what <see cref="Backward"/>, its mirror, needs.
/// </summary>
/// <remarks>
/// The last layer's output is read only at the query rows (masked rows in training, the last row in evaluation). Its keys and values need
/// all rows, but its queries, its feed-forward half and everything after run on the query rows alone. The other rows would get no gradient.
/// </remarks>
internal sealed class Bert4RecModel : IDisposable
{
    private readonly KernelSet _kernels;
    private readonly ModelShape _shape;
    private readonly Activations _a;
    private readonly ParameterViews _p;
    private readonly ParameterViews? _g;
    private readonly DeviceBuffer<float>? _noBias;
    private readonly SampledCatalogue? _sampled;
    private ModelInput _input;
    private RandomKey _key;
    private bool _training;

    /// <param name="kernels">The device.</param>
    /// <param name="layout">The layout of both buffers.</param>
    /// <param name="parameters">Read.</param>
    /// <param name="gradients">Added to by <see cref="Backward"/>; null for a model that will only predict.</param>
    /// <param name="tokenCapacity">Tokens of a micro-batch, at most.</param>
    /// <param name="sampled">What stands for the item table and the output's bias, and whose layout the gradients have; or null.</param>
    public Bert4RecModel(
        KernelSet kernels,
        ParameterLayout layout,
        DeviceBuffer<float> parameters,
        DeviceBuffer<float>? gradients,
        int tokenCapacity,
        SampledCatalogue? sampled = null)
    {
        _sampled = sampled;
        _kernels = kernels;
        _shape = layout.Shape;
        // The scores of a model without an output head have no bias: zeros stand for it, and its gradient goes nowhere.
        _noBias = _shape.OutputHead ? null : kernels.AllocateFloats(2L * ScoredItems);
        _p = new ParameterViews(layout, parameters, NoBias(0), sampled);
        _g = gradients is null ? null : new ParameterViews(sampled?.Layout ?? layout, gradients, NoBias(1));
        _a = Activations.Allocate(kernels, _shape, tokenCapacity, gradients is not null);
    }

    public void Dispose()
    {
        _a.Dispose();
        _noBias?.Dispose();
    }

    /// <summary>Predicts: no dropout, nothing kept.</summary>
    /// <returns>h [Q, H], to be compared with the items; valid until the next call.</returns>
    public Tensor Predict(in ModelInput input)
    {
        _training = false;
        return Run(input, default);
    }

    /// <summary>The same with dropout, keeping what the backward needs.</summary>
    /// <param name="input">The micro-batch.</param>
    /// <param name="key">Seed and step of the dropout masks.</param>
    public Tensor Forward(in ModelInput input, RandomKey key)
    {
        _training = true;
        return Run(input, key);
    }

    /// <summary>
    /// Cross-entropy of the last forward's rows: adds the sum of losses to an accumulator, and the gradient of scale · Σ loss.
    /// </summary>
    public void LossAndBackward(Indices targets, float scale, Tensor lossAccumulator)
    {
        int m = targets.Length;
        Tensor hidden = Hidden(m), losses = _a.Losses.First(m), logSumExp = _a.LogSumExp.First(m), dHidden = _a.DHidden.First(m);
        WeightAndBias catalogue = Candidates(_p.Catalogue), gradient = Candidates(_g!.Catalogue);
        _kernels.SoftmaxCrossEntropyForward(hidden, catalogue, targets, losses, logSumExp);
        _kernels.AddSum(losses, lossAccumulator);
        _kernels.SoftmaxCrossEntropyBackward(hidden, catalogue, targets, logSumExp, scale, dHidden, gradient);
        Backward(dHidden);
    }

    public void TopK(Tensor h, Indices targets, Exclusions exclusions, Indices topItems, Tensor topScores, Indices targetRanks) =>
        _kernels.TopK(h, _p.Catalogue, targets, exclusions, topItems, topScores, targetRanks);

    public void ScoreItems(Tensor h, Indices candidates, Tensor scores) => _kernels.ScoreItems(h, _p.Catalogue, candidates, scores);

    /// <inheritdoc cref="KernelSet.QuantizeCatalogue"/>
    public IQuantizedTopK? QuantizeCatalogue() => _kernels.QuantizeCatalogue(_p.Catalogue);

    private int TokenCount => _input.Tokens.Length;

    /// <summary>Items that there is room for where scores are made of them.</summary>
    private int ScoredItems => _sampled?.Layout.Shape.ItemCount ?? _shape.ItemCount;

    private Tensor NoBias(int half) => _noBias is null ? default : new(_noBias, (long)half * ScoredItems, 1, ScoredItems);

    private WeightAndBias Candidates(WeightAndBias catalogue) => _sampled is null ? catalogue : catalogue.First(_sampled.Count);

    private Tensor Run(in ModelInput input, RandomKey key)
    {
        _input = input;
        _key = key;
        Tensor x = EmbeddingForward();
        for (int layer = 0; layer < _shape.Layers; layer++)
            x = LayerForward(layer, x);
        return _shape.OutputHead ? OutputHeadForward(x) : x;
    }

    /// <summary>What the items were compared with in the last forward, [M, H].</summary>
    private Tensor Hidden(int rows) => _shape.OutputHead ? _a.Hidden.First(rows) : _a.Layers[^1].Output.First(rows);

    /// <summary>From the gradient of h to those of all parameters.</summary>
    private void Backward(Tensor dHidden)
    {
        Tensor dX = _shape.OutputHead ? OutputHeadBackward(dHidden) : dHidden;
        for (int layer = _shape.Layers - 1; layer >= 0; layer--)
            dX = LayerBackward(layer, dX);
        EmbeddingBackward(dX);
    }

    private Tensor EmbeddingForward()
    {
        Tensor embedded = _a.Embedded.First(TokenCount), x = _a.EmbeddingOutput.First(TokenCount);
        _kernels.EmbeddingForward(_input.Tokens, _input.Positions, _p.Items, _p.Positions, embedded);
        _kernels.LayerNormForward(
            embedded, default, default, _p.EmbeddingNorm, _shape.LayerNormEpsilon, x, _a.EmbeddingStatistics.First(TokenCount));
        _kernels.Dropout(x, HiddenDropout(RandomStreams.Embedding, _input.FirstRow));
        return x;
    }

    /// <param name="dX">Gradient of the embedding's output, overwritten.</param>
    private void EmbeddingBackward(Tensor dX)
    {
        // Each gradient takes the place of the last.
        Tensor dNorm = dX, dEmbedded = dX;
        _kernels.Dropout(dNorm, HiddenDropout(RandomStreams.Embedding, _input.FirstRow));
        _kernels.LayerNormBackward(
            dNorm,
            _a.Embedded.First(TokenCount),
            _p.EmbeddingNorm.Weight,
            _a.EmbeddingStatistics.First(TokenCount),
            default,
            dEmbedded,
            default,
            _g!.EmbeddingNorm);
        _kernels.EmbeddingBackward(_input.Tokens, _input.Positions, dEmbedded, _g.Items, _g.Positions);
    }

    private Tensor LayerForward(int layer, Tensor x)
    {
        LayerActivations a = _a.Layers[layer];
        LayerViews p = _p.Layers[layer];
        LayerQueries queries = Queries(layer);
        int q = queries.Count;
        Tensor xq = x;
        if (!queries.Rows.IsNone)
        {
            xq = _a.QueryInput.First(q);
            _kernels.GatherRowsForward(x, queries.Rows, xq);
        }

        Tensor query = a.Query.First(q), keyValue = a.KeyValue.First(TokenCount), attention = a.Attention.First(q);
        _kernels.LinearForward(xq, p.Query, query);
        _kernels.LinearForward(x, p.KeyValue, keyValue);
        _kernels.AttentionForward(query, keyValue, queries.Layout, AttentionDropout(layer, queries.First), attention, a.LogSumExp.First(q));

        Tensor attentionSum = a.AttentionSum.First(q), y = a.AttentionOutput.First(q);
        _kernels.LinearForward(attention, p.Dense, attentionSum);
        _kernels.LayerNormForward(
            attentionSum,
            xq,
            HiddenDropout(RandomStreams.AttentionOutput(layer), queries.First),
            p.AttentionNorm,
            _shape.LayerNormEpsilon,
            y,
            a.AttentionStatistics.First(q));

        Tensor inner = a.Inner.First(q), feedForwardSum = a.FeedForwardSum.First(q), output = a.Output.First(q);
        _kernels.LinearGeluForward(y, p.Inner, inner, _training ? a.InnerSlope.First(q) : default);
        _kernels.LinearForward(inner, p.Outer, feedForwardSum);
        _kernels.LayerNormForward(
            feedForwardSum,
            y,
            HiddenDropout(RandomStreams.FeedForwardOutput(layer), queries.First),
            p.FeedForwardNorm,
            _shape.LayerNormEpsilon,
            output,
            a.FeedForwardStatistics.First(q));
        return output;
    }

    /// <param name="layer">Number of the layer.</param>
    /// <param name="dOutput">Gradient of the layer's output, overwritten.</param>
    /// <returns>Gradient of its input.</returns>
    private Tensor LayerBackward(int layer, Tensor dOutput)
    {
        LayerActivations a = _a.Layers[layer];
        LayerViews p = _p.Layers[layer], g = _g!.Layers[layer];
        LayerQueries queries = Queries(layer);
        int q = queries.Count;
        Tensor x = layer == 0 ? _a.EmbeddingOutput.First(TokenCount) : _a.Layers[layer - 1].Output.First(TokenCount);
        Tensor xq = queries.Rows.IsNone ? x : _a.QueryInput.First(q);

        // A residual connection hands the gradient of its sum to both sides. So dY begins as dFeedForwardSum, in its memory, and the
        // feed-forward's share is added to it; so does dXq as dAttentionSum below.
        Tensor y = a.AttentionOutput.First(q), inner = a.Inner.First(q);
        Tensor dFeedForwardSum = dOutput, dOuter = _a.DBranch.First(q), dInner = _a.DInner.First(q), dY = dFeedForwardSum;
        _kernels.LayerNormBackward(
            dOutput,
            a.FeedForwardSum.First(q),
            p.FeedForwardNorm.Weight,
            a.FeedForwardStatistics.First(q),
            HiddenDropout(RandomStreams.FeedForwardOutput(layer), queries.First),
            dFeedForwardSum,
            dOuter,
            g.FeedForwardNorm);
        _kernels.LinearBackwardWeight(dOuter, inner, g.Outer);
        _kernels.LinearBackwardInput(dOuter, p.Outer.Weight, a.InnerSlope.First(q), dInner, accumulate: false);
        _kernels.LinearBackwardWeight(dInner, y, g.Inner);
        _kernels.LinearBackwardInput(dInner, p.Inner.Weight, default, dY, accumulate: true);

        Tensor attention = a.Attention.First(q), query = a.Query.First(q), keyValue = a.KeyValue.First(TokenCount);
        Tensor dAttentionSum = dY, dDense = _a.DBranch.First(q), dAttention = _a.DAttention.First(q), dXq = dAttentionSum;
        Tensor dQuery = _a.DQuery.First(q), dKeyValue = _a.DKeyValue.First(TokenCount);
        _kernels.LayerNormBackward(
            dY,
            a.AttentionSum.First(q),
            p.AttentionNorm.Weight,
            a.AttentionStatistics.First(q),
            HiddenDropout(RandomStreams.AttentionOutput(layer), queries.First),
            dAttentionSum,
            dDense,
            g.AttentionNorm);
        _kernels.LinearBackwardWeight(dDense, attention, g.Dense);
        _kernels.LinearBackwardInput(dDense, p.Dense.Weight, default, dAttention, accumulate: false);
        _kernels.AttentionBackward(
            dAttention,
            query,
            keyValue,
            attention,
            a.LogSumExp.First(q),
            queries.Layout,
            AttentionDropout(layer, queries.First),
            dQuery,
            dKeyValue);
        _kernels.LinearBackwardWeight(dQuery, xq, g.Query);
        _kernels.LinearBackwardWeight(dKeyValue, x, g.KeyValue);
        _kernels.LinearBackwardInput(dQuery, p.Query.Weight, default, dXq, accumulate: true);
        if (queries.Rows.IsNone)
        {
            Tensor dXAll = dXq;
            _kernels.LinearBackwardInput(dKeyValue, p.KeyValue.Weight, default, dXAll, accumulate: true);
            return dXAll;
        }
        Tensor dX = _a.DX.First(TokenCount);
        _kernels.LinearBackwardInput(dKeyValue, p.KeyValue.Weight, default, dX, accumulate: false);
        _kernels.GatherRowsBackward(dXq, queries.Rows, dX);
        return dX;
    }

    private Tensor OutputHeadForward(Tensor x)
    {
        Tensor inner = _a.OutputHeadInner.First(x.Rows), hidden = _a.Hidden.First(x.Rows);
        _kernels.LinearGeluForward(x, _p.OutputHead, inner, _training ? _a.OutputHeadSlope.First(x.Rows) : default);
        _kernels.LayerNormForward(
            inner, default, default, _p.OutputHeadNorm, _shape.LayerNormEpsilon, hidden, _a.OutputHeadStatistics.First(x.Rows));
        return hidden;
    }

    /// <param name="dHidden">Gradient of h, overwritten.</param>
    /// <returns>Gradient of the last layer's output.</returns>
    private Tensor OutputHeadBackward(Tensor dHidden)
    {
        int q = dHidden.Rows;
        Tensor x = _a.Layers[^1].Output.First(q), dInner = dHidden, dX = _a.DOutput.First(q);
        _kernels.LayerNormBackward(
            dHidden,
            _a.OutputHeadInner.First(q),
            _p.OutputHeadNorm.Weight,
            _a.OutputHeadStatistics.First(q),
            default,
            dInner,
            default,
            _g!.OutputHeadNorm);
        _kernels.GeluBackward(dInner, _a.OutputHeadSlope.First(q));
        _kernels.LinearBackwardWeight(dInner, x, _g.OutputHead);
        _kernels.LinearBackwardInput(dInner, _p.OutputHead.Weight, default, dX, accumulate: false);
        return dX;
    }

    /// <summary>Which rows ask in a layer: in the last one those that will be read, in the others all.</summary>
    private LayerQueries Queries(int layer)
    {
        bool some = layer == _shape.Layers - 1 && !_input.QueryRows.IsNone;
        return new(
            some ? _input.QueryRows : default,
            some ? _input.QueryRows.Length : TokenCount,
            some ? _input.FirstQuery : _input.FirstRow,
            new(some ? _input.QueryOffsets : _input.Offsets, _input.Offsets, _shape.Heads, _shape.MaximumLength, _shape.Causal));
    }

    private DropoutMask HiddenDropout(uint stream, uint firstRow) => Dropout(_shape.HiddenDropout, stream, firstRow);

    private DropoutMask AttentionDropout(int layer, uint firstRow) =>
        Dropout(_shape.AttentionDropout, RandomStreams.AttentionProbabilities(layer), firstRow);

    private DropoutMask Dropout(float probability, uint stream, uint firstRow) =>
        _training ? new(probability, _key with { Stream = stream, FirstRow = firstRow }) : default;

    /// <param name="Rows">The rows of x that ask, or none where all do.</param>
    /// <param name="Count">How many they are.</param>
    /// <param name="First">Number, in the whole batch, of the first of them: dropout's first row.</param>
    /// <param name="Layout">Whose they are.</param>
    private readonly record struct LayerQueries(Indices Rows, int Count, uint First, AttentionLayout Layout);
}
