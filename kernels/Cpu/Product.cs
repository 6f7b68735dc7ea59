using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;

namespace Bert4Rec.Kernels.Cpu;

/// <summary>Where the elements of a matrix lie: (i, j) at data[i · rowStride + j · columnStride].</summary>
internal readonly unsafe struct Matrix(float* data, nint rowStride, nint columnStride = 1)
{
    public readonly float* Data = data;
    public readonly nint RowStride = rowStride;
    public readonly nint ColumnStride = columnStride;

    /// <summary>The whole tensor; nothing of one that is none.</summary>
    public Matrix(Tensor x)
        : this(x.Pointer(), x.Columns)
    {
    }

    /// <summary>The same elements with rows for columns.</summary>
    public Matrix Transposed => new(Data, ColumnStride, RowStride);

    /// <summary>Without the first rows.</summary>
    public Matrix FromRow(nint row) => new(Data + (row * RowStride), RowStride, ColumnStride);

    /// <summary>Where a row begins.</summary>
    public float* Row(nint row) => Data + (row * RowStride);

    /// <summary>Without the first rows and columns.</summary>
    public Matrix From(nint row, nint column) => FromRow(row).FromColumn(column);

    /// <summary>Without the first columns.</summary>
    public Matrix FromColumn(nint column) => new(Data + (column * ColumnStride), RowStride, ColumnStride);
}

