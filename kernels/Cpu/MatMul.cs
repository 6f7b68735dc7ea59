using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Bert4Rec.Kernels.Cpu;

/// <summary>
/// Matrix products, all from one primitive: a tile of six rows by up to four vectors is held in registers while the inner dimension runs
/// through it, so each loaded value is used six or sixty-four times. Operands with the inner dimension last are transposed first.
/// </summary>
internal static unsafe class MatMul<S, V>
    where S : struct, ISimd<V>
    where V : struct
{
    public const int TileRows = 6;

    /// <summary>Rows of a block whose activations stay in the first-level cache between product and gelu.</summary>
    private const int RowBlock = 48;

    /// <summary>Values of a block of x that stays in the first-level cache while all of dyᵀ passes over it.</summary>
    private const int InnerBlock = 8192;

    /// <summary>y = x weightᵀ + bias, and gelu and its slope where asked.</summary>
    public static void Forward(Scratch scratch, float* x, float* weight, float* bias, float* y, float* slope, bool gelu, int rows, int n, int k)
    {
        int stride = RoundUp(n);
        float* transposed = scratch.Request((long)k * stride);
        Transpose(weight, k, n, k, transposed, stride);
        if (!gelu)
        {
            Product(rows, n, k, x, k, 1, transposed, stride, bias, 0, y, n);
            return;
        }
        for (int row = 0; row < rows; row += RowBlock)
        {
            int block = Math.Min(RowBlock, rows - row);
            long at = (long)row * n;
            Product(block, n, k, x + ((long)row * k), k, 1, transposed, stride, bias, 0, y + at, n);
            Gelu<S, V>.Forward(y + at, slope == null ? null : slope + at, (long)block * n);
        }
    }

    /// <summary>dx = dy weight (∘ slope), or dx += dy weight.</summary>
    public static void BackwardInput(Scratch scratch, float* dy, float* weight, float* slope, float* dx, bool accumulate, int rows, int n, int k)
    {
        float* zeros = Zeros(scratch, k);
        for (int row = 0; row < rows; row += RowBlock)
        {
            int block = Math.Min(RowBlock, rows - row);
            long at = (long)row * k;
            Product(block, k, n, dy + ((long)row * n), n, 1, weight, k, accumulate ? dx + at : zeros, accumulate ? k : 0, dx + at, k);
            if (slope != null)
                Gelu<S, V>.Backward(dx + at, slope + at, (long)block * k);
        }
    }

    /// <summary>dWeight += dyᵀ x; dBias += column sums of dy.</summary>
    public static void BackwardWeight(float* dy, float* x, float* dWeight, float* dBias, int rows, int n, int k)
    {
        int blockRows = Math.Clamp(InnerBlock / k, 32, 128);
        for (int row = 0; row < rows; row += blockRows)
        {
            int block = Math.Min(blockRows, rows - row);
            float* dyBlock = dy + ((long)row * n);
            Product(n, k, block, dyBlock, 1, n, x + ((long)row * k), k, dWeight, k, dWeight, k);
            AddColumnSums(dyBlock, dBias, block, n);
        }
    }

    /// <summary>
    /// c[i, j] = init[i, j] + Σₖ a[i · aRow + k · aStep] · b[k · bRow + j] for i &lt; m, j &lt; n. Each c is one chain of multiply-adds in the
    /// order of k, whatever tile it falls in, so its bits depend on neither the shape nor the vector width. init may be c itself.
    /// b and init are read up to a vector past column n.
    /// </summary>
    public static void Product(int m, int n, int k, float* a, nint aRow, nint aStep, float* b, nint bRow, float* init, nint initRow, float* c, nint cRow)
    {
        int j = 0;
        for (; j + (S.TileVectors * S.Width) <= n; j += S.TileVectors * S.Width)
            Panel(S.TileVectors, m, k, a, aRow, aStep, b + j, bRow, init + j, initRow, c + j, cRow);
        for (int vectors = 2; vectors > 0; vectors--)
        {
            for (; j + (vectors * S.Width) <= n; j += vectors * S.Width)
                Panel(vectors, m, k, a, aRow, aStep, b + j, bRow, init + j, initRow, c + j, cRow);
        }
        if (j < n)
            PartPanel(m, n - j, k, a, aRow, aStep, b + j, bRow, init + j, initRow, c + j, cRow);
    }

    /// <summary>sums[j] += Σᵢ x[i, j]</summary>
    public static void AddColumnSums(float* x, float* sums, int rows, int columns)
    {
        for (int j = 0; j < columns; j += S.Width)
        {
            int lanes = columns - j;
            var sum = Simd<S, V>.LoadFirst(sums + j, lanes);
            for (int i = 0; i < rows; i++)
                sum = S.Add(sum, Simd<S, V>.LoadFirst(x + ((long)i * columns) + j, lanes));
            Simd<S, V>.StoreFirst(sum, sums + j, lanes);
        }
    }

    /// <summary>target[j, i] = source[i, j], with zeros behind the last source row up to the target's stride.</summary>
    public static void Transpose(float* source, nint sourceStride, int rows, int columns, float* target, int targetStride)
    {
        int i = 0;
        for (; i + 4 <= rows; i += 4)
        {
            float* s = source + (i * sourceStride);
            int j = 0;
            for (; j + 4 <= columns; j += 4)
            {
                var r0 = Vector128.Load(s + j);
                var r1 = Vector128.Load(s + sourceStride + j);
                var r2 = Vector128.Load(s + (2 * sourceStride) + j);
                var r3 = Vector128.Load(s + (3 * sourceStride) + j);
                var low01 = UnpackLow(r0, r1);
                var low23 = UnpackLow(r2, r3);
                var high01 = UnpackHigh(r0, r1);
                var high23 = UnpackHigh(r2, r3);
                float* t = target + ((long)j * targetStride) + i;
                Vector128.Create(low01.GetLower(), low23.GetLower()).Store(t);
                Vector128.Create(low01.GetUpper(), low23.GetUpper()).Store(t + targetStride);
                Vector128.Create(high01.GetLower(), high23.GetLower()).Store(t + (2 * targetStride));
                Vector128.Create(high01.GetUpper(), high23.GetUpper()).Store(t + (3 * targetStride));
            }
            for (; j < columns; j++)
            {
                for (int r = 0; r < 4; r++)
                    target[((long)j * targetStride) + i + r] = s[(r * sourceStride) + j];
            }
        }
        for (; i < rows; i++)
        {
            for (int j = 0; j < columns; j++)
                target[((long)j * targetStride) + i] = source[(i * sourceStride) + j];
        }
        for (; i < targetStride; i++)
        {
            for (int j = 0; j < columns; j++)
                target[((long)j * targetStride) + i] = 0;
        }
    }

    /// <summary>The next multiple of the vector width.</summary>
    public static int RoundUp(int n) => (n + S.Width - 1) / S.Width * S.Width;

    /// <summary>A row of zeros to start products from.</summary>
    public static float* Zeros(Scratch scratch, int n)
    {
        int length = RoundUp(n) + (4 * S.Width);
        float* zeros = scratch.Request(length);
        new Span<float>(zeros, length).Clear();
        return zeros;
    }

    private static void Panel(int vectors, int m, int k, float* a, nint aRow, nint aStep, float* b, nint bRow, float* init, nint initRow, float* c, nint cRow)
    {
        for (int i = 0; i < m; i += TileRows)
        {
            int rows = Math.Min(TileRows, m - i);
            if (vectors == 4)
                Tile4(rows, k, a, aRow, aStep, b, bRow, init, initRow, c, cRow);
            else if (vectors == 2)
                Tile2(rows, k, a, aRow, aStep, b, bRow, init, initRow, c, cRow);
            else
                Tile1(rows, k, a, aRow, aStep, b, bRow, init, initRow, c, cRow);
            a += TileRows * aRow;
            init += TileRows * initRow;
            c += TileRows * cRow;
        }
    }

    /// <summary>Fewer columns than a vector: the tile goes to the stack, and its columns from there.</summary>
    private static void PartPanel(int m, int columns, int k, float* a, nint aRow, nint aStep, float* b, nint bRow, float* init, nint initRow, float* c, nint cRow)
    {
        float* tile = stackalloc float[TileRows * 16];
        for (int i = 0; i < m; i += TileRows)
        {
            int rows = Math.Min(TileRows, m - i);
            Tile1(rows, k, a + (i * aRow), aRow, aStep, b, bRow, init + (i * initRow), initRow, tile, S.Width);
            for (int r = 0; r < rows; r++)
                Buffer.MemoryCopy(tile + (r * S.Width), c + ((i + r) * cRow), columns * sizeof(float), columns * sizeof(float));
        }
    }

    private static Vector128<float> UnpackLow(Vector128<float> a, Vector128<float> b) =>
        System.Runtime.Intrinsics.X86.Sse.IsSupported
            ? System.Runtime.Intrinsics.X86.Sse.UnpackLow(a, b)
            : Vector128.Create(a[0], b[0], a[1], b[1]);

    private static Vector128<float> UnpackHigh(Vector128<float> a, Vector128<float> b) =>
        System.Runtime.Intrinsics.X86.Sse.IsSupported
            ? System.Runtime.Intrinsics.X86.Sse.UnpackHigh(a, b)
            : Vector128.Create(a[2], b[2], a[3], b[3]);

    // The tiles store without a call or a branch while their sums are live: either would make the compiler keep the sums in memory.
    // Rows that are not there repeat the last one, and store the same values to the same place.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Tile4(
        int rows, int k, float* a, nint aRow, nint aStep, float* b, nint bRow, float* init, nint initRow, float* c, nint cRow)
    {
        nint i1 = Math.Min(1, rows - 1);
        nint i2 = Math.Min(2, rows - 1);
        nint i3 = Math.Min(3, rows - 1);
        nint i4 = Math.Min(4, rows - 1);
        nint i5 = Math.Min(5, rows - 1);
        float* a1 = a + (i1 * aRow), a2 = a + (i2 * aRow), a3 = a + (i3 * aRow), a4 = a + (i4 * aRow), a5 = a + (i5 * aRow);
        float* n1 = init + (i1 * initRow), n2 = init + (i2 * initRow), n3 = init + (i3 * initRow), n4 = init + (i4 * initRow), n5 = init + (i5 * initRow);
        V c00 = S.Load(init), c01 = S.Load(init + S.Width), c02 = S.Load(init + (2 * S.Width)), c03 = S.Load(init + (3 * S.Width));
        V c10 = S.Load(n1), c11 = S.Load(n1 + S.Width), c12 = S.Load(n1 + (2 * S.Width)), c13 = S.Load(n1 + (3 * S.Width));
        V c20 = S.Load(n2), c21 = S.Load(n2 + S.Width), c22 = S.Load(n2 + (2 * S.Width)), c23 = S.Load(n2 + (3 * S.Width));
        V c30 = S.Load(n3), c31 = S.Load(n3 + S.Width), c32 = S.Load(n3 + (2 * S.Width)), c33 = S.Load(n3 + (3 * S.Width));
        V c40 = S.Load(n4), c41 = S.Load(n4 + S.Width), c42 = S.Load(n4 + (2 * S.Width)), c43 = S.Load(n4 + (3 * S.Width));
        V c50 = S.Load(n5), c51 = S.Load(n5 + S.Width), c52 = S.Load(n5 + (2 * S.Width)), c53 = S.Load(n5 + (3 * S.Width));
        for (int step = 0; step < k; step++)
        {
            V b0 = S.Load(b), b1 = S.Load(b + S.Width), b2 = S.Load(b + (2 * S.Width)), b3 = S.Load(b + (3 * S.Width));
            var ai = S.Broadcast(*a);
            c00 = S.MultiplyAdd(ai, b0, c00);
            c01 = S.MultiplyAdd(ai, b1, c01);
            c02 = S.MultiplyAdd(ai, b2, c02);
            c03 = S.MultiplyAdd(ai, b3, c03);
            ai = S.Broadcast(*a1);
            c10 = S.MultiplyAdd(ai, b0, c10);
            c11 = S.MultiplyAdd(ai, b1, c11);
            c12 = S.MultiplyAdd(ai, b2, c12);
            c13 = S.MultiplyAdd(ai, b3, c13);
            ai = S.Broadcast(*a2);
            c20 = S.MultiplyAdd(ai, b0, c20);
            c21 = S.MultiplyAdd(ai, b1, c21);
            c22 = S.MultiplyAdd(ai, b2, c22);
            c23 = S.MultiplyAdd(ai, b3, c23);
            ai = S.Broadcast(*a3);
            c30 = S.MultiplyAdd(ai, b0, c30);
            c31 = S.MultiplyAdd(ai, b1, c31);
            c32 = S.MultiplyAdd(ai, b2, c32);
            c33 = S.MultiplyAdd(ai, b3, c33);
            ai = S.Broadcast(*a4);
            c40 = S.MultiplyAdd(ai, b0, c40);
            c41 = S.MultiplyAdd(ai, b1, c41);
            c42 = S.MultiplyAdd(ai, b2, c42);
            c43 = S.MultiplyAdd(ai, b3, c43);
            ai = S.Broadcast(*a5);
            c50 = S.MultiplyAdd(ai, b0, c50);
            c51 = S.MultiplyAdd(ai, b1, c51);
            c52 = S.MultiplyAdd(ai, b2, c52);
            c53 = S.MultiplyAdd(ai, b3, c53);
            b += bRow;
            a += aStep;
            a1 += aStep;
            a2 += aStep;
            a3 += aStep;
            a4 += aStep;
            a5 += aStep;
        }
        S.Store(c00, c);
        S.Store(c01, c + S.Width);
        S.Store(c02, c + (2 * S.Width));
        S.Store(c03, c + (3 * S.Width));
        float* p1 = c + (i1 * cRow);
        S.Store(c10, p1);
        S.Store(c11, p1 + S.Width);
        S.Store(c12, p1 + (2 * S.Width));
        S.Store(c13, p1 + (3 * S.Width));
        float* p2 = c + (i2 * cRow);
        S.Store(c20, p2);
        S.Store(c21, p2 + S.Width);
        S.Store(c22, p2 + (2 * S.Width));
        S.Store(c23, p2 + (3 * S.Width));
        float* p3 = c + (i3 * cRow);
        S.Store(c30, p3);
        S.Store(c31, p3 + S.Width);
        S.Store(c32, p3 + (2 * S.Width));
        S.Store(c33, p3 + (3 * S.Width));
        float* p4 = c + (i4 * cRow);
        S.Store(c40, p4);
        S.Store(c41, p4 + S.Width);
        S.Store(c42, p4 + (2 * S.Width));
        S.Store(c43, p4 + (3 * S.Width));
        float* p5 = c + (i5 * cRow);
        S.Store(c50, p5);
        S.Store(c51, p5 + S.Width);
        S.Store(c52, p5 + (2 * S.Width));
        S.Store(c53, p5 + (3 * S.Width));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Tile2(
        int rows, int k, float* a, nint aRow, nint aStep, float* b, nint bRow, float* init, nint initRow, float* c, nint cRow)
    {
        nint i1 = Math.Min(1, rows - 1);
        nint i2 = Math.Min(2, rows - 1);
        nint i3 = Math.Min(3, rows - 1);
        nint i4 = Math.Min(4, rows - 1);
        nint i5 = Math.Min(5, rows - 1);
        float* a1 = a + (i1 * aRow), a2 = a + (i2 * aRow), a3 = a + (i3 * aRow), a4 = a + (i4 * aRow), a5 = a + (i5 * aRow);
        float* n1 = init + (i1 * initRow), n2 = init + (i2 * initRow), n3 = init + (i3 * initRow), n4 = init + (i4 * initRow), n5 = init + (i5 * initRow);
        V c00 = S.Load(init), c01 = S.Load(init + S.Width);
        V c10 = S.Load(n1), c11 = S.Load(n1 + S.Width);
        V c20 = S.Load(n2), c21 = S.Load(n2 + S.Width);
        V c30 = S.Load(n3), c31 = S.Load(n3 + S.Width);
        V c40 = S.Load(n4), c41 = S.Load(n4 + S.Width);
        V c50 = S.Load(n5), c51 = S.Load(n5 + S.Width);
        for (int step = 0; step < k; step++)
        {
            V b0 = S.Load(b), b1 = S.Load(b + S.Width);
            var ai = S.Broadcast(*a);
            c00 = S.MultiplyAdd(ai, b0, c00);
            c01 = S.MultiplyAdd(ai, b1, c01);
            ai = S.Broadcast(*a1);
            c10 = S.MultiplyAdd(ai, b0, c10);
            c11 = S.MultiplyAdd(ai, b1, c11);
            ai = S.Broadcast(*a2);
            c20 = S.MultiplyAdd(ai, b0, c20);
            c21 = S.MultiplyAdd(ai, b1, c21);
            ai = S.Broadcast(*a3);
            c30 = S.MultiplyAdd(ai, b0, c30);
            c31 = S.MultiplyAdd(ai, b1, c31);
            ai = S.Broadcast(*a4);
            c40 = S.MultiplyAdd(ai, b0, c40);
            c41 = S.MultiplyAdd(ai, b1, c41);
            ai = S.Broadcast(*a5);
            c50 = S.MultiplyAdd(ai, b0, c50);
            c51 = S.MultiplyAdd(ai, b1, c51);
            b += bRow;
            a += aStep;
            a1 += aStep;
            a2 += aStep;
            a3 += aStep;
            a4 += aStep;
            a5 += aStep;
        }
        S.Store(c00, c);
        S.Store(c01, c + S.Width);
        float* p1 = c + (i1 * cRow);
        S.Store(c10, p1);
        S.Store(c11, p1 + S.Width);
        float* p2 = c + (i2 * cRow);
        S.Store(c20, p2);
        S.Store(c21, p2 + S.Width);
        float* p3 = c + (i3 * cRow);
        S.Store(c30, p3);
        S.Store(c31, p3 + S.Width);
        float* p4 = c + (i4 * cRow);
        S.Store(c40, p4);
        S.Store(c41, p4 + S.Width);
        float* p5 = c + (i5 * cRow);
        S.Store(c50, p5);
        S.Store(c51, p5 + S.Width);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Tile1(
        int rows, int k, float* a, nint aRow, nint aStep, float* b, nint bRow, float* init, nint initRow, float* c, nint cRow)
    {
        nint i1 = Math.Min(1, rows - 1);
        nint i2 = Math.Min(2, rows - 1);
        nint i3 = Math.Min(3, rows - 1);
        nint i4 = Math.Min(4, rows - 1);
        nint i5 = Math.Min(5, rows - 1);
        float* a1 = a + (i1 * aRow), a2 = a + (i2 * aRow), a3 = a + (i3 * aRow), a4 = a + (i4 * aRow), a5 = a + (i5 * aRow);
        float* n1 = init + (i1 * initRow), n2 = init + (i2 * initRow), n3 = init + (i3 * initRow), n4 = init + (i4 * initRow), n5 = init + (i5 * initRow);
        V c00 = S.Load(init);
        V c10 = S.Load(n1);
        V c20 = S.Load(n2);
        V c30 = S.Load(n3);
        V c40 = S.Load(n4);
        V c50 = S.Load(n5);
        for (int step = 0; step < k; step++)
        {
            V b0 = S.Load(b);
            var ai = S.Broadcast(*a);
            c00 = S.MultiplyAdd(ai, b0, c00);
            ai = S.Broadcast(*a1);
            c10 = S.MultiplyAdd(ai, b0, c10);
            ai = S.Broadcast(*a2);
            c20 = S.MultiplyAdd(ai, b0, c20);
            ai = S.Broadcast(*a3);
            c30 = S.MultiplyAdd(ai, b0, c30);
            ai = S.Broadcast(*a4);
            c40 = S.MultiplyAdd(ai, b0, c40);
            ai = S.Broadcast(*a5);
            c50 = S.MultiplyAdd(ai, b0, c50);
            b += bRow;
            a += aStep;
            a1 += aStep;
            a2 += aStep;
            a3 += aStep;
            a4 += aStep;
            a5 += aStep;
        }
        S.Store(c00, c);
        float* p1 = c + (i1 * cRow);
        S.Store(c10, p1);
        float* p2 = c + (i2 * cRow);
        S.Store(c20, p2);
        float* p3 = c + (i3 * cRow);
        S.Store(c30, p3);
        float* p4 = c + (i4 * cRow);
        S.Store(c40, p4);
        float* p5 = c + (i5 * cRow);
        S.Store(c50, p5);
    }
}
