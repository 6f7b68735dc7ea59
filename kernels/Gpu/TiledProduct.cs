using System.Runtime.CompilerServices;
using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;
using ILGPU.Runtime;

namespace Bert4Rec.Kernels.Gpu;

// The product that every dense layer is made of: c = a · b, for operands that lie in memory either way. A group computes a tile of c: it
// walks along the summed dimension, each step copying eight columns of a and rows of b to shared memory, and each thread keeps 8 × 8
// results in registers, so that a float read from shared memory is used eight times. While a step is multiplied, the next one's operands
// are already on their way from memory: they set out before the barrier that begins the step, since a compiler may move a load behind the
// arithmetic, but not past a barrier. Shared memory has two buffers, and a step one barrier.

/// <summary>The size of a tile. A thread has 8 × 8 results, so a group has Rows · Columns / 64 threads.</summary>
internal interface ITile
{
    static abstract int Rows { get; }

    static abstract int Columns { get; }
}

/// <summary>
/// For products with tiles enough to fill the device. Results and what is read ahead take about 135 registers a thread: three groups of 128
/// threads share a multiprocessor, so that one works while another waits or writes; a square tile would leave room for one of 256.
/// </summary>
internal readonly struct LargeTile : ITile
{
    public static int Rows => 128;

    public static int Columns => 64;
}

/// <summary>For the others: twice as many groups.</summary>
internal readonly struct SmallTile : ITile
{
    public static int Rows => 64;

    public static int Columns => 64;
}

/// <summary>For devices with groups of 16 threads: the simulator.</summary>
internal readonly struct TinyTile : ITile
{
    public static int Rows => 32;

    public static int Columns => 32;
}

/// <summary>How an operand lies in memory: which of its dimensions has neighbours side by side, the summed one or the kept one.</summary>
internal interface ILayout
{
    static abstract bool SummedIsContiguous { get; }
}

/// <summary>[kept, summed]: x and weight in x · weightᵀ.</summary>
internal readonly struct SummedContiguous : ILayout
{
    public static bool SummedIsContiguous => true;
}

/// <summary>[summed, kept]: dy and x in dyᵀ · x.</summary>
internal readonly struct KeptContiguous : ILayout
{
    public static bool SummedIsContiguous => false;
}

/// <summary>Whether operands are read four floats at a time.</summary>
internal interface IAccess
{
    static abstract bool Wide { get; }
}

internal readonly struct WideAccess : IAccess
{
    public static bool Wide => true;
}

internal readonly struct NarrowAccess : IAccess
{
    public static bool Wide => false;
}

/// <summary>What becomes of a tile of results.</summary>
internal interface IEpilogue
{
    /// <summary>Whether the rows it reads and writes may be taken four floats at a time.</summary>
    bool CanBeWide { get; }

    /// <summary>A thread's eight results of a row: four columns at place.Left, four at place.Right; called for each of its rows.</summary>
    void Row(in TilePlace place, int row, in Float4 left, in Float4 right);

    /// <summary>Called once by every thread of the group, after its rows.</summary>
    void End(in TilePlace place);
}

/// <summary>Where a thread's results are in c, and what an epilogue may use.</summary>
internal readonly struct TilePlace
{
    /// <summary>The size of c.</summary>
    public required int Rows { get; init; }

    /// <inheritdoc cref="Rows"/>
    public required int Columns { get; init; }

    /// <summary>The size of a tile.</summary>
    public required int TileRows { get; init; }

    /// <inheritdoc cref="TileRows"/>
    public required int TileColumns { get; init; }

    /// <summary>The tile's first row in c.</summary>
    public required int FirstRow { get; init; }

    /// <summary>First of the thread's four columns to the left, in c.</summary>
    public required int Left { get; init; }

    /// <summary>First of the four to the right.</summary>
    public required int Right { get; init; }

    /// <summary>Number of the tile in its row of tiles.</summary>
    public required int TileColumn { get; init; }

    /// <summary>Which of the TileColumns / 8 threads that share a row this is.</summary>
    public required int ThreadOfRow { get; init; }

    /// <summary>Which part of the summed dimension.</summary>
    public required int Split { get; init; }

    /// <summary>Whether everything involved may be accessed four floats at a time.</summary>
    public required bool Wide { get; init; }

    /// <summary>The group's shared memory, free from the first row on: 16 · (TileRows + TileColumns + 8) floats at least.</summary>
    public required ArrayView<float> Shared { get; init; }
}

