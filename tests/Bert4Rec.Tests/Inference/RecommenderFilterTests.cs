using System.Globalization;
using Bert4Rec.Inference;

namespace Bert4Rec.Tests.Inference;

/// <summary>What may be recommended, beside the whole list with everything else taken out of it.</summary>
public sealed class RecommenderFilterTests(TrainedShop shop) : IClassFixture<TrainedShop>
{
    private const int Items = 40;

    private static readonly BlendWeights[] s_blends =
        [BlendWeights.None, new(1.2f, 100, -3, 2), new(0.5f, 10, 2, 4, Similar: 1.5f, Shrinkage: 20, Next: 3)];

    /// <summary>Few items and many, so that they are scored one by one, and left out of a ranking of all; with and without blend.</summary>
    [Fact]
    public void Lists_are_the_whole_list_without_what_may_not_be_in_it()
    {
        var random = new Random(11);
        foreach (var blend in s_blends)
        {
            using var recommender = TrainedShop.Open(shop.Blended(blend));
            for (int trial = 0; trial < 150; trial++)
            {
                string[] history = [.. Draw(random, random.Next(9))];
                var request = new RecommendationRequest
                {
                    History = history,
                    K = random.Next(1, 13),
                    ExcludeSeen = random.Next(2) == 0,
                    Allow = random.Next(3) == 0 ? [.. Draw(random, random.Next(50)), "nonsense"] : null,
                    Deny = random.Next(3) == 0 ? [.. Draw(random, random.Next(50)), "nonsense"] : null,
                    Filters = [.. Filters(random)],
                };
                var whole = recommender.Recommend(new RecommendationRequest { History = history, K = Items });
                var expected = whole.Items.Where(item => MayBeIn(item, request)).Take(request.K).ToArray();
                foreach (var result in new[] { recommender.Recommend(request) }.Concat(recommender.Recommend([request, request])))
                {
                    Assert.Equal(history.Length == 0, result.IsPopularity);
                    Assert.Equal(request.Allow is null ? [] : ["nonsense"], result.UnknownTokens);
                    Assert.Equal(expected.Select(item => item.Token), result.Items.Select(item => item.Token));
                    Assert.All(expected.Zip(result.Items), pair => Assert.Equal(pair.First.Score, pair.Second.Score, 1e-4f));
                }
            }
        }
    }

    [Fact]
    public void The_best_of_scores_are_those_of_a_sort()
    {
        var scores = new float[1000];
        var random = new Random(3);
        for (int i = 0; i < scores.Length; i++)
            scores[i] = random.Next(-20, 21) / 8f * (random.Next(2) == 0 ? 1 : -1);
        int[] items = [.. Enumerable.Range(5, scores.Length)];
        var expected = items.Zip(scores).OrderByDescending(pair => pair.Second).ThenBy(pair => pair.First).ToArray();
        foreach (int k in new[] { 1, 7, 999, 1000, 5000, 1 << 30, int.MaxValue })
            Assert.Equal(expected.Take(k), BestScores.Of(k, items, scores));
        Assert.Empty(BestScores.Of(3, [], []));
    }

    [Fact]
    public void What_leaves_nothing_gives_an_empty_list()
    {
        using var recommender = TrainedShop.Open(shop.Model);
        foreach (string[] history in (string[][])[["p1"], []])
        {
            var request = new RecommendationRequest { History = history };
            Assert.Empty(recommender.Recommend(request with { Allow = [] }).Items);
            Assert.Empty(recommender.Recommend(request with { Allow = ["nonsense"] }).Items);
            Assert.Empty(recommender.Recommend(request with { Deny = [.. Enumerable.Range(1, Items).Select(item => $"p{item}")] }).Items);
            Assert.Empty(recommender.Recommend(request with { Filters = [new("price") { Minimum = 1e9 }] }).Items);
            Assert.Empty(recommender.Recommend(request with { Filters = [new("brand") { AnyOf = [] }] }).Items);
        }
    }

    [Fact]
    public void Folders_whose_fields_have_no_types_are_filtered_by_what_their_values_are()
    {
        string old = shop.Copy(), items = Path.Combine(old, "items.tsv");
        var folder = ModelFolder.Load(old, null);
        string[] lines = File.ReadAllLines(items);
        Assert.Equal("item_id:token\tcategory:token_seq\tbrand:token\tprice:float", lines[0]);
        File.WriteAllText(items, string.Join('\n', ["item_id\tcategory\tbrand\tprice", .. lines[1..], ""]));
        ModelFolder.SaveModel(old, folder.Config, folder.Layout, folder.Parameters, folder.Blend?.Weights);
        using Recommender one = TrainedShop.Open(shop.Model), other = TrainedShop.Open(old);
        string[] category = [Field(one, "p2", "category").Split(' ')[^1]];
        double price = double.Parse(Field(one, "p2", "price"), CultureInfo.InvariantCulture);
        var request = new RecommendationRequest
        {
            History = ["p1"],
            Filters = [new("price") { Maximum = price }, new("category") { AnyOf = category }],
        };
        Assert.NotEmpty(one.Recommend(request).Items);
        Assert.Equal(
            one.Recommend(request).Items.Select(item => (item.Token, item.Score)),
            other.Recommend(request).Items.Select(item => (item.Token, item.Score)));
    }

