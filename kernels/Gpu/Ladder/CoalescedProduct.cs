using ILGPU;

namespace Bert4Rec.Kernels.Gpu.Ladder;

/// <summary>
/// Step 2: neighbouring threads take neighbouring columns. Of b, and of c, a warp now asks for 32 floats side by side: four sectors, all of
/// them used. Of a all its threads want the same float, which is sent once. Nothing else has changed.
/// </summary>
internal static class CoalescedProduct
{
    /// <summary>A group's tile of c; its rows times columns are the threads of a group.</summary>
    public const int Rows = 8, Columns = 32;

    public static void Kernel(MatrixProduct p)
    {
        int row = (Grid.IdxY * Rows) + (Group.IdxX / Columns);
        int column = (Grid.IdxX * Columns) + (Group.IdxX % Columns);
        float sum = 0;
        for (int k = 0; k < p.K; k++)
            sum += p.A[(row * p.K) + k] * p.B[(k * p.N) + column];
        p.C[(row * p.N) + column] = sum;
    }
}
