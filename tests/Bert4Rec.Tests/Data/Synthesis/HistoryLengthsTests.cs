using Bert4Rec.Data.Synthesis;

namespace Bert4Rec.Tests.Synthesis;

public class HistoryLengthsTests
{
    [Theory]
    [InlineData(8_000, 50_000)]
    [InlineData(1_000, 4_321)]
    [InlineData(3_000, 42_000)]
    [InlineData(100, 600)]
    public void Lengths_have_the_sum_a_median_of_three_and_a_heavy_tail(int users, int interactions)
    {
        int[] lengths = [.. HistoryLengths.Draw(users, interactions, 1).Order()];
        Assert.Equal(users, lengths.Length);
        Assert.Equal(interactions, lengths.Sum());
        Assert.Equal(3, lengths[users / 2]);
        Assert.Equal(1, lengths[0]);
        Assert.True(lengths[^1] >= 19, $"the longest of {users} is {lengths[^1]}");
    }

    [Fact]
    public void Order_depends_on_the_seed_only()
    {
        Assert.Equal(HistoryLengths.Draw(500, 3_000, 1), HistoryLengths.Draw(500, 3_000, 1));
        Assert.NotEqual(HistoryLengths.Draw(500, 3_000, 1), HistoryLengths.Draw(500, 3_000, 2));
    }

    [Theory]
    [InlineData(285_000, 549_446)]
    [InlineData(10_000, 19_300)]
    [InlineData(1_000, 1_300)]
    [InlineData(1_000, 3_600)]
    [InlineData(1_000, 1_000)]
    public void Where_the_mean_is_small_most_buy_once_or_twice_and_some_often(int users, int interactions)
    {
        int[] lengths = [.. HistoryLengths.Draw(users, interactions, 1).Order()];
        Assert.Equal(users, lengths.Length);
        Assert.Equal(interactions, lengths.Sum());
        Assert.Equal(1, lengths[0]);
        if (interactions > users)
            Assert.True(lengths[^1] >= 10, $"the longest of {users} is {lengths[^1]}");
    }

    [Fact]
    public void Histories_at_the_size_of_the_real_purchases_are_as_short_as_theirs_and_long_tailed()
    {
        int[] lengths = HistoryLengths.Draw(285_000, 549_446, 2020);
        Assert.InRange(lengths.Count(n => n == 1) / 285_000.0, 0.6, 0.7);
        Assert.InRange(lengths.Count(n => n >= 10) / 285_000.0, 0.005, 0.05);
        Assert.InRange(lengths.Max(), 200, 2_000);
    }

    [Theory]
    [InlineData(1_000, 999)]
    [InlineData(1_000, 100_000)]
    public void A_mean_that_does_not_fit_is_refused_with_what_would(int users, int interactions)
    {
        var error = Assert.Throws<InputException>(() => HistoryLengths.Draw(users, interactions, 1));
        Assert.Contains($"interactions {interactions}", error.Message);
        Assert.Contains("between 1000 and", error.Message);
    }
}
