using System.Globalization;
using System.IO.Hashing;
using System.Numerics;
using System.Runtime.InteropServices;
using System.Text.Unicode;
using Bert4Rec.Configuration;

namespace Bert4Rec.EventLog;

/// <summary>How a log is analysed.</summary>
internal sealed record AnalyzeOptions : ReadOptions
{
    /// <summary>Distinct rows to tell apart exactly, up to 16 bytes each; beyond it duplicates are estimated.</summary>
    public int MaxDistinctRows { get; init; } = 50_000_000;

    /// <summary>Distinct values of a column to tell apart exactly; beyond it their number is estimated.</summary>
    public int MaxDistinctValues { get; init; } = 12_500_000;

    /// <summary>
    /// Logs up to this many bytes are also cleaned, for the checksums of what <see cref="EventLogCleaner"/> would write. A packed one
    /// counts for what its rows would be.
    /// </summary>
    public long ChecksumBytes { get; init; } = 256L << 20;
}

/// <summary>
/// Looks at an event log in one pass: at its columns, and at what decides whether a sequence model has a chance on it. Threads parse and
/// hash the rows; one adds them up. Values are told apart by 64-bit hashes: among 42 million the chance of one mistake is 0.005%.
/// </summary>
internal static class EventLogAnalysis
{
    private const int HeadRows = 5;

    /// <summary>Bytes of a row of CSV at least, nearly always.</summary>
    private const int LeastRowBytes = 100;

    private const int HoursPerDay = 24, SecondsPerHour = 3600;

    /// <param name="inputs">Files or folders, as <see cref="EventLogReader.Read"/> takes them.</param>
    /// <exception cref="InputException">A log cannot be read, or has no row.</exception>
    public static LogAnalysis Analyze(
        IReadOnlyList<string> inputs,
        AnalyzeOptions options,
        IProgress<ProgressUpdate>? progress = null,
        CancellationToken cancellationToken = default)
    {
        var totals = new Totals(options);
        ReadSummary read = EventLogReader.Read(inputs, options, () => new RowBlock(), totals.Add, progress, cancellationToken);
        if (totals.Rows == 0)
        {
            string only = read.LeftOut == 0 ? "only a header" : $"for event_names leave out all {read.LeftOut:N0} (--event-names)";
            throw new InputException($"{EventLogFiles.List(inputs)[0]}: there is no row to analyse, {only}");
        }
        LogAnalysis analysis = totals.Result(read, EventLogReader.Head(inputs[0], options.Format, HeadRows), cancellationToken);
        return Math.Max(read.Bytes, read.Rows * LeastRowBytes) > options.ChecksumBytes
            ? analysis
            : analysis with { Sha256Purchase = Checksum(EventTypes.Purchase), Sha256All = Checksum(EventTypes.All) };

        string Checksum(EventTypes events)
        {
            var clean = new CleanOptions
            {
                Format = options.Format,
                Events = events,
                MaxBadRows = options.MaxBadRows,
                Threads = options.Threads,
            };
            return EventLogCleaner.Clean(inputs, Stream.Null, output: null, clean, progress, cancellationToken).Sha256;
        }
    }

    /// <summary>What a row comes down to.</summary>
    private struct RowFigures
    {
        /// <summary>A bit for each missing column.</summary>
        public int Nulls;
        public EventTypes Type;
        public long Time;
        public double Price;
        public ulong Hash;
    }

    private sealed class RowBlock : IRowBlock
    {
        private readonly byte[] _price = new byte[EventLogReader.BlockSize + 32];
        private byte[] _category = new byte[256];

        public List<RowFigures> Rows { get; } = [];

        /// <summary>Nine hashes a row; 0 for a missing value.</summary>
        public List<ulong> Hashes { get; } = [];

        /// <summary>A bit for each column with a value that is no integer.</summary>
        public int NotInteger { get; private set; }

        public void Clear()
        {
            Rows.Clear();
            Hashes.Clear();
            NotInteger = 0;
        }

