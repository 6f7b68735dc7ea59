using System.Globalization;
using System.IO.Compression;
using System.Text.Json;
using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Data.Synthesis;
using Bert4Rec.Evaluation;
using Bert4Rec.EventLog;
using Bert4Rec.Tests.Evaluation;

namespace Bert4Rec.Tests.Synthesis;

/// <summary>The files of a synthetic shop: that they are what they promise, and that the bound they come with holds.</summary>
public sealed class ShopSynthesizerTests : IDisposable
{
    private static readonly ShopParameters Small = new() { Users = 1_500, Items = 200, Interactions = 9_000, Seed = 7 };

    private readonly TemporaryFolder _temporary = new();

    private string Folder => _temporary.Path;

    public void Dispose() => _temporary.Dispose();

    [Fact]
    public void The_bundled_log_is_what_its_command_gives()
    {
        ShopSynthesizer.WriteLog(new() { Users = 9_600, Items = 400, Interactions = 60_000 }, rows: 80_000, Folder, "events");
        string sample = Path.Combine(TestFiles.RepositoryRoot, "data", "sample");
        Assert.Equal(Unpack(Path.Combine(sample, "events.csv.gz")), File.ReadAllBytes(Path.Combine(Folder, "events.csv")));
        Assert.Equal(File.ReadAllBytes(Path.Combine(sample, "oracle.json")), File.ReadAllBytes(Path.Combine(Folder, "oracle.json")));
        Assert.True(new FileInfo(Path.Combine(sample, "events.csv.gz")).Length < 2_000_000);
    }

    [Theory]
    [InlineData(10_000)]
    [InlineData(20_000)]
    [InlineData(50_000)]
    public void Cleaning_and_converting_the_log_leave_the_same_purchases_and_the_same_bound(long rows)
    {
        var atomic = ShopSynthesizer.Write(Small, Folder, "atomic");
        var log = ShopSynthesizer.WriteLog(Small, rows, Folder, "log");
        Assert.Equal(atomic, log);
        string cleaned = Path.Combine(Folder, "cleaned.csv");
        var cleaning = EventLogCleaner.Clean([Path.Combine(Folder, "log.csv")], cleaned, new());
        Assert.Equal(rows, cleaning.RowsRead);
        Assert.Equal(Small.Interactions, cleaning.RowsKept);
        AtomicFileWriter.Convert(cleaned, Folder, "shop", new());
        Assert.Equal(Histories("atomic.inter"), Histories("shop.inter"));

        // "u17" bought "p4, p9": users and items by their numbers, purchases in order.
        string[] Histories(string file) =>
        [
            .. Lines(file).Skip(1).GroupBy(row => Number(row[0]) % 512_000_000).OrderBy(user => user.Key)
                .Select(user => string.Join(
                    ' ', user.OrderBy(row => Number(row[2])).Select(row => Number(row[1]) % 1_000_000 - (row[1][0] == 'p' ? 1 : 0)))),
        ];

        static long Number(string token) => (long)double.Parse(token.TrimStart('u', 'p'), CultureInfo.InvariantCulture);
    }

    [Fact]
    public void A_log_is_as_the_real_one_in_events_gaps_and_duplicates()
    {
        const long Rows = 400_000;
        ShopSynthesizer.WriteLog(ShopLog.Fitting(Rows), Rows, Folder, "log");
        var found = EventLogAnalysis.Analyze([Path.Combine(Folder, "log.csv")], new());
        Assert.Equal(Rows, found.RawRows);
        Near(40_779_399, found.EventType["view"]);
        Near(926_516, found.EventType["cart"]);
        Near(742_849, found.EventType["purchase"]);
        Near(549_446, found.Purchases);
        Near(13_515_609, found.Nulls["category_code"]);
        Near(6_117_080, found.Nulls["brand"]);
        Near(26_560_620, found.RowsWithoutNulls);
        Near(30_220, found.DuplicatedRows);
        Near(9_244_421, found.Unique["user_session"]);
        Assert.All(found.RowsByDay.Keys, day => Assert.StartsWith("2019-10-", day));

        static void Near(double real, long count) => Assert.InRange(count / (real * Rows / 42_448_764), 0.85, 1.15);
    }

    private static byte[] Unpack(string path)
    {
        using var unpacked = new GZipStream(File.OpenRead(path), CompressionMode.Decompress);
        using var bytes = new MemoryStream();
        unpacked.CopyTo(bytes);
        return bytes.ToArray();
    }

    [Fact]
    public void Another_seed_is_another_shop()
    {
        ShopSynthesizer.Write(Small, Folder, "a");
        ShopSynthesizer.Write(Small with { Seed = 8 }, Folder, "b");
        foreach (string suffix in new[] { "inter", "item" })
            Assert.NotEqual(Lines($"a.{suffix}"), Lines($"b.{suffix}"));
    }

