// What a model must beat to have learned anything: popularity, 'the last item again', and a Markov chain. Each is a short list
// of preferred items that the history's last item brings, followed by the rest of the catalogue in order of popularity; so a target's rank
// follows from its place in one sorted catalogue, without sorting for each sample.
using System.Runtime.InteropServices;
using Bert4Rec.Data;

namespace Bert4Rec.Evaluation;

/// <summary>A model beside the baselines.</summary>
/// <param name="Metrics">The model's, by name.</param>
/// <param name="StandardErrors">Of those that are means over samples.</param>
/// <param name="Baselines">Each baseline's metrics, by its name.</param>
/// <param name="Comparisons">The model against each baseline, by its name.</param>
internal sealed record ComparedMetrics(
    IReadOnlyDictionary<string, double> Metrics,
    IReadOnlyDictionary<string, double> StandardErrors,
    IReadOnlyDictionary<string, IReadOnlyDictionary<string, double>> Baselines,
    IReadOnlyDictionary<string, Comparison> Comparisons);

/// <summary>The baselines of a dataset, and a model beside them.</summary>
internal static class Baselines
{
    /// <summary>Of a part without samples.</summary>
    public static ComparedMetrics None { get; } = new(
        new Dictionary<string, double>(),
        new Dictionary<string, double>(),
        new Dictionary<string, IReadOnlyDictionary<string, double>>(),
        new Dictionary<string, Comparison>());

    /// <summary>Popularity, 'the last item again' and a Markov chain.</summary>
    public static IReadOnlyList<IRanker> Of(InteractionDataset dataset, DatasetSplit split, TrainingStatistics statistics) =>
        [new PopularityRanker(statistics), new LastItemRanker(statistics), new MarkovRanker(dataset, split.Train, statistics)];

    /// <summary>The name under which a model stands beside itself, its blend left out.</summary>
    public const string NoBlend = "no blend";

    /// <summary>A model's metrics, and each baseline's on the same samples.</summary>
    /// <param name="model">The model.</param>
    /// <param name="others">What to set beside it after the baselines.</param>
    /// <param name="dataset">The events that the samples point into.</param>
    /// <param name="split">The split.</param>
    /// <param name="statistics">Of its training part.</param>
    /// <param name="samples">At least one.</param>
    /// <param name="settings">How to evaluate.</param>
    /// <param name="progress">Told after each batch.</param>
    public static ComparedMetrics Compare(
        IRanker model,
        IEnumerable<IRanker> others,
        InteractionDataset dataset,
        DatasetSplit split,
        TrainingStatistics statistics,
        Sample[] samples,
        EvaluationSettings settings,
        IProgress<ProgressUpdate>? progress)
    {
        var own = Measure(model);
        var baselines = Of(dataset, split, statistics).Concat(others).ToDictionary(baseline => baseline.Name, Measure);
        string compared = $"ndcg@{settings.ComparedCutoff}";
        return new(
            own.Metrics,
            own.StandardErrors,
            baselines.ToDictionary(baseline => baseline.Key, baseline => baseline.Value.Metrics),
            baselines.ToDictionary(baseline => baseline.Key, baseline => Comparison.Of(compared, own.Gains, baseline.Value.Gains)));

        Measurement Measure(IRanker ranker) => Evaluator.Measure(ranker, dataset, statistics, samples, settings, progress);
    }
}

/// <summary>Items ranked by (weight, training popularity), both descending; equal in both is a tie, which goes to the lower id.</summary>
internal abstract class BaselineRanker : IRanker
{
    private readonly int[] _popularity;

    /// <summary>Items but padding, most popular first.</summary>
    private readonly int[] _order;

    /// <summary>[items] Where the item's rank stands by popularity alone.</summary>
    private readonly TargetRank[] _popularityRank;

    private protected BaselineRanker(TrainingStatistics training)
    {
        _popularity = training.EventCounts;
        _order = [.. Enumerable.Range(1, _popularity.Length - 1).OrderByDescending(i => _popularity[i])];
        _popularityRank = new TargetRank[_popularity.Length];
        for (int start = 0, end; start < _order.Length; start = end)
        {
            for (end = start; end < _order.Length && _popularity[_order[end]] == _popularity[_order[start]]; end++)
            {
            }
            for (int i = start; i < end; i++)
                _popularityRank[_order[i]] = new(start, end - start - 1, i - start);
        }
    }

