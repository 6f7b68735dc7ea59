using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// What multiplies in a <see cref="Product{TA, TB, TEpilogue}"/>: which results of a tile a thread has, and how it adds to them what
/// the operands in shared memory contribute, a [BK / StepsPerFloat, BM] and b [BK / StepsPerFloat, BN], rows
/// <see cref="SharedTile.RowLength"/> apart.
/// </summary>
internal interface IMicroKernel
{
    /// <summary>Steps along the K dimension for which operands are in shared memory at a time.</summary>
    static abstract int BK<TTile>()
        where TTile : struct, ITile;

    /// <summary>Of them, those that a float of shared memory holds: 1, or 2 whose operands take half of it.</summary>
    static abstract int StepsPerFloat { get; }

    /// <summary>What an operand becomes on its way to shared memory, with that of the next step where a float holds two.</summary>
    static abstract float Convert(float x, float next);

    static abstract ThreadPlace Locate<TTile>(int thread)
        where TTile : struct, ITile;

    /// <summary>From the thread's first row to its row i.</summary>
    static abstract int RowOffset(int i);

    /// <summary>From the thread's first column to those of <see cref="ThreadTile.Row.Right"/>.</summary>
    static abstract int ColumnsToRight<TTile>()
        where TTile : struct, ITile;

    /// <summary>c += a · b over BK steps; executed by all threads of the group at the same time.</summary>
    /// <param name="c">The thread's results.</param>
    /// <param name="a">From <see cref="ThreadPlace.A"/> on.</param>
    /// <param name="b">From <see cref="ThreadPlace.B"/> on.</param>
    static abstract void MultiplyAdd<TTile>(ref ThreadTile c, ArrayView<byte> a, ArrayView<byte> b)
        where TTile : struct, ITile;
}

/// <summary>How operands lie in shared memory.</summary>
internal static class SharedTile
{
    /// <summary>Rows are four floats longer than the tile, so that what threads access at the same time lies in different banks.</summary>
    public static int RowLength(int side) => side + 4;
}

/// <summary>Where a thread begins.</summary>
/// <param name="A">Reading a in shared memory.</param>
/// <param name="B">Reading b there.</param>
/// <param name="Row">Its first row in the tile.</param>
/// <param name="Column">Its first column in the tile.</param>
internal readonly record struct ThreadPlace(int A, int B, int Row, int Column);

/// <summary>
/// The TM × TN results of a thread, in registers: which one is meant must be known to the compiler, hence the names. Threads with 4 × 4
/// have the first four rows, and of each <see cref="Row.Left"/>.
/// </summary>
internal struct ThreadTile
{
    public Row Row0;
    public Row Row1;
    public Row Row2;
    public Row Row3;
    public Row Row4;
    public Row Row5;
    public Row Row6;
    public Row Row7;

    /// <summary>Stores it, each float4 so far behind the one before.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Store<TTile>(ArrayView<Float4> place, int apart)
        where TTile : struct, ITile
    {
        Row0.Store<TTile>(place, 0, apart);
        Row1.Store<TTile>(place, 1, apart);
        Row2.Store<TTile>(place, 2, apart);
        Row3.Store<TTile>(place, 3, apart);
        if (TTile.TM == 4)
            return;
        Row4.Store<TTile>(place, 4, apart);
        Row5.Store<TTile>(place, 5, apart);
        Row6.Store<TTile>(place, 6, apart);
        Row7.Store<TTile>(place, 7, apart);
    }

    /// <summary>Adds what <see cref="Store"/> stored.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Add<TTile>(ArrayView<Float4> place, int apart)
        where TTile : struct, ITile
    {
        Row0.Add<TTile>(place, 0, apart);
        Row1.Add<TTile>(place, 1, apart);
        Row2.Add<TTile>(place, 2, apart);
        Row3.Add<TTile>(place, 3, apart);
        if (TTile.TM == 4)
            return;
        Row4.Add<TTile>(place, 4, apart);
        Row5.Add<TTile>(place, 5, apart);
        Row6.Add<TTile>(place, 6, apart);
        Row7.Add<TTile>(place, 7, apart);
    }

