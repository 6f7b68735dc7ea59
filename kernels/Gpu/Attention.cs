using System.Runtime.CompilerServices;
using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// Multi-head attention over ragged sequences, after Dao et al., "FlashAttention" (2022): tiles of sixteen queries meet tiles of sixteen
/// keys in shared memory, and the softmax is corrected as each tile of keys comes in, so probabilities never reach the device's memory.
/// The backward makes them again from the saved log-sum-exp. Most sequences are shorter than a tile; a small group does them in one go.
/// </summary>
internal sealed class Attention
{
    /// <summary>Queries, and keys, of a tile.</summary>
    private const int Tile = 16;

    /// <summary>A thread takes row i of a tile together with row i + 8: what it loads for one serves both.</summary>
    private const int Half = Tile / 2;

    /// <summary>Row length of a tile of scores: four more, so that rows begin in different banks of shared memory.</summary>
    private const int Pitch = Tile + 4;

    /// <summary>Threads that share a row of scores in the softmax.</summary>
    private const int RowThreads = 4;

    /// <summary>Cells of a tile that a thread has: in the softmax every fourth of a row, in the backward two rows of two.</summary>
    private const int CellsPerThread = Tile / RowThreads;

    /// <summary>Tiles of keys that share random numbers: a block of Philox has four words, for columns sixteen apart.</summary>
    private const int TilesPerDraw = 4;
    private const int KeysPerDraw = TilesPerDraw * Tile;

    /// <summary>The bits of a tile of which nothing is dropped.</summary>
    private const uint AllKept = (1u << CellsPerThread) - 1;

    /// <summary>The most groups that CUDA takes along a grid's second direction.</summary>
    private const int MostGroupsAcross = ushort.MaxValue;

    /// <summary>Pairs of half rows and half columns: a thread each. More threads would idle.</summary>
    private const int LargestGroup = Half * Half;

    private readonly GpuDevice _device;
    private readonly (int Columns, Passes Narrow, Passes Wide)[] _passes;

    public Attention(GpuDevice device)
    {
        _device = device;
        _passes =
        [
            (32, Load<Columns32, NarrowAccess>(), Load<Columns32, WideAccess>()),
            (64, Load<Columns64, NarrowAccess>(), Load<Columns64, WideAccess>()),
            (128, Load<Columns128, NarrowAccess>(), Load<Columns128, WideAccess>()),
        ];
    }

    /// <exception cref="DeviceException">A head has more than 128 columns.</exception>
    public void Forward(
        Tensor q, Tensor kv, in AttentionLayout layout, in DropoutMask dropout, Tensor output, Tensor logSumExp)
    {
        int heads = layout.Heads, columns = q.Columns / heads, sequences = layout.QueryOffsets.Length - 1;
        bool aligned = IsAligned(q, heads) && IsAligned(kv, heads) && IsAligned(output, heads);
        // A group for each tile of queries: one for a sequence would have all wait for the longest. Groups without a tile end at once.
        int shares = Math.Min(Tiles(layout.MaximumLength), MostGroupsAcross / heads);
        PassesFor(columns, aligned).Forward.Launch(
            new Index2D(sequences, heads * shares),
            new(
                q.View(), kv.View(), layout.QueryOffsets.View(), layout.KeyOffsets.View(), heads, q.Columns,
                layout.Causal ? 1 : 0, Scale(columns), new DropoutKey(dropout), output.View(), logSumExp.View()));
    }

