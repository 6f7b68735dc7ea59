using System.Runtime.CompilerServices;

namespace Bert4Rec.Kernels.Cpu;

/// <summary>
/// Scores and the k best of each row in one pass over the catalogue. A tile of scores is compared with every row's k-th best so far; once a
/// list has warmed up, hardly any item passes, and only those are looked at one by one.
/// </summary>
internal static unsafe class TopK<V>
    where V : struct, IVector<V>
{
    private const int ItemTile = 96;

    public static void Rank(
        Scratch scratch, float* h, float* items, float* bias, int* targets, int* excludedOffsets, int* excludedItems, int* topItems, float* topScores, int* targetRanks, int rows, int v, int size, int k)
    {
        new Span<int>(topItems, rows * k).Clear();
        new Span<float>(topScores, rows * k).Fill(float.NegativeInfinity);
        if (targetRanks != null)
            new Span<int>(targetRanks, rows * 3).Clear();
        var panels = new Panels<V>(scratch, h, rows, size, ItemTile, 3);
        float* least = panels.PerRow(0), targetScores = panels.PerRow(1), greater = panels.PerRow(2);
        new Span<float>(least, panels.PaddedRows).Fill(float.PositiveInfinity);
        new Span<float>(least, rows).Fill(float.NegativeInfinity);
        new Span<float>(targetScores, panels.PaddedRows).Fill(float.PositiveInfinity);
        if (targets != null)
        {
            // The same chain of multiply-adds as in a tile: a target ties with itself to the bit.
            for (int m = 0; m < rows; m++)
                targetScores[m] = panels.Score(items + ((long)targets[m] * size), bias + targets[m], 1, m / panels.Lanes * panels.Lanes)[m % panels.Lanes];
        }

        for (int item = 0; item < v; item += ItemTile)
        {
            int tile = Math.Min(ItemTile, v - item);
            for (int first = 0; first < rows; first += panels.Lanes)
            {
                int panelRows = Math.Min(panels.Lanes, rows - first);
                float* scores = panels.Score(items + ((long)item * size), bias + item, tile, first);
                for (int i = item == 0 ? 1 : 0; i < tile; i++)
                {
                    for (int lane = 0; lane < panelRows; lane += V.Width)
                    {
                        int row = first + lane;
                        var score = V.Load(scores + (i * panels.Lanes) + lane);
                        for (uint better = V.GreaterBits(score, V.Load(least + row)); better != 0; better &= better - 1)
                        {
                            int bit = System.Numerics.BitOperations.TrailingZeroCount(better), m = row + bit;
                            if (!IsExcluded(excludedOffsets, excludedItems, m, item + i))
                                least[m] = Insert(topItems + ((long)m * k), topScores + ((long)m * k), k, item + i, scores[(i * panels.Lanes) + lane + bit]);
                        }
                        if (targetRanks == null)
                            continue;
                        var target = V.Load(targetScores + row);
                        (V.Load(greater + row) + V.SelectGreater(score, target, 1, 0)).Store(greater + row);
                        for (uint equal = V.EqualBits(score, target); equal != 0; equal &= equal - 1)
                        {
                            int m = row + System.Numerics.BitOperations.TrailingZeroCount(equal);
                            if (m >= rows || item + i == targets[m])
                                continue;
                            targetRanks[(3 * m) + 1]++;
                            targetRanks[(3 * m) + 2] += item + i < targets[m] ? 1 : 0;
                        }
                    }
                }
            }
        }
        if (targetRanks == null)
            return;
        for (int m = 0; m < rows; m++)
            targetRanks[3 * m] = (int)greater[m];
    }

    public static void Score(float* h, float* items, float* bias, int* candidates, float* scores, int rows, int perRow, int size)
    {
        for (int b = 0; b < rows; b++)
        {
            float* row = h + ((long)b * size);
            for (int c = 0; c < perRow; c++)
            {
                long at = ((long)b * perRow) + c;
                scores[at] = Score(row, items + ((long)candidates[at] * size), bias[candidates[at]], size);
            }
        }
    }

    public static float Score(float* row, float* item, float bias, int size)
    {
        V sum = 0;
        for (int j = 0; j < size; j += V.Width)
            sum = V.MultiplyAdd(V.LoadFirst(row + j, size - j), V.LoadFirst(item + j, size - j), sum);
        return V.Sum(sum) + bias;
    }

    /// <summary>Puts an item behind all that score as much or more; items come in ascending order, so ties keep the lower id first.</summary>
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

    private static bool IsExcluded(int* offsets, int* items, int row, int item)
    {
        if (offsets == null)
            return false;
        return new ReadOnlySpan<int>(items + offsets[row], offsets[row + 1] - offsets[row]).BinarySearch(item) >= 0;
    }
}
