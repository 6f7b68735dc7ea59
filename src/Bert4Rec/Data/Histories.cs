namespace Bert4Rec.Data;

/// <summary>Every user's events, oldest first: those of user u are <see cref="Items"/>[Offsets[u]..Offsets[u + 1]].</summary>
internal sealed class Histories
{
    /// <summary>Events of a group of users, which are sorted at once.</summary>
    private const int GroupLength = 1 << 22;

    private const int MostThreads = 4;

    /// <summary>Events of one user and time that are compared with each other.</summary>
    private const int LargestBasket = 32;

    private readonly InteractionColumns _events;

    /// <summary>Sorts by user and time; equal times stay in the order of the columns.</summary>
    /// <param name="events">What is sorted; it stays as it is.</param>
    /// <param name="users">How many users there are, with the one of id 0 that has no events.</param>
    public Histories(InteractionColumns events, int users)
    {
        _events = events;
        Offsets = new int[users + 1];
        foreach (var piece in events.Pieces)
        {
            foreach (int user in piece.Users)
                Offsets[user]++;
        }
        // From the number of each user's events to where they begin.
        int count = 0;
        for (int user = 0; user < Offsets.Length; user++)
            (Offsets[user], count) = (count, count + Offsets[user]);
        Items = GC.AllocateUninitializedArray<int>(count);
        // Each group is picked out of the columns as a whole: that needs no second array of all times.
        var groups = new List<(int First, int End)>();
        for (int first = 1, end; first < users; first = end)
        {
            for (end = first + 1; end < users && Offsets[end + 1] - Offsets[first] <= GroupLength; end++)
            {
            }
            groups.Add((first, end));
        }
        int threads = Math.Min(Environment.ProcessorCount, MostThreads);
        var counts = new (int Repeated, int Tied)[groups.Count];
        Parallel.For(0, Math.Min(threads, groups.Count), thread =>
        {
            TimedItem[] memory = [];
            for (int group = thread; group < groups.Count; group += threads)
                counts[group] = Sort(groups[group].First, groups[group].End, ref memory);
        });
        Repeated = counts.Sum(group => group.Repeated);
        Tied = counts.Sum(group => group.Tied);
    }

    public int[] Offsets { get; }

    public int[] Items { get; }

    /// <summary>How many events have the user, the item and the time of another one.</summary>
    public int Repeated { get; }

    /// <summary>How many have the user and the time of one with another item.</summary>
    public int Tied { get; }

    /// <summary>Fills in the events of some users.</summary>
    /// <returns>Of these, <see cref="Repeated"/> and <see cref="Tied"/>.</returns>
    private (int Repeated, int Tied) Sort(int firstUser, int endUser, ref TimedItem[] memory)
    {
        int start = Offsets[firstUser];
        int[] next = Offsets[firstUser..endUser];
        int length = Offsets[endUser] - start;
        if (memory.Length < length)
            memory = GC.AllocateUninitializedArray<TimedItem>(length);
        var events = memory.AsSpan(0, length);
        foreach (var piece in _events.Pieces)
        {
            var users = piece.Users;
            for (int i = 0; i < users.Length; i++)
            {
                uint user = (uint)(users[i] - firstUser);
                if (user >= next.Length)
                    continue;
                int place = next[user]++;
                events[place - start] = new(piece.Time(i), place, piece.Items[i]);
            }
        }
        int repeated = 0, tied = 0;
        for (int user = firstUser; user < endUser; user++)
        {
            var own = events.Slice(Offsets[user] - start, Offsets[user + 1] - Offsets[user]);
            if (!IsSorted(own))
                own.Sort();
            repeated += CountRepeated(own);
            tied += CountTied(own);
        }
        for (int i = 0; i < events.Length; i++)
            Items[start + i] = events[i].Item;
        return (repeated, tied);
    }

    /// <summary>Of sorted events, how many have the time of one with another item.</summary>
    private static int CountTied(ReadOnlySpan<TimedItem> events)
    {
        int tied = 0;
        for (int first = 0, end; first < events.Length; first = end)
        {
            bool isTie = false;
            for (end = first + 1; end < events.Length && events[end].Time == events[first].Time; end++)
                isTie |= events[end].Item != events[first].Item;
            tied += isTie ? end - first : 0;
        }
        return tied;
    }

    /// <summary>Of sorted events, how many follow one of their time and item, a few places before at most.</summary>
    private static int CountRepeated(ReadOnlySpan<TimedItem> events)
    {
        int repeated = 0;
        for (int i = 1; i < events.Length; i++)
        {
            for (int other = i - 1; other >= 0 && other >= i - LargestBasket && events[other].Time == events[i].Time; other--)
            {
                if (events[other].Item != events[i].Item)
                    continue;
                repeated++;
                break;
            }
        }
        return repeated;
    }

    private static bool IsSorted(ReadOnlySpan<TimedItem> events)
    {
        for (int i = 1; i < events.Length; i++)
        {
            if (events[i].Time < events[i - 1].Time)
                return false;
        }
        return true;
    }

    private readonly record struct TimedItem(double Time, int Place, int Item) : IComparable<TimedItem>
    {
        public int CompareTo(TimedItem other)
        {
            int byTime = Time.CompareTo(other.Time);
            return byTime != 0 ? byTime : Place.CompareTo(other.Place);
        }
    }
}
