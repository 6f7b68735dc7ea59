namespace Bert4Rec.Kernels.Cpu;

/// <summary>Inverted dropout. The mask is a function of (seed, step, stream, row, column): the backward draws it again.</summary>
internal static unsafe class DropoutLayer<V>
    where V : struct, IVector<V>
{
    public static void Apply(Scratch scratch, float* x, in Dropout dropout, int rows, int h)
    {
        if (dropout.IsNone)
            return;
        float* mask = scratch.Request(MaskLength(h));
        for (int t = 0; t < rows; t++)
        {
            DrawRow(dropout, (uint)t, mask, h);
            float* row = x + ((long)t * h);
            for (int j = 0; j < h; j += V.Width)
                V.StoreFirst(V.LoadFirst(row + j, h - j) * V.Load(mask + j), row + j, h - j);
        }
    }

    /// <summary>The multipliers of one row: 0 or 1 / (1 − p). The mask has room for <see cref="MaskLength"/> columns.</summary>
    public static void DrawRow(in Dropout dropout, uint row, float* mask, int columns) =>
        Philox<V>.ThresholdRow(dropout.Key, dropout.Key.FirstRow + row, dropout.Threshold, dropout.Scale, mask, columns);

    /// <summary>Room for the mask of a row.</summary>
    public static int MaskLength(int columns) => (columns + 63) / 64 * 64;
}
