namespace Bert4Rec.Kernels.Reference;

// The cloze objective (Taylor's "cloze procedure", Sun et al., "BERT4Rec", CIKM 2019): hide some events of a sequence behind [mask]; the
// model guesses them from what stands on both sides.

/// <summary>Draws which events are hidden; see <see cref="ClozeMasking"/>.</summary>
public static class ClozeMask
{
    /// <param name="tokens">[T]</param>
    /// <param name="offsets">[B+1]</param>
    /// <param name="masking">How to mask.</param>
    /// <returns>MaskedTokens [T], MaskedRows [M] ascending, Targets [M] and MaskedOffsets [B+1].</returns>
    public static (int[] MaskedTokens, int[] MaskedRows, int[] Targets, int[] MaskedOffsets) Draw(
        int[] tokens, int[] offsets, ClozeMasking masking)
    {
        int[] maskedTokens = [.. tokens];
        List<int> maskedRows = [];
        List<int> maskedOffsets = [0];
        for (int b = 0; b + 1 < offsets.Length; b++)
        {
            int[] hidden = HiddenPositions(offsets[b + 1] - offsets[b], masking.Key.FirstRow + (uint)b, masking);
            foreach (int position in hidden)
                maskedTokens[offsets[b] + position] = masking.MaskToken;

            var counted = hidden.TakeLast(masking.CountedLimit).Where(position => position > 0 || !masking.SkipFirst);
            maskedRows.AddRange(counted.Select(position => offsets[b] + position));
            maskedOffsets.Add(maskedRows.Count);
        }
        return (maskedTokens, [.. maskedRows], [.. maskedRows.Select(row => tokens[row])], [.. maskedOffsets]);
    }

    private static int[] HiddenPositions(int length, uint row, ClozeMasking masking)
    {
        if (length == 0)
            return [];
        var (seed, step, stream, _) = masking.Key;
        if (Philox.Cell(seed, step, stream + 1, row, 0) < Philox.Threshold(masking.LastOnlyShare))
            return [length - 1];
        int[] hidden = [.. Enumerable.Range(0, length)
            .Where(position => Philox.Cell(seed, step, stream, row, (uint)position) < Philox.Threshold(masking.MaskRatio))];
        return hidden.Length == 0 && masking.AtLeastOne ? [length - 1] : hidden;
    }
}
