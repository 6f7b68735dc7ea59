using Bert4Rec.Kernels;

namespace Bert4Rec.Model;

/// <summary>What a forward pass is asked: the tokens, and the rows whose output somebody will read.</summary>
/// <param name="Tokens">[T] with <c>[mask]</c> where masked.</param>
/// <param name="Positions">[T]</param>
/// <param name="Offsets">[B+1]</param>
/// <param name="QueryRows">[Q] ascending rows, or none for all of them.</param>
/// <param name="QueryOffsets">[B+1]: which of them are whose. None with QueryRows.</param>
/// <param name="FirstRow">Row of the whole batch that row 0 is, for dropout.</param>
/// <param name="FirstQuery">The same of QueryRows.</param>
internal readonly record struct ModelInput(
    Indices Tokens, Indices Positions, Indices Offsets, Indices QueryRows = default, Indices QueryOffsets = default, uint FirstRow = 0, uint FirstQuery = 0);

/// <summary>
/// BERT4Rec: a post-norm BERT encoder whose output at a row is compared with every item (Sun et al., CIKM 2019; layer by layer as
/// RecBole's). No autograd: <see cref="Forward"/> calls the kernels in order and keeps what <see cref="Backward"/>, its mirror, needs.
/// </summary>
/// <remarks>
/// The last layer's output is read only at the query rows (masked rows in training, the last row in evaluation). Its keys and values need all
/// rows, but its queries, its feed-forward half and everything after run on the query rows alone. The other rows would get no gradient.
/// </remarks>
internal sealed class Bert4RecModel : IDisposable
{
    private readonly IKernels _kernels;
    private readonly ModelShape _shape;
    private readonly Activations _a;
    private readonly ParameterViews _p;
    private readonly ParameterViews? _g;
    private ModelInput _input;
    private RandomKey _key;
    private bool _training;

    /// <param name="kernels">The device.</param>
    /// <param name="layout">The layout of both buffers.</param>
    /// <param name="parameters">Read.</param>
    /// <param name="gradients">Added to by <see cref="Backward"/>; null for a model that will only predict.</param>
    /// <param name="tokenCapacity">Tokens of a micro-batch, at most.</param>
    public Bert4RecModel(IKernels kernels, ParameterLayout layout, DeviceBuffer<float> parameters, DeviceBuffer<float>? gradients, int tokenCapacity)
    {
        _kernels = kernels;
        _shape = layout.Shape;
        _p = new ParameterViews(layout, parameters);
        _g = gradients is null ? null : new ParameterViews(layout, gradients);
        _a = Activations.Allocate(kernels, _shape, tokenCapacity, gradients is not null);
    }

    public void Dispose() => _a.Dispose();

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

    /// <summary>Cross-entropy of the last forward's rows: adds the sum of losses to an accumulator, and the gradient of scale · Σ loss.</summary>
    public void LossAndBackward(Indices targets, float scale, Tensor lossAccumulator)
    {
        int m = targets.Length;
        Tensor h = _a.Head.Top(m), losses = _a.Losses.Top(m), logSumExp = _a.LogSumExp.Top(m), dh = _a.DHead.Top(m);
        _kernels.SoftmaxCrossEntropyForward(h, _p.Catalogue, _p.OutputBias, targets, losses, logSumExp);
        _kernels.AddSum(losses, lossAccumulator);
        _kernels.SoftmaxCrossEntropyBackward(h, _p.Catalogue, _p.OutputBias, targets, logSumExp, scale, dh, _g!.Catalogue, _g.OutputBias);
        Backward(dh);
    }

    public void TopK(Tensor h, Indices targets, Indices excludedOffsets, Indices excludedItems, Indices topItems, Tensor topScores, Indices targetRanks) =>
        _kernels.TopK(h, _p.Catalogue, _p.OutputBias, targets, excludedOffsets, excludedItems, topItems, topScores, targetRanks);

    public void ScoreItems(Tensor h, Indices candidates, Tensor scores) => _kernels.ScoreItems(h, _p.Catalogue, _p.OutputBias, candidates, scores);

    /// <inheritdoc cref="IKernels.IndexCatalogue"/>
    public ICatalogueIndex? IndexCatalogue() => _kernels.IndexCatalogue(_p.Catalogue, _p.OutputBias);

    private int TokenCount => _input.Tokens.Length;

    private int QueryCount => _input.QueryRows.IsNone ? TokenCount : _input.QueryRows.Length;

