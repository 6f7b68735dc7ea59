using System.Globalization;
using System.IO.Hashing;
using System.Numerics;
using System.Runtime.InteropServices;
using System.Text.Json.Serialization;
using System.Text.Unicode;
using Bert4Rec.Configuration;
using Bert4Rec.Serialization;

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

/// <summary>Count, mean, sample standard deviation, extremes and quartiles (linear between two values), missing values left out.</summary>
internal sealed record NumberSummary(
    double Count,
    double Mean,
    double Std,
    double Min,
    [property: JsonPropertyName("25%")] double Quarter,
    [property: JsonPropertyName("50%")] double Median,
    [property: JsonPropertyName("75%")] double ThreeQuarters,
    double Max);

/// <summary>What is left when users and items with fewer than <paramref name="K"/> purchases are taken out until none is.</summary>
internal sealed record CoreSize(int K, long Users, long Items, long Purchases);

/// <summary>What a log holds: analysis.json, in which the names are in snake_case.</summary>
/// <param name="RawRows">Rows that could be read.</param>
/// <param name="DuplicatedRows">Rows equal to an earlier one.</param>
/// <param name="Nulls">Missing values by column.</param>
/// <param name="Unique">Distinct values by column.</param>
/// <param name="EventType">Events by type, most frequent first.</param>
/// <param name="Price">The price; null where no row has one.</param>
/// <param name="RowsWithoutNulls">Rows with all nine values, or all that <see cref="LogFormat"/> says a log has.</param>
/// <param name="RowsWithoutDuplicates">Of those, the distinct ones.</param>
/// <param name="Purchases">Of those, the purchases.</param>
/// <param name="Sha256Purchase">Checksum of the log cleaned for purchases; null for a log too large to clean on the side.</param>
/// <param name="Sha256All">The same of all events.</param>
/// <param name="RowsByHour">Rows by hour of the day (UTC), hours without any left out.</param>
/// <param name="RowsByDay">Rows by date.</param>
/// <param name="PurchasesByDay">Purchases by date.</param>
/// <param name="AverageByHour">Rows of an hour on the average day.</param>
/// <param name="AverageByWeekday">Rows of the average Monday, Tuesday and so on.</param>
/// <param name="Types">What each column's values are: time, integer, number or text.</param>
/// <param name="Head">The first rows of the first file as they are, its header before them.</param>
/// <param name="HistoryLengths">Users by their number of purchases.</param>
/// <param name="ItemPopularity">Purchases of the most purchased items, in falling order, at ranks 1, 2, 5, 10, 20, 50 and so on.</param>
/// <param name="TopTenthShare">Share of the purchases that go to the most purchased tenth of the items.</param>
/// <param name="RepeatPurchaseShare">Share of the purchases of an item that the user had purchased before; 0 without purchases.</param>
/// <param name="Cores">What is left for several k.</param>
/// <param name="Approximate">Which figures are estimates, because the log passed a memory limit.</param>
/// <param name="BadRows">Rows that could not be read.</param>
internal sealed record LogAnalysis(
    long RawRows,
    long DuplicatedRows,
    IReadOnlyDictionary<string, long> Nulls,
    IReadOnlyDictionary<string, long> Unique,
    IReadOnlyDictionary<string, long> EventType,
    NumberSummary? Price,
    long RowsWithoutNulls,
    long RowsWithoutDuplicates,
    long Purchases,
    string? Sha256Purchase,
    string? Sha256All,
    IReadOnlyDictionary<string, long> RowsByHour,
    IReadOnlyDictionary<string, long> RowsByDay,
    IReadOnlyDictionary<string, long> PurchasesByDay,
    IReadOnlyDictionary<string, double> AverageByHour,
    IReadOnlyDictionary<string, double> AverageByWeekday,
    IReadOnlyDictionary<string, string> Types,
    IReadOnlyList<string> Head,
    IReadOnlyDictionary<int, long> HistoryLengths,
    IReadOnlyDictionary<int, long> ItemPopularity,
    double TopTenthShare,
    double RepeatPurchaseShare,
    IReadOnlyList<CoreSize> Cores,
    IReadOnlyList<string> Approximate,
    long BadRows)
{
    /// <summary>Rows of events that <see cref="LogFormat.EventNames"/> leave out; in the file where there are some.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long LeftOut { get; init; }

    /// <summary>Rows that nothing was learned from, by reason.</summary>
    [JsonIgnore]
    public IReadOnlyDictionary<string, long> Dropped =>
        new Dictionary<string, long> { ["unreadable"] = BadRows, ["other event type"] = LeftOut }
            .Where(reason => reason.Value > 0).ToDictionary();

    /// <summary>What the reader saw.</summary>
    [JsonIgnore]
    public ReadSummary? Read { get; init; }
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

    private static readonly int[] _cores = [2, 3, 5, 10, 20];

    /// <summary>Analyses logs.</summary>
    /// <param name="inputs">Files or folders, as <see cref="EventLogReader.Read"/> takes them.</param>
    /// <param name="options">How many rows and values to tell apart exactly, and how much of the log may be unreadable.</param>
    /// <param name="progress">Told of the bytes read.</param>
    /// <param name="cancellationToken">Stops the analysis.</param>
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
                if (EventValues.IsNull(value))
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
        private readonly Dictionary<double, long> _prices = [];
        private readonly Dictionary<ulong, int> _users = [];
        private readonly Dictionary<ulong, int> _items = [];
        private readonly List<(int User, int Item)> _purchases = [];
        private readonly int _maxPrices;
        private readonly int _needed;
        private long _rowsWithoutNulls;
        private bool _pricesRounded;
        private int _notInteger;

        public Totals(AnalyzeOptions options)
        {
            _rows = new DistinctCounter(options.MaxDistinctRows);
            _purchaseRows = new DistinctCounter(options.MaxDistinctValues);
            _values = [.. Enumerable.Range(0, EventColumns.Count).Select(_ => new DistinctCounter(options.MaxDistinctValues))];
            _maxPrices = options.MaxDistinctValues / 4;
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
            if (_pricesRounded)
                approximate.AddRange(["price.mean", "price.std", "price.25%", "price.50%", "price.75%"]);

            var days = _hours.GroupBy(hour => (int)Math.Floor(hour.Key / (double)HoursPerDay)).OrderBy(day => day.Key)
                .ToDictionary(
                    day => day.Key,
                    day => (Rows: day.Sum(hour => hour.Value.Rows), Purchases: day.Sum(hour => hour.Value.Purchases)));
            var byHour = _hours.GroupBy(hour => (int)(((hour.Key % HoursPerDay) + HoursPerDay) % HoursPerDay)).OrderBy(hour => hour.Key)
                .ToDictionary(hour => $"{hour.Key}", hour => hour.Sum(value => value.Value.Rows));
            var byWeekday = days.GroupBy(day => Date(day.Key).DayOfWeek).OrderBy(day => ((int)day.Key + 6) % 7)
                .ToDictionary(day => day.Key.ToString(), day => day.Average(value => value.Value.Rows));
            long[] byUser = Counts(_users.Count, purchase => purchase.User), byItem = Counts(_items.Count, purchase => purchase.Item);
            Array.Sort(byItem, (a, b) => b.CompareTo(a));
            long repeats = _purchases.Count - _purchases.Distinct().LongCount();
            return new LogAnalysis(
                Rows,
                _rows.Repeats,
                ByColumn(column => _nulls[(int)column]),
                ByColumn(column => _values[(int)column].Distinct),
                EventTypeNames.Names.Select((name, type) => (name, Events: _types[type])).Where(type => type.Events > 0)
                    .OrderByDescending(type => type.Events).ToDictionary(type => type.name, type => type.Events),
                Summarize(),
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
                new SortedDictionary<int, long>(byUser.GroupBy(n => (int)n).ToDictionary(group => group.Key, group => group.LongCount())),
                Ranks(byItem.Length).ToDictionary(rank => rank, rank => byItem[rank - 1]),
                _purchases.Count == 0 ? 0 : (double)byItem.Take((byItem.Length + 9) / 10).Sum() / _purchases.Count,
                _purchases.Count == 0 ? 0 : (double)repeats / _purchases.Count,
                [.. Cores(cancellationToken)],
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

        private static IEnumerable<int> Ranks(int items)
        {
            for (long decade = 1; decade <= items; decade *= 10)
            {
                foreach (int step in new[] { 1, 2, 5 })
                {
                    if (decade * step <= items)
                        yield return (int)(decade * step);
                }
            }
        }

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
                AddPrice(row.Price, 1);
            ulong user = hashes[(int)EventColumn.UserId], item = hashes[(int)EventColumn.ProductId];
            if (purchase && user != 0 && item != 0)
                _purchases.Add((IndexOf(_users, user), IndexOf(_items, item)));
        }

        private static int IndexOf(Dictionary<ulong, int> indices, ulong hash)
        {
            ref int index = ref CollectionsMarshal.GetValueRefOrAddDefault(indices, hash, out bool known);
            if (!known)
                index = indices.Count - 1;
            return index;
        }

        private void AddPrice(double price, long rows)
        {
            if (_pricesRounded)
                price = Round(price);
            CollectionsMarshal.GetValueRefOrAddDefault(_prices, price, out _) += rows;
            if (_prices.Count <= _maxPrices || _pricesRounded)
                return;
            _pricesRounded = true;
            KeyValuePair<double, long>[] exact = [.. _prices];
            _prices.Clear();
            foreach ((double value, long count) in exact)
                AddPrice(value, count);
        }

        /// <summary>A price with 10 bits of its fraction: 0.05% off at most, and a few million of them at most.</summary>
        private static double Round(double price) =>
            BitConverter.Int64BitsToDouble((BitConverter.DoubleToInt64Bits(price) + (1L << 41)) & ~((1L << 42) - 1));

        private NumberSummary? Summarize()
        {
            if (_prices.Count == 0)
                return null;
            // A power of two changes no digit, and keeps squares of absurd prices finite.
            double unit = _prices.Keys.Max(Math.Abs) > 1e100 ? Math.ScaleB(1, 700) : 1;
            KeyValuePair<double, long>[] prices =
                [.. _prices.Select(price => KeyValuePair.Create(price.Key / unit, price.Value)).OrderBy(price => price.Key)];
            long count = prices.Sum(price => price.Value);
            double mean = CompensatedSum(prices.Select(price => price.Key * price.Value)) / count;
            double squares = CompensatedSum(prices.Select(price => (price.Key - mean) * (price.Key - mean) * price.Value));
            return new NumberSummary(
                count,
                mean * unit,
                Math.Min(double.MaxValue, count > 1 ? Math.Sqrt(squares / (count - 1)) * unit : 0),
                prices[0].Key * unit,
                Quantile(prices, count, 0.25) * unit,
                Quantile(prices, count, 0.5) * unit,
                Quantile(prices, count, 0.75) * unit,
                prices[^1].Key * unit);
        }

        /// <summary>Neumaier's sum: the lost low parts are added up beside it.</summary>
        private static double CompensatedSum(IEnumerable<double> values)
        {
            double sum = 0, lost = 0;
            foreach (double value in values)
            {
                double next = sum + value;
                lost += Math.Abs(sum) >= Math.Abs(value) ? sum - next + value : value - next + sum;
                sum = next;
            }
            return sum + lost;
        }

        /// <summary>The value at rank q·(count − 1), linear between its two neighbours.</summary>
        private static double Quantile(KeyValuePair<double, long>[] sorted, long count, double q)
        {
            double rank = q * (count - 1);
            long lower = (long)Math.Floor(rank);
            double a = At(lower), b = At(Math.Min(lower + 1, count - 1));
            return a + ((b - a) * (rank - lower));

            double At(long index)
            {
                int i = 0;
                for (long before = sorted[0].Value; before <= index; before += sorted[i].Value)
                    i++;
                return sorted[i].Key;
            }
        }

        private string TypeOf(EventColumn column) => column switch
        {
            EventColumn.EventTime => "time",
            EventColumn.Price => "number",
            EventColumn.ProductId or EventColumn.CategoryId or EventColumn.UserId or EventColumn.Brand
                when (_notInteger & (1 << (int)column)) == 0 && _values[(int)column].Distinct > 0 => "integer",
            _ => "text",
        };

        private long[] Counts(int size, Func<(int User, int Item), int> key)
        {
            var counts = new long[size];
            foreach ((int User, int Item) purchase in _purchases)
                counts[key(purchase)]++;
            return counts;
        }

        private IEnumerable<CoreSize> Cores(CancellationToken cancellationToken)
        {
            List<(int User, int Item)> left = _purchases;
            foreach (int k in _cores)
            {
                // What is outside the core of a smaller k is outside this one too.
                while (true)
                {
                    cancellationToken.ThrowIfCancellationRequested();
                    var users = new int[_users.Count];
                    var items = new int[_items.Count];
                    foreach ((int user, int item) in left)
                    {
                        users[user]++;
                        items[item]++;
                    }
                    List<(int User, int Item)> kept = [.. left.Where(purchase => users[purchase.User] >= k && items[purchase.Item] >= k)];
                    bool stable = kept.Count == left.Count;
                    left = kept;
                    if (stable)
                    {
                        yield return new CoreSize(k, users.LongCount(n => n > 0), items.LongCount(n => n > 0), kept.Count);
                        break;
                    }
                }
            }
        }
    }
}
