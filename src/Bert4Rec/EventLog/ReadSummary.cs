namespace Bert4Rec.EventLog;

/// <summary>A row that could not be read.</summary>
/// <param name="Line">Its line, the header being line 1; of a Parquet file its row, the first being 1.</param>
internal sealed record BadRow(string File, long Line, string Reason);

/// <summary>What was read.</summary>
/// <param name="Rows">Rows in all, unreadable ones included; empty lines are none.</param>
/// <param name="CutRows">Those among them that are the last line of a file, cut off.</param>
/// <param name="Examples">The first ten unreadable rows.</param>
/// <param name="Bytes">Bytes of the files, as they lie on the disk.</param>
internal sealed record ReadSummary(long Rows, long BadRows, long CutRows, IReadOnlyList<BadRow> Examples, long Bytes)
{
    /// <summary>Rows of events that <see cref="Configuration.LogFormat.EventNames"/> leave out.</summary>
    public long LeftOut { get; init; }

    /// <summary>What looks wrong in rows that could be read, as sentences.</summary>
    public IReadOnlyList<string> Warnings { get; init; } = [];
}