    private Tensor Run(in ModelInput input, RandomKey key)
    {
        _input = input;
        _key = key;
        var summed = _a.Embedded.Top(TokenCount);
        var x = _a.EmbeddingOutput.Top(TokenCount);
        _kernels.EmbeddingForward(input.Tokens, input.Positions, _p.Items, _p.Positions, summed);
        _kernels.LayerNormForward(
            summed, default, default, _p.EmbeddingNorm.Weight, _p.EmbeddingNorm.Bias, _shape.LayerNormEpsilon, x, _a.EmbeddingStatistics.Top(TokenCount));
        _kernels.Dropout(x, HiddenDropout(DropoutStreams.Embedding, input.FirstRow));
        for (int layer = 0; layer < _shape.Layers; layer++)
            x = LayerForward(layer, x);
        return HeadForward(x);
    }

    private Tensor LayerForward(int layer, Tensor x)
    {
        LayerActivations a = _a.Layers[layer];
        LayerViews p = _p.Layers[layer];
        var (queries, queryOffsets, firstQuery) = Queries(layer);
        int q = queries.IsNone ? TokenCount : queries.Length;
        Tensor xq = x, query = a.Query.Top(q), keyValue = a.KeyValue.Top(TokenCount), attention = a.Attention.Top(q);
        if (!queries.IsNone)
        {
            xq = _a.QueryInput.Top(q);
            _kernels.GatherRows(x, queries, xq);
        }
        _kernels.LinearForward(xq, p.Query.Weight, p.Query.Bias, query);
        _kernels.LinearForward(x, p.KeyValue.Weight, p.KeyValue.Bias, keyValue);
        _kernels.AttentionForward(
            query, keyValue, queryOffsets, _input.Offsets, _shape.Heads, _shape.MaximumLength, AttentionDropout(layer, firstQuery), attention, a.LogSumExp.Top(q));

        Tensor dense = a.AttentionSum.Top(q), y = a.AttentionOutput.Top(q);
        _kernels.LinearForward(attention, p.Dense.Weight, p.Dense.Bias, dense);
        _kernels.LayerNormForward(
            dense, xq, HiddenDropout(DropoutStreams.AttentionOutput(layer), firstQuery), p.AttentionNorm.Weight, p.AttentionNorm.Bias, _shape.LayerNormEpsilon, y, a.AttentionStatistics.Top(q));

        Tensor inner = a.Inner.Top(q), outer = a.FeedForwardSum.Top(q), output = a.Output.Top(q);
        _kernels.LinearGeluForward(y, p.Inner.Weight, p.Inner.Bias, inner, _training ? a.InnerSlope.Top(q) : default);
        _kernels.LinearForward(inner, p.Outer.Weight, p.Outer.Bias, outer);
        _kernels.LayerNormForward(
            outer, y, HiddenDropout(DropoutStreams.FeedForwardOutput(layer), firstQuery), p.FeedForwardNorm.Weight, p.FeedForwardNorm.Bias, _shape.LayerNormEpsilon, output, a.FeedForwardStatistics.Top(q));
        return output;
    }

    private Tensor HeadForward(Tensor x)
    {
        Tensor inner = _a.HeadInner.Top(x.Rows), h = _a.Head.Top(x.Rows);
        _kernels.LinearGeluForward(x, _p.Output.Weight, _p.Output.Bias, inner, _training ? _a.HeadSlope.Top(x.Rows) : default);
        _kernels.LayerNormForward(
            inner, default, default, _p.OutputNorm.Weight, _p.OutputNorm.Bias, _shape.LayerNormEpsilon, h, _a.HeadStatistics.Top(x.Rows));
        return h;
    }

    /// <summary>From the gradient of h to those of all parameters.</summary>
    private void Backward(Tensor dh)
    {
        Tensor d = HeadBackward(dh);
        for (int layer = _shape.Layers - 1; layer >= 0; layer--)
            d = LayerBackward(layer, d);
        _kernels.Dropout(d, HiddenDropout(DropoutStreams.Embedding, _input.FirstRow));
        _kernels.LayerNormBackward(
            d, _a.Embedded.Top(TokenCount), _p.EmbeddingNorm.Weight, _a.EmbeddingStatistics.Top(TokenCount), default, d, default, _g!.EmbeddingNorm.Weight, _g.EmbeddingNorm.Bias);
        _kernels.EmbeddingBackward(_input.Tokens, _input.Positions, d, _g.Items, _g.Positions);
    }

    private Tensor HeadBackward(Tensor dh)
    {
        int q = dh.Rows;
        Tensor dx = _a.DSum.Top(q), x = _a.Layers[^1].Output.Top(q);
        _kernels.LayerNormBackward(
            dh, _a.HeadInner.Top(q), _p.OutputNorm.Weight, _a.HeadStatistics.Top(q), default, dh, default, _g!.OutputNorm.Weight, _g.OutputNorm.Bias);
        _kernels.GeluBackward(dh, _a.HeadSlope.Top(q));
        _kernels.LinearBackwardWeight(dh, x, _g.Output.Weight, _g.Output.Bias);
        _kernels.LinearBackwardInput(dh, _p.Output.Weight, default, dx, false);
        return dx;
    }

