using Bert4Rec.Inference;
using Bert4Rec.Kernels;

namespace Bert4Rec.Tests.Inference;

public sealed class RecommenderTests(TrainedShop shop) : IClassFixture<TrainedShop>
{
    private const int Items = 40;

    [Fact]
    public void Lists_are_best_first_and_without_repetition()
    {
        using var recommender = TrainedShop.Open(shop.Model);
        var (list, unknown, isPopularity, _) = recommender.Recommend(Request(["p1", "p2"], 10));
        Assert.Empty(unknown);
        Assert.False(isPopularity);
        Assert.Equal(10, list.Select(item => item.Token).Distinct().Count());
        Assert.Equal(list.OrderByDescending(item => item.Score).Select(item => item.Token), list.Select(item => item.Token));
        Assert.All(list, item => Assert.Equal(["category", "brand", "price"], item.Fields.Select(field => field.Key)));
        Assert.All(list, item => Assert.All(item.Fields, field => Assert.NotEmpty(field.Value)));
    }

    [Fact]
    public void Seen_items_are_left_out_and_nothing_else_changes()
    {
        using var recommender = TrainedShop.Open(shop.Model);
        string[] history = ["p3", "p1", "p3", "p7"];
        var all = recommender.Recommend(Request(history, Items)).Items;
        var unseen = recommender.Recommend(Request(history, Items, excludeSeen: true)).Items;
        Assert.Equal(Items, all.Count);
        Assert.Equal(all.Select(Pair).Where(pair => !history.Contains(pair.Token)), unseen.Select(Pair));
        Assert.Equal(Items - 3, unseen.Count);
    }

    [Theory]
    [InlineData("quantum")]
    [InlineData("CPU")]
    [InlineData("")]
    [InlineData("cpu:0")]
    [InlineData("cuda:x")]
    [InlineData("cuda:-1")]
    [InlineData("cuda:0:1")]
    [InlineData(null)]
    public void What_is_no_device_is_a_sentence(string? device)
    {
        var error = Assert.Throws<DeviceException>(() => Recommender.Load(shop.Model, new() { Device = device! }));
        Assert.Equal($"'{device}' is no device: wanted auto, cpu, cuda[:i], opencl[:i], ilgpu-cpu or ptx[:sm]", error.Message);
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(100_000)]
    public void As_many_threads_as_no_machine_has_are_refused(int threads) =>
        Assert.Throws<ArgumentException>(() => Recommender.Load(shop.Model, new() { Threads = threads }));

    [Fact]
    public void A_disposed_one_says_nothing_more()
    {
        var recommender = TrainedShop.Open(shop.Model);
        recommender.Similar("p1", 1);
        recommender.Dispose();
        Assert.Throws<ObjectDisposedException>(() => recommender.Recommend(new RecommendationRequest { History = [] }));
        Assert.Throws<ObjectDisposedException>(() => recommender.Recommend([new RecommendationRequest { History = ["p1"], Allow = [] }]));
        Assert.Throws<ObjectDisposedException>(() => recommender.Similar("p1", 1));
        Assert.Throws<ObjectDisposedException>(() => recommender.Attention(["p1"]));
    }

    [Fact]
    public void More_than_the_catalogue_gives_the_catalogue()
    {
        using var recommender = TrainedShop.Open(shop.Model);
        var list = recommender.Recommend(Request(["p1"], 1000)).Items;
        Assert.Equal(Enumerable.Range(1, Items).Select(item => $"p{item}").Order(), list.Select(item => item.Token).Order());
    }

    [Fact]
    public void Unknown_tokens_are_named_and_left_out()
    {
        using var recommender = TrainedShop.Open(shop.Model);
        var (list, unknown, _, _) = recommender.Recommend(Request(["p1", "nonsense", "p2", "[PAD]", ""], 5));
        Assert.Equal(["nonsense", "[PAD]", ""], unknown);
        Assert.Equal(recommender.Recommend(Request(["p1", "p2"], 5)).Items.Select(Pair), list.Select(Pair));
    }