    /// <inheritdoc cref="Forward"/>
    public void Backward(
        Tensor dOutput,
        Tensor q,
        Tensor kv,
        Tensor output,
        Tensor logSumExp,
        in AttentionLayout layout,
        in DropoutMask dropout,
        Tensor dq,
        Tensor dkv)
    {
        int heads = layout.Heads, columns = q.Columns / heads, sequences = layout.QueryOffsets.Length - 1;
        bool aligned = IsAligned(dOutput, heads) && IsAligned(q, heads) && IsAligned(kv, heads) && IsAligned(output, heads)
            && IsAligned(dq, heads) && IsAligned(dkv, heads);
        // Shared, the work grows by two fifths, as scores are made twice: only where three quarters of the device would idle.
        int shares = (int)Math.Clamp(
            _device.MaximumGroups / 2 / Math.Max(1, (long)sequences * heads), 1, Tiles(layout.MaximumLength));
        PassesFor(columns, aligned).Backward.Launch(
            new Index2D(sequences, heads * (shares == 1 ? 1 : 2 * shares)),
            new(
                dOutput.View(), q.View(), kv.View(), output.View(), logSumExp.View(), layout.QueryOffsets.View(), layout.KeyOffsets.View(),
                heads, shares, q.Columns, layout.Causal ? 1 : 0, Scale(columns), new DropoutKey(dropout), dq.View(), dkv.View()));
    }

    private static int Tiles(int length) => Math.Max(1, (length + Tile - 1) / Tile);

    private static float Scale(int columns) => 1f / MathF.Sqrt(columns);

    /// <summary>Whether every row of every head begins at a multiple of 16 bytes.</summary>
    private static bool IsAligned(Tensor x, int heads) => GpuDevice.IsAligned(x.View()) && x.Columns / heads % 4 == 0;

    /// <summary>The kernels whose shared memory suits heads of so many columns.</summary>
    private Passes PassesFor(int columns, bool aligned)
    {
        foreach (var (most, narrow, wide) in _passes)
        {
            if (columns <= most)
                return aligned ? wide : narrow;
        }
        throw new DeviceException(
            $"a head has {columns} columns, and the GPU kernels take {_passes[^1].Columns} at most: use more heads, or --device cpu");
    }

    private Passes Load<TColumns, TAccess>()
        where TColumns : struct, ITileColumns
        where TAccess : struct, IAccess
    {
        int group = Math.Min(LargestGroup, _device.GroupSize);
        return new(
            _device.Load<ForwardArguments>(ForwardKernel<TColumns, TAccess>, group),
            _device.Load<BackwardArguments>(BackwardKernel<TColumns, TAccess>, group));
    }

