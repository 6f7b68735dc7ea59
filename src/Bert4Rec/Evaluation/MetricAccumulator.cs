using Bert4Rec.Configuration;

namespace Bert4Rec.Evaluation;

/// <summary>
/// The metrics of RecBole 1.2.1, gathered sample by sample: memory is one counter an item and list length, never a users × items matrix.
/// </summary>
/// <remarks>
/// <para>With one target a sample, at position p (from 0) of its list, and 1[·] = 1 where true; the mean over samples of:
/// Recall@k = Hit@k = 1[p &lt; k]; Precision@k = 1[p &lt; k] / k; MRR@k = MAP@k = 1[p &lt; k] / (p + 1);
/// NDCG@k = 1[p &lt; k] / log₂(p + 2);
/// AveragePopularity@k = mean training count of the list's items; TailPercentage@k = share of the list's items among the least popular 10%
/// of those that occur in training (⌊10%⌋ of them, at least one; ties by id).</para>
/// <para>GAUC = mean of (n − r) / (n − 1), r the target's rank from 1 (the mean rank where scores tie) among n candidates; samples with
/// one candidate are left out, and the value is NaN where none is left.</para>
/// <para>Over all lists together, with c_i the number of lists that item i is in, N = Σ c_i, I the number of items <em>with</em> padding
/// (so RecBole) and D the number with c_i &gt; 0: ItemCoverage@k = D / I; GiniIndex@k = Σ (2j − I − 1) c_(j) / (I N), c_(j) ascending,
/// j from 1; ShannonEntropy@k = −Σ (c_i / N) ln(c_i / N) / D (RecBole's: the textbook has no D).</para>
/// </remarks>
internal sealed class MetricAccumulator
{
    private const double TailShare = 0.1;

    private readonly Metric[] _metrics;
    private readonly ListSums[] _lists;
    private readonly int[] _trainCounts;
    private readonly bool[] _isTail;
    private double _areas;
    private long _areaSamples;

    /// <summary>Whose samples are being added.</summary>
    private int _user = -1;

    /// <summary>So many of those were.</summary>
    private long _ownSamples;

    /// <summary>Those whose samples were added before.</summary>
    private long _users;

    /// <summary>Σ n_g² of those.</summary>
    private double _squaredSamples;

    /// <param name="metrics">What to report, in this order.</param>
    /// <param name="topK">The list lengths k to report.</param>
    /// <param name="trainItemCounts">[items] <see cref="TrainingStatistics.ItemCounts"/>; entry 0 is padding.</param>
    /// <exception cref="ArgumentException">No list length, or one below 1.</exception>
    public MetricAccumulator(IEnumerable<Metric> metrics, IEnumerable<int> topK, int[] trainItemCounts)
    {
        _metrics = [.. metrics];
        _lists = [.. topK.Select(k => new ListSums(k, trainItemCounts.Length))];
        if (_lists.Length == 0 || _lists.Min(list => list.K) < 1)
            throw new ArgumentException("every list length must be at least 1", nameof(topK));
        _trainCounts = trainItemCounts;
        _isTail = FindTail(trainItemCounts);
    }

    /// <summary>Samples added so far.</summary>
    public long Count { get; private set; }

    /// <summary>[items] How many of the longest lists an item is in.</summary>
    public int[] Places => _lists.MaxBy(list => list.K)!.Recommended;

    /// <summary>Adds a sample.</summary>
    /// <param name="topItems">The list, best first, of at least the greatest k places, or of as many as there are items; 0 from where the
    /// candidates ran out.</param>
    /// <param name="rank">Where the target stands among the candidates; <see cref="TargetRank.Last"/> is a miss at every k.</param>
    /// <param name="candidates">Number of items that were ranked, the target included.</param>
    /// <param name="user">Whose sample it is; a customer's samples are added one after the other.</param>
    public void Add(ReadOnlySpan<int> topItems, TargetRank rank, int candidates, int user)
    {
        if (user != _user)
            EndUser();
        _user = user;
        _ownSamples++;
        Count++;
        int position = rank.Position;
        foreach (var sums in _lists)
        {
            var list = topItems[..Math.Min(sums.K, topItems.Length)];
            int length = list.IndexOf(0);
            if (length >= 0)
                list = list[..length];
            if (position < sums.K)
            {
                sums.Hits.Add(1);
                sums.ReciprocalRanks.Add(1.0 / (position + 1));
                sums.Gains.Add(Gain(rank, sums.K));
            }
            if (list.Length == 0)
                continue;
            long popularity = 0, tail = 0;
            foreach (int item in list)
            {
                sums.Recommended[item]++;
                popularity += _trainCounts[item];
                tail += _isTail[item] ? 1 : 0;
            }
            sums.Popularity += (double)popularity / list.Length;
            sums.Tail += (double)tail / list.Length;
        }
        if (candidates > 1)
        {
            if (rank != TargetRank.Last)
                _areas += (candidates - 1 - rank.Greater - (0.5 * rank.Equal)) / (candidates - 1);
            _areaSamples++;
        }
    }

    /// <summary>NDCG@k of one sample: 1 / log₂(p + 2) where its target, at place p from 0, is among the first k, else 0.</summary>
    public static double Gain(TargetRank rank, int k) => rank.Position < k ? 1 / Math.Log2(rank.Position + 2) : 0;

