using System.Runtime.CompilerServices;
using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>A pair of tiles: where its rows lie, how its threads share it, and what stays of it after dropout.</summary>
internal sealed partial class Attention
{
    /// <summary>
    /// The row, of the first half of a tile, of the m-th of 8 × 8 cells, whose column is m % 8: every second one, so that 32 neighbours
    /// lie in different banks of shared memory.
    /// </summary>
    private static int RowOfCells(int m) => (m / Half % 4 * 2) + (m / Half / 4);

    /// <summary>
    /// Which cells of a row stay, of the columns part, part + 4, part + 8 and part + 12 of this tile (bits 0 to 3) and the three tiles
    /// after it (bits 4 to 15).
    /// </summary>
    private static uint KeptOfRow(DropoutKey dropout, uint row, int firstKey, int part, int keys)
    {
        uint bits = KeptBits(dropout, row, firstKey, part, second: 2);
        return part + RowThreads < keys ? bits | KeptBits(dropout, row, firstKey, part + RowThreads, second: 2) << 1 : bits;
    }

    /// <summary>
    /// Of the columns j and j + 8 of four tiles, in the bits 0, 4, 8 and 12 and those that are <paramref name="second"/> higher: a block of
    /// random numbers serves all of them.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint KeptBits(DropoutKey dropout, uint row, int firstKey, int j, int second)
    {
        var words = DevicePhilox.Draw(dropout, (uint)((firstKey / Words.Halves) + j), row);
        return KeptBits(dropout, words.X) | KeptBits(dropout, words.Y) << second
            | (KeptBits(dropout, words.Z) | KeptBits(dropout, words.W) << second) << CellsPerThread;
    }

    /// <summary>Of the number in the word's lower half in bit 0, and of that in the upper half, which is two tiles on, in bit 8.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint KeptBits(DropoutKey dropout, uint word) =>
        (Words.Lower(word) < dropout.Threshold ? 0u : 1u) | (Words.Upper(word) < dropout.Threshold ? 0u : 1u << (2 * CellsPerThread));

    /// <summary>
    /// Which of the cells (i, j), (i, j + 8), (i + 8, j) and (i + 8, j + 8) stay, of this tile of keys (bits 0 to 3) and of the three after
    /// it (bits 4 to 15).
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint KeptOfCells(DropoutKey dropout, int firstKey, TilePair pair, Head head, int i, int j)
    {
        // A sum that is the same for all cells would be taken out of their loop, and keep a register there.
        uint row = (uint)(head.FirstQuery + (pair.FirstQuery + i)), bits = KeptBits(dropout, row, firstKey, j, second: 1);
        return i + Half < pair.Rows ? bits | KeptBits(dropout, row + Half, firstKey, j, second: 1) << 2 : bits;
    }

    /// <summary>
    /// The rows of one head into shared memory, each padded with zeros to the tile's columns; rows past the last keep what they had.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadTile<TColumns, TAccess>(ArrayView<float> x, long start, int stride, int rows, Head head, ArrayView<Float4> tile)
        where TColumns : struct, ITileColumns
        where TAccess : struct, IAccess
    {
        for (int m = Group.IdxX; m < rows * TColumns.Float4s; m += Group.DimX)
        {
            int row = m / TColumns.Float4s, column = m % TColumns.Float4s;
            tile[(row * TColumns.Pitch) + column] = Float4.Load(
                x, start + ((long)row * stride) + (4 * column), head.Columns - (4 * column), TAccess.Wide);
        }
    }

