using System.Collections.Concurrent;
using System.Globalization;
using Bert4Rec.Configuration;
using Bert4Rec.Serialization;
using CsvHelper;
using ParquetSharp;
using Encoding = System.Text.Encoding;

namespace Bert4Rec.EventLog;

/// <summary>Rows of a Parquet file, column by column.</summary>
/// <param name="columns">A batch for each of <see cref="EventColumns"/>.</param>
/// <param name="pool">Where the memory goes when it is no longer needed.</param>
internal sealed class ParquetRows(ParquetBatch[] columns, ConcurrentBag<ParquetRows> pool)
{
    private bool _hasLineBreaks;

    /// <summary>Number of the first row in the file, from 1.</summary>
    public long FirstRow { get; private set; }

    public int Count { get; private set; }

    public ParquetBatch this[EventColumn column] => columns[(int)column];

    /// <summary>Empties them, for rows that begin at this one.</summary>
    public void Begin(long firstRow)
    {
        FirstRow = firstRow;
        foreach (ParquetBatch column in columns)
            column.Clear();
    }

    public void End(int count)
    {
        Count = count;
        _hasLineBreaks = columns.Any(column => column.Text.ContainsAny("\r\n"u8));
    }

    /// <summary>What keeps a row from being a line of CSV, which it becomes; null for nothing.</summary>
    public string? Oddity(int row)
    {
        if (!_hasLineBreaks)
            return null;
        int column = Array.FindIndex(columns, values => values[row].ContainsAny("\r\n"u8));
        return column < 0 ? null : $"{EventColumns.Names[column]} has a line break in it: {Printable.Quoted(columns[column][row])}";
    }

    /// <summary>Gives the memory back, for other rows.</summary>
    public void Return() => pool.Add(this);
}

/// <summary>
/// Reads the Parquet files of an event log. A column that a file lacks may be a folder's name above it, <c>event_type=view</c>; the parts
/// of a log must agree on what a column's values are.
/// </summary>
internal sealed class ParquetLog(LogFormat format)
{
    /// <summary>What a partition's folder is named after where the value is missing.</summary>
    private const string MissingPartition = "__HIVE_DEFAULT_PARTITION__";

    private readonly string[] _names = [.. Enum.GetValues<EventColumn>().Select(format.NameOf)];
    private readonly (ParquetKind Kind, string TypeName, string File)[] _kinds = new (ParquetKind, string, string)[EventColumns.Count];

    /// <summary>Reads a file in order: rows, and the share of the file that is read with them.</summary>
    /// <exception cref="InputException">It is no Parquet file, lacks a column, or is damaged.</exception>
    public IEnumerable<(ParquetRows Rows, double Share)> Read(string path)
    {
        using var file = new ParquetInput(path);
        ParquetColumn?[] columns = [.. _names.Select(name => name.Length > 0 ? file.Column(name) : null)];
        byte[]?[] partitions = Partitions(path);
        Check(file, columns, partitions);
        var pool = new ConcurrentBag<ParquetRows>();
        long done = 0;
        for (int group = 0; group < file.RowsOfGroup.Count; group++)
        {
            using RowGroupReader reader = file.RowGroup(group);
            foreach (ParquetColumn? column in columns)
                column?.Open(reader, group);
            int count;
            for (long left = file.RowsOfGroup[group]; left > 0; left -= count)
            {
                count = (int)Math.Min(left, ParquetColumn.BatchSize);
                if (!pool.TryTake(out ParquetRows? rows))
                    rows = new([.. columns.Select(column => column?.NewBatch() ?? new TextBatch())], pool);
                rows.Begin(done + 1);
                for (int column = 0; column < columns.Length; column++)
                {
                    ParquetBatch values = rows[(EventColumn)column];
                    columns[column]?.ReadRows(values, count);
                    while (values.Count < count)
                        ((TextBatch)values).Add(partitions[column]);
                }
                rows.End(count);
                done += count;
                yield return (rows, (double)done / file.Rows);
            }
            foreach (ParquetColumn? column in columns)
            {
                column?.CheckEnd();
                column?.Close();
            }
        }
    }