    /// <summary>A group takes a sequence, a head, and every n-th tile of queries.</summary>
    private static void ForwardKernel<TColumns, TAccess>(ForwardArguments a)
        where TColumns : struct, ITileColumns
        where TAccess : struct, IAccess
    {
        var queryTile = SharedMemory.Allocate<Float4>(Tile * TColumns.Pitch);
        var keyTile = SharedMemory.Allocate<Float4>(Tile * TColumns.Pitch);
        var valueTile = SharedMemory.Allocate<Float4>(Tile * TColumns.Pitch);
        var scores = SharedMemory.Allocate<float>(Tile * Pitch);
        var probabilities = SharedMemory.Allocate<float>(Tile * Pitch);
        // The softmax of each row so far: the largest score, and Σ exp(score − largest); before this tile of keys and after it.
        var largest = SharedMemory.Allocate<float>(2 * Tile);
        var total = SharedMemory.Allocate<float>(2 * Tile);
        var partTotal = SharedMemory.Allocate<float>(Tile * RowThreads);
        var keptBits = SharedMemory.Allocate<uint>(Tile * RowThreads);

        var s = new Head(a.QueryOffsets, a.KeyOffsets, Grid.IdxX, Grid.IdxY % a.Heads, a.Heads, a.Size, a.Causal);
        var dropout = a.Dropout.WithStream(a.Dropout.Stream + ((uint)s.Number << 16));
        for (int firstQuery = Grid.IdxY / a.Heads * Tile; firstQuery < s.Queries; firstQuery += Grid.DimY / a.Heads * Tile)
        {
            int rows = Tile < s.Queries - firstQuery ? Tile : s.Queries - firstQuery;
            LoadTile<TColumns, TAccess>(a.Q, s.Query(firstQuery), s.Size, rows, s, queryTile);
            // Tiles of keys that none of these queries sees are skipped.
            int seen = s.KeysOf(firstQuery + rows - 1);
            for (int firstKey = 0; firstKey < seen; firstKey += Tile)
            {
                int keys = Tile < seen - firstKey ? Tile : seen - firstKey;
                int before = firstKey / Tile % 2 * Tile, after = Tile - before;
                bool isFirst = firstKey == 0, isLast = firstKey + Tile >= seen;
                LoadTile<TColumns, TAccess>(a.Kv, s.Key(firstKey), 2 * s.Size, keys, s, keyTile);
                LoadTile<TColumns, TAccess>(a.Kv, s.Key(firstKey) + s.Size, 2 * s.Size, keys, s, valueTile);
                Group.Barrier();

                for (int m = Group.IdxX; m < Half * Half; m += Group.DimX)
                {
                    int i = RowOfCells(m), j = m % Half;
                    if (i >= rows || j >= keys)
                        continue;
                    var dots = Dots<TColumns>(queryTile, i, keyTile, j) * a.Scale;
                    scores[(i * Pitch) + j] = dots.X;
                    scores[(i * Pitch) + j + Half] = dots.Y;
                    scores[((i + Half) * Pitch) + j] = dots.Z;
                    scores[((i + Half) * Pitch) + j + Half] = dots.W;
                }
                Group.Barrier();

                for (int m = Group.IdxX; m < Tile * RowThreads; m += Group.DimX)
                {
                    int i = m / RowThreads, part = m % RowThreads;
                    if (i >= rows)
                        continue;
                    // The row's own keys: the others of the tile get no probability.
                    int own = s.KeysOf(firstQuery + i) - firstKey;
                    float max = isFirst ? float.NegativeInfinity : largest[before + i];
                    for (int j = 0; j < keys && j < own; j++)
                        max = default(Max).Combine(max, scores[(i * Pitch) + j]);
                    // A block of random numbers serves four tiles of keys: draw it once and keep which cells stay.
                    if (dropout.Drops && firstKey % KeysPerDraw == 0)
                        keptBits[m] = KeptBits(dropout, (uint)(s.FirstQuery + firstQuery + i), firstKey, part, keys);
                    uint kept = dropout.Drops ? keptBits[m] >> (firstKey / Tile % TilesPerDraw * CellsPerThread) : 0;
                    float sum = 0f;
                    for (int j = part; j < keys; j += RowThreads)
                    {
                        float e = j < own ? DeviceMath.Exp(scores[(i * Pitch) + j] - max) : 0f;
                        sum += e;
                        if (dropout.Drops)
                            e = ((kept >> (j / RowThreads)) & 1) != 0 ? e * dropout.Scale : 0f;
                        probabilities[(i * Pitch) + j] = e;
                    }
                    partTotal[m] = sum;
                    if (part == 0)
                        largest[after + i] = max;
                }
                Group.Barrier();

                int pairs = (Half < rows ? Half : rows) * TColumns.Float4s;
                for (int m = Group.IdxX; m < pairs; m += Group.DimX)
                {
                    int i = m / TColumns.Float4s, column = m % TColumns.Float4s;
                    var sums = Product<TColumns>(probabilities, i * Pitch, Half * Pitch, 1, valueTile, column, keys);
                    for (int half = 0; half < 2 && i < rows; half++, i += Half)
                    {
                        float old = isFirst ? 0f : total[before + i] * DeviceMath.Exp(largest[before + i] - largest[after + i]);
                        float sum = old + (partTotal[i * RowThreads] + partTotal[(i * RowThreads) + 1]
                            + (partTotal[(i * RowThreads) + 2] + partTotal[(i * RowThreads) + 3]));
                        // What is stored is always the output for the keys so far; only this thread touches it.
                        float inverse = 1f / sum;
                        var y = (half == 0 ? sums.Low : sums.High) * inverse;
                        long at = s.Query(firstQuery + i) + (4 * column);
                        if (!isFirst)
                            y += Float4.Load(a.Output, at, s.Columns - (4 * column), TAccess.Wide) * (old * inverse);
                        y.Store(a.Output, at, s.Columns - (4 * column), TAccess.Wide);
                        if (column == 0)
                        {
                            total[after + i] = sum;
                            if (isLast)
                                a.LogSumExp[s.Row(firstQuery + i)] = largest[after + i] + DeviceMath.Log(sum);
                        }
                    }
                }
                Group.Barrier();
            }
        }
    }

