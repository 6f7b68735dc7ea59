using Bert4Rec.Kernels;

namespace Bert4Rec.Model;

/// <summary>What a forward pass is asked: the tokens, and the rows whose output somebody will read.</summary>
/// <param name="Tokens">[T] with <c>[mask]</c> where masked.</param>
/// <param name="Positions">[T]</param>
/// <param name="Offsets">[B+1]</param>
/// <param name="QueryRows">[Q] ascending rows, or none for all of them. In a causal model a sequence's newest ones.</param>
/// <param name="QueryOffsets">[B+1]: sequence b has the query rows from QueryOffsets[b] to QueryOffsets[b + 1]. None where
/// QueryRows is none.</param>
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
/// <para>
/// Norms may stand first instead (Xiong et al., ICML 2020). Either way, a sublayer's result is added to something, and the sum normalised
/// for the next sublayer to read: one kernel. What differs is whose norm it is, and what the next result is added to: the normalised sum,
/// or, with norms first, the sum itself, so that an identity leads from the embedding to the last layer.
/// </para>
/// <para>
/// The last layer's output is read only at the query rows (masked rows in training, the last row in evaluation). Its keys and values need
/// all rows, but its queries, its feed-forward half and everything after run on the query rows alone. The other rows would get no gradient.
/// </para>
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
    /// <param name="targets">[M] Items, one a query row.</param>
    /// <param name="scale">1 / rows with a target in the whole batch.</param>
    /// <param name="lossAccumulator">[1]</param>
    public void LossAndBackward(Indices targets, float scale, Tensor lossAccumulator)
    {
        int m = targets.Length;
        Tensor hidden = Hidden(m), losses = _a.Losses.First(m), logSumExp = _a.LogSumExp.First(m), dHidden = _a.DHidden.First(m);
        WeightAndBias catalogue = Candidates(_p.Catalogue), gradient = Candidates(_g!.Catalogue);
        _kernels.BeginEmbeddingBackward(_input.Tokens, _input.Positions, _g.Items, _g.Positions);
        _kernels.SoftmaxCrossEntropyForward(hidden, catalogue, targets, losses, logSumExp);
        _kernels.AddSum(losses, lossAccumulator);
        _kernels.SoftmaxCrossEntropyBackward(hidden, catalogue, targets, logSumExp, scale, dHidden, gradient);
        Backward(dHidden);
    }

    /// <summary>What h is compared with: the items' rows and biases.</summary>
    public WeightAndBias Catalogue => _p.Catalogue;

    private int TokenCount => _input.Tokens.Length;

    /// <summary>Rows of what is scored: the catalogue or, with sampled softmax, the room for candidates.</summary>
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
    private Tensor Hidden(int rows) => _shape.OutputHead ? _a.Hidden.First(rows) : _a.Outputs[^1].First(rows);

    /// <summary>From the gradient of h to those of all parameters.</summary>
    private void Backward(Tensor dHidden)
    {
        Tensor dX = _shape.OutputHead ? OutputHeadBackward(dHidden) : dHidden, dResidual = default;
        if (_shape.NormFirst)
        {
            dResidual = _a.DQueryResidual.First(dX.Rows);
            _kernels.Fill(dResidual, 0);
        }
        for (int layer = _shape.Layers - 1; layer >= 0; layer--)
            (dX, dResidual) = LayerBackward(layer, dX, dResidual);
        EmbeddingBackward(dX, dResidual);
    }

    private Tensor EmbeddingForward()
    {
        Tensor embedded = _a.Embedded.First(TokenCount), x = _a.EmbeddingOutput.First(TokenCount);
        _kernels.EmbeddingForward(_input.Tokens, _input.Positions, _p.Items, _p.Positions, embedded);
        NormForward(embedded, _p.EmbeddingNorm, x, _a.EmbeddingStatistics);
        _kernels.Dropout(x, HiddenDropout(RandomStreams.Embedding, _input.FirstRow));
        if (!_shape.NormFirst)
            return x;
        Tensor normalised = _a.FirstNormalised.First(TokenCount);
        NormForward(x, _p.FirstNorm, normalised, _a.FirstStatistics);
        return normalised;
    }

    /// <param name="dX">Gradient of what the first layer read, overwritten.</param>
    /// <param name="dResidual">Of what it was added to, if that is something else.</param>
    private void EmbeddingBackward(Tensor dX, Tensor dResidual)
    {
        if (_shape.NormFirst)
        {
            NormBackward(dX, _a.EmbeddingOutput, _p.FirstNorm, _a.FirstStatistics, _g!.FirstNorm);
            _kernels.Add(dX, dResidual);
        }
        _kernels.Dropout(dX, HiddenDropout(RandomStreams.Embedding, _input.FirstRow));
        NormBackward(dX, _a.Embedded, _p.EmbeddingNorm, _a.EmbeddingStatistics, _g!.EmbeddingNorm);
        _kernels.EmbeddingBackward(_input.Tokens, _input.Positions, dX, _g.Items, _g.Positions);
    }

    private Tensor LayerForward(int layer, Tensor x)
    {
        LayerActivations a = _a.Layers[layer];
        LayerViews p = _p.Layers[layer];
        LayerQueries queries = Queries(layer);
        int q = queries.Count;
        Tensor xq = x, residual = Residual(layer);
        if (!queries.Rows.IsNone)
        {
            Tensor all = residual;
            residual = xq = _a.QueryInput.First(q);
            _kernels.GatherRowsForward(x, queries.Rows, xq);
            if (_shape.NormFirst)
            {
                residual = _a.QueryResidual.First(q);
                _kernels.GatherRowsForward(all, queries.Rows, residual);
            }
        }

        Tensor query = a.Query.First(q), keyValue = a.KeyValue.First(TokenCount), attention = a.Attention.First(q);
        _kernels.LinearForward(xq, p.Query, query);
        _kernels.LinearForward(x, p.KeyValue, keyValue);
        _kernels.AttentionForward(query, keyValue, queries.Layout, AttentionDropout(layer, queries.First), attention, a.LogSumExp.First(q));

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

        Tensor inner = a.Inner.First(q), feedForwardSum = a.FeedForwardSum.First(q), output = _a.Outputs[layer].First(q);
        _kernels.LinearGeluForward(y, p.Inner, inner, _training ? a.InnerSlope.First(q) : default);
        _kernels.LinearForward(inner, p.Outer, feedForwardSum);
        _kernels.LayerNormForward(
            feedForwardSum,
            _shape.NormFirst ? attentionSum : y,
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
        LayerActivations a = _a.Layers[layer];
        LayerViews p = _p.Layers[layer], g = _g!.Layers[layer];
        LayerQueries queries = Queries(layer);
        int q = queries.Count;
        Tensor x = Input(layer), xq = queries.Rows.IsNone ? x : _a.QueryInput.First(q);

        // A residual connection hands the gradient of its sum to both sides. Where it starts at y, dY begins as that gradient, in its
        // memory, and the feed-forward's share is added to it; so does dXq below. Where norms stand first, it goes to dResidual.
        bool startsNormalised = !_shape.NormFirst;
        Tensor y = a.AttentionOutput.First(q), inner = a.Inner.First(q);
        Tensor dOuter = _a.DBranch.First(q), dInner = _a.DInner.First(q), dY = dOutput;
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
        _kernels.LinearBackwardInput(dInner, p.Inner.Weight, default, dY, accumulate: startsNormalised);

        Tensor attention = a.Attention.First(q), query = a.Query.First(q), keyValue = a.KeyValue.First(TokenCount);
        Tensor dDense = _a.DBranch.First(q), dAttention = _a.DAttention.First(q), dXq = dY;
        Tensor dQuery = _a.DQuery.First(q), dKeyValue = _a.DKeyValue.First(TokenCount);
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
            a.LogSumExp.First(q),
            queries.Layout,
            AttentionDropout(layer, queries.First),
            dQuery,
            dKeyValue);
        _kernels.LinearBackwardWeight(dQuery, xq, g.Query);
        _kernels.LinearBackwardWeight(dKeyValue, x, g.KeyValue);
        _kernels.LinearBackwardInput(dQuery, p.Query.Weight, default, dXq, accumulate: startsNormalised);
        if (queries.Rows.IsNone)
        {
            _kernels.LinearBackwardInput(dKeyValue, p.KeyValue.Weight, default, dXq, accumulate: true);
            return (dXq, dResidual);
        }
        Tensor dX = _a.DX.First(TokenCount);
        _kernels.LinearBackwardInput(dKeyValue, p.KeyValue.Weight, default, dX, accumulate: false);
        _kernels.GatherRowsBackward(dXq, queries.Rows, dX);
        if (dResidual.IsNone)
            return (dX, default);
        Tensor dResidualAll = _a.DResidual.First(TokenCount);
        _kernels.Fill(dResidualAll, 0);
        _kernels.GatherRowsBackward(dResidual, queries.Rows, dResidualAll);
        return (dX, dResidualAll);
    }

    /// <summary>The way back through a norm, and the sum of a residual and a sublayer's result that it normalised.</summary>
    /// <param name="dNormalised">Gradient of the normalised sum; becomes that of the sum by way of the norm.</param>
    /// <param name="dResidual">
    /// None, or the sum's gradient by the next residual connection, which starts at the sum then; becomes the sum's whole gradient.
    /// </param>
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
        Tensor inner = _a.OutputHeadInner.First(x.Rows), hidden = _a.Hidden.First(x.Rows);
        _kernels.LinearGeluForward(x, _p.OutputHead, inner, _training ? _a.OutputHeadSlope.First(x.Rows) : default);
        NormForward(inner, _p.OutputHeadNorm, hidden, _a.OutputHeadStatistics);
        return hidden;
    }

    /// <param name="dHidden">Gradient of h, overwritten.</param>
    /// <returns>Gradient of the last layer's output.</returns>
    private Tensor OutputHeadBackward(Tensor dHidden)
    {
        int q = dHidden.Rows;
        Tensor x = _a.Outputs[^1].First(q), dInner = dHidden, dX = _a.DOutput.First(q);
        NormBackward(dInner, _a.OutputHeadInner, _p.OutputHeadNorm, _a.OutputHeadStatistics, _g!.OutputHeadNorm);
        _kernels.GeluBackward(dInner, _a.OutputHeadSlope.First(q));
        _kernels.LinearBackwardWeight(dInner, x, _g.OutputHead);
        _kernels.LinearBackwardInput(dInner, _p.OutputHead.Weight, default, dX, accumulate: false);
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
        Tensor x = layer > 0 ? _a.Outputs[layer - 1] : _shape.NormFirst ? _a.FirstNormalised : _a.EmbeddingOutput;
        return x.First(TokenCount);
    }

    /// <summary>What its attention is added to.</summary>
    private Tensor Residual(int layer)
    {
        if (!_shape.NormFirst)
            return Input(layer);
        Tensor sum = layer > 0 ? _a.Layers[layer - 1].FeedForwardSum : _a.EmbeddingOutput;
        return sum.First(TokenCount);
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
