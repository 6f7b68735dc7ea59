using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Bert4Rec.Configuration;
using Bert4Rec.Serialization;

namespace Bert4Rec.Data;

/// <summary>
/// Reads a dataset's atomic files, filters them and sorts each user's events by time. Rows that val_interval refuses are dropped while
/// reading; what stays is three columns (user, item, time), which the other filters compact in place. A hundred million events take two
/// gigabytes at the most, while they are sorted.
/// </summary>
/// <param name="open">Opens inter, item or user, if it is there; null for the files that the config names.</param>
/// <param name="known">Whose items and users need no row in .item and .user; null for none.</param>
internal sealed class DatasetLoader(
    RunConfig config,
    IProgress<ProgressUpdate>? progress,
    Func<string, AtomicFileReader?>? open = null,
    InteractionDataset? known = null)
{
    /// <summary>Events of a piece of their columns, where rows are read one by one.</summary>
    private const int PieceLength = 1 << 16;

    /// <summary>Fewer events, of all and of those that are there twice, are no reason for a warning.</summary>
    private const int FewestOdd = 20;
    private const double ManyRepeated = 0.05, ManyTied = 0.2;

    private readonly DatasetFiles? _files = open is null ? new DatasetFiles(config) : null;
    private readonly HashSet<ValueFilter> _unusedFilters = [.. config.ValueFilters];
    private readonly List<string> _warnings = [];

    // Ids as read, before filtering.
    private Vocabulary _users = new();
    private Vocabulary _items = new();
    private InteractionColumns _events = new();

    /// <summary>
    /// Reads DataPath/Dataset/Dataset.inter (or DataPath/Dataset.inter) and, if they are there and wanted, .item and .user beside it; each
    /// may end in .gz. Ids count items in order of first appearance in .inter after filtering, then those that .item alone has.
    /// </summary>
    /// <param name="config">Where the files are, what their columns are called, what is filtered out.</param>
    /// <param name="cache">What may have been read before; null for nothing.</param>
    /// <exception cref="InputException">A file is missing or malformed, or the filters leave nothing.</exception>
    public static InteractionDataset Load(RunConfig config, IProgress<ProgressUpdate>? progress = null, DatasetCache? cache = null)
    {
        var dataset = cache?.Load(config, progress) ?? ReadAll(config, progress);
        SpareMemory.GiveBackAfter(dataset);
        return dataset;
    }

    /// <summary>The same of what comes to a dataset, without a cache: what is known needs no row in .item and .user again.</summary>
    /// <inheritdoc cref="Load"/>
    public static InteractionDataset LoadMore(RunConfig config, InteractionDataset known, IProgress<ProgressUpdate>? progress) =>
        new DatasetLoader(config, progress, null, known).LoadAll();

    /// <summary>The same from readers of what need not be files.</summary>
    /// <param name="open">Opens inter, item or user; null for what there is not.</param>
    /// <param name="config">What the columns are called, what is filtered out.</param>
    /// <exception cref="InputException">A row is malformed, or the filters leave nothing.</exception>
    internal static InteractionDataset LoadFrom(Func<string, AtomicFileReader?> open, RunConfig config) =>
        new DatasetLoader(config, null, open).LoadAll();

    /// <summary>In a frame of its own, which keeps nothing of the loader alive once it is gone.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static InteractionDataset ReadAll(RunConfig config, IProgress<ProgressUpdate>? progress) =>
        new DatasetLoader(config, progress).LoadAll();

    private InteractionDataset LoadAll()
    {
        ReadInteractions();
        int interactionItems = _items.Count;
        var items = ReadSide("item", config.ItemIdField, "ITEM_ID_FIELD");
        var users = ReadSide("user", config.UserIdField, "USER_ID_FIELD");
        Filter(users, items, interactionItems);
        return Build(items);
    }

    private string InteractionFile => _files?.Interactions ?? "events";

    private AtomicFileReader? Open(string suffix) => open is not null ? open(suffix)
        : _files!.Find(suffix) is { } path ? new(path, config.FieldSeparator, config.SequenceSeparator)
        : null;

    private void ReadInteractions()
    {
        using var reader = Open("inter")!;
        int user = reader.Require(config.UserIdField, "USER_ID_FIELD", AtomicType.Token);
        int item = reader.Require(config.ItemIdField, "ITEM_ID_FIELD", AtomicType.Token);
        int time = reader.Require(config.TimeField, "TIME_FIELD", AtomicType.Number);
        int[] others = [.. LoadedColumns(reader, "inter").Where(column => column != time)];
        var filters = new ColumnFilters(config, reader, _unusedFilters);
        if (filters.IsEmpty && ReadPlain(reader, user, item, time, others) is { } plain)
        {
            (_users, _items, _events) = (plain.Users, plain.Items, plain.Events);
            return;
        }
        List<int> users = [], items = [];
        var times = new List<double>();
        while (Next(reader))
        {
            foreach (int column in others)
                reader.Check(column);
            double eventTime = reader.Number(time);
            if (!filters.Pass(reader))
                continue;
            users.Add(_users.GetOrAdd(reader.Token(user)));
            items.Add(_items.GetOrAdd(reader.Token(item)));
            times.Add(eventTime);
            if (times.Count == PieceLength)
                AddPiece();
        }
        AddPiece();
        if (reader.Rows == 0)
            throw reader.Error("the file has a header but no rows");

        void AddPiece()
        {
            var piece = new InteractionPiece(CollectionsMarshal.AsSpan(times));
            CollectionsMarshal.AsSpan(users).CopyTo(piece.Users);
            CollectionsMarshal.AsSpan(items).CopyTo(piece.Items);
            _events.Add(piece);
            users.Clear();
            items.Clear();
            times.Clear();
        }
    }

    /// <summary>Everything, if no row needs a closer look.</summary>
    /// <param name="others">Columns that must be of their type.</param>
    private PlainRows? ReadPlain(AtomicFileReader reader, int user, int item, int time, int[] others)
    {
        if (open is not null || others.Any(column => reader.Fields[column].Type == AtomicType.NumberSequence))
            return null;
        var uses = new ColumnUse[reader.Fields.Count];
        foreach (int column in others.Where(column => reader.Fields[column].Type == AtomicType.Number))
            uses[column] = ColumnUse.Number;
        (uses[user], uses[item], uses[time]) = (ColumnUse.User, ColumnUse.Item, ColumnUse.Time);
        return PlainRows.TryRead(reader.Path, config.FieldSeparator, uses, progress);
    }

    /// <summary>The rows of .item, or of .user, of which nothing but their ids is kept; null where there is no such file.</summary>
    private SideRows? ReadSide(string suffix, string idField, string setting)
    {
        using var reader = Open(suffix);
        if (reader is null)
            return null;
        bool isItem = suffix == "item";
        int idColumn = reader.Require(idField, setting, AtomicType.Token);
        int[] columns = [.. LoadedColumns(reader, suffix).Where(column => column != idColumn)];
        int[] kept = isItem ? columns : [];
        var filters = new ColumnFilters(config, reader, _unusedFilters);
        AtomicField[] fields = [.. kept.Select(column => reader.Fields[column])];
        var rows = new SideRows(reader.Path, fields, filters.AnyBeside(idColumn));
        while (Next(reader))
        {
            CheckGivenValues(reader, columns);
            var token = reader.Token(idColumn);
            int id;
            if (isItem)
                id = _items.GetOrAdd(token);
            else if (!_users.TryGetId(token, out id))
                // Users without interactions have nothing to train on or to test: they get no id.
                continue;
            // Of a known item the row says what has changed, and what is said by both is filtered.
            if ((isItem && KnownId(known?.Items, _items, id) > 0) || filters.Pass(reader))
                rows.Set(id, reader, kept);
            else
                rows.Refuse(id);
        }
        return rows;
    }

    private bool Next(AtomicFileReader reader)
    {
        const int RowsPerReport = 1 << 15;
        if (progress is not null && reader.Rows % RowsPerReport == 0)
            progress.Report(new ProgressUpdate($"reading {Path.GetFileName(reader.Path)}", reader.Position, reader.Length, "bytes"));
        return reader.Read();
    }

    /// <summary>The columns that load_col wants, all of which must be there.</summary>
    private IEnumerable<int> LoadedColumns(AtomicFileReader reader, string suffix)
    {
        if (config.LoadColumns is not { } wanted || wanted[suffix] is not { } names)
            return Enumerable.Range(0, reader.Fields.Count);
        return names.Select(name => reader.Require(name, $"load_col.{suffix}, {config.Where("load_col", suffix)}"));
    }

    /// <summary>In .item and .user a value may be missing (an unknown price); one that is there must be of its type.</summary>
    private static void CheckGivenValues(AtomicFileReader reader, int[] columns)
    {
        foreach (int column in columns)
        {
            if (!reader[column].IsEmpty)
                reader.Check(column);
        }
    }

    private void Filter(SideRows? users, SideRows? items, int interactionItems)
    {
        _unusedFilters.RemoveWhere(filter => known?.ItemFields?.IndexOf(filter.Field) >= 0);
        if (_unusedFilters.Count > 0)
        {
            string field = _unusedFilters.First().Field;
            throw new InputException(
                $"{config.Where("val_interval", field)}: val_interval names the field '{field}', which no loaded file has");
        }
        bool[] keepUsers = KeepListed(users, _users, _users.Count, known?.Users, "user");
        bool[] keepItems = KeepListed(items, _items, interactionItems, known?.Items, "item");
        if (known?.ItemFields is { } fields)
            DropRefused(items, fields, keepItems);
        if (keepUsers.Contains(false) || keepItems.Contains(false))
            _events.Keep(keepUsers, keepItems);
        FilterByCounts(keepUsers, keepItems, items);
        if (_events.Count == 0)
        {
            throw new InputException(
                $"{InteractionFile}: the filters of the config leave no interaction; "
                + "loosen val_interval, user_inter_num_interval or item_inter_num_interval"
                + (config.FilterByUserOrItem && _warnings.Count > 0 ? $", or filter_inter_by_user_or_item ({_warnings[^1]})" : ""));
        }
    }

    /// <summary>Which ids of .inter may stay for all that .user or .item says.</summary>
    private bool[] KeepListed(SideRows? rows, Vocabulary ids, int count, Vocabulary? known, string what)
    {
        bool[] keep = new bool[count];
        keep.AsSpan().Fill(true);
        if (rows is null)
            return keep;
        int missing = 0;
        for (int id = 1; id < count; id++)
        {
            if (rows.Has(id) || (!rows.HasRefused(id) && KnownId(known, ids, id) > 0))
                continue;
            missing++;
            // RecBole's filters take the rows of the file alone.
            keep[id] = !((rows.Filtered && !config.RecboleCompatible) || config.FilterByUserOrItem);
        }
        if (missing > 0 && !rows.Filtered)
        {
            string fate = config.FilterByUserOrItem
                ? "their interactions are dropped"
                : "their interactions stay (filter_inter_by_user_or_item: true drops them)";
            _warnings.Add($"{rows.Path}: no row for {Printable.Count(missing, what)} of {Path.GetFileName(InteractionFile)}; {fate}");
        }
        return keep;
    }

    /// <summary>Applies the filters to what is known of items together with what their rows say anew.</summary>
    private void DropRefused(SideRows? items, ItemTable fields, bool[] keep)
    {
        var filters = config.ValueFilters.Where(filter => fields.IndexOf(filter.Field) >= 0).ToArray();
        int refused = 0;
        for (int id = 1; id < keep.Length; id++)
        {
            int knownId = KnownId(known!.Items, _items, id);
            // What is not known has passed by its row, or has none.
            bool passes = knownId > 0
                ? Array.TrueForAll(filters, filter => filter.Passes(
                    items?.Value(id, filter.Field) ?? fields[knownId, fields.IndexOf(filter.Field)]))
                : filters.Length == 0 || items is { Filtered: true };
            refused += keep[id] && !passes ? 1 : 0;
            keep[id] &= passes;
        }
        if (refused > 0)
        {
            string those = Printable.Count(refused, "item");
            _warnings.Add($"val_interval refuses {those} of {Path.GetFileName(InteractionFile)}; their interactions are dropped");
        }
    }

    /// <summary>The id of what is known already; 0 of what is not.</summary>
    private static int KnownId(Vocabulary? known, Vocabulary ids, int id) =>
        known is not null && known.TryGetId(ids[id], out int knownId) ? knownId : 0;

    /// <summary>
    /// Drops users and items whose number of interactions is refused, both at once and again until none is (RecBole's k-core). Items that
    /// only .item has are dropped where the interval begins above 0.
    /// </summary>
    private void FilterByCounts(bool[] keepUsers, bool[] keepItems, SideRows? items)
    {
        if (config is { UserInteractionInterval: null, ItemInteractionInterval: null })
            return;
        int[] userCounts = new int[keepUsers.Length];
        int[] itemCounts = new int[keepItems.Length];
        bool dropped;
        do
        {
            Array.Clear(userCounts);
            Array.Clear(itemCounts);
            foreach (var piece in _events.Pieces)
            {
                Count(piece.Users, userCounts);
                Count(piece.Items, itemCounts);
            }
            dropped = Drop(userCounts, config.UserInteractionInterval, keepUsers)
                | Drop(itemCounts, config.ItemInteractionInterval, keepItems);
            if (dropped)
                _events.Keep(keepUsers, keepItems);
        }
        while (dropped);

        if (config.ItemInteractionInterval is { } interval)
        {
            items?.Keep(id => id < keepItems.Length && itemCounts[id] > 0
                ? keepItems[id]
                : interval.FirstLowerEnd <= 0 && (id >= keepItems.Length || keepItems[id]));
        }

        static bool Drop(int[] counts, Intervals? allowed, bool[] keep)
        {
            bool any = false;
            for (int id = 1; allowed is not null && id < counts.Length; id++)
            {
                if (counts[id] > 0 && !allowed.Contains(counts[id]))
                    (keep[id], any) = (false, true);
            }
            return any;
        }
    }

    private static void Count(ReadOnlySpan<int> ids, int[] counts)
    {
        foreach (int id in ids)
            counts[id]++;
    }

    private InteractionDataset Build(SideRows? itemRows)
    {
        var users = Renumber(_users, piece => piece.Users, [], out _);
        var items = Renumber(_items, piece => piece.Items, itemRows?.Ids ?? [], out int[] newItems);
        var histories = new Histories(_events, users.Count);
        WarnOfTimes(histories);
        WarnOfLate();
        return new InteractionDataset(users, items, histories.Offsets, histories.Items)
        {
            ItemFields = itemRows?.ToTable(items.Count, newItems),
            Newest = _events.Pieces.Where(piece => piece.Count > 0).Max(piece => piece.Newest),
            Warnings = _warnings,
        };
    }

    /// <summary>New ids in order of first appearance, first in the events, which are given them, then in <paramref name="more"/>.</summary>
    private Vocabulary Renumber(Vocabulary old, Func<InteractionPiece, Span<int>> column, IEnumerable<int> more, out int[] newIds)
    {
        int[] ids = newIds = new int[old.Count];
        var oldIds = new List<int>();
        bool same = true;
        foreach (var piece in _events.Pieces)
        {
            foreach (int id in column(piece))
                Number(id);
        }
        foreach (int id in more)
            Number(id);
        if (same && oldIds.Count == old.Count - 1)
            return old;
        foreach (var piece in _events.Pieces)
        {
            foreach (ref int id in column(piece))
                id = ids[id];
        }
        var vocabulary = new Vocabulary();
        foreach (int id in oldIds)
            vocabulary.GetOrAdd(old.Utf8(id));
        return vocabulary;

        void Number(int id)
        {
            if (ids[id] != 0)
                return;
            oldIds.Add(id);
            ids[id] = oldIds.Count;
            same &= ids[id] == id;
        }
    }

    /// <summary>Says that events come after others which they were before: what is known has lost its times.</summary>
    private void WarnOfLate()
    {
        if (known?.Newest is not { } newest)
            return;
        int late = _events.Pieces.Sum(piece => Enumerable.Range(0, piece.Count).Count(i => piece.Time(i) < newest));
        if (late > 0)
        {
            _warnings.Add(
                $"{late:N0} of {_events.Count:N0} new interactions are older than the newest that the model knows; where it knows a user's "
                + "newer ones, they come behind those all the same, for it keeps no times");
        }
    }

    /// <summary>Says what makes figures worthless and is no error: events without an order, and events that are there twice.</summary>
    private void WarnOfTimes(Histories histories)
    {
        var (events, repeated, tied) = (histories.Items.Length, histories.Repeated, histories.Tied);
        if (events < FewestOdd)
            return;
        double first = _events.Pieces.First(piece => piece.Count > 0).Time(0);
        if (_events.Pieces.All(piece => piece.HasOnly(first)))
            _warnings.Add($"{InteractionFile}: every {config.TimeField} is {first:R}; histories have the order of the file");
        else if (tied >= FewestOdd && tied >= ManyTied * events)
        {
            _warnings.Add(
                $"{InteractionFile}: {tied:N0} of {events:N0} interactions have the time of another item of their user; their order in "
                + "a history is that of the file, and so is which is held back");
        }
        if (repeated >= FewestOdd && repeated >= ManyRepeated * events)
        {
            _warnings.Add(
                $"{InteractionFile}: {repeated:N0} of {events:N0} interactions have the user, the item and the time of another "
                + "one, which makes them easy to predict; take out what is there twice");
        }
    }
}
