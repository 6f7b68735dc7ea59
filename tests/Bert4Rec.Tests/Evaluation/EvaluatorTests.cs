using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Evaluation;

namespace Bert4Rec.Tests.Evaluation;

public class EvaluatorTests
{
    /// <summary>Scores with many ties that depend on the history.</summary>
    private static readonly FunctionRanker Ranker = new((dataset, sample, item) =>
        unchecked((uint)((dataset.EventItems[sample.Event - 1] * 73856093) ^ (item * 19349663))) % 7);

    [Fact]
    public void Full_mode_ranks_every_item_whatever_the_batch()
    {
        var (dataset, split, training) = Small(1, 25);
        var metrics = new MetricAccumulator(Enum.GetValues<Metric>(), [3, 10], training.ItemCounts);
        var topItems = new int[10];
        var rank = new TargetRank[1];
        foreach (var sample in split.Test)
        {
            Ranker.Rank(dataset, [sample], 10, topItems, rank);
            metrics.Add(topItems, rank[0], 24, sample.User);
        }
        foreach (int batchSize in new[] { 1, 7, 4096 })
        {
            var settings = new EvaluationSettings { TopK = [3, 10], BatchSize = batchSize };
            Assert.Equal(metrics.Result(), Evaluator.Evaluate(Ranker, dataset, training, split.Test, settings));
        }
    }

    /// <summary>The metric keeps the name and the divisor of its k; the ranker is asked for no more items than there are.</summary>
    [Theory]
    [InlineData("full")]
    [InlineData("uni10")]
    public void Lists_are_no_longer_than_the_catalogue(string text)
    {
        var (dataset, split, training) = Small(1, 25);
        Assert.True(EvaluationMode.TryParse(text, out var mode));
        int longest = 0;
        var watched = new WatchedRanker(Ranker, k => longest = Math.Max(longest, k));
        var result = Evaluator.Evaluate(
            watched, dataset, training, split.Test, new() { Mode = mode, TopK = [3, 1_000_000, int.MaxValue] });
        var all = Evaluator.Evaluate(Ranker, dataset, training, split.Test, new() { Mode = mode, TopK = [3, 24] });

        Assert.Equal(mode == default ? 24 : 0, longest);
        foreach (var (name, value) in all.Where(metric => metric.Key.EndsWith("@24", StringComparison.Ordinal)))
        {
            foreach (int k in new[] { 1_000_000, int.MaxValue })
            {
                double expected = name == "precision@24" ? value * 24 / k : value;
                Assert.Equal(expected, result[name.Replace("@24", $"@{k}")], expected * 1e-12);
            }
        }
        Assert.All(
            all.Where(metric => metric.Key.EndsWith("@3", StringComparison.Ordinal)),
            metric => Assert.Equal(metric.Value, result[metric.Key]));
    }

    [Theory]
    [InlineData("uni0")]
    [InlineData("uni100001")]
    [InlineData("pop2147483647")]
    [InlineData("uni1000000000")]
    [InlineData("uni99999999999")]
    public void Draws_are_some_and_not_more_than_the_memory_holds(string text) => Assert.False(EvaluationMode.TryParse(text, out _));

    [Theory]
    [InlineData("uni10")]
    [InlineData("pop10")]
    public void Sampled_mode_ranks_the_distinct_candidates(string text)
    {
        var (dataset, split, training) = Small(2, 25);
        Assert.True(EvaluationMode.TryParse(text, out var mode));
        Assert.Equal(text, mode.ToString());
        var drawn = new Dictionary<Sample, int[]>();
        var spy = new SpyRanker(Ranker, drawn);
        var settings = new EvaluationSettings { Mode = mode, TopK = [1, 10, 20] };
        var result = Evaluator.Evaluate(spy, dataset, training, split.Test, settings);

        var metrics = new MetricAccumulator(settings.Metrics, settings.TopK, training.ItemCounts);
        foreach (var sample in split.Test)
        {
            int target = dataset.Target(sample);
            int[] candidates = drawn[sample];
            Assert.Equal(11, candidates.Length);
            Assert.Equal(target, candidates[0]);
            Assert.DoesNotContain(target, candidates[1..]);
            Assert.All(candidates, item => Assert.InRange(item, 1, dataset.ItemCount - 1));

            // Against the same ranker on a catalogue in which everything else comes last.
            var scores = candidates.Distinct().ToDictionary(item => item, item => Score(dataset, sample, item));
            var order = scores.Keys.OrderByDescending(item => scores[item]).ThenBy(item => item).ToArray();
            var ties = scores.Where(s => s.Key != target && s.Value == scores[target]).Select(s => s.Key).ToArray();
            int greater = scores.Values.Count(score => score > scores[target]);
            var rank = new TargetRank(greater, ties.Length, ties.Count(item => item < target));
            metrics.Add([.. order.Concat(Enumerable.Repeat(0, 20)).Take(20)], rank, order.Length, sample.User);
        }
        Assert.Equal(metrics.Result(), result);
        Assert.Equal(result, Evaluator.Evaluate(Ranker, dataset, training, split.Test, settings with { BatchSize = 3 }));
        Assert.NotEqual(result["gauc"], Evaluator.Evaluate(Ranker, dataset, training, split.Test, settings with { Seed = 7 })["gauc"]);
    }