/// <summary>An operand: [kept, summed] or [summed, kept], rows <see cref="Stride"/> apart.</summary>
internal readonly record struct Operand(ArrayView<float> Values, int Stride)
{
    /// <summary>Whether every row starts at a multiple of four floats.</summary>
    public bool IsAligned => GpuDevice.IsAligned(Values) && Stride % 4 == 0;
}

/// <summary>What a product kernel is told.</summary>
internal readonly record struct ProductArguments<TEpilogue>(
    Operand A, Operand B, TEpilogue Epilogue, int Rows, int Columns, int Summed, int SummedPerSplit, int RowsFirst)
    where TEpilogue : struct;

/// <summary>c = a · b for one layout of each operand and one epilogue: a kernel a tile and access, compiled when first used.</summary>
internal sealed class TiledProduct<TA, TB, TEpilogue>
    where TA : struct, ILayout
    where TB : struct, ILayout
    where TEpilogue : struct, IEpilogue
{
    /// <summary>Steps along the summed dimension for which operands are in shared memory at a time.</summary>
    private const int Depth = 8;

    private readonly Variant? _large;
    private readonly Variant _small;
    private readonly int _wanted;

    public TiledProduct(GpuDevice device)
    {
        _wanted = Math.Max(8, 4 * device.Multiprocessors);
        _small = device.GroupSize >= 64 ? Variant.Of<SmallTile>(device) : Variant.Of<TinyTile>(device);
        _large = device.GroupSize >= 128 ? Variant.Of<LargeTile>(device) : null;
    }

    /// <summary>Tiles in a row of tiles: as many as epilogues see.</summary>
    public int TileColumns(int rows, int columns) => Choose(rows, columns, 1).Across(columns);

    /// <summary>
    /// Into how many parts the summed dimension is worth splitting: as many as it takes to fill the device, none shorter than
    /// <paramref name="minimum"/>.
    /// </summary>
    public int Splits(int rows, int columns, int summed, int minimum = 128)
    {
        int most = Math.Max(1, summed / minimum);
        int splits = (int)Math.Clamp(_wanted / Math.Max(1, Choose(rows, columns, most).Tiles(rows, columns)), 1, most);
        int length = SplitLength(summed, splits);
        return (summed + length - 1) / length;
    }

    /// <param name="a">[rows, summed] or its transpose.</param>
    /// <param name="b">[summed, columns] or its transpose.</param>
    /// <param name="epilogue">What becomes of the product.</param>
    /// <param name="rows">Rows of the product.</param>
    /// <param name="columns">Its columns.</param>
    /// <param name="summed">The dimension that vanishes.</param>
    /// <param name="splits">Parts of it; the epilogue gets a product for each.</param>
    public void Launch(Operand a, Operand b, in TEpilogue epilogue, int rows, int columns, int summed, int splits = 1)
    {
        var variant = Choose(rows, columns, splits);
        bool wide = a.IsAligned && b.IsAligned && epilogue.CanBeWide;
        // Groups start in order of X: those that run together share what there is more of.
        int down = variant.Down(rows), across = variant.Across(columns);
        bool rowsFirst = down < across;
        (wide ? variant.Wide : variant.Narrow).Launch(
            rowsFirst ? new Index3D(down, across, splits) : new Index3D(across, down, splits),
            new(a, b, epilogue, rows, columns, summed, SplitLength(summed, splits), rowsFirst ? 1 : 0));
    }

    /// <summary>Of a part of the summed dimension, in whole steps.</summary>
    private static int SplitLength(int summed, int splits) => (((summed + splits - 1) / splits) + Depth - 1) / Depth * Depth;

    private Variant Choose(int rows, int columns, int splits) =>
        _large is not null && _large.Tiles(rows, columns) * splits >= _wanted / 2 ? _large : _small;

    private static void Kernel<TTile, TAccess>(ProductArguments<TEpilogue> arguments)
        where TTile : struct, ITile
        where TAccess : struct, IAccess
    {
        // Rows of the buffers are four floats longer than the tile, so that a transposing store meets different banks.
        int strideA = TTile.Rows + 4, strideB = TTile.Columns + 4;
        var shared = SharedMemory.Allocate<float>(2 * Depth * (TTile.Rows + TTile.Columns + 8));
        int rowTile = arguments.RowsFirst != 0 ? Grid.IdxX : Grid.IdxY, columnTile = arguments.RowsFirst != 0 ? Grid.IdxY : Grid.IdxX;
        int firstRow = rowTile * TTile.Rows, firstColumn = columnTile * TTile.Columns;
        int start = Grid.IdxZ * arguments.SummedPerSplit;
        int end = IntrinsicMath.Min(arguments.Summed, start + arguments.SummedPerSplit);

        // The thread's part of the tile. 4 × 8 threads have a block of 32 × 64 results, and a thread two quadruples of rows and of columns
        // there: neighbouring threads then read neighbouring quadruples, without bank conflicts.
        int across = IntrinsicMath.Min(8, TTile.Columns / 8), blocksAcross = TTile.Columns / (8 * across);
        int threads = TTile.Rows * TTile.Columns / 64;
        int thread = Group.IdxX, block = thread / (4 * across);
        int threadColumn = thread & (across - 1), threadRow = (thread / across) & 3;
        int row = (block / blocksAcross * 32) + (threadRow * 4), column = ((block & (blocksAcross - 1)) * 8 * across) + (threadColumn * 4);

        // All that changes from step to step is carried along, so that a step has next to nothing to do but multiply.
        var a = new Loader<TA, TAccess>(arguments.A, firstRow, arguments.Rows, start, arguments.Summed, thread, threads, TTile.Rows, Depth);
        var b = new Loader<TB, TAccess>(
            arguments.B, firstColumn, arguments.Columns, start, arguments.Summed, thread, threads, TTile.Columns, Depth);
        // Places in shared memory are in bytes: others would have to be multiplied by a size in each step.
        int bufferOfB = Depth * strideA, otherBuffer = Depth * (strideA + strideB) * sizeof(float);
        int storeA = a.Place * sizeof(float), storeB = (bufferOfB + b.Place) * sizeof(float);
        int readA = row * sizeof(float), readB = (bufferOfB + column) * sizeof(float);
        var bytes = shared.Cast<byte>();
        int left = end - start;
        a.Store(bytes.SubView(storeA), a.LoadFirst(left));
        b.Store(bytes.SubView(storeB), b.LoadFirst(left));
        storeA += otherBuffer;
        storeB += otherBuffer;
        left -= Depth;
        var nextA = a.LoadNext(left);
        var nextB = b.LoadNext(left);
        Group.Barrier();

        var sums = default(Sums);
        while (left > -Depth)
        {
            ArrayView<Float4> rowsOfA = bytes.SubView(readA).Cast<Float4>().AsAligned(16);
            ArrayView<Float4> columnsOfB = bytes.SubView(readB).Cast<Float4>().AsAligned(16);
            sums.Add(rowsOfA, columnsOfB, 0 * strideA / 4, 0 * strideB / 4, across);
            sums.Add(rowsOfA, columnsOfB, 1 * strideA / 4, 1 * strideB / 4, across);
            sums.Add(rowsOfA, columnsOfB, 2 * strideA / 4, 2 * strideB / 4, across);
            sums.Add(rowsOfA, columnsOfB, 3 * strideA / 4, 3 * strideB / 4, across);
            sums.Add(rowsOfA, columnsOfB, 4 * strideA / 4, 4 * strideB / 4, across);
            sums.Add(rowsOfA, columnsOfB, 5 * strideA / 4, 5 * strideB / 4, across);
            sums.Add(rowsOfA, columnsOfB, 6 * strideA / 4, 6 * strideB / 4, across);
            sums.Add(rowsOfA, columnsOfB, 7 * strideA / 4, 7 * strideB / 4, across);
            a.Store(bytes.SubView(storeA), nextA);
            b.Store(bytes.SubView(storeB), nextB);
            left -= Depth;
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
            Rows = arguments.Rows,
            Columns = arguments.Columns,
            TileRows = TTile.Rows,
            TileColumns = TTile.Columns,
            FirstRow = firstRow,
            Left = firstColumn + column,
            Right = firstColumn + column + (4 * across),
            TileColumn = columnTile,
            ThreadOfRow = ((block & (blocksAcross - 1)) * across) + threadColumn,
            Split = Grid.IdxZ,
            Wide = TAccess.Wide,
            Shared = shared,
        };
        int r = firstRow + row;
        arguments.Epilogue.Row(place, r, sums.Row0.Left, sums.Row0.Right);
        arguments.Epilogue.Row(place, r + 1, sums.Row1.Left, sums.Row1.Right);
        arguments.Epilogue.Row(place, r + 2, sums.Row2.Left, sums.Row2.Right);
        arguments.Epilogue.Row(place, r + 3, sums.Row3.Left, sums.Row3.Right);
        arguments.Epilogue.Row(place, r + 16, sums.Row4.Left, sums.Row4.Right);
        arguments.Epilogue.Row(place, r + 17, sums.Row5.Left, sums.Row5.Right);
        arguments.Epilogue.Row(place, r + 18, sums.Row6.Left, sums.Row6.Right);
        arguments.Epilogue.Row(place, r + 19, sums.Row7.Left, sums.Row7.Right);
        arguments.Epilogue.End(place);
    }

    /// <summary>The kernels of one tile.</summary>
    private sealed record Variant(
        int Rows, int Columns, GpuKernel<ProductArguments<TEpilogue>> Wide, GpuKernel<ProductArguments<TEpilogue>> Narrow)
    {
        public static Variant Of<TTile>(GpuDevice device)
            where TTile : struct, ITile
        {
            return device.TensorCores switch
            {
                TensorCores.None => new(TTile.Rows, TTile.Columns, Load(Kernel<TTile, WideAccess>), Load(Kernel<TTile, NarrowAccess>)),
                TensorCores.Used => OnTensorCores<TensorCore>(),
                _ => OnTensorCores<EmulatedTensorCore>(),
            };

            Variant OnTensorCores<TCore>()
                where TCore : struct, ITensorCore => new(
                    TTile.Rows,
                    TTile.Columns,
                    Load(TensorCoreProduct<TA, TB, TEpilogue>.Kernel<TTile, WideAccess, TCore>),
                    Load(TensorCoreProduct<TA, TB, TEpilogue>.Kernel<TTile, NarrowAccess, TCore>));

            GpuKernel<ProductArguments<TEpilogue>> Load(Action<ProductArguments<TEpilogue>> kernel) =>
                device.Load(kernel, TTile.Rows * TTile.Columns / 64);
        }

        public int Down(int rows) => (rows + Rows - 1) / Rows;

        public int Across(int columns) => (columns + Columns - 1) / Columns;

        public long Tiles(int rows, int columns) => (long)Down(rows) * Across(columns);
    }
}