    /// <summary>
    /// The row, of the first half of a tile, of the m-th of 8 × 8 cells, whose column is m % 8: every second one, so that 32 neighbours
    /// lie in different banks of shared memory.
    /// </summary>
    private static int RowOfCells(int m) => (m / Half % 4 * 2) + (m / Half / 4);

    /// <summary>
    /// Which cells of a row stay, of the columns part, part + 4, part + 8 and part + 12 of this tile (bits 0 to 3) and the three tiles
    /// after it (bits 4 to 15).
    /// </summary>
    private static uint KeptBits(DropoutKey dropout, uint row, int firstKey, int part, int keys)
    {
        uint bits = 0;
        int bit = 0;
        for (int j = part; j < keys; j += RowThreads)
            bits |= KeptBits(dropout, row, firstKey, j) << bit++;
        return bits;
    }

    /// <summary>Of one column of four tiles, in the bits 0, 4, 8 and 12: a block of random numbers serves all of them.</summary>
    private static uint KeptBits(DropoutKey dropout, uint row, int firstKey, int column)
    {
        var words = DevicePhilox.Draw(dropout, (uint)((firstKey / TilesPerDraw) + column), row);
        return (words.X < dropout.Threshold ? 0u : 1u)
            | (words.Y < dropout.Threshold ? 0u : 1u << CellsPerThread)
            | (words.Z < dropout.Threshold ? 0u : 1u << (2 * CellsPerThread))
            | (words.W < dropout.Threshold ? 0u : 1u << (3 * CellsPerThread));
    }

