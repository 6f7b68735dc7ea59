namespace Bert4Rec.Kernels.Cpu;

/// <summary>Draws the cloze mask and lists the masked rows in order, sequence by sequence.</summary>
internal static unsafe class ClozeMask<V>
    where V : struct, IVector<V>
{
    public static int Draw(
        Scratch scratch,
        Indices tokens,
        Indices offsets,
        in ClozeMasking masking,
        Indices maskedTokens,
        Indices maskedRows,
        Indices targets,
        Indices maskedOffsets)
    {
        int* token = tokens.Pointer(), offset = offsets.Pointer(), maskedToken = maskedTokens.Pointer();
        int* maskedRow = maskedRows.Pointer(), target = targets.Pointer(), maskedOffset = maskedOffsets.Pointer();
        int count = 0;
        maskedOffset[0] = 0;
        for (int b = 0; b + 1 < offsets.Length; b++)
        {
            int start = offset[b], length = offset[b + 1] - start;
            float* keep = scratch.Request(Dropout<V>.MaskLength(length));
            int hidden = DrawSequence(keep, masking, (uint)b, length);
            int skipped = Math.Max(0, hidden - masking.CountedLimit);
            for (int p = 0; p < length; p++)
            {
                int row = start + p;
                maskedToken[row] = keep[p] == 0 ? masking.MaskToken : token[row];
                if (keep[p] != 0 || skipped-- > 0 || (p == 0 && masking.SkipFirst))
                    continue;
                maskedRow[count] = row;
                target[count++] = token[row];
            }
            maskedOffset[b + 1] = count;
        }
        return count;
    }

    /// <summary>Sets keep[p] to 0 for the hidden events; returns how many there are.</summary>
    private static int DrawSequence(float* keep, in ClozeMasking masking, uint sequence, int length)
    {
        uint row = masking.Key.FirstRow + sequence;
        uint lastOnly = Philox.Cell(masking.Key.Seed, masking.Key.Step, masking.Key.Stream + 1, row, 0);
        uint threshold = Philox.Threshold(masking.MaskRatio);
        int hidden = 0;
        if (lastOnly < Philox.Threshold(masking.LastOnlyShare))
        {
            new Span<float>(keep, length).Fill(1);
        }
        else
        {
            if (threshold > ushort.MaxValue)
                new Span<float>(keep, length).Clear();
            else
                Philox<V>.ThresholdRow(masking.Key, row, threshold, 1, keep, length);
            for (int p = 0; p < length; p++)
                hidden += keep[p] == 0 ? 1 : 0;
            if (hidden > 0 || !masking.AtLeastOne)
                return hidden;
        }
        if (length == 0)
            return 0;
        keep[length - 1] = 0;
        return 1;
    }
}
