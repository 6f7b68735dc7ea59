using System.Runtime.CompilerServices;
using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;

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
//
// Where c has few tiles but a long K dimension, as the gradient of a weight has, the K dimension is split: several groups make a tile, each
// the sum over a part of the steps, and the last of them to finish adds up the sums and does what is to become of c (LastGroup.cs).

/// <summary>The part of c that a group computes: BM × BN.</summary>
internal interface ITile
{
    static abstract int BM { get; }

    static abstract int BN { get; }

    /// <summary>Rows of results that a thread has: 8, or 4.</summary>
    static abstract int TM { get; }

    /// <summary>Columns of results that a thread has, as many.</summary>
    static abstract int TN { get; }
}

/// <summary>
/// For products with tiles enough to fill the device. Results and what is read ahead take about 135 registers a thread: three groups of 128
/// threads share an SM, so that one works while another waits or stores; a square tile would leave room for one of 256.
/// </summary>
internal readonly struct LargeTile : ITile
{
    public static int BM => 128;

    public static int BN => 64;

    public static int TM => 8;

    public static int TN => 8;
}

/// <summary>For the others: four times as many threads, with a quarter of the results each, which keep more SMs busy.</summary>
internal readonly struct SmallTile : ITile
{
    public static int BM => 64;

    public static int BN => 32;

    public static int TM => 4;

    public static int TN => 4;
}

/// <summary>For devices with groups of 16 threads: the simulator.</summary>
internal readonly struct TinyTile : ITile
{
    public static int BM => 32;

    public static int BN => 32;

    public static int TM => 8;

    public static int TN => 8;
}

/// <summary>What becomes of a tile of c.</summary>
internal interface IEpilogue
{
    /// <summary>Floats of shared memory that it needs.</summary>
    static virtual int SharedFloats<TTile>()
        where TTile : struct, ITile => 0;

    /// <summary>Whether it wants the sums of a's rows, for <see cref="Finish"/>; a lies [K, M] then.</summary>
    static virtual bool TakesSums => false;

    /// <summary>Whether what it reads and writes may be taken a <see cref="Float4"/> at a time.</summary>
    bool CanBeWide { get; }

    /// <summary>What <see cref="Store"/> needs of four columns beside c, the first of which lies in c; loaded once for all rows.</summary>
    Float4 LoadColumns(in TilePlace place, int column);

    /// <summary>
    /// What <see cref="Store"/> needs besides of a row, or of c[row, column] to c[row, column + 3], the first of which lies in c; loaded
    /// for some rows before any of them is stored, so that the loads wait together.
    /// </summary>
    Float4 LoadAhead(in TilePlace place, int row, int column);

    /// <summary>Stores c[row, column] to c[row, column + 3]: the first lies in c, the others may lie past the end of its row.</summary>
    void Store(in TilePlace place, int row, int column, in Float4 c, in Float4 ofColumns, in Float4 ahead);

    /// <summary>Called once by every thread of the group, after its last <see cref="Store"/>.</summary>
    /// <param name="place">The tile.</param>
    /// <param name="sums">Where it <see cref="TakesSums"/>, those over the K dimension of four rows of a: of the tile's first four in
    /// thread 0, of the next four in thread 1, and so on; the last ones may lie past the end of a.</param>
    /// <param name="thread">This one's number.</param>
    void Finish(in TilePlace place, in Float4 sums, int thread);
}

/// <summary>Where a group's tile lies in c, and what an epilogue may use.</summary>
/// <param name="M">Rows of c.</param>
/// <param name="N">Columns of c.</param>
/// <param name="FirstRow">The tile's first row in c.</param>
/// <param name="FirstColumn">The tile's first column in c.</param>
/// <param name="BM">Rows of the tile.</param>
/// <param name="BN">Columns of the tile.</param>
/// <param name="Wide">Whether all that is involved may be accessed a <see cref="Float4"/> at a time.</param>
/// <param name="Shared">The group's shared memory: <see cref="IEpilogue.SharedFloats"/> at least.</param>
internal readonly record struct TilePlace(
    int M, int N, int FirstRow, int FirstColumn, int BM, int BN, bool Wide, ArrayView<float> Shared);

