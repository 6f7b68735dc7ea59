using Bert4Rec.Data;

namespace Bert4Rec.Inference;

/// <summary>
/// What came after what: share(a → b) = how often b is among the <see cref="Window"/> events after an a, over how often a occurs, counted
/// in the training events.
/// </summary>
internal sealed class ItemTransitions
{
    /// <summary>Events after an item that count as following it. A look at fewer, five, is as good where histories are short, and worse
    /// where they are long.</summary>
    public const int Window = 20;

    /// <summary>Followers of an item that are kept, most frequent first: bounds memory, and the work for a history.</summary>
    private const int MostFollowers = 64;

    /// <summary>[items + 1] The followers of item a are _items[_offsets[a].._offsets[a + 1]], ascending.</summary>
    private readonly int[] _offsets;
    private readonly int[] _items;
    private readonly float[] _shares;

    private ItemTransitions(int[] offsets, int[] items, float[] shares)
    {
        _offsets = offsets;
        _items = items;
        _shares = shares;
    }

    /// <summary>Counts the training part: each user's events up to the target of their last training sample.</summary>
    /// <param name="dataset">The events that the samples point into.</param>
    /// <param name="train">The training samples, user by user in time order.</param>
    public static ItemTransitions Count(InteractionDataset dataset, ReadOnlySpan<Sample> train)
    {
        int[] events = dataset.EventItems;
        // Where a user's training events end; for each item, the places where it occurs in them.
        var ends = new Dictionary<int, int>();
        foreach (var sample in train)
            ends[sample.User] = sample.Event + 1;
        int[] starts = new int[dataset.ItemCount + 1];
        foreach (var (user, end) in ends)
        {
            foreach (int item in events.AsSpan(dataset.UserOffsets[user]..end))
                starts[item + 1]++;
        }
        for (int item = 0; item < dataset.ItemCount; item++)
            starts[item + 1] += starts[item];
        var places = new (int Event, int End)[starts[^1]];
        int[] next = starts[..^1];
        foreach (var (user, end) in ends)
        {
            for (int i = dataset.UserOffsets[user]; i < end; i++)
                places[next[events[i]]++] = (i, end);
        }

        int[] offsets = new int[dataset.ItemCount + 1], counts = new int[dataset.ItemCount];
        List<int> items = [], followers = [];
        var shares = new List<float>();
        for (int item = 0; item < dataset.ItemCount; item++)
        {
            followers.Clear();
            foreach (var (place, end) in places.AsSpan(starts[item]..starts[item + 1]))
            {
                for (int i = place + 1; i < Math.Min(end, place + 1 + Window); i++)
                {
                    if (counts[events[i]]++ == 0)
                        followers.Add(events[i]);
                }
            }
            if (followers.Count > MostFollowers)
                followers.Sort((x, y) => counts[x] != counts[y] ? counts[y].CompareTo(counts[x]) : x.CompareTo(y));
            foreach (int follower in followers.Take(MostFollowers).Order())
            {
                items.Add(follower);
                shares.Add(counts[follower] / (float)(starts[item + 1] - starts[item]));
            }
            foreach (int follower in followers)
                counts[follower] = 0;
            offsets[item + 1] = items.Count;
        }
        return new(offsets, [.. items], [.. shares]);
    }

    /// <summary>The items that follow an item, ascending.</summary>
    public ReadOnlySpan<int> Followers(int item) => _items.AsSpan(_offsets[item].._offsets[item + 1]);

    /// <summary>share(item → follower) of each of the <see cref="Followers"/>.</summary>
    public ReadOnlySpan<float> Shares(int item) => _shares.AsSpan(_offsets[item].._offsets[item + 1]);
}
