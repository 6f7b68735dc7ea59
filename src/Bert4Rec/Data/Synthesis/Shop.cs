using Bert4Rec.Kernels;

namespace Bert4Rec.Data.Synthesis;

/// <summary>
/// A shop whose customers buy by known probabilities. There is no hidden state: what a customer buys next depends on what the log shows of
/// them, so the probability of every item given a history can be computed exactly, and with it the best that any recommender can reach.
/// </summary>
/// <remarks>
/// <para>Given a history of n purchases, the next one is</para>
/// <list type="bullet">
/// <item>with probability RepeatShare one of the n again, each purchase alike;</item>
/// <item>else an item of some category, brand and rank, chosen in this order. Category: with LastShare a complement of the last purchase's
/// category, with SecondLastShare a complement of the category before it (a first-order Markov chain cannot see that one), else by the
/// categories' popularity. Brand, among those that the category sells: in proportion to (the customer's purchases of the brand so far, in
/// any category) + BrandOpenness · (the brand's share of the category): a Pólya urn, so that everybody ends with brands of their own, and
/// one must look at the whole history to see which. Item: by its rank's popularity within category and brand.</item>
/// </list>
/// <para>With one purchase before, SecondLastShare goes to the last; with none, categories and brands go by popularity. Only additions,
/// products and quotients of doubles are used, which are the same on every machine.</para>
/// </remarks>
internal sealed class Shop
{
    // Streams of random numbers, one a purpose; customers use theirs as the row.
    private const uint CatalogueStream = 0x5409_0000;

    private readonly ShopParameters _parameters;

    /// <summary>[categories] Cumulative popularity.</summary>
    private readonly double[] _categoryShares;

    private readonly (int First, int Second)[] _complements;

    /// <summary>[categories × brands of a category] The brand in each slot, most popular first.</summary>
    private readonly int[] _slotBrands;

    /// <summary>[categories × brands] The slot of a brand in a category, or −1 where it is not sold.</summary>
    private readonly int[] _slots;

    /// <summary>[brands of a category] Cumulative popularity, the same in every category.</summary>
    private readonly double[] _brandShares;

    /// <summary>[categories × brands of a category + 1] The items of a category and slot, by rank, begin here.</summary>
    private readonly int[] _groupStarts;

    /// <summary>[items of the largest group + 1] Σ of the first so many ranks' weights.</summary>
    private readonly double[] _rankWeights;

    private readonly int[] _itemGroups;

    public Shop(ShopParameters parameters)
    {
        parameters.Validate();
        _parameters = parameters;
        var random = new PhiloxSequence(parameters.Seed, CatalogueStream, 0);
        CategoryCount = parameters.CategoryCount;

        // A group (category, brand) must not be empty.
        BrandsPerCategory = Math.Min(parameters.BrandsPerCategory, parameters.Items / CategoryCount);
        BrandCount = BrandsPerCategory * 2;
        _categoryShares = Cumulative(CategoryCount, 3);
        _brandShares = Cumulative(BrandsPerCategory, parameters.PopularityOffset);

        int[] circle = [.. Enumerable.Range(0, CategoryCount)];
        random.Shuffle<int>(circle);
        _complements = new (int, int)[CategoryCount];
        for (int i = 0; i < CategoryCount; i++)
            _complements[circle[i]] = (circle[(i + 1) % CategoryCount], circle[(i + 3) % CategoryCount]);

        int groups = CategoryCount * BrandsPerCategory;
        _slotBrands = new int[groups];
        _slots = new int[CategoryCount * BrandCount];
        Array.Fill(_slots, -1);
        int[] brands = [.. Enumerable.Range(0, BrandCount)];
        for (int category = 0; category < CategoryCount; category++)
        {
            random.Shuffle<int>(brands);
            for (int slot = 0; slot < BrandsPerCategory; slot++)
            {
                _slotBrands[(category * BrandsPerCategory) + slot] = brands[slot];
                _slots[(category * BrandCount) + brands[slot]] = slot;
            }
        }

        _groupStarts = new int[groups + 1];
        _itemGroups = new int[parameters.Items];
        for (int group = 0; group < groups; group++)
        {
            _groupStarts[group + 1] = (int)((long)parameters.Items * (group + 1) / groups);
            _itemGroups.AsSpan(_groupStarts[group].._groupStarts[group + 1]).Fill(group);
        }
        int largest = Enumerable.Range(0, groups).Max(group => _groupStarts[group + 1] - _groupStarts[group]);
        _rankWeights = [0, .. RunningSums(largest, parameters.PopularityOffset)];
    }

    public int ItemCount => _parameters.Items;

    public int CategoryCount { get; }

    public int BrandCount { get; }

    /// <summary>Brands that each category sells.</summary>
    public int BrandsPerCategory { get; }

    public int CategoryOf(int item) => _itemGroups[item] / BrandsPerCategory;

    public int BrandOf(int item) => _slotBrands[_itemGroups[item]];

