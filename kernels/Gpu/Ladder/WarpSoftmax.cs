using ILGPU;

namespace Bert4Rec.Kernels.Gpu.Ladder;

/// <summary>
/// Step 2: a warp a row. Its threads take neighbouring columns, and then each other's maximum and sum, register to register: after five
/// exchanges, with threads 16, 8, 4, 2 and 1 away, all of them have the row's.
/// </summary>
internal static class WarpSoftmax
{
    public const int Threads = 32;

    public static void Kernel(RowSoftmax s)
    {
        int start = (Grid.IdxX * s.Columns) + Group.IdxX, end = (Grid.IdxX + 1) * s.Columns;
        float max = float.NegativeInfinity, sum = 0;
        for (int i = start; i < end; i += Threads)
            max = default(Max).Combine(max, s.X[i]);
        for (int away = Threads / 2; away > 0; away /= 2)
            max = default(Max).Combine(max, Warp.ShuffleXor(max, away));
        for (int i = start; i < end; i += Threads)
            sum += DeviceMath.Exp(s.X[i] - max);
        for (int away = Threads / 2; away > 0; away /= 2)
            sum += Warp.ShuffleXor(sum, away);
        for (int i = start; i < end; i += Threads)
            s.Y[i] = DeviceMath.Exp(s.X[i] - max) / sum;
    }
}