        public string? Add(EventRow row)
        {
            var figures = new RowFigures { Price = double.NaN, Time = long.MinValue };
            Span<ulong> hashes = stackalloc ulong[EventColumns.Count];
            for (int column = 0; column < EventColumns.Count; column++)
            {
                ReadOnlySpan<byte> value = row[(EventColumn)column];
                if (EventValues.IsNull(value) || (column == (int)EventColumn.EventTime && EventValues.IsNoDate(value)))
                {
                    hashes[column] = 0;
                    figures.Nulls |= 1 << column;
                    continue;
                }
                switch ((EventColumn)column)
                {
                    case EventColumn.EventTime:
                        if (!EventValues.TryParseTime(value, out figures.Time))
                            return EventValues.WrongTime(value);
                        // Rows are equal where what is made of them is, however it is written.
                        hashes[column] = Math.Max(1, XxHash3.HashToUInt64(MemoryMarshal.AsBytes([figures.Time])));
                        continue;
                    case EventColumn.CategoryCode:
                        // A line is no longer than a block, but a value of Parquet may be.
                        if (_category.Length < value.Length)
                            _category = new byte[value.Length];
                        value.Replace(_category, (byte)'.', (byte)' ');
                        value = _category.AsSpan(0, value.Length);
                        break;
                    case EventColumn.EventType:
                        if (!EventTypeNames.TryParse(value, out figures.Type))
                            return EventValues.WrongType(value);
                        break;
                    case EventColumn.Price:
                        int length = EventValues.WriteShortest(value, _price);
                        if (length < 0)
                            return EventValues.WrongPrice(value);
                        // 33.20 and 33.2 are one price.
                        value = _price.AsSpan(0, length);
                        figures.Price = double.Parse(value, NumberStyles.Float, CultureInfo.InvariantCulture);
                        break;
                    case EventColumn.ProductId or EventColumn.CategoryId or EventColumn.UserId or EventColumn.Brand:
                        if ((NotInteger & (1 << column)) == 0 && value.ContainsAnyExceptInRange((byte)'0', (byte)'9'))
                            NotInteger |= 1 << column;
                        break;
                }
                if (!Utf8.IsValid(value))
                    return EventValues.NotUtf8;
                hashes[column] = Math.Max(1, XxHash3.HashToUInt64(value));
            }
            figures.Hash = XxHash3.HashToUInt64(MemoryMarshal.AsBytes(hashes));
            Rows.Add(figures);
            Hashes.AddRange(hashes);
            return null;
        }
    }

    private sealed class Totals
    {
        private readonly DistinctCounter _rows;
        private readonly DistinctCounter _purchaseRows;
        private readonly DistinctCounter[] _values;
        private readonly ulong[] _last = new ulong[EventColumns.Count];
        private readonly long[] _nulls = new long[EventColumns.Count];
        private readonly long[] _types = new long[EventTypeNames.Names.Count];
        private readonly Dictionary<long, (long Rows, long Purchases)> _hours = [];
        private readonly PriceCounts _prices;
        private readonly PurchaseCounts _purchases = new();
        private readonly int _needed;
        private long _rowsWithoutNulls;
        private int _notInteger;

        public Totals(AnalyzeOptions options)
        {
            _rows = new DistinctCounter(options.MaxDistinctRows);
            _purchaseRows = new DistinctCounter(options.MaxDistinctValues);
            _values = [.. Enumerable.Range(0, EventColumns.Count).Select(_ => new DistinctCounter(options.MaxDistinctValues))];
            _prices = new PriceCounts(options.MaxDistinctValues / 4);
            foreach (EventColumn column in Enum.GetValues<EventColumn>().Where(column => !options.Format.MayBeMissing(column)))
                _needed |= 1 << (int)column;
        }

        public long Rows { get; private set; }

        public void Add(RowBlock block)
        {
            ReadOnlySpan<ulong> hashes = CollectionsMarshal.AsSpan(block.Hashes);
            _notInteger |= block.NotInteger;
            foreach (ref readonly RowFigures row in CollectionsMarshal.AsSpan(block.Rows))
            {
                Add(row, hashes[..EventColumns.Count]);
                hashes = hashes[EventColumns.Count..];
            }
        }

