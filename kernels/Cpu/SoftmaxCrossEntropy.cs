namespace Bert4Rec.Kernels.Cpu;

/// <summary>
/// Softmax cross-entropy against the tied item table, without ever holding the scores: a tile of items is scored against a panel of masked
/// rows, one row a lane, so that maximum, sum and gradient run down the items without a horizontal step, and a tile of the table serves all
/// rows while it is in the cache. The backward gathers the panels' gradients of some more rows before it multiplies with them.
/// </summary>
internal static unsafe class SoftmaxCrossEntropy<V>
    where V : struct, IVector<V>
{
    /// <summary>Items of a tile: its scores, table rows and gradient rows stay near.</summary>
    private const int ItemTile = 48;

    public static void Forward(Scratch scratch, float* h, float* items, float* bias, int* targets, float* losses, float* logSumExp, int rows, int v, int size)
    {
        var panels = new Panels<V>(scratch, h, rows, size, ItemTile, 2);
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
                for (int lane = 0; lane < panelRows; lane += V.Width)
                    AddExponentials(scores + lane, panels.Lanes, tile, max + first + lane, sum + first + lane);
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

    /// <summary>The online softmax: the sum is of exp(score − max), so a larger maximum scales down what was summed before.</summary>
    private static void AddExponentials(float* scores, int stride, int tile, float* max, float* sum)
    {
        var before = V.Load(max);
        var largest = before;
        for (int i = 0; i < tile; i++)
            largest = V.Max(largest, V.Load(scores + (i * stride)));
        var total = V.Load(sum) * V.Exp(before - largest);
        for (int i = 0; i < tile; i++)
            total += V.Exp(V.Load(scores + (i * stride)) - largest);
        largest.Store(max);
        total.Store(sum);
    }

    public static void Backward(
        Scratch scratch, float* h, float* items, float* bias, int* targets, float* logSumExp, float scale, float* dh, float* dItems, float* dBias, int rows, int v, int size)
    {
        var panels = new Panels<V>(scratch, h, rows, size, ItemTile, 1);
        float* normaliser = panels.PerRow(0), dScores = panels.Scores;
        Buffer.MemoryCopy(logSumExp, normaliser, rows * sizeof(float), rows * sizeof(float));
        new Span<float>(dh, checked(rows * size)).Clear();
        int stride = Panels<V>.BlockStride;
        for (int item = 0; item < v; item += ItemTile)
        {
            int tile = Math.Min(ItemTile, v - item);
            float* table = items + ((long)item * size);
            var dTable = new Matrix(dItems + ((long)item * size), size);
            for (int block = 0; block < rows; block += Panels<V>.RowBlock)
            {
                int blockRows = Math.Min(Panels<V>.RowBlock, rows - block);
                for (int first = 0; first < blockRows; first += panels.Lanes)
                    panels.Score(table, bias + item, tile, block + first, dScores + first, stride);
                for (int i = 0; i < tile; i++)
                {
                    float* row = dScores + (i * stride);
                    V sum = 0;
                    for (int lane = 0; lane < blockRows; lane += V.Width)
                    {
                        var p = V.Exp(V.Load(row + lane) - V.Load(normaliser + block + lane));
                        p = V.SelectFirst(blockRows - lane, p * scale, 0);
                        sum += p;
                        p.Store(row + lane);
                    }
                    dBias[item + i] += V.Sum(sum);
                }
                for (int m = 0; m < blockRows; m++)
                {
                    int target = targets[block + m] - item;
                    if ((uint)target >= (uint)tile)
                        continue;
                    dScores[(target * stride) + m] -= scale;
                    dBias[item + target] -= scale;
                }
                Matrix blockH = new(h + ((long)block * size), size), blockDh = new(dh + ((long)block * size), size);
                Product<V>.MultiplyAdd(tile, size, blockRows, new(dScores, stride), blockH, dTable, dTable);
                Product<V>.MultiplyAdd(blockRows, size, tile, new(dScores, 1, stride), new(table, size), blockDh, blockDh);
            }
        }
    }
}

/// <summary>
/// Rows of h laid out for scoring items against them: panels of as many rows as a register tile is wide, transposed, so that a row is a lane.
/// </summary>
internal readonly unsafe ref struct Panels<V>
    where V : struct, IVector<V>
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
        Lanes = V.TileVectors * V.Width;
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
            Product<V>.Transpose(h + ((long)first * size), size, panelRows, size, _panels + ((long)first * size), Lanes);
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
        int columns = Product<V>.RoundUp(Math.Min(Lanes, _rows - first));
        var panel = new Matrix(_panels + ((long)first * _size), Lanes);
        Product<V>.MultiplyAdd(tile, columns, _size, new(items, _size), panel, new(_zeros, 0), new(scores, stride));
        for (int i = 0; i < tile; i++)
        {
            V b = bias[i];
            float* row = scores + (i * stride);
            for (int lane = 0; lane < columns; lane += V.Width)
                (V.Load(row + lane) + b).Store(row + lane);
        }
    }
}
