using System.Buffers;
using System.Globalization;
using System.IO.Hashing;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Unicode;
using Bert4Rec.Configuration;
using Bert4Rec.EventLog;
using Bert4Rec.Serialization;

namespace Bert4Rec.Data;

/// <summary>What became of every row: <see cref="RowsRead"/> is <see cref="RowsKept"/> and all of <see cref="Dropped"/>.</summary>
/// <param name="Files">The files written: .inter, .user, .item.</param>
/// <param name="RowsKept">Rows of .inter.</param>
/// <param name="Dropped">Rows dropped by reason: "unreadable", "no user_session", "history too short", "history too long".</param>
/// <param name="Histories">Users, or sessions, of .inter.</param>
/// <param name="UserRows">Rows of .user: pairs of a user and a session.</param>
/// <param name="Items">Rows of .item: products.</param>
internal sealed record ConvertSummary(
    IReadOnlyList<string> Files,
    long RowsRead,
    long RowsKept,
    IReadOnlyDictionary<string, long> Dropped,
    long Histories,
    long UserRows,
    long Items,
    ReadSummary Read);

/// <summary>
/// Writes a cleaned log as RecBole's atomic files. Interactions keep the order of the cleaned file, users and items come in the order of
/// their first event, so the same input gives the same bytes. Users, pairs and items are told apart by 128-bit hashes, which are as good as
/// the names themselves and take a fraction of the memory.
/// </summary>
internal static class AtomicFileWriter
{
    /// <summary>The first line of .inter, by which a file is known again.</summary>
    public const string InteractionHeader = "user_id:token\tproduct_id:token\tevent_time:float\tevent_type:float";

    /// <summary>A customer may lend the machine to another without a new session.</summary>
    private const double LargestShared = 0.01;

    private static readonly EventColumn[] _itemColumns =
        [EventColumn.ProductId, EventColumn.CategoryId, EventColumn.CategoryCode, EventColumn.Brand, EventColumn.Price];

    /// <summary>Writes NAME.inter, NAME.user and NAME.item; .inter takes its name last.</summary>
    /// <param name="cleaned">A file that <see cref="EventLogCleaner"/> wrote.</param>
    /// <param name="directory">The folder of the files; made if it is not there.</param>
    /// <param name="options">Whose events make a history, and how long one may be.</param>
    /// <param name="cancellationToken">Stops the conversion; the files are left as they were.</param>
    /// <exception cref="InputException">The cleaned file cannot be read, or is none, or no row is left.</exception>
    /// <exception cref="IOException">A file cannot be written.</exception>
    public static ConvertSummary Convert(
        string cleaned,
        string directory,
        string name,
        ConvertOptions options,
        IProgress<ProgressUpdate>? progress = null,
        CancellationToken cancellationToken = default)
    {
        string[] files = [.. new[] { "inter", "user", "item" }.Select(suffix => Path.Combine(directory, $"{name}.{suffix}"))];
        if (files.Any(file => UnixFile.IsSame(file, cleaned)))
            throw new InputException($"{cleaned}: the output is the input; choose another --output or --name");
        Dictionary<UInt128, int>? lengths = options.MinLength > 1 || options.MaxLength < int.MaxValue ? [] : null;
        if (lengths is not null)
        {
            ReadRows(
                cleaned,
                options,
                row =>
                {
                    UInt128 owner = Hash(row[Owner(options)]);
                    lengths[owner] = lengths.GetValueOrDefault(owner) + 1;
                },
                progress,
                cancellationToken);
        }
        ConvertSummary? summary = null;
        OutputFile.Write(files[0], inter => OutputFile.Write(files[1], user =>
        {
            inter.Write(Encoding.UTF8.GetBytes(InteractionHeader + "\n"));
            user.Write("user_id:token\tuser_session:token\n"u8);
            var tables = new Tables(inter, user, options, lengths);
            ReadSummary read = ReadRows(cleaned, options, tables.Add, progress, cancellationToken);
            // A log that is still being written may end so, a cleaned file never does.
            if (read.CutRows > 0)
                throw new InputException($"{cleaned}: the file ends in the middle of a line: it was cut off; clean the log again");
            if (tables.Kept == 0)
                throw new InputException($"{cleaned}: no row is left of {read.Rows:N0}: {tables.Describe(read)}");
            OutputFile.Write(files[2], tables.WriteItems);
            summary = new ConvertSummary(
                files, read.Rows, tables.Kept, tables.Dropped(read), tables.Histories, tables.UserRows, tables.Items,
                read with { Warnings = [.. tables.Warnings(cleaned)] });
        }));
        return summary!;
    }

