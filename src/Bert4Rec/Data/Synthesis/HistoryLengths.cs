namespace Bert4Rec.Data.Synthesis;

/// <summary>
/// How many purchases each customer makes: P(n) ∝ 1 / (n + 2)², n = 1 … longest, whose median is 3 and whose tail is heavy. The longest is
/// chosen so that the purchases add up to what is asked for.
/// </summary>
internal static class HistoryLengths
{
    private const int Offset = 2;

    // Below the first the median would sink under 3; beyond the second the mean hardly grows.
    private const int ShortestMaximum = 20, LongestMaximum = 4096;

    private const uint Stream = 0x5409_0001;

    /// <summary>A length for each customer, in random order, with the given sum.</summary>
    /// <exception cref="InputException">That mean and a median of 3 do not go together.</exception>
    public static int[] Draw(int users, int interactions, ulong seed)
    {
        int low = ShortestMaximum, high = LongestMaximum;
        var lengths = Quantiles(users, low);
        long least = Sum(lengths), most = Sum(Quantiles(users, high));
        if (interactions < least || interactions > most)
        {
            throw new InputException(
                $"interactions {interactions}: short histories (median 3) of {users} users have between {least} and {most} of them");
        }
        while (low < high)
        {
            int middle = (low + high + 1) / 2;
            (low, high) = Sum(Quantiles(users, middle)) <= interactions ? (middle, high) : (low, middle - 1);
        }
        lengths = Quantiles(users, low);

        // What is still missing goes to the longer quarter, one each.
        int longer = Math.Max(1, users / 4);
        long missing = interactions - Sum(lengths);
        for (long i = 0; i < missing; i++)
            lengths[users - 1 - (int)(i % longer)]++;
        new PhiloxSequence(seed, Stream, 0).Shuffle<int>(lengths);
        return lengths;
    }

    /// <summary>The distribution's values at (u + ½) / users, ascending: a sample without the noise of drawing one.</summary>
    private static int[] Quantiles(int users, int longest)
    {
        var cumulative = new double[longest + 1];
        for (int n = 1; n <= longest; n++)
            cumulative[n] = cumulative[n - 1] + (1.0 / ((long)(n + Offset) * (n + Offset)));
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
