using System.Text;

namespace Bert4Rec.Configuration;

/// <summary>How a shop's own log says what the nine <see cref="EventColumns"/> say.</summary>
internal sealed record LogFormat
{
    /// <summary>Any event type that has no name of its own in <see cref="EventNames"/>, a missing one included.</summary>
    public const string AnyName = "any";

    /// <summary>What <see cref="EventNames"/> call an event that a model learns nothing from: its rows are left out and counted.</summary>
    public const string OtherEvent = "other";

    /// <summary>The nine columns, by their names, in a CSV file with commas.</summary>
    public static LogFormat Plain { get; } = new();

    /// <summary>
    /// Our columns and the log's names of them, "" for one that is not to be read. One that is not among them is read under our
    /// name where the log has it, and only those that an event needs must be there. Where there are none at all, all nine must be.
    /// </summary>
    public IReadOnlyDictionary<EventColumn, string> Columns { get; init; } = new Dictionary<EventColumn, string>();

    /// <summary>The log's names of event types, or <see cref="AnyName"/>, and ours, or <see cref="OtherEvent"/>.</summary>
    public IReadOnlyDictionary<string, string> EventNames { get; init; } = new Dictionary<string, string>();

    /// <summary>What stands between the values of a line.</summary>
    public char Separator { get; init; } = ',';

    /// <summary>Whether the first line names the columns; without it their names are 1, 2 and so on.</summary>
    public bool HasHeader { get; init; } = true;

    /// <summary>Whether a value may stand in quotes; without, a quote is a character like others.</summary>
    public bool HasQuotes { get; init; } = true;

    /// <summary>The settings of event_log that say it.</summary>
    public static IReadOnlyList<string> Keys { get; } = ["columns", "event_names", "separator", "header", "quotes"];

    /// <summary>Words that other shops' logs have for a column, for suggestions; no log is read by them.</summary>
    private static readonly (EventColumn Column, string[] Words)[] s_likelyNames =
    [
        (EventColumn.UserId, ["customer_id", "customer", "user", "userid", "uid", "visitorid", "visitor_id", "user_pseudo_id"]),
        (EventColumn.ProductId, ["sku", "item_id", "itemid", "item", "product", "productid", "asin", "article_id", "movie_id"]),
        (EventColumn.EventTime, ["timestamp", "time", "ts", "date", "datetime", "created_at", "event_timestamp", "order_date"]),
        (EventColumn.EventType, ["event", "action", "type", "event_name", "behavior", "behavior_type"]),
        (EventColumn.UserSession, ["session_id", "session", "ga_session_id"]),
        (EventColumn.CategoryCode, ["category", "item_category", "categories"]),
        (EventColumn.Brand, ["item_brand", "manufacturer", "vendor"]),
    ];

    /// <summary>What may be given for an event type's name.</summary>
    public static IReadOnlyList<string> EventKinds { get; } = [.. EventTypeNames.Names, OtherEvent];

    /// <summary>An event type's name as it is kept: "*" is any name, too.</summary>
    public static string WordOf(string name) => name == "*" ? AnyName : name;

    /// <summary>The log's name of a column; "" for one that is not to be read.</summary>
    public string NameOf(EventColumn column) => Columns.GetValueOrDefault(column) ?? column.Name();

    /// <summary>Whether a log without this column is none.</summary>
    public bool Needs(EventColumn column)
    {
        if (Columns.TryGetValue(column, out string? name))
            return name.Length > 0;
        if (column == EventColumn.EventType && EventNames.ContainsKey(AnyName))
            return false;
        return Columns.Count == 0 || EventColumns.Required.Contains(column);
    }

    /// <summary>Whether a row without this column's value is an event like the others, as there are logs that lack it.</summary>
    public bool MayBeMissing(EventColumn column) => !Needs(column) && !EventColumns.Required.Contains(column);

    /// <exception cref="InputException">Two columns that every event needs are one column of the log.</exception>
    internal void CheckColumns()
    {
        if (EventColumns.Required.GroupBy(NameOf).FirstOrDefault(group => group.Count() > 1) is { } twice)
        {
            throw new InputException(
                $"{string.Join(" and ", twice.Select(EventColumns.Name))} are both to be read from the column {twice.Key}; give each its "
                + "own (--columns, or columns of event_log)")
            {
                IsWrongUsage = true,
            };
        }
    }

