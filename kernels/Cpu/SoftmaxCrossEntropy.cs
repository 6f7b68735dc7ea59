namespace Bert4Rec.Kernels.Cpu;

/// <summary>
/// Softmax cross-entropy against the tied item table, without ever holding the scores: a tile of items is scored against a panel of masked
/// rows, one row a lane, so that maximum, sum and gradient run down the items without a horizontal step, and a tile of the table serves all
/// rows while it is in the cache. The backward gathers the panels' gradients of some more rows before it multiplies with them.
/// </summary>
internal static unsafe class SoftmaxCrossEntropy<S, V>
    where S : struct, ISimd<V>
    where V : struct
{
    /// <summary>Items of a tile: its scores, table rows and gradient rows stay near.</summary>
    private const int ItemTile = 48;

    public static void Forward(Scratch scratch, float* h, float* items, float* bias, int* targets, float* losses, float* logSumExp, int rows, int v, int size)
    {
        var panels = new Panels<S, V>(scratch, h, rows, size, ItemTile, 2);
        float* max = panels.PerRow(0), sum = panels.PerRow(1);
        new Span<float>(max, panels.PaddedRows).Fill(-1e30f);
        new Span<float>(sum, panels.PaddedRows).Clear();
        for (int item = 0; item < v; item += ItemTile)
        {
            int tile = Math.Min(ItemTile, v - item);
            for (int first = 0; first < rows; first += panels.Lanes)
            {
                int panelRows = Math.Min(panels.Lanes, rows - first);
                float* scores = panels.Score(items + ((long)item * size), bias + item, tile, first);
                for (int lane = 0; lane < panelRows; lane += S.Width)
                {
                    float* column = scores + lane;
                    var before = S.Load(max + first + lane);
                    var largest = before;
                    for (int i = 0; i < tile; i++)
                        largest = S.Max(largest, S.Load(column + (i * panels.Lanes)));
                    var total = S.Multiply(S.Load(sum + first + lane), Simd<S, V>.Exp(S.Subtract(before, largest)));
                    for (int i = 0; i < tile; i++)
                        total = S.Add(total, Simd<S, V>.Exp(S.Subtract(S.Load(column + (i * panels.Lanes)), largest)));
                    S.Store(largest, max + first + lane);
                    S.Store(total, sum + first + lane);
                }
                for (int m = 0; m < panelRows; m++)
                {
                    int target = targets[first + m] - item;
                    if ((uint)target < (uint)tile)
                        losses[first + m] = -scores[(target * panels.Lanes) + m];
                }
            }
        }
        for (int m = 0; m < rows; m++)
        {
            logSumExp[m] = max[m] + MathF.Log(sum[m]);
            losses[m] += logSumExp[m];
        }
    }

    public static void Backward(
        Scratch scratch, float* h, float* items, float* bias, int* targets, float* logSumExp, float scale, float* dh, float* dItems, float* dBias, int rows, int v, int size)
    {
        var panels = new Panels<S, V>(scratch, h, rows, size, ItemTile, 1);
        float* normaliser = panels.PerRow(0), dScores = panels.Scores;
        Buffer.MemoryCopy(logSumExp, normaliser, rows * sizeof(float), rows * sizeof(float));
        new Span<float>(dh, checked(rows * size)).Clear();
        int stride = Panels<S, V>.BlockStride;
        for (int item = 0; item < v; item += ItemTile)
        {
            int tile = Math.Min(ItemTile, v - item);
            float* table = items + ((long)item * size), dTable = dItems + ((long)item * size);
            for (int block = 0; block < rows; block += Panels<S, V>.RowBlock)
            {
                int blockRows = Math.Min(Panels<S, V>.RowBlock, rows - block);
                for (int first = 0; first < blockRows; first += panels.Lanes)
                    panels.Score(table, bias + item, tile, block + first, dScores + first, stride);
                for (int i = 0; i < tile; i++)
                {
                    float* row = dScores + (i * stride);
                    var sum = S.Broadcast(0);
                    for (int lane = 0; lane < blockRows; lane += S.Width)
                    {
                        var p = Simd<S, V>.Exp(S.Subtract(S.Load(row + lane), S.Load(normaliser + block + lane)));
                        p = S.Select(Simd<S, V>.FirstLanes(blockRows - lane), S.Multiply(p, S.Broadcast(scale)), S.Broadcast(0));
                        sum = S.Add(sum, p);
                        S.Store(p, row + lane);
                    }
                    dBias[item + i] += S.Sum(sum);
                }
                for (int m = 0; m < blockRows; m++)
                {
                    int target = targets[block + m] - item;
                    if ((uint)target >= (uint)tile)
                        continue;
                    dScores[(target * stride) + m] -= scale;
                    dBias[item + target] -= scale;
                }
                float* blockH = h + ((long)block * size), blockDh = dh + ((long)block * size);
                MatMul<S, V>.Product(tile, size, blockRows, dScores, stride, 1, blockH, size, dTable, size, dTable, size);
                MatMul<S, V>.Product(blockRows, size, tile, dScores, 1, stride, table, size, blockDh, size, blockDh, size);
            }
        }
    }
}

