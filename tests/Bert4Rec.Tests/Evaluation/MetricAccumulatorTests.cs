using System.Globalization;
using System.Text.Json;
using Bert4Rec.Configuration;
using Bert4Rec.Evaluation;
using Bert4Rec.Serialization;

namespace Bert4Rec.Tests.Evaluation;

/// <summary>The metrics against RecBole's own values, and against the textbook's formulas written out.</summary>
public class MetricAccumulatorTests
{
    public static TheoryData<string> Fixtures => [.. TestFiles.Fixtures("recbole-metrics*.safetensors")];

    [Theory]
    [MemberData(nameof(Fixtures))]
    public void Every_metric_is_RecBoles(string path)
    {
        using var file = SafeTensors.Read(path);
        float[] scores = file.ReadFloats("scores");
        int[] positive = file.ReadInts("positive_item"), counts = file.ReadInts("train_item_count");
        int[] topK = JsonSerializer.Deserialize<int[]>(file.Metadata["topk"])!;
        var expected = file.Metadata.Where(entry => MetricNames.TryParse(entry.Key, out _, out _)).ToDictionary();
        var metrics = Enum.GetValues<Metric>()
            .Where(metric => expected.Keys.Any(name => MetricNames.TryParse(name, out var listed, out _) && listed == metric));
        var accumulator = new MetricAccumulator(metrics, topK, counts);
        for (int u = 0; u < positive.Length; u++)
        {
            float[] row = scores[(u * counts.Length)..((u + 1) * counts.Length)];
            accumulator.Add(TopItems(row, topK.Max()), RankOf(row, positive[u]), counts.Length - 1, u);
        }

        var result = accumulator.Result();
        Assert.Equal(expected.Keys.Order(), result.Keys.Order());
        // RecBole rounds to as many decimals as its config says; zeros at the end are not written.
        int decimals = expected.Where(entry => entry.Key != "gauc").Select(entry => entry.Value.Length - 1 - entry.Value.IndexOf('.'))
            .DefaultIfEmpty(8).Max();
        double bound = 1e-6 + (0.5 * Math.Pow(10, -decimals));
        foreach (var (name, value) in expected)
        {
            double wanted = double.Parse(value, CultureInfo.InvariantCulture);
            Assert.True(Math.Abs(result[name] - wanted) <= bound, $"{name}: {result[name]} where RecBole has {value}");
        }
    }

    [Theory]
    [InlineData(1, 12, 40, 4)]
    [InlineData(2, 30, 7, 3)]
    [InlineData(3, 5, 3, 2)]
    [InlineData(4, 60, 101, 1000)]
    public void Every_metric_is_its_formula(int seed, int users, int itemCount, int scoreLevels)
    {
        var random = new Random(seed);
        var scores = Enumerable.Range(0, users)
            .Select(_ => Enumerable.Range(0, itemCount).Select(_ => (float)random.Next(scoreLevels)).ToArray()).ToArray();
        var targets = scores.Select(_ => random.Next(1, itemCount)).ToArray();
        int[] counts = [0, .. Enumerable.Range(1, itemCount - 1).Select(_ => random.Next(5))];
        int[] topK = [1, 2, 5, 10];
        var accumulator = new MetricAccumulator(Enum.GetValues<Metric>(), topK, counts);
        for (int u = 0; u < users; u++)
            accumulator.Add(TopItems(scores[u], 10), RankOf(scores[u], targets[u]), itemCount - 1, u);

        var result = accumulator.Result();
        var expected = new Dictionary<string, double> { ["gauc"] = AreaByPairs(scores, targets) };
        foreach (int k in topK)
        {
            var lists = scores.Select(row => TopItems(row, k).Where(item => item != 0).ToArray()).ToArray();
            foreach (var (name, value) in ByFormula(lists, targets, counts, k))
                expected[$"{name}@{k}"] = value;
        }
        string[] unknown = [.. result.Keys.Except(expected.Keys)];
        Assert.True(unknown.Length == 0, $"ByFormula has no formula of {string.Join(", ", unknown)}");
        Assert.All(expected, formula => Assert.Equal(formula.Value, result[formula.Key], 1e-12));
    }

