using System.Numerics;

namespace Bert4Rec.Kernels.Cpu;

/// <summary>
/// Scores and the k best of each row in one pass over the catalogue. A tile of scores is compared with every row's k-th best so far; once a
/// list has warmed up, hardly any item passes, and only those are looked at one by one. An excluded item's score becomes −∞, which
/// passes nowhere.
/// </summary>
internal static unsafe class TopK<V>
    where V : struct, IVector<V>
{
    private const int ItemTile = 96;

    /// <summary>Items that are counted in a float, which is exact up to 2²⁴.</summary>
    private const int CountedInFloats = ItemTile << 16;

    public static void Rank(
        Scratch scratch,
        Tensor h,
        WeightAndBias catalogue,
        Indices targets,
        Tensor targetBoosts,
        Exclusions exclusions,
        Indices topItems,
        Tensor topScores,
        Indices targetRanks)
    {
        int rows = h.Rows, k = topScores.Columns;
        int* target = targets.Pointer(), excludedOffset = exclusions.Offsets.Pointer(), excluded = exclusions.Items.Pointer();
        int* top = topItems.Pointer(), ranks = targetRanks.Pointer();
        float* topScore = topScores.Pointer(), boost = targetBoosts.Pointer();
        new Span<int>(top, rows * k).Clear();
        new Span<float>(topScore, rows * k).Fill(float.NegativeInfinity);
        if (ranks != null)
            new Span<int>(ranks, rows * 3).Clear();
        var panels = new Panels<V>(scratch, h, catalogue, ItemTile, 3);
        float* least = panels.PerRow(0), targetScore = panels.PerRow(1), greater = panels.PerRow(2);
        new Span<float>(least, panels.PaddedRows).Fill(float.PositiveInfinity);
        new Span<float>(least, rows).Fill(float.NegativeInfinity);
        new Span<float>(targetScore, panels.PaddedRows).Fill(float.PositiveInfinity);
        if (target != null)
        {
            // The same chain of multiply-adds as in a tile: a target ties with itself to the bit.
            for (int m = 0; m < rows; m++)
            {
                targetScore[m] = panels.Score(target[m], 1, m / panels.PanelRows * panels.PanelRows).Data[m % panels.PanelRows];
                if (boost == null)
                    continue;
                float score = targetScore[m];
                targetScore[m] += boost[m];
                // With less than its own score it would be counted as higher than itself.
                bool isCounted = excludedOffset == null || Excluded(m).BinarySearch(target[m]) < 0;
                if (score > targetScore[m] && isCounted)
                    greater[m]--;
            }
        }

        for (int item = 0; item < panels.Items; item += ItemTile)
        {
            int tile = Math.Min(ItemTile, panels.Items - item);
            if (item > 0 && item % CountedInFloats == 0)
                AddCounts();
            for (int first = 0; first < rows; first += panels.PanelRows)
            {
                int panelRows = Math.Min(panels.PanelRows, rows - first);
                var scores = panels.Score(item, tile, first);
                if (excludedOffset != null)
                    Exclude(new(excludedOffset + first, panelRows + 1), excluded, item, tile, scores);
                // Padding is never recommended.
                for (int i = item == 0 ? 1 : 0; i < tile; i++)
                {
                    float* itemScores = scores.Row(i);
                    for (int lane = 0; lane < panelRows; lane += V.Width)
                    {
                        int row = first + lane;
                        var score = V.Load(itemScores + lane);
                        for (uint better = V.GreaterBits(score, V.Load(least + row)); better != 0; better &= better - 1)
                        {
                            int bit = BitOperations.TrailingZeroCount(better), m = row + bit;
                            long at = (long)m * k;
                            least[m] = Insert(top + at, topScore + at, k, item + i, itemScores[lane + bit]);
                        }
                        if (ranks == null)
                            continue;
                        var wanted = V.Load(targetScore + row);
                        (V.Load(greater + row) + V.SelectGreater(score, wanted, 1, 0)).Store(greater + row);
                        for (uint equal = V.EqualBits(score, wanted); equal != 0; equal &= equal - 1)
                        {
                            int m = row + BitOperations.TrailingZeroCount(equal);
                            if (m >= rows || item + i == target[m])
                                continue;
                            ranks[(3 * m) + 1]++;
                            ranks[(3 * m) + 2] += item + i < target[m] ? 1 : 0;
                        }
                    }
                }
            }
        }
        AddCounts();

        void AddCounts()
        {
            for (int m = 0; m < rows && ranks != null; m++)
            {
                ranks[3 * m] += (int)greater[m];
                greater[m] = 0;
            }
        }

        ReadOnlySpan<int> Excluded(int row) => new(excluded + excludedOffset[row], excludedOffset[row + 1] - excludedOffset[row]);
    }

    public static void Score(Tensor h, WeightAndBias catalogue, Indices candidates, Tensor scores)
    {
        Matrix hs = new(h), items = new(catalogue.Weight), results = new(scores);
        float* bias = catalogue.Bias.Pointer();
        int* candidate = candidates.Pointer();
        for (int b = 0; b < scores.Rows; b++)
        {
            for (int c = 0; c < scores.Columns; c++, candidate++)
                results.Row(b)[c] = Score(hs.Row(b), items.Row(*candidate), bias[*candidate], h.Columns);
        }
    }

    public static float Score(float* row, float* item, float bias, int size)
    {
        V sum = 0;
        for (int j = 0; j < size; j += V.Width)
            sum = V.MultiplyAdd(V.LoadFirst(row + j, size - j), V.LoadFirst(item + j, size - j), sum);
        return V.Sum(sum) + bias;
    }

    /// <summary>Puts an item behind all that score as much or more: items come in ascending order, so the lower id wins a tie.</summary>
    /// <returns>The k-th best score now.</returns>
    public static float Insert(int* items, float* scores, int k, int item, float score)
    {
        int place = k - 1;
        for (; place > 0 && scores[place - 1] < score; place--)
        {
            scores[place] = scores[place - 1];
            items[place] = items[place - 1];
        }
        scores[place] = score;
        items[place] = item;
        return scores[k - 1];
    }

    /// <param name="offsets">[rows of the panel + 1]</param>
    /// <param name="items">The excluded items of all rows.</param>
    /// <param name="first">The tile's first item.</param>
    /// <param name="tile">Items of the tile.</param>
    /// <param name="scores">[tile, rows of the panel]</param>
    private static void Exclude(ReadOnlySpan<int> offsets, int* items, int first, int tile, Matrix scores)
    {
        for (int row = 0; row + 1 < offsets.Length; row++)
        {
            var excluded = new ReadOnlySpan<int>(items + offsets[row], offsets[row + 1] - offsets[row]);
            int at = excluded.BinarySearch(first);
            for (at = at < 0 ? ~at : at; at < excluded.Length && excluded[at] < first + tile; at++)
                scores.Row(excluded[at] - first)[row] = float.NegativeInfinity;
        }
    }
}