    /// <summary>Draws the next purchase after a history.</summary>
    /// <param name="history">Items, oldest first.</param>
    public int Draw(ReadOnlySpan<int> history, ref PhiloxSequence random)
    {
        if (history.Length > 0 && random.NextUnit() < _parameters.RepeatShare)
            return history[(int)random.NextBelow(history.Length)];
        int category = DrawCategory(history, ref random);
        int group = (category * BrandsPerCategory) + DrawSlot(category, history, ref random);
        int size = _groupStarts[group + 1] - _groupStarts[group];
        return _groupStarts[group] + CumulativeWeights.Find<double>(_rankWeights.AsSpan(1, size), random.NextUnit() * _rankWeights[size]);
    }

    /// <summary>The probability of every item to be the next purchase.</summary>
    /// <param name="history">Items, oldest first.</param>
    /// <param name="probabilities">[items], overwritten.</param>
    public void Probabilities(ReadOnlySpan<int> history, Span<double> probabilities)
    {
        double fresh = history.IsEmpty ? 1 : 1 - _parameters.RepeatShare;
        Span<int> purchases = stackalloc int[BrandsPerCategory];
        for (int category = 0; category < CategoryCount; category++)
        {
            double ofCategory = fresh * CategoryProbability(category, history);
            int known = CountSlots(category, history, purchases);
            for (int slot = 0; slot < BrandsPerCategory; slot++)
            {
                double share = _brandShares[slot] - (slot == 0 ? 0 : _brandShares[slot - 1]);
                double ofBrand = (purchases[slot] + (_parameters.BrandOpenness * share)) / (known + _parameters.BrandOpenness);
                int group = (category * BrandsPerCategory) + slot;
                int start = _groupStarts[group], size = _groupStarts[group + 1] - start;
                for (int rank = 0; rank < size; rank++)
                {
                    double ofItem = (_rankWeights[rank + 1] - _rankWeights[rank]) / _rankWeights[size];
                    probabilities[start + rank] = ofCategory * ofBrand * ofItem;
                }
            }
        }
        foreach (int item in history)
            probabilities[item] += _parameters.RepeatShare / history.Length;
    }

    private int DrawCategory(ReadOnlySpan<int> history, ref PhiloxSequence random)
    {
        double source = random.NextUnit();
        if (history.IsEmpty || source >= _parameters.LastShare + _parameters.SecondLastShare)
            return CumulativeWeights.Find<double>(_categoryShares, random.NextUnit());
        int cause = source < _parameters.LastShare || history.Length == 1 ? history[^1] : history[^2];
        var (first, second) = _complements[CategoryOf(cause)];
        return random.NextUnit() < _parameters.FirstComplementShare ? first : second;
    }

    private double CategoryProbability(int category, ReadOnlySpan<int> history)
    {
        double popularity = _categoryShares[category] - (category == 0 ? 0 : _categoryShares[category - 1]);
        if (history.IsEmpty)
            return popularity;
        return (_parameters.LastShare * Complements(history[^1]))
            + (_parameters.SecondLastShare * Complements(history[^Math.Min(history.Length, 2)]))
            + ((1 - _parameters.LastShare - _parameters.SecondLastShare) * popularity);

        double Complements(int cause)
        {
            var (first, second) = _complements[CategoryOf(cause)];
            double share = _parameters.FirstComplementShare;
            return (first == category ? share : 0) + (second == category ? 1 - share : 0);
        }
    }

    private int DrawSlot(int category, ReadOnlySpan<int> history, ref PhiloxSequence random)
    {
        Span<int> purchases = stackalloc int[BrandsPerCategory];
        int known = CountSlots(category, history, purchases);
        double place = random.NextUnit() * (known + _parameters.BrandOpenness);
        for (int slot = 0; slot < BrandsPerCategory; slot++)
        {
            if (place < purchases[slot])
                return slot;
            place -= purchases[slot];
        }
        return CumulativeWeights.Find<double>(_brandShares, place / _parameters.BrandOpenness);
    }

    /// <summary>The customer's purchases of each brand that the category sells.</summary>
    /// <returns>Their sum.</returns>
    private int CountSlots(int category, ReadOnlySpan<int> history, Span<int> purchases)
    {
        purchases.Clear();
        int known = 0;
        var slots = _slots.AsSpan(category * BrandCount, BrandCount);
        foreach (int item in history)
        {
            int slot = slots[BrandOf(item)];
            if (slot < 0)
                continue;
            purchases[slot]++;
            known++;
        }
        return known;
    }

    private static double[] Cumulative(int count, double offset)
    {
        double[] sums = RunningSums(count, offset);
        return [.. sums.Select(sum => sum / sums[^1])];
    }

    /// <summary>Σ of 1 / (r + offset) over r = 0 … i (Zipf's law, shifted).</summary>
    private static double[] RunningSums(int count, double offset)
    {
        var sums = new double[count];
        double sum = 0;
        for (int i = 0; i < count; i++)
            sums[i] = sum += 1 / (i + offset);
        return sums;
    }
}
