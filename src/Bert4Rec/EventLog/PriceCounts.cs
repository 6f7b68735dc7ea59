using System.Runtime.InteropServices;

namespace Bert4Rec.EventLog;

/// <summary>How often each price occurs.</summary>
/// <param name="mostPrices">Distinct ones to tell apart; beyond it they are rounded.</param>
internal sealed class PriceCounts(int mostPrices)
{
    private readonly Dictionary<double, long> _prices = [];

    /// <summary>Whether there were too many to tell apart.</summary>
    public bool AreRounded { get; private set; }

    public void Add(double price, long rows = 1)
    {
        if (AreRounded)
            price = Round(price);
        CollectionsMarshal.GetValueRefOrAddDefault(_prices, price, out _) += rows;
        if (_prices.Count <= mostPrices || AreRounded)
            return;
        AreRounded = true;
        KeyValuePair<double, long>[] exact = [.. _prices];
        _prices.Clear();
        foreach ((double value, long count) in exact)
            Add(value, count);
    }

    /// <summary>What they are like; null without one.</summary>
    public NumberSummary? Summarize()
    {
        if (_prices.Count == 0)
            return null;
        // A power of two changes no digit, and keeps squares of absurd prices finite.
        double unit = _prices.Keys.Max(Math.Abs) > 1e100 ? Math.ScaleB(1, 700) : 1;
        KeyValuePair<double, long>[] prices =
            [.. _prices.Select(price => KeyValuePair.Create(price.Key / unit, price.Value)).OrderBy(price => price.Key)];
        long count = prices.Sum(price => price.Value);
        double mean = CompensatedSum(prices.Select(price => price.Key * price.Value)) / count;
        double squares = CompensatedSum(prices.Select(price => (price.Key - mean) * (price.Key - mean) * price.Value));
        return new NumberSummary(
            count,
            mean * unit,
            Math.Min(double.MaxValue, count > 1 ? Math.Sqrt(squares / (count - 1)) * unit : 0),
            prices[0].Key * unit,
            Quantile(prices, count, 0.25) * unit,
            Quantile(prices, count, 0.5) * unit,
            Quantile(prices, count, 0.75) * unit,
            prices[^1].Key * unit);
    }

    /// <summary>A price with 10 bits of its fraction: 0.05% off at most, and a few million of them at most.</summary>
    private static double Round(double price) =>
        BitConverter.Int64BitsToDouble((BitConverter.DoubleToInt64Bits(price) + (1L << 41)) & ~((1L << 42) - 1));

    /// <summary>Neumaier's sum: the lost low parts are added up beside it.</summary>
    private static double CompensatedSum(IEnumerable<double> values)
    {
        double sum = 0, lost = 0;
        foreach (double value in values)
        {
            double next = sum + value;
            lost += Math.Abs(sum) >= Math.Abs(value) ? sum - next + value : value - next + sum;
            sum = next;
        }
        return sum + lost;
    }

    /// <summary>The value at rank q·(count − 1), linear between its two neighbours.</summary>
    private static double Quantile(KeyValuePair<double, long>[] sorted, long count, double q)
    {
        double rank = q * (count - 1);
        long lower = (long)Math.Floor(rank);
        double a = At(lower), b = At(Math.Min(lower + 1, count - 1));
        return a + ((b - a) * (rank - lower));

        double At(long index)
        {
            int i = 0;
            for (long before = sorted[0].Value; before <= index; before += sorted[i].Value)
                i++;
            return sorted[i].Key;
        }
    }
}
