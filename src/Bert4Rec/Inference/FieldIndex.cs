using System.Globalization;
using Bert4Rec.Data;

namespace Bert4Rec.Inference;

/// <summary>A field of .item, by value: which items a filter lets pass is looked up, not searched for.</summary>
internal sealed class FieldIndex
{
    /// <summary>The items with a token; null of a field of numbers.</summary>
    private readonly Dictionary<string, int[]>? _itemsOf;

    /// <summary>[values] of all items; null of a field of words.</summary>
    private readonly (int Item, double Value)[]? _numbers;
    private readonly int _itemCount;

    /// <param name="field">Which of its fields.</param>
    /// <param name="itemCount">Items, padding included.</param>
    /// <param name="separator">Between the parts of a sequence.</param>
    public FieldIndex(ItemTable table, int field, int itemCount, char separator)
    {
        _itemCount = itemCount;
        var type = table.Fields[field].Type;
        bool isSequence = type is AtomicType.TokenSequence or AtomicType.NumberSequence;
        var values =
            from item in Enumerable.Range(1, itemCount - 1)
            from part in Parts(table[item, field])
            select (Item: item, Text: part);
        if (type is AtomicType.Number or AtomicType.NumberSequence)
            _numbers = [.. values.Select(value => (value.Item, Number(value.Text)))];
        else
            _itemsOf = values.GroupBy(value => value.Text, value => value.Item).ToDictionary(group => group.Key, group => group.ToArray());

        static double Number(string text) => double.Parse(text, NumberStyles.Float, CultureInfo.InvariantCulture);

        IEnumerable<string> Parts(string? text) =>
            text is null ? [] : isSequence ? text.Split(separator, StringSplitOptions.RemoveEmptyEntries).Distinct() : [text];
    }

    public bool HasNumbers => _numbers is not null;

    /// <summary>[items] Whether each has one of these tokens.</summary>
    public bool[] HaveAnyOf(IReadOnlyList<string> tokens)
    {
        bool[] passing = new bool[_itemCount];
        foreach (string token in tokens)
        {
            foreach (int item in _itemsOf!.GetValueOrDefault(token, []))
                passing[item] = true;
        }
        return passing;
    }

    /// <summary>[items] Whether each has a number between these, both included.</summary>
    public bool[] AreBetween(double minimum, double maximum)
    {
        bool[] passing = new bool[_itemCount];
        foreach (var (item, value) in _numbers!)
            passing[item] |= value >= minimum & value <= maximum;
        return passing;
    }
}