    private static EventColumn Owner(ConvertOptions options) =>
        options.GroupBy == HistoryOwner.User ? EventColumn.UserId : EventColumn.UserSession;

    private static UInt128 Hash(ReadOnlySpan<byte> value) => XxHash128.HashToUInt128(value);

    private static ReadSummary ReadRows(
        string cleaned,
        ConvertOptions options,
        Action<CleanedRow> consume,
        IProgress<ProgressUpdate>? progress,
        CancellationToken cancellationToken) =>
        EventLogReader.Read(
            [cleaned],
            options,
            () => new RowBlock(),
            block =>
            {
                for (int row = 0; row < block.Count; row++)
                    consume(block[row]);
            },
            progress,
            cancellationToken);

    private readonly ref struct CleanedRow(ReadOnlySpan<byte> bytes, ReadOnlySpan<int> ends)
    {
        private readonly ReadOnlySpan<byte> _bytes = bytes;

        // The start of the row, and the end of each value.
        private readonly ReadOnlySpan<int> _ends = ends;

        public ReadOnlySpan<byte> this[EventColumn column] => _bytes[_ends[(int)column].._ends[(int)column + 1]];
    }

    /// <summary>The checked rows of a block: values one after another, and where each ends.</summary>
    private sealed class RowBlock : IRowBlock
    {
        /// <summary>Those of the years 1 to 9999, which is all that a cleaned file can hold.</summary>
        private const double FirstSecond = -62_135_596_800, LastSecond = 253_402_300_799.999;

        private static readonly SearchValues<byte> _controls = SearchValues.Create([.. Enumerable.Range(0, 32).Select(i => (byte)i), 127]);

        private byte[] _bytes = new byte[1 << 16];
        private int _used;
        private int[] _ends = new int[1 << 12];

        public int Count { get; private set; }

        public CleanedRow this[int row] => new(_bytes, _ends.AsSpan(row * (EventColumns.Count + 1), EventColumns.Count + 1));

        public void Clear() => (Count, _used) = (0, 0);

        public string? Add(EventRow row)
        {
            int at = Count * (EventColumns.Count + 1);
            if (_ends.Length < at + EventColumns.Count + 1)
                Array.Resize(ref _ends, 2 * _ends.Length);
            int used = _used;
            _ends[at++] = used;
            for (int column = 0; column < EventColumns.Count; column++)
            {
                ReadOnlySpan<byte> value = row[(EventColumn)column];
                if (Check((EventColumn)column, value) is string reason)
                    return reason;
                if (_bytes.Length < used + value.Length)
                    Array.Resize(ref _bytes, Math.Max(used + value.Length, 2 * _bytes.Length));
                value.CopyTo(_bytes.AsSpan(used));
                used += value.Length;
                _ends[at++] = used;
            }
            _used = used;
            Count++;
            return null;
        }

        private static string? Check(EventColumn column, ReadOnlySpan<byte> value)
        {
            if (value.IsEmpty && EventColumns.Required.Contains(column))
                return $"{column.Name()} is empty; every event needs one";
            if (value.ContainsAny(_controls))
                return $"{column.Name()} has a TAB or another control character: {Printable.Quoted(value)}; atomic files cannot hold it";
            if (value.IndexOf(Encoding.UTF8.Preamble) >= 0)
                return $"{column.Name()} has a byte order mark (U+FEFF) in it: {Printable.Quoted(value)}; take it out";
            if (!Utf8.IsValid(value))
                return $"{column.Name()} is not UTF-8: {Printable.Quoted(value)}";
            double number = 0;
            if (column is EventColumn.EventTime or EventColumn.EventType or EventColumn.Price && !value.IsEmpty
                && !NumberText.TryParse(value, out number))
                return $"{column.Name()} must be a number, not {Printable.Quoted(value)}; give a file that 'bert4rec clean' wrote";
            if (column == EventColumn.EventTime && number is < FirstSecond or > LastSecond)
                return $"event_time {Printable.Quoted(value)} is no Unix time in seconds; give a file that 'bert4rec clean' wrote";
            return null;
        }
    }

    /// <summary>The three files as they grow.</summary>
    private sealed class Tables(Stream inter, Stream user, ConvertOptions options, Dictionary<UInt128, int>? lengths)
    {
        private readonly EventColumn _owner = Owner(options);
        private readonly HashSet<UInt128> _owners = [];

