namespace Bert4Rec.Data;

/// <summary>What .item says of each item, for people to read. Values are kept as the text they were; equal ones share a string.</summary>
public sealed class ItemTable
{
    private readonly string[][] _values;

    /// <param name="fields">The columns, the id apart.</param>
    /// <param name="values">[field][item id]; null where .item has no row or no value for the item.</param>
    public ItemTable(IReadOnlyList<AtomicField> fields, string?[][] values)
    {
        Fields = fields;
        _values = values!;
    }

    public IReadOnlyList<AtomicField> Fields { get; }

    /// <summary>The value of an item's field; null where there is none.</summary>
    public string? this[int item, int field] => item < _values[field].Length ? _values[field][item] : null;
}
