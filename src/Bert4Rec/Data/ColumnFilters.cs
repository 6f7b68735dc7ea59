using Bert4Rec.Configuration;
using Bert4Rec.Serialization;

namespace Bert4Rec.Data;

/// <summary>val_interval on the columns of one file. A row without a value does not pass.</summary>
internal sealed class ColumnFilters
{
    private readonly List<Filter> _filters = [];

    /// <param name="unused">Loses the filters whose field the file has.</param>
    /// <exception cref="InputException">A filter does not fit its column's type.</exception>
    public ColumnFilters(RunConfig config, AtomicFileReader reader, HashSet<ValueFilter> unused)
    {
        foreach (var filter in config.ValueFilters)
        {
            int column = reader.IndexOf(filter.Field);
            if (column < 0)
                continue;
            unused.Remove(filter);
            var type = reader.Fields[column].Type;
            if (type == AtomicType.Number && filter.Intervals is { } intervals)
                _filters.Add(new Filter(column, intervals, null));
            else if (type == AtomicType.Token && filter.Tokens is { } tokens)
                _filters.Add(new Filter(column, null, new HashSet<string>(tokens).GetAlternateLookup<ReadOnlySpan<char>>()));
            else
            {
                throw new InputException(
                    $"{config.Where("val_interval", filter.Field)}: val_interval.{filter.Field} does not fit the column's type "
                    + $"{type.Keyword()} in {reader.Path}; an interval filters float, a list of tokens filters token");
            }
        }
    }

    /// <summary>Whether every row passes.</summary>
    public bool IsEmpty => _filters.Count == 0;

    /// <summary>Whether any is on another column than this one.</summary>
    public bool AnyBeside(int column) => _filters.Exists(filter => filter.Column != column);

    /// <summary>Whether the reader's present row passes.</summary>
    public bool Pass(AtomicFileReader reader)
    {
        foreach (var filter in _filters)
        {
            if (reader[filter.Column].IsEmpty)
                return false;
            if (!(filter.Intervals?.Contains(reader.Number(filter.Column)) ?? filter.Tokens!.Value.Contains(reader.Text(filter.Column))))
                return false;
        }
        return true;
    }

    private sealed record Filter(int Column, Intervals? Intervals, HashSet<string>.AlternateLookup<ReadOnlySpan<char>>? Tokens);
}
