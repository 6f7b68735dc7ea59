namespace Bert4Rec.Data;

/// <summary>Events in the order of their file, as columns in pieces: to grow copies nothing, and needs no room twice.</summary>
internal sealed class InteractionColumns
{
    public List<InteractionPiece> Pieces { get; } = [];

    public int Count { get; private set; }

    /// <exception cref="InputException">They are too many.</exception>
    public void Add(InteractionPiece piece)
    {
        if (Count + (long)piece.Count > Array.MaxLength)
            throw new InputException($"more than {Array.MaxLength} interactions, which is the most that one dataset holds");
        Pieces.Add(piece);
        Count += piece.Count;
    }

    /// <summary>Drops the events of users and items that are not kept.</summary>
    public void Keep(bool[] users, bool[] items)
    {
        Count = 0;
        foreach (var piece in Pieces)
        {
            piece.Keep(users, items);
            Count += piece.Count;
        }
    }
}

/// <summary>Some events: internal ids of users and items, and times.</summary>
internal sealed class InteractionPiece
{
    private readonly int[] _users;
    private readonly int[] _items;

    /// <summary>Whole numbers near each other, as seconds are, take half the room of others.</summary>
    private readonly uint[]? _sinceFirst;
    private readonly double[]? _times;
    private readonly double _first;

    /// <summary>Events whose users and items are still to be filled in.</summary>
    public InteractionPiece(ReadOnlySpan<double> times)
    {
        Count = times.Length;
        _users = GC.AllocateUninitializedArray<int>(Count);
        _items = GC.AllocateUninitializedArray<int>(Count);
        _first = times.IsEmpty ? 0 : double.Floor(Minimum(times));
        _sinceFirst = SinceFirst(times, _first);
        _times = _sinceFirst is null ? times.ToArray() : null;
    }

    public int Count { get; private set; }

    public Span<int> Users => _users.AsSpan(0, Count);

    public Span<int> Items => _items.AsSpan(0, Count);

    public double Time(int i) => _sinceFirst is null ? _times![i] : _first + _sinceFirst[i];

    /// <summary>The latest time; of at least one event.</summary>
    public double Newest
    {
        get
        {
            double newest = Time(0);
            for (int i = 1; i < Count; i++)
                newest = Math.Max(newest, Time(i));
            return newest;
        }
    }

    /// <summary>Whether all of them have this time.</summary>
    public bool HasOnly(double time) => Enumerable.Range(0, Count).All(i => Time(i) == time);

    internal void Keep(bool[] users, bool[] items)
    {
        int kept = 0;
        for (int i = 0; i < Count; i++)
        {
            if (!users[_users[i]] || !items[_items[i]])
                continue;
            _users[kept] = _users[i];
            _items[kept] = _items[i];
            if (_sinceFirst is not null)
                _sinceFirst[kept] = _sinceFirst[i];
            else
                _times![kept] = _times[i];
            kept++;
        }
        Count = kept;
    }

    private static double Minimum(ReadOnlySpan<double> times)
    {
        double minimum = times[0];
        foreach (double time in times)
            minimum = Math.Min(minimum, time);
        return minimum;
    }

    /// <summary>Null where not every time would come back as it was.</summary>
    private static uint[]? SinceFirst(ReadOnlySpan<double> times, double first)
    {
        var sinceFirst = new uint[times.Length];
        for (int i = 0; i < times.Length; i++)
        {
            double since = times[i] - first;
            if (since > uint.MaxValue || first + (sinceFirst[i] = (uint)since) != times[i])
                return null;
        }
        return sinceFirst;
    }
}