/// <summary>
/// Matrix products, all from one primitive: a tile of six rows by up to four vectors is held in registers while the K dimension runs
/// through it, so that each loaded value is used six or sixty-four times. Operands with the K dimension last are transposed first.
/// </summary>
internal static unsafe class Product<V>
    where V : struct, IVector<V>
{
    private const int TileRows = 6;

    /// <summary>
    /// c = init + a · b for a [m, k], b [k, n]; init may be c itself, or one row for all (row stride 0). Each element of c is one chain of
    /// multiply-adds in the order of k, whatever tile it falls in, so its bits depend on neither the shape nor the vector width.
    /// </summary>
    /// <remarks>Elements of a row of b, init and c are neighbours. b and init are read up to a vector past column n.</remarks>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static void MultiplyAdd(int m, int n, int k, Matrix a, Matrix b, Matrix init, Matrix c)
    {
        int j = 0;
        if (V.TileVectors == 4)
        {
            for (; j + (4 * V.Width) <= n; j += 4 * V.Width)
                Strip<Columns4<V>>(m, k, a, b.FromColumn(j), init.FromColumn(j), c.FromColumn(j));
        }
        for (; j + (2 * V.Width) <= n; j += 2 * V.Width)
            Strip<Columns2<V>>(m, k, a, b.FromColumn(j), init.FromColumn(j), c.FromColumn(j));
        for (; j + V.Width <= n; j += V.Width)
            Strip<Columns1<V>>(m, k, a, b.FromColumn(j), init.FromColumn(j), c.FromColumn(j));
        if (j < n)
            PartStrip(m, n - j, k, a, b.FromColumn(j), init.FromColumn(j), c.FromColumn(j));
    }

    /// <summary>target[j, i] = source[i, j], with zeros behind the last source row up to the target's row stride.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static void Transpose(Matrix source, int rows, int columns, Matrix target)
    {
        int i = 0;
        for (; i + 4 <= rows; i += 4)
        {
            float* s0 = source.Row(i), s1 = source.Row(i + 1), s2 = source.Row(i + 2), s3 = source.Row(i + 3);
            int j = 0;
            for (; j + 4 <= columns; j += 4)
            {
                Vector128<float> r0 = Vector128.Load(s0 + j), r1 = Vector128.Load(s1 + j);
                Vector128<float> r2 = Vector128.Load(s2 + j), r3 = Vector128.Load(s3 + j);
                // Rows 0 and 2, 1 and 3 interleaved, and then both. Halves put together by Create would go through memory.
                Vector128<float> low02 = Low(r0, r2), high02 = High(r0, r2), low13 = Low(r1, r3), high13 = High(r1, r3);
                Low(low02, low13).Store(target.Row(j) + i);
                High(low02, low13).Store(target.Row(j + 1) + i);
                Low(high02, high13).Store(target.Row(j + 2) + i);
                High(high02, high13).Store(target.Row(j + 3) + i);
            }
            for (; j < columns; j++)
            {
                float* t = target.Row(j) + i;
                (t[0], t[1], t[2], t[3]) = (s0[j], s1[j], s2[j], s3[j]);
            }
        }
        for (int j = 0; j < columns; j++)
        {
            float* t = target.Row(j);
            for (int r = i; r < rows; r++)
                t[r] = source.Row(r)[j];
            for (int r = rows; r < target.RowStride; r++)
                t[r] = 0;
        }
    }

    /// <summary>The next multiple of the vector width.</summary>
    public static int RoundUp(int n) => (n + V.Width - 1) / V.Width * V.Width;

    /// <summary>Zeros to start products of n columns from: one row for all.</summary>
    public static Matrix Zeros(Scratch scratch, int n)
    {
        int length = RoundUp(n) + (4 * V.Width);
        float* zeros = scratch.Request(length);
        new Span<float>(zeros, length).Clear();
        return new(zeros, 0);
    }

    /// <summary>Fewer columns than a vector: the tile goes to the stack, and its columns from there.</summary>
    private static void PartStrip(int m, int columns, int k, Matrix a, Matrix b, Matrix init, Matrix c)
    {
        float* tile = stackalloc float[TileRows * 16];
        for (int i = 0; i < m; i += TileRows)
        {
            int rows = Math.Min(TileRows, m - i);
            Strip<Columns1<V>>(rows, k, a.FromRow(i), b, init.FromRow(i), new(tile, V.Width));
            for (int r = 0; r < rows; r++)
                Buffer.MemoryCopy(tile + (r * V.Width), c.Row(i + r), columns * sizeof(float), columns * sizeof(float));
        }
    }

    /// <summary>a₀, b₀, a₁, b₁</summary>
    private static Vector128<float> Low(Vector128<float> a, Vector128<float> b) =>
        Sse.IsSupported ? Sse.UnpackLow(a, b)
        : AdvSimd.Arm64.IsSupported ? AdvSimd.Arm64.ZipLow(a, b)
        : Vector128.Create(a[0], b[0], a[1], b[1]);

    /// <summary>a₂, b₂, a₃, b₃</summary>
    private static Vector128<float> High(Vector128<float> a, Vector128<float> b) =>
        Sse.IsSupported ? Sse.UnpackHigh(a, b)
        : AdvSimd.Arm64.IsSupported ? AdvSimd.Arm64.ZipHigh(a, b)
        : Vector128.Create(a[2], b[2], a[3], b[3]);

    /// <summary>Of c, as many columns as a tile has: tile by tile.</summary>
    private static void Strip<C>(int m, int k, Matrix a, Matrix b, Matrix init, Matrix c)
        where C : struct, IColumns<C, V>
    {
        for (int i = 0; i < m; i += TileRows)
            Tile<C>(Math.Min(TileRows, m - i), k, a.FromRow(i), b, init.FromRow(i), c.FromRow(i));
    }

    /// <summary>
    /// A tile stores without a call or a branch while its sums are live: either would make the compiler keep the sums in memory. Rows
    /// that are not there repeat the last one, and store the same values to the same place. Not inlined: where .NET's own profile, which
    /// a host's program has, knew a width as rare, that cost four fifths of the speed.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void Tile<C>(int rows, int k, Matrix a, Matrix b, Matrix init, Matrix c)
        where C : struct, IColumns<C, V>
    {
        int last = rows - 1;
        nint i1 = Math.Min(1, last), i2 = Math.Min(2, last), i3 = Math.Min(3, last), i4 = Math.Min(4, last), i5 = Math.Min(5, last);
        var c0 = C.Load(init.Data);
        var c1 = C.Load(init.Data + (i1 * init.RowStride));
        var c2 = C.Load(init.Data + (i2 * init.RowStride));
        var c3 = C.Load(init.Data + (i3 * init.RowStride));
        var c4 = C.Load(init.Data + (i4 * init.RowStride));
        var c5 = C.Load(init.Data + (i5 * init.RowStride));
        float* a0 = a.Data, a1 = a0 + (i1 * a.RowStride), a2 = a0 + (i2 * a.RowStride);
        float* a3 = a0 + (i3 * a.RowStride), a4 = a0 + (i4 * a.RowStride), a5 = a0 + (i5 * a.RowStride), row = b.Data;
        for (int step = 0; step < k; step++)
        {
            var bs = C.Load(row);
            c0.AddProduct(V.Factor(*a0), bs);
            c1.AddProduct(V.Factor(*a1), bs);
            c2.AddProduct(V.Factor(*a2), bs);
            c3.AddProduct(V.Factor(*a3), bs);
            c4.AddProduct(V.Factor(*a4), bs);
            c5.AddProduct(V.Factor(*a5), bs);
            row += b.RowStride;
            a0 += a.ColumnStride;
            a1 += a.ColumnStride;
            a2 += a.ColumnStride;
            a3 += a.ColumnStride;
            a4 += a.ColumnStride;
            a5 += a.ColumnStride;
        }
        c0.Store(c.Data);
        c1.Store(c.Data + (i1 * c.RowStride));
        c2.Store(c.Data + (i2 * c.RowStride));
        c3.Store(c.Data + (i3 * c.RowStride));
        c4.Store(c.Data + (i4 * c.RowStride));
        c5.Store(c.Data + (i5 * c.RowStride));
    }
}

