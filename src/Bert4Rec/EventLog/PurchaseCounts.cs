using System.Runtime.InteropServices;

namespace Bert4Rec.EventLog;

/// <summary>
/// Who purchased what, which decides whether a sequence model has a chance on a log: in all rows that say so, those included that
/// <see cref="EventLogCleaner"/> drops for other gaps, or because they are there twice.
/// </summary>
internal sealed class PurchaseCounts
{
    private static readonly int[] _cores = [2, 3, 5, 10, 20];

    private readonly Dictionary<ulong, int> _users = [];
    private readonly Dictionary<ulong, int> _items = [];
    private readonly List<(int User, int Item)> _purchases = [];

    /// <summary>Share of the purchases that go to the most purchased tenth of the items; 0 without purchases.</summary>
    public double TopTenthShare => Share(ByItem().Take((_items.Count + 9) / 10).Sum());

    /// <summary>Share of the purchases of an item that the user had purchased before; 0 without purchases.</summary>
    public double RepeatShare => Share(_purchases.Count - _purchases.Distinct().LongCount());

    /// <param name="user">A hash of the user's id.</param>
    /// <param name="item">One of the item's.</param>
    public void Add(ulong user, ulong item) => _purchases.Add((IndexOf(_users, user), IndexOf(_items, item)));

    /// <summary>Users by their number of purchases.</summary>
    public SortedDictionary<int, long> HistoryLengths() =>
        new(Counts(_users.Count, purchase => purchase.User).CountBy(purchases => (int)purchases)
            .ToDictionary(group => group.Key, group => (long)group.Value));

    /// <summary>Purchases of the most purchased items, in falling order, at ranks 1, 2, 5, 10, 20, 50 and so on.</summary>
    public Dictionary<int, long> ItemPopularity()
    {
        long[] byItem = ByItem();
        return Ranks(byItem.Length).ToDictionary(rank => rank, rank => byItem[rank - 1]);
    }

    /// <summary>What is left for several k.</summary>
    public IEnumerable<CoreSize> Cores(CancellationToken cancellationToken)
    {
        List<(int User, int Item)> left = _purchases;
        foreach (int k in _cores)
        {
            // What is outside the core of a smaller k is outside this one too.
            while (true)
            {
                cancellationToken.ThrowIfCancellationRequested();
                var users = new int[_users.Count];
                var items = new int[_items.Count];
                foreach ((int user, int item) in left)
                {
                    users[user]++;
                    items[item]++;
                }
                List<(int User, int Item)> kept = [.. left.Where(purchase => users[purchase.User] >= k && items[purchase.Item] >= k)];
                bool stable = kept.Count == left.Count;
                left = kept;
                if (stable)
                {
                    yield return new CoreSize(k, users.LongCount(n => n > 0), items.LongCount(n => n > 0), kept.Count);
                    break;
                }
            }
        }
    }

    private double Share(long purchases) => _purchases.Count == 0 ? 0 : (double)purchases / _purchases.Count;

    private long[] ByItem()
    {
        long[] counts = Counts(_items.Count, purchase => purchase.Item);
        Array.Sort(counts, (a, b) => b.CompareTo(a));
        return counts;
    }

    private static int IndexOf(Dictionary<ulong, int> indices, ulong hash)
    {
        ref int index = ref CollectionsMarshal.GetValueRefOrAddDefault(indices, hash, out bool known);
        if (!known)
            index = indices.Count - 1;
        return index;
    }

    private long[] Counts(int size, Func<(int User, int Item), int> key)
    {
        var counts = new long[size];
        foreach ((int User, int Item) purchase in _purchases)
            counts[key(purchase)]++;
        return counts;
    }

    private static IEnumerable<int> Ranks(int items)
    {
        for (long decade = 1; decade <= items; decade *= 10)
        {
            foreach (int step in new[] { 1, 2, 5 })
            {
                if (decade * step <= items)
                    yield return (int)(decade * step);
            }
        }
    }
}