/// <summary>What a product kernel is told.</summary>
/// <param name="A">[M, K] or its transpose.</param>
/// <param name="B">[K, N] or its transpose.</param>
/// <param name="Epilogue">What becomes of c.</param>
/// <param name="M">Rows of c.</param>
/// <param name="N">Columns of c.</param>
/// <param name="K">The dimension that is summed over.</param>
/// <param name="KOfSplit">Of it, what a group sums over.</param>
/// <param name="RowsFirst">1 where the grid's X counts tiles down c, and its Y across; else the other way.</param>
/// <param name="Parts">Where groups that share a tile leave their sums.</param>
/// <param name="Counters">One a tile, for <see cref="LastGroup"/>.</param>
internal readonly record struct ProductArguments<TEpilogue>(
    Operand A, Operand B, TEpilogue Epilogue, int M, int N, int K, int KOfSplit, int RowsFirst, ArrayView<float> Parts,
    ArrayView<int> Counters)
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
    /// <summary>Parts of the K dimension are multiples of it.</summary>
    private const int SplitMultiple = 16;

    private readonly GpuDevice _device;
    private readonly Variant? _large;
    private readonly Variant _small;

    public Product(GpuDevice device)
    {
        _device = device;
        _small = device.GroupSize >= 128 ? Variant.Of<SmallTile>(device) : Variant.Of<TinyTile>(device);
        _large = device.GroupSize >= 128 ? Variant.Of<LargeTile>(device) : null;
    }

    /// <summary>How many tiles lie side by side in c.</summary>
    public int TilesAcross(int m, int n, int k) => Choose(m, n, k).Variant.Across(n);

    /// <param name="a">[m, k] or its transpose.</param>
    /// <param name="b">[k, n] or its transpose.</param>
    /// <param name="epilogue">What becomes of the product.</param>
    /// <param name="m">Rows of the product.</param>
    /// <param name="n">Columns of the product.</param>
    /// <param name="k">The dimension that is summed over.</param>
    public void Launch(Operand a, Operand b, in TEpilogue epilogue, int m, int n, int k)
    {
        if (m == 0 || n == 0)
            return;
        var (variant, splits) = Choose(m, n, k);
        int length = RoundUp((k + splits - 1) / splits, SplitMultiple);
        splits = Math.Max(1, (k + length - 1) / length);
        long partLength = (variant.BM * variant.BN) + (TEpilogue.TakesSums ? 4L * variant.Threads : 0);
        var parts = splits == 1 ? default : _device.Parts(splits * variant.Tiles(m, n) * partLength);
        bool wide = a.IsAligned && b.IsAligned && epilogue.CanBeWide;
        var grid = ProductGrid.Of(variant.Down(m), variant.Across(n));
        (wide ? variant.Wide : variant.Narrow).Launch(
            new Index3D(grid.X, grid.Y, splits),
            new(a, b, epilogue, m, n, k, length, grid.RowsFirst ? 1 : 0, parts, splits == 1 ? default : _device.Counters));
    }

    /// <summary>The tile, and into how many parts the K dimension is split, that take the least time.</summary>
    private (Variant Variant, int Splits) Choose(int m, int n, int k)
    {
        var (time, splits) = TileCost.Small.Best(_small.Tiles(m, n), k, _device.Multiprocessors);
        if (_large is null)
            return (_small, splits);
        var (timeOfLarge, splitsOfLarge) = TileCost.Large.Best(_large.Tiles(m, n), k, _device.Multiprocessors);
        return timeOfLarge < time ? (_large, splitsOfLarge) : (_small, splits);
    }

    private static int RoundUp(int value, int multiple) => (value + multiple - 1) / multiple * multiple;

    private static void Kernel<TTile, TAccess, TMicroKernel>(ProductArguments<TEpilogue> arguments)
        where TTile : struct, ITile
        where TAccess : struct, IAccess
        where TMicroKernel : struct, IMicroKernel
    {
        int rowsOfA = SharedTile.RowLength(TTile.BM), rowsOfB = SharedTile.RowLength(TTile.BN);
        int threads = TTile.BM * TTile.BN / (TTile.TM * TTile.TN), thread = Group.IdxX, bk = TMicroKernel.BK<TTile>();
        int buffer = bk / TMicroKernel.StepsPerFloat * (rowsOfA + rowsOfB);
        var shared = SharedMemory.Allocate<float>(IntrinsicMath.Max(2 * buffer, TEpilogue.SharedFloats<TTile>()));
        // Selections, not branches: of constants that a branch comes before, ILGPU 1.5.3 makes no use.
        int down = arguments.RowsFirst != 0 ? Grid.IdxX : Grid.IdxY, across = arguments.RowsFirst != 0 ? Grid.IdxY : Grid.IdxX;
        int firstRow = down * TTile.BM, firstColumn = across * TTile.BN;
        int start = Grid.IdxZ * arguments.KOfSplit, end = IntrinsicMath.Min(arguments.K, start + arguments.KOfSplit);

        // All that changes from step to step is carried along, so that a step has next to nothing to do but multiply.
        var a = new OperandLoader<TA, TAccess>(
            arguments.A, firstRow, arguments.M, start, arguments.K, thread, threads, TTile.BM, bk, TMicroKernel.StepsPerFloat);
        var b = new OperandLoader<TB, TAccess>(
            arguments.B, firstColumn, arguments.N, start, arguments.K, thread, threads, TTile.BN, bk, TMicroKernel.StepsPerFloat);
        var own = TMicroKernel.Locate<TTile>(thread);
        // Places in shared memory are in bytes: others would have to be multiplied by a size in each step.
        int bufferOfB = bk / TMicroKernel.StepsPerFloat * rowsOfA, otherBuffer = buffer * sizeof(float);
        int storeA = a.Place * sizeof(float), storeB = (bufferOfB + b.Place) * sizeof(float);
        int readA = own.A * sizeof(float), readB = (bufferOfB + own.B) * sizeof(float);
        var bytes = shared.Cast<byte>();
        int left = end - start;
        var nextA = a.LoadFirst(left);
        var sums = TEpilogue.TakesSums ? nextA.Sum : default;
        a.Store<TMicroKernel>(bytes.SubView(storeA), nextA);
        b.Store<TMicroKernel>(bytes.SubView(storeB), b.LoadFirst(left));
        storeA += otherBuffer;
        storeB += otherBuffer;
        left -= bk;
        nextA = a.LoadNext(left);
        var nextB = b.LoadNext(left);
        Group.Barrier();

        var c = default(ThreadTile);
        while (left > -bk)
        {
            TMicroKernel.MultiplyAdd<TTile>(ref c, bytes.SubView(readA), bytes.SubView(readB));
            if (TEpilogue.TakesSums)
                sums += nextA.Sum;
            a.Store<TMicroKernel>(bytes.SubView(storeA), nextA);
            b.Store<TMicroKernel>(bytes.SubView(storeB), nextB);
            left -= bk;
            nextA = a.LoadNext(left);
            nextB = b.LoadNext(left);
            readA += otherBuffer;
            readB += otherBuffer;
            otherBuffer = -otherBuffer;
            storeA += otherBuffer;
            storeB += otherBuffer;
            Group.Barrier();
        }

        // Before groups that share a tile part: PoCL mixes up what is kept across a barrier that comes after those of a branch.
        if (TEpilogue.TakesSums)
            sums = AddSums(shared, sums, thread, threads, TTile.BM / 4);
        int tile = (Grid.IdxY * Grid.DimX) + Grid.IdxX;
        if (Grid.DimZ > 1 && !AddParts<TTile>(ref c, ref sums, arguments, tile, thread, threads))
            return;
        var place = new TilePlace(
            arguments.M, arguments.N, firstRow, firstColumn, TTile.BM, TTile.BN, TAccess.Wide, shared);
        int row = firstRow + own.Row, column = firstColumn + own.Column, right = column + TMicroKernel.ColumnsToRight<TTile>();
        var columns = new ColumnPair(
            column,
            column < arguments.N ? arguments.Epilogue.LoadColumns(place, column) : default,
            right,
            TTile.TN > 4 && right < arguments.N ? arguments.Epilogue.LoadColumns(place, right) : default);
        var epilogue = arguments.Epilogue;
        StoreFour<TTile, TMicroKernel>(epilogue, place, row, 0, columns, c.Row0, c.Row1, c.Row2, c.Row3);
        if (TTile.TM > 4)
            StoreFour<TTile, TMicroKernel>(epilogue, place, row, 4, columns, c.Row4, c.Row5, c.Row6, c.Row7);
        arguments.Epilogue.Finish(place, sums, thread);
    }

    /// <summary>
    /// Leaves a part of the sums; in the last group of the tile to come here, takes the parts of all, and adds them in order.
    /// </summary>
    /// <returns>Whether this is the last.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool AddParts<TTile>(
        ref ThreadTile c, ref Float4 sums, in ProductArguments<TEpilogue> arguments, int tile, int thread, int threads)
        where TTile : struct, ITile
    {
        // A part is a row of float4s for each of a thread's, so that neighbouring threads have neighbouring ones.
        int tileLength = TTile.TM * TTile.TN / 4 * threads, length = tileLength + (TEpilogue.TakesSums ? threads : 0);
        var parts = Float4.Wide(arguments.Parts).SubView(((long)tile * Grid.DimZ * length) + thread);
        var own = parts.SubView((long)Grid.IdxZ * length);
        c.Store<TTile>(own, threads);
        if (TEpilogue.TakesSums)
            own[tileLength] = sums;
        if (!LastGroup.IsThis(arguments.Counters.SubView(tile), Grid.DimZ))
            return false;
        c = default;
        sums = default;
        int split = 0;
        // Four parts of a small tile are under way at a time; of a large one, one part has as many float4s.
        for (; TTile.TM == 4 && split + 3 < Grid.DimZ; split += 4)
        {
            AddPart<TTile>(ref c, ref sums, parts.SubView((long)split * length), tileLength, threads);
            AddPart<TTile>(ref c, ref sums, parts.SubView((long)(split + 1) * length), tileLength, threads);
            AddPart<TTile>(ref c, ref sums, parts.SubView((long)(split + 2) * length), tileLength, threads);
            AddPart<TTile>(ref c, ref sums, parts.SubView((long)(split + 3) * length), tileLength, threads);
        }
        for (; split < Grid.DimZ; split++)
            AddPart<TTile>(ref c, ref sums, parts.SubView((long)split * length), tileLength, threads);
        return true;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddPart<TTile>(ref ThreadTile c, ref Float4 sums, ArrayView<Float4> part, int tileLength, int threads)
        where TTile : struct, ITile
    {
        c.Add<TTile>(part, threads);
        if (TEpilogue.TakesSums)
            sums += part[tileLength];
    }

    /// <summary>What the threads that loaded the same four rows of a have summed, together; in the first of them.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 AddSums(ArrayView<float> shared, Float4 sums, int thread, int threads, int fours)
    {
        var all = Float4.Wide(shared);
        all[thread] = sums;
        Group.Barrier();
        for (int other = thread + fours; other < threads; other += fours)
            sums += all[other];
        return sums;
    }

    /// <summary>Stores the thread's rows i to i + 3.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreFour<TTile, TMicroKernel>(
        in TEpilogue epilogue,
        in TilePlace place,
        int firstRow,
        int i,
        in ColumnPair columns,
        in ThreadTile.Row c0,
        in ThreadTile.Row c1,
        in ThreadTile.Row c2,
        in ThreadTile.Row c3)
        where TTile : struct, ITile
        where TMicroKernel : struct, IMicroKernel
    {
        int row0 = firstRow + TMicroKernel.RowOffset(i), row1 = firstRow + TMicroKernel.RowOffset(i + 1);
        int row2 = firstRow + TMicroKernel.RowOffset(i + 2), row3 = firstRow + TMicroKernel.RowOffset(i + 3);
        ThreadTile.Row ahead0 = LoadAhead<TTile>(epilogue, place, row0, columns), ahead1 = LoadAhead<TTile>(epilogue, place, row1, columns);
        ThreadTile.Row ahead2 = LoadAhead<TTile>(epilogue, place, row2, columns), ahead3 = LoadAhead<TTile>(epilogue, place, row3, columns);
        Store<TTile>(epilogue, place, row0, columns, c0, ahead0);
        Store<TTile>(epilogue, place, row1, columns, c1, ahead1);
        Store<TTile>(epilogue, place, row2, columns, c2, ahead2);
        Store<TTile>(epilogue, place, row3, columns, c3, ahead3);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ThreadTile.Row LoadAhead<TTile>(in TEpilogue epilogue, in TilePlace place, int row, in ColumnPair columns)
        where TTile : struct, ITile
    {
        var result = default(ThreadTile.Row);
        result.Left = row < place.M && columns.Left < place.N ? epilogue.LoadAhead(place, row, columns.Left) : default;
        if (TTile.TN > 4)
            result.Right = row < place.M && columns.Right < place.N ? epilogue.LoadAhead(place, row, columns.Right) : default;
        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store<TTile>(
        in TEpilogue epilogue, in TilePlace place, int row, in ColumnPair columns, in ThreadTile.Row c, in ThreadTile.Row ahead)
        where TTile : struct, ITile
    {
        if (row >= place.M)
            return;
        if (columns.Left < place.N)
            epilogue.Store(place, row, columns.Left, c.Left, columns.OfLeft, ahead.Left);
        if (TTile.TN > 4 && columns.Right < place.N)
            epilogue.Store(place, row, columns.Right, c.Right, columns.OfRight, ahead.Right);
    }

    /// <summary>Where a thread's two float4s of each row lie, and what the epilogue has loaded for them.</summary>
    private readonly struct ColumnPair(int left, Float4 ofLeft, int right, Float4 ofRight)
    {
        public readonly int Left = left;
        public readonly Float4 OfLeft = ofLeft;
        public readonly int Right = right;
        public readonly Float4 OfRight = ofRight;
    }

    /// <summary>The kernels of one tile.</summary>
    private sealed record Variant(
        int BM, int BN, int Threads, GpuKernel<ProductArguments<TEpilogue>> Wide, GpuKernel<ProductArguments<TEpilogue>> Narrow)
    {
        public static Variant Of<TTile>(GpuDevice device)
            where TTile : struct, ITile
        {
            int threads = TTile.BM * TTile.BN / (TTile.TM * TTile.TN);
            return device.Precision switch
            {
                Precision.Tf32 => With<TensorCoreProducts<Tf32Core>>(),
                Precision.Bf16 => With<TensorCoreProducts<Bf16Core>>(),
                _ => With<MultiplyAdds>(),
            };

            Variant With<TMicroKernel>()
                where TMicroKernel : struct, IMicroKernel => new(
                    TTile.BM,
                    TTile.BN,
                    threads,
                    Load(Kernel<TTile, WideAccess, TMicroKernel>),
                    Load(Kernel<TTile, NarrowAccess, TMicroKernel>));

            GpuKernel<ProductArguments<TEpilogue>> Load(Action<ProductArguments<TEpilogue>> kernel) =>
                device.Load(kernel, threads);
        }

        public int Down(int m) => (m + BM - 1) / BM;

        public int Across(int n) => (n + BN - 1) / BN;

        public long Tiles(int m, int n) => (long)Down(m) * Across(n);
    }
}