/// <summary>
/// Rows of h laid out for scoring items against them: panels of as many rows as a register tile is wide, transposed, so that a row is a lane.
/// </summary>
internal readonly unsafe ref struct Panels<S, V>
    where S : struct, ISimd<V>
    where V : struct
{
    /// <summary>
    /// Rows whose scores of a tile are held at once, whole panels: enough for the sums over rows to be worth loading and storing their results.
    /// </summary>
    public const int RowBlock = 128;

    private readonly int _rows;
    private readonly int _size;
    private readonly float* _panels;
    private readonly float* _zeros;
    private readonly float* _perRow;

    /// <param name="scratch">Where the panels are put.</param>
    /// <param name="h">[rows, size]</param>
    /// <param name="rows">Rows of h.</param>
    /// <param name="size">Hidden size.</param>
    /// <param name="itemTile">Items scored at a time, at most.</param>
    /// <param name="perRow">How many arrays of a value a row the caller wants besides.</param>
    public Panels(Scratch scratch, float* h, int rows, int size, int itemTile, int perRow)
    {
        _rows = rows;
        _size = size;
        Lanes = S.TileVectors * S.Width;
        PaddedRows = (rows + Lanes - 1) / Lanes * Lanes;
        long scores = (long)itemTile * BlockStride;
        _zeros = scratch.Request((2L * Lanes) + ((long)perRow * PaddedRows) + scores + ((long)PaddedRows * size) + Lanes);
        new Span<float>(_zeros, 2 * Lanes).Clear();
        _perRow = _zeros + (2 * Lanes);
        new Span<float>(_perRow, perRow * PaddedRows).Clear();
        Scores = _perRow + ((long)perRow * PaddedRows);
        _panels = Scores + scores;
        for (int first = 0; first < rows; first += Lanes)
        {
            int panelRows = Math.Min(Lanes, rows - first);
            MatMul<S, V>.Transpose(h + ((long)first * size), size, panelRows, size, _panels + ((long)first * size), Lanes);
        }
    }

    /// <summary>Rows of a panel.</summary>
    public int Lanes { get; }

    /// <summary>The rows rounded up to whole panels.</summary>
    public int PaddedRows { get; }

    /// <summary>[PaddedRows], zero at first.</summary>
    public float* PerRow(int index) => _perRow + ((long)index * PaddedRows);

    /// <summary>Distance of a block's score rows: not a power of two, whose columns would share a few places of the cache.</summary>
    public static int BlockStride => RowBlock + 16;

    /// <summary>[items of a tile, BlockStride]</summary>
    public float* Scores { get; }

    /// <summary>scores[i, lane] = items[i] · h[first + lane] + bias[i], in <see cref="Scores"/>; valid until the next call.</summary>
    public float* Score(float* items, float* bias, int tile, int first)
    {
        Score(items, bias, tile, first, Scores, Lanes);
        return Scores;
    }

    /// <summary>The same into rows so far apart.</summary>
    public void Score(float* items, float* bias, int tile, int first, float* scores, int stride)
    {
        int columns = MatMul<S, V>.RoundUp(Math.Min(Lanes, _rows - first));
        MatMul<S, V>.Product(tile, columns, _size, items, _size, 1, _panels + ((long)first * _size), Lanes, _zeros, 0, scores, stride);
        for (int i = 0; i < tile; i++)
        {
            var b = S.Broadcast(bias[i]);
            float* row = scores + (i * stride);
            for (int lane = 0; lane < columns; lane += S.Width)
                S.Store(S.Add(S.Load(row + lane), b), row + lane);
        }
    }
}
