// What a model must beat to have learned anything: popularity, 'the last item again', and a Markov chain. Each is a short list
// of preferred items that the history's last item brings, followed by the rest of the catalogue in order of popularity; so a target's rank
// follows from its place in one sorted catalogue, without sorting for each sample.
using System.Runtime.InteropServices;
using Bert4Rec.Data;

namespace Bert4Rec.Evaluation;

/// <summary>The items of a list from the end of the run before to <paramref name="End"/>, which all have this weight.</summary>
internal readonly record struct WeightRun(int Weight, int End);

/// <summary>Items that come before all others, with weights above 0.</summary>
/// <param name="items">By weight, descending, then as they are in <see cref="PopularityOrder"/>.</param>
/// <param name="runs">The weights, best first.</param>
internal readonly ref struct PreferredItems(ReadOnlySpan<int> items, ReadOnlySpan<WeightRun> runs)
{
    public ReadOnlySpan<int> Items { get; } = items;

    public ReadOnlySpan<WeightRun> Runs { get; } = runs;
}

/// <summary>Items ranked by (weight, training popularity), both descending; equal in both is a tie, which goes to the lower id.</summary>
internal abstract class BaselineRanker(TrainingStatistics training) : IRanker
{
    private readonly PopularityOrder _order = training.Popularity;

    public abstract string Name { get; }

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
            var preferred = Preferred(dataset, samples[i]);
            int target = dataset.Target(samples[i]);
            ReadOnlySpan<int> leftOut = seen is null ? [] : seen[i];
            places[i] = Without(leftOut, RankOf(target, preferred), target, preferred);
            FillList(preferred.Items, leftOut, topItems.Slice(i * k, k));
        }
    }

    /// <summary>A score is minus the number of items that rank higher: exact in a float up to 2²⁴ items, with the same ties.</summary>
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

    /// <summary>What comes first after an item.</summary>
    private protected abstract PreferredItems PreferredAfter(int lastItem);

    private PreferredItems Preferred(InteractionDataset dataset, Sample sample)
    {
        var last = dataset.History(sample, 1);
        return last.IsEmpty ? default : PreferredAfter(last[0]);
    }

    private TargetRank RankOf(int item, PreferredItems preferred)
    {
        var (greater, equal, equalWithLowerId) = _order.RankOf(item);
        int first = greater, place = greater + equalWithLowerId, end = greater + equal + 1, start = 0;
        foreach (var run in preferred.Runs)
        {
            var items = preferred.Items[start..run.End];
            int more = _order.CountBefore(first, items);
            int before = _order.CountBefore(place, items);
            int tied = _order.CountBefore(end, items) - more;
            if (before < items.Length && items[before] == item)
                return new(start + more, tied - 1, before - more);
            // It is no longer where popularity alone puts it: it comes first.
            greater += items.Length - more;
            equal -= tied;
            equalWithLowerId -= before - more;
            start = run.End;
        }
        return new(greater, equal, equalWithLowerId);
    }

    /// <summary>A target's rank where some items, ascending, are not ranked.</summary>
    private TargetRank Without(ReadOnlySpan<int> leftOut, TargetRank rank, int target, PreferredItems preferred)
    {
        var (greater, equal, equalWithLowerId) = rank;
        foreach (int item in leftOut)
        {
            if (item == target)
                continue;
            var other = RankOf(item, preferred);
            if (other.Greater < rank.Greater)
            {
                greater--;
            }
            else if (other.Greater == rank.Greater)
            {
                equal--;
                equalWithLowerId -= item < target ? 1 : 0;
            }
        }
        return new(greater, equal, equalWithLowerId);
    }

    /// <param name="preferred">What comes first.</param>
    /// <param name="leftOut">What does not come at all, ascending.</param>
    /// <param name="list">The list to fill, with 0 where items run out.</param>
    private void FillList(ReadOnlySpan<int> preferred, ReadOnlySpan<int> leftOut, Span<int> list)
    {
        list.Clear();
        int count = 0;
        for (int i = 0; i < preferred.Length && count < list.Length; i++)
        {
            if (leftOut.BinarySearch(preferred[i]) < 0)
                list[count++] = preferred[i];
        }
        int head = count;
        for (int i = 0; i < _order.Items.Length && count < list.Length; i++)
        {
            int item = _order.Items[i];
            if (leftOut.BinarySearch(item) < 0 && !list[..head].Contains(item))
                list[count++] = item;
        }
    }
}

