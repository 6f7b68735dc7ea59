using ILGPU;

namespace Bert4Rec.Kernels.Gpu.Ladder;

/// <summary>
/// Step 3: maximum and sum in one walk. A sum of exp(x − m) becomes one of exp(x − m') by a factor exp(m − m'); so a thread that
/// meets a larger value rescales what it has, and two threads' sums are added on their common maximum (Milakov and Gimelshein, "Online
/// normalizer calculation for softmax", 2018).
/// </summary>
internal static class OnlineSoftmax
{
    public const int Threads = 32;

    /// <summary>Less than any x; its difference to itself is 0, which infinity's is not.</summary>
    private const float Least = -3e38f;

    public static void Kernel(RowSoftmax s)
    {
        int start = (Grid.IdxX * s.Columns) + Group.IdxX, end = (Grid.IdxX + 1) * s.Columns;
        float max = Least, sum = 0;
        for (int i = start; i < end; i += Threads)
            Add(ref max, ref sum, s.X[i], 1);
        for (int away = Threads / 2; away > 0; away /= 2)
            Add(ref max, ref sum, Warp.ShuffleXor(max, away), Warp.ShuffleXor(sum, away));
        for (int i = start; i < end; i += Threads)
            s.Y[i] = DeviceMath.Exp(s.X[i] - max) / sum;
    }

    /// <summary>Adds a sum over exp(x − otherMax) to one over exp(x − max).</summary>
    public static void Add(ref float max, ref float sum, float otherMax, float otherSum)
    {
        float common = default(Max).Combine(max, otherMax);
        sum = (sum * DeviceMath.Exp(max - common)) + (otherSum * DeviceMath.Exp(otherMax - common));
        max = common;
    }
}
