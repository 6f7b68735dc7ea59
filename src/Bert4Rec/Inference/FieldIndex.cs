using System.Globalization;
using Bert4Rec.Data;

namespace Bert4Rec.Inference;

/// <summary>A field of .item, by value: which items a filter lets pass is looked up, not searched for.</summary>
internal sealed class FieldIndex
{
    /// <summary>The items with a token, ascending; null of a field of numbers.</summary>
    private readonly Dictionary<string, int[]>? _itemsOf;

    /// <summary>[values] of all items, ascending by item; null of a field of words.</summary>
    private readonly (int Item, double Value)[]? _numbers;

    /// <param name="table">What .item says.</param>
    /// <param name="field">Which of its fields.</param>
    /// <param name="itemCount">Items, padding included.</param>
    /// <param name="separator">Between the parts of a sequence.</param>
    public FieldIndex(ItemTable table, int field, int itemCount, char separator)
    {
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

    /// <summary>The items with one of these tokens, ascending.</summary>
    public int[] WithAnyOf(IReadOnlyList<string> tokens)
    {
        var found = tokens.Distinct().Select(token => _itemsOf!.GetValueOrDefault(token)).OfType<int[]>().ToArray();
        return found.Length == 1 ? found[0] : [.. found.SelectMany(items => items).Distinct().Order()];
    }

    /// <summary>The items with a number between these, both included, ascending.</summary>
    public int[] Between(double minimum, double maximum)
    {
        var items = new List<int>();
        foreach (var (item, value) in _numbers!)
        {
            if (value >= minimum && value <= maximum && (items.Count == 0 || items[^1] != item))
                items.Add(item);
        }
        return [.. items];
    }
}
