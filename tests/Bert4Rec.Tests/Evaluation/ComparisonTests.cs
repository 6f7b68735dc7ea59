using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Evaluation;

namespace Bert4Rec.Tests.Evaluation;

/// <summary>Standard errors and paired tests, against values worked out by hand and against the samples themselves.</summary>
public class ComparisonTests
{
    /// <summary>
    /// Differences 1, 2, 3, 4: mean 2.5, standard deviation √(5/3), so t = 3.873 with three degrees of freedom, and p = 0.0305.
    /// </summary>
    [Fact]
    public void The_paired_test_is_Students()
    {
        var comparison = Comparison.Of("ndcg@10", [2, 4, 6, 8], [1, 2, 3, 4]);
        Assert.Equal(2.5, comparison.Difference, 1e-12);
        Assert.Equal(Math.Sqrt(5.0 / 3 / 4), comparison.StandardError, 1e-12);
        Assert.Equal(0.030466, comparison.P, 1e-5);
        Assert.True(comparison.IsBetter);
        var other = Comparison.Of("ndcg@10", [1, 2, 3, 4], [2, 4, 6, 8]);
        Assert.Equal((-comparison.Difference, comparison.P), (other.Difference, other.P));
        Assert.True(other.IsWorse);
    }

    [Theory]
    [InlineData(new double[0], new double[0], 1)]
    [InlineData(new[] { 1.0 }, new[] { 0.0 }, 1)]
    [InlineData(new[] { 1.0, 0.5 }, new[] { 1.0, 0.5 }, 1)]
    [InlineData(new[] { 1.0, 0.5 }, new[] { 0.5, 0.0 }, 0.5)]
    [InlineData(new[] { 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7 }, new[] { 0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6 }, 1.0 / 64)]
    public void Differences_that_do_not_vary_are_as_probable_as_their_signs(double[] model, double[] baseline, double p)
    {
        var comparison = Comparison.Of("ndcg@10", model, baseline);
        Assert.Equal((0, p), (comparison.StandardError, comparison.P));
    }

    /// <summary>Differences 1, 2; 4; 3, 5 of three customers, less their mean 3: −3, 1, 2. So the error is √(3/2 · 14) / 5.</summary>
    [Fact]
    public void Samples_of_one_customer_are_not_independent()
    {
        double[] zeros = new double[5], differences = [1, 2, 4, 3, 5];
        var comparison = Comparison.Of("ndcg@10", differences, zeros, [7, 7, 3, 5, 5]);
        Assert.Equal(3, comparison.Difference, 1e-12);
        Assert.Equal(Math.Sqrt(21) / 5, comparison.StandardError, 1e-12);
        // t = 3.273 with two degrees of freedom.
        Assert.Equal(0.0820, comparison.P, 1e-4);
        Assert.Equal(Comparison.Of("ndcg@10", differences, zeros), Comparison.Of("ndcg@10", differences, zeros, [1, 2, 3, 4, 5]));
        Assert.Equal(1, Comparison.Of("ndcg@10", differences, zeros, [1, 1, 1, 1, 1]).P);
        Assert.Throws<ArgumentException>(() => Comparison.Of("ndcg@10", differences, zeros, [1, 2]));
    }

    [Fact]
    public void The_verdict_names_whoever_is_better_and_what_to_try()
    {
        Comparison better = new("ndcg@10", 0.1, 0.01, 1e-9);
        Comparison level = new("ndcg@10", 0.01, 0.01, 0.3), worse = new("ndcg@10", -0.1, 0.01, 0.004);
        Dictionary<string, Comparison> comparisons = new() { ["popularity"] = better };
        Assert.Equal("By ndcg@10, the model is better than popularity (p < 0.001).", Comparison.Verdict(comparisons, false, false));

        comparisons["last item again"] = level;
        comparisons["Markov chain"] = worse;
        string verdict = Comparison.Verdict(comparisons, isLastBest: true, hasTriedNext: false);
        Assert.StartsWith("By ndcg@10, a simple rule is better than the model: Markov chain (p = 0.004).", verdict);
        Assert.Contains("the model is not told apart from last item again (p = 0.300).", verdict);
        Assert.EndsWith(
            "Try more epochs (the last was the best), objective: next_item, or another learning_rate; tune looks for them.", verdict);
        Assert.Contains("the rules leave out what customers had", Comparison.Verdict(comparisons, true, false, rulesExcludeSeen: true));
        Assert.Contains("hidden_dropout_prob", Comparison.Verdict(comparisons, isLastBest: false, hasTriedNext: true));
        comparisons[Baselines.NoBlend] = worse;
        verdict = Comparison.Verdict(comparisons, isLastBest: true, hasTriedNext: false);
        Assert.StartsWith("By ndcg@10, the model is +0.1000 better without its blend (p = 0.004)", verdict);
        Assert.Contains("Set blend: false.", verdict);
        Assert.Equal("", Comparison.Verdict(new Dictionary<string, Comparison>(), true, true));
    }