/// <summary>The most popular items of the training part, for everybody.</summary>
internal sealed class PopularityRanker(TrainingStatistics training) : BaselineRanker(training)
{
    public override string Name => "popularity";

    private protected override PreferredItems PreferredAfter(int lastItem) => default;
}

/// <summary>The last item of the history again, then the most popular ones.</summary>
internal sealed class LastItemRanker(TrainingStatistics training) : BaselineRanker(training)
{
    private static readonly WeightRun[] s_one = [new(1, 1)];

    /// <summary>[items] Each item on its own.</summary>
    private readonly int[] _items = [.. Enumerable.Range(0, training.EventCounts.Length)];

    public override string Name => "last item again";

    private protected override PreferredItems PreferredAfter(int lastItem) => new(_items.AsSpan(lastItem, 1), s_one);
}

/// <summary>
/// First-order Markov chain: the items that followed the history's last item in the training part, most often first (ties by popularity),
/// then the most popular ones.
/// </summary>
internal sealed class MarkovRanker : BaselineRanker
{
    /// <summary>[items] What comes after each, and how often.</summary>
    private readonly ReadOnlyMemory<int>[] _following;
    private readonly ReadOnlyMemory<WeightRun>[] _runs;

    /// <param name="dataset">The events that the samples point into.</param>
    /// <param name="train">The training samples: each is one step of the chain.</param>
    /// <param name="training">How often each item occurs in them.</param>
    /// <param name="progress">Told of the events counted.</param>
    public MarkovRanker(
        InteractionDataset dataset, TrainingSamples train, TrainingStatistics training, IProgress<ProgressUpdate>? progress = null)
        : base(training)
    {
        _following = new ReadOnlyMemory<int>[dataset.ItemCount];
        _runs = new ReadOnlyMemory<WeightRun>[dataset.ItemCount];
        var order = training.Popularity;
        var itemPieces = new ArrayPieces<int>();
        var runPieces = new ArrayPieces<WeightRun>();
        List<int> next = [];
        // What comes after an item, as ascending keys of the order that is wanted.
        List<(int MinusWeight, int Place)> followers = [];
        List<WeightRun> runs = [];
        ItemPlaces.ForEach(dataset, train, "counting the Markov chain's steps", progress, (item, places) =>
        {
            next.Clear();
            foreach (var (place, first, end) in places)
            {
                if (place + 1 >= first && place + 1 < end)
                    next.Add(order.PlaceOf(dataset.EventItems[place + 1]));
            }
            next.Sort();
            followers.Clear();
            foreach (int place in next)
            {
                if (followers.Count > 0 && followers[^1].Place == place)
                    followers[^1] = (followers[^1].MinusWeight - 1, place);
                else
                    followers.Add((-1, place));
            }
            followers.Sort();
            next.Clear();
            runs.Clear();
            foreach (var (minusWeight, place) in followers)
            {
                next.Add(order.Items[place]);
                if (runs.Count > 0 && runs[^1].Weight == -minusWeight)
                    runs[^1] = new(-minusWeight, next.Count);
                else
                    runs.Add(new(-minusWeight, next.Count));
            }
            _following[item] = itemPieces.Copy(CollectionsMarshal.AsSpan(next));
            _runs[item] = runPieces.Copy(CollectionsMarshal.AsSpan(runs));
        });
    }

    public override string Name => "Markov chain";

    private protected override PreferredItems PreferredAfter(int lastItem) => new(_following[lastItem].Span, _runs[lastItem].Span);
}
