using ILGPU;

namespace Bert4Rec.Kernels.Gpu.Ladder;

/// <summary>
/// Step 6: a warp's 32 threads multiply together. One instruction takes a [16, 8] · b [8, 8], 1,024 multiply-adds, with inputs rounded to
/// eleven significant bits (TF32); <see cref="ITensorCore"/> draws which thread gives what. A warp has 32 × 32 results here, two
/// instructions down and four across. What is left to do is to feed them: rows of shared memory are longer by what keeps threads that read
/// together in different banks.
/// </summary>
internal static class TensorCoreProduct
{
    /// <summary>Rows and columns of a group's tile, of its four warps' parts of it, and the threads.</summary>
    public const int Size = 64, Part = 32, Threads = 128;

    /// <summary>Steps of a tile: of one instruction, twice.</summary>
    private const int Steps = 16;
    private const int RowOfA = Steps + 4, RowOfB = Size + 8;

    public static void Kernel(MatrixProduct p)
    {
        var a = SharedMemory.Allocate<float>(Size * RowOfA);
        var b = SharedMemory.Allocate<float>(Steps * RowOfB);
        int warp = Group.IdxX / 32, group = Group.IdxX % 32 / 4, member = Group.IdxX % 4;
        int row = (warp / 2 * Part) + group, column = warp % 2 * Part;
        Columns c0 = default, c1 = default;
        for (int first = 0; first < p.K; first += Steps)
        {
            for (int i = 4 * Group.IdxX; i < Size * Steps; i += 4 * Threads)
            {
                var fromA = Float4.Wide(p.A, (((Grid.IdxY * Size) + (i / Steps)) * p.K) + first + (i % Steps))[0];
                var fromB = Float4.Wide(p.B, ((first + (i / Size)) * p.N) + (Grid.IdxX * Size) + (i % Size))[0];
                Float4.Wide(a, (i / Steps * RowOfA) + (i % Steps))[0] = Rounded(fromA);
                Float4.Wide(b, (i / Size * RowOfB) + (i % Size))[0] = Rounded(fromB);
            }
            Group.Barrier();
            for (int k = member; k < Steps; k += 8)
            {
                c0.MultiplyAdd(a, (row * RowOfA) + k, b, (k * RowOfB) + column + group);
                c1.MultiplyAdd(a, ((row + 16) * RowOfA) + k, b, (k * RowOfB) + column + group);
            }
            Group.Barrier();
        }
        int at = (((Grid.IdxY * Size) + row) * p.N) + (Grid.IdxX * Size) + column + (2 * member);
        c0.Store(p, at);
        c1.Store(p, at + (16 * p.N));
    }

    private static Float4 Rounded(in Float4 x) =>
        new(Tf32Core.Convert(x.X, 0), Tf32Core.Convert(x.Y, 0), Tf32Core.Convert(x.Z, 0), Tf32Core.Convert(x.W, 0));

    /// <summary>A thread's results of four instructions side by side, of 16 rows: those of its row, and those eight rows below.</summary>
    private struct Columns
    {
        private Float4 _left;
        private Float4 _right;
        private Float4 _leftBelow;
        private Float4 _rightBelow;

        /// <summary>Eight steps.</summary>
        public void MultiplyAdd(ArrayView<float> a, int fromA, ArrayView<float> b, int fromB)
        {
            Float2 here = new() { X = a[fromA], Y = a[fromA + (8 * RowOfA)] };
            Float2 next = new() { X = a[fromA + 4], Y = a[fromA + 4 + (8 * RowOfA)] };
            int later = fromB + (4 * RowOfB);
            Tf32Core.MultiplyAdd(ref _left.X, ref _left.Y, ref _leftBelow.X, ref _leftBelow.Y, here, next, b[fromB], b[later]);
            Tf32Core.MultiplyAdd(
                ref _left.Z, ref _left.W, ref _leftBelow.Z, ref _leftBelow.W, here, next, b[fromB + 8], b[later + 8]);
            Tf32Core.MultiplyAdd(
                ref _right.X, ref _right.Y, ref _rightBelow.X, ref _rightBelow.Y, here, next, b[fromB + 16], b[later + 16]);
            Tf32Core.MultiplyAdd(
                ref _right.Z, ref _right.W, ref _rightBelow.Z, ref _rightBelow.W, here, next, b[fromB + 24], b[later + 24]);
        }

        public readonly void Store(MatrixProduct p, int at)
        {
            Store(p.C, at, _left, _right);
            Store(p.C, at + (8 * p.N), _leftBelow, _rightBelow);
        }

        private static void Store(ArrayView<float> c, int at, Float4 left, Float4 right)
        {
            c[at] = left.X;
            c[at + 1] = left.Y;
            c[at + 8] = left.Z;
            c[at + 9] = left.W;
            c[at + 16] = right.X;
            c[at + 17] = right.Y;
            c[at + 24] = right.Z;
            c[at + 25] = right.W;
        }
    }
}
