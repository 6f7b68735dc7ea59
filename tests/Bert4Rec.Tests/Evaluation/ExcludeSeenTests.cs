using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Evaluation;
using Bert4Rec.Inference;
using Bert4Rec.Model;
using Bert4Rec.Tests.Inference;

namespace Bert4Rec.Tests.Evaluation;

/// <summary>
/// Rankings without seen items, of the model, its blend and the baselines, against a sort of what is left for each sample.
/// </summary>
public sealed class ExcludeSeenTests(TrainedShop shop) : IClassFixture<TrainedShop>
{
    /// <summary>More than there are items to list, too: a target that is left out must not be found there either.</summary>
    private static readonly int[] s_topK = [1, 5, 1000];

    private static readonly BlendWeights s_weights = new(1, 100, 0.5f, 2);

    public static TheoryData<string, int> Cases
    {
        get
        {
            var cases = new TheoryData<string, int>();
            foreach (string mode in new[] { "full", "uni10", "pop10" })
            {
                cases.Add(mode, 4096);
                cases.Add(mode, 7);
            }
            return cases;
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Metrics_are_those_of_the_items_that_are_left(string text, int batchSize)
    {
        Assert.True(EvaluationMode.TryParse(text, out var mode));
        var folder = ModelFolder.Load(shop.Model, null);
        var dataset = folder.Dataset;
        var split = Splitter.Split(dataset, folder.Config.EvalArgs);
        var training = TrainingStatistics.Count(dataset, split.Train);
        // The whole history counts, not what the model sees of it; and some users come back to what they had.
        int shown = folder.Layout.Shape.MaximumLength;
        Assert.Contains(split.Test, sample => dataset.History(sample, 1000)[..^dataset.History(sample, shown).Length]
            .IndexOf(dataset.Target(sample)) >= 0);

        using var devices = new DeviceSet("cpu", 2);
        using var parameters = devices.Kernels[0].AllocateFloats(folder.Layout.Length);
        parameters.Upload(folder.Parameters);
        using var model = new ModelRanker(devices.Kernels, devices.Workers, folder.Layout, parameters, recboleCompatible: false);
        using var blended = new ModelRanker(devices.Kernels, devices.Workers, folder.Layout, parameters, recboleCompatible: false);
        blended.Use(Blend.Of(s_weights, dataset, folder.Config));
        var settings = new EvaluationSettings
        {
            Mode = mode,
            Metrics = [Metric.Recall, Metric.MRR, Metric.NDCG, Metric.GAUC],
            TopK = s_topK,
            BatchSize = batchSize,
            Seed = 11,
            ExcludeSeen = true,
        };
        var sampler = new CandidateSampler(mode, settings.Seed, training.ItemCounts);
        foreach (IRanker ranker in (IRanker[])[model, blended, .. Baselines.Of(dataset, split, training)])
        {
            var expected = Expected(ranker, dataset, split.Test, sample => Candidates(sampler, mode, dataset, sample));
            var actual = Evaluator.Evaluate(ranker, dataset, training, split.Test, settings);
            foreach (var (name, value) in expected)
                Assert.True(Math.Abs(value - actual[name]) < 1e-12, $"{ranker.Name}, {name}: {actual[name]} instead of {value}");
            Assert.NotEqual(
                actual["gauc"], Evaluator.Evaluate(ranker, dataset, training, split.Test, settings with { ExcludeSeen = false })["gauc"]);
        }
    }

    [Fact]
    public void Lists_have_none_of_the_seen_items()
    {
        var folder = ModelFolder.Load(shop.Model, null);
        var dataset = folder.Dataset;
        var split = Splitter.Split(dataset, folder.Config.EvalArgs);
        var training = TrainingStatistics.Count(dataset, split.Train);
        var seen = SeenItems.Of(dataset, split.Test);
        using var devices = new DeviceSet("cpu", 2);
        using var parameters = devices.Kernels[0].AllocateFloats(folder.Layout.Length);
        parameters.Upload(folder.Parameters);
        using var model = new ModelRanker(devices.Kernels, devices.Workers, folder.Layout, parameters, recboleCompatible: false);
        using var blended = new ModelRanker(devices.Kernels, devices.Workers, folder.Layout, parameters, recboleCompatible: false);
        blended.Use(Blend.Of(s_weights, dataset, folder.Config));
        int items = dataset.ItemCount - 1;
        foreach (IRanker ranker in (IRanker[])[model, blended, .. Baselines.Of(dataset, split, training)])
        {
            int[] all = new int[split.Test.Length * items], left = new int[all.Length];
            var places = new TargetRank[split.Test.Length];
            ranker.Rank(dataset, split.Test, items, all, places);
            ranker.Rank(dataset, split.Test, items, left, places, seen);
            for (int i = 0; i < split.Test.Length; i++)
            {
                int[] unseen = [.. all[(i * items)..((i + 1) * items)].Where(item => !seen.Contains(i, item))];
                Assert.Equal([.. unseen, .. new int[items - unseen.Length]], left[(i * items)..((i + 1) * items)]);
                int target = dataset.Target(split.Test[i]);
                if (!seen.Contains(i, target))
                    Assert.Equal(Array.IndexOf(unseen, target), places[i].Position);
            }
        }
    }

    /// <summary>All items but padding, or those that are drawn.</summary>
    private static int[] Candidates(CandidateSampler sampler, EvaluationMode mode, InteractionDataset dataset, Sample sample)
    {
        if (mode.Source == CandidateSource.Full)
            return [.. Enumerable.Range(1, dataset.ItemCount - 1)];
        var drawn = new int[mode.Draws + 1];
        sampler.Draw(sample.Event, dataset.Target(sample), drawn);
        return [.. drawn.Distinct()];
    }

    /// <summary>As the definitions have it, of each sample's candidates that its user has not had.</summary>
    private static Dictionary<string, double> Expected(
        IRanker ranker, InteractionDataset dataset, Sample[] samples, Func<Sample, int[]> candidatesOf)
    {
        var sums = new Dictionary<string, double> { ["gauc"] = 0 };
        int areas = 0;
        foreach (var sample in samples)
        {
            int target = dataset.Target(sample);
            int[] had = dataset.EventItems[dataset.UserOffsets[sample.User]..sample.Event];
            int[] left = [.. candidatesOf(sample).Except(had)];
            var scores = new float[left.Length];
            if (left.Length > 0)
                ranker.Score(dataset, [sample], left, scores);
            var order = left.Zip(scores).OrderByDescending(pair => pair.Second).ThenBy(pair => pair.First);
            int place = Array.IndexOf([.. order.Select(pair => pair.First)], target);
            foreach (int k in s_topK)
            {
                bool isHit = place >= 0 && place < k;
                Add($"recall@{k}", isHit ? 1 : 0);
                Add($"mrr@{k}", isHit ? 1.0 / (place + 1) : 0);
                Add($"ndcg@{k}", isHit ? 1 / Math.Log2(place + 2) : 0);
            }
            int others = left.Count(item => item != target);
            if (others == 0)
                continue;
            areas++;
            if (place < 0)
                continue;
            float own = scores[Array.IndexOf(left, target)];
            Add("gauc", left.Zip(scores).Where(pair => pair.First != target)
                .Sum(pair => pair.Second < own ? 1.0 : pair.Second == own ? 0.5 : 0) / others);
        }
        return sums.ToDictionary(sum => sum.Key, sum => sum.Value / (sum.Key == "gauc" ? areas : samples.Length));

        void Add(string name, double value) => sums[name] = sums.GetValueOrDefault(name) + value;
    }
}
