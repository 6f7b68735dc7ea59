namespace Bert4Rec.Kernels.Cpu;

/// <summary>
/// Softmax cross-entropy against the tied item table, without ever holding the scores: a tile of items is scored against a panel of masked
/// rows, one row a lane, so that maximum and sum run down the items without a horizontal step (the gradient has one an item, for its bias),
/// and a tile of the table serves all rows while it is in the cache. The backward gathers the panels' gradients of some more rows before it
/// multiplies with them.
/// </summary>
internal static unsafe class SoftmaxCrossEntropy<V>
    where V : struct, IVector<V>
{
    /// <summary>Items of a tile: its scores, table rows and gradient rows stay near.</summary>
    private const int ItemTile = 48;

    /// <summary>Below every score, and finite.</summary>
    private const float Lowest = -1e30f;

    public static void Forward(Scratch scratch, Tensor h, WeightAndBias catalogue, Indices targets, Tensor losses, Tensor logSumExp)
    {
        var panels = new Panels<V>(scratch, h, catalogue, ItemTile, 2);
        int* target = targets.Pointer();
        float* loss = losses.Pointer(), lse = logSumExp.Pointer(), max = panels.PerRow(0), sum = panels.PerRow(1);
        new Span<float>(max, panels.PaddedRows).Fill(Lowest);
        new Span<float>(sum, panels.PaddedRows).Clear();
        for (int item = 0; item < panels.Items; item += ItemTile)
        {
            int tile = Math.Min(ItemTile, panels.Items - item);
            for (int first = 0; first < h.Rows; first += panels.PanelRows)
            {
                int panelRows = Math.Min(panels.PanelRows, h.Rows - first);
                var scores = panels.Score(item, tile, first);
                for (int lane = 0; lane < panelRows; lane += V.Width)
                    AddExponentials(scores.FromColumn(lane), tile, max + first + lane, sum + first + lane);
                for (int m = 0; m < panelRows; m++)
                {
                    int row = target[first + m] - item;
                    if ((uint)row < (uint)tile)
                        loss[first + m] = -scores.Row(row)[m];
                }
            }
        }
        for (int m = 0; m < h.Rows; m++)
        {
            lse[m] = max[m] + MathF.Log(sum[m]);
            loss[m] += lse[m];
        }
    }

    public static void Backward(
        Scratch scratch,
        Tensor h,
        WeightAndBias catalogue,
        Indices targets,
        Tensor logSumExp,
        float scale,
        Tensor dh,
        WeightAndBias gradient)
    {
        var panels = new Panels<V>(scratch, h, catalogue, ItemTile, 1);
        int* target = targets.Pointer();
        float* lse = panels.PerRow(0), dBias = gradient.Bias.Pointer();
        Buffer.MemoryCopy(logSumExp.Pointer(), lse, h.Rows * sizeof(float), h.Rows * sizeof(float));
        new Span<float>(dh.Pointer(), checked((int)dh.Length)).Clear();
        Matrix hs = new(h), dhs = new(dh), items = new(catalogue.Weight), dItems = new(gradient.Weight), dScores = panels.Scores;
        for (int item = 0; item < panels.Items; item += ItemTile)
        {
            int tile = Math.Min(ItemTile, panels.Items - item);
            Matrix table = items.FromRow(item), dTable = dItems.FromRow(item);
            for (int block = 0; block < h.Rows; block += Panels<V>.RowBlock)
            {
                int blockRows = Math.Min(Panels<V>.RowBlock, h.Rows - block);
                for (int first = 0; first < blockRows; first += panels.PanelRows)
                    panels.Score(item, tile, block + first, dScores.FromColumn(first));
                for (int i = 0; i < tile; i++)
                    dBias[item + i] += ScaledSoftmax(dScores.Row(i), lse + block, blockRows, scale);
                for (int m = 0; m < blockRows; m++)
                {
                    int row = target[block + m] - item;
                    if ((uint)row >= (uint)tile)
                        continue;
                    dScores.Row(row)[m] -= scale;
                    dBias[item + row] -= scale;
                }
                Matrix blockH = hs.FromRow(block), blockDh = dhs.FromRow(block);
                Product<V>.MultiplyAdd(tile, h.Columns, blockRows, dScores, blockH, dTable, dTable);
                Product<V>.MultiplyAdd(blockRows, h.Columns, tile, dScores.Transposed, table, blockDh, blockDh);
            }
        }
    }

    /// <summary>Turns an item's scores into scale · softmax; returns their sum. Lanes past the rows become 0.</summary>
    private static float ScaledSoftmax(float* scores, float* logSumExp, int rows, float scale)
    {
        V sum = 0;
        for (int lane = 0; lane < rows; lane += V.Width)
        {
            var p = V.SelectFirst(rows - lane, V.Exp(V.Load(scores + lane) - V.Load(logSumExp + lane)) * scale, 0);
            sum += p;
            p.Store(scores + lane);
        }
        return V.Sum(sum);
    }

    /// <summary>The online softmax: the sum is of exp(score − max), so a larger maximum scales down what was summed before.</summary>
    private static void AddExponentials(Matrix scores, int tile, float* max, float* sum)
    {
        var before = V.Load(max);
        var largest = before;
        for (int i = 0; i < tile; i++)
            largest = V.Max(largest, V.Load(scores.Row(i)));
        var total = V.Load(sum) * V.Exp(before - largest);
        for (int i = 0; i < tile; i++)
            total += V.Exp(V.Load(scores.Row(i)) - largest);
        largest.Store(max);
        total.Store(sum);
    }
}

