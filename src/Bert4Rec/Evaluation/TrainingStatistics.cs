using Bert4Rec.Data;

namespace Bert4Rec.Evaluation;

/// <summary>How often each item occurs in the training part, counted in the two ways that are wanted.</summary>
internal sealed class TrainingStatistics(int[] itemCounts, int[] eventCounts)
{
    private PopularityOrder? _popularity;

    /// <summary>
    /// [items] RecBole's <c>data.count_items</c>: how often an item is the target of a training sample. A user's first event is never a
    /// target, so it is not counted. The metrics and popularity sampling use this one.
    /// </summary>
    public int[] ItemCounts => itemCounts;

    /// <summary>[items] How often an item occurs among the training events: the targets and the events before them. The baselines use
    /// this one, for with short histories the first events are much of what is known.</summary>
    public int[] EventCounts => eventCounts;

    /// <summary>The items by their <see cref="EventCounts"/>.</summary>
    public PopularityOrder Popularity => _popularity ??= new(eventCounts);

    /// <param name="dataset">The events that the samples point into.</param>
    /// <param name="train">The training samples, user by user in time order.</param>
    public static TrainingStatistics Count(InteractionDataset dataset, TrainingSamples train)
    {
        int[] itemCounts = new int[dataset.ItemCount], eventCounts = new int[dataset.ItemCount];
        int counted = 0;
        foreach (var run in train.Runs)
        {
            for (counted = Math.Max(counted, dataset.UserOffsets[run.User]); counted < run.End; counted++)
                eventCounts[dataset.EventItems[counted]]++;
            foreach (int target in dataset.EventItems.AsSpan(run.First, run.Count))
                itemCounts[target]++;
        }
        return new(itemCounts, eventCounts);
    }
}
