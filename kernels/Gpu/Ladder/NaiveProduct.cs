using ILGPU;

namespace Bert4Rec.Kernels.Gpu.Ladder;

/// <summary>
/// Step 1: a thread a result, and what first comes to mind: neighbouring threads take neighbouring rows. The 32 threads of a warp execute
/// a load together, and memory answers in sectors of 32 bytes. Here they ask for one float each of 32 rows, K floats apart: 32 sectors, of
/// which an eighth is used.
/// </summary>
internal static class NaiveProduct
{
    /// <summary>A group's tile of c; its rows times columns are the threads of a group.</summary>
    public const int Rows = 32, Columns = 8;

    public static void Kernel(MatrixProduct p)
    {
        int row = (Grid.IdxY * Rows) + (Group.IdxX % Rows);
        int column = (Grid.IdxX * Columns) + (Group.IdxX / Rows);
        float sum = 0;
        for (int k = 0; k < p.K; k++)
            sum += p.A[(row * p.K) + k] * p.B[(k * p.N) + column];
        p.C[(row * p.N) + column] = sum;
    }
}
