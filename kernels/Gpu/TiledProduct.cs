using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace Bert4Rec.Kernels.Gpu;

// The product that every dense layer is made of: c = a · b, for operands that lie in memory either way. A group computes a square tile of c:
// it walks along the summed dimension, each step copying eight columns of a and rows of b to shared memory, and each thread keeps 8 × 8
// results in registers, so that a float read from shared memory is used eight times. While a step is multiplied, the next one's operands are
// already on their way from memory; shared memory has two buffers, and a step one barrier.

/// <summary>The side of a tile. A thread has 8 × 8 results, so a group has side² / 64 threads.</summary>
internal interface ITile
{
    static abstract int Side { get; }
}

/// <summary>For products with tiles enough to fill the device.</summary>
internal readonly struct LargeTile : ITile
{
    public static int Side => 128;
}

/// <summary>For the others: four times as many groups.</summary>
internal readonly struct SmallTile : ITile
{
    public static int Side => 64;
}

/// <summary>For devices with groups of 16 threads: the simulator.</summary>
internal readonly struct TinyTile : ITile
{
    public static int Side => 32;
}

/// <summary>How an operand lies in memory: which of its dimensions has neighbours beside each other, the summed one or the kept one.</summary>
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
internal readonly struct TilePlace(
    int rows, int columns, int firstRow, int left, int right, int tileColumn, int side, int threadOfRow, int split, bool wide, ArrayView<float> shared)
{
    /// <summary>The size of c.</summary>
    public readonly int Rows = rows;
    public readonly int Columns = columns;

    /// <summary>The tile's first row in c.</summary>
    public readonly int FirstRow = firstRow;

    /// <summary>First of the thread's four columns to the left, and to the right, in c.</summary>
    public readonly int Left = left;
    public readonly int Right = right;

    /// <summary>Number of the tile in its row of tiles.</summary>
    public readonly int TileColumn = tileColumn;

    public readonly int Side = side;

    /// <summary>Which of the Side / 8 threads that share a row this is.</summary>
    public readonly int ThreadOfRow = threadOfRow;

    /// <summary>Which part of the summed dimension.</summary>
    public readonly int Split = split;

    /// <summary>Whether everything involved may be accessed four floats at a time.</summary>
    public readonly bool Wide = wide;

    /// <summary>The group's shared memory, 32 · (Side + 4) floats, free again after a barrier.</summary>
    public readonly ArrayView<float> Shared = shared;
}

/// <summary>An operand: [kept, summed] or [summed, kept], rows <see cref="Stride"/> apart.</summary>
internal readonly record struct Operand(ArrayView<float> Values, int Stride);

/// <summary>What a product kernel is told.</summary>
internal readonly record struct ProductArguments<TEpilogue>(
    Operand A, Operand B, TEpilogue Epilogue, int Rows, int Columns, int Summed, int SummedPerSplit, int RowsFirst)
    where TEpilogue : struct;

