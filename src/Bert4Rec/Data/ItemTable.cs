namespace Bert4Rec.Data;

/// <summary>What .item says of each item, for people to read. Values are kept as the text they were; equal ones share a string.</summary>
public sealed class ItemTable
{
    private readonly string[][] _values;

    /// <param name="fields">Names of the columns, the id apart.</param>
    /// <param name="types">Theirs.</param>
    /// <param name="values">[field][item id]; null where .item has no row or no value for the item.</param>
    public ItemTable(IReadOnlyList<string> fields, IReadOnlyList<AtomicType> types, string?[][] values)
    {
        Fields = fields;
        Types = types;
        _values = values!;
    }

    public IReadOnlyList<string> Fields { get; }

    /// <summary>What the values of each field are.</summary>
    public IReadOnlyList<AtomicType> Types { get; }

    /// <summary>The value of an item's field; null where there is none.</summary>
    public string? this[int item, int field] => item < _values[field].Length ? _values[field][item] : null;
}
