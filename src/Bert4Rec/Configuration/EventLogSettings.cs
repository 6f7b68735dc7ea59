using YamlDotNet.RepresentationModel;

namespace Bert4Rec.Configuration;

/// <summary>event_log (ours): the log that a run starts from, how it is cleaned and how it becomes histories.</summary>
/// <param name="Inputs">Files or folders, relative to the current directory.</param>
/// <param name="Convert">Whose events make a history, and how long one may be.</param>
internal sealed record EventLogSettings(IReadOnlyList<string> Inputs, CleanOptions Clean, ConvertOptions Convert)
{
    private static readonly string[] _keys =
    [
        "input", .. LogFormat.Keys, "events", "keep_nulls", "max_bad_rows", "group_by", "min_length", "max_length",
    ];

    /// <summary>"events" for a log events.csv.gz: the dataset's name where it has no other.</summary>
    public string Name
    {
        get
        {
            string name = Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(Inputs[0])));
            int dot = name.IndexOf('.');
            return dot > 0 ? name[..dot] : name.Length > 0 ? name : "events";
        }
    }

    /// <summary>Reads the key: a file, a list of files, or a mapping of these settings.</summary>
    internal static EventLogSettings Read(ConfigReader read, string key)
    {
        if (read[key] is not YamlMappingNode mapping)
            return new(read.List(read[key], key, read.Text), new CleanOptions(), new ConvertOptions());
        foreach (var name in mapping.Children.Keys)
            read.OneOf(name, $"a key of {key}", [.. _keys]);
        if (Value("input") is not { } input)
            throw read.WrongValue(mapping, key, "a file, a list of files, or a mapping whose input is one");
        var defaults = new ConvertOptions();
        double maxBadRows = Value("max_bad_rows") is { } share
            ? read.Real(share, $"{key}.max_bad_rows", "a share like 0.001", value => value is >= 0 and <= 1)
            : defaults.MaxBadRows;
        int minLength = Value("min_length") is { } least ? read.Whole(least, $"{key}.min_length", 1) : defaults.MinLength;
        int maxLength = Value("max_length") is { } most ? read.Whole(most, $"{key}.max_length", minLength) : defaults.MaxLength;
        bool bySession = Value("group_by") is { } owner && read.OneOf(owner, $"{key}.group_by", "user", "session") == "session";
        return new(
            read.List(input, $"{key}.input", read.Text),
            new CleanOptions
            {
                Format = ReadFormat(),
                Events = Value("events") is { } events
                    ? read.List(events, $"{key}.events", ReadEvents).Aggregate((all, type) => all | type)
                    : EventTypes.Purchase,
                KeepNulls = Value("keep_nulls") is { } columns and not YamlSequenceNode { Children.Count: 0 }
                    ? read.List(columns, $"{key}.keep_nulls", ReadColumns).SelectMany(some => some).ToHashSet()
                    : new HashSet<EventColumn>(),
                MaxBadRows = maxBadRows,
            },
            new ConvertOptions
            {
                GroupBy = bySession ? HistoryOwner.Session : HistoryOwner.User,
                MinLength = minLength,
                MaxLength = maxLength,
                MaxBadRows = maxBadRows,
            });

        YamlNode? Value(string name) =>
            mapping.Children.TryGetValue(new YamlScalarNode(name), out var value) && !ConfigTree.IsNull(value) ? value : null;

        LogFormat ReadFormat()
        {
            var columns = new Dictionary<EventColumn, string>();
            if (Value("columns") is { } named)
            {
                foreach (var (ours, theirs) in read.Mapping(named, $"{key}.columns", "a mapping like user_id: customer").Children)
                {
                    var column = EventColumns.TryParse(read.Text(ours, $"{key}.columns"), out var known)
                        ? known
                        : throw read.WrongValue(ours, $"a name in {key}.columns", $"one of {string.Join(", ", EventColumns.Names)}");
                    columns[column] = ConfigTree.IsNull(theirs) || theirs is YamlScalarNode { Value: "" }
                        ? ""
                        : read.Text(theirs, $"{key}.columns.{column.Name()}");
                    if (columns[column].Length == 0 && EventColumns.Required.Contains(column))
                        throw read.WrongValue(theirs, $"{key}.columns.{column.Name()}", "a column's name: every event needs one");
                }
            }
            var events = new Dictionary<string, string>();
            if (Value("event_names") is { } kinds)
            {
                string wanted = "a mapping like view: [page_view, product_view]";
                foreach (var (kind, names) in read.Mapping(kinds, $"{key}.event_names", wanted).Children)
                {
                    string ours = read.OneOf(kind, $"a name in {key}.event_names", [.. LogFormat.EventKinds]);
                    foreach (string theirs in read.List(names, $"{key}.event_names.{ours}", read.Text))
                    {
                        if (!events.TryAdd(LogFormat.WordOf(theirs), ours))
                        {
                            string other = events[LogFormat.WordOf(theirs)];
                            throw read.WrongValue(names, $"{key}.event_names", $"one kind for each name: '{theirs}' is {other} too");
                        }
                    }
                }
            }
            return new()
            {
                Columns = columns,
                EventNames = events,
                Separator = Value("separator") is not { } separator ? ','
                    : separator is YamlScalarNode { Value: "\"" } ? throw read.WrongValue(separator, $"{key}.separator", "no quote")
                    : read.Separator(separator, $"{key}.separator"),
                HasHeader = IsOn("header"),
                HasQuotes = IsOn("quotes"),
            };

            bool IsOn(string name) => Value(name) is not { } value || read.OneOf(value, $"{key}.{name}", "true", "false") == "true";
        }

        EventTypes ReadEvents(YamlNode node, string name) => EventTypeNames.TryParse(read.Text(node, name), out var types)
            ? types
            : throw read.WrongValue(node, name, $"all, or some of {string.Join(", ", EventTypeNames.Names)}");

        IReadOnlyList<EventColumn> ReadColumns(YamlNode node, string name) =>
            read.Text(node, name) is "all" ? EventColumns.Optional
            : EventColumns.TryParse(read.Text(node, name), out var column) && !EventColumns.Required.Contains(column) ? [column]
            : throw read.WrongValue(node, name, $"all, or some of {string.Join(", ", EventColumns.Optional.Select(EventColumns.Name))}");
    }
}