    /// <summary>
    /// The products a[i]·b[j], a[i]·b[j + 8], a[i + 8]·b[j] and a[i + 8]·b[j + 8]; those of rows that are not there mean nothing.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Dots<TColumns>(ArrayView<Float4> a, int i, ArrayView<Float4> b, int j)
        where TColumns : struct, ITileColumns
    {
        // Views that run along, two steps a turn: ILGPU does not unroll loops, and only what is at a constant distance from a view's start
        // is addressed without arithmetic.
        Float4 sums = default;
        int atB = j * TColumns.Pitch, end = (i * TColumns.Pitch) + TColumns.Float4s;
        for (int atA = i * TColumns.Pitch; atA < end; atA += 2)
        {
            ArrayView<Float4> rowsOfA = a.SubView(atA), rowsOfB = b.SubView(atB);
            sums = AddDots(sums, rowsOfA, rowsOfB, 0, Half * TColumns.Pitch);
            sums = AddDots(sums, rowsOfA, rowsOfB, 1, Half * TColumns.Pitch);
            atB += 2;
        }
        return sums;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 AddDots(Float4 sums, ArrayView<Float4> a, ArrayView<Float4> b, int at, int toHigh)
    {
        Float4 a0 = a[at], a1 = a[at + toHigh], b0 = b[at], b1 = b[at + toHigh];
        return new Float4(AddDot(sums.X, a0, b0), AddDot(sums.Y, a0, b1), AddDot(sums.Z, a1, b0), AddDot(sums.W, a1, b1));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float AddDot(float sum, Float4 a, Float4 b) => (a.W * b.W) + ((a.Z * b.Z) + ((a.Y * b.Y) + ((a.X * b.X) + sum)));

    /// <summary>
    /// Four columns of Σ weights[i] tile[i], i below <paramref name="count"/>, for weights that begin at <paramref name="start"/> and for
    /// those that begin <paramref name="toHigh"/> after it.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Halves Product<TColumns>(
        ArrayView<float> weights, int start, int toHigh, int stride, ArrayView<Float4> tile, int column, int count)
        where TColumns : struct, ITileColumns
    {
        Halves sums = default;
        int at = start, row = column;
        for (int i = count; i > 1; i -= 2)
        {
            ArrayView<Float4> rows = tile.SubView(row);
            ArrayView<float> factors = weights.SubView(at);
            sums = sums.Add(rows[0], factors[0], factors[toHigh]);
            sums = sums.Add(rows[TColumns.Pitch], factors[stride], factors[stride + toHigh]);
            at += 2 * stride;
            row += 2 * TColumns.Pitch;
        }
        return (count & 1) == 0 ? sums : sums.Add(tile[row], weights[at], weights[at + toHigh]);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddTo<TAccess>(ArrayView<float> x, long row, int column, Head head, Float4 value, bool isFirst)
        where TAccess : struct, IAccess
    {
        int count = head.Columns - (4 * column);
        if (!isFirst)
            value += Float4.Load(x, row + (4 * column), count, TAccess.Wide);
        value.Store(x, row + (4 * column), count, TAccess.Wide);
    }

    /// <summary>The queries and keys of one sequence and head: how many, and where they lie.</summary>
    private readonly struct Head
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Head(
            ArrayView<int> queryOffsets, ArrayView<int> keyOffsets, int sequence, int index, int heads, int size, int causal)
        {
            FirstQuery = queryOffsets[sequence];
            Queries = queryOffsets[sequence + 1] - FirstQuery;
            FirstKey = keyOffsets[sequence];
            Keys = keyOffsets[sequence + 1] - FirstKey;
            KeysBefore = causal != 0 ? Keys - Queries : Keys;
            Index = index;
            Heads = heads;
            Size = size;
            Columns = size / heads;
        }

        public int FirstQuery { get; }

        public int Queries { get; }

        public int FirstKey { get; }

        public int Keys { get; }

        /// <summary>
        /// Where a query sees older keys only, those that are older than the sequence's first query; all keys otherwise.
        /// </summary>
        private int KeysBefore { get; }

        /// <summary>How many of the sequence's keys a query sees.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public int KeysSeenBy(int query) => KeysBefore + query + 1 < Keys ? KeysBefore + query + 1 : Keys;

        /// <summary>Where the first tile begins whose queries see a key.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public int FirstToSee(int key) => key > KeysBefore ? (key - KeysBefore) / Tile * Tile : 0;

        public int Index { get; }

        public int Heads { get; }

        /// <summary>Columns of all heads.</summary>
        public int Size { get; }

        /// <summary>Columns of this head.</summary>
        public int Columns { get; }

        /// <summary>Where a query begins in q, dq, output and dOutput.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public long Query(int query) => ((long)(FirstQuery + query) * Size) + (Index * Columns);

        /// <summary>Where a key begins in kv and dkv; its value lies <see cref="Size"/> after it.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public long Key(int key) => ((long)(FirstKey + key) * 2 * Size) + (Index * Columns);

        /// <summary>Where a query is in logSumExp.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public long Row(int query) => ((long)(FirstQuery + query) * Heads) + Index;
    }

    /// <summary>A tile of queries and a tile of keys: where they begin in their sequence, and how many there are.</summary>
    private readonly struct TilePair(int firstQuery, int rows, int firstKey, int keys)
    {
        public readonly int FirstQuery = firstQuery;

        /// <summary>Queries.</summary>
        public readonly int Rows = rows;
        public readonly int FirstKey = firstKey;
        public readonly int Keys = keys;
    }

    /// <summary>
    /// The softmax of each row so far, in shared memory: the largest score m, and l = Σ exp(S − m). These are m and l before a tile of
    /// keys, m' and l' after it.
    /// </summary>
    private readonly struct RunningSoftmax
    {
        private readonly ArrayView<float> _largest, _total, _parts;
        private readonly int _before, _after;

        /// <param name="largest">[2, tile] m and m', which change places from tile to tile.</param>
        /// <param name="total">[2, tile] l and l'.</param>
        /// <param name="parts">[tile, row threads] Of Σ exp(S − m') over this tile's keys.</param>
        /// <param name="firstKey">Where the tile begins.</param>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public RunningSoftmax(ArrayView<float> largest, ArrayView<float> total, ArrayView<float> parts, int firstKey)
        {
            _largest = largest;
            _total = total;
            _parts = parts;
            _before = firstKey / Tile % 2 * Tile;
            _after = Tile - _before;
            IsFirst = firstKey == 0;
        }

        /// <summary>There is no tile before this one.</summary>
        public bool IsFirst { get; }

        /// <summary>m</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public float LargestBefore(int row) => IsFirst ? float.NegativeInfinity : _largest[_before + row];

        /// <summary>Sets m'.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void SetLargest(int row, float value) => _largest[_after + row] = value;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void SetPart(int at, float value) => _parts[at] = value;

        /// <summary>Σ exp(S − m') over this tile's keys.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public float SumOfParts(int row) => _parts[row * RowThreads] + _parts[(row * RowThreads) + 1]
            + (_parts[(row * RowThreads) + 2] + _parts[(row * RowThreads) + 3]);

        /// <summary>l exp(m − m')</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public float OldTotal(int row) =>
            IsFirst ? 0f : _total[_before + row] * DeviceMath.Exp(_largest[_before + row] - _largest[_after + row]);

        /// <summary>Sets l'.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void SetTotal(int row, float value) => _total[_after + row] = value;

        /// <summary>m' + log l'</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public float LogSumExp(int row, float total) => _largest[_after + row] + DeviceMath.Log(total);
    }

    /// <summary>What a group of the backward has in shared memory.</summary>
    private readonly struct BackwardMemory(
        ArrayView<Float4> queries, ArrayView<Float4> dOutput, ArrayView<Float4> keys, ArrayView<Float4> values,
        ArrayView<float> probabilities, ArrayView<float> dScores, ArrayView<Float4> rowSums, ArrayView<uint> keptBits)
    {
        public readonly ArrayView<Float4> Queries = queries;
        public readonly ArrayView<Float4> DOutput = dOutput;
        public readonly ArrayView<Float4> Keys = keys;
        public readonly ArrayView<Float4> Values = values;

        /// <summary>M ∘ P</summary>
        public readonly ArrayView<float> Probabilities = probabilities;

        /// <summary>dS / √d</summary>
        public readonly ArrayView<float> DScores = dScores;

        /// <summary>D, in four parts.</summary>
        public readonly ArrayView<Float4> RowSums = rowSums;

        /// <summary>Of each thread's cells, which stay: <see cref="KeptOfCells"/>.</summary>
        public readonly ArrayView<uint> KeptBits = keptBits;
    }

    /// <summary>Results for a row of the first half of a tile and its fellow of the second.</summary>
    private readonly struct Halves(Float4 low, Float4 high)
    {
        public readonly Float4 Low = low;
        public readonly Float4 High = high;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Halves Add(Float4 values, float lowWeight, float highWeight) =>
            new(Low + (values * lowWeight), High + (values * highWeight));
    }

    /// <summary>From q·k and dOutput·v of a query and a key: M P, and dS / √d.</summary>
    private readonly struct Cell
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Cell(float dot, float dProbability, float logSumExp, float rowSum, float mask, float scale)
        {
            float probability = DeviceMath.Exp((dot * scale) - logSumExp);
            Probability = probability * mask;
            DScore = probability * ((dProbability * mask) - rowSum) * scale;
        }

        public float Probability { get; }

        public float DScore { get; }
    }

    /// <summary>Heads of how many columns shared memory has room for. Zeros are added to those that have fewer.</summary>
    private interface ITileColumns
    {
        /// <summary>So many, in <see cref="Float4"/>: known to the compiler, which can so count threads without dividing.</summary>
        static abstract int Float4s { get; }

        /// <summary>
        /// Row length of a tile in <see cref="Float4"/>: odd, so that eight rows begin in different banks of shared memory, and the same
        /// for every head, so that where a row lies beside another is known to the compiler.
        /// </summary>
        static abstract int Pitch { get; }
    }

    private readonly struct Columns32 : ITileColumns
    {
        public static int Float4s => 8;

        public static int Pitch => 9;
    }

    private readonly struct Columns64 : ITileColumns
    {
        public static int Float4s => 16;

        public static int Pitch => 17;
    }

    private readonly struct Columns128 : ITileColumns
    {
        public static int Float4s => 32;

        public static int Pitch => 33;
    }
}