    /// <summary>√(Σ(x − mean)² / (n − 1) / n) of the values themselves where each is another customer's.</summary>
    [Theory]
    [InlineData(new[] { 1, 2, 3, 4, 5, 6, 7, 8 })]
    [InlineData(new[] { 1, 1, 1, 2, 3, 3, 4, 4 })]
    public void Standard_errors_are_those_of_the_samples(int[] users)
    {
        int[] places = [0, 3, 9, 10, 2, 0, 40, 5];
        var accumulator = new MetricAccumulator(Enum.GetValues<Metric>(), [3, 10], new int[100]);
        for (int i = 0; i < places.Length; i++)
            accumulator.Add(new int[10], new TargetRank(places[i], 0, 0), 99, users[i]);

        var errors = accumulator.StandardErrors();
        var known = new List<string>();
        foreach (int k in new[] { 3, 10 })
        {
            Check($"recall@{k}", place => place < k ? 1 : 0);
            Check($"hit@{k}", place => place < k ? 1 : 0);
            Check($"precision@{k}", place => place < k ? 1.0 / k : 0);
            Check($"mrr@{k}", place => place < k ? 1.0 / (place + 1) : 0);
            Check($"map@{k}", place => place < k ? 1.0 / (place + 1) : 0);
            Check($"ndcg@{k}", place => place < k ? 1 / Math.Log2(place + 2) : 0);
        }
        string[] unknown = [.. errors.Keys.Except(known)];
        Assert.True(unknown.Length == 0, $"no Check here of {string.Join(", ", unknown)}");

        void Check(string name, Func<int, double> value)
        {
            known.Add(name);
            double[] values = [.. places.Select(value)];
            double mean = values.Average();
            double[] ofUsers = [.. users.Zip(values).GroupBy(pair => pair.First, (_, own) => own.Sum(pair => pair.Second - mean))];
            double squares = ofUsers.Sum(sum => sum * sum) * ofUsers.Length / (ofUsers.Length - 1);
            Assert.Equal(Math.Sqrt(squares) / values.Length, errors[name], 1e-12);
            Assert.Equal(errors[name], Comparison.Of(name, values, new double[values.Length], users).StandardError, 1e-12);
        }
    }

    /// <summary>Of a baseline compared with itself nothing differs; the better of two is the better one both ways.</summary>
    [Fact]
    public void What_cannot_be_compared_is_refused()
    {
        Assert.Throws<ArgumentException>(() => Comparison.Of("ndcg@10", [1, 2], [1]));
        Assert.Throws<ArgumentException>(() => Comparison.Of("ndcg@10", [1], [1, 2]));
        Assert.Throws<ArgumentException>(() => Comparison.Of("ndcg@10", [1, double.NaN], [1, 2]));
    }

    [Fact]
    public void A_model_is_compared_with_each_baseline_on_the_same_samples()
    {
        var dataset = SmallDatasets.Random(seed: 4, users: 60, itemCount: 30, longest: 15);
        var split = SmallDatasets.LeaveOneOut(dataset);
        var statistics = TrainingStatistics.Count(dataset, split.Train);
        var settings = new EvaluationSettings { TopK = [5, 10], Metrics = [Metric.NDCG, Metric.Recall] };
        var model = new MarkovRanker(dataset, split.Train, statistics);
        var compared = Baselines.Compare(model, [], dataset, split, statistics, split.Test, settings, leavesSeenOut: false, null);

        Assert.Equal(["popularity", "last item again", "Markov chain"], compared.Comparisons.Keys);
        Assert.Equal(new Comparison("ndcg@10", 0, 0, 1), compared.Comparisons["Markov chain"]);
        foreach (var (name, comparison) in compared.Comparisons)
        {
            double difference = compared.Metrics["ndcg@10"] - compared.Baselines[name]["ndcg@10"];
            Assert.Equal(difference, comparison.Difference, 1e-12);
            Assert.InRange(comparison.P, 0, 1);
        }
        Assert.Equal(["ndcg@5", "ndcg@10", "recall@5", "recall@10"], compared.StandardErrors.Keys);
        Assert.False(compared.RulesExcludeSeen);

        // Of a model that leaves out what customers had, the rules know no less.
        var leaving = Baselines.Compare(model, [], dataset, split, statistics, split.Test, settings, leavesSeenOut: true, null);
        Assert.True(leaving.RulesExcludeSeen);
        Assert.Equal(compared.Metrics, leaving.Metrics);
        var popularity = new PopularityRanker(statistics);
        Assert.Equal(
            Evaluator.Evaluate(popularity, dataset, statistics, split.Test, settings with { ExcludeSeen = true }),
            leaving.Baselines[popularity.Name]);
        Assert.NotEqual(compared.Baselines[popularity.Name], leaving.Baselines[popularity.Name]);
        settings = settings with { ExcludeSeen = true };
        Assert.False(
            Baselines.Compare(model, [], dataset, split, statistics, split.Test, settings, leavesSeenOut: true, null).RulesExcludeSeen);
    }
}
