using Bert4Rec.Inference;

namespace Bert4Rec.Tests.Inference;

/// <summary>What a recommender says of items, and of itself.</summary>
public sealed class RecommenderItemTests(TrainedShop shop) : IClassFixture<TrainedShop>
{
    private const int Items = 40;

    [Fact]
    public void Similar_items_are_those_of_the_highest_cosine()
    {
        using var recommender = TrainedShop.Open(shop.Model);
        var folder = ModelFolder.Load(shop.Model, null);
        int size = folder.Layout.Shape.HiddenSize;
        for (int item = 1; item <= Items; item += 13)
        {
            string token = folder.Dataset.Items[item];
            var expected = Enumerable.Range(1, Items).Where(other => other != item)
                .Select(other => (Token: folder.Dataset.Items[other], Cosine: Cosine(Row(item), Row(other))))
                .OrderByDescending(other => other.Cosine).ToArray();
            var similar = recommender.Similar(token, 1000);
            Assert.Equal(expected.Select(other => other.Token), similar.Select(other => other.Token));
            Assert.All(expected.Zip(similar), pair => Assert.Equal(pair.First.Cosine, pair.Second.Score, 1e-5));
            Assert.Equal(similar.Take(3).Select(Pair), recommender.Similar(token, 3).Select(Pair));
            Assert.Equal(similar.Select(Pair), recommender.Similar(token, 1 << 30).Select(Pair));
            Assert.All(similar, other => Assert.Equal(recommender.Find(other.Token)!.Fields, other.Fields));
        }
        Assert.Equal("k", Assert.Throws<ArgumentException>(() => recommender.Similar("p1", 0)).ParamName);
        Assert.Equal("token", Assert.Throws<ArgumentException>(() => recommender.Similar("nonsense", 3)).ParamName);

        float[] Row(int item) => folder.Parameters[(item * size)..((item + 1) * size)];

        static double Cosine(float[] x, float[] y) =>
            x.Zip(y, (a, b) => (double)a * b).Sum() / Math.Sqrt(x.Sum(a => (double)a * a) * y.Sum(b => (double)b * b));

        static (string, float) Pair(Recommendation item) => (item.Token, item.Score);
    }

    [Fact]
    public void Search_finds_items_with_all_words_and_the_most_popular_first()
    {
        using var recommender = TrainedShop.Open(shop.Model);
        var all = recommender.Search("", 1000);
        Assert.Equal(Items, all.Count);
        Assert.Equal(all.OrderByDescending(item => item.Events), all);
        Assert.Equal(900, all.Sum(item => item.Events));
        string category = all[5].Fields[0].Value.Split(' ')[0], brand = all[5].Fields[1].Value;
        string text = $"  {category.ToUpperInvariant()[..^1]} {brand.ToUpperInvariant()}";
        var expected = all.Where(item => TextOf(item).Contains(category[..^1]) && TextOf(item).Contains(brand)).ToArray();
        Assert.Contains(all[5].Token, expected.Select(item => item.Token));
        Assert.Equal(expected.Select(item => item.Token), recommender.Search(text, 1000).Select(item => item.Token));
        Assert.Single(recommender.Search(text, 1));
        Assert.Equal("p17", recommender.Search("P17", 5).Single().Token);
        Assert.Empty(recommender.Search("nonsense", 5));
        Assert.Equal("limit", Assert.Throws<ArgumentException>(() => recommender.Search("", 0)).ParamName);

        static string TextOf(ItemDescription item) => string.Join('\n', item.Fields.Select(field => field.Value).Prepend(item.Token));
    }

    [Fact]
    public void Items_are_found_by_their_token_alone()
    {
        using var recommender = TrainedShop.Open(shop.Model);
        Assert.Equal("p3", recommender.Find("p3")!.Token);
        Assert.Null(recommender.Find("P3"));
        Assert.Null(recommender.Find("[PAD]"));
        Assert.Equal((Items, 150), (recommender.ItemCount, recommender.UserCount));
        Assert.Equal(["category", "brand", "price"], recommender.FieldNames);
    }

    [Fact]
    public void The_model_attends_to_the_known_items_that_it_sees()
    {
        using var recommender = TrainedShop.Open(shop.Model);
        Assert.Equal(7, recommender.MaximumHistory);
        string[] history = [.. Enumerable.Range(1, 12).Select(item => $"p{item}")];
        Assert.Equal(history[^7..], recommender.Attention(history).Select(each => each.Token));
        Assert.Empty(recommender.Attention([]));
        Assert.Empty(recommender.Attention(["nonsense"]));
        Assert.Equal("history[1]", Assert.Throws<ArgumentException>(() => recommender.Attention(["p1", null!])).ParamName);
        // Nothing of it is left in what comes after.
        Assert.Equal(10, recommender.Recommend(new RecommendationRequest { History = history }).Items.Count);
    }

    /// <summary>Of the file that recommends; another model has another.</summary>
    [Fact]
    public void The_version_is_the_models_checksum()
    {
        using var recommender = TrainedShop.Open(shop.Model);
        byte[] hash = System.Security.Cryptography.SHA256.HashData(File.ReadAllBytes(Path.Combine(shop.Model, "model.safetensors")));
        Assert.Equal(Convert.ToHexStringLower(hash)[..16], recommender.ModelVersion);
        Assert.Equal(recommender.ModelVersion, recommender.Recommend(new RecommendationRequest()).ModelVersion);
        using var other = TrainedShop.Open(shop.Blended(new(1, 10, 0, 1)));
        Assert.NotEqual(recommender.ModelVersion, other.ModelVersion);
    }
}