/// <summary>c = a · b with operands laid out in one way and one epilogue: a kernel for every tile and access, compiled when first used.</summary>
internal sealed class TiledProduct<TA, TB, TEpilogue>
    where TA : struct, ILayout
    where TB : struct, ILayout
    where TEpilogue : struct, IEpilogue
{
    /// <summary>Steps along the summed dimension for which operands are in shared memory at a time.</summary>
    private const int Depth = 8;

    private readonly GpuDevice _device;
    private readonly Variant? _large;
    private readonly Variant _small;

    public TiledProduct(GpuDevice device)
    {
        _device = device;
        _small = device.GroupSize >= 64 ? Variant.Of<SmallTile>(device) : Variant.Of<TinyTile>(device);
        _large = device.GroupSize >= 256 ? Variant.Of<LargeTile>(device) : null;
    }

    /// <summary>Tiles side by side in a row of tiles, as epilogues see them.</summary>
    public int TileColumns(int rows, int columns) => Tiles(columns, Choose(rows, columns, 1));

    public int Side(int rows, int columns, int splits) => Choose(rows, columns, splits).Side;

    /// <summary>
    /// Into how many parts the summed dimension is worth splitting: as many as it takes to fill the device, none shorter than
    /// <paramref name="minimum"/>.
    /// </summary>
    public int Splits(int rows, int columns, int summed, int minimum = 128)
    {
        int longest = Math.Max(1, summed / minimum);
        long tiles = (long)Tiles(rows, Choose(rows, columns, longest)) * Tiles(columns, Choose(rows, columns, longest));
        return (int)Math.Clamp(Wanted / Math.Max(1, tiles), 1, longest);
    }

    /// <summary>Groups that fill the device.</summary>
    private int Wanted => Math.Max(8, 4 * _device.Accelerator.NumMultiprocessors);

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
        int perSplit = (((summed + splits - 1) / splits) + Depth - 1) / Depth * Depth;
        bool wide = GpuDevice.IsAligned(a.Values) && a.Stride % 4 == 0 && GpuDevice.IsAligned(b.Values) && b.Stride % 4 == 0 && epilogue.CanBeWide;
        // Groups start in order of X: those that run together share what there is more of.
        int rowTiles = Tiles(rows, variant), columnTiles = Tiles(columns, variant);
        bool rowsFirst = rowTiles < columnTiles;
        (wide ? variant.Wide : variant.Narrow).Launch(
            rowsFirst ? new Index3D(rowTiles, columnTiles, splits) : new Index3D(columnTiles, rowTiles, splits),
            new(a, b, epilogue, rows, columns, summed, perSplit, rowsFirst ? 1 : 0));
    }

    private Variant Choose(int rows, int columns, int splits) =>
        _large is not null && (long)Tiles(rows, _large) * Tiles(columns, _large) * splits >= Wanted / 2 ? _large : _small;

    private static int Tiles(int size, Variant variant) => (size + variant.Side - 1) / variant.Side;

    private static void Kernel<TTile, TAccess>(ProductArguments<TEpilogue> arguments)
        where TTile : struct, ITile
        where TAccess : struct, IAccess
    {
        int side = TTile.Side;
        bool wide = TAccess.Wide;
        int rowOfBuffer = side + 4; // So that a transposing store meets different banks.
        int operandFloats = Depth * rowOfBuffer;
        var shared = SharedMemory.Allocate<float>(32 * (TTile.Side + 4));
        int rowTile = arguments.RowsFirst != 0 ? Grid.IdxX : Grid.IdxY, columnTile = arguments.RowsFirst != 0 ? Grid.IdxY : Grid.IdxX;
        int firstRow = rowTile * side, firstColumn = columnTile * side;
        int start = Grid.IdxZ * arguments.SummedPerSplit;
        int end = IntrinsicMath.Min(arguments.Summed, start + arguments.SummedPerSplit);

        // The thread's part of the tile. Blocks of 4 × 8 threads have 32 × 64 results, and a thread two quadruples of rows and of columns
        // of them: neighbouring threads then read neighbouring quadruples, without bank conflicts.
        int across = IntrinsicMath.Min(8, side / 8), blocks = side / (8 * across);
        int thread = Group.IdxX;
        int threadColumn = thread & (across - 1), threadRow = (thread / across) & 3, block = thread / (4 * across);
        int row = (block / blocks * 32) + (threadRow * 4);
        int column = ((block & (blocks - 1)) * 8 * across) + (threadColumn * 4);

        // All that changes from step to step is carried along, so that a step has next to nothing to do but multiply.
        var a = new Loader<TTile, TA, TAccess>(arguments.A, firstRow, arguments.Rows, start, end, thread, 0);
        var b = new Loader<TTile, TB, TAccess>(arguments.B, firstColumn, arguments.Columns, start, end, thread, operandFloats);
        int readA = row / 4, readB = (operandFloats + column) / 4;
        int otherBuffer = operandFloats / 2; // Quadruples to the other buffer.
        var nextA = a.Load();
        var nextB = b.Load();
        a.Store(shared, nextA, 4 * otherBuffer);
        b.Store(shared, nextB, 4 * otherBuffer);
        Group.Barrier();

        var shared4 = shared.Cast<Float4>().AsAligned(16);
        var sums = default(Sums);
        for (int left = end - start; left > 0; left -= Depth)
        {
            nextA = a.Load();
            nextB = b.Load();
            var rowsOfA = shared4.SubView(readA);
            var columnsOfB = shared4.SubView(readB);
            sums.Add(rowsOfA, columnsOfB, 0, rowOfBuffer / 4, across);
            sums.Add(rowsOfA, columnsOfB, 1, rowOfBuffer / 4, across);
            sums.Add(rowsOfA, columnsOfB, 2, rowOfBuffer / 4, across);
            sums.Add(rowsOfA, columnsOfB, 3, rowOfBuffer / 4, across);
            sums.Add(rowsOfA, columnsOfB, 4, rowOfBuffer / 4, across);
            sums.Add(rowsOfA, columnsOfB, 5, rowOfBuffer / 4, across);
            sums.Add(rowsOfA, columnsOfB, 6, rowOfBuffer / 4, across);
            sums.Add(rowsOfA, columnsOfB, 7, rowOfBuffer / 4, across);
            readA += otherBuffer;
            readB += otherBuffer;
            otherBuffer = -otherBuffer;
            a.Store(shared, nextA, 4 * otherBuffer);
            b.Store(shared, nextB, 4 * otherBuffer);
            Group.Barrier();
        }

        int threadOfRow = ((block & (blocks - 1)) * across) + threadColumn;
        int leftColumn = firstColumn + column;
        var place = new TilePlace(
            arguments.Rows, arguments.Columns, firstRow, leftColumn, leftColumn + (4 * across), columnTile, side, threadOfRow, Grid.IdxZ, wide, shared);
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
    private sealed record Variant(int Side, GpuKernel<ProductArguments<TEpilogue>> Wide, GpuKernel<ProductArguments<TEpilogue>> Narrow)
    {
        public static Variant Of<TTile>(GpuDevice device)
            where TTile : struct, ITile
        {
            int side = TTile.Side;
            return new(
                side,
                device.Load<ProductArguments<TEpilogue>>(Kernel<TTile, WideAccess>, side * side / 64),
                device.Load<ProductArguments<TEpilogue>>(Kernel<TTile, NarrowAccess>, side * side / 64));
        }
    }
}