/// <summary>
/// The rows of h, laid out for scoring items against them: panels of as many rows as a register tile is wide, transposed, so that a row
/// is a lane.
/// </summary>
internal readonly unsafe ref struct Panels<V>
    where V : struct, IVector<V>
{
    /// <summary>
    /// Rows whose scores of a tile are held at once, whole panels: enough for the sums over rows to be worth loading and storing their
    /// results.
    /// </summary>
    public const int RowBlock = 128;

    private readonly int _rows;
    private readonly int _size;
    private readonly Matrix _items;
    private readonly float* _bias;
    private readonly Matrix _zeros;
    private readonly float* _panels;
    private readonly float* _perRow;

    /// <param name="scratch">Where the panels are put.</param>
    /// <param name="h">[M, H]</param>
    /// <param name="catalogue">weight [V, H], bias [V]</param>
    /// <param name="itemTile">Items scored at a time, at most.</param>
    /// <param name="perRow">How many arrays of a value a row the caller wants besides.</param>
    public Panels(Scratch scratch, Tensor h, WeightAndBias catalogue, int itemTile, int perRow)
    {
        (_rows, _size, Items) = (h.Rows, h.Columns, catalogue.Weight.Rows);
        _items = new(catalogue.Weight);
        _bias = catalogue.Bias.Pointer();
        PanelRows = V.TileVectors * V.Width;
        PaddedRows = (_rows + PanelRows - 1) / PanelRows * PanelRows;
        long scores = (long)itemTile * BlockStride;
        float* memory = scratch.Request((2L * PanelRows) + ((long)perRow * PaddedRows) + scores + ((long)PaddedRows * _size) + PanelRows);
        _zeros = new(memory, 0);
        _perRow = memory + (2 * PanelRows);
        Scores = new(_perRow + ((long)perRow * PaddedRows), BlockStride);
        _panels = Scores.Data + scores;
        new Span<float>(memory, (2 * PanelRows) + (perRow * PaddedRows)).Clear();
        var rows = new Matrix(h);
        for (int first = 0; first < _rows; first += PanelRows)
            Product<V>.Transpose(rows.FromRow(first), Math.Min(PanelRows, _rows - first), _size, Panel(first));
    }

    /// <summary>Items of the catalogue.</summary>
    public int Items { get; }

    /// <summary>Rows of a panel.</summary>
    public int PanelRows { get; }

    /// <summary>The rows rounded up to whole panels.</summary>
    public int PaddedRows { get; }

    /// <summary>[PaddedRows], zero at first.</summary>
    public float* PerRow(int index) => _perRow + ((long)index * PaddedRows);

    /// <summary>Distance of a block's score rows: not a power of two, whose columns would share a few places of the cache.</summary>
    public static int BlockStride => RowBlock + 16;

    /// <summary>Room for the scores of a tile and a block: [items of a tile, RowBlock], BlockStride apart.</summary>
    public Matrix Scores { get; }

    /// <summary>scores[i, lane] = items[item + i] · h[first + lane] + bias[item + i] of a panel; valid until the next call.</summary>
    public Matrix Score(int item, int tile, int first)
    {
        var scores = new Matrix(Scores.Data, PanelRows);
        Score(item, tile, first, scores);
        return scores;
    }

    /// <summary>The same, to where the caller wants it.</summary>
    public void Score(int item, int tile, int first, Matrix scores)
    {
        int columns = Product<V>.RoundUp(Math.Min(PanelRows, _rows - first));
        Product<V>.MultiplyAdd(tile, columns, _size, _items.FromRow(item), Panel(first), _zeros, scores);
        for (int i = 0; i < tile; i++)
        {
            V bias = _bias[item + i];
            float* row = scores.Row(i);
            for (int lane = 0; lane < columns; lane += V.Width)
                (V.Load(row + lane) + bias).Store(row + lane);
        }
    }

    /// <summary>[H, PanelRows], of the rows from the first on.</summary>
    private Matrix Panel(int first) => new(_panels + ((long)first * _size), PanelRows);
}