    public static TheoryData<string, RecommendationRequest> BadRequests => new()
    {
        { "k", new() { K = 0 } },
        { "history", new() { History = null! } },
        { "history[1]", new() { History = ["p1", null!] } },
        { "allow[0]", new() { Allow = [null!] } },
        { "deny[2]", new() { Deny = ["p1", "p2", null!] } },
        { "filters", new() { Filters = null! } },
        { "filters[0]", new() { Filters = [null!] } },
        { "filters[0]", new() { Filters = [new("price")] } },
        { "filters[1].field", new() { Filters = [new("price") { Minimum = 1 }, new("colour") { AnyOf = ["red"] }] } },
        { "filters[0].field", new() { Filters = [new(null!) { AnyOf = ["red"] }] } },
        { "filters[0].min", new() { Filters = [new("brand") { Minimum = 1 }] } },
        { "filters[0].max", new() { Filters = [new("category") { Maximum = 1 }] } },
        { "filters[0].min", new() { Filters = [new("price") { Minimum = 2, Maximum = 1 }] } },
        { "filters[0].min", new() { Filters = [new("price") { Minimum = double.NaN }] } },
        { "filters[0].max", new() { Filters = [new("price") { Maximum = double.NaN }] } },
        { "filters[0].any_of", new() { Filters = [new("price") { AnyOf = ["1"] }] } },
        { "filters[0].any_of[1]", new() { Filters = [new("brand") { AnyOf = ["a", null!] }] } },
    };

    [Theory]
    [MemberData(nameof(BadRequests))]
    public async Task A_bad_request_is_refused_by_the_name_of_what_is_wrong(string name, RecommendationRequest request)
    {
        using var recommender = TrainedShop.Open(shop.Model);
        Assert.Equal(name, Assert.Throws<ArgumentException>(() => recommender.Recommend(request)).ParamName);
        Assert.Equal(name, (await Assert.ThrowsAsync<ArgumentException>(() => recommender.RecommendAsync(request))).ParamName);
        var error = Assert.Throws<ArgumentException>(() => recommender.Recommend([new() { History = ["p1"] }, request]));
        Assert.Equal($"requests[1].{name}", error.ParamName);
        Assert.Equal(10, recommender.Recommend(new RecommendationRequest { History = ["p1"] }).Items.Count);
    }

    private static IEnumerable<string> Draw(Random random, int count) =>
        Enumerable.Range(0, count).Select(_ => $"p{random.Next(1, Items + 1)}");

    private IEnumerable<FieldFilter> Filters(Random random)
    {
        string[][] rows = [.. ItemRows().Values];
        if (random.Next(3) == 0)
            yield return new("brand") { AnyOf = [.. random.GetItems(rows, random.Next(1, 9)).Select(row => row[1])] };
        if (random.Next(3) == 0)
            yield return new("category") { AnyOf = [.. random.GetItems(rows, random.Next(1, 3)).Select(row => row[0].Split(' ')[0])] };
        double price = double.Parse(random.GetItems(rows, 1)[0][2], CultureInfo.InvariantCulture);
        if (random.Next(3) == 0)
            yield return new("price") { Minimum = price };
        if (random.Next(3) == 0)
            yield return new("price") { Minimum = price / 3, Maximum = price };
    }

    private static bool MayBeIn(Recommendation item, RecommendationRequest request)
    {
        if (request.ExcludeSeen && request.History.Contains(item.Token))
            return false;
        if (!(request.Allow?.Contains(item.Token) ?? true) || (request.Deny?.Contains(item.Token) ?? false))
            return false;
        foreach (var filter in request.Filters)
        {
            string value = item.Fields.Single(field => field.Key == filter.Field).Value;
            bool passes = filter.AnyOf is { } tokens
                ? value.Split(' ').Any(tokens.Contains)
                : double.Parse(value, CultureInfo.InvariantCulture) >= (filter.Minimum ?? double.MinValue)
                    && double.Parse(value, CultureInfo.InvariantCulture) <= (filter.Maximum ?? double.MaxValue);
            if (!passes)
                return false;
        }
        return true;
    }

    /// <summary>Category, brand and price of each item.</summary>
    private Dictionary<string, string[]> ItemRows() =>
        File.ReadLines(Path.Combine(shop.Config.DataPath, "shop", "shop.item")).Skip(1)
            .Select(line => line.Split('\t')).ToDictionary(row => row[0], row => row[1..]);

    private static string Field(Recommender recommender, string item, string name) =>
        recommender.Find(item)!.Fields.Single(field => field.Key == name).Value;
}
