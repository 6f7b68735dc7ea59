using ILGPU;

namespace Bert4Rec.Kernels.Gpu.Ladder;

/// <summary>
/// Step 1: a thread a row, in three walks along it: the maximum, the sum, the quotients. Neighbouring threads are a row apart, so each of
/// a warp's loads is 32 sectors; and there are no more threads than rows.
/// </summary>
internal static class ThreadSoftmax
{
    public const int Threads = 32;

    public static void Kernel(RowSoftmax s)
    {
        int row = ((Grid.IdxX * Threads) + Group.IdxX) * s.Columns;
        float max = float.NegativeInfinity, sum = 0;
        for (int i = row; i < row + s.Columns; i++)
            max = default(Max).Combine(max, s.X[i]);
        for (int i = row; i < row + s.Columns; i++)
            sum += DeviceMath.Exp(s.X[i] - max);
        for (int i = row; i < row + s.Columns; i++)
            s.Y[i] = DeviceMath.Exp(s.X[i] - max) / sum;
    }
}
