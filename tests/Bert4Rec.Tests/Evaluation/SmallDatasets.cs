using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Evaluation;

namespace Bert4Rec.Tests.Evaluation;

/// <summary>Datasets made in a test.</summary>
internal static class SmallDatasets
{
    /// <summary>A dataset of users 1, 2, … with these item ids, all below <paramref name="itemCount"/>.</summary>
    public static InteractionDataset Of(int itemCount, params int[][] sequences)
    {
        Vocabulary users = new(), items = new();
        for (int item = 1; item < itemCount; item++)
            items.GetOrAdd($"i{item}");
        var offsets = new List<int> { 0, 0 };
        foreach (int[] sequence in sequences)
        {
            users.GetOrAdd($"u{users.Count}");
            offsets.Add(offsets[^1] + sequence.Length);
        }
        return new(users, items, [.. offsets], [.. sequences.SelectMany(s => s)]);
    }

    /// <summary>Random sequences of 1 to <paramref name="longest"/> events; low ids are more popular, the highest never occurs.</summary>
    public static InteractionDataset Random(int seed, int users, int itemCount, int longest)
    {
        var random = new Random(seed);
        int highest = Math.Max(itemCount - 2, 1);
        int Item() => 1 + (random.Next(highest) * random.Next(1, highest + 1) / highest);
        return Of(
            itemCount,
            [.. Enumerable.Range(0, users).Select(_ => Enumerable.Range(0, random.Next(1, longest + 1)).Select(_ => Item()).ToArray())]);
    }

    /// <summary>A user's last event to test, the one before it to valid, of users that have as many samples to spare.</summary>
    public static DatasetSplit LeaveOneOut(InteractionDataset dataset) =>
        Splitter.Split(dataset, new(new LeaveOneOut(Valid: true, Test: true), default, default));

    /// <summary>Each sample of the runs.</summary>
    public static IEnumerable<Sample> Samples(this TrainingSamples train) =>
        train.Runs.ToArray().SelectMany(run => Enumerable.Range(run.First, run.Count).Select(target => new Sample(run.User, target)));
}

/// <summary>Ranks by a score that a function gives, in the most obvious way.</summary>
internal sealed class FunctionRanker(Func<InteractionDataset, Sample, int, float> score) : IRanker
{
    public string Name => "function";

    public void Rank(
        InteractionDataset dataset,
        ReadOnlySpan<Sample> samples,
        int k,
        Span<int> topItems,
        Span<TargetRank> places,
        SeenItems? seen = null)
    {
        for (int i = 0; i < samples.Length; i++)
        {
            var sample = samples[i];
            int target = dataset.Target(sample);
            var scores = Enumerable.Range(0, dataset.ItemCount).Select(item => score(dataset, sample, item)).ToArray();
            int[] items = [.. Enumerable.Range(1, dataset.ItemCount - 1).Except(seen is null ? [] : seen[i].ToArray())];
            int[] others = [.. items.Where(item => item != target)];
            places[i] = new(
                others.Count(item => scores[item] > scores[target]),
                others.Count(item => scores[item] == scores[target]),
                others.Count(item => scores[item] == scores[target] && item < target));
            int[] order = [.. items.OrderByDescending(item => scores[item])];
            for (int j = 0; j < k; j++)
                topItems[(i * k) + j] = j < order.Length ? order[j] : 0;
        }
    }

    public void Score(InteractionDataset dataset, ReadOnlySpan<Sample> samples, ReadOnlySpan<int> candidates, Span<float> scores)
    {
        int width = candidates.Length / samples.Length;
        for (int i = 0; i < candidates.Length; i++)
            scores[i] = score(dataset, samples[i / width], candidates[i]);
    }
}