/// <summary>
/// A row of a tile: one, two or four neighbouring vectors. The compiler keeps the fields of a struct in registers where there are at most
/// four, and none is itself a struct of several; so the row is written out three times and the tile once.
/// </summary>
internal interface IColumns<C, V>
    where C : struct, IColumns<C, V>
    where V : struct, IVector<V>
{
    static abstract unsafe C Load(float* p);

    unsafe void Store(float* p);

    /// <summary>this = a · b + this, vector by vector, without a register besides: see <see cref="IVector{V}.AddProduct"/>.</summary>
    void AddProduct(V a, C b);
}

internal unsafe struct Columns1<V>(V v0) : IColumns<Columns1<V>, V>
    where V : struct, IVector<V>
{
    private V _v0 = v0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Columns1<V> Load(float* p) => new(V.Load(p));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Store(float* p) => _v0.Store(p);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void AddProduct(V a, Columns1<V> b) => V.AddProduct(ref _v0, a, b._v0);
}

internal unsafe struct Columns2<V>(V v0, V v1) : IColumns<Columns2<V>, V>
    where V : struct, IVector<V>
{
    private V _v0 = v0, _v1 = v1;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Columns2<V> Load(float* p) => new(V.Load(p), V.Load(p + V.Width));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Store(float* p)
    {
        _v0.Store(p);
        _v1.Store(p + V.Width);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void AddProduct(V a, Columns2<V> b)
    {
        V.AddProduct(ref _v0, a, b._v0);
        V.AddProduct(ref _v1, a, b._v1);
    }
}

internal unsafe struct Columns4<V>(V v0, V v1, V v2, V v3) : IColumns<Columns4<V>, V>
    where V : struct, IVector<V>
{
    private V _v0 = v0, _v1 = v1, _v2 = v2, _v3 = v3;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Columns4<V> Load(float* p) => new(V.Load(p), V.Load(p + V.Width), V.Load(p + (2 * V.Width)), V.Load(p + (3 * V.Width)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Store(float* p)
    {
        _v0.Store(p);
        _v1.Store(p + V.Width);
        _v2.Store(p + (2 * V.Width));
        _v3.Store(p + (3 * V.Width));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void AddProduct(V a, Columns4<V> b)
    {
        V.AddProduct(ref _v0, a, b._v0);
        V.AddProduct(ref _v1, a, b._v1);
        V.AddProduct(ref _v2, a, b._v2);
        V.AddProduct(ref _v3, a, b._v3);
    }
}
