using System.Runtime.CompilerServices;
using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// Multi-head attention over ragged sequences, after Dao et al., "FlashAttention" (2022): tiles of sixteen queries meet tiles of sixteen
/// keys in shared memory, and the softmax is corrected as each tile of keys comes in, so probabilities never reach the device's memory.
/// The backward makes them again from the saved log-sum-exp. A group is small, 64 threads: many sequences are no longer than a few tiles.
/// </summary>
internal sealed partial class Attention
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

    /// <summary>Tiles of keys that share random numbers: a block of Philox has eight numbers, for columns eight apart.</summary>
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
        var largest = SharedMemory.Allocate<float>(2 * Tile);
        var total = SharedMemory.Allocate<float>(2 * Tile);
        var partTotal = SharedMemory.Allocate<float>(Tile * RowThreads);
        var keptBits = SharedMemory.Allocate<uint>(Tile * RowThreads);

        var head = new Head(a.QueryOffsets, a.KeyOffsets, Grid.IdxX, Grid.IdxY % a.Heads, a.Heads, a.Size, a.Causal);
        var dropout = a.Dropout.WithStream(a.Dropout.Stream + ((uint)head.Index << 16));
        for (int firstQuery = Grid.IdxY / a.Heads * Tile; firstQuery < head.Queries; firstQuery += Grid.DimY / a.Heads * Tile)
        {
            int rows = Tile < head.Queries - firstQuery ? Tile : head.Queries - firstQuery;
            LoadTile<TColumns, TAccess>(a.Q, head.Query(firstQuery), head.Size, rows, head, queryTile);
            // Tiles of keys that none of these queries sees are skipped.
            int seen = head.KeysSeenBy(firstQuery + rows - 1);
            for (int firstKey = 0; firstKey < seen; firstKey += Tile)
            {
                int keys = Tile < seen - firstKey ? Tile : seen - firstKey;
                var pair = new TilePair(firstQuery, rows, firstKey, keys);
                var softmax = new RunningSoftmax(largest, total, partTotal, firstKey);
                bool isLast = firstKey + Tile >= seen;
                LoadTile<TColumns, TAccess>(a.Kv, head.Key(firstKey), 2 * head.Size, keys, head, keyTile);
                LoadTile<TColumns, TAccess>(a.Kv, head.Key(firstKey) + head.Size, 2 * head.Size, keys, head, valueTile);
                Group.Barrier();
                SetScores<TColumns>(pair, queryTile, keyTile, a.Scale, scores);
                Group.Barrier();
                SetProbabilities(pair, head, dropout, scores, softmax, keptBits, probabilities);
                Group.Barrier();
                AddValues<TColumns, TAccess>(pair, head, softmax, probabilities, valueTile, a.Output, a.LogSumExp, isLast);
                Group.Barrier();
            }
        }
    }

    /// <summary>S = q kᵀ / √d.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void SetScores<TColumns>(
        TilePair pair, ArrayView<Float4> queryTile, ArrayView<Float4> keyTile, float scale, ArrayView<float> scores)
        where TColumns : struct, ITileColumns
    {
        for (int m = Group.IdxX; m < Half * Half; m += Group.DimX)
        {
            int i = RowOfCells(m), j = m % Half;
            if (i >= pair.Rows || j >= pair.Keys)
                continue;
            var dots = Dots<TColumns>(queryTile, i, keyTile, j) * scale;
            scores[(i * Pitch) + j] = dots.X;
            scores[(i * Pitch) + j + Half] = dots.Y;
            scores[((i + Half) * Pitch) + j] = dots.Z;
            scores[((i + Half) * Pitch) + j + Half] = dots.W;
        }
    }

    /// <summary>M ∘ exp(S − m'), m' the row's maximum so far, and Σ exp(S − m') in parts, one a thread of the row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void SetProbabilities(
        TilePair pair, Head head, DropoutKey dropout, ArrayView<float> scores, RunningSoftmax softmax, ArrayView<uint> keptBits,
        ArrayView<float> probabilities)
    {
        for (int m = Group.IdxX; m < Tile * RowThreads; m += Group.DimX)
        {
            int i = m / RowThreads, part = m % RowThreads;
            if (i >= pair.Rows)
                continue;
            // The row's own keys: the others of the tile get no probability.
            int query = pair.FirstQuery + i, own = head.KeysSeenBy(query) - pair.FirstKey;
            float max = softmax.LargestBefore(i);
            for (int j = 0; j < pair.Keys && j < own; j++)
                max = default(Max).Combine(max, scores[(i * Pitch) + j]);
            // A block of random numbers serves four tiles of keys: draw it once and keep which cells stay.
            if (dropout.Drops && pair.FirstKey % KeysPerDraw == 0)
                keptBits[m] = KeptOfRow(dropout, (uint)(head.FirstQuery + query), pair.FirstKey, part, pair.Keys);
            uint kept = dropout.Drops ? keptBits[m] >> (pair.FirstKey / Tile % TilesPerDraw * CellsPerThread) : 0;
            float sum = 0f;
            for (int j = part; j < pair.Keys; j += RowThreads)
            {
                float e = j < own ? DeviceMath.Exp(scores[(i * Pitch) + j] - max) : 0f;
                sum += e;
                if (dropout.Drops)
                    e = ((kept >> (j / RowThreads)) & 1) != 0 ? e * dropout.Scale : 0f;
                probabilities[(i * Pitch) + j] = e;
            }
            softmax.SetPart(m, sum);
            if (part == 0)
                softmax.SetLargest(i, max);
        }
    }

    /// <summary>
    /// l' = l exp(m − m') + Σ exp(S − m'), and the output for the keys so far,
    /// O' = (l exp(m − m') O + (M ∘ exp(S − m')) v) / l'.
    /// Of all keys, log Σ exp(S) = m' + log l'.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddValues<TColumns, TAccess>(
        TilePair pair, Head head, RunningSoftmax softmax, ArrayView<float> probabilities, ArrayView<Float4> valueTile,
        ArrayView<float> output, ArrayView<float> logSumExp, bool isLast)
        where TColumns : struct, ITileColumns
        where TAccess : struct, IAccess
    {
        int count = (Half < pair.Rows ? Half : pair.Rows) * TColumns.Float4s;
        for (int m = Group.IdxX; m < count; m += Group.DimX)
        {
            int i = m / TColumns.Float4s, column = m % TColumns.Float4s;
            var sums = Product<TColumns>(probabilities, i * Pitch, Half * Pitch, 1, valueTile, column, pair.Keys);
            for (int high = 0; high < 2 && i < pair.Rows; high++, i += Half)
            {
                float old = softmax.OldTotal(i), sum = old + softmax.SumOfParts(i);
                // Only this thread touches these columns of the output.
                float inverse = 1f / sum;
                var y = (high == 0 ? sums.Low : sums.High) * inverse;
                long at = head.Query(pair.FirstQuery + i) + (4 * column);
                if (!softmax.IsFirst)
                    y += Float4.Load(output, at, head.Columns - (4 * column), TAccess.Wide) * (old * inverse);
                y.Store(output, at, head.Columns - (4 * column), TAccess.Wide);
                if (column == 0)
                {
                    softmax.SetTotal(i, sum);
                    if (isLast)
                        logSumExp[head.Row(pair.FirstQuery + i)] = softmax.LogSumExp(i, sum);
                }
            }
        }
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
        var shared = new BackwardMemory(
            SharedMemory.Allocate<Float4>(Tile * TColumns.Pitch),
            SharedMemory.Allocate<Float4>(Tile * TColumns.Pitch),
            SharedMemory.Allocate<Float4>(Tile * TColumns.Pitch),
            SharedMemory.Allocate<Float4>(Tile * TColumns.Pitch),
            SharedMemory.Allocate<float>(Tile * Pitch),
            SharedMemory.Allocate<float>(Tile * Pitch),
            SharedMemory.Allocate<Float4>(Tile),
            SharedMemory.Allocate<uint>(Half * Half));

        var head = new Head(a.QueryOffsets, a.KeyOffsets, Grid.IdxX, Grid.IdxY % a.Heads, a.Heads, a.Size, a.Causal);
        var dropout = a.Dropout.WithStream(a.Dropout.Stream + ((uint)head.Index << 16));
        int share = Grid.IdxY / a.Heads;
        bool addsKeys = share < a.Shares, addsQueries = a.Shares == 1 || !addsKeys;
        int keyStart = addsKeys ? share * Tile : 0, keyStep = addsKeys ? a.Shares * Tile : Tile;
        int queryStart = addsQueries ? share % a.Shares * Tile : 0, queryStep = addsQueries ? a.Shares * Tile : Tile;
        if (head.Queries == 0 && share == 0)
            ClearKeyGradients(head, a.DKv);
        for (int firstQuery = queryStart; firstQuery < head.Queries; firstQuery += queryStep)
        {
            int rows = Tile < head.Queries - firstQuery ? Tile : head.Queries - firstQuery;
            LoadTile<TColumns, TAccess>(a.Q, head.Query(firstQuery), head.Size, rows, head, shared.Queries);
            LoadTile<TColumns, TAccess>(a.DOutput, head.Query(firstQuery), head.Size, rows, head, shared.DOutput);
            SetRowSums<TAccess>(firstQuery, rows, head, a.DOutput, a.Output, shared.RowSums);
            // Tiles of keys that none of these queries sees are skipped. Four tiles share their random numbers.
            int seen = head.KeysSeenBy(firstQuery + rows - 1), drawn = -1;
            for (int firstKey = keyStart; firstKey < seen; firstKey += keyStep)
            {
                int keys = Tile < head.Keys - firstKey ? Tile : head.Keys - firstKey, chunk = firstKey / KeysPerDraw;
                var pair = new TilePair(firstQuery, rows, firstKey, keys);
                LoadTile<TColumns, TAccess>(a.Kv, head.Key(firstKey), 2 * head.Size, keys, head, shared.Keys);
                LoadTile<TColumns, TAccess>(a.Kv, head.Key(firstKey) + head.Size, 2 * head.Size, keys, head, shared.Values);
                Group.Barrier();
                SetDScores<TColumns>(pair, head, dropout, chunk, drawn, a.LogSumExp, a.Scale, shared);
                drawn = chunk;
                Group.Barrier();
                if (addsKeys)
                    AddKeyGradients<TColumns, TAccess>(pair, head, shared, a.DKv);
                if (addsQueries)
                    AddQueryGradients<TColumns, TAccess>(pair, head, shared, a.DQ);
                Group.Barrier();
            }
        }
    }

    /// <summary>dk = dv = 0, where nobody asks.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void ClearKeyGradients(Head head, ArrayView<float> dkv)
    {
        for (int i = Group.IdxX; i < head.Keys * head.Columns; i += Group.DimX)
        {
            long at = head.Key(i / head.Columns) + (i % head.Columns);
            dkv[at] = 0f;
            dkv[at + head.Size] = 0f;
        }
    }

    /// <summary>D = rowsum(dO ∘ O), in four parts, one a thread of the row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void SetRowSums<TAccess>(
        int firstQuery, int rows, Head head, ArrayView<float> dOutput, ArrayView<float> output, ArrayView<Float4> rowSums)
        where TAccess : struct, IAccess
    {
        for (int m = Group.IdxX; m < rows * RowThreads; m += Group.DimX)
        {
            long row = head.Query(firstQuery + (m / RowThreads));
            float sum = 0f;
            for (int column = m % RowThreads * 4; column < head.Columns; column += 4 * RowThreads)
            {
                var dO = Float4.Load(dOutput, row + column, head.Columns - column, TAccess.Wide);
                sum = AddDot(sum, dO, Float4.Load(output, row + column, head.Columns - column, TAccess.Wide));
            }
            rowSums.Cast<float>()[m] = sum;
        }
    }

    /// <summary>
    /// M ∘ P, and dS / √d = P ∘ (M ∘ (dO vᵀ) − D) / √d, P = exp(q kᵀ / √d − logSumExp). What M keeps is drawn for a
    /// chunk of four tiles of keys at once, unless it was the last to be drawn.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void SetDScores<TColumns>(
        TilePair pair, Head head, DropoutKey dropout, int chunk, int drawn, ArrayView<float> logSumExps, float scale,
        BackwardMemory shared)
        where TColumns : struct, ITileColumns
    {
        for (int m = Group.IdxX; m < Half * Half; m += Group.DimX)
        {
            int i = RowOfCells(m), j = m % Half;
            if (i >= pair.Rows || j >= pair.Keys)
                continue;
            if (dropout.Drops && chunk != drawn)
                shared.KeptBits[m] = KeptOfCells(dropout, chunk * KeysPerDraw, pair, head, i, j);
            uint kept = dropout.Drops ? shared.KeptBits[m] >> (pair.FirstKey / Tile % TilesPerDraw * CellsPerThread) : AllKept;
            var dots = Dots<TColumns>(shared.Queries, i, shared.Keys, j);
            var dProbabilities = Dots<TColumns>(shared.DOutput, i, shared.Values, j);
            for (int high = 0; high < 2 && i < pair.Rows; high++, i += Half)
            {
                int query = pair.FirstQuery + i, at = (i * Pitch) + j, own = head.KeysSeenBy(query) - pair.FirstKey;
                float logSumExp = logSumExps[head.Row(query)], rowSum = shared.RowSums[i].Sum;
                bool isLow = high == 0;
                var cell = new Cell(
                    isLow ? dots.X : dots.Z, isLow ? dProbabilities.X : dProbabilities.Z, logSumExp, rowSum,
                    (kept & 1) != 0 ? dropout.Scale : 0f, scale);
                shared.Probabilities[at] = j < own ? cell.Probability : 0f;
                shared.DScores[at] = j < own ? cell.DScore : 0f;
                if (j + Half < pair.Keys)
                {
                    cell = new Cell(
                        isLow ? dots.Y : dots.W, isLow ? dProbabilities.Y : dProbabilities.W, logSumExp, rowSum,
                        (kept & 2) != 0 ? dropout.Scale : 0f, scale);
                    shared.Probabilities[at + Half] = j + Half < own ? cell.Probability : 0f;
                    shared.DScores[at + Half] = j + Half < own ? cell.DScore : 0f;
                }
                kept >>= 2;
            }
        }
    }

    /// <summary>dv += (M ∘ P)ᵀ dO, dk += dSᵀ q / √d; set where these are the first queries that see the keys.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddKeyGradients<TColumns, TAccess>(TilePair pair, Head head, BackwardMemory shared, ArrayView<float> dkv)
        where TColumns : struct, ITileColumns
        where TAccess : struct, IAccess
    {
        bool isFirst = pair.FirstQuery == head.FirstToSee(pair.FirstKey);
        int count = (Half < pair.Keys ? Half : pair.Keys) * TColumns.Float4s;
        for (int m = Group.IdxX; m < count; m += Group.DimX)
        {
            int j = m / TColumns.Float4s, column = m % TColumns.Float4s;
            var dv = Product<TColumns>(shared.Probabilities, j, Half, Pitch, shared.DOutput, column, pair.Rows);
            var dk = Product<TColumns>(shared.DScores, j, Half, Pitch, shared.Queries, column, pair.Rows);
            AddTo<TAccess>(dkv, head.Key(pair.FirstKey + j), column, head, dk.Low, isFirst);
            AddTo<TAccess>(dkv, head.Key(pair.FirstKey + j) + head.Size, column, head, dv.Low, isFirst);
            if (j + Half < pair.Keys)
            {
                AddTo<TAccess>(dkv, head.Key(pair.FirstKey + j + Half), column, head, dk.High, isFirst);
                AddTo<TAccess>(dkv, head.Key(pair.FirstKey + j + Half) + head.Size, column, head, dv.High, isFirst);
            }
        }
    }

    /// <summary>dq += dS k / √d; set where these are the first keys.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddQueryGradients<TColumns, TAccess>(TilePair pair, Head head, BackwardMemory shared, ArrayView<float> dq)
        where TColumns : struct, ITileColumns
        where TAccess : struct, IAccess
    {
        bool isFirst = pair.FirstKey == 0;
        int count = (Half < pair.Rows ? Half : pair.Rows) * TColumns.Float4s;
        for (int m = Group.IdxX; m < count; m += Group.DimX)
        {
            int i = m / TColumns.Float4s, column = m % TColumns.Float4s;
            var sums = Product<TColumns>(shared.DScores, i * Pitch, Half * Pitch, 1, shared.Keys, column, pair.Keys);
            AddTo<TAccess>(dq, head.Query(pair.FirstQuery + i), column, head, sums.Low, isFirst);
            if (i + Half < pair.Rows)
                AddTo<TAccess>(dq, head.Query(pair.FirstQuery + i + Half), column, head, sums.High, isFirst);
        }
    }

    private sealed record Passes(GpuKernel<ForwardArguments> Forward, GpuKernel<BackwardArguments> Backward);

    /// <param name="Q">[Q, H]</param>
    /// <param name="Kv">[T, 2H]: keys, then values.</param>
    /// <param name="QueryOffsets">[B+1]</param>
    /// <param name="KeyOffsets">[B+1]</param>
    /// <param name="Heads">Their number.</param>
    /// <param name="Size">H</param>
    /// <param name="Causal">1 where a query sees its own key and the older ones, 0 where all.</param>
    /// <param name="Scale">1 / √d</param>
    /// <param name="Dropout">Of the probabilities of head 0.</param>
    /// <param name="Output">[Q, H]</param>
    /// <param name="LogSumExp">[Q, heads]</param>
    internal readonly record struct ForwardArguments(
        ArrayView<float> Q, ArrayView<float> Kv, ArrayView<int> QueryOffsets, ArrayView<int> KeyOffsets, int Heads, int Size, int Causal,
        float Scale, DropoutKey Dropout, ArrayView<float> Output, ArrayView<float> LogSumExp);

    /// <param name="DOutput">[Q, H]</param>
    /// <param name="Q">[Q, H]</param>
    /// <param name="Kv">[T, 2H]: keys, then values.</param>
    /// <param name="Output">[Q, H]</param>
    /// <param name="LogSumExp">[Q, heads]</param>
    /// <param name="QueryOffsets">[B+1]</param>
    /// <param name="KeyOffsets">[B+1]</param>
    /// <param name="Heads">Their number.</param>
    /// <param name="Shares">Groups that share the keys of a sequence and head; where it is not 1, as many others share the queries.</param>
    /// <param name="Size">H</param>
    /// <param name="Causal">As in the forward, like Scale and Dropout.</param>
    /// <param name="Scale">1 / √d</param>
    /// <param name="Dropout">Of the probabilities of head 0.</param>
    /// <param name="DQ">[Q, H]</param>
    /// <param name="DKv">[T, 2H]</param>
    internal readonly record struct BackwardArguments(
        ArrayView<float> DOutput, ArrayView<float> Q, ArrayView<float> Kv, ArrayView<float> Output, ArrayView<float> LogSumExp,
        ArrayView<int> QueryOffsets, ArrayView<int> KeyOffsets, int Heads, int Shares, int Size, int Causal, float Scale,
        DropoutKey Dropout,
        ArrayView<float> DQ, ArrayView<float> DKv);
}