    /// <param name="layer">Which.</param>
    /// <param name="dOutput">Gradient of the layer's output, overwritten by work.</param>
    /// <returns>Gradient of its input.</returns>
    private Tensor LayerBackward(int layer, Tensor dOutput)
    {
        LayerActivations a = _a.Layers[layer];
        LayerViews p = _p.Layers[layer], g = _g!.Layers[layer];
        var (queries, queryOffsets, firstQuery) = Queries(layer);
        int q = dOutput.Rows;
        Tensor x = layer == 0 ? _a.EmbeddingOutput.Top(TokenCount) : _a.Layers[layer - 1].Output.Top(TokenCount);
        Tensor xq = queries.IsNone ? x : _a.QueryInput.Top(q);

        // Feed-forward half: dOutput becomes the gradient of y through the residual, then through the layers too.
        Tensor y = a.AttentionOutput.Top(q), inner = a.Inner.Top(q), dOuter = _a.DBranch.Top(q), dInner = _a.DInner.Top(q), dy = dOutput;
        _kernels.LayerNormBackward(
            dOutput, a.FeedForwardSum.Top(q), p.FeedForwardNorm.Weight, a.FeedForwardStatistics.Top(q), HiddenDropout(DropoutStreams.FeedForwardOutput(layer), firstQuery), dy, dOuter, g.FeedForwardNorm.Weight, g.FeedForwardNorm.Bias);
        _kernels.LinearBackwardWeight(dOuter, inner, g.Outer.Weight, g.Outer.Bias);
        _kernels.LinearBackwardInput(dOuter, p.Outer.Weight, a.InnerSlope.Top(q), dInner, false);
        _kernels.LinearBackwardWeight(dInner, y, g.Inner.Weight, g.Inner.Bias);
        _kernels.LinearBackwardInput(dInner, p.Inner.Weight, default, dy, true);

        // Attention half, likewise with the gradient of xq.
        Tensor attention = a.Attention.Top(q), dDense = _a.DBranch.Top(q), dAttention = _a.DAttention.Top(q), dxq = dy;
        Tensor dQuery = _a.DQuery.Top(q), dKeyValue = _a.DKeyValue.Top(TokenCount);
        _kernels.LayerNormBackward(
            dy, a.AttentionSum.Top(q), p.AttentionNorm.Weight, a.AttentionStatistics.Top(q), HiddenDropout(DropoutStreams.AttentionOutput(layer), firstQuery), dxq, dDense, g.AttentionNorm.Weight, g.AttentionNorm.Bias);
        _kernels.LinearBackwardWeight(dDense, attention, g.Dense.Weight, g.Dense.Bias);
        _kernels.LinearBackwardInput(dDense, p.Dense.Weight, default, dAttention, false);
        _kernels.AttentionBackward(
            dAttention, a.Query.Top(q), a.KeyValue.Top(TokenCount), attention, a.LogSumExp.Top(q), queryOffsets, _input.Offsets, _shape.Heads, _shape.MaximumLength, AttentionDropout(layer, firstQuery), dQuery, dKeyValue);
        _kernels.LinearBackwardWeight(dQuery, xq, g.Query.Weight, g.Query.Bias);
        _kernels.LinearBackwardWeight(dKeyValue, x, g.KeyValue.Weight, g.KeyValue.Bias);
        _kernels.LinearBackwardInput(dQuery, p.Query.Weight, default, dxq, true);
        if (queries.IsNone)
        {
            _kernels.LinearBackwardInput(dKeyValue, p.KeyValue.Weight, default, dxq, true);
            return dxq;
        }
        Tensor dx = _a.DInput.Top(TokenCount);
        _kernels.LinearBackwardInput(dKeyValue, p.KeyValue.Weight, default, dx, false);
        _kernels.GatherRowsBackward(dxq, queries, dx);
        return dx;
    }

    /// <summary>Which rows ask in a layer: in the last one those that will be read, in the others all.</summary>
    private (Indices Rows, Indices Offsets, uint First) Queries(int layer) =>
        layer == _shape.Layers - 1 && !_input.QueryRows.IsNone
            ? (_input.QueryRows, _input.QueryOffsets, _input.FirstQuery)
            : (default, _input.Offsets, _input.FirstRow);

    private Dropout HiddenDropout(uint stream, uint firstRow) => MakeDropout(_shape.HiddenDropout, stream, firstRow);

    private Dropout AttentionDropout(int layer, uint firstRow) => MakeDropout(_shape.AttentionDropout, DropoutStreams.AttentionProbabilities(layer), firstRow);

    private Dropout MakeDropout(float probability, uint stream, uint firstRow) =>
        _training ? new(probability, _key with { Stream = stream, FirstRow = firstRow }) : default;
}