    public abstract string Name { get; }

    public void Rank(
        InteractionDataset dataset, ReadOnlySpan<Sample> samples, int k, Span<int> topItems, Span<TargetRank> ranks, SeenItems? seen = null)
    {
        for (int i = 0; i < samples.Length; i++)
        {
            var preferred = Preferred(dataset, samples[i]);
            int target = dataset.Target(samples[i]);
            ReadOnlySpan<int> leftOut = seen is null ? [] : seen[i];
            ranks[i] = Without(leftOut, RankOf(target, preferred), target, preferred);
            FillList(preferred, leftOut, topItems.Slice(i * k, k));
        }
    }

    /// <summary>A score is minus the number of items that rank higher: exact in a float for any order, with the same ties.</summary>
    public void Score(InteractionDataset dataset, ReadOnlySpan<Sample> samples, ReadOnlySpan<int> candidates, Span<float> scores)
    {
        int width = candidates.Length / samples.Length;
        for (int i = 0; i < samples.Length; i++)
        {
            var preferred = Preferred(dataset, samples[i]);
            for (int c = i * width; c < (i + 1) * width; c++)
                scores[c] = -RankOf(candidates[c], preferred).Greater;
        }
    }

    /// <summary>The items that come before all others, with weights above 0, best first; none after an empty history.</summary>
    private protected abstract ReadOnlySpan<WeightedItem> PreferredAfter(int lastItem);

    private ReadOnlySpan<WeightedItem> Preferred(InteractionDataset dataset, Sample sample)
    {
        var last = dataset.History(sample, 1);
        return last.IsEmpty ? [] : PreferredAfter(last[0]);
    }

    /// <summary>The order of a preferred list.</summary>
    private protected int Compare(WeightedItem x, WeightedItem y)
    {
        int order = y.Weight.CompareTo(x.Weight);
        if (order == 0)
            order = _popularity[y.Item].CompareTo(_popularity[x.Item]);
        return order != 0 ? order : x.Item.CompareTo(y.Item);
    }

    private TargetRank RankOf(int item, ReadOnlySpan<WeightedItem> preferred)
    {
        int weight = 0;
        foreach (var other in preferred)
        {
            if (other.Item == item)
                weight = other.Weight;
        }

        // Within a weight the order is by popularity; the preferred items no longer stand where popularity alone put them.
        var (greater, equal, equalWithLowerId) = weight > 0 ? default : _popularityRank[item];
        foreach (var other in preferred)
        {
            if (other.Item == item)
                continue;
            int byPopularity = _popularity[other.Item].CompareTo(_popularity[item]);
            if (weight == 0)
            {
                greater += byPopularity > 0 ? 0 : 1;
                equal -= byPopularity == 0 ? 1 : 0;
                equalWithLowerId -= byPopularity == 0 && other.Item < item ? 1 : 0;
            }
            else if (other.Weight > weight || (other.Weight == weight && byPopularity > 0))
            {
                greater++;
            }
            else if (other.Weight == weight && byPopularity == 0)
            {
                equal++;
                equalWithLowerId += other.Item < item ? 1 : 0;
            }
        }
        return new(greater, equal, equalWithLowerId);
    }

    /// <summary>A target's rank where some items, ascending, are not ranked.</summary>
    private TargetRank Without(ReadOnlySpan<int> leftOut, TargetRank rank, int target, ReadOnlySpan<WeightedItem> preferred)
    {
        if (leftOut.IsEmpty)
            return rank;
        var (greater, equal, equalWithLowerId) = rank;
        var weights = new int[leftOut.Length];
        var own = new WeightedItem(target, 0);
        foreach (var item in preferred)
        {
            int at = leftOut.BinarySearch(item.Item);
            if (at >= 0)
                weights[at] = item.Weight;
            if (item.Item == target)
                own = item;
        }
        for (int i = 0; i < weights.Length; i++)
        {
            if (leftOut[i] == target)
                continue;
            bool isTie = weights[i] == own.Weight && _popularity[leftOut[i]] == _popularity[target];
            bool isBefore = Compare(new(leftOut[i], weights[i]), own) < 0;
            greater -= isBefore && !isTie ? 1 : 0;
            equal -= isTie ? 1 : 0;
            equalWithLowerId -= isBefore && isTie ? 1 : 0;
        }
        return new(greater, equal, equalWithLowerId);
    }

