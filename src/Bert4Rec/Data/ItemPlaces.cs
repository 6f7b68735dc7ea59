namespace Bert4Rec.Data;

/// <summary>An event of a training history.</summary>
/// <param name="FirstTarget">The first event that is a target there.</param>
/// <param name="End">The event after the history.</param>
internal readonly record struct ItemPlace(int Event, int FirstTarget, int End);

/// <summary>Where each item occurs in the training histories.</summary>
internal static class ItemPlaces
{
    /// <summary>Places that are gathered at a time: what the whole takes beside the events.</summary>
    private const int GroupLength = 1 << 22;

    /// <summary>Calls for each item that occurs, in order of their ids, with its places in order of the events.</summary>
    /// <param name="train">Each user's history goes from the user's first event to the last target of theirs.</param>
    /// <param name="activity">What that is for.</param>
    /// <param name="progress">Told of the events whose items are done.</param>
    /// <param name="action">Told an item and its places, which it must not keep.</param>
    public static void ForEach(
        InteractionDataset dataset,
        TrainingSamples train,
        string activity,
        IProgress<ProgressUpdate>? progress,
        Action<int, ReadOnlySpan<ItemPlace>> action)
    {
        int[] counts = new int[dataset.ItemCount];
        long done = 0, all = 0;
        foreach (var run in train.Runs)
        {
            var items = dataset.EventItems.AsSpan(dataset.UserOffsets[run.User]..run.End);
            foreach (int item in items)
                counts[item]++;
            all += items.Length;
        }
        ItemPlace[] places = [];
        for (int first = 0, end; first < counts.Length; first = end)
        {
            int total = counts[first];
            for (end = first + 1; end < counts.Length && total + counts[end] <= GroupLength; end++)
                total += counts[end];
            Gather(first, end, total);
        }

        void Gather(int firstItem, int endItem, int total)
        {
            int[] next = new int[endItem - firstItem];
            for (int i = 1; i < next.Length; i++)
                next[i] = next[i - 1] + counts[firstItem + i - 1];
            if (places.Length < total)
                places = new ItemPlace[total];
            foreach (var run in train.Runs)
            {
                for (int i = dataset.UserOffsets[run.User]; i < run.End; i++)
                {
                    uint item = (uint)(dataset.EventItems[i] - firstItem);
                    if (item < next.Length)
                        places[next[item]++] = new(i, run.First, run.End);
                }
            }
            for (int i = 0; i < next.Length; i++)
            {
                int count = counts[firstItem + i];
                if (count == 0)
                    continue;
                action(firstItem + i, places.AsSpan(next[i] - count, count));
                done += count;
                progress?.Report(new(activity, done, all, "events"));
            }
        }
    }
}

/// <summary>Many short arrays in a few long ones, which cost nothing beside what is in them.</summary>
internal sealed class ArrayPieces<T>
{
    private const int PieceLength = 1 << 18;

    private Memory<T> _free;

    public ReadOnlyMemory<T> Copy(ReadOnlySpan<T> values)
    {
        if (_free.Length < values.Length)
            _free = new T[Math.Max(PieceLength, values.Length)];
        var copy = _free[..values.Length];
        values.CopyTo(copy.Span);
        _free = _free[values.Length..];
        return copy;
    }
}
