using ILGPU;

namespace Bert4Rec.Kernels.Gpu.Ladder;

/// <summary>
/// Step 4: now shared memory is what everybody waits for, with two loads for a multiply-add. So a thread keeps 4 × 4 results in registers:
/// four floats of a and four of b make sixteen multiply-adds, half a load for each. Its columns are sixteen apart, so that neighbouring
/// threads read neighbouring floats of b, which lie in different banks.
/// </summary>
internal static class RegisterTileProduct
{
    /// <summary>Rows and columns of a group's tile, steps of it, and threads along each of its sides.</summary>
    public const int Size = 64, Steps = 16, Threads = 16;

    /// <summary>A row of a is longer by one: what is four rows apart, and read together, would lie in one bank else.</summary>
    private const int RowOfA = Steps + 1;

    public static void Kernel(MatrixProduct p)
    {
        var a = SharedMemory.Allocate<float>(Size * RowOfA);
        var b = SharedMemory.Allocate<float>(Steps * Size);
        int y = Group.IdxX / Threads, x = Group.IdxX % Threads;
        int row = Grid.IdxY * Size, column = Grid.IdxX * Size;
        Float4 c0 = default, c1 = default, c2 = default, c3 = default;
        for (int first = 0; first < p.K; first += Steps)
        {
            for (int i = Group.IdxX; i < Size * Steps; i += Threads * Threads)
            {
                a[(i / Steps * RowOfA) + (i % Steps)] = p.A[((row + (i / Steps)) * p.K) + first + (i % Steps)];
                b[i] = p.B[((first + (i / Size)) * p.N) + column + (i % Size)];
            }
            Group.Barrier();
            for (int k = 0; k < Steps; k++)
            {
                var right = Columns(b, (k * Size) + x);
                c0 += right * a[(4 * y * RowOfA) + k];
                c1 += right * a[(((4 * y) + 1) * RowOfA) + k];
                c2 += right * a[(((4 * y) + 2) * RowOfA) + k];
                c3 += right * a[(((4 * y) + 3) * RowOfA) + k];
            }
            Group.Barrier();
        }
        row += 4 * y;
        Store(c0, p, row, column + x);
        Store(c1, p, row + 1, column + x);
        Store(c2, p, row + 2, column + x);
        Store(c3, p, row + 3, column + x);
    }

    private static Float4 Columns(ArrayView<float> b, int at) => new(b[at], b[at + Threads], b[at + (2 * Threads)], b[at + (3 * Threads)]);

    private static void Store(Float4 c, MatrixProduct p, int row, int column)
    {
        int at = (row * p.N) + column;
        p.C[at] = c.X;
        p.C[at + Threads] = c.Y;
        p.C[at + (2 * Threads)] = c.Z;
        p.C[at + (3 * Threads)] = c.W;
    }
}
