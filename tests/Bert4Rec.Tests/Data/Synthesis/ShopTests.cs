using Bert4Rec.Data.Synthesis;
using Bert4Rec.Kernels;

namespace Bert4Rec.Tests.Synthesis;

/// <summary>The shop's probabilities against what it draws, and against what its structure promises.</summary>
public class ShopTests
{
    private static readonly ShopParameters Parameters = new() { Items = 120, ItemsPerCategory = 20, BrandsPerCategory = 4 };

    private static readonly Shop Small = new(Parameters);

    public static TheoryData<int[]> Histories =>
        [[], [7], [7, 7], [100, 3], [3, 100], [1, 2, 3, 50, 51, 50, 119, 0, 64], [.. Enumerable.Range(0, 60).Select(i => i * 37 % 120)]];

    [Theory]
    [MemberData(nameof(Histories))]
    public void Probabilities_sum_to_one(int[] history)
    {
        double[] p = Probabilities(Small, history);
        Assert.Equal(1, p.Sum(), 1e-12);
        Assert.All(p, x => Assert.InRange(x, double.Epsilon, 1));
    }

    [Theory]
    [MemberData(nameof(Histories))]
    public void Draws_are_as_frequent_as_the_probabilities_say(int[] history)
    {
        const int draws = 400_000;
        double[] p = Probabilities(Small, history);
        var counts = new int[p.Length];
        var random = new PhiloxSequence(99, 1, 2);
        for (int i = 0; i < draws; i++)
            counts[Small.Draw(history, ref random)]++;

        // Pearson's statistic has mean and variance about the degrees of freedom and twice that.
        double statistic = p.Zip(counts, (expected, count) => Math.Pow(count - (draws * expected), 2) / (draws * expected)).Sum();
        int freedom = p.Length - 1;
        Assert.InRange(statistic, freedom - (5 * Math.Sqrt(2 * freedom)), freedom + (5 * Math.Sqrt(2 * freedom)));
    }

    [Fact]
    public void The_one_before_the_last_and_the_whole_history_matter()
    {
        // Items 0 and 100 are of different categories, and only the second last differs.
        Assert.NotEqual(Small.CategoryOf(0), Small.CategoryOf(100));
        Assert.True(Distance(Probabilities(Small, [0, 50]), Probabilities(Small, [100, 50])) > 0.3);

        // The same last two, other brands long before.
        int[] brandItems = [.. Enumerable.Range(0, 120).DistinctBy(Small.BrandOf)];
        double[] one = Probabilities(Small, [.. Enumerable.Repeat(brandItems[0], 8), 40, 50]);
        double[] other = Probabilities(Small, [.. Enumerable.Repeat(brandItems[1], 8), 40, 50]);
        Assert.True(Distance(one, other) > 0.3);
    }

    [Fact]
    public void A_customer_of_one_brand_stays_with_it_where_it_is_sold()
    {
        int[] history = [.. Enumerable.Repeat(5, 9)];
        double[] p = Probabilities(Small, history);
        int brand = Small.BrandOf(5);
        var selling = Enumerable.Range(0, 120).Where(i => Small.BrandOf(i) == brand).Select(Small.CategoryOf).ToHashSet();
        foreach (int category in selling)
        {
            double own = 0, all = 0;
            for (int item = 0; item < 120; item++)
            {
                // Without the repeats, which are of the brand anyway.
                double fresh = p[item] - (item == 5 ? Parameters.RepeatShare : 0);
                all += Small.CategoryOf(item) == category ? fresh : 0;
                own += Small.CategoryOf(item) == category && Small.BrandOf(item) == brand ? fresh : 0;
            }
            Assert.InRange(own / all, 9 / (9 + Parameters.BrandOpenness), 1);
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(9)]
    [InlineData(77)]
    [InlineData(1000)]
    public void A_shop_of_any_size_has_every_item_in_one_place(int items)
    {
        var shop = new Shop(new() { Items = items });
        Assert.Equal(1, Probabilities(shop, []).Sum(), 1e-12);
        Assert.Equal(1, Probabilities(shop, [items - 1, 0, 0]).Sum(), 1e-12);
        for (int item = 0; item < items; item++)
        {
            Assert.InRange(shop.CategoryOf(item), 0, shop.CategoryCount - 1);
            Assert.InRange(shop.BrandOf(item), 0, shop.BrandCount - 1);
        }
    }

    [Fact]
    public void Names_are_distinct()
    {
        Assert.Distinct(Enumerable.Range(0, 20_000).Select(ShopNames.Brand));
        Assert.Distinct(Enumerable.Range(0, 500).Select(ShopNames.Category));
    }

    [Fact]
    public void Impossible_shops_are_refused()
    {
        ShopParameters[] impossible =
        [
            new() { Users = 0 }, new() { Items = 0 }, new() { ItemsPerCategory = 0 }, new() { RepeatShare = 1 }, new() { LastShare = 0.8 },
            new() { SecondLastShare = -0.1 }, new() { FirstComplementShare = 1.5 }, new() { BrandOpenness = 0 },
            new() { PopularityOffset = 0 },
        ];
        Assert.All(impossible, parameters => Assert.Throws<InputException>(() => new Shop(parameters)));
    }

    private static double[] Probabilities(Shop shop, int[] history)
    {
        var p = new double[shop.ItemCount];
        shop.Probabilities(history, p);
        return p;
    }

    /// <summary>Total variation.</summary>
    private static double Distance(double[] p, double[] q) => p.Zip(q, (x, y) => Math.Abs(x - y)).Sum() / 2;
}
