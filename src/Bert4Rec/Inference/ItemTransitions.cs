using System.Runtime.InteropServices;
using Bert4Rec.Data;

namespace Bert4Rec.Inference;

/// <summary>
/// What came after what: share(a → b) = n(a, b) / (n(a) + β), where n(a, b) is how often b is among the first few events after an a,
/// <see cref="Window"/> or the very next alone, and n(a) how often a occurs, counted in the training events.
/// </summary>
internal sealed class ItemTransitions(int itemCount)
{
    /// <summary>Events after an item that count as following it. A look at fewer, five, is as good where histories are short, and worse
    /// where they are long.</summary>
    public const int Window = 20;

    /// <summary>β of the models trained from now on. With 0 a pair that was seen once, after an item that was seen once, counts as much as
    /// one that always comes.</summary>
    public const float Shrinkage = 20;

    /// <summary>Followers of an item that are kept, most frequent first: bounds memory, and the work for a history.</summary>
    private const int MostFollowers = 64, MostNext = 16;

    /// <summary>[items] The followers of each, ascending.</summary>
    private readonly ReadOnlyMemory<int>[] _items = new ReadOnlyMemory<int>[itemCount];
    private readonly ReadOnlyMemory<float>[] _shares = new ReadOnlyMemory<float>[itemCount];

    /// <summary>Counts the training part: each user's events up to the target of their last training sample.</summary>
    /// <param name="dataset">The events that the samples point into.</param>
    /// <param name="train">The training samples, user by user in time order.</param>
    /// <param name="shrinkage">β</param>
    /// <param name="progress">Told of the events counted.</param>
    public static ItemTransitions Count(
        InteractionDataset dataset, TrainingSamples train, float shrinkage, IProgress<ProgressUpdate>? progress = null) =>
        Count(dataset, train, shrinkage, Window, MostFollowers, "counting the blend's transitions", progress);

    /// <summary>As <see cref="Count(InteractionDataset, TrainingSamples, float, IProgress{ProgressUpdate}?)"/>, of the very next events
    /// alone.</summary>
    public static ItemTransitions CountNext(
        InteractionDataset dataset, TrainingSamples train, float shrinkage, IProgress<ProgressUpdate>? progress = null) =>
        Count(dataset, train, shrinkage, 1, MostNext, "counting the blend's next items", progress);

    private static ItemTransitions Count(
        InteractionDataset dataset,
        TrainingSamples train,
        float shrinkage,
        int window,
        int mostFollowers,
        string activity,
        IProgress<ProgressUpdate>? progress)
    {
        var transitions = new ItemTransitions(dataset.ItemCount);
        int[] events = dataset.EventItems, counts = new int[dataset.ItemCount];
        List<int> followers = [];
        List<float> shares = [];
        var itemPieces = new ArrayPieces<int>();
        var sharePieces = new ArrayPieces<float>();
        ItemPlaces.ForEach(dataset, train, activity, progress, (item, places) =>
        {
            followers.Clear();
            shares.Clear();
            foreach (var (place, _, end) in places)
            {
                for (int i = place + 1; i < Math.Min(end, place + 1 + window); i++)
                {
                    if (counts[events[i]]++ == 0)
                        followers.Add(events[i]);
                }
            }
            if (followers.Count > mostFollowers)
            {
                followers.Sort((x, y) => counts[x] != counts[y] ? counts[y].CompareTo(counts[x]) : x.CompareTo(y));
                foreach (int follower in followers[mostFollowers..])
                    counts[follower] = 0;
                followers.RemoveRange(mostFollowers, followers.Count - mostFollowers);
            }
            followers.Sort();
            foreach (int follower in followers)
            {
                shares.Add(counts[follower] / (places.Length + shrinkage));
                counts[follower] = 0;
            }
            transitions._items[item] = itemPieces.Copy(CollectionsMarshal.AsSpan(followers));
            transitions._shares[item] = sharePieces.Copy(CollectionsMarshal.AsSpan(shares));
        });
        return transitions;
    }

    /// <summary>The items that follow an item, ascending.</summary>
    public ReadOnlySpan<int> Followers(int item) => _items[item].Span;

    /// <summary>share(item → follower) of each of the <see cref="Followers"/>.</summary>
    public ReadOnlySpan<float> Shares(int item) => _shares[item].Span;
}