        public LogAnalysis Result(ReadSummary read, IReadOnlyList<string> head, CancellationToken cancellationToken)
        {
            var approximate = new List<string>();
            if (!_rows.IsExact)
                approximate.AddRange(["duplicated_rows", "rows_without_duplicates"]);
            if (!_purchaseRows.IsExact)
                approximate.Add("purchases");
            approximate.AddRange(EventColumns.Names.Where((_, column) => !_values[column].IsExact).Select(name => $"unique.{name}"));
            if (_prices.AreRounded)
                approximate.AddRange(["price.mean", "price.std", "price.25%", "price.50%", "price.75%"]);

            var days = _hours.GroupBy(hour => (int)Math.Floor(hour.Key / (double)HoursPerDay)).OrderBy(day => day.Key)
                .ToDictionary(
                    day => day.Key,
                    day => (Rows: day.Sum(hour => hour.Value.Rows), Purchases: day.Sum(hour => hour.Value.Purchases)));
            var byHour = _hours.GroupBy(hour => (int)(((hour.Key % HoursPerDay) + HoursPerDay) % HoursPerDay)).OrderBy(hour => hour.Key)
                .ToDictionary(hour => $"{hour.Key}", hour => hour.Sum(value => value.Value.Rows));
            var byWeekday = days.GroupBy(day => Date(day.Key).DayOfWeek).OrderBy(day => ((int)day.Key + 6) % 7)
                .ToDictionary(day => day.Key.ToString(), day => day.Average(value => value.Value.Rows));
            return new LogAnalysis(
                Rows,
                _rows.Repeats,
                ByColumn(column => _nulls[(int)column]),
                ByColumn(column => _values[(int)column].Distinct),
                EventTypeNames.Names.Select((name, type) => (name, Events: _types[type])).Where(type => type.Events > 0)
                    .OrderByDescending(type => type.Events).ToDictionary(type => type.name, type => type.Events),
                _prices.Summarize(),
                _rowsWithoutNulls,
                Math.Max(0, _rowsWithoutNulls - _rows.MarkedRepeats),
                _purchaseRows.Distinct,
                null,
                null,
                byHour,
                days.ToDictionary(day => Text(day.Key), day => day.Value.Rows),
                days.ToDictionary(day => Text(day.Key), day => day.Value.Purchases),
                byHour.ToDictionary(hour => hour.Key, hour => (double)hour.Value / days.Count),
                byWeekday,
                ByColumn(TypeOf),
                head,
                _purchases.HistoryLengths(),
                _purchases.ItemPopularity(),
                _purchases.TopTenthShare,
                _purchases.RepeatShare,
                [.. _purchases.Cores(cancellationToken)],
                approximate,
                read.BadRows)
            {
                LeftOut = read.LeftOut,
                Read = read,
            };
        }

        private static DateOnly Date(int day) => DateOnly.FromDateTime(DateTime.UnixEpoch).AddDays(day);

        private static string Text(int day) => Date(day).ToString("yyyy-MM-dd", CultureInfo.InvariantCulture);

        private static Dictionary<string, T> ByColumn<T>(Func<EventColumn, T> value) =>
            Enum.GetValues<EventColumn>().ToDictionary(EventColumns.Name, value);

        private void Add(in RowFigures row, ReadOnlySpan<ulong> hashes)
        {
            Rows++;
            for (int column = 0; column < hashes.Length; column++)
            {
                ulong hash = hashes[column];
                if (hash == 0)
                {
                    _nulls[column]++;
                }
                else if (hash != _last[column])
                {
                    _last[column] = hash;
                    _values[column].Add(hash);
                }
            }
            bool isWhole = (row.Nulls & _needed) == 0;
            _rows.Add(row.Hash, marked: isWhole);
            if (isWhole)
            {
                _rowsWithoutNulls++;
                if (row.Type == EventTypes.Purchase)
                    _purchaseRows.Add(row.Hash);
            }
            if (row.Type != EventTypes.None)
                _types[BitOperations.Log2((uint)row.Type)]++;
            bool purchase = row.Type == EventTypes.Purchase;
            if (row.Time != long.MinValue)
            {
                ref (long Rows, long Purchases) hour = ref CollectionsMarshal.GetValueRefOrAddDefault(
                    _hours, (long)Math.Floor(row.Time / (double)(SecondsPerHour * EventValues.MillisecondsPerSecond)), out _);
                hour.Rows++;
                if (purchase)
                    hour.Purchases++;
            }
            if (!double.IsNaN(row.Price))
                _prices.Add(row.Price);
            ulong user = hashes[(int)EventColumn.UserId], item = hashes[(int)EventColumn.ProductId];
            if (purchase && user != 0 && item != 0)
                _purchases.Add(user, item);
        }

        private string TypeOf(EventColumn column) => column switch
        {
            EventColumn.EventTime => "time",
            EventColumn.Price => "number",
            EventColumn.ProductId or EventColumn.CategoryId or EventColumn.UserId or EventColumn.Brand
                when (_notInteger & (1 << (int)column)) == 0 && _values[(int)column].Distinct > 0 => "integer",
            _ => "text",
        };
    }
}