    /// <summary>A row of them: TN columns in two runs of four.</summary>
    internal struct Row
    {
        public Float4 Left;
        public Float4 Right;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Add<TTile>(float a, in Float4 left, in Float4 right)
            where TTile : struct, ITile
        {
            Left.X += a * left.X;
            Left.Y += a * left.Y;
            Left.Z += a * left.Z;
            Left.W += a * left.W;
            if (TTile.TN == 4)
                return;
            Right.X += a * right.X;
            Right.Y += a * right.Y;
            Right.Z += a * right.Z;
            Right.W += a * right.W;
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly void Store<TTile>(ArrayView<Float4> place, int row, int apart)
            where TTile : struct, ITile
        {
            int at = row * TTile.TN / 4 * apart;
            place[at] = Left;
            if (TTile.TN > 4)
                place[at + apart] = Right;
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Add<TTile>(ArrayView<Float4> place, int row, int apart)
            where TTile : struct, ITile
        {
            int at = row * TTile.TN / 4 * apart;
            Left += place[at];
            if (TTile.TN > 4)
                Right += place[at + apart];
        }
    }
}

/// <summary>
/// Multiply-adds in float32, on every device: a step adds the outer product of TM floats of a and TN floats of b. 4 × 8 threads have 32 ×
/// 64 results, each thread four blocks of 4 × 4, so that what neighbours read lies side by side and meets no bank twice:
/// <code>
///  column    0    4    8         28        32   36   40        60
///         +----+----+----+ … +----+     +----+----+----+ … +----+
///  row  0 |  0 |  1 |  2 |   |  7 |     |  0 |  1 |  2 |   |  7 |   rows 0 to 3 of each thread
///       4 |  8 |  9 | 10 |   | 15 |     |  8 |  9 | 10 |   | 15 |
///       8 | 16 | 17 | 18 |   | 23 |     | 16 | 17 | 18 |   | 23 |
///      12 | 24 | 25 | 26 |   | 31 |     | 24 | 25 | 26 |   | 31 |
///         +----+----+----+ … +----+     +----+----+----+ … +----+
///      16 |  0 |  1 |  2 |   |  7 |     |  0 |  1 |  2 |   |  7 |   rows 4 to 7
///      20 |  8 |  9 | 10 |   | 15 |     |  8 |  9 | 10 |   | 15 |
///      24 | 16 | 17 | 18 |   | 23 |     | 16 | 17 | 18 |   | 23 |
///      28 | 24 | 25 | 26 |   | 31 |     | 24 | 25 | 26 |   | 31 |
///         +----+----+----+ … +----+     +----+----+----+ … +----+
///                  Left                          Right
/// </code>
/// The threads after these have the next 32 rows or, where a tile is wider, the next columns; a tile of 32 columns has 4 × 4 threads.
/// Threads with 4 × 4 results have the upper left block of the four, 16 × 32 together.
/// </summary>
internal readonly struct MultiplyAdds : IMicroKernel
{
    /// <summary>Threads above each other that have neighbouring rows; from their first four rows to the others.</summary>
    private const int ThreadsDown = 4, RowsToLower = 4 * ThreadsDown;

    /// <summary>The threads of a small tile have more steps to load: each as much as those of a large one.</summary>
    public static int BK<TTile>()
        where TTile : struct, ITile => TTile.TM == 4 ? 16 : 8;

    public static int StepsPerFloat => 1;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Convert(float x, float next) => x;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ThreadPlace Locate<TTile>(int thread)
        where TTile : struct, ITile
    {
        int across = ThreadsAcross<TTile>(), blocksAcross = TTile.BN / (TTile.TN * across), block = thread / (ThreadsDown * across);
        int row = (block / blocksAcross * ThreadsDown * TTile.TM) + (thread / across % ThreadsDown * 4);
        int column = (block % blocksAcross * TTile.TN * across) + (thread % across * 4);
        return new(row, column, row, column);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int RowOffset(int i) => i < 4 ? i : i - 4 + RowsToLower;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int ColumnsToRight<TTile>()
        where TTile : struct, ITile => 4 * ThreadsAcross<TTile>();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void MultiplyAdd<TTile>(ref ThreadTile c, ArrayView<byte> a, ArrayView<byte> b)
        where TTile : struct, ITile
    {
        ArrayView<Float4> rows = a.Cast<Float4>().AsAligned(16), columns = b.Cast<Float4>().AsAligned(16);
        AddEightSteps<TTile>(ref c, rows, columns, 0);
        if (BK<TTile>() > 8)
            AddEightSteps<TTile>(ref c, rows, columns, 8);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddEightSteps<TTile>(ref ThreadTile c, ArrayView<Float4> a, ArrayView<Float4> b, int first)
        where TTile : struct, ITile
    {
        AddOuterProduct<TTile>(ref c, a, b, first);
        AddOuterProduct<TTile>(ref c, a, b, first + 1);
        AddOuterProduct<TTile>(ref c, a, b, first + 2);
        AddOuterProduct<TTile>(ref c, a, b, first + 3);
        AddOuterProduct<TTile>(ref c, a, b, first + 4);
        AddOuterProduct<TTile>(ref c, a, b, first + 5);
        AddOuterProduct<TTile>(ref c, a, b, first + 6);
        AddOuterProduct<TTile>(ref c, a, b, first + 7);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddOuterProduct<TTile>(ref ThreadTile c, ArrayView<Float4> a, ArrayView<Float4> b, int step)
        where TTile : struct, ITile
    {
        int atA = step * SharedTile.RowLength(TTile.BM) / 4, atB = step * SharedTile.RowLength(TTile.BN) / 4;
        Float4 upper = a[atA], left = b[atB], right = TTile.TN > 4 ? b[atB + ThreadsAcross<TTile>()] : default;
        c.Row0.Add<TTile>(upper.X, left, right);
        c.Row1.Add<TTile>(upper.Y, left, right);
        c.Row2.Add<TTile>(upper.Z, left, right);
        c.Row3.Add<TTile>(upper.W, left, right);
        if (TTile.TM == 4)
            return;
        var lower = a[atA + (RowsToLower / 4)];
        c.Row4.Add<TTile>(lower.X, left, right);
        c.Row5.Add<TTile>(lower.Y, left, right);
        c.Row6.Add<TTile>(lower.Z, left, right);
        c.Row7.Add<TTile>(lower.W, left, right);
    }

    /// <summary>Threads beside each other that have neighbouring columns.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int ThreadsAcross<TTile>()
        where TTile : struct, ITile => IntrinsicMath.Min(8, TTile.BN / TTile.TN);
}
