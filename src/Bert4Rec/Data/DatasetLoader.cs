using System.Runtime.InteropServices;
using Bert4Rec.Configuration;

namespace Bert4Rec.Data;

/// <summary>
/// Reads a dataset's atomic files, filters them and sorts each user's events by time. Rows that val_interval refuses are dropped while
/// reading; what stays is three columns (user, item, time), which the other filters compact in place.
/// </summary>
internal sealed class DatasetLoader
{
    private readonly RunConfig _config;
    private readonly IProgress<ProgressUpdate>? _progress;
    private readonly string _interactionFile;
    private readonly Func<string, AtomicFileReader?> _open;
    private readonly HashSet<ValueFilter> _unusedFilters;
    private readonly List<string> _warnings = [];

    // Ids as read, before filtering.
    private readonly Vocabulary _users = new();
    private readonly Vocabulary _items = new();
    private readonly List<int> _eventUsers = [];
    private readonly List<int> _eventItems = [];
    private readonly List<double> _eventTimes = [];

    /// <param name="config">The settings.</param>
    /// <param name="progress">Told of bytes read.</param>
    /// <param name="open">Opens inter, item or user, if it is there; null for the files that the config names.</param>
    private DatasetLoader(RunConfig config, IProgress<ProgressUpdate>? progress, Func<string, AtomicFileReader?>? open = null)
    {
        _config = config;
        _progress = progress;
        _interactionFile = open is null ? FindInteractions() : "events";
        _open = open ?? OpenFile;
        _unusedFilters = [.. config.ValueFilters];
    }

    /// <summary>
    /// Reads DataPath/Dataset/Dataset.inter (or DataPath/Dataset.inter) and, if they are there and wanted, .item and .user beside it; each
    /// may end in .gz. Ids count items in order of first appearance in .inter after filtering, then those that .item alone has.
    /// </summary>
    /// <param name="config">Where the files are, what their columns are called, what is filtered out.</param>
    /// <param name="progress">Told of bytes read.</param>
    /// <exception cref="InputException">A file is missing or malformed, or the filters leave nothing.</exception>
    public static InteractionDataset Load(RunConfig config, IProgress<ProgressUpdate>? progress = null) =>
        new DatasetLoader(config, progress).LoadAll();

    /// <summary>The same from readers of what need not be files.</summary>
    /// <param name="open">Opens inter, item or user; null for what there is not.</param>
    /// <param name="config">What the columns are called, what is filtered out.</param>
    /// <exception cref="InputException">A row is malformed, or the filters leave nothing.</exception>
    internal static InteractionDataset LoadFrom(Func<string, AtomicFileReader?> open, RunConfig config) =>
        new DatasetLoader(config, null, open).LoadAll();

    private InteractionDataset LoadAll()
    {
        ReadInteractions();
        int interactionItems = _items.Count;
        var items = ReadItems();
        var users = ReadUsers();
        Filter(users, items, interactionItems);
        return Build(items);
    }

    /// <summary>The files that <see cref="Load"/> would read: .inter, and .item and .user if they are there and wanted.</summary>
    /// <exception cref="InputException">There is no .inter.</exception>
    internal static IReadOnlyList<string> FilesOf(RunConfig config)
    {
        var loader = new DatasetLoader(config, null);
        return [loader._interactionFile, .. new[] { "item", "user" }.Select(loader.FindBeside).OfType<string>()];
    }

    private string FindInteractions()
    {
        if (_config.Dataset is not { } name)
            throw new InputException("no dataset is named: write 'dataset: NAME' in the config or pass --set dataset=NAME");
        string nested = Path.Combine(_config.DataPath, name, name + ".inter");
        string direct = Path.Combine(_config.DataPath, name + ".inter");
        return Existing(nested) ?? Existing(direct) ?? throw new InputException(
            $"{nested}: there is no such file (nor {nested}.gz, nor {direct}); put it there or pass --set data_path=FOLDER");
    }

    private static string? Existing(string path) => File.Exists(path) ? path : File.Exists(path + ".gz") ? path + ".gz" : null;

    private AtomicFileReader? OpenFile(string suffix) => (suffix == "inter" ? _interactionFile : FindBeside(suffix)) is { } path
        ? new(path, _config.FieldSeparator, _config.SequenceSeparator)
        : null;

    private string? FindBeside(string suffix) => _config.LoadsFile(suffix)
        ? Existing(Path.Combine(Path.GetDirectoryName(_interactionFile)!, $"{_config.Dataset}.{suffix}"))
        : null;

