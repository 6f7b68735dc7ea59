using ILGPU;

namespace Bert4Rec.Kernels.Gpu.Ladder;

/// <summary>
/// Step 5: four floats by one instruction, and nobody waits for memory. All that moves are <see cref="Float4"/>s, so that more of the
/// instructions are multiply-adds; a is transposed on its way to shared memory, for a thread's four rows to lie side by side there.
/// The next step is on its way to registers while one is multiplied; it goes to the other of two buffers, and one barrier a step is
/// enough.
/// </summary>
/// <remarks>
/// From here <see cref="Product{TA, TB, TEpilogue}"/> goes on: 8 × 8 results a thread, operands that lie either way, edges.
/// </remarks>
internal static class PipelinedProduct
{
    /// <summary>Rows and columns of a group's tile, steps of it, and threads along each of its sides.</summary>
    public const int Size = 64, Steps = 16, Threads = 16;

    /// <summary>A transposed row is longer by four: sixteen threads that store a column would meet in four banks else.</summary>
    private const int RowLength = Size + 4;

    public static void Kernel(MatrixProduct p)
    {
        var a = SharedMemory.Allocate<float>(2 * Steps * RowLength);
        var b = SharedMemory.Allocate<float>(2 * Steps * Size);
        int y = Group.IdxX / Threads, x = Group.IdxX % Threads;
        // What a thread copies: four steps of a row of a, and four columns of a row of b.
        int rowOfA = Group.IdxX / 4, stepOfA = Group.IdxX % 4 * 4;
        int fromA = (((Grid.IdxY * Size) + rowOfA) * p.K) + stepOfA, fromB = (y * p.N) + (Grid.IdxX * Size) + (4 * x);
        Float4 c0 = default, c1 = default, c2 = default, c3 = default;
        Float4 nextA = Float4.Wide(p.A, fromA)[0], nextB = Float4.Wide(p.B, fromB)[0];
        for (int first = 0, buffer = 0; first < p.K; first += Steps, buffer ^= 1)
        {
            var tileA = a.SubView(buffer * Steps * RowLength, Steps * RowLength);
            var tileB = b.SubView(buffer * Steps * Size, Steps * Size);
            tileA[(stepOfA * RowLength) + rowOfA] = nextA.X;
            tileA[((stepOfA + 1) * RowLength) + rowOfA] = nextA.Y;
            tileA[((stepOfA + 2) * RowLength) + rowOfA] = nextA.Z;
            tileA[((stepOfA + 3) * RowLength) + rowOfA] = nextA.W;
            Float4.Wide(tileB, (y * Size) + (4 * x))[0] = nextB;
            if (first + Steps < p.K)
            {
                nextA = Float4.Wide(p.A, fromA + first + Steps)[0];
                nextB = Float4.Wide(p.B, fromB + ((first + Steps) * p.N))[0];
            }
            Group.Barrier();
            for (int k = 0; k < Steps; k++)
            {
                var left = Float4.Wide(tileA, (k * RowLength) + (4 * y))[0];
                var right = Float4.Wide(tileB, (k * Size) + (4 * x))[0];
                c0 += right * left.X;
                c1 += right * left.Y;
                c2 += right * left.Z;
                c3 += right * left.W;
            }
        }
        int at = (((Grid.IdxY * Size) + (4 * y)) * p.N) + (Grid.IdxX * Size) + (4 * x);
        Float4.Wide(p.C, at)[0] = c0;
        Float4.Wide(p.C, at + p.N)[0] = c1;
        Float4.Wide(p.C, at + (2 * p.N))[0] = c2;
        Float4.Wide(p.C, at + (3 * p.N))[0] = c3;
    }
}