/// <summary>
/// A thread's share in copying an operand's part of a tile to shared memory, where it lies [summed, kept]: up to four
/// quadruples a step.
/// </summary>
internal struct Loader<TLayout, TAccess>
    where TLayout : struct, ILayout
    where TAccess : struct, IAccess
{
    private readonly int _step;
    private readonly int _side;
    private readonly int _quadruples;
    private readonly int _apart;
    private readonly int _summed;
    private readonly int _keptLeft;
    private readonly int _second;
    private readonly int _third;
    private readonly int _fourth;
    private ArrayView<float> _values;

    /// <param name="operand">What is copied, from <paramref name="firstKept"/> and <paramref name="start"/> on.</param>
    /// <param name="firstKept">The tile's first row or column.</param>
    /// <param name="kept">Rows or columns of the operand.</param>
    /// <param name="start">First of the summed dimension.</param>
    /// <param name="summed">Length of the summed dimension.</param>
    /// <param name="thread">Number of the thread.</param>
    /// <param name="threads">Threads of the group.</param>
    /// <param name="side">Rows or columns of the tile.</param>
    /// <param name="depth">How much of the summed dimension is copied in a step.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Loader(Operand operand, int firstKept, int kept, int start, int summed, int thread, int threads, int side, int depth)
    {
        int across = TLayout.SummedIsContiguous ? depth / 4 : side / 4;
        int contiguous = (thread & (across - 1)) * 4, other = thread / across;
        _step = TLayout.SummedIsContiguous ? depth : depth * operand.Stride;
        _side = side;
        _quadruples = side * depth / (4 * threads);
        // A thread's quadruples are in line, across the direction in which the operand is contiguous.
        _apart = threads / across;
        _summed = TLayout.SummedIsContiguous ? contiguous : other;
        int tileKept = TLayout.SummedIsContiguous ? other : contiguous;
        Place = (_summed * (side + 4)) + tileKept;
        // Rows and columns outside the operand are those at its edge again: nobody keeps what is computed of them.
        int last = kept - 1 - firstKept;
        // A thread that has nothing to read stays within the operand.
        int firstSummed = IntrinsicMath.Min(start + _summed, summed - 1);
        if (TLayout.SummedIsContiguous)
        {
            int first = IntrinsicMath.Min(tileKept, last);
            _values = operand.Values.SubView(((long)(firstKept + first) * operand.Stride) + firstSummed);
            _keptLeft = 0;
            _second = (IntrinsicMath.Min(tileKept + _apart, last) - first) * operand.Stride;
            _third = (IntrinsicMath.Min(tileKept + (2 * _apart), last) - first) * operand.Stride;
            _fourth = (IntrinsicMath.Min(tileKept + (3 * _apart), last) - first) * operand.Stride;
        }
        else
        {
            tileKept = IntrinsicMath.Min(tileKept, last & ~3);
            _values = operand.Values.SubView(((long)firstSummed * operand.Stride) + firstKept + tileKept);
            _keptLeft = last + 1 - tileKept;
            _second = _apart * operand.Stride;
            _third = 2 * _apart * operand.Stride;
            _fourth = 3 * _apart * operand.Stride;
        }
    }

    /// <summary>Where in the operand's buffer the thread stores.</summary>
    public int Place { get; }

    /// <summary>The operand's part in the first step, where so many are left to sum; zeros after those.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly Quadruples LoadFirst(int left) => Load(left);

    /// <summary>Likewise in the next step.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Quadruples LoadNext(int left)
    {
        _values = _values.SubView(left > _summed ? _step : 0);
        return Load(left);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly Quadruples Load(int left)
    {
        int apart = TLayout.SummedIsContiguous ? 0 : _apart;
        var result = default(Quadruples);
        result.First = Load(0, left, _summed);
        if (_quadruples > 1)
            result.Second = Load(_second, left, _summed + apart);
        if (_quadruples > 2)
        {
            result.Third = Load(_third, left, _summed + (2 * apart));
            result.Fourth = Load(_fourth, left, _summed + (3 * apart));
        }
        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly Float4 Load(int further, int left, int summed)
    {
        if (TAccess.Wide)
            return left > summed ? Float4.Wide(_values, further)[0] : default;
        return Float4.Load(_values, further, TLayout.SummedIsContiguous ? left - summed : left > summed ? _keptLeft : 0, wide: false);
    }

    /// <summary>Stores a step's part in the buffer, from the thread's place on.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Store(ArrayView<byte> bytes, in Quadruples values)
    {
        var place = bytes.Cast<float>();
        Store(place, 0, values.First);
        if (_quadruples > 1)
            Store(place, _apart, values.Second);
        if (_quadruples > 2)
        {
            Store(place, 2 * _apart, values.Third);
            Store(place, 3 * _apart, values.Fourth);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly void Store(ArrayView<float> place, int further, in Float4 value)
    {
        int stride = _side + 4;
        if (TLayout.SummedIsContiguous)
        {
            place[further] = value.X;
            place[further + stride] = value.Y;
            place[further + (2 * stride)] = value.Z;
            place[further + (3 * stride)] = value.W;
        }
        else
        {
            Float4.Wide(place, further * stride)[0] = value;
        }
    }
}

/// <summary>What a thread copies in a step; a tile uses as many as it has.</summary>
internal struct Quadruples
{
    public Float4 First;
    public Float4 Second;
    public Float4 Third;
    public Float4 Fourth;
}

/// <summary>The 8 × 8 results of a thread, in registers: which one is meant must be known to the compiler, hence the names.</summary>
internal struct Sums
{
    public RowOfSums Row0;
    public RowOfSums Row1;
    public RowOfSums Row2;
    public RowOfSums Row3;
    public RowOfSums Row4;
    public RowOfSums Row5;
    public RowOfSums Row6;
    public RowOfSums Row7;

    /// <summary>Adds the outer product of a column of a and a row of b.</summary>
    /// <param name="a">The thread's rows of a.</param>
    /// <param name="b">The thread's columns of b.</param>
    /// <param name="column">Where the column starts in a, in quadruples.</param>
    /// <param name="row">Where the row starts in b.</param>
    /// <param name="across">From the thread's left columns to its right ones.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Add(ArrayView<Float4> a, ArrayView<Float4> b, int column, int row, int across)
    {
        Float4 upper = a[column], lower = a[column + 4], left = b[row], right = b[row + across];
        Row0.Add(upper.X, left, right);
        Row1.Add(upper.Y, left, right);
        Row2.Add(upper.Z, left, right);
        Row3.Add(upper.W, left, right);
        Row4.Add(lower.X, left, right);
        Row5.Add(lower.Y, left, right);
        Row6.Add(lower.Z, left, right);
        Row7.Add(lower.W, left, right);
    }
}

/// <summary>Eight results of a row.</summary>
internal struct RowOfSums
{
    public Float4 Left;
    public Float4 Right;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Add(float a, in Float4 left, in Float4 right)
    {
        Left.X += a * left.X;
        Left.Y += a * left.Y;
        Left.Z += a * left.Z;
        Left.W += a * left.W;
        Right.X += a * right.X;
        Right.Y += a * right.Y;
        Right.Z += a * right.Z;
        Right.W += a * right.W;
    }
}