/// <summary>A thread's share in copying an operand to shared memory, where it lies [summed, kept]: 128 / Side quadruples a step.</summary>
internal struct Loader<TTile, TLayout, TAccess>
    where TTile : struct, ITile
    where TLayout : struct, ILayout
    where TAccess : struct, IAccess
{
    private readonly ArrayView<float> _values;
    private readonly long _step;
    private Cursor _first;
    private Cursor _second;
    private Cursor _third;
    private Cursor _fourth;
    private int _place;

    /// <param name="operand">What is copied, from <paramref name="firstKept"/> and <paramref name="start"/> on.</param>
    /// <param name="firstKept">The tile's first row or column.</param>
    /// <param name="kept">Rows or columns of the operand.</param>
    /// <param name="start">First of the summed dimension.</param>
    /// <param name="end">Its end.</param>
    /// <param name="thread">Number of the thread.</param>
    /// <param name="buffer">Where the operand's first buffer starts in shared memory.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Loader(Operand operand, int firstKept, int kept, int start, int end, int thread, int buffer)
    {
        int across = TLayout.SummedIsContiguous ? 2 : TTile.Side / 4;
        int contiguous = (thread & (across - 1)) * 4, other = thread / across;
        int tileSummed = TLayout.SummedIsContiguous ? contiguous : other, tileKept = TLayout.SummedIsContiguous ? other : contiguous;
        _place = buffer + (tileSummed * (TTile.Side + 4)) + tileKept;
        _values = operand.Values;
        _step = TLayout.SummedIsContiguous ? 8L : 8L * operand.Stride;
        _first = At(operand.Stride, firstKept + tileKept, kept, start + tileSummed, end, 0);
        _second = At(operand.Stride, firstKept + tileKept, kept, start + tileSummed, end, 1);
        _third = At(operand.Stride, firstKept + tileKept, kept, start + tileSummed, end, 2);
        _fourth = At(operand.Stride, firstKept + tileKept, kept, start + tileSummed, end, 3);
    }

    /// <summary>From one of a thread's quadruples to the next, against the direction in which the operand is contiguous.</summary>
    private static int Apart => TLayout.SummedIsContiguous ? TTile.Side * TTile.Side / 128 : TTile.Side / 16;

    /// <summary>The operand's part in the next step; zeros outside the operand.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Quadruples Load()
    {
        var result = default(Quadruples);
        result.First = _first.Load<TLayout, TAccess>(_values, _step);
        if (TTile.Side < 128)
            result.Second = _second.Load<TLayout, TAccess>(_values, _step);
        if (TTile.Side < 64)
        {
            result.Third = _third.Load<TLayout, TAccess>(_values, _step);
            result.Fourth = _fourth.Load<TLayout, TAccess>(_values, _step);
        }
        return result;
    }

    /// <summary>Stores a step's part in one buffer and turns to the other, which is <paramref name="otherBuffer"/> floats away.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Store(ArrayView<float> shared, in Quadruples values, int otherBuffer)
    {
        var place = shared.SubView(_place);
        Store(place, 0, values.First);
        if (TTile.Side < 128)
            Store(place, 1, values.Second);
        if (TTile.Side < 64)
        {
            Store(place, 2, values.Third);
            Store(place, 3, values.Fourth);
        }
        _place += otherBuffer;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(ArrayView<float> place, int quadruple, in Float4 value)
    {
        int stride = TTile.Side + 4;
        if (TLayout.SummedIsContiguous)
        {
            place[quadruple * Apart] = value.X;
            place[(quadruple * Apart) + stride] = value.Y;
            place[(quadruple * Apart) + (2 * stride)] = value.Z;
            place[(quadruple * Apart) + (3 * stride)] = value.W;
        }
        else
        {
            Float4.Wide(place, quadruple * Apart * stride)[0] = value;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Cursor At(int stride, int firstKept, int kept, int summed, int end, int quadruple)
    {
        if (TLayout.SummedIsContiguous)
            firstKept += quadruple * Apart;
        else
            summed += quadruple * Apart;
        long offset = TLayout.SummedIsContiguous ? ((long)firstKept * stride) + summed : ((long)summed * stride) + firstKept;
        return new(offset, firstKept < kept ? end - summed : 0, kept - firstKept);
    }
}

/// <summary>Where a quadruple is read next, and how much is left there.</summary>
internal struct Cursor(long offset, int summedLeft, int keptLeft)
{
    private readonly int _keptLeft = keptLeft;
    private long _offset = offset;
    private int _summedLeft = summedLeft;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Float4 Load<TLayout, TAccess>(ArrayView<float> values, long step)
        where TLayout : struct, ILayout
        where TAccess : struct, IAccess
    {
        int count = TLayout.SummedIsContiguous || TAccess.Wide ? _summedLeft : _summedLeft > 0 ? _keptLeft : 0;
        var result = Float4.Load(values, _offset, count, TAccess.Wide);
        _offset += step;
        _summedLeft -= 8;
        return result;
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

    /// <summary>Adds the outer product of column <paramref name="k"/> of a and row k of b.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Add(ArrayView<Float4> a, ArrayView<Float4> b, int k, int stride, int across)
    {
        Float4 upper = a[k * stride], lower = a[(k * stride) + 4];
        Float4 left = b[k * stride], right = b[(k * stride) + across];
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
