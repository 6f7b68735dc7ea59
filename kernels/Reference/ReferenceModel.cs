using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Kernels.Reference;

// BERT4Rec as a whole (and SASRec, which reads from left to right and has no output head), from item ids to the loss: the layers of this
// folder in the order in which the model calls them, and for the gradients in the reverse order. The parameters carry RecBole's state
// names, so this file also says what each of them does.
//
// The backward is the forward's mirror: for each line of the forward, from the last to the first, one line that turns the gradient of what
// that line made into the gradients of what it used. What is used twice gets two gradients, which are added: the input of a residual
// connection, the input of attention (by way of queries, keys and values), and the item table, which is looked up and compared with.
//
// Layer norm stands after each residual connection, x ← norm(x + sublayer(x)), or before each sublayer, x ← x + sublayer(norm(x)), and
// then once more after the last layer. The parameters tell which: only then is there a norm for the end.

/// <summary>Packed sequences and the rows that are read from them.</summary>
/// <param name="Tokens">[T] item ids, <c>[mask]</c> where masked.</param>
/// <param name="Positions">[T] rows of the position table.</param>
/// <param name="Offsets">[B+1]: sequence b has the tokens Offsets[b] to Offsets[b+1].</param>
/// <param name="Rows">[M] ascending: the rows whose output is wanted.</param>
/// <param name="RowOffsets">[B+1]: sequence b has the rows RowOffsets[b] to RowOffsets[b+1].</param>
/// <param name="FirstToken">Number, in the whole batch, of the first token here: dropout's first row.</param>
/// <param name="FirstRow">The same of the first wanted row.</param>
public sealed record ReferenceBatch(
    int[] Tokens, int[] Positions, int[] Offsets, int[] Rows, int[] RowOffsets, uint FirstToken = 0, uint FirstRow = 0);

/// <summary>Dropout of one training step; <c>default</c> is none.</summary>
/// <param name="Hidden">Probability on embeddings and on the outputs of attention and feed-forward.</param>
/// <param name="Attention">Probability on the attention probabilities.</param>
/// <param name="Seed">The run's seed.</param>
/// <param name="Step">The training step.</param>
public readonly record struct ReferenceDropout(float Hidden, float Attention, ulong Seed, uint Step)
{
    internal DropoutMask OnHidden(uint stream, uint firstRow) => new(Hidden, new RandomKey(Seed, Step, stream, firstRow));

    internal DropoutMask OnAttention(uint stream, uint firstRow) => new(Attention, new RandomKey(Seed, Step, stream, firstRow));
}

