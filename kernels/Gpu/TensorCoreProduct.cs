using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// <see cref="TiledProduct{TA, TB, TEpilogue}"/> on tensor cores: the same tiles, loads and epilogues, but a warp multiplies its 64 × 32
/// results together, 16 × 8 at a time. Which rows, columns and summed steps the instruction calls the first, the second and so on is for us to
/// say, as long as both operands agree. They are named so that what a thread has to give lies side by side in shared memory, and what it gets
/// are neighbouring columns of c: rows 2·group and 2·group + 1 of sixteen are the instruction's rows 'group' and 'group + 8', columns
/// 4·group to 4·group + 3 of 32 are column 'group' of four instructions, and steps 2·member and 2·member + 1 of eight are steps 'member' and
/// 'member + 4'.
/// </summary>
internal static class TensorCoreProduct<TA, TB, TEpilogue>
    where TA : struct, ILayout
    where TB : struct, ILayout
    where TEpilogue : struct, IEpilogue
{
    /// <summary>Of what a warp multiplies: rows are 64 and columns 32.</summary>
    private const int WarpSize = 32, WarpRows = 64, WarpColumns = 32;

    /// <summary>Steps along the summed dimension for which operands are in shared memory at a time, and those of an instruction.</summary>
    private const int Depth = 16, InstructionDepth = 8;

    public static void Kernel<TTile, TAccess, TCore>(ProductArguments<TEpilogue> arguments)
        where TTile : struct, ITile
        where TAccess : struct, IAccess
        where TCore : struct, ITensorCore
    {
        // Four floats more than the tile: the threads of a warp then read from different banks.
        int strideA = TTile.Rows + 4, strideB = TTile.Columns + 4;
        int threads = TTile.Rows * TTile.Columns / 64;
        var shared = SharedMemory.Allocate<float>(2 * Depth * (TTile.Rows + TTile.Columns + 8));
        var exchange = TCore.ExchangedFloats > 0 ? SharedMemory.Allocate<float>(threads * TCore.ExchangedFloats) : default;
        int rowTile = arguments.RowsFirst != 0 ? Grid.IdxX : Grid.IdxY, columnTile = arguments.RowsFirst != 0 ? Grid.IdxY : Grid.IdxX;
        int firstRow = rowTile * TTile.Rows, firstColumn = columnTile * TTile.Columns;
        int start = Grid.IdxZ * arguments.SummedPerSplit;
        int end = IntrinsicMath.Min(arguments.Summed, start + arguments.SummedPerSplit);

        int thread = Group.IdxX, warp = thread / WarpSize, group = thread % WarpSize / 4, member = thread % 4;
        int warpsAcross = TTile.Columns / WarpColumns;
        int warpRow = warp / warpsAcross * WarpRows, warpColumn = warp % warpsAcross * WarpColumns;

        var a = new Loader<TA, TAccess>(arguments.A, firstRow, arguments.Rows, start, arguments.Summed, thread, threads, TTile.Rows, Depth);
        var b = new Loader<TB, TAccess>(
            arguments.B, firstColumn, arguments.Columns, start, arguments.Summed, thread, threads, TTile.Columns, Depth);
        // Places in shared memory are in bytes.
        int bufferOfB = Depth * strideA, otherBuffer = Depth * (strideA + strideB) * sizeof(float);
        int storeA = a.Place * sizeof(float), storeB = (bufferOfB + b.Place) * sizeof(float);
        int readA = ((2 * member * strideA) + warpRow + (2 * group)) * sizeof(float);
        int readB = (bufferOfB + (2 * member * strideB) + warpColumn + (4 * group)) * sizeof(float);
        var bytes = shared.Cast<byte>();
        int left = end - start;
        a.Store(bytes.SubView(storeA), Round<TCore>(a.LoadFirst(left)));
        b.Store(bytes.SubView(storeB), Round<TCore>(b.LoadFirst(left)));
        storeA += otherBuffer;
        storeB += otherBuffer;
        left -= Depth;
        var nextA = a.LoadNext(left);
        var nextB = b.LoadNext(left);
        Group.Barrier();

        var sums = default(Sums);
        while (left > -Depth)
        {
            ArrayView<Float2> rowsOfA = bytes.SubView(readA).Cast<Float2>().AsAligned(8);
            ArrayView<Float4> columnsOfB = bytes.SubView(readB).Cast<Float4>().AsAligned(16);
            Add<TCore>(ref sums, rowsOfA, columnsOfB, strideA / 2, strideB / 4, exchange);
            Add<TCore>(
                ref sums, rowsOfA.SubView(InstructionDepth * strideA / 2), columnsOfB.SubView(InstructionDepth * strideB / 4),
                strideA / 2, strideB / 4, exchange);
            a.Store(bytes.SubView(storeA), Round<TCore>(nextA));
            b.Store(bytes.SubView(storeB), Round<TCore>(nextB));
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
            Left = firstColumn + warpColumn + (8 * member),
            Right = firstColumn + warpColumn + (8 * member) + 4,
            TileColumn = columnTile,
            ThreadOfRow = (warp % warpsAcross * 4) + member,
            Split = Grid.IdxZ,
            Wide = TAccess.Wide,
            Shared = shared,
        };
        int r = firstRow + warpRow + (2 * group);
        arguments.Epilogue.Row(place, r, sums.Row0.Left, sums.Row0.Right);
        arguments.Epilogue.Row(place, r + 1, sums.Row1.Left, sums.Row1.Right);
        arguments.Epilogue.Row(place, r + 16, sums.Row2.Left, sums.Row2.Right);
        arguments.Epilogue.Row(place, r + 17, sums.Row3.Left, sums.Row3.Right);
        arguments.Epilogue.Row(place, r + 32, sums.Row4.Left, sums.Row4.Right);
        arguments.Epilogue.Row(place, r + 33, sums.Row5.Left, sums.Row5.Right);
        arguments.Epilogue.Row(place, r + 48, sums.Row6.Left, sums.Row6.Right);
        arguments.Epilogue.Row(place, r + 49, sums.Row7.Left, sums.Row7.Right);
        arguments.Epilogue.End(place);
    }

    /// <summary>
    /// Eight steps: 4 × 4 instructions of 16 rows and 8 columns each. Of an instruction the thread has two rows; its column 2·member there is one
    /// of the thread's four left columns, and 2·member + 1 one of its right ones.
    /// </summary>
    /// <param name="sums">Eight rows of the thread's, with eight columns each.</param>
    /// <param name="a">The thread's first two rows at step 2·member; the next are 16 further down.</param>
    /// <param name="b">Its columns at the same step.</param>
    /// <param name="nextA">To the step after that, in pairs.</param>
    /// <param name="nextB">Likewise, in quadruples.</param>
    /// <param name="exchange">For the emulation.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add<TCore>(
        ref Sums sums, ArrayView<Float2> a, ArrayView<Float4> b, int nextA, int nextB, ArrayView<float> exchange)
        where TCore : struct, ITensorCore
    {
        Float2 first = a[0], second = a[8], third = a[16], fourth = a[24];
        Float2 nextFirst = a[nextA], nextSecond = a[nextA + 8], nextThird = a[nextA + 16], nextFourth = a[nextA + 24];
        Float4 columns = b[0], next = b[nextB];
        TCore.MultiplyAdd(
            ref sums.Row0.Left.X, ref sums.Row0.Right.X, ref sums.Row1.Left.X, ref sums.Row1.Right.X,
            first, nextFirst, columns.X, next.X, exchange);
        TCore.MultiplyAdd(
            ref sums.Row2.Left.X, ref sums.Row2.Right.X, ref sums.Row3.Left.X, ref sums.Row3.Right.X,
            second, nextSecond, columns.X, next.X, exchange);
        TCore.MultiplyAdd(
            ref sums.Row4.Left.X, ref sums.Row4.Right.X, ref sums.Row5.Left.X, ref sums.Row5.Right.X,
            third, nextThird, columns.X, next.X, exchange);
        TCore.MultiplyAdd(
            ref sums.Row6.Left.X, ref sums.Row6.Right.X, ref sums.Row7.Left.X, ref sums.Row7.Right.X,
            fourth, nextFourth, columns.X, next.X, exchange);
        TCore.MultiplyAdd(
            ref sums.Row0.Left.Y, ref sums.Row0.Right.Y, ref sums.Row1.Left.Y, ref sums.Row1.Right.Y,
            first, nextFirst, columns.Y, next.Y, exchange);
        TCore.MultiplyAdd(
            ref sums.Row2.Left.Y, ref sums.Row2.Right.Y, ref sums.Row3.Left.Y, ref sums.Row3.Right.Y,
            second, nextSecond, columns.Y, next.Y, exchange);
        TCore.MultiplyAdd(
            ref sums.Row4.Left.Y, ref sums.Row4.Right.Y, ref sums.Row5.Left.Y, ref sums.Row5.Right.Y,
            third, nextThird, columns.Y, next.Y, exchange);
        TCore.MultiplyAdd(
            ref sums.Row6.Left.Y, ref sums.Row6.Right.Y, ref sums.Row7.Left.Y, ref sums.Row7.Right.Y,
            fourth, nextFourth, columns.Y, next.Y, exchange);
        TCore.MultiplyAdd(
            ref sums.Row0.Left.Z, ref sums.Row0.Right.Z, ref sums.Row1.Left.Z, ref sums.Row1.Right.Z,
            first, nextFirst, columns.Z, next.Z, exchange);
        TCore.MultiplyAdd(
            ref sums.Row2.Left.Z, ref sums.Row2.Right.Z, ref sums.Row3.Left.Z, ref sums.Row3.Right.Z,
            second, nextSecond, columns.Z, next.Z, exchange);
        TCore.MultiplyAdd(
            ref sums.Row4.Left.Z, ref sums.Row4.Right.Z, ref sums.Row5.Left.Z, ref sums.Row5.Right.Z,
            third, nextThird, columns.Z, next.Z, exchange);
        TCore.MultiplyAdd(
            ref sums.Row6.Left.Z, ref sums.Row6.Right.Z, ref sums.Row7.Left.Z, ref sums.Row7.Right.Z,
            fourth, nextFourth, columns.Z, next.Z, exchange);
        TCore.MultiplyAdd(
            ref sums.Row0.Left.W, ref sums.Row0.Right.W, ref sums.Row1.Left.W, ref sums.Row1.Right.W,
            first, nextFirst, columns.W, next.W, exchange);
        TCore.MultiplyAdd(
            ref sums.Row2.Left.W, ref sums.Row2.Right.W, ref sums.Row3.Left.W, ref sums.Row3.Right.W,
            second, nextSecond, columns.W, next.W, exchange);
        TCore.MultiplyAdd(
            ref sums.Row4.Left.W, ref sums.Row4.Right.W, ref sums.Row5.Left.W, ref sums.Row5.Right.W,
            third, nextThird, columns.W, next.W, exchange);
        TCore.MultiplyAdd(
            ref sums.Row6.Left.W, ref sums.Row6.Right.W, ref sums.Row7.Left.W, ref sums.Row7.Right.W,
            fourth, nextFourth, columns.W, next.W, exchange);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Quadruples Round<TCore>(Quadruples values)
        where TCore : struct, ITensorCore
    {
        values.First = RoundFour<TCore>(values.First);
        values.Second = RoundFour<TCore>(values.Second);
        values.Third = RoundFour<TCore>(values.Third);
        values.Fourth = RoundFour<TCore>(values.Fourth);
        return values;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 RoundFour<TCore>(Float4 x)
        where TCore : struct, ITensorCore => new(TCore.Round(x.X), TCore.Round(x.Y), TCore.Round(x.Z), TCore.Round(x.W));
}
