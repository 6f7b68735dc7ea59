using System.Runtime.CompilerServices;
using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;
using ILGPU.Runtime;

namespace Bert4Rec.Kernels.Gpu;

// The product that every dense layer is made of: c [M, N] = a [M, K] · b [K, N], for operands that lie in memory either way.
//
//                 N                     A group of threads computes a tile of c, BM × BN. It walks along the K dimension, BK steps at a
//            +---------+                time: its threads copy BK columns of a and BK rows of b to shared memory, and multiply from there.
//          K |   |BN|  |  b             A thread keeps TM × TN results in registers, so that a float read from shared memory is used
//            +---------+                eight times.
//      K     +---------+
//   +-----+  |   :  :  |                While BK steps are multiplied, the next ones are already on their way from memory to registers:
//   |-----|  |...+--+  |                they set out before the barrier that begins the step, since a compiler may move a load behind
// M | BM  |  |   |  |  |  c             the arithmetic, but not past a barrier. Shared memory has two buffers, and a step one barrier.
//   |-----|  |...+--+  |
//   +-----+  +---------+                Which results a thread has, and what multiplies them, is the micro-kernel's: multiply-adds
//      a                                (MicroKernel.cs), or tensor cores (TensorCores.cs). What becomes of c is the epilogue's.

/// <summary>The part of c that a group computes: BM × BN.</summary>
internal interface ITile
{
    static abstract int BM { get; }

    static abstract int BN { get; }
}

/// <summary>
/// For products with tiles enough to fill the device. Results and what is read ahead take about 135 registers a thread: three groups of 128
/// threads share a multiprocessor, so that one works while another waits or stores; a square tile would leave room for one of 256.
/// </summary>
internal readonly struct LargeTile : ITile
{
    public static int BM => 128;

    public static int BN => 64;
}

/// <summary>For the others: twice as many groups.</summary>
internal readonly struct SmallTile : ITile
{
    public static int BM => 64;

    public static int BN => 64;
}

/// <summary>For devices with groups of 16 threads: the simulator.</summary>
internal readonly struct TinyTile : ITile
{
    public static int BM => 32;

    public static int BN => 32;
}

/// <summary>What becomes of a tile of c.</summary>
internal interface IEpilogue
{
    /// <summary>Floats of shared memory that it needs.</summary>
    static abstract int SharedFloats<TTile>()
        where TTile : struct, ITile;

    /// <summary>Whether what it reads and writes may be taken a <see cref="Float4"/> at a time.</summary>
    bool CanBeWide { get; }

    /// <summary>Stores c[row, column] to c[row, column + 3]: the first lies in c, the others may lie past the end of its row.</summary>
    void Store(in TilePlace place, int row, int column, in Float4 c);

    /// <summary>Called once by every thread of the group, after its last <see cref="Store"/>.</summary>
    void Finish(in TilePlace place);
}

/// <summary>Where a group's tile lies in c, and what an epilogue may use.</summary>
internal readonly struct TilePlace
{
    /// <summary>Rows of c.</summary>
    public required int M { get; init; }

    /// <summary>Columns of c.</summary>
    public required int N { get; init; }

    /// <summary>The tile's first row in c.</summary>
    public required int FirstRow { get; init; }

    /// <summary>The tile's first column in c.</summary>
    public required int FirstColumn { get; init; }

    /// <summary>Rows of the tile.</summary>
    public required int BM { get; init; }

    /// <summary>Columns of the tile.</summary>
    public required int BN { get; init; }

    /// <summary>Which part of the K dimension the results are sums over.</summary>
    public required int Split { get; init; }

    /// <summary>Whether all that is involved may be accessed a <see cref="Float4"/> at a time.</summary>
    public required bool Wide { get; init; }

    /// <summary>The group's shared memory: <see cref="IEpilogue.SharedFloats"/> at least.</summary>
    public required ArrayView<float> Shared { get; init; }
}

/// <summary>What a product kernel is told.</summary>
/// <param name="A">[M, K] or its transpose.</param>
/// <param name="B">[K, N] or its transpose.</param>
/// <param name="Epilogue">What becomes of c.</param>
/// <param name="M">Rows of c.</param>
/// <param name="N">Columns of c.</param>
/// <param name="K">The dimension that is summed over.</param>
/// <param name="KOfSplit">Of it, what a group sums over.</param>
/// <param name="RowsFirst">1 where the grid's X counts tiles down c, and its Y across; else the other way.</param>
internal readonly record struct ProductArguments<TEpilogue>(
    Operand A, Operand B, TEpilogue Epilogue, int M, int N, int K, int KOfSplit, int RowsFirst)
    where TEpilogue : struct;