/// <summary>The network in double precision.</summary>
/// <param name="parameters">By RecBole's state names; vectors are matrices of one row.</param>
/// <param name="heads">Attention heads.</param>
/// <param name="epsilon">ε of the layer norms.</param>
/// <param name="causal">From left to right: events see only older ones, and there is no <c>[mask]</c>.</param>
public sealed class ReferenceModel(
    IReadOnlyDictionary<string, Matrix<double>> parameters, int heads, double epsilon, bool causal = false)
{
    private const string ItemTable = "item_embedding.weight", PositionTable = "position_embedding.weight", OutputBias = "output_bias";
    private const string FinalNorm = "trm_encoder.LayerNorm";

    private readonly int _layers = parameters.Keys.Count(name => name.EndsWith("feed_forward.dense_1.weight", StringComparison.Ordinal));

    /// <summary>Mean cross entropy of the targets at the batch's rows.</summary>
    public double Loss(ReferenceBatch batch, int[] targets, ReferenceDropout dropout = default) =>
        Losses(batch, targets, dropout).Average();

    /// <summary>The loss of each row, [M].</summary>
    public Vector<double> Losses(ReferenceBatch batch, int[] targets, ReferenceDropout dropout = default) =>
        SoftmaxCrossEntropy.Forward(Predict(batch, dropout), Items, ItemBias, targets).Losses;

    /// <summary>The score of every item, padding included, at the batch's rows, [M, V].</summary>
    public Matrix<double> Scores(ReferenceBatch batch) => Linear.Forward(Predict(batch), Items, ItemBias);

    /// <summary>What the items are compared with at the batch's rows, h [M, H]: the output of RecBole's <c>forward</c>.</summary>
    public Matrix<double> Predict(ReferenceBatch batch, ReferenceDropout dropout = default) => Forward(batch, dropout).H;

    /// <summary>
    /// Of each layer the last query's probabilities, softmax(q kᵀ / √d), [heads, T], of a batch that is one sequence.
    /// </summary>
    public IReadOnlyList<Matrix<double>> LastProbabilities(ReferenceBatch batch)
    {
        return [.. Forward(batch, default).Kept.Layers.Select(Of)];

        Matrix<double> Of(KeptLayer kept)
        {
            int last = kept.Q.RowCount - 1, d = kept.Q.ColumnCount / heads;
            return Matrix<double>.Build.Dense(heads, kept.Kv.RowCount, (head, key) => Math.Exp(
                (kept.Q.Row(last, head * d, d) * kept.Kv.Row(key, head * d, d) / Math.Sqrt(d)) - kept.LogSumExp[last, head]));
        }
    }

    /// <summary>The gradients of scale · Σ <see cref="Losses"/>, by the parameters' names and of their shapes.</summary>
    /// <param name="batch">As in the forward.</param>
    /// <param name="targets">[M]</param>
    /// <param name="scale">1/M gives the gradients of <see cref="Loss"/>.</param>
    /// <param name="dropout">As in the forward.</param>
    public IReadOnlyDictionary<string, Matrix<double>> Backward(
        ReferenceBatch batch, int[] targets, double scale, ReferenceDropout dropout = default)
    {
        var gradients = parameters.ToDictionary(
            entry => entry.Key, entry => Matrix<double>.Build.Dense(entry.Value.RowCount, entry.Value.ColumnCount));
        var (h, kept) = Forward(batch, dropout);
        var (_, logSumExp) = SoftmaxCrossEntropy.Forward(h, Items, ItemBias, targets);

        var (dh, dItems, dBias) = SoftmaxCrossEntropy.Backward(scale, h, Items, ItemBias, targets, logSumExp);
        gradients[ItemTable].SetSubMatrix(0, 0, dItems);
        var dx = dh;
        if (kept.OutputHead is { } head)
        {
            gradients[OutputBias] += dBias.ToRowMatrix();
            var dGelu = NormBackward(dh, head.Norm, "output_ln", gradients);
            dx = DenseBackward(Gelu.Backward(dGelu, head.Slope), head.Encoded, "output_ffn", gradients);
        }
        if (kept.FinalNorm is { } finalNorm)
            dx = NormBackward(dx, finalNorm, FinalNorm, gradients);
        for (int layer = _layers - 1; layer >= 0; layer--)
            dx = EncoderLayerBackward(layer, dx, kept.Layers[layer], batch, dropout, gradients);
        dx = NormBackward(
            Dropout.Backward(dx, dropout.OnHidden(RandomStreams.Embedding, batch.FirstToken)), kept.EmbeddingNorm, "LayerNorm", gradients);
        var (dLookedUp, dPositions) = Embedding.Backward(
            dx, batch.Tokens, batch.Positions, parameters[ItemTable].RowCount, parameters[PositionTable].RowCount);
        gradients[ItemTable] += dLookedUp;
        gradients[PositionTable] += dPositions;
        return gradients;
    }

    private (Matrix<double> H, Kept Kept) Forward(ReferenceBatch batch, ReferenceDropout dropout)
    {
        var embeddings = Embedding.Forward(batch.Tokens, batch.Positions, parameters[ItemTable], parameters[PositionTable]);
        var (normalised, embeddingNorm) = Norm(embeddings, "LayerNorm");
        var x = Dropout.Forward(normalised, dropout.OnHidden(RandomStreams.Embedding, batch.FirstToken));
        var layers = new KeptLayer[_layers];
        for (int layer = 0; layer < _layers; layer++)
            (x, layers[layer]) = EncoderLayer(layer, x, batch, dropout);
        KeptNorm? finalNorm = null;
        if (NormFirst)
            (x, finalNorm) = Norm(x, FinalNorm);
        if (!HasOutputHead)
            return (x, new(embeddingNorm, layers, finalNorm, null));
        var (y, slope) = Gelu.Forward(Dense(x, "output_ffn"));
        var (h, outputNorm) = Norm(y, "output_ln");
        return (h, new(embeddingNorm, layers, finalNorm, new(x, slope, outputNorm)));
    }

    /// <summary>x [T, H] → [T, H]; [M, H] in the last layer, where only the wanted rows ask and all tokens answer.</summary>
    private (Matrix<double> Output, KeptLayer Kept) EncoderLayer(
        int layer, Matrix<double> x, ReferenceBatch batch, ReferenceDropout dropout)
    {
        var (attention, feedForward) = Names(layer);
        var (queryOffsets, firstRow) = Queries(layer, batch);
        KeptNorm? attentionNorm = null, feedForwardNorm = null;
        Matrix<double> input = x, residual = Asking(layer, x, batch);
        if (NormFirst)
            (input, attentionNorm) = Norm(x, $"{attention}.LayerNorm");
        var asking = Asking(layer, input, batch);

        var q = Dense(asking, $"{attention}.query");
        var kv = Dense(input, $"{attention}.key").Append(Dense(input, $"{attention}.value"));
        var (heard, logSumExp) = Attention.Forward(
            q, kv, queryOffsets, batch.Offsets, heads, dropout.OnAttention(RandomStreams.AttentionProbabilities(layer), firstRow),
            causal);
        var a = Dense(heard, $"{attention}.dense");
        var sum = residual + Dropout.Forward(a, dropout.OnHidden(RandomStreams.AttentionOutput(layer), firstRow));
        Matrix<double> y;
        if (NormFirst)
            (y, feedForwardNorm) = Norm(sum, $"{feedForward}.LayerNorm");
        else
            (y, attentionNorm) = Norm(sum, $"{attention}.LayerNorm");

        var (inner, slope) = Gelu.Forward(Dense(y, $"{feedForward}.dense_1"));
        var f = Dense(inner, $"{feedForward}.dense_2");
        var output = (NormFirst ? sum : y)
            + Dropout.Forward(f, dropout.OnHidden(RandomStreams.FeedForwardOutput(layer), firstRow));
        if (!NormFirst)
            (output, feedForwardNorm) = Norm(output, $"{feedForward}.LayerNorm");
        return (output, new(input, asking, q, kv, heard, logSumExp, attentionNorm!, y, slope, inner, feedForwardNorm!));
    }

    /// <summary>The gradient of the layer's output → that of its input, [T, H].</summary>
    private Matrix<double> EncoderLayerBackward(
        int layer, Matrix<double> dOutput, KeptLayer kept, ReferenceBatch batch, ReferenceDropout dropout,
        Dictionary<string, Matrix<double>> gradients)
    {
        var (attention, feedForward) = Names(layer);
        var (queryOffsets, firstRow) = Queries(layer, batch);

        var dSum = NormFirst ? dOutput : NormBackward(dOutput, kept.FeedForwardNorm, $"{feedForward}.LayerNorm", gradients);
        var df = Dropout.Backward(dSum, dropout.OnHidden(RandomStreams.FeedForwardOutput(layer), firstRow));
        var dInner = DenseBackward(df, kept.Inner, $"{feedForward}.dense_2", gradients);
        var dy = DenseBackward(Gelu.Backward(dInner, kept.Slope), kept.Y, $"{feedForward}.dense_1", gradients);

        dSum = NormFirst
            ? dSum + NormBackward(dy, kept.FeedForwardNorm, $"{feedForward}.LayerNorm", gradients)
            : NormBackward(dSum + dy, kept.AttentionNorm, $"{attention}.LayerNorm", gradients);
        var da = Dropout.Backward(dSum, dropout.OnHidden(RandomStreams.AttentionOutput(layer), firstRow));
        var dHeard = DenseBackward(da, kept.Heard, $"{attention}.dense", gradients);
        var (dq, dkv) = Attention.Backward(
            dHeard, kept.Q, kept.Kv, kept.Heard, kept.LogSumExp, queryOffsets, batch.Offsets, heads,
            dropout.OnAttention(RandomStreams.AttentionProbabilities(layer), firstRow), causal);
        var dInput = DenseBackward(dkv.SubMatrix(0, dkv.RowCount, 0, dq.ColumnCount), kept.Input, $"{attention}.key", gradients)
            + DenseBackward(dkv.SubMatrix(0, dkv.RowCount, dq.ColumnCount, dq.ColumnCount), kept.Input, $"{attention}.value", gradients)
            + AskingBackward(layer, DenseBackward(dq, kept.Asking, $"{attention}.query", gradients), batch);
        var dx = NormFirst ? NormBackward(dInput, kept.AttentionNorm, $"{attention}.LayerNorm", gradients) : dInput;
        return dx + AskingBackward(layer, dSum, batch);
    }

    /// <summary>The rows that ask in a layer: all; in the last one the wanted.</summary>
    private Matrix<double> Asking(int layer, Matrix<double> x, ReferenceBatch batch) =>
        IsLast(layer) ? Embedding.GatherRowsForward(x, batch.Rows) : x;

    private Matrix<double> AskingBackward(int layer, Matrix<double> dAsking, ReferenceBatch batch) =>
        IsLast(layer) ? Embedding.GatherRowsBackward(dAsking, batch.Rows, batch.Tokens.Length) : dAsking;

    private bool IsLast(int layer) => layer == _layers - 1;

    /// <summary>Which rows ask in a layer: the queries of each sequence, and the number of the first in the whole batch.</summary>
    private (int[] Offsets, uint FirstRow) Queries(int layer, ReferenceBatch batch) =>
        IsLast(layer) ? (batch.RowOffsets, batch.FirstRow) : (batch.Offsets, batch.FirstToken);

    private static (string Attention, string FeedForward) Names(int layer) =>
        ($"trm_encoder.layer.{layer}.multi_head_attention", $"trm_encoder.layer.{layer}.feed_forward");

    /// <summary>Whether a dense layer, gelu and layer norm stand before the item table, and a bias behind it.</summary>
    private bool HasOutputHead => parameters.ContainsKey(OutputBias);

    /// <summary>Whether layer norm stands before the sublayers.</summary>
    private bool NormFirst => parameters.ContainsKey($"{FinalNorm}.weight");

    /// <summary>V: the rows of the tied table without that of <c>[mask]</c>, where there is one.</summary>
    private int ItemCount => parameters[ItemTable].RowCount - (causal ? 0 : 1);

    /// <summary>[V, H]</summary>
    private Matrix<double> Items => parameters[ItemTable].SubMatrix(0, ItemCount, 0, parameters[ItemTable].ColumnCount);

    /// <summary>[V], zeros where the model has none.</summary>
    private Vector<double> ItemBias => HasOutputHead ? Vector(OutputBias) : Vector<double>.Build.Dense(ItemCount);

    private Vector<double> Vector(string name) => parameters[name].Row(0);

    private Matrix<double> Dense(Matrix<double> x, string name) =>
        Linear.Forward(x, parameters[$"{name}.weight"], Vector($"{name}.bias"));

    private Matrix<double> DenseBackward(Matrix<double> dy, Matrix<double> x, string name, Dictionary<string, Matrix<double>> gradients)
    {
        var (dx, dWeight, dBias) = Linear.Backward(dy, x, parameters[$"{name}.weight"]);
        gradients[$"{name}.weight"] += dWeight;
        gradients[$"{name}.bias"] += dBias.ToRowMatrix();
        return dx;
    }

    private (Matrix<double> Y, KeptNorm Kept) Norm(Matrix<double> x, string name)
    {
        var (y, mean, inverseDeviation) = LayerNorm.Forward(x, Vector($"{name}.weight"), Vector($"{name}.bias"), epsilon);
        return (y, new(x, mean, inverseDeviation));
    }

    private Matrix<double> NormBackward(Matrix<double> dy, KeptNorm kept, string name, Dictionary<string, Matrix<double>> gradients)
    {
        var (dx, dGain, dBias) = LayerNorm.Backward(dy, kept.X, Vector($"{name}.weight"), kept.Mean, kept.InverseDeviation);
        gradients[$"{name}.weight"] += dGain.ToRowMatrix();
        gradients[$"{name}.bias"] += dBias.ToRowMatrix();
        return dx;
    }

    /// <summary>What the forward keeps for the backward; so too below, under the forward's names.</summary>
    private sealed record Kept(KeptNorm EmbeddingNorm, KeptLayer[] Layers, KeptNorm? FinalNorm, KeptOutputHead? OutputHead);

    private sealed record KeptOutputHead(Matrix<double> Encoded, Matrix<double> Slope, KeptNorm Norm);

    private sealed record KeptLayer(
        Matrix<double> Input, Matrix<double> Asking, Matrix<double> Q, Matrix<double> Kv, Matrix<double> Heard, Matrix<double> LogSumExp,
        KeptNorm AttentionNorm, Matrix<double> Y, Matrix<double> Slope, Matrix<double> Inner, KeptNorm FeedForwardNorm);

    private sealed record KeptNorm(Matrix<double> X, Vector<double> Mean, Vector<double> InverseDeviation);
}
