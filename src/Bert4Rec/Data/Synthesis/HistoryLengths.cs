using Bert4Rec.Kernels;

namespace Bert4Rec.Data.Synthesis;

/// <summary>How many purchases each customer makes: few for most, many for some, and in sum what is asked for.</summary>
/// <remarks>
/// <para>P(n) ∝ 1 / (n + 2)², n = 1 … longest, with a median of 3; the longest is chosen so that the sum is right. Means from 4 or
/// so.</para>
/// <para>Where the mean is below that, P(n) ∝ 1 / (n + a)³, whose tail needs no bound to have a mean; a is chosen. At a mean of 1.93,
/// that of the real log's purchases, about two customers of three buy once, and of 285,000 the most loyal one buys some hundred
/// times.</para>
/// </remarks>
internal static class HistoryLengths
{
    private const double UsualOffset = 2;

    // Below the first the median would sink under 3; beyond the second the mean hardly grows.
    private const int ShortestMaximum = 20, LongestMaximum = 4096;

    /// <summary>
    /// Of the cubic law: at the lower end everybody buys once, at the upper end its mean is beyond the other law's least.
    /// </summary>
    private const double LeastOffset = -0.9999, MostOffset = 14;

    private const int OffsetBits = 50;

    private const uint Stream = 0x5409_0001;

    /// <summary>A length for each customer, in random order, with the given sum.</summary>
    /// <exception cref="InputException">No histories of these laws have that mean.</exception>
    public static int[] Draw(int users, int interactions, ulong seed)
    {
        if (WhyNot(users, interactions) is { } why)
            throw new InputException($"interactions {interactions}: {why}; give more or fewer of them, or of users");
        int[] lengths = interactions < Sum(Quantiles(users, UsualOffset, 2, ShortestMaximum))
            ? Short(users, interactions)
            : Long(users, interactions);

        // What is still missing goes to the longer quarter, one each.
        int longer = Math.Max(1, users / 4);
        long missing = interactions - Sum(lengths);
        for (long i = 0; i < missing; i++)
            lengths[users - 1 - (int)(i % longer)]++;
        new PhiloxSequence(seed, Stream, 0).Shuffle<int>(lengths);
        return lengths;
    }

    /// <summary>Why so many customers cannot have so many interactions; null where they can.</summary>
    public static string? WhyNot(int users, int interactions)
    {
        long most = Sum(Quantiles(users, UsualOffset, 2, LongestMaximum));
        return interactions < users || interactions > most ? $"{users} users have between {users} and {most} of them" : null;
    }

    /// <summary>The square law up to the largest longest whose sum is not above what is asked for.</summary>
    private static int[] Long(int users, int interactions)
    {
        int low = ShortestMaximum, high = LongestMaximum;
        while (low < high)
        {
            int middle = (low + high + 1) / 2;
            (low, high) = Sum(Quantiles(users, UsualOffset, 2, middle)) <= interactions ? (middle, high) : (low, middle - 1);
        }
        return Quantiles(users, UsualOffset, 2, low);
    }

    /// <summary>The cubic law with the largest offset whose sum is not above what is asked for.</summary>
    private static int[] Short(int users, int interactions)
    {
        double low = LeastOffset, high = MostOffset;
        for (int bit = 0; bit < OffsetBits; bit++)
        {
            double middle = (low + high) / 2;
            (low, high) = Sum(Quantiles(users, middle, 3, LongestMaximum)) <= interactions ? (middle, high) : (low, middle);
        }
        return Quantiles(users, low, 3, LongestMaximum);
    }

    /// <summary>
    /// The values of P(n) ∝ 1 / (n + offset)^power at (u + ½) / users, ascending: a sample without the noise of drawing one. Only sums,
    /// products and quotients of doubles are used, which are the same on every machine.
    /// </summary>
    private static int[] Quantiles(int users, double offset, int power, int longest)
    {
        var cumulative = new double[longest + 1];
        for (int n = 1; n <= longest; n++)
        {
            double place = n + offset;
            cumulative[n] = cumulative[n - 1] + (1.0 / (power == 2 ? place * place : place * place * place));
        }
        var lengths = new int[users];
        int length = 1;
        for (int u = 0; u < users; u++)
        {
            while (length < longest && cumulative[length] < (u + 0.5) / users * cumulative[longest])
                length++;
            lengths[u] = length;
        }
        return lengths;
    }

    private static long Sum(int[] lengths) => lengths.Sum(n => (long)n);
}