        /// <summary>The session of the last row, whose rows stand together, and the customer of its first one.</summary>
        private (UInt128 Session, UInt128 Customer, bool IsShared) _last;
        private long _sharedSessions;
        private readonly HashSet<UInt128> _pairs = [];
        private readonly OrderedDictionary<UInt128, (double Time, byte[] Line)> _items = [];
        private readonly ArrayBufferWriter<byte> _line = new();
        private long _noOwner;
        private long _tooShort;
        private long _tooLong;

        public long Kept { get; private set; }

        public long Histories => _owners.Count;

        public long UserRows => _pairs.Count;

        public long Items => _items.Count;

        public void Add(CleanedRow row)
        {
            ReadOnlySpan<byte> owner = row[_owner];
            if (owner.IsEmpty)
            {
                _noOwner++;
                return;
            }
            UInt128 ownerHash = Hash(owner);
            if (lengths is not null)
            {
                int length = lengths[ownerHash];
                if (length < options.MinLength)
                {
                    _tooShort++;
                    return;
                }
                if (length > options.MaxLength)
                {
                    _tooLong++;
                    return;
                }
            }
            Kept++;
            _owners.Add(ownerHash);
            if (options.GroupBy == HistoryOwner.Session)
                AddCustomer(ownerHash, Hash(row[EventColumn.UserId]));
            inter.Write(Line(row, [_owner, EventColumn.ProductId, EventColumn.EventTime, EventColumn.EventType]));
            if (!row[EventColumn.UserSession].IsEmpty)
            {
                ReadOnlySpan<byte> pair = Line(row, [_owner, EventColumn.UserSession]);
                if (_pairs.Add(Hash(pair)))
                    user.Write(pair);
            }
            AddItem(row);
        }

        public void WriteItems(Stream stream)
        {
            stream.Write("product_id:token\tcategory_id:token\tcategory_code:token_seq\tbrand:token\tprice:float\n"u8);
            foreach ((_, byte[] line) in _items.Values)
                stream.Write(line);
        }

        public Dictionary<string, long> Dropped(ReadSummary read) =>
            new (string Reason, long Rows)[]
            {
                ("unreadable", read.BadRows),
                ("no user_session", _noOwner),
                ("history too short", _tooShort),
                ("history too long", _tooLong),
            }.Where(drop => drop.Rows > 0).ToDictionary(drop => drop.Reason, drop => drop.Rows);

        public string Describe(ReadSummary read)
        {
            string dropped = string.Join(", ", Dropped(read).Select(drop => $"{drop.Value:N0} {drop.Key}"));
            return dropped.Length > 0 ? $"{dropped}; relax --min-length and --max-length" : "the file has a header and nothing else";
        }

        /// <summary>What looks wrong, as a sentence.</summary>
        public IEnumerable<string> Warnings(string cleaned)
        {
            if (_sharedSessions > LargestShared * _owners.Count)
            {
                yield return $"{cleaned}: {_sharedSessions:N0} of {_owners.Count:N0} sessions have events of several customers, which make "
                    + "one history; where a session's id is a customer's own number, write both into one column of the log";
            }
        }

        private void AddCustomer(UInt128 session, UInt128 customer)
        {
            if (_last.Session != session)
                _last = (session, customer, false);
            else if (_last.Customer != customer && !_last.IsShared)
            {
                _last.IsShared = true;
                _sharedSessions++;
            }
        }

        private void AddItem(CleanedRow row)
        {
            UInt128 product = Hash(row[EventColumn.ProductId]);
            double time = double.Parse(row[EventColumn.EventTime], CultureInfo.InvariantCulture);
            bool isKnown = _items.TryGetValue(product, out var item);
            if (isKnown && time < item.Time)
                return;
            ReadOnlySpan<byte> line = Line(row, _itemColumns);
            _items[product] = (time, isKnown && line.SequenceEqual(item.Line) ? item.Line : line.ToArray());
        }

        /// <summary>Values with TABs between them and a line break; valid until the next call.</summary>
        private ReadOnlySpan<byte> Line(CleanedRow row, ReadOnlySpan<EventColumn> columns)
        {
            _line.ResetWrittenCount();
            foreach (EventColumn column in columns)
            {
                _line.Write(row[column]);
                _line.Write("\t"u8);
            }
            Span<byte> line = MemoryMarshal.AsMemory(_line.WrittenMemory).Span;
            line[^1] = (byte)'\n';
            return line;
        }
    }
}
