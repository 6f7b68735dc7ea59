using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Kernels.Reference;

// BERT4Rec as a whole, from item ids to the loss: the layers of this folder in the order in which the model calls them. The parameters
// carry RecBole's state names, so this file also says what each of them does.

/// <summary>Packed sequences and the rows that are read from them.</summary>
/// <param name="Tokens">[T] item ids, <c>[mask]</c> where masked.</param>
/// <param name="Positions">[T] from 0 at the oldest event of each sequence.</param>
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
public sealed class ReferenceModel(IReadOnlyDictionary<string, Matrix<double>> parameters, int heads, double epsilon)
{
    private readonly int _layers = parameters.Keys.Count(name => name.EndsWith("feed_forward.dense_1.weight", StringComparison.Ordinal));

    /// <summary>Mean cross entropy of the targets at the batch's rows.</summary>
    public double Loss(ReferenceBatch batch, int[] targets, ReferenceDropout dropout = default) =>
        Losses(batch, targets, dropout).Average();

    /// <summary>The loss of each row, [M].</summary>
    public Vector<double> Losses(ReferenceBatch batch, int[] targets, ReferenceDropout dropout = default) =>
        SoftmaxCrossEntropy.Forward(Predict(batch, dropout), Items, OutputBias, targets).Losses;

    /// <summary>The score of every item, padding included, at the batch's rows, [M, V].</summary>
    public Matrix<double> Scores(ReferenceBatch batch) => Linear.Forward(Predict(batch), Items, OutputBias);

    /// <summary>What the items are compared with at the batch's rows, h [M, H]: the output of RecBole's <c>forward</c>.</summary>
    public Matrix<double> Predict(ReferenceBatch batch, ReferenceDropout dropout = default) =>
        Norm(Gelu.Forward(Dense(Encode(batch, dropout), "output_ffn")), "output_ln");

    /// <summary>The encoder's output at the batch's rows, [M, H].</summary>
    private Matrix<double> Encode(ReferenceBatch batch, ReferenceDropout dropout)
    {
        var embeddings = Embedding.Forward(
            batch.Tokens, batch.Positions, parameters["item_embedding.weight"], parameters["position_embedding.weight"]);
        var x = Dropout.Apply(Norm(embeddings, "LayerNorm"), dropout.OnHidden(RandomStreams.Embedding, batch.FirstToken));
        for (int layer = 0; layer < _layers; layer++)
            x = EncoderLayer(layer, x, batch, dropout);
        return x;
    }

    /// <summary>x [T, H] → [T, H]; [M, H] in the last layer, where only the wanted rows ask and all tokens answer.</summary>
    private Matrix<double> EncoderLayer(int layer, Matrix<double> x, ReferenceBatch batch, ReferenceDropout dropout)
    {
        bool last = layer == _layers - 1;
        var asking = last ? Embedding.GatherRows(x, batch.Rows) : x;
        int[] askingOffsets = last ? batch.RowOffsets : batch.Offsets;
        uint firstRow = last ? batch.FirstRow : batch.FirstToken;
        string attention = $"trm_encoder.layer.{layer}.multi_head_attention", feedForward = $"trm_encoder.layer.{layer}.feed_forward";

        var q = Dense(asking, $"{attention}.query");
        var kv = Dense(x, $"{attention}.key").Append(Dense(x, $"{attention}.value"));
        var (heard, _) = Attention.Forward(
            q, kv, askingOffsets, batch.Offsets, heads, dropout.OnAttention(RandomStreams.AttentionProbabilities(layer), firstRow));
        var a = Dense(heard, $"{attention}.dense");
        var y = Norm(
            asking + Dropout.Apply(a, dropout.OnHidden(RandomStreams.AttentionOutput(layer), firstRow)), $"{attention}.LayerNorm");

        var f = Dense(Gelu.Forward(Dense(y, $"{feedForward}.dense_1")), $"{feedForward}.dense_2");
        return Norm(
            y + Dropout.Apply(f, dropout.OnHidden(RandomStreams.FeedForwardOutput(layer), firstRow)), $"{feedForward}.LayerNorm");
    }

    /// <summary>The tied table without <c>[mask]</c>, [V, H].</summary>
    private Matrix<double> Items =>
        parameters["item_embedding.weight"].SubMatrix(0, OutputBias.Count, 0, parameters["item_embedding.weight"].ColumnCount);

    private Vector<double> OutputBias => parameters["output_bias"].Row(0);

    private Matrix<double> Dense(Matrix<double> x, string name) =>
        Linear.Forward(x, parameters[$"{name}.weight"], parameters[$"{name}.bias"].Row(0));

    private Matrix<double> Norm(Matrix<double> x, string name) =>
        LayerNorm.Forward(x, parameters[$"{name}.weight"].Row(0), parameters[$"{name}.bias"].Row(0), epsilon);
}
