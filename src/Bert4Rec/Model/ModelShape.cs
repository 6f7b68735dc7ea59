using Bert4Rec.Configuration;

namespace Bert4Rec.Model;

/// <summary>The sizes of a BERT4Rec and the constants of its arithmetic.</summary>
/// <param name="ItemCount">V: items with the padding item 0; <c>[mask]</c> is id V.</param>
/// <param name="MaximumLength">L: positions of a sequence.</param>
/// <param name="HiddenSize">H.</param>
/// <param name="InnerSize">I, of the feed-forward layers.</param>
/// <param name="Layers">Encoder layers.</param>
/// <param name="Heads">Attention heads, dividing H.</param>
/// <param name="LayerNormEpsilon">ε of the layer norms of embedding and encoder.</param>
/// <param name="HiddenDropout">Dropout after the embedding and after each sublayer.</param>
/// <param name="AttentionDropout">Dropout on the attention probabilities.</param>
public sealed record ModelShape(
    int ItemCount,
    int MaximumLength,
    int HiddenSize,
    int InnerSize,
    int Layers,
    int Heads,
    float LayerNormEpsilon,
    float HiddenDropout,
    float AttentionDropout)
{
    public int MaskToken => ItemCount;

    /// <summary>What a config makes of a catalogue.</summary>
    /// <param name="config">The config.</param>
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
        (float)config.AttentionDropoutProbability);
}