    private void ReadInteractions()
    {
        using var reader = _open("inter")!;
        int user = reader.Require(_config.UserIdField, "USER_ID_FIELD", AtomicType.Token);
        int item = reader.Require(_config.ItemIdField, "ITEM_ID_FIELD", AtomicType.Token);
        int time = reader.Require(_config.TimeField, "TIME_FIELD", AtomicType.Number);
        int[] others = [.. LoadedColumns(reader, "inter").Where(column => column != time)];
        var filters = FiltersOf(reader);
        while (Next(reader))
        {
            foreach (int column in others)
                reader.Check(column);
            double eventTime = reader.Number(time);
            if (!Pass(filters, reader))
                continue;
            _eventUsers.Add(_users.GetOrAdd(reader.Token(user)));
            _eventItems.Add(_items.GetOrAdd(reader.Token(item)));
            _eventTimes.Add(eventTime);
        }
        if (reader.Rows == 0)
            throw reader.Error("the file has a header but no rows");
    }

    private SideRows? ReadItems()
    {
        using var reader = _open("item");
        if (reader is null)
            return null;
        int item = reader.Require(_config.ItemIdField, "ITEM_ID_FIELD", AtomicType.Token);
        int[] columns = [.. LoadedColumns(reader, "item").Where(column => column != item)];
        var filters = FiltersOf(reader);
        AtomicField[] fields = [.. columns.Select(column => reader.Fields[column])];
        var rows = new SideRows(reader.Path, fields, filters.Exists(filter => filter.Column != item));
        while (Next(reader))
        {
            CheckGivenValues(reader, columns);
            int id = _items.GetOrAdd(reader.Token(item));
            if (Pass(filters, reader))
                rows.Set(id, reader, columns);
        }
        return rows;
    }

    private SideRows? ReadUsers()
    {
        using var reader = _open("user");
        if (reader is null)
            return null;
        int user = reader.Require(_config.UserIdField, "USER_ID_FIELD", AtomicType.Token);
        int[] columns = [.. LoadedColumns(reader, "user").Where(column => column != user)];
        var filters = FiltersOf(reader);
        var rows = new SideRows(reader.Path, [], filters.Exists(filter => filter.Column != user));
        while (Next(reader))
        {
            CheckGivenValues(reader, columns);
            // Users without interactions have nothing to train on or to test: they get no id.
            bool known = _users.TryGetId(reader.Token(user), out int id);
            if (known && Pass(filters, reader))
                rows.Set(id, reader, []);
        }
        return rows;
    }

    private bool Next(AtomicFileReader reader)
    {
        const int RowsPerReport = 1 << 15;
        if (_progress is not null && reader.Rows % RowsPerReport == 0)
            _progress.Report(new ProgressUpdate($"reading {Path.GetFileName(reader.Path)}", reader.Position, reader.Length, "bytes"));
        return reader.Read();
    }

