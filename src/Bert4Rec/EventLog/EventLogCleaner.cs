using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Unicode;
using Bert4Rec.Configuration;
using Bert4Rec.Serialization;

namespace Bert4Rec.EventLog;

/// <summary>What became of every row: <see cref="RowsRead"/> is <see cref="RowsKept"/> and all of <see cref="Dropped"/>.</summary>
/// <param name="Dropped">
/// Rows dropped by reason, in the order of the checks: "unreadable", "other event type", "no COLUMN", "duplicate". An unwanted event
/// is not looked at further, so a view without a brand counts as another event type where purchases are kept.
/// </param>
/// <param name="Read">What the reader saw, the first unreadable rows among it.</param>
/// <param name="RunsOnDisk">Sorted runs that went through the disk; 0 where memory was enough.</param>
/// <param name="Sha256">Of the cleaned file, in lower case.</param>
internal sealed record CleanSummary(
    string Output,
    long RowsRead,
    long RowsKept,
    IReadOnlyDictionary<string, long> Dropped,
    ReadSummary Read,
    int RunsOnDisk,
    string Sha256);

/// <summary>
/// Cleans an event log: rows with a missing value go, times become Unix seconds ("1569888608.0"), types numbers,
/// the dots of category codes spaces, prices the shortest text of their double; then rows are sorted by (user_session, event_time), stable,
/// and exact duplicates go but for the first. The order of these steps does not show in the result, so unwanted events go first.
/// </summary>
internal static class EventLogCleaner
{
    /// <summary>Of names that would be taken for what the file is not.</summary>
    private static readonly string[] s_otherEndings = [".gz", ".tsv", ".json", ".jsonl", ".zip", ".inter", ".xlsx"];

    /// <summary>Cleans logs into one file.</summary>
    /// <param name="inputs">Files or folders, as <see cref="EventLogReader.Read"/> takes them.</param>
    /// <param name="output">The cleaned file, written or replaced whole; Parquet where its name ends in .parquet.</param>
    /// <param name="cancellationToken">Stops the cleaning; the output is left as it was.</param>
    /// <exception cref="InputException">A log cannot be read, no event is left of it, or the output is one of the inputs.</exception>
    /// <exception cref="IOException">The output cannot be written.</exception>
    public static CleanSummary Clean(
        IReadOnlyList<string> inputs,
        string output,
        CleanOptions options,
        IProgress<ProgressUpdate>? progress = null,
        CancellationToken cancellationToken = default)
    {
        if (EventLogFiles.List(inputs).Any(file => UnixFile.IsSame(file, output)))
            throw new InputException($"{output}: the output is one of the inputs; choose another name");
        CleanSummary? summary = null;
        if (!ParquetInput.HasExtension(output))
        {
            if (s_otherEndings.Contains(Path.GetExtension(output), StringComparer.OrdinalIgnoreCase))
                throw new InputException($"{output}: the cleaned file is CSV or Parquet; give it a name that ends in .csv or .parquet");
            OutputFile.Write(output, Clean);
            return summary!;
        }
        OutputFile.Write(output, stream => ParquetOutput.Write(stream, CleanedParquet.Columns, file =>
        {
            using var lines = new CleanedParquet(file);
            Clean(lines);
            lines.Finish();
        }));
        return summary! with { Sha256 = Sha256.OfFile(output, progress, cancellationToken) };

        void Clean(Stream stream)
        {
            summary = EventLogCleaner.Clean(inputs, stream, output, options, progress, cancellationToken);
            if (summary.RowsKept > 0)
                return;
            string reasons = string.Join(", ", summary.Dropped.Select(drop => $"{drop.Key} {drop.Value:N0}"));
            throw new InputException(
                summary.RowsRead == 0 ? $"{inputs[0]}: the log has a header and no rows"
                : $"{inputs[0]}: no event is left of {summary.RowsRead:N0} rows ({reasons}); event_log.events (--events) says which are "
                + "wanted, event_log.keep_nulls (--keep-nulls) what may be missing");
        }
    }

