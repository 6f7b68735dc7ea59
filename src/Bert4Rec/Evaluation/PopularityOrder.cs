namespace Bert4Rec.Evaluation;

/// <summary>The catalogue, most popular items first; items as popular as each other are tied, and the lower id comes first.</summary>
internal sealed class PopularityOrder
{
    /// <summary>[items] How many are more popular, how many others are tied, and how many of those come before.</summary>
    private readonly TargetRank[] _ranks;
    private readonly int[] _items;

    /// <param name="counts">[items] How often each occurs; that of padding is not looked at.</param>
    public PopularityOrder(int[] counts)
    {
        var keys = new long[counts.Length - 1];
        for (int item = 1; item < counts.Length; item++)
            keys[item - 1] = ((long)-counts[item] << 32) | (uint)item;
        keys.AsSpan().Sort();
        _items = Array.ConvertAll(keys, key => (int)key);
        _ranks = new TargetRank[counts.Length];
        for (int start = 0, end; start < _items.Length; start = end)
        {
            for (end = start; end < _items.Length && counts[_items[end]] == counts[_items[start]]; end++)
            {
            }
            for (int i = start; i < end; i++)
                _ranks[_items[i]] = new(start, end - start - 1, i - start);
        }
    }

    /// <summary>All items but padding, in order.</summary>
    public ReadOnlySpan<int> Items => _items;

    public TargetRank RankOf(int item) => _ranks[item];

    /// <summary>Where an item is among <see cref="Items"/>.</summary>
    public int PlaceOf(int item) => _ranks[item].Position;

    /// <summary>How many of some items, which are in this order, come before a place.</summary>
    public int CountBefore(int place, ReadOnlySpan<int> items)
    {
        int low = 0, high = items.Length;
        while (low < high)
        {
            int middle = (low + high) >>> 1;
            if (PlaceOf(items[middle]) < place)
                low = middle + 1;
            else
                high = middle;
        }
        return low;
    }
}