/// <summary>How a product's tiles are numbered.</summary>
/// <param name="X">Tiles along the one direction.</param>
/// <param name="Y">Tiles along the other.</param>
/// <param name="RowsFirst">Whether X counts down c, and Y across.</param>
internal readonly record struct ProductGrid(int X, int Y, bool RowsFirst)
{
    /// <summary>The most that CUDA takes as Y; as X it takes 2³¹ − 1.</summary>
    private const int LargestY = ushort.MaxValue;

    /// <summary>
    /// Groups start in order of X: those that run together share what there is more of, where Y can count that.
    /// </summary>
    public static ProductGrid Of(int down, int across)
    {
        bool rowsFirst = down < across;
        if (Math.Max(down, across) > LargestY)
            rowsFirst = !rowsFirst;
        return rowsFirst ? new(down, across, true) : new(across, down, false);
    }
}

/// <summary>c = a · b for one layout of each operand and one epilogue: a kernel a tile and access, compiled when first used.</summary>
internal sealed class Product<TA, TB, TEpilogue>
    where TA : struct, ILayout
    where TB : struct, ILayout
    where TEpilogue : struct, IEpilogue
{
    /// <summary>Parts of the K dimension are multiples of this.</summary>
    private const int SplitMultiple = 8;

    private readonly Variant? _large;
    private readonly Variant _small;
    private readonly int _wanted;

    public Product(GpuDevice device)
    {
        _wanted = Math.Max(8, 4 * device.Multiprocessors);
        _small = device.GroupSize >= 64 ? Variant.Of<SmallTile>(device) : Variant.Of<TinyTile>(device);
        _large = device.GroupSize >= 128 ? Variant.Of<LargeTile>(device) : null;
    }

    /// <summary>How many tiles lie side by side in c.</summary>
    public int TilesAcross(int m, int n) => Choose(m, n, 1).Across(n);

    /// <summary>
    /// Split-K: into how many parts the K dimension is worth splitting, as many as it takes to fill the device, none shorter than
    /// <paramref name="minimum"/>.
    /// </summary>
    public int Splits(int m, int n, int k, int minimum = 128)
    {
        int most = Math.Max(1, k / minimum);
        int splits = (int)Math.Clamp(_wanted / Math.Max(1, Choose(m, n, most).Tiles(m, n)), 1, most);
        int length = KOfSplit(k, splits);
        return (k + length - 1) / length;
    }

    /// <param name="a">[m, k] or its transpose.</param>
    /// <param name="b">[k, n] or its transpose.</param>
    /// <param name="epilogue">What becomes of the product.</param>
    /// <param name="m">Rows of the product.</param>
    /// <param name="n">Columns of the product.</param>
    /// <param name="k">The dimension that is summed over.</param>
    /// <param name="splits">Parts of it; the epilogue gets a product for each.</param>
    public void Launch(Operand a, Operand b, in TEpilogue epilogue, int m, int n, int k, int splits = 1)
    {
        var variant = Choose(m, n, splits);
        bool wide = a.IsAligned && b.IsAligned && epilogue.CanBeWide;
        var grid = ProductGrid.Of(variant.Down(m), variant.Across(n));
        (wide ? variant.Wide : variant.Narrow).Launch(
            new Index3D(grid.X, grid.Y, splits), new(a, b, epilogue, m, n, k, KOfSplit(k, splits), grid.RowsFirst ? 1 : 0));
    }

    private static int KOfSplit(int k, int splits) => (((k + splits - 1) / splits) + SplitMultiple - 1) / SplitMultiple * SplitMultiple;

    private Variant Choose(int m, int n, int splits) =>
        _large is not null && _large.Tiles(m, n) * splits >= _wanted / 2 ? _large : _small;

    private static void Kernel<TTile, TAccess, TMicroKernel>(ProductArguments<TEpilogue> arguments)
        where TTile : struct, ITile
        where TAccess : struct, IAccess
        where TMicroKernel : struct, IMicroKernel
    {
        int rowsOfA = SharedTile.RowLength(TTile.BM), rowsOfB = SharedTile.RowLength(TTile.BN);
        int threads = TTile.BM * TTile.BN / (ThreadTile.TM * ThreadTile.TN), thread = Group.IdxX;
        int buffer = TMicroKernel.BK * (rowsOfA + rowsOfB);
        var shared = SharedMemory.Allocate<float>(IntrinsicMath.Max(2 * buffer, TEpilogue.SharedFloats<TTile>()));
        var exchange = TMicroKernel.ExchangedFloats > 0 ? SharedMemory.Allocate<float>(threads * TMicroKernel.ExchangedFloats) : default;
        // Selections, not branches: of constants that a branch comes before, ILGPU 1.5.3 makes no use.
        int down = arguments.RowsFirst != 0 ? Grid.IdxX : Grid.IdxY, across = arguments.RowsFirst != 0 ? Grid.IdxY : Grid.IdxX;
        int firstRow = down * TTile.BM, firstColumn = across * TTile.BN;
        int start = Grid.IdxZ * arguments.KOfSplit, end = IntrinsicMath.Min(arguments.K, start + arguments.KOfSplit);

        // All that changes from step to step is carried along, so that a step has next to nothing to do but multiply.
        var a = new OperandLoader<TA, TAccess>(
            arguments.A, firstRow, arguments.M, start, arguments.K, thread, threads, TTile.BM, TMicroKernel.BK);
        var b = new OperandLoader<TB, TAccess>(
            arguments.B, firstColumn, arguments.N, start, arguments.K, thread, threads, TTile.BN, TMicroKernel.BK);
        var own = TMicroKernel.Locate<TTile>(thread);
        // Places in shared memory are in bytes: others would have to be multiplied by a size in each step.
        int bufferOfB = TMicroKernel.BK * rowsOfA, otherBuffer = buffer * sizeof(float);
        int storeA = a.Place * sizeof(float), storeB = (bufferOfB + b.Place) * sizeof(float);
        int readA = own.A * sizeof(float), readB = (bufferOfB + own.B) * sizeof(float);
        var bytes = shared.Cast<byte>();
        int left = end - start;
        a.Store<TMicroKernel>(bytes.SubView(storeA), a.LoadFirst(left));
        b.Store<TMicroKernel>(bytes.SubView(storeB), b.LoadFirst(left));
        storeA += otherBuffer;
        storeB += otherBuffer;
        left -= TMicroKernel.BK;
        var nextA = a.LoadNext(left);
        var nextB = b.LoadNext(left);
        Group.Barrier();

        var c = default(ThreadTile);
        while (left > -TMicroKernel.BK)
        {
            TMicroKernel.MultiplyAdd<TTile>(ref c, bytes.SubView(readA), bytes.SubView(readB), exchange);
            a.Store<TMicroKernel>(bytes.SubView(storeA), nextA);
            b.Store<TMicroKernel>(bytes.SubView(storeB), nextB);
            left -= TMicroKernel.BK;
            nextA = a.LoadNext(left);
            nextB = b.LoadNext(left);
            readA += otherBuffer;
            readB += otherBuffer;
            otherBuffer = -otherBuffer;
            storeA += otherBuffer;
            storeB += otherBuffer;
            Group.Barrier();
        }

        var place = new TilePlace
        {
            M = arguments.M,
            N = arguments.N,
            FirstRow = firstRow,
            FirstColumn = firstColumn,
            BM = TTile.BM,
            BN = TTile.BN,
            Split = Grid.IdxZ,
            Wide = TAccess.Wide,
            Shared = shared,
        };
        int row = firstRow + own.Row, column = firstColumn + own.Column, right = column + TMicroKernel.ColumnsToRight<TTile>();
        Store(arguments.Epilogue, place, row + TMicroKernel.RowOffset(0), column, right, c.Row0);
        Store(arguments.Epilogue, place, row + TMicroKernel.RowOffset(1), column, right, c.Row1);
        Store(arguments.Epilogue, place, row + TMicroKernel.RowOffset(2), column, right, c.Row2);
        Store(arguments.Epilogue, place, row + TMicroKernel.RowOffset(3), column, right, c.Row3);
        Store(arguments.Epilogue, place, row + TMicroKernel.RowOffset(4), column, right, c.Row4);
        Store(arguments.Epilogue, place, row + TMicroKernel.RowOffset(5), column, right, c.Row5);
        Store(arguments.Epilogue, place, row + TMicroKernel.RowOffset(6), column, right, c.Row6);
        Store(arguments.Epilogue, place, row + TMicroKernel.RowOffset(7), column, right, c.Row7);
        arguments.Epilogue.Finish(place);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(in TEpilogue epilogue, in TilePlace place, int row, int left, int right, in ThreadTile.Row c)
    {
        if (row >= place.M)
            return;
        if (left < place.N)
            epilogue.Store(place, row, left, c.Left);
        if (right < place.N)
            epilogue.Store(place, row, right, c.Right);
    }

    /// <summary>The kernels of one tile.</summary>
    private sealed record Variant(
        int BM, int BN, GpuKernel<ProductArguments<TEpilogue>> Wide, GpuKernel<ProductArguments<TEpilogue>> Narrow)
    {
        public static Variant Of<TTile>(GpuDevice device)
            where TTile : struct, ITile
        {
            return device.TensorCores switch
            {
                TensorCores.None => With<MultiplyAdds>(),
                TensorCores.Used => With<TensorCoreProducts<TensorCore>>(),
                _ => With<TensorCoreProducts<EmulatedTensorCore>>(),
            };

            Variant With<TMicroKernel>()
                where TMicroKernel : struct, IMicroKernel => new(
                    TTile.BM,
                    TTile.BN,
                    Load(Kernel<TTile, WideAccess, TMicroKernel>),
                    Load(Kernel<TTile, NarrowAccess, TMicroKernel>));

            GpuKernel<ProductArguments<TEpilogue>> Load(Action<ProductArguments<TEpilogue>> kernel) =>
                device.Load(kernel, TTile.BM * TTile.BN / (ThreadTile.TM * ThreadTile.TN));
        }

        public int Down(int m) => (m + BM - 1) / BM;

        public int Across(int n) => (n + BN - 1) / BN;

        public long Tiles(int m, int n) => (long)Down(m) * Across(n);
    }
}
