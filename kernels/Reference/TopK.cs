using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Kernels.Reference;

// Recommending: score every item, score = h · itemsᵀ + bias as in the loss, and order the catalogue by score. Padding, item 0, is never
// recommended; equal scores rank by lower id. An order has no derivative.

/// <summary>The best items of one row of scores, <see cref="Linear.Forward"/>(h, items, bias), and the rank of a given one.</summary>
public static class TopK
{
    /// <param name="scores">[V]</param>
    /// <param name="k">How many are wanted; fewer come where there are fewer.</param>
    /// <param name="excluded">Items that must not come.</param>
    /// <returns>The items, best first.</returns>
    public static int[] Best(Vector<double> scores, int k, IEnumerable<int> excluded) =>
        [.. Enumerable.Range(1, scores.Count - 1).Except(excluded).OrderByDescending(item => scores[item]).ThenBy(item => item).Take(k)];

    /// <summary>How many items score higher than the target, how many equally, and how many of these have a lower id.</summary>
    /// <param name="scores">[V]</param>
    /// <param name="target">Counts in none of the three.</param>
    /// <param name="excluded">Nor do these.</param>
    public static (int Higher, int Equal, int EqualWithLowerId) Rank(Vector<double> scores, int target, IEnumerable<int> excluded)
    {
        int[] others = [.. Enumerable.Range(1, scores.Count - 1).Except(excluded.Append(target))];
        return (others.Count(item => scores[item] > scores[target]),
            others.Count(item => scores[item] == scores[target]),
            others.Count(item => scores[item] == scores[target] && item < target));
    }

    /// <summary>scores[b, c] = h[b] · items[candidates[b·C + c]] + bias[that].</summary>
    /// <param name="h">[B, H]</param>
    /// <param name="items">[V, H]</param>
    /// <param name="bias">[V]</param>
    /// <param name="candidates">[B·C]</param>
    /// <returns>[B, C]</returns>
    public static Matrix<double> ScoreItems(Matrix<double> h, Matrix<double> items, Vector<double> bias, int[] candidates)
    {
        int count = candidates.Length / h.RowCount;
        return Matrix<double>.Build.Dense(h.RowCount, count, (b, c) =>
        {
            int item = candidates[(b * count) + c];
            return h.Row(b).DotProduct(items.Row(item)) + bias[item];
        });
    }
}