    /// <summary>Else a training would keep the worst of its models.</summary>
    [Fact]
    public void Every_metric_says_whether_bigger_is_better()
    {
        // Of 20 items the first ten are popular. The target first, and other rare items for everyone; or a miss, and the same for all.
        int[] counts = [0, .. Enumerable.Repeat(9, 10), .. Enumerable.Repeat(1, 10)];
        var metrics = Enum.GetValues<Metric>();
        MetricAccumulator good = new(metrics, [2], counts), bad = new(metrics, [2], counts);
        for (int user = 0; user < 4; user++)
        {
            good.Add([11 + user, 15 + user], new(0, 0, 0), 20, user);
            bad.Add([1, 0], TargetRank.Last, 20, user);
        }
        foreach (var (metric, better, worse) in metrics.Zip(good.Result().Values, bad.Result().Values))
        {
            Assert.True(
                metric.BiggerIsBetter() ? better > worse : better < worse,
                $"{metric} is {better} of good lists and {worse} of bad ones: which is better, MetricNames says");
        }
    }

    [Fact]
    public void Names_follow_the_order_asked_for()
    {
        var accumulator = new MetricAccumulator([Metric.NDCG, Metric.GAUC, Metric.Hit], [5, 1], [0, 3, 2]);
        accumulator.Add([1, 2, 0, 0, 0], new(0, 0, 0), 2, user: 1);
        Assert.Equal(["ndcg@5", "ndcg@1", "gauc", "hit@5", "hit@1"], accumulator.Result().Keys);
    }

    [Fact]
    public void No_samples_have_no_metrics() =>
        Assert.Throws<InvalidOperationException>(() => new MetricAccumulator([Metric.Hit], [10], [0, 1]).Result());

    [Fact]
    public void A_list_has_at_least_one_place() =>
        Assert.Throws<ArgumentException>(() => new MetricAccumulator([Metric.Hit], [10, 0], [0, 1]));

    /// <summary>RecBole's definitions over whole lists of which each user has one target.</summary>
    private static IEnumerable<(string Name, double Value)> ByFormula(int[][] lists, int[] targets, int[] counts, int k)
    {
        var places = lists.Zip(targets, (list, target) => Array.IndexOf(list, target)).ToArray();
        double Mean(Func<int, double> gain) => places.Average(place => place < 0 ? 0 : gain(place + 1));
        yield return ("recall", Mean(_ => 1));
        yield return ("hit", Mean(_ => 1));
        yield return ("precision", Mean(_ => 1.0 / k));
        yield return ("mrr", Mean(rank => 1.0 / rank));
        yield return ("map", Mean(rank => 1.0 / rank));
        yield return ("ndcg", Mean(rank => Math.Log(2) / Math.Log(rank + 1)));

        var seen = Enumerable.Range(1, counts.Length - 1).Where(item => counts[item] > 0).OrderBy(item => (counts[item], item)).ToList();
        var tail = seen.Take(Math.Max(1, seen.Count / 10)).ToHashSet();
        yield return ("averagepopularity", lists.Average(list => list.Average(item => counts[item])));
        yield return ("tailpercentage", lists.Average(list => list.Average(item => tail.Contains(item) ? 1.0 : 0)));

        var frequencies = lists.SelectMany(list => list).CountBy(item => item).ToDictionary();
        yield return ("itemcoverage", (double)frequencies.Count / counts.Length);
        double total = frequencies.Values.Sum();
        yield return ("shannonentropy", frequencies.Values.Sum(c => c / total * Math.Log(total / c)) / frequencies.Count);

        // Half the relative mean absolute difference: Gini's own definition.
        var all = Enumerable.Range(0, counts.Length).Select(item => (double)frequencies.GetValueOrDefault(item)).ToArray();
        yield return ("giniindex", all.Sum(x => all.Sum(y => Math.Abs(x - y))) / (2 * all.Length * total));
    }

    /// <summary>The share of (target, other item) pairs in the right order; a tie is half right.</summary>
    private static double AreaByPairs(float[][] scores, int[] targets) => scores.Zip(targets, (row, target) =>
        Enumerable.Range(1, row.Length - 1).Where(item => item != target)
            .Average(item => row[item] < row[target] ? 1 : row[item] == row[target] ? 0.5 : 0)).Average();

    private static int[] TopItems(float[] row, int k) =>
        [.. Enumerable.Range(1, row.Length - 1).OrderBy(item => (-row[item], item)).Concat(Enumerable.Repeat(0, k)).Take(k)];

    private static TargetRank RankOf(float[] row, int target)
    {
        var others = Enumerable.Range(1, row.Length - 1).Where(item => item != target).ToArray();
        return new(
            others.Count(item => row[item] > row[target]),
            others.Count(item => row[item] == row[target]),
            others.Count(item => item < target && row[item] == row[target]));
    }
}
