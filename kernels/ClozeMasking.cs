namespace Bert4Rec.Kernels;

/// <summary>
/// The cloze objective (Sun et al., "BERT4Rec", CIKM 2019): hide some events, predict them from both sides. A sequence is drawn, with
/// probability <see cref="LastOnlyShare"/>, to hide only its last event, which is what recommending asks for; otherwise each event is
/// hidden with probability <see cref="MaskRatio"/>.
/// </summary>
/// <param name="Key">Rows are sequences. Event p of a sequence compares the cell's column p with MaskRatio; the last-only draw is column
/// 0 of stream + 1. A draw is cell &lt; <see cref="Philox.Threshold"/>(probability).</param>
/// <param name="MaskRatio">Probability of each event.</param>
/// <param name="LastOnlyShare">Probability of a sequence.</param>
/// <param name="MaskToken">Id of <c>[mask]</c>.</param>
/// <param name="CountedLimit">Of a sequence's hidden events, the loss counts the last so many; the others are hidden all the same.</param>
/// <param name="SkipFirst">RecBole's: an event hidden at position 0 is hidden and takes its place in CountedLimit, but is not
/// counted.</param>
/// <param name="AtLeastOne">A sequence that drew no mask hides its last event.</param>
public readonly record struct ClozeMasking(
    RandomKey Key, float MaskRatio, float LastOnlyShare, int MaskToken, int CountedLimit, bool SkipFirst, bool AtLeastOne);
