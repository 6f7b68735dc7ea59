using ILGPU;

namespace Bert4Rec.Kernels.Gpu.Ladder;

/// <summary>
/// Step 3: the threads of a group want the same rows of a and columns of b. They copy a square of each to shared memory, once, wait for
/// each other, and multiply from there: global memory is asked for a sixteenth. The barrier behind the arithmetic keeps a thread that is
/// done from overwriting what another still reads.
/// </summary>
internal static class SharedTileProduct
{
    /// <summary>Rows, columns and steps of a tile.</summary>
    public const int Size = 16;

    public static void Kernel(MatrixProduct p)
    {
        var a = SharedMemory.Allocate<float>(Size * Size);
        var b = SharedMemory.Allocate<float>(Size * Size);
        int y = Group.IdxX / Size, x = Group.IdxX % Size;
        int row = (Grid.IdxY * Size) + y, column = (Grid.IdxX * Size) + x;
        float sum = 0;
        for (int first = 0; first < p.K; first += Size)
        {
            a[(y * Size) + x] = p.A[(row * p.K) + first + x];
            b[(y * Size) + x] = p.B[((first + y) * p.N) + column];
            Group.Barrier();
            for (int k = 0; k < Size; k++)
                sum += a[(y * Size) + k] * b[(k * Size) + x];
            Group.Barrier();
        }
        p.C[(row * p.N) + column] = sum;
    }
}