    /// <param name="preferred">What comes first.</param>
    /// <param name="leftOut">What does not come at all, ascending.</param>
    /// <param name="list">The list to fill, with 0 where items run out.</param>
    private void FillList(ReadOnlySpan<WeightedItem> preferred, ReadOnlySpan<int> leftOut, Span<int> list)
    {
        list.Clear();
        int count = 0;
        for (int i = 0; i < preferred.Length && count < list.Length; i++)
        {
            if (leftOut.BinarySearch(preferred[i].Item) < 0)
                list[count++] = preferred[i].Item;
        }
        int head = count;
        for (int i = 0; i < _order.Length && count < list.Length; i++)
        {
            if (leftOut.BinarySearch(_order[i]) < 0 && !list[..head].Contains(_order[i]))
                list[count++] = _order[i];
        }
    }

    private protected readonly record struct WeightedItem(int Item, int Weight);
}

/// <summary>The most popular items of the training part, for everybody.</summary>
internal sealed class PopularityRanker(TrainingStatistics training) : BaselineRanker(training)
{
    public override string Name => "popularity";

    private protected override ReadOnlySpan<WeightedItem> PreferredAfter(int lastItem) => [];
}

/// <summary>The last item of the history again, then the most popular ones.</summary>
internal sealed class LastItemRanker : BaselineRanker
{
    /// <summary>[items] Each item on its own.</summary>
    private readonly WeightedItem[] _items;

    public LastItemRanker(TrainingStatistics training)
        : base(training)
    {
        _items = [.. Enumerable.Range(0, training.EventCounts.Length).Select(i => new WeightedItem(i, 1))];
    }

    public override string Name => "last item again";

    private protected override ReadOnlySpan<WeightedItem> PreferredAfter(int lastItem) => _items.AsSpan(lastItem, 1);
}

/// <summary>
/// First-order Markov chain: the items that followed the history's last item in the training part, most often first (ties by popularity),
/// then the most popular ones.
/// </summary>
internal sealed class MarkovRanker : BaselineRanker
{
    /// <summary>[items] What comes after each.</summary>
    private readonly ReadOnlyMemory<WeightedItem>[] _following;

    /// <param name="dataset">The events that the samples point into.</param>
    /// <param name="train">The training samples: each is one step of the chain.</param>
    /// <param name="training">How often each item occurs in them.</param>
    public MarkovRanker(InteractionDataset dataset, TrainingSamples train, TrainingStatistics training)
        : base(training)
    {
        _following = new ReadOnlyMemory<WeightedItem>[dataset.ItemCount];
        var memory = new ArrayPieces<WeightedItem>();
        List<int> next = [];
        var weighted = new List<WeightedItem>();
        ItemPlaces.ForEach(dataset, train, (item, places) =>
        {
            next.Clear();
            weighted.Clear();
            foreach (var (place, first, end) in places)
            {
                if (place + 1 >= first && place + 1 < end)
                    next.Add(dataset.EventItems[place + 1]);
            }
            next.Sort();
            foreach (int follower in next)
            {
                if (weighted.Count > 0 && weighted[^1].Item == follower)
                    weighted[^1] = new(follower, weighted[^1].Weight + 1);
                else
                    weighted.Add(new(follower, 1));
            }
            weighted.Sort(Compare);
            _following[item] = memory.Copy(CollectionsMarshal.AsSpan(weighted));
        });
    }

    public override string Name => "Markov chain";

    private protected override ReadOnlySpan<WeightedItem> PreferredAfter(int lastItem) => _following[lastItem].Span;
}
