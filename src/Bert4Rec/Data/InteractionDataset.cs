using System.Globalization;
using System.Runtime.InteropServices;
using Bert4Rec.Serialization;

namespace Bert4Rec.Data;

/// <summary>
/// Everybody's events in time order, by internal ids: user u's events are <c>Items[UserOffsets[u]..UserOffsets[u + 1]]</c>, oldest first.
/// </summary>
internal sealed class InteractionDataset(Vocabulary users, Vocabulary items, int[] userOffsets, int[] eventItems)
{
    /// <summary>The events of users and items that have ids only: enough to train and to rank.</summary>
    public static InteractionDataset WithoutTokens(int itemCount, int[] userOffsets, int[] eventItems) =>
        new(new(), new(), userOffsets, eventItems) { ItemCount = itemCount };

    public Vocabulary Users { get; } = users;

    public Vocabulary Items { get; } = items;

    /// <summary>[UserCount + 1]; user 0 (padding) has no events.</summary>
    public int[] UserOffsets { get; } = userOffsets;

    /// <summary>[events] item ids.</summary>
    public int[] EventItems { get; } = eventItems;

    /// <summary>Users, padding included: RecBole's user_num.</summary>
    public int UserCount => UserOffsets.Length - 1;

    /// <summary>Items, padding included: RecBole's n_items.</summary>
    public int ItemCount { get; private init; } = items.Count;

    /// <summary>The events before a sample's target, oldest first, at most the last <paramref name="maximumLength"/>.</summary>
    public ReadOnlySpan<int> History(Sample sample, int maximumLength)
    {
        int start = Math.Max(UserOffsets[sample.User], sample.Event - maximumLength);
        return EventItems.AsSpan(start, sample.Event - start);
    }

    /// <summary>What .item says of the items; null without such a file.</summary>
    public ItemTable? ItemFields { get; init; }

    /// <summary>Whether a model was trained on a part of the events, before there were others (<see cref="Append"/>): then none of those is
    /// split so that it measures the model.</summary>
    public bool HasGrown { get; init; }

    /// <summary>The time of the newest event; null where it is not known.</summary>
    public double? Newest { get; init; }

    /// <summary><see cref="Newest"/> as a file's metadata has it.</summary>
    internal string? NewestText => Newest?.ToString("R", CultureInfo.InvariantCulture);

    /// <summary>What <see cref="NewestText"/> wrote; null of anything else.</summary>
    internal static double? NewestIn(string? text) =>
        double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double time) ? time : null;

    /// <summary>What in the files is odd, but no error.</summary>
    public IReadOnlyList<string> Warnings { get; init; } = [];

    public int Target(Sample sample) => EventItems[sample.Event];

    /// <summary>
    /// This dataset and what happened since: ids stay, new users and items come behind, each user's new events after the old ones. Of an
    /// item's fields the newer values count.
    /// </summary>
    public InteractionDataset Append(InteractionDataset later)
    {
        var users = Join(Users, later.Users, out int[] userIds);
        var items = Join(Items, later.Items, out int[] itemIds);
        int[] offsets = new int[users.Count + 1];
        for (int user = 1; user < UserCount; user++)
            offsets[user + 1] += UserOffsets[user + 1] - UserOffsets[user];
        for (int user = 1; user < later.UserCount; user++)
            offsets[userIds[user] + 1] += later.UserOffsets[user + 1] - later.UserOffsets[user];
        for (int user = 1; user <= users.Count; user++)
            offsets[user] += offsets[user - 1];
        int[] events = new int[EventItems.Length + later.EventItems.Length];
        for (int user = 1; user < UserCount; user++)
            EventItems.AsSpan(UserOffsets[user]..UserOffsets[user + 1]).CopyTo(events.AsSpan(offsets[user]));
        for (int user = 1; user < later.UserCount; user++)
        {
            var added = later.EventItems.AsSpan(later.UserOffsets[user]..later.UserOffsets[user + 1]);
            var place = events.AsSpan(offsets[userIds[user] + 1] - added.Length, added.Length);
            for (int i = 0; i < added.Length; i++)
                place[i] = itemIds[added[i]];
        }
        return new(users, items, offsets, events)
        {
            ItemFields = ItemTable.Append(ItemFields, later.ItemFields, itemIds, items.Count),
            HasGrown = true,
            Newest = Nullable.Compare(Newest, later.Newest) > 0 ? Newest : later.Newest,
            Warnings = later.Warnings,
        };
    }

    /// <summary>Why offsets and items are not those of a dataset; null where they are.</summary>
    /// <param name="offsets">As <see cref="UserOffsets"/>.</param>
    /// <param name="items">As <see cref="EventItems"/>.</param>
    /// <param name="users">How many there are, padding included, and what says so.</param>
    /// <param name="itemIds">The same of the items.</param>
    internal static string? Flaw(int[] offsets, int[] items, (int Count, string Source) users, (int Count, string Source) itemIds)
    {
        if (offsets.Length != users.Count + 1)
            return $"user_offsets has {offsets.Length} values, but {users.Source} makes it {users.Count + 1}";
        // User 0 is padding.
        if (offsets[0] != 0 || offsets[1] != 0)
            return $"user_offsets begins with {offsets[0]}, {offsets[1]} instead of 0, 0";
        for (int user = 1; user < users.Count; user++)
        {
            if (offsets[user + 1] < offsets[user])
                return $"user_offsets falls from {offsets[user]} to {offsets[user + 1]} at user {user}";
        }
        if (offsets[^1] != items.Length)
            return $"user_offsets ends with {offsets[^1]}, but there are {items.Length} items";
        int wrong = Array.FindIndex(items, item => item < 1 || item >= itemIds.Count);
        return wrong < 0 ? null : $"items[{wrong}] is {items[wrong]}, but {itemIds.Source} makes the ids 1 to {itemIds.Count - 1}";
    }

    private static Vocabulary Join(Vocabulary old, Vocabulary later, out int[] laterIds)
    {
        var joined = new Vocabulary();
        for (int id = 1; id < old.Count; id++)
            joined.GetOrAdd(old.Utf8(id));
        laterIds = new int[later.Count];
        for (int id = 1; id < later.Count; id++)
            laterIds[id] = joined.GetOrAdd(later.Utf8(id));
        return joined;
    }

    /// <summary>
    /// SHA-256 of all tokens and events in their order, in lower case: equal only where every internal id means the same.
    /// </summary>
    public string Checksum()
    {
        using var hash = new Sha256();
        foreach (var vocabulary in new[] { Users, Items })
        {
            for (int id = 1; id < vocabulary.Count; id++)
            {
                var token = vocabulary.Utf8(id);
                hash.Add(BitConverter.GetBytes(token.Length));
                hash.Add(token);
            }
            hash.Add(BitConverter.GetBytes(-1));
        }
        hash.Add(MemoryMarshal.AsBytes(UserOffsets.AsSpan()));
        hash.Add(MemoryMarshal.AsBytes(EventItems.AsSpan()));
        return hash.Finish();
    }
}

/// <summary>"What does this user take next?": the event to predict, by its index in <see cref="InteractionDataset.EventItems"/>.</summary>
internal readonly record struct Sample(int User, int Event);

/// <summary>The samples of each part, user by user in time order.</summary>
internal sealed record DatasetSplit(TrainingSamples Train, Sample[] Valid, Sample[] Test);