    /// <summary>Cleans logs into a stream; sorting uses files named after <paramref name="output"/> where memory is not enough,
    /// and memory only where there is no such name.</summary>
    internal static CleanSummary Clean(
        IReadOnlyList<string> inputs,
        Stream stream,
        string? output,
        CleanOptions options,
        IProgress<ProgressUpdate>? progress,
        CancellationToken cancellationToken)
    {
        foreach (EventColumn required in options.KeepNulls.Where(column => EventColumns.Required.Contains(column)))
            throw new InputException($"every event needs its {required.Name()}: it cannot be kept empty");
        using var sorter = new SessionSorter(output, options.SortMemory);
        var nulls = new long[EventColumns.Count];
        long otherEvents = 0;
        var oddities = new LogOddities();
        ReadSummary read = EventLogReader.Read(
            inputs,
            options,
            () => new CleanBlock(options),
            block =>
            {
                sorter.AddAll(block.Records);
                for (int column = 0; column < nulls.Length; column++)
                    nulls[column] += block.Nulls[column];
                otherEvents += block.OtherEvents;
                oddities.Add(block.Oddities);
            },
            progress,
            cancellationToken);

        long sorted = 0, kept = 0;
        var unique = new DuplicateFilter();
        using var hash = SHA256.Create();
        // Neither is disposed of: after an error nothing more is to be written.
        var hashed = new CryptoStream(stream, hash, CryptoStreamMode.Write, leaveOpen: true);
        var writer = new BufferedStream(hashed, 1 << 16);
        writer.Write(Encoding.UTF8.GetBytes(string.Join(',', EventColumns.Names) + "\n"));
        sorter.Drain(
            (in RecordHeader header, ReadOnlySpan<byte> content) =>
            {
                if (unique.IsNew(header, content))
                {
                    writer.Write(content[..header.LineLength]);
                    kept++;
                }
                if (++sorted % (1 << 16) == 0)
                    progress?.Report(new($"writing {Path.GetFileName(output) ?? "checksum"}", sorted, sorter.Count, "rows"));
            },
            cancellationToken);

        writer.Flush();
        hashed.FlushFinalBlock();
        (string Reason, long Rows)[] dropped =
        [
            ("unreadable", read.BadRows),
            ("other event type", otherEvents + read.LeftOut),
            .. nulls.Select((rows, column) => ($"no {EventColumns.Names[column]}", rows)),
            ("duplicate", sorted - kept),
        ];
        return new CleanSummary(
            output ?? "",
            read.Rows,
            kept,
            dropped.Where(drop => drop.Rows > 0).ToDictionary(),
            read with { Warnings = [.. oddities.Describe(inputs[0], DateTimeOffset.UtcNow)] },
            sorter.Runs,
            Convert.ToHexStringLower(hash.Hash!));
    }

    /// <summary>The kept rows of one block, as records for the sorter, and the counts of the others.</summary>
    private sealed class CleanBlock(CleanOptions options) : IRowBlock
    {
        private readonly EventTypes _events = options.Events;
        private readonly bool[] _keepNulls =
        [
            .. Enum.GetValues<EventColumn>().Select(
                column => options.KeepNulls.Contains(column) || options.Format.MayBeMissing(column)),
        ];

        private byte[] _records = new byte[1 << 12];
        private int _used;
        private byte[] _line = new byte[512];
        private int _length;

        public ReadOnlySpan<byte> Records => _records.AsSpan(0, _used);

        public long[] Nulls { get; } = new long[EventColumns.Count];

        public long OtherEvents { get; private set; }

        public LogOddities Oddities { get; } = new();

        public void Clear()
        {
            Oddities.Clear();
            _used = 0;
            OtherEvents = 0;
            Array.Clear(Nulls);
        }

        public string? Add(EventRow row)
        {
            ReadOnlySpan<byte> typeName = row[EventColumn.EventType];
            if (!EventTypeNames.TryParse(typeName, out EventTypes type) && !EventValues.IsNull(typeName))
                return EventValues.WrongType(typeName);
            if (type != EventTypes.None && (type & _events) == 0)
            {
                OtherEvents++;
                return null;
            }
            for (int column = 0; column < EventColumns.Count; column++)
            {
                if (!_keepNulls[column] && EventValues.IsNull(row[(EventColumn)column]))
                {
                    Nulls[column]++;
                    return null;
                }
            }
            if (!EventValues.TryParseTime(row[EventColumn.EventTime], out long time))
            {
                if (!EventValues.IsNoDate(row[EventColumn.EventTime]))
                    return EventValues.WrongTime(row[EventColumn.EventTime]);
                Nulls[(int)EventColumn.EventTime]++;
                return null;
            }
            _length = 0;
            WriteTime(time);
            Write([type.Code(), (byte)',']);
            WriteValue(row[EventColumn.ProductId]);
            WriteValue(row[EventColumn.CategoryId]);
            WriteCategory(row[EventColumn.CategoryCode]);
            WriteValue(row[EventColumn.Brand]);
            if (!WritePrice(row[EventColumn.Price]))
                return EventValues.WrongPrice(row[EventColumn.Price]);
            WriteValue(row[EventColumn.UserId]);
            ReadOnlySpan<byte> session = row[EventColumn.UserSession];
            int sessionStart = _length;
            int sessionLength = EventValues.IsNull(session) ? -1 : session.Length;
            WriteValue(session, end: (byte)'\n');
            int lineLength = _length;
            if (sessionLength >= 0 && lineLength - sessionStart != sessionLength + 1)
            {
                // The line has it in quotes; sorting needs it as it is.
                sessionStart = lineLength;
                Write(session);
            }
            ReadOnlySpan<byte> content = _line.AsSpan(0, _length);
            if (!Utf8.IsValid(content))
                return EventValues.NotUtf8;
            Oddities.Add(row, time);
            SessionSorter.Append(
                ref _records, ref _used, new RecordHeader(time, lineLength, sessionStart, sessionLength, _length), content);
            return null;
        }