    /// <summary>
    /// A group takes a sequence and a head: all pairs of a tile of keys and a tile of queries. Where several share them, half of the groups
    /// take some of the keys each, with all queries, for dk and dv, the other half some of the queries, with all keys, for dq. Gradients
    /// are added up in place, each element by one and the same thread, in the order of the tiles: their bits do not depend on the shares.
    /// </summary>
    private static void BackwardKernel<TColumns, TAccess>(BackwardArguments a)
        where TColumns : struct, ITileColumns
        where TAccess : struct, IAccess
    {
        var queryTile = SharedMemory.Allocate<Float4>(Tile * TColumns.Pitch);
        var dOutputTile = SharedMemory.Allocate<Float4>(Tile * TColumns.Pitch);
        var keyTile = SharedMemory.Allocate<Float4>(Tile * TColumns.Pitch);
        var valueTile = SharedMemory.Allocate<Float4>(Tile * TColumns.Pitch);
        var probabilities = SharedMemory.Allocate<float>(Tile * Pitch);
        var dScores = SharedMemory.Allocate<float>(Tile * Pitch);
        // D = rowsum(dOutput ∘ output), in four parts.
        var rowSums = SharedMemory.Allocate<Float4>(Tile);
        var keptBits = SharedMemory.Allocate<uint>(Half * Half);

        var s = new Head(a.QueryOffsets, a.KeyOffsets, Grid.IdxX, Grid.IdxY % a.Heads, a.Heads, a.Size, a.Causal);
        var dropout = a.Dropout.WithStream(a.Dropout.Stream + ((uint)s.Number << 16));
        int part = Grid.IdxY / a.Heads;
        bool addsKeys = part < a.Shares, addsQueries = a.Shares == 1 || !addsKeys;
        int keyStart = addsKeys ? part * Tile : 0, keyStep = addsKeys ? a.Shares * Tile : Tile;
        int queryStart = addsQueries ? part % a.Shares * Tile : 0, queryStep = addsQueries ? a.Shares * Tile : Tile;
        if (s.Queries == 0 && part == 0)
        {
            for (int i = Group.IdxX; i < s.Keys * s.Columns; i += Group.DimX)
            {
                long at = s.Key(i / s.Columns) + (i % s.Columns);
                a.DKv[at] = 0f;
                a.DKv[at + s.Size] = 0f;
            }
        }
        for (int firstQuery = queryStart; firstQuery < s.Queries; firstQuery += queryStep)
        {
            int rows = Tile < s.Queries - firstQuery ? Tile : s.Queries - firstQuery;
            LoadTile<TColumns, TAccess>(a.Q, s.Query(firstQuery), s.Size, rows, s, queryTile);
            LoadTile<TColumns, TAccess>(a.DOutput, s.Query(firstQuery), s.Size, rows, s, dOutputTile);
            for (int m = Group.IdxX; m < rows * RowThreads; m += Group.DimX)
            {
                long row = s.Query(firstQuery + (m / RowThreads));
                float sum = 0f;
                for (int column = m % RowThreads * 4; column < s.Columns; column += 4 * RowThreads)
                {
                    var dOutput = Float4.Load(a.DOutput, row + column, s.Columns - column, TAccess.Wide);
                    sum = AddDot(sum, dOutput, Float4.Load(a.Output, row + column, s.Columns - column, TAccess.Wide));
                }
                rowSums.Cast<float>()[m] = sum;
            }
            // Tiles of keys that none of these queries sees are skipped. Four tiles share their random numbers.
            int seen = s.KeysOf(firstQuery + rows - 1), drawn = -1;
            for (int firstKey = keyStart; firstKey < seen; firstKey += keyStep)
            {
                int keys = Tile < s.Keys - firstKey ? Tile : s.Keys - firstKey, chunk = firstKey / KeysPerDraw;
                LoadTile<TColumns, TAccess>(a.Kv, s.Key(firstKey), 2 * s.Size, keys, s, keyTile);
                LoadTile<TColumns, TAccess>(a.Kv, s.Key(firstKey) + s.Size, 2 * s.Size, keys, s, valueTile);
                Group.Barrier();

                for (int m = Group.IdxX; m < Half * Half; m += Group.DimX)
                {
                    int i = RowOfCells(m), j = m % Half;
                    if (i >= rows || j >= keys)
                        continue;
                    if (dropout.Drops && chunk != drawn)
                    {
                        uint row = (uint)(s.FirstQuery + firstQuery + i), bits = KeptBits(dropout, row, chunk * KeysPerDraw, j);
                        if (j + Half < keys)
                            bits |= KeptBits(dropout, row, chunk * KeysPerDraw, j + Half) << 1;
                        if (i + Half < rows)
                            bits |= KeptBits(dropout, row + Half, chunk * KeysPerDraw, j) << 2;
                        if (i + Half < rows && j + Half < keys)
                            bits |= KeptBits(dropout, row + Half, chunk * KeysPerDraw, j + Half) << 3;
                        keptBits[m] = bits;
                    }
                    uint kept = dropout.Drops ? keptBits[m] >> (firstKey / Tile % TilesPerDraw * CellsPerThread) : AllKept;
                    var dots = Dots<TColumns>(queryTile, i, keyTile, j);
                    var dProbabilities = Dots<TColumns>(dOutputTile, i, valueTile, j);
                    for (int half = 0; half < 2 && i < rows; half++, i += Half)
                    {
                        int query = firstQuery + i, at = (i * Pitch) + j, own = s.KeysOf(query) - firstKey;
                        float logSumExp = a.LogSumExp[s.Row(query)], rowSum = rowSums[i].Sum;
                        bool isLow = half == 0;
                        var cell = new Cell(
                            isLow ? dots.X : dots.Z, isLow ? dProbabilities.X : dProbabilities.Z, logSumExp, rowSum,
                            (kept & 1) != 0 ? dropout.Scale : 0f, a.Scale);
                        probabilities[at] = j < own ? cell.Probability : 0f;
                        dScores[at] = j < own ? cell.DScore : 0f;
                        if (j + Half < keys)
                        {
                            cell = new Cell(
                                isLow ? dots.Y : dots.W, isLow ? dProbabilities.Y : dProbabilities.W, logSumExp, rowSum,
                                (kept & 2) != 0 ? dropout.Scale : 0f, a.Scale);
                            probabilities[at + Half] = j + Half < own ? cell.Probability : 0f;
                            dScores[at + Half] = j + Half < own ? cell.DScore : 0f;
                        }
                        kept >>= 2;
                    }
                }
                drawn = chunk;
                Group.Barrier();

                // dv = (M ∘ P)ᵀ dOutput, dk = dSᵀ q
                bool isFirstToSee = firstQuery == s.FirstToSee(firstKey);
                int keyPairs = addsKeys ? (Half < keys ? Half : keys) * TColumns.Float4s : 0;
                for (int m = Group.IdxX; m < keyPairs; m += Group.DimX)
                {
                    int j = m / TColumns.Float4s, column = m % TColumns.Float4s;
                    var dv = Product<TColumns>(probabilities, j, Half, Pitch, dOutputTile, column, rows);
                    var dk = Product<TColumns>(dScores, j, Half, Pitch, queryTile, column, rows);
                    AddTo<TAccess>(a.DKv, s.Key(firstKey + j), column, s, dk.Low, isFirstToSee);
                    AddTo<TAccess>(a.DKv, s.Key(firstKey + j) + s.Size, column, s, dv.Low, isFirstToSee);
                    if (j + Half < keys)
                    {
                        AddTo<TAccess>(a.DKv, s.Key(firstKey + j + Half), column, s, dk.High, isFirstToSee);
                        AddTo<TAccess>(a.DKv, s.Key(firstKey + j + Half) + s.Size, column, s, dv.High, isFirstToSee);
                    }
                }

                // dq = dS k
                int queryPairs = addsQueries ? (Half < rows ? Half : rows) * TColumns.Float4s : 0;
                for (int m = Group.IdxX; m < queryPairs; m += Group.DimX)
                {
                    int i = m / TColumns.Float4s, column = m % TColumns.Float4s;
                    var dq = Product<TColumns>(dScores, i * Pitch, Half * Pitch, 1, keyTile, column, keys);
                    AddTo<TAccess>(a.DQ, s.Query(firstQuery + i), column, s, dq.Low, firstKey == 0);
                    if (i + Half < rows)
                        AddTo<TAccess>(a.DQ, s.Query(firstQuery + i + Half), column, s, dq.High, firstKey == 0);
                }
                Group.Barrier();
            }
        }
    }

