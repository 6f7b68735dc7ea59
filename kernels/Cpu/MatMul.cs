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

    /// <summary>Inner rows of a block of x that stays in the first-level cache while all of dyᵀ passes over it.</summary>
    private const int InnerBlock = 128;

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
        for (int row = 0; row < rows; row += InnerBlock)
        {
            int block = Math.Min(InnerBlock, rows - row);
            float* dyBlock = dy + ((long)row * n);
            Product(n, k, block, dyBlock, 1, n, x + ((long)row * k), k, dWeight, k, dWeight, k);
            AddColumnSums(dyBlock, dBias, block, n);
        }
    }

    /// <summary>
    /// c[i, j] = init[i, j] + Σₖ a[i · aRow + k · aStep] · b[k · bRow + j] for i &lt; m, j &lt; n. Each c is one chain of multiply-adds in the
    /// order of k, whatever tile it falls in, so its bits depend on neither the shape nor the vector width. init may be c itself.
    /// b and init are read up to four vectors past column n.
    /// </summary>
    public static void Product(int m, int n, int k, float* a, nint aRow, nint aStep, float* b, nint bRow, float* init, nint initRow, float* c, nint cRow)
    {
        for (int j = 0; j < n;)
        {
            int left = n - j;
            int vectors = left > 2 * S.Width && S.TileVectors == 4 ? 4 : left > S.Width ? 2 : 1;
            int columns = Math.Min(left, vectors * S.Width);
            for (int i = 0; i < m; i += TileRows)
            {
                int rows = Math.Min(TileRows, m - i);
                float* ai = a + (i * aRow), initi = init + (i * initRow) + j, ci = c + (i * cRow) + j;
                if (vectors == 4)
                    Tile4(rows, columns, k, ai, aRow, aStep, b + j, bRow, initi, initRow, ci, cRow);
                else if (vectors == 2)
                    Tile2(rows, columns, k, ai, aRow, aStep, b + j, bRow, initi, initRow, ci, cRow);
                else
                    Tile1(rows, columns, k, ai, aRow, aStep, b + j, bRow, initi, initRow, ci, cRow);
            }
            j += columns;
        }
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

    private static Vector128<float> UnpackLow(Vector128<float> a, Vector128<float> b) =>
        System.Runtime.Intrinsics.X86.Sse.IsSupported
            ? System.Runtime.Intrinsics.X86.Sse.UnpackLow(a, b)
            : Vector128.Create(a[0], b[0], a[1], b[1]);

    private static Vector128<float> UnpackHigh(Vector128<float> a, Vector128<float> b) =>
        System.Runtime.Intrinsics.X86.Sse.IsSupported
            ? System.Runtime.Intrinsics.X86.Sse.UnpackHigh(a, b)
            : Vector128.Create(a[2], b[2], a[3], b[3]);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Tile4(
        int rows, int columns, int k, float* a, nint aRow, nint aStep, float* b, nint bRow, float* init, nint initRow, float* c, nint cRow)
    {
        // Rows that are not there repeat the last one; their results are not stored.
        nint i1 = Math.Min(1, rows - 1);
        nint i2 = Math.Min(2, rows - 1);
        nint i3 = Math.Min(3, rows - 1);
        nint i4 = Math.Min(4, rows - 1);
        nint i5 = Math.Min(5, rows - 1);
        float* a0 = a, a1 = a + (i1 * aRow), a2 = a + (i2 * aRow), a3 = a + (i3 * aRow), a4 = a + (i4 * aRow), a5 = a + (i5 * aRow);
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
            var ai = S.Broadcast(*a0);
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
            a0 += aStep;
            a1 += aStep;
            a2 += aStep;
            a3 += aStep;
            a4 += aStep;
            a5 += aStep;
        }
        StoreRow(c00, c01, c02, c03, c, columns);
        if (rows > 1)
            StoreRow(c10, c11, c12, c13, c + cRow, columns);
        if (rows > 2)
            StoreRow(c20, c21, c22, c23, c + (2 * cRow), columns);
        if (rows > 3)
            StoreRow(c30, c31, c32, c33, c + (3 * cRow), columns);
        if (rows > 4)
            StoreRow(c40, c41, c42, c43, c + (4 * cRow), columns);
        if (rows > 5)
            StoreRow(c50, c51, c52, c53, c + (5 * cRow), columns);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreRow(V x0, V x1, V x2, V x3, float* c, int columns)
    {
        if (columns == 4 * S.Width)
        {
            S.Store(x0, c);
            S.Store(x1, c + S.Width);
            S.Store(x2, c + (2 * S.Width));
            S.Store(x3, c + (3 * S.Width));
            return;
        }
        Simd<S, V>.StoreFirst(x0, c, columns);
        if (columns > S.Width)
            Simd<S, V>.StoreFirst(x1, c + S.Width, columns - S.Width);
        if (columns > 2 * S.Width)
            Simd<S, V>.StoreFirst(x2, c + (2 * S.Width), columns - (2 * S.Width));
        if (columns > 3 * S.Width)
            Simd<S, V>.StoreFirst(x3, c + (3 * S.Width), columns - (3 * S.Width));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Tile2(
        int rows, int columns, int k, float* a, nint aRow, nint aStep, float* b, nint bRow, float* init, nint initRow, float* c, nint cRow)
    {
        // Rows that are not there repeat the last one; their results are not stored.
        nint i1 = Math.Min(1, rows - 1);
        nint i2 = Math.Min(2, rows - 1);
        nint i3 = Math.Min(3, rows - 1);
        nint i4 = Math.Min(4, rows - 1);
        nint i5 = Math.Min(5, rows - 1);
        float* a0 = a, a1 = a + (i1 * aRow), a2 = a + (i2 * aRow), a3 = a + (i3 * aRow), a4 = a + (i4 * aRow), a5 = a + (i5 * aRow);
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
            var ai = S.Broadcast(*a0);
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
            a0 += aStep;
            a1 += aStep;
            a2 += aStep;
            a3 += aStep;
            a4 += aStep;
            a5 += aStep;
        }
        StoreRow(c00, c01, c, columns);
        if (rows > 1)
            StoreRow(c10, c11, c + cRow, columns);
        if (rows > 2)
            StoreRow(c20, c21, c + (2 * cRow), columns);
        if (rows > 3)
            StoreRow(c30, c31, c + (3 * cRow), columns);
        if (rows > 4)
            StoreRow(c40, c41, c + (4 * cRow), columns);
        if (rows > 5)
            StoreRow(c50, c51, c + (5 * cRow), columns);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreRow(V x0, V x1, float* c, int columns)
    {
        if (columns == 2 * S.Width)
        {
            S.Store(x0, c);
            S.Store(x1, c + S.Width);
            return;
        }
        Simd<S, V>.StoreFirst(x0, c, columns);
        if (columns > S.Width)
            Simd<S, V>.StoreFirst(x1, c + S.Width, columns - S.Width);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Tile1(
        int rows, int columns, int k, float* a, nint aRow, nint aStep, float* b, nint bRow, float* init, nint initRow, float* c, nint cRow)
    {
        // Rows that are not there repeat the last one; their results are not stored.
        nint i1 = Math.Min(1, rows - 1);
        nint i2 = Math.Min(2, rows - 1);
        nint i3 = Math.Min(3, rows - 1);
        nint i4 = Math.Min(4, rows - 1);
        nint i5 = Math.Min(5, rows - 1);
        float* a0 = a, a1 = a + (i1 * aRow), a2 = a + (i2 * aRow), a3 = a + (i3 * aRow), a4 = a + (i4 * aRow), a5 = a + (i5 * aRow);
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
            var ai = S.Broadcast(*a0);
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
            a0 += aStep;
            a1 += aStep;
            a2 += aStep;
            a3 += aStep;
            a4 += aStep;
            a5 += aStep;
        }
        StoreRow(c00, c, columns);
        if (rows > 1)
            StoreRow(c10, c + cRow, columns);
        if (rows > 2)
            StoreRow(c20, c + (2 * cRow), columns);
        if (rows > 3)
            StoreRow(c30, c + (3 * cRow), columns);
        if (rows > 4)
            StoreRow(c40, c + (4 * cRow), columns);
        if (rows > 5)
            StoreRow(c50, c + (5 * cRow), columns);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreRow(V x0, float* c, int columns)
    {
        Simd<S, V>.StoreFirst(x0, c, columns);
    }
}
