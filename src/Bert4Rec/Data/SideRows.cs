using System.Runtime.InteropServices;

namespace Bert4Rec.Data;

/// <summary>The rows of .item or .user that pass the filters, by id: the last one of an id wins.</summary>
internal sealed class SideRows(string path, AtomicField[] fields, bool filtered)
{
    private readonly HashSet<int> _has = [], _refused = [];
    private readonly Dictionary<string, string> _pool = [];
    private readonly List<string?>[] _values = [.. fields.Select(_ => new List<string?>())];
    private List<int> _ids = [];

    public string Path => path;

    /// <summary>A filter looks at this file's values, so that an id without a passing row is refused.</summary>
    public bool Filtered => filtered;

    /// <summary>In order of their first row.</summary>
    public IEnumerable<int> Ids => _ids;

    public bool Has(int id) => _has.Contains(id);

    /// <summary>What a row says; null where it says nothing.</summary>
    public string? Value(int id, string field)
    {
        int column = Array.FindIndex(fields, known => known.Name == field);
        return column >= 0 && id < _values[column].Count ? _values[column][id] : null;
    }

    public void Refuse(int id) => _refused.Add(id);

    /// <summary>Whether it has a row, and none that passes.</summary>
    public bool HasRefused(int id) => _refused.Contains(id) && !Has(id);

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