        private Span<byte> Reserve(int bytes)
        {
            if (_line.Length - _length < bytes)
                Array.Resize(ref _line, Math.Max(_length + bytes, 2 * _line.Length));
            return _line.AsSpan(_length);
        }

        private void Write(ReadOnlySpan<byte> bytes)
        {
            bytes.CopyTo(Reserve(bytes.Length));
            _length += bytes.Length;
        }

        /// <summary>Unix seconds with a fraction, "1569888608.0", as Python writes them.</summary>
        private void WriteTime(long milliseconds)
        {
            const long Unit = EventValues.MillisecondsPerSecond;
            int written;
            if (milliseconds % Unit == 0)
            {
                (milliseconds / Unit).TryFormat(Reserve(20), out written);
                _length += written;
                Write(".0,"u8);
                return;
            }
            ((decimal)milliseconds / Unit).TryFormat(Reserve(24), out written, "0.0##", CultureInfo.InvariantCulture);
            _length += written;
            Write(","u8);
        }

        private bool WritePrice(ReadOnlySpan<byte> price)
        {
            if (!EventValues.IsNull(price))
            {
                int written = EventValues.WriteShortest(price, Reserve(Math.Max(32, price.Length + 2)));
                if (written < 0)
                    return false;
                _length += written;
            }
            Write(","u8);
            return true;
        }

        private void WriteCategory(ReadOnlySpan<byte> category)
        {
            int start = _length;
            WriteValue(category);
            _line.AsSpan(start, _length - start).Replace((byte)'.', (byte)' ');
        }

        /// <summary>A value, in quotes only where it needs them, and what ends it.</summary>
        private void WriteValue(ReadOnlySpan<byte> value, byte end = (byte)',')
        {
            if (EventValues.IsNull(value))
                value = default;
            if (!value.ContainsAny(",\"\r\n"u8))
            {
                Write(value);
            }
            else
            {
                Write("\""u8);
                foreach (byte character in value)
                    Write(character == '"' ? "\"\""u8 : [character]);
                Write("\""u8);
            }
            Write([end]);
        }
    }

    /// <summary>Tells the first of equal rows from the others; equal rows come with the same session and time.</summary>
    private sealed class DuplicateFilter
    {
        private readonly HashSet<byte[]> _lines = new(new BytesComparer());
        private readonly HashSet<byte[]>.AlternateLookup<ReadOnlySpan<byte>> _lookup;
        private byte[] _first = [];
        private int _firstLength;
        private byte[] _session = [];
        private int _sessionLength = int.MinValue;
        private long _time;

        public DuplicateFilter() => _lookup = _lines.GetAlternateLookup<ReadOnlySpan<byte>>();

        public bool IsNew(in RecordHeader header, ReadOnlySpan<byte> content)
        {
            ReadOnlySpan<byte> line = content[..header.LineLength];
            ReadOnlySpan<byte> session = SessionSorter.Session(header, content);
            bool sameGroup = header.Time == _time && header.SessionLength == _sessionLength
                && session.SequenceEqual(_session.AsSpan(0, session.Length));
            if (!sameGroup)
            {
                if (_lines.Count > 0)
                    _lines.Clear();
                _time = header.Time;
                _sessionLength = header.SessionLength;
                Keep(ref _session, session);
                Keep(ref _first, line);
                _firstLength = line.Length;
                return true;
            }
            if (_lines.Count == 0)
                _lookup.Add(_first.AsSpan(0, _firstLength));
            return _lookup.Add(line);
        }

        private static void Keep(ref byte[] to, ReadOnlySpan<byte> from)
        {
            if (to.Length < from.Length)
                to = new byte[2 * from.Length];
            from.CopyTo(to);
        }

        private sealed class BytesComparer : IEqualityComparer<byte[]>, IAlternateEqualityComparer<ReadOnlySpan<byte>, byte[]>
        {
            public bool Equals(byte[]? x, byte[]? y) => x.AsSpan().SequenceEqual(y);

            public bool Equals(ReadOnlySpan<byte> alternate, byte[] other) => alternate.SequenceEqual(other);

            public int GetHashCode(byte[] bytes) => GetHashCode(bytes.AsSpan());

            public int GetHashCode(ReadOnlySpan<byte> alternate)
            {
                var hash = default(HashCode);
                hash.AddBytes(alternate);
                return hash.ToHashCode();
            }

            public byte[] Create(ReadOnlySpan<byte> alternate) => alternate.ToArray();
        }
    }
}
