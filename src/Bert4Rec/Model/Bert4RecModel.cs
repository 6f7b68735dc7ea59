using Bert4Rec.Kernels;

namespace Bert4Rec.Model;

/// <summary>What a forward pass is asked: the tokens, and the rows whose output somebody will read.</summary>
/// <param name="Tokens">[T] with <c>[mask]</c> where masked.</param>
/// <param name="Positions">[T]</param>
/// <param name="Offsets">[B+1]</param>
/// <param name="QueryRows">[Q] ascending rows, or none for all of them. In a causal model a sequence's newest ones.</param>
/// <param name="QueryOffsets">[B+1]: sequence b has the query rows from QueryOffsets[b] to QueryOffsets[b + 1]. None where
/// QueryRows is none.</param>
/// <param name="FirstRow">Index in the whole batch of row 0: dropout's first row.</param>
/// <param name="FirstQuery">Index, among the whole batch's query rows, of the first one here: dropout's first row in the last
/// layer.</param>
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
/// <para>
/// It may be pre-norm instead: the norms stand before the sublayers (Xiong et al., ICML 2020). Either way, a sublayer's result is added to
/// something, and the sum normalised for the next sublayer to read: one kernel. What differs is whose norm it is, and what the next result
/// is added to: the normalised sum, or, pre-norm, the sum itself, so that an identity leads from the embedding to the last layer.
/// </para>
/// <para>
/// The last layer's output is read only at the query rows (masked rows in training, the last row in evaluation). Its keys and values need
/// all rows, but its queries, its feed-forward and everything after run on the query rows alone. The other rows would get no gradient.
/// </para>
/// </remarks>
internal sealed class Bert4RecModel : IDisposable
{
    private readonly KernelSet _kernels;
    private readonly ModelShape _shape;
    private readonly Activations _activations;
    private readonly ParameterViews _parameters;
    private readonly ParameterViews? _gradients;
    private readonly DeviceBuffer<float>? _noBias;
    private readonly SampledCatalogue? _sampled;
    private ModelInput _input;
    private RandomKey _key;
    private bool _training;

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
        _parameters = new ParameterViews(layout, parameters, NoBias(0), sampled);
        _gradients = gradients is null ? null : new ParameterViews(sampled?.Layout ?? layout, gradients, NoBias(1));
        _activations = Activations.Allocate(kernels, _shape, tokenCapacity, gradients is not null);
    }

    public void Dispose()
    {
        _activations.Dispose();
        _noBias?.Dispose();
    }

    /// <summary>What h is compared with: the items' rows and biases.</summary>
    public WeightAndBias Catalogue => _parameters.Catalogue;

    private int TokenCount => _input.Tokens.Length;

    /// <summary>Rows of what is scored: the catalogue or, with sampled softmax, the room for candidates.</summary>
    private int ScoredItems => _sampled?.Layout.Shape.ItemCount ?? _shape.ItemCount;

    /// <summary>Predicts: no dropout, nothing kept.</summary>
    /// <returns>h [Q, H], to be compared with the items; valid until the next call.</returns>
    public Tensor Predict(in ModelInput input)
    {
        _training = false;
        return Run(input, default);
    }

    /// <summary>The same with dropout, keeping what the backward needs.</summary>
    /// <param name="key">Seed and step of the dropout masks.</param>
    public Tensor Forward(in ModelInput input, RandomKey key)
    {
        _training = true;
        return Run(input, key);
    }

    /// <summary>
    /// Cross-entropy of the last forward's query rows: adds Σ loss to the accumulator, and the gradients of scale · Σ loss to those
    /// of the parameters.
    /// </summary>
    /// <param name="targets">[Q] Items, one a query row; in training these are the rows with a target, M = Q.</param>
    /// <param name="scale">1 / rows with a target in the whole batch.</param>
    /// <param name="lossAccumulator">[1]</param>
    public void LossAndBackward(Indices targets, float scale, Tensor lossAccumulator)
    {
        int m = targets.Length;
        Tensor hidden = Hidden(m), dHidden = _activations.DHidden.First(m);
        Tensor losses = _activations.Losses.First(m), logSumExp = _activations.ScoreLogSumExp.First(m);
        WeightAndBias catalogue = Candidates(_parameters.Catalogue), gradient = Candidates(_gradients!.Catalogue);
        _kernels.BeginEmbeddingBackward(_input.Tokens, _input.Positions, _gradients.Items, _gradients.Positions);
        _kernels.SoftmaxCrossEntropyForward(hidden, catalogue, targets, losses, logSumExp);
        _kernels.AddSum(losses, lossAccumulator);
        _kernels.SoftmaxCrossEntropyBackward(hidden, catalogue, targets, logSumExp, scale, dHidden, gradient);
        Backward(dHidden);
    }

    private Tensor Run(in ModelInput input, RandomKey key)
    {
        _input = input;
        _key = key;
        Tensor x = EmbeddingForward();
        for (int layer = 0; layer < _shape.Layers; layer++)
            x = LayerForward(layer, x);
        return _shape.OutputHead ? OutputHeadForward(x) : x;
    }

    /// <summary>From the gradient of h to those of all parameters.</summary>
    private void Backward(Tensor dHidden)
    {
        Tensor dX = _shape.OutputHead ? OutputHeadBackward(dHidden) : dHidden, dResidual = default;
        if (_shape.NormFirst)
        {
            dResidual = _activations.DQueryResidual.First(dX.Rows);
            _kernels.Fill(dResidual, 0);
        }
        for (int layer = _shape.Layers - 1; layer >= 0; layer--)
            (dX, dResidual) = LayerBackward(layer, dX, dResidual);
        EmbeddingBackward(dX, dResidual);
    }

    private Tensor EmbeddingForward()
    {
        Tensor embedded = _activations.Embedded.First(TokenCount), x = _activations.EmbeddingOutput.First(TokenCount);
        _kernels.EmbeddingForward(_input.Tokens, _input.Positions, _parameters.Items, _parameters.Positions, embedded);
        NormForward(embedded, _parameters.EmbeddingNorm, x, _activations.EmbeddingStatistics);
        _kernels.Dropout(x, HiddenDropout(RandomStreams.Embedding, _input.FirstRow));
        if (!_shape.NormFirst)
            return x;
        Tensor normalised = _activations.FirstNormalised.First(TokenCount);
        NormForward(x, _parameters.FirstNorm, normalised, _activations.FirstStatistics);
        return normalised;
    }

    /// <param name="dX">Gradient of what the first layer read, overwritten.</param>
    /// <param name="dResidual">Of what it was added to, if that is something else.</param>
    private void EmbeddingBackward(Tensor dX, Tensor dResidual)
    {
        if (_shape.NormFirst)
        {
            NormBackward(dX, _activations.EmbeddingOutput, _parameters.FirstNorm, _activations.FirstStatistics, _gradients!.FirstNorm);
            _kernels.Add(dX, dResidual);
        }
        _kernels.Dropout(dX, HiddenDropout(RandomStreams.Embedding, _input.FirstRow));
        NormBackward(dX, _activations.Embedded, _parameters.EmbeddingNorm, _activations.EmbeddingStatistics, _gradients!.EmbeddingNorm);
        _kernels.EmbeddingBackward(_input.Tokens, _input.Positions, dX, _gradients.Items, _gradients.Positions);
    }

    private Tensor LayerForward(int layer, Tensor x)
    {
        LayerQueries queries = Queries(layer);
        Tensor y = AttentionForward(layer, queries, x);
        return FeedForwardForward(layer, queries, y);
    }

    /// <returns>What the feed-forward reads: the norm of attention's sum.</returns>
    private Tensor AttentionForward(int layer, in LayerQueries queries, Tensor x)
    {
        // a: this layer's activations, p: its parameters.
        LayerActivations a = _activations.Layers[layer];
        LayerViews p = _parameters.Layers[layer];
        int q = queries.Count;
        Tensor xq = x, residual = Residual(layer);
        if (!queries.Rows.IsNone)
        {
            Tensor all = residual;
            residual = xq = _activations.QueryInput.First(q);
            _kernels.GatherRowsForward(x, queries.Rows, xq);
            if (_shape.NormFirst)
            {
                residual = _activations.QueryResidual.First(q);
                _kernels.GatherRowsForward(all, queries.Rows, residual);
            }
        }

        Tensor query = a.Query.First(q), keyValue = a.KeyValue.First(TokenCount), attention = a.Attention.First(q);
        _kernels.LinearForward(xq, p.Query, query);
        _kernels.LinearForward(x, p.KeyValue, keyValue);
        _kernels.AttentionForward(
            query, keyValue, queries.Layout, AttentionDropout(layer, queries.First), attention, a.AttentionLogSumExp.First(q));

        Tensor attentionSum = a.AttentionSum.First(q), y = a.AttentionOutput.First(q);
        _kernels.LinearForward(attention, p.Dense, attentionSum);
        _kernels.LayerNormForward(
            attentionSum,
            residual,
            HiddenDropout(RandomStreams.AttentionOutput(layer), queries.First),
            p.NormAfterAttention,
            _shape.LayerNormEpsilon,
            y,
            a.AttentionStatistics.First(q));
        return y;
    }

    /// <returns>The layer's output.</returns>
    private Tensor FeedForwardForward(int layer, in LayerQueries queries, Tensor y)
    {
        LayerActivations a = _activations.Layers[layer];
        LayerViews p = _parameters.Layers[layer];
        int q = queries.Count;
        Tensor inner = a.Inner.First(q), feedForwardSum = a.FeedForwardSum.First(q), output = _activations.Outputs[layer].First(q);
        _kernels.LinearGeluForward(y, p.Inner, inner, _training ? a.InnerSlope.First(q) : default);
        _kernels.LinearForward(inner, p.Outer, feedForwardSum);
        _kernels.LayerNormForward(
            feedForwardSum,
            _shape.NormFirst ? a.AttentionSum.First(q) : y,
            HiddenDropout(RandomStreams.FeedForwardOutput(layer), queries.First),
            p.NormAfterFeedForward,
            _shape.LayerNormEpsilon,
            output,
            a.FeedForwardStatistics.First(q));
        return output;
    }

    /// <param name="dOutput">Gradient of the layer's output, overwritten.</param>
    /// <param name="dResidual">Of its last sum, by the residual connection that goes on from there, if that is not the output.</param>
    /// <returns>Gradients of its input, and of what its attention is added to, if that is something else.</returns>
    private (Tensor DX, Tensor DResidual) LayerBackward(int layer, Tensor dOutput, Tensor dResidual)
    {
        // The gradient of a sum goes to both of its sides. Post-norm, the other side is y: SumBackward leaves the gradient in dOutput, dY
        // is that memory, and the feed-forward's own part is added (accumulate). So too dXq in AttentionBackward. Pre-norm, the other side
        // is the sum before: its gradient stays in dResidual, and dY is set.
        LayerQueries queries = Queries(layer);
        Tensor dY = FeedForwardBackward(layer, queries, dOutput, dResidual);
        return AttentionBackward(layer, queries, dY, dResidual);
    }

    /// <returns>Gradient of what the feed-forward read.</returns>
    private Tensor FeedForwardBackward(int layer, in LayerQueries queries, Tensor dOutput, Tensor dResidual)
    {
        // a: this layer's activations, p: its parameters, g: their gradients.
        LayerActivations a = _activations.Layers[layer];
        LayerViews p = _parameters.Layers[layer], g = _gradients!.Layers[layer];
        int q = queries.Count;
        Tensor y = a.AttentionOutput.First(q), inner = a.Inner.First(q);
        Tensor dOuter = _activations.DBranch.First(q), dInner = _activations.DInner.First(q), dY = dOutput;
        SumBackward(
            dOutput,
            dResidual,
            a.FeedForwardSum.First(q),
            p.NormAfterFeedForward,
            a.FeedForwardStatistics.First(q),
            HiddenDropout(RandomStreams.FeedForwardOutput(layer), queries.First),
            dOuter,
            g.NormAfterFeedForward);
        _kernels.LinearBackwardWeight(dOuter, inner, g.Outer);
        _kernels.LinearBackwardInput(dOuter, p.Outer.Weight, a.InnerSlope.First(q), dInner, accumulate: false);
        _kernels.LinearBackwardWeight(dInner, y, g.Inner);
        _kernels.LinearBackwardInput(dInner, p.Inner.Weight, default, dY, accumulate: !_shape.NormFirst);
        return dY;
    }

    /// <inheritdoc cref="LayerBackward"/>
    private (Tensor DX, Tensor DResidual) AttentionBackward(int layer, in LayerQueries queries, Tensor dY, Tensor dResidual)
    {
        LayerActivations a = _activations.Layers[layer];
        LayerViews p = _parameters.Layers[layer], g = _gradients!.Layers[layer];
        int q = queries.Count;
        Tensor x = Input(layer), xq = queries.Rows.IsNone ? x : _activations.QueryInput.First(q);
        Tensor attention = a.Attention.First(q), query = a.Query.First(q), keyValue = a.KeyValue.First(TokenCount);
        Tensor dDense = _activations.DBranch.First(q), dAttention = _activations.DAttention.First(q), dXq = dY;
        Tensor dQuery = _activations.DQuery.First(q), dKeyValue = _activations.DKeyValue.First(TokenCount);
        SumBackward(
            dY,
            dResidual,
            a.AttentionSum.First(q),
            p.NormAfterAttention,
            a.AttentionStatistics.First(q),
            HiddenDropout(RandomStreams.AttentionOutput(layer), queries.First),
            dDense,
            g.NormAfterAttention);
        _kernels.LinearBackwardWeight(dDense, attention, g.Dense);
        _kernels.LinearBackwardInput(dDense, p.Dense.Weight, default, dAttention, accumulate: false);
        _kernels.AttentionBackward(
            dAttention,
            query,
            keyValue,
            attention,
            a.AttentionLogSumExp.First(q),
            queries.Layout,
            AttentionDropout(layer, queries.First),
            dQuery,
            dKeyValue);
        _kernels.LinearBackwardWeight(dQuery, xq, g.Query);
        _kernels.LinearBackwardWeight(dKeyValue, x, g.KeyValue);
        _kernels.LinearBackwardInput(dQuery, p.Query.Weight, default, dXq, accumulate: !_shape.NormFirst);
        if (queries.Rows.IsNone)
        {
            _kernels.LinearBackwardInput(dKeyValue, p.KeyValue.Weight, default, dXq, accumulate: true);
            return (dXq, dResidual);
        }
        Tensor dX = _activations.DX.First(TokenCount);
        _kernels.LinearBackwardInput(dKeyValue, p.KeyValue.Weight, default, dX, accumulate: false);
        _kernels.GatherRowsBackward(dXq, queries.Rows, dX);
        if (dResidual.IsNone)
            return (dX, default);
        Tensor dResidualAll = _activations.DResidual.First(TokenCount);
        _kernels.Fill(dResidualAll, 0);
        _kernels.GatherRowsBackward(dResidual, queries.Rows, dResidualAll);
        return (dX, dResidualAll);
    }

    /// <summary>The way back through a norm, and the sum of a residual and a sublayer's result that it normalised.</summary>
    /// <param name="dNormalised">Gradient of the normalised sum; becomes that of the sum by way of the norm.</param>
    /// <param name="dResidual">Pre-norm: the gradient that the next residual connection brings to the sum; becomes the sum's whole
    /// gradient. Post-norm: none.</param>
    /// <param name="sum">As the forward left it.</param>
    /// <param name="dropout">Of the sublayer's result.</param>
    /// <param name="dBranch">Gets the gradient of the sublayer's result.</param>
    /// <param name="gradient">Of the norm.</param>
    private void SumBackward(
        Tensor dNormalised, Tensor dResidual, Tensor sum, WeightAndBias norm, Tensor statistics, in DropoutMask dropout, Tensor dBranch,
        WeightAndBias gradient)
    {
        if (dResidual.IsNone)
        {
            _kernels.LayerNormBackward(dNormalised, sum, norm.Weight, statistics, dropout, dNormalised, dBranch, gradient);
            return;
        }
        _kernels.LayerNormBackward(dNormalised, sum, norm.Weight, statistics, default, dNormalised, dBranch, gradient);
        _kernels.Add(dBranch, dResidual);
        _kernels.Add(dResidual, dNormalised);
        _kernels.Dropout(dBranch, dropout);
    }

    private Tensor OutputHeadForward(Tensor x)
    {
        Tensor inner = _activations.OutputHeadInner.First(x.Rows), hidden = _activations.Hidden.First(x.Rows);
        _kernels.LinearGeluForward(x, _parameters.OutputHead, inner, _training ? _activations.OutputHeadSlope.First(x.Rows) : default);
        NormForward(inner, _parameters.OutputHeadNorm, hidden, _activations.OutputHeadStatistics);
        return hidden;
    }

    /// <param name="dHidden">Gradient of h, overwritten.</param>
    /// <returns>Gradient of the last layer's output.</returns>
    private Tensor OutputHeadBackward(Tensor dHidden)
    {
        int q = dHidden.Rows;
        Tensor x = _activations.Outputs[^1].First(q), dInner = dHidden, dX = _activations.DOutput.First(q);
        NormBackward(
            dInner,
            _activations.OutputHeadInner,
            _parameters.OutputHeadNorm,
            _activations.OutputHeadStatistics,
            _gradients!.OutputHeadNorm);
        _kernels.GeluBackward(dInner, _activations.OutputHeadSlope.First(q));
        _kernels.LinearBackwardWeight(dInner, x, _gradients.OutputHead);
        _kernels.LinearBackwardInput(dInner, _parameters.OutputHead.Weight, default, dX, accumulate: false);
        return dX;
    }

    /// <summary>A norm that no residual connection and no dropout stands before.</summary>
    private void NormForward(Tensor x, WeightAndBias norm, Tensor y, Tensor statistics) =>
        _kernels.LayerNormForward(x, default, default, norm, _shape.LayerNormEpsilon, y, statistics.First(x.Rows));

    /// <summary>Its backward: the gradient of x takes the place of that of y.</summary>
    private void NormBackward(Tensor dY, Tensor x, WeightAndBias norm, Tensor statistics, WeightAndBias gradient) =>
        _kernels.LayerNormBackward(
            dY, x.First(dY.Rows), norm.Weight, statistics.First(dY.Rows), default, dY, default, gradient);

    /// <summary>What a layer reads.</summary>
    private Tensor Input(int layer)
    {
        Tensor first = _shape.NormFirst ? _activations.FirstNormalised : _activations.EmbeddingOutput;
        Tensor x = layer > 0 ? _activations.Outputs[layer - 1] : first;
        return x.First(TokenCount);
    }

    /// <summary>What its attention is added to.</summary>
    private Tensor Residual(int layer)
    {
        if (!_shape.NormFirst)
            return Input(layer);
        Tensor sum = layer > 0 ? _activations.Layers[layer - 1].FeedForwardSum : _activations.EmbeddingOutput;
        return sum.First(TokenCount);
    }

    /// <summary>[Q, H] What the items were compared with in the last forward.</summary>
    private Tensor Hidden(int rows) => _shape.OutputHead ? _activations.Hidden.First(rows) : _activations.Outputs[^1].First(rows);

    private Tensor NoBias(int half) => _noBias is null ? default : new(_noBias, (long)half * ScoredItems, 1, ScoredItems);

    private WeightAndBias Candidates(WeightAndBias catalogue) => _sampled is null ? catalogue : catalogue.First(_sampled.Count);

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
    /// <param name="First">Index, among the whole batch's rows that ask in this layer, of the first one: dropout's first row.</param>
    /// <param name="Layout">Whose they are.</param>
    private readonly record struct LayerQueries(Indices Rows, int Count, uint First, AttentionLayout Layout);
}