    /// <summary>
    /// The standard error of each mean over samples, by its name: that of a <see cref="Comparison"/> with nothing. Metrics of the target's
    /// place alone have one; those of the lists, and GAUC, are left out, and with one customer all.
    /// </summary>
    public OrderedDictionary<string, double> StandardErrors()
    {
        EndUser();
        var result = new OrderedDictionary<string, double>();
        if (_users <= 1)
            return result;
        foreach (var metric in _metrics)
        {
            foreach (var sums in _lists)
            {
                if (MeanOf(metric, sums) is (var sum, var divisor))
                    result[Name(metric, sums)] = ErrorOf(sum) / divisor;
            }
        }
        return result;

        // √(G / (G − 1) Σ (S_g − n_g mean)²) / n, S_g the sum of a customer's n_g samples.
        double ErrorOf(UserSum sum)
        {
            double mean = sum.Total / Count, squares = sum.Squares - (2 * mean * sum.Products) + (mean * mean * _squaredSamples);
            return Math.Sqrt(Math.Max(0, squares) * _users / (_users - 1)) / Count;
        }
    }

    private void EndUser()
    {
        if (_ownSamples == 0)
            return;
        foreach (var sums in _lists)
        {
            // Metrics that share a sum end it twice: the second time there is nothing left of it.
            foreach (var metric in _metrics)
                MeanOf(metric, sums)?.Sum.EndUser(_ownSamples);
        }
        _users++;
        _squaredSamples += (double)_ownSamples * _ownSamples;
        _ownSamples = 0;
    }

    /// <summary>The values so far, by RecBole's names ("recall@10", "gauc"), in the order asked for.</summary>
    /// <exception cref="InvalidOperationException">No sample was added.</exception>
    public OrderedDictionary<string, double> Result()
    {
        if (Count == 0)
            throw new InvalidOperationException("metrics of no samples");
        var result = new OrderedDictionary<string, double>();
        foreach (var metric in _metrics)
        {
            if (metric == Metric.GAUC)
            {
                result["gauc"] = _areaSamples == 0 ? double.NaN : _areas / _areaSamples;
                continue;
            }
            foreach (var sums in _lists)
                result[Name(metric, sums)] = Value(metric, sums);
        }
        return result;
    }

    private static string Name(Metric metric, ListSums sums) => $"{metric.ToString().ToLowerInvariant()}@{sums.K}";

    /// <summary>The sum over samples whose mean is a metric of the target's place alone, and its divisor; null for other metrics.</summary>
    private static (UserSum Sum, double Divisor)? MeanOf(Metric metric, ListSums sums) => metric switch
    {
        Metric.Recall or Metric.Hit => (sums.Hits, 1),
        Metric.Precision => (sums.Hits, sums.K),
        Metric.MRR or Metric.MAP => (sums.ReciprocalRanks, 1),
        Metric.NDCG => (sums.Gains, 1),
        _ => null,
    };

    private double Value(Metric metric, ListSums sums) => metric switch
    {
        _ when MeanOf(metric, sums) is (var sum, var divisor) => sum.Total / divisor / Count,
        Metric.AveragePopularity => sums.Popularity / Count,
        Metric.TailPercentage => sums.Tail / Count,
        Metric.ItemCoverage => (double)sums.Recommended.Count(c => c > 0) / _trainCounts.Length,
        Metric.GiniIndex => GiniIndex(sums.Recommended),
        Metric.ShannonEntropy => ShannonEntropy(sums.Recommended),
        _ => throw new ArgumentOutOfRangeException(nameof(metric), metric, "unknown metric"),
    };

    private static double GiniIndex(int[] counts)
    {
        int[] ascending = [.. counts.Order()];
        double sum = 0, total = 0;
        for (int j = 0; j < ascending.Length; j++)
        {
            sum += (2.0 * (j + 1) - ascending.Length - 1) * ascending[j];
            total += ascending[j];
        }
        return sum / total / ascending.Length;
    }

    private static double ShannonEntropy(int[] counts)
    {
        double total = counts.Sum(c => (double)c);
        var shares = counts.Where(c => c > 0).Select(c => c / total).ToArray();
        return shares.Sum(p => p * -Math.Log(p)) / shares.Length;
    }

    private static bool[] FindTail(int[] trainCounts)
    {
        var seen = Enumerable.Range(0, trainCounts.Length).Where(i => trainCounts[i] > 0).OrderBy(i => trainCounts[i]).ToArray();
        var isTail = new bool[trainCounts.Length];
        foreach (int item in seen.Take(Math.Max((int)(seen.Length * TailShare), 1)))
            isTail[item] = true;
        return isTail;
    }

    /// <summary>Sums over the samples, for lists of one length.</summary>
    private sealed class ListSums(int k, int itemCount)
    {
        public readonly UserSum Hits = new(), ReciprocalRanks = new(), Gains = new();

        public double Popularity, Tail;

        /// <summary>[items] How many lists an item is in.</summary>
        public readonly int[] Recommended = new int[itemCount];

        public int K => k;
    }

    /// <summary>A sum over samples, and over customers what the error of its mean takes.</summary>
    private sealed class UserSum
    {
        private double _own;

        public double Total { get; private set; }

        /// <summary>Σ S_g²</summary>
        public double Squares { get; private set; }

        /// <summary>Σ n_g S_g</summary>
        public double Products { get; private set; }

        public void Add(double value)
        {
            Total += value;
            _own += value;
        }

        public void EndUser(long samples)
        {
            Squares += _own * _own;
            Products += samples * _own;
            _own = 0;
        }
    }
}
