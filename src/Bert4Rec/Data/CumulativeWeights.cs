using System.Numerics;

namespace Bert4Rec.Data;

/// <summary>Draws with weights, by their running sums.</summary>
internal static class CumulativeWeights
{
    /// <summary>The first index whose sum exceeds the place; the last one if rounding leaves none.</summary>
    public static int Find<T>(ReadOnlySpan<T> sums, T place)
        where T : IComparisonOperators<T, T, bool>
    {
        int low = 0, high = sums.Length - 1;
        while (low < high)
        {
            int middle = (low + high) / 2;
            (low, high) = sums[middle] > place ? (low, middle) : (middle + 1, high);
        }
        return low;
    }
}