    /// <summary>
    /// The rows of one head into shared memory, each padded with zeros to the tile's columns; rows past the last keep what they had.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadTile<TColumns, TAccess>(ArrayView<float> x, long start, int stride, int rows, Head s, ArrayView<Float4> tile)
        where TColumns : struct, ITileColumns
        where TAccess : struct, IAccess
    {
        for (int m = Group.IdxX; m < rows * TColumns.Float4s; m += Group.DimX)
        {
            int row = m / TColumns.Float4s, column = m % TColumns.Float4s;
            tile[(row * TColumns.Pitch) + column] = Float4.Load(
                x, start + ((long)row * stride) + (4 * column), s.Columns - (4 * column), TAccess.Wide);
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
    private static Float4 AddDots(Float4 sums, ArrayView<Float4> a, ArrayView<Float4> b, int at, int half)
    {
        Float4 a0 = a[at], a1 = a[at + half], b0 = b[at], b1 = b[at + half];
        return new Float4(AddDot(sums.X, a0, b0), AddDot(sums.Y, a0, b1), AddDot(sums.Z, a1, b0), AddDot(sums.W, a1, b1));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float AddDot(float sum, Float4 a, Float4 b) => (a.W * b.W) + ((a.Z * b.Z) + ((a.Y * b.Y) + ((a.X * b.X) + sum)));

    /// <summary>
    /// Four columns of Σ weights[i] tile[i], i below <paramref name="count"/>, for weights that begin at <paramref name="start"/> and for
    /// those that begin <paramref name="half"/> after it.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Halves Product<TColumns>(
        ArrayView<float> weights, int start, int half, int stride, ArrayView<Float4> tile, int column, int count)
        where TColumns : struct, ITileColumns
    {
        Halves sums = default;
        int at = start, row = column;
        for (int i = count; i > 1; i -= 2)
        {
            ArrayView<Float4> rows = tile.SubView(row);
            ArrayView<float> factors = weights.SubView(at);
            sums = sums.Add(rows[0], factors[0], factors[half]);
            sums = sums.Add(rows[TColumns.Pitch], factors[stride], factors[stride + half]);
            at += 2 * stride;
            row += 2 * TColumns.Pitch;
        }
        return (count & 1) == 0 ? sums : sums.Add(tile[row], weights[at], weights[at + half]);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddTo<TAccess>(ArrayView<float> x, long row, int column, Head s, Float4 value, bool isFirst)
        where TAccess : struct, IAccess
    {
        int count = s.Columns - (4 * column);
        if (!isFirst)
            value += Float4.Load(x, row + (4 * column), count, TAccess.Wide);
        value.Store(x, row + (4 * column), count, TAccess.Wide);
    }

    /// <summary>The queries and keys of one sequence and head: how many, and where they lie.</summary>
    private readonly struct Head
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Head(
            ArrayView<int> queryOffsets, ArrayView<int> keyOffsets, int sequence, int number, int heads, int size, int causal)
        {
            FirstQuery = queryOffsets[sequence];
            Queries = queryOffsets[sequence + 1] - FirstQuery;
            FirstKey = keyOffsets[sequence];
            Keys = keyOffsets[sequence + 1] - FirstKey;
            KeysBefore = causal != 0 ? Keys - Queries : Keys;
            Number = number;
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
        public int KeysOf(int query) => KeysBefore + query + 1 < Keys ? KeysBefore + query + 1 : Keys;

        /// <summary>Where the first tile begins whose queries see a key.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public int FirstToSee(int key) => key > KeysBefore ? (key - KeysBefore) / Tile * Tile : 0;

        public int Number { get; }

        public int Heads { get; }

        /// <summary>Columns of all heads.</summary>
        public int Size { get; }

        /// <summary>Columns of this head.</summary>
        public int Columns { get; }

        /// <summary>Where a query begins in q, dq, output and dOutput.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public long Query(int query) => ((long)(FirstQuery + query) * Size) + (Number * Columns);

        /// <summary>Where a key begins in kv and dkv; its value lies <see cref="Size"/> after it.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public long Key(int key) => ((long)(FirstKey + key) * 2 * Size) + (Number * Columns);

        /// <summary>Where a query is in logSumExp.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public long Row(int query) => ((long)(FirstQuery + query) * Heads) + Number;
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

    private sealed record Passes(GpuKernel<ForwardArguments> Forward, GpuKernel<BackwardArguments> Backward);

    internal readonly record struct ForwardArguments(
        ArrayView<float> Q, ArrayView<float> Kv, ArrayView<int> QueryOffsets, ArrayView<int> KeyOffsets, int Heads, int Size, int Causal,
        float Scale, DropoutKey Dropout, ArrayView<float> Output, ArrayView<float> LogSumExp);

    internal readonly record struct BackwardArguments(
        ArrayView<float> DOutput, ArrayView<float> Q, ArrayView<float> Kv, ArrayView<float> Output, ArrayView<float> LogSumExp,
        ArrayView<int> QueryOffsets, ArrayView<int> KeyOffsets, int Heads, int Shares, int Size, int Causal, float Scale,
        DropoutKey Dropout,
        ArrayView<float> DQ, ArrayView<float> DKv);
}