    [Fact]
    public void An_empty_history_gets_the_most_popular_items()
    {
        using var recommender = TrainedShop.Open(shop.Model);
        var counts = Rows().CountBy(row => row[1]).ToDictionary();
        foreach (string[] history in (string[][])[[], ["nonsense"]])
        {
            var (list, _, isPopularity, _) = recommender.Recommend(Request(history, 7, excludeSeen: true));
            Assert.True(isPopularity);
            Assert.Equal(counts.Values.OrderDescending().Take(7), list.Select(item => (int)item.Score));
            Assert.All(list, item => Assert.Equal(counts[item.Token], (int)item.Score));
        }
    }

    /// <summary>The short lists come from the catalogue's index where histories are few, the long ones never.</summary>
    [Theory]
    [InlineData(2, false)]
    [InlineData(2, true)]
    [InlineData(6, false)]
    [InlineData(6, true)]
    public void Many_histories_at_once_get_what_each_gets_alone(int k, bool excludeSeen)
    {
        using var recommender = TrainedShop.Open(shop.Model);
        var random = new Random(5);
        // More tokens than a micro-batch holds, some longer than the model's sequences, some empty.
        string[][] histories = [.. Enumerable.Range(0, 400).Select(_ =>
            Enumerable.Range(0, random.Next(14)).Select(_ => $"p{random.Next(1, Items + 3)}").ToArray())];
        RecommendationRequest[] requests = [.. histories.Select(history => Request(history, k, excludeSeen))];
        var together = recommender.Recommend(requests);
        Assert.Equal(histories.Length, together.Count);
        for (int i = 0; i < histories.Length; i++)
        {
            var alone = recommender.Recommend(requests[i]);
            Assert.Equal(alone.UnknownTokens, together[i].UnknownTokens);
            Assert.Equal(alone.Items.Select(item => item.Token), together[i].Items.Select(item => item.Token));
            Assert.All(alone.Items.Zip(together[i].Items), pair => Assert.Equal(pair.First.Score, pair.Second.Score, 1e-4f));
        }
        int first = 0;
        foreach (RecommendationRequest[] few in requests.Chunk(3))
        {
            foreach (var result in recommender.Recommend(few))
                Assert.Equal(together[first++].Items.Select(item => item.Token), result.Items.Select(item => item.Token));
        }
    }

    [Fact]
    public void Only_the_newest_events_of_a_long_history_count()
    {
        using var recommender = TrainedShop.Open(shop.Model);
        // More than the model's seven and the twenty whose followers the blend counts. Beyond, it knows only that an item was there.
        string[] newest = [.. Enumerable.Range(0, 21).Select(i => $"p{9 - (i % 7)}")];
        var expected = recommender.Recommend(Request(newest, 5)).Items;
        Assert.Equal(expected.Select(Pair), recommender.Recommend(Request(["p5", "p4", .. newest], 5)).Items.Select(Pair));
        Assert.NotEqual(expected.Select(Pair), recommender.Recommend(Request([.. newest[..^1], "p20"], 5)).Items.Select(Pair));
    }

    [Fact]
    public void A_user_is_known_by_their_events()
    {
        using var recommender = TrainedShop.Open(shop.Model);
        Assert.True(recommender.TryGetHistory("u5", out var history));
        Assert.Equal(Rows().Where(row => row[0] == "u5").OrderBy(row => long.Parse(row[2])).Select(row => row[1]), history);
        Assert.False(recommender.TryGetHistory("nobody", out history));
        Assert.Empty(history);
    }

    private static RecommendationRequest Request(string[] history, int k, bool excludeSeen = false) =>
        new() { History = history, K = k, ExcludeSeen = excludeSeen };

    /// <summary>The interactions: user, item, time.</summary>
    private IEnumerable<string[]> Rows() =>
        File.ReadLines(Path.Combine(shop.Config.DataPath, "shop", "shop.inter")).Skip(1).Select(line => line.Split('\t'));

    private static (string Token, float Score) Pair(Recommendation item) => (item.Token, item.Score);
}