    [Theory]
    [InlineData(CandidateSource.Uniform)]
    [InlineData(CandidateSource.Popularity)]
    public void Candidates_follow_their_distribution(Enum candidateSource)
    {
        var source = (CandidateSource)candidateSource;
        int[] counts = [0, 5, 0, 1, 10, 4];
        const int target = 3, draws = 200_000;
        var candidates = new int[draws + 1];
        new CandidateSampler(new(source, draws), 1, counts).Draw(17, target, candidates);
        double total = counts.Sum() - counts[target];
        for (int item = 1; item < counts.Length; item++)
        {
            double expected = item == target ? 0 : source == CandidateSource.Uniform ? 0.25 : counts[item] / total;
            double share = (double)candidates.Skip(1).Count(c => c == item) / draws;

            // Five standard deviations.
            Assert.Equal(expected, share, 5 * Math.Sqrt(expected * (1 - expected) / draws));
        }
    }

    [Theory]
    [InlineData("full")]
    [InlineData("uni5")]
    [InlineData("pop5")]
    public void One_item_is_always_right(string mode)
    {
        var dataset = SmallDatasets.Of(2, [1, 1, 1], [1, 1, 1, 1]);
        var split = SmallDatasets.LeaveOneOut(dataset);
        Assert.True(EvaluationMode.TryParse(mode, out var parsed));
        var training = TrainingStatistics.Count(dataset, split.Train);
        var result = Evaluator.Evaluate(Ranker, dataset, training, split.Test, new() { Mode = parsed, TopK = [10] });
        Assert.Equal(1, result["recall@10"]);
        Assert.Equal(1, result["ndcg@10"]);
        Assert.Equal(0.1, result["precision@10"]);
        Assert.Equal(0.5, result["itemcoverage@10"]);
        Assert.Equal(0, result["shannonentropy@10"]);
        Assert.True(double.IsNaN(result["gauc"]));
    }

    [Fact]
    public void No_samples_are_an_error_that_says_why()
    {
        var (dataset, _, training) = Small(1, 25);
        var error = Assert.Throws<InputException>(() => Evaluator.Evaluate(Ranker, dataset, training, Array.Empty<Sample>(), new()));
        Assert.Contains("no samples", error.Message);
    }

    [Fact]
    public void Progress_ends_with_all_samples()
    {
        var (dataset, split, training) = Small(1, 25);
        var reports = new List<ProgressUpdate>();
        Evaluator.Evaluate(Ranker, dataset, training, split.Test, new() { BatchSize = 16 }, new Collector(reports));
        Assert.Equal((split.Test.Length + 15) / 16, reports.Count);
        Assert.Equal(split.Test.Length, reports[^1].Done);
        Assert.All(reports, r => Assert.Equal(split.Test.Length, r.Total));
    }

    [Theory]
    [InlineData("")]
    [InlineData("uni")]
    [InlineData("pop0")]
    [InlineData("uni-5")]
    [InlineData("full100")]
    [InlineData("100")]
    public void Other_modes_are_refused(string text) => Assert.False(EvaluationMode.TryParse(text, out _));

    private static float Score(InteractionDataset dataset, Sample sample, int item)
    {
        var score = new float[1];
        Ranker.Score(dataset, [sample], [item], score);
        return score[0];
    }

    private static (InteractionDataset Dataset, DatasetSplit Split, TrainingStatistics Training) Small(int seed, int itemCount)
    {
        var dataset = SmallDatasets.Random(seed, 80, itemCount, 6);
        var split = SmallDatasets.LeaveOneOut(dataset);
        return (dataset, split, TrainingStatistics.Count(dataset, split.Train));
    }

    private sealed class Collector(List<ProgressUpdate> reports) : IProgress<ProgressUpdate>
    {
        public void Report(ProgressUpdate value) => reports.Add(value);
    }

    /// <summary>Notes the candidates it is asked about.</summary>
    private sealed class WatchedRanker(IRanker inner, Action<int> onRank) : IRanker
    {
        public string Name => inner.Name;

        public void Rank(
            InteractionDataset dataset,
            ReadOnlySpan<Sample> samples,
            int k,
            Span<int> topItems,
            Span<TargetRank> places,
            SeenItems? seen = null)
        {
            onRank(k);
            inner.Rank(dataset, samples, k, topItems, places, seen);
        }

        public void Score(InteractionDataset dataset, ReadOnlySpan<Sample> samples, ReadOnlySpan<int> candidates, Span<float> scores) =>
            inner.Score(dataset, samples, candidates, scores);
    }

    private sealed class SpyRanker(IRanker inner, Dictionary<Sample, int[]> drawn) : IRanker
    {
        public string Name => inner.Name;

        public void Rank(
            InteractionDataset dataset,
            ReadOnlySpan<Sample> samples,
            int k,
            Span<int> topItems,
            Span<TargetRank> places,
            SeenItems? seen = null) =>
            inner.Rank(dataset, samples, k, topItems, places, seen);

        public void Score(InteractionDataset dataset, ReadOnlySpan<Sample> samples, ReadOnlySpan<int> candidates, Span<float> scores)
        {
            int width = candidates.Length / samples.Length;
            for (int i = 0; i < samples.Length; i++)
                drawn[samples[i]] = candidates.Slice(i * width, width).ToArray();
            inner.Score(dataset, samples, candidates, scores);
        }
    }
}
