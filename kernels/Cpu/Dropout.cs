namespace Bert4Rec.Kernels.Cpu;

/// <summary>Inverted dropout. The mask is a function of (seed, step, stream, row, column): the backward draws it again.</summary>
internal static unsafe class DropoutLayer<S, V>
    where S : struct, ISimd<V>
    where V : struct
{
    public static void Apply(Scratch scratch, float* x, in DropoutMask dropout, int rows, int h)
    {
        if (dropout.IsNone)
            return;
        float* mask = scratch.Request(MaskLength(h));
        for (int t = 0; t < rows; t++)
        {
            Simd<S, V>.DropoutRow(dropout, dropout.Key.FirstRow + (uint)t, mask, h);
            float* row = x + ((long)t * h);
            for (int j = 0; j < h; j += S.Width)
                Simd<S, V>.StoreFirst(S.Multiply(Simd<S, V>.LoadFirst(row + j, h - j), S.Load(mask + j)), row + j, h - j);
        }
    }

    /// <summary>Room for the mask of a row.</summary>
    public static int MaskLength(int columns) => (columns + 63) / 64 * 64;
}
