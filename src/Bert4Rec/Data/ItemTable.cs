namespace Bert4Rec.Data;

/// <summary>
/// What .item says of each item, for people to read and for the blend. Values are kept as the text they were; equal ones share a string.
/// </summary>
/// <param name="fields">The columns, the id apart.</param>
/// <param name="values">[field][item id]; null where .item has no row or no value for the item.</param>
internal sealed class ItemTable(IReadOnlyList<AtomicField> fields, string?[][] values)
{
    public IReadOnlyList<AtomicField> Fields => fields;

    /// <summary>Both tables' fields; where both have an item's value, the later one.</summary>
    /// <param name="old">Of the first items; null for none.</param>
    /// <param name="later">Of others, or of the same anew; null for none.</param>
    /// <param name="laterIds">[later items] their ids in the joined table.</param>
    /// <param name="itemCount">Items of the joined table, padding included.</param>
    internal static ItemTable? Append(ItemTable? old, ItemTable? later, int[] laterIds, int itemCount)
    {
        if (old is null && later is null)
            return null;
        // What is a number in one and none in the other is text.
        AtomicField[] joined =
        [
            .. (old?.Fields ?? []).Concat(later?.Fields ?? []).GroupBy(field => field.Name)
                .Select(same => same.Distinct().Count() == 1 ? same.First() : new(same.Key, AtomicType.Token)),
        ];
        var texts = new string?[joined.Length][];
        for (int field = 0; field < joined.Length; field++)
        {
            texts[field] = new string?[itemCount];
            int place = old?.IndexOf(joined[field].Name) ?? -1;
            for (int item = 1; place >= 0 && item < itemCount; item++)
                texts[field][item] = old![item, place];
            place = later?.IndexOf(joined[field].Name) ?? -1;
            for (int item = 1; place >= 0 && item < laterIds.Length; item++)
                texts[field][laterIds[item]] = later![item, place] ?? texts[field][laterIds[item]];
        }
        return new(joined, texts);
    }

    /// <summary>A field's number; -1 where there is none of this name.</summary>
    public int IndexOf(string name) => Fields.ToList().FindIndex(field => field.Name == name);

    /// <summary>The value of an item's field; null where there is none.</summary>
    public string? this[int item, int field] => item < values[field].Length ? values[field][item] : null;
}