    [Fact]
    public void Files_are_atomic_files_that_fit_together()
    {
        ShopSynthesizer.Write(Small, Folder, "shop");
        string[][] inter = Lines("shop.inter"), item = Lines("shop.item"), user = Lines("shop.user");
        Assert.Equal(["user_id:token", "item_id:token", "timestamp:float", "event_type:float"], inter[0]);
        Assert.Equal(["item_id:token", "category:token_seq", "brand:token", "price:float"], item[0]);
        Assert.Equal(["user_id:token"], user[0]);
        Assert.Equal(Small.Interactions, inter.Length - 1);
        Assert.Equal(Small.Items, item.Skip(1).Select(row => row[0]).Distinct().Count());
        Assert.Equal(Small.Items, item.Length - 1);
        Assert.Equal(Small.Users, user.Skip(1).Select(row => row[0]).Distinct().Count());
        Assert.All(item.Skip(1), row => Assert.True(decimal.Parse(row[3], CultureInfo.InvariantCulture) > 0));
        Assert.All(item.Skip(1), row => Assert.True(row.Length == 4 && row.All(field => field.Length > 0 && field.Trim() == field)));

        Assert.Equal(user.Skip(1).Select(row => row[0]).Order(), inter.Skip(1).Select(row => row[0]).Distinct().Order());
        Assert.Subset(item.Select(row => row[0]).ToHashSet(), inter.Skip(1).Select(row => row[1]).ToHashSet());
        foreach (var purchases in inter.Skip(1).GroupBy(row => row[0]))
        {
            var times = purchases.Select(row => double.Parse(row[2], CultureInfo.InvariantCulture)).ToArray();
            Assert.Equal(times.Distinct().Order(), times);
        }
    }

    [Fact]
    public void Few_items_are_most_of_the_sales_and_customers_come_back_to_theirs()
    {
        ShopSynthesizer.Write(Small, Folder, "shop");
        var rows = Lines("shop.inter").Skip(1).ToArray();
        var counts = rows.CountBy(row => row[1]).Select(c => c.Value).OrderDescending().ToArray();
        Assert.True(counts.Take(Small.Items / 5).Sum() > 0.5 * rows.Length, "a fifth of the items should be half of the sales");
        Assert.True(counts[Small.Items / 2] < 0.25 * counts[0], "a middling item should sell far less than the best");

        int again = rows.GroupBy(row => row[0]).Sum(purchases => purchases.Count() - purchases.Select(row => row[1]).Distinct().Count());
        int notFirst = rows.Length - Small.Users;
        Assert.InRange((double)again / notFirst, Small.RepeatShare, 0.5);
    }

    [Fact]
    public void The_bound_is_what_the_true_probabilities_reach_and_the_baselines_do_not()
    {
        var written = ShopSynthesizer.Write(Small, Folder, "shop");
        using var json = JsonDocument.Parse(File.ReadAllText(Path.Combine(Folder, "oracle.json")));
        double Read(string part, string metric) => json.RootElement.GetProperty(part).GetProperty(metric).GetDouble();
        Assert.Equal(written.Expected, new(Read("expected", "recall@10"), Read("expected", "ndcg@10")));
        Assert.Equal(written.Realised, new(Read("realised", "recall@10"), Read("realised", "ndcg@10")));
        Assert.Equal((int)Small.Seed, json.RootElement.GetProperty("parameters").GetProperty("seed").GetInt32());

        // Ids as the item file numbers them, so that item id − 1 is the shop's item.
        Vocabulary users = new(), items = new();
        foreach (var row in Lines("shop.item").Skip(1))
            items.GetOrAdd(row[0]);
        var sequences = Lines("shop.inter").Skip(1).GroupBy(row => row[0])
            .Select(rows => rows.Select(row => items.TryGetId(row[1], out int id) ? id : 0).ToArray()).ToArray();
        var dataset = SmallDatasets.Of(items.Count, sequences);
        var split = SmallDatasets.LeaveOneOut(dataset);
        var training = TrainingStatistics.Count(dataset, split.Train);
        Assert.Equal(split.Test.Length, written.Samples);

        var shop = new Shop(Small);
        var probabilities = new Dictionary<Sample, double[]>();
        var best = Evaluate(new FunctionRanker((_, sample, item) =>
        {
            if (!probabilities.TryGetValue(sample, out double[]? p))
            {
                probabilities[sample] = p = new double[shop.ItemCount];
                shop.Probabilities([.. dataset.History(sample, int.MaxValue).ToArray().Select(id => id - 1)], p);
            }
            return item == 0 ? 0 : (float)p[item - 1];
        }));
        Assert.Equal(best.Recall, written.Realised!.Recall, 2e-3);
        Assert.Equal(best.Ndcg, written.Realised!.Ndcg, 2e-3);
        Assert.Equal(probabilities.Values.Average(p => p.OrderDescending().Take(10).Sum()), written.Expected!.Recall, 1e-6);

        // The two differ by the luck of the draw: five standard errors.
        Assert.Equal(written.Expected!.Recall, written.Realised!.Recall, 5 * Math.Sqrt(0.25 / written.Samples));
        IRanker[] baselines =
            [new PopularityRanker(training), new LastItemRanker(training), new MarkovRanker(dataset, split.Train, training)];
        foreach (var (recall, ndcg) in baselines.Select(Evaluate))
        {
            Assert.True(recall < 0.75 * written.Realised!.Recall, $"recall {recall}");
            Assert.True(ndcg < 0.75 * written.Realised!.Ndcg, $"ndcg {ndcg}");
        }

        (double Recall, double Ndcg) Evaluate(IRanker ranker)
        {
            var result = Evaluator.Evaluate(ranker, dataset, training, split.Test, new() { Metrics = [Metric.Recall, Metric.NDCG] });
            return (result["recall@10"], result["ndcg@10"]);
        }
    }

    private string[][] Lines(string file) => [.. File.ReadLines(Path.Combine(Folder, file)).Select(line => line.Split('\t'))];
}