    /// <summary>The columns' names, and the first rows of a file, as lines of CSV.</summary>
    public IReadOnlyList<string> Head(string path, int count)
    {
        EventColumn[] shown;
        using (var file = new ParquetInput(path))
        {
            byte[]?[] partitions = Partitions(path);
            shown =
            [
                .. Enum.GetValues<EventColumn>().Where(
                    column => partitions[(int)column] is not null || file.Names.Contains(_names[(int)column])),
            ];
        }
        using var text = new StringWriter(CultureInfo.InvariantCulture);
        using (var csv = CsvWriter.Create(text, new CsvWriterOptions { NewLine = "\n" }, leaveOpen: true))
        {
            csv.WriteRecord([.. shown.Select(column => format.NameOf(column))]);
            foreach ((ParquetRows rows, _) in Read(path).Take(1))
            {
                for (int row = 0; row < Math.Min(count, rows.Count); row++)
                    csv.WriteRecord([.. shown.Select(column => Text(rows[column][row]))]);
            }
        }
        return text.ToString().Split('\n')[..^1];

        static string Text(ReadOnlySpan<byte> value) => Encoding.UTF8.GetString(value);
    }

    /// <summary>The folders <c>NAME=VALUE</c> above a file that say something of its rows, as they are named.</summary>
    public static IEnumerable<string> PartitionsOf(string path, LogFormat format)
    {
        var log = new ParquetLog(format);
        return log.Partitions(path).Index().Where(value => value.Item is not null)
            .Select(value => $"{log._names[value.Index]}={Encoding.UTF8.GetString(value.Item!)}");
    }

    /// <summary>The values of the folders <c>NAME=VALUE</c> above a file, by column; the innermost counts.</summary>
    private byte[]?[] Partitions(string path)
    {
        var values = new byte[]?[EventColumns.Count];
        foreach (string folder in Path.GetDirectoryName(Path.GetFullPath(path))!.Split(Path.DirectorySeparatorChar))
        {
            int equals = folder.IndexOf('=');
            if (equals <= 0)
                continue;
            string name = Uri.UnescapeDataString(folder[..equals]), value = folder[(equals + 1)..];
            foreach (int column in Enumerable.Range(0, EventColumns.Count).Where(column => _names[column] == name))
            {
                values[column] = value == MissingPartition ? [] : Encoding.UTF8.GetBytes(Uri.UnescapeDataString(value));
            }
        }
        return values;
    }

    private void Check(ParquetInput file, ParquetColumn?[] columns, byte[]?[] partitions)
    {
        EventColumn[] needed = [.. Enum.GetValues<EventColumn>().Where(format.Needs)];
        string[] missing =
        [
            .. needed.Where(column => columns[(int)column] is null && partitions[(int)column] is null).Select(format.NameOf),
        ];
        if (missing.Length > 0)
        {
            throw new InputException(
                $"{file.Path}: there is no column {string.Join(", ", missing)} among {Printable.Short(string.Join(", ", file.Names))}; "
                + $"it must have {string.Join(", ", needed.Select(format.NameOf))} (other names are told by --columns)");
        }
        foreach ((int index, ParquetColumn? column) in columns.Index())
        {
            if (column is null || column.Kind == ParquetKind.Null)
                continue;
            var name = (EventColumn)index;
            bool isTime = name == EventColumn.EventTime, isNumber = isTime || name == EventColumn.Price;
            if ((column.Kind == ParquetKind.Time && !isTime) || (column.Kind == ParquetKind.Number && !isNumber))
            {
                string wanted = isNumber ? "a number" : "a text or a whole number";
                throw new InputException(
                    $"{file.Path}: column {column.Name} is {column.TypeName}; it must be {wanted}: cast it where the file is written");
            }
            var (kind, typeName, first) = _kinds[index];
            if (first is null)
            {
                _kinds[index] = (column.Kind, column.TypeName, file.Path);
            }
            else if (kind != column.Kind)
            {
                throw new InputException(
                    $"{file.Path}: column {column.Name} is {column.TypeName}, but {typeName} in {first}; write all parts with one schema");
            }
        }
    }
}
