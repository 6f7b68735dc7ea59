using Bert4Rec.Configuration;

namespace Bert4Rec.Model;

/// <summary>The sizes of a model and the constants of its arithmetic.</summary>
/// <param name="ItemCount">V: items with the padding item 0.</param>
/// <param name="MaximumLength">L: positions of a sequence.</param>
/// <param name="HiddenSize">H.</param>
/// <param name="InnerSize">I, of the feed-forward layers.</param>
/// <param name="Layers">Encoder layers.</param>
/// <param name="Heads">Attention heads, dividing H.</param>
/// <param name="LayerNormEpsilon">ε of all layer norms.</param>
/// <param name="HiddenDropout">Dropout after the embedding and after each sublayer.</param>
/// <param name="AttentionDropout">Dropout on the attention probabilities.</param>
/// <param name="Causal">Events see only older ones, and each predicts the next: there is no <c>[mask]</c>.</param>
/// <param name="OutputHead">Whether a dense layer with gelu and layer norm stands before the item table, and a bias behind it.</param>
/// <param name="NormFirst">
/// Whether layer norm stands before each sublayer, and one more after the last layer, instead of after each residual connection.
/// </param>
/// <param name="NewestFirst">Whether positions are counted from a sequence's newest event instead of from its oldest.</param>
internal sealed record ModelShape(
    int ItemCount,
    int MaximumLength,
    int HiddenSize,
    int InnerSize,
    int Layers,
    int Heads,
    float LayerNormEpsilon,
    float HiddenDropout,
    float AttentionDropout,
    bool Causal = false,
    bool OutputHead = true,
    bool NormFirst = false,
    bool NewestFirst = false)
{
    /// <summary>The id of <c>[mask]</c>, behind all items.</summary>
    public int MaskToken => ItemCount;

    /// <summary>Events of a history that a prediction sees: <c>[mask]</c> takes a place.</summary>
    public int HistoryLength => Causal ? MaximumLength : MaximumLength - 1;

    /// <summary>Rows of the item table: V, and one for <c>[mask]</c> where there is one.</summary>
    public int TokenCount => Causal ? ItemCount : ItemCount + 1;

    /// <summary>What a config makes of a catalogue.</summary>
    /// <param name="itemCount">Items with the padding item.</param>
    public static ModelShape Of(RunConfig config, int itemCount) => new(
        itemCount,
        config.MaximumItemListLength,
        config.HiddenSize,
        config.InnerSize,
        config.Layers,
        config.Heads,
        (float)config.LayerNormEpsilon,
        (float)config.HiddenDropoutProbability,
        (float)config.AttentionDropoutProbability,
        config.Objective == Objective.NextItem,
        config.OutputHead,
        config.NormFirst,
        config.PositionOrder == PositionOrder.Newest);
}