    /// <summary>The columns that load_col wants, all of which must be there.</summary>
    private IEnumerable<int> LoadedColumns(AtomicFileReader reader, string suffix)
    {
        if (_config.LoadColumns is not { } wanted || wanted[suffix] is not { } names)
            return Enumerable.Range(0, reader.Fields.Count);
        return names.Select(name => reader.Require(name, $"load_col.{suffix}, {_config.Where("load_col", suffix)}"));
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

    private List<ColumnFilter> FiltersOf(AtomicFileReader reader)
    {
        var filters = new List<ColumnFilter>();
        foreach (var filter in _config.ValueFilters)
        {
            int column = reader.IndexOf(filter.Field);
            if (column < 0)
                continue;
            _unusedFilters.Remove(filter);
            var type = reader.Fields[column].Type;
            if (type == AtomicType.Number && filter.Intervals is { } intervals)
                filters.Add(new ColumnFilter(column, intervals, null));
            else if (type == AtomicType.Token && filter.Tokens is { } tokens)
                filters.Add(new ColumnFilter(column, null, new HashSet<string>(tokens).GetAlternateLookup<ReadOnlySpan<char>>()));
            else
            {
                throw new InputException(
                    $"{_config.Where("val_interval", filter.Field)}: val_interval.{filter.Field} does not fit the column's type "
                    + $"{type.Keyword()} in {reader.Path}; an interval filters float, a list of tokens filters token");
            }
        }
        return filters;
    }

    private static bool Pass(List<ColumnFilter> filters, AtomicFileReader reader)
    {
        foreach (var filter in filters)
        {
            if (reader[filter.Column].IsEmpty)
                return false;
            if (!(filter.Intervals?.Contains(reader.Number(filter.Column)) ?? filter.Tokens!.Value.Contains(reader.Text(filter.Column))))
                return false;
        }
        return true;
    }

    private void Filter(SideRows? users, SideRows? items, int interactionItems)
    {
        if (_unusedFilters.Count > 0)
        {
            string field = _unusedFilters.First().Field;
            throw new InputException(
                $"{_config.Where("val_interval", field)}: val_interval names the field '{field}', which no loaded file has");
        }
        bool[] keepUsers = KeepListed(users, _users.Count, "user");
        bool[] keepItems = KeepListed(items, interactionItems, "item");
        if (keepUsers.Contains(false) || keepItems.Contains(false))
            Compact(keepUsers, keepItems);
        FilterByCounts(keepUsers, keepItems, items);
        if (_eventItems.Count == 0)
        {
            throw new InputException(
                $"{_interactionFile}: the filters of the config leave no interaction; "
                + "loosen val_interval, user_inter_num_interval or item_inter_num_interval");
        }
    }

    /// <summary>Which ids of .inter may stay for all that .user or .item says.</summary>
    private bool[] KeepListed(SideRows? rows, int count, string what)
    {
        bool[] keep = new bool[count];
        keep.AsSpan().Fill(true);
        if (rows is null)
            return keep;
        int missing = 0;
        for (int id = 1; id < count; id++)
        {
            if (rows.Has(id))
                continue;
            missing++;
            keep[id] = !(rows.Filtered || _config.FilterByUserOrItem);
        }
        if (missing > 0 && !rows.Filtered)
        {
            string fate = _config.FilterByUserOrItem
                ? "their interactions are dropped"
                : "their interactions stay (filter_inter_by_user_or_item: true drops them)";
            string those = missing == 1 ? $"1 {what}" : $"{missing} {what}s";
            _warnings.Add($"{rows.Path}: no row for {those} of {Path.GetFileName(_interactionFile)}; {fate}");
        }
        return keep;
    }

    /// <summary>
    /// Drops users and items whose number of interactions is refused, both at once and again until none is (RecBole's k-core). Items that
    /// only .item has are dropped where the interval begins above 0.
    /// </summary>
    private void FilterByCounts(bool[] keepUsers, bool[] keepItems, SideRows? items)
    {
        if (_config is { UserInteractionInterval: null, ItemInteractionInterval: null })
            return;
        int[] userCounts = new int[keepUsers.Length];
        int[] itemCounts = new int[keepItems.Length];
        bool dropped;
        do
        {
            Count(_eventUsers, userCounts);
            Count(_eventItems, itemCounts);
            dropped = Drop(userCounts, _config.UserInteractionInterval, keepUsers)
                | Drop(itemCounts, _config.ItemInteractionInterval, keepItems);
            if (dropped)
                Compact(keepUsers, keepItems);
        }
        while (dropped);

        if (_config.ItemInteractionInterval is { } interval)
        {
            items?.Keep(id => id < keepItems.Length && itemCounts[id] > 0
                ? keepItems[id]
                : interval.FirstLowerEnd <= 0 && (id >= keepItems.Length || keepItems[id]));
        }

        static void Count(List<int> ids, int[] counts)
        {
            Array.Clear(counts);
            foreach (int id in ids)
                counts[id]++;
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

    /// <summary>Drops the events of users and items that are not kept.</summary>
    private void Compact(bool[] keepUsers, bool[] keepItems)
    {
        int kept = 0;
        for (int i = 0; i < _eventItems.Count; i++)
        {
            if (!keepUsers[_eventUsers[i]] || !keepItems[_eventItems[i]])
                continue;
            _eventUsers[kept] = _eventUsers[i];
            _eventItems[kept] = _eventItems[i];
            _eventTimes[kept] = _eventTimes[i];
            kept++;
        }
        CollectionsMarshal.SetCount(_eventUsers, kept);
        CollectionsMarshal.SetCount(_eventItems, kept);
        CollectionsMarshal.SetCount(_eventTimes, kept);
    }

    private InteractionDataset Build(SideRows? itemRows)
    {
        var users = Renumber(_users, _eventUsers, [], out int[] newUsers);
        var items = Renumber(_items, _eventItems, itemRows?.Ids ?? [], out int[] newItems);

        // Counting sort by user, in file order within a user.
        int[] offsets = new int[users.Count + 1];
        foreach (int user in _eventUsers)
            offsets[newUsers[user] + 1]++;
        for (int user = 1; user <= users.Count; user++)
            offsets[user] += offsets[user - 1];
        int[] eventItems = new int[_eventItems.Count];
        double[] eventTimes = new double[_eventItems.Count];
        int[] next = offsets[..^1];
        for (int i = 0; i < eventItems.Length; i++)
        {
            int place = next[newUsers[_eventUsers[i]]]++;
            eventItems[place] = newItems[_eventItems[i]];
            eventTimes[place] = _eventTimes[i];
        }
        SortByTime(offsets, eventItems, eventTimes);
        return new InteractionDataset(users, items, offsets, eventItems)
        {
            ItemFields = itemRows?.ToTable(items.Count, newItems),
            Warnings = _warnings,
        };
    }

    /// <summary>New ids in order of first appearance, first in the events, then in <paramref name="more"/>.</summary>
    private static Vocabulary Renumber(Vocabulary old, List<int> events, IEnumerable<int> more, out int[] newIds)
    {
        newIds = new int[old.Count];
        var oldIds = new List<int>();
        bool same = true;
        foreach (int id in events.Concat(more))
        {
            if (newIds[id] != 0)
                continue;
            oldIds.Add(id);
            newIds[id] = oldIds.Count;
            same &= newIds[id] == id;
        }
        if (same && oldIds.Count == old.Count - 1)
            return old;
        var vocabulary = new Vocabulary();
        foreach (int id in oldIds)
            vocabulary.GetOrAdd(old[id]);
        return vocabulary;
    }

    /// <summary>Sorts each user's events by time; equal times stay in file order.</summary>
    private static void SortByTime(int[] offsets, int[] items, double[] times)
    {
        var events = new List<TimedItem>();
        for (int user = 1; user < offsets.Length - 1; user++)
        {
            int start = offsets[user];
            int count = offsets[user + 1] - start;
            if (IsSorted(times.AsSpan(start, count)))
                continue;
            CollectionsMarshal.SetCount(events, count);
            var span = CollectionsMarshal.AsSpan(events);
            for (int i = 0; i < count; i++)
                span[i] = new TimedItem(times[start + i], i, items[start + i]);
            span.Sort();
            for (int i = 0; i < count; i++)
                items[start + i] = span[i].Item;
        }
    }

    private static bool IsSorted(ReadOnlySpan<double> times)
    {
        for (int i = 1; i < times.Length; i++)
        {
            if (times[i] < times[i - 1])
                return false;
        }
        return true;
    }

    private readonly record struct TimedItem(double Time, int Place, int Item) : IComparable<TimedItem>
    {
        public int CompareTo(TimedItem other)
        {
            int byTime = Time.CompareTo(other.Time);
            return byTime != 0 ? byTime : Place.CompareTo(other.Place);
        }
    }

    /// <summary>A value filter on a column of one file; a row without a value does not pass.</summary>
    private sealed record ColumnFilter(int Column, Intervals? Intervals, HashSet<string>.AlternateLookup<ReadOnlySpan<char>>? Tokens);

    /// <summary>The rows of .item or .user that pass the filters, by id: the last one of an id wins.</summary>
    private sealed class SideRows(string path, AtomicField[] fields, bool filtered)
    {
        private readonly HashSet<int> _has = [];
        private readonly Dictionary<string, string> _pool = [];
        private readonly List<string?>[] _values = [.. fields.Select(_ => new List<string?>())];
        private List<int> _ids = [];

        public string Path => path;

        /// <summary>A filter looks at this file's values, so that an id without a passing row is refused.</summary>
        public bool Filtered => filtered;

        /// <summary>In order of their first row.</summary>
        public IEnumerable<int> Ids => _ids;

        public bool Has(int id) => _has.Contains(id);

        public void Keep(Predicate<int> keep) => _ids = _ids.FindAll(keep);

        public void Set(int id, AtomicFileReader reader, int[] columns)
        {
            if (_has.Add(id))
                _ids.Add(id);
            for (int i = 0; i < columns.Length; i++)
            {
                var values = _values[i];
                if (values.Count <= id)
                    CollectionsMarshal.SetCount(values, id + 1);
                values[id] = Pooled(reader.Text(columns[i]));
            }
        }

        public ItemTable ToTable(int count, int[] newIds)
        {
            var table = new string?[fields.Length][];
            for (int i = 0; i < table.Length; i++)
            {
                table[i] = new string?[count];
                foreach (int id in _ids)
                {
                    if (newIds[id] != 0)
                        table[i][newIds[id]] = _values[i][id];
                }
            }
            return new ItemTable(fields, table);
        }

        private string? Pooled(ReadOnlySpan<char> text)
        {
            if (text.IsEmpty)
                return null;
            var pool = _pool.GetAlternateLookup<ReadOnlySpan<char>>();
            if (!pool.TryGetValue(text, out string? known))
                pool[text] = known = text.ToString();
            return known;
        }
    }
}
