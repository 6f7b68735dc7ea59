namespace Bert4Rec.Configuration;

/// <summary>How a log is read.</summary>
internal record ReadOptions
{
    /// <summary>What the log calls its columns and event types.</summary>
    public LogFormat Format { get; init; } = LogFormat.Plain;

    /// <summary>The largest share of rows that may be unreadable; a last line that was cut off does not count.</summary>
    public double MaxBadRows { get; init; } = 0.001;

    /// <summary>Threads that parse; one more reads the files.</summary>
    public int Threads { get; init; } = Environment.ProcessorCount;
}

/// <summary>What cleaning keeps.</summary>
internal sealed record CleanOptions : ReadOptions
{
    /// <summary>The events to keep.</summary>
    public EventTypes Events { get; init; } = EventTypes.Purchase;

    /// <summary>Columns that may be empty; a row that lacks another is dropped, but for those that
    /// <see cref="LogFormat.MayBeMissing"/>. See <see cref="EventColumns.Required"/>.</summary>
    public IReadOnlySet<EventColumn> KeepNulls { get; init; } = new HashSet<EventColumn>();

    /// <summary>Bytes of rows to hold in memory while sorting; more goes through the disk, beside the output.</summary>
    public long SortMemory { get; init; } = 128L << 20;
}

/// <summary>Whose events make one history.</summary>
internal enum HistoryOwner
{
    User,
    Session,
}

/// <summary>How a cleaned log becomes atomic files.</summary>
internal sealed record ConvertOptions : ReadOptions
{
    /// <summary>With <see cref="HistoryOwner.Session"/> sessions take the users' place: user_id is the session.</summary>
    public HistoryOwner GroupBy { get; init; } = HistoryOwner.User;

    /// <summary>Histories with fewer events are left out.</summary>
    public int MinLength { get; init; } = 1;

    /// <summary>Histories with more events are left out (robots, resellers), as by RecBole's user_inter_num_interval.</summary>
    public int MaxLength { get; init; } = int.MaxValue;
}
