using ILGPU;

namespace Bert4Rec.Kernels.Gpu.Ladder;

/// <summary>
/// Step 1: as the formula has it, in three launches: the scores, <see cref="OnlineSoftmax"/>, the weighted sums. The weights of all pairs
/// go to memory and come back twice, T² floats for T · 32 of result; and they have to fit there.
/// </summary>
internal static class MaterializedAttention
{
    public const int Threads = 256;

    /// <summary>work = q kᵀ / √32; a thread a pair.</summary>
    public static void ScoresKernel(SingleHead h)
    {
        int query = Grid.IdxY, key = (Grid.IdxX * Group.DimX) + Group.IdxX;
        if (key >= h.T)
            return;
        float sum = 0;
        for (int c = 0; c < SingleHead.Width; c++)
            sum += h.Q[(query * SingleHead.Width) + c] * h.K[(key * SingleHead.Width) + c];
        h.Work[(query * h.T) + key] = sum * SingleHead.Scale;
    }

    /// <summary>o = work · v; a thread a result.</summary>
    public static void SumsKernel(SingleHead h)
    {
        int at = (Grid.IdxX * Group.DimX) + Group.IdxX, query = at / SingleHead.Width, column = at % SingleHead.Width;
        float sum = 0;
        for (int key = 0; key < h.T; key++)
            sum += h.Work[(query * h.T) + key] * h.V[(key * SingleHead.Width) + column];
        h.O[at] = sum;
    }
}
