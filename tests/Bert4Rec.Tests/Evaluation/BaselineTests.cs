using Bert4Rec.Data;
using Bert4Rec.Evaluation;

namespace Bert4Rec.Tests.Evaluation;

/// <summary>The baselines' lists, ranks and scores against a sort of the whole catalogue by counts taken anew for each sample.</summary>
public class BaselineTests
{
    [Theory]
    [InlineData(1, 60, 30, 6, 10)]
    [InlineData(2, 200, 12, 9, 5)]
    [InlineData(3, 40, 5, 4, 10)]
    [InlineData(4, 3, 2, 4, 3)]
    public void A_baseline_sorts_by_its_counts(int seed, int users, int itemCount, int longest, int k)
    {
        var dataset = SmallDatasets.Random(seed, users, itemCount, longest);
        var split = SmallDatasets.LeaveOneOut(dataset);
        var training = TrainingStatistics.Count(dataset, split.Train);
        int Last(Sample sample) => dataset.EventItems[sample.Event - 1];
        var steps = split.Train.Samples().CountBy(s => (Last(s), dataset.Target(s))).ToDictionary();

        Check(new PopularityRanker(training), (_, _) => 0);
        Check(new LastItemRanker(training), (sample, item) => item == Last(sample) ? 1 : 0);
        Check(new MarkovRanker(dataset, split.Train, training), (sample, item) => steps.GetValueOrDefault((Last(sample), item)));

        void Check(IRanker ranker, Func<Sample, int, int> weight)
        {
            Sample[] samples = [.. split.Train.Samples(), .. split.Test];
            var topItems = new int[samples.Length * k];
            var places = new TargetRank[samples.Length];
            var candidates = samples.SelectMany(_ => Enumerable.Range(1, itemCount - 1)).ToArray();
            var scores = new float[candidates.Length];
            ranker.Rank(dataset, samples, k, topItems, places);
            ranker.Score(dataset, samples, candidates, scores);
            for (int i = 0; i < samples.Length; i++)
            {
                (int Weight, int Popularity) Key(int item) => (weight(samples[i], item), training.EventCounts[item]);
                var order = Enumerable.Range(1, itemCount - 1).OrderByDescending(Key).ThenBy(item => item).ToArray();
                Assert.Equal([.. order.Concat(Enumerable.Repeat(0, k)).Take(k)], topItems[(i * k)..((i + 1) * k)]);

                int target = dataset.Target(samples[i]);
                Assert.Equal(Array.IndexOf(order, target), places[i].Position);
                Assert.Equal(order.Count(item => Key(item).CompareTo(Key(target)) > 0), places[i].Greater);
                Assert.Equal(order.Count(item => Key(item) == Key(target)) - 1, places[i].Equal);

                float[] own = [0, .. scores[(i * (itemCount - 1))..((i + 1) * (itemCount - 1))]];
                foreach (int a in order)
                    Assert.All(order, b => Assert.Equal(Key(a).CompareTo(Key(b)), own[a].CompareTo(own[b])));
            }
        }
    }

    [Fact]
    public void Training_counts_are_of_targets_and_of_events()
    {
        var dataset = SmallDatasets.Of(6, [1, 2, 3, 4, 5], [1, 1], [2], [3, 1, 2]);
        var training = TrainingStatistics.Count(dataset, SmallDatasets.LeaveOneOut(dataset).Train);
        Assert.Equal([0, 2, 1, 1, 0, 0], training.ItemCounts);
        Assert.Equal([0, 4, 1, 2, 0, 0], training.EventCounts);
    }
}