    /// <summary>What may be said of a log whose header is this, as options of the command line; null where nothing is recognised.</summary>
    public string? Suggest(string header)
    {
        char separator = ",;\t|".MaxBy(character => header.Count(other => other == character));
        string[] names = [.. header.Split(separator).Select(name => HasQuotes ? name.Trim(' ', '"') : name.Trim())];
        var columns = new List<string>();
        foreach (var (column, words) in s_likelyNames)
        {
            string? name = words.Prepend(column.Name())
                .Select(word => names.FirstOrDefault(name => name.Equals(word, StringComparison.OrdinalIgnoreCase)))
                .FirstOrDefault(name => name is not null);
            if (name is not null)
                columns.Add($"{column.Name()}={name}");
            else if (EventColumns.Required.Contains(column) && column != EventColumn.EventType)
                columns.Add($"{column.Name()}=NAME");
        }
        if (columns.All(column => column.EndsWith("=NAME", StringComparison.Ordinal)))
            return null;
        string before = separator == Separator ? "" : $"--separator {(separator == '\t' ? "tab" : $"'{separator}'")} ";
        string after = columns.Any(column => column.StartsWith("event_type=", StringComparison.Ordinal))
            ? "" : $" --event-names purchase={AnyName} (every row is a purchase)";
        return $"{before}--columns {string.Join(',', columns)}{after}";
    }

    /// <summary>What is not as in <see cref="Plain"/>, as settings of event_log: some of <see cref="Keys"/>, and values as YAML.</summary>
    public IEnumerable<KeyValuePair<string, string>> Settings()
    {
        if (Columns.Count > 0)
            yield return new("columns", Flow(Columns.OrderBy(column => column.Key).Select(column => (column.Key.Name(), column.Value))));
        if (EventNames.Count > 0)
        {
            var kinds = EventNames.GroupBy(name => name.Value, name => RunConfig.Quoted(name.Key))
                .OrderBy(kind => kind.Key, StringComparer.Ordinal)
                .Select(kind => $"{kind.Key}: [{string.Join(", ", kind.Order(StringComparer.Ordinal))}]");
            yield return new("event_names", $"{{{string.Join(", ", kinds)}}}");
        }
        if (Separator != ',')
            yield return new("separator", Separator == '\t' ? "tab" : RunConfig.Quoted(Separator.ToString()));
        if (!HasHeader)
            yield return new("header", "false");
        if (!HasQuotes)
            yield return new("quotes", "false");

        static string Flow(IEnumerable<(string Key, string Value)> values) =>
            $"{{{string.Join(", ", values.Select(value => $"{value.Key}: {RunConfig.Quoted(value.Value)}"))}}}";
    }
}

/// <summary>Looks up a log's event types.</summary>
internal sealed class EventNameTable(IReadOnlyDictionary<string, string> names)
{
    private readonly (byte[] Name, byte[] Kind)[] _names =
        [.. names.Where(name => name.Key != LogFormat.AnyName).Select(name => (Bytes(name.Key), Bytes(name.Value)))];

    private readonly byte[]? _any = names.TryGetValue(LogFormat.AnyName, out string? any) ? Bytes(any) : null;
    private readonly byte[] _other = Bytes(LogFormat.OtherEvent);

    /// <summary>Our name of an event type; the log's own where no name stands for it.</summary>
    public ReadOnlySpan<byte> Find(ReadOnlySpan<byte> name) => KindOf(name) ?? name;

    /// <summary>Whether it is one of <see cref="LogFormat.OtherEvent"/>.</summary>
    public bool LeavesOut(ReadOnlySpan<byte> name) => KindOf(name) is { } kind && kind.AsSpan().SequenceEqual(_other);

    private byte[]? KindOf(ReadOnlySpan<byte> name)
    {
        foreach (var (theirs, ours) in _names)
        {
            if (name.SequenceEqual(theirs))
                return ours;
        }
        return EventTypeNames.TryParse(name, out _) ? null : _any;
    }

    private static byte[] Bytes(string text) => Encoding.UTF8.GetBytes(text);
}
