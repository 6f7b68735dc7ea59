namespace Bert4Rec.Kernels.Cpu;

/// <summary>Inverted dropout. The mask is a function of (seed, step, stream, row, column): the backward draws it again.</summary>
internal static unsafe class Dropout<V>
    where V : struct, IVector<V>
{
    public static void Apply(Scratch scratch, Tensor x, in DropoutMask dropout)
    {
        if (dropout.IsNone)
            return;
        var rows = new Matrix(x);
        float* mask = scratch.Request(MaskLength(x.Columns));
        for (int t = 0; t < x.Rows; t++)
        {
            DrawRow(dropout, (uint)t, mask, x.Columns);
            Elementwise<V>.Multiply(rows.Row(t), mask, x.Columns);
        }
    }

    /// <summary>The multipliers of one row, 0 or 1 / (1 − p); there is room for <see cref="MaskLength"/> of them.</summary>
    public static void DrawRow(in DropoutMask dropout, uint row, float* mask, int columns) =>
        Philox<V>.ThresholdRow(dropout.Key, dropout.Key.FirstRow + row, dropout.Threshold, dropout.Scale, mask, columns);

    /// <summary>Columns that a row's mask is drawn for: whole groups of 64.</summary>
    public static int MaskLength(int columns) => (columns + 63) / 64 * 64;
}
