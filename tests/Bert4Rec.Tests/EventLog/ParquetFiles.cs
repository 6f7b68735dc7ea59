using System.Globalization;
using Bert4Rec.Configuration;
using ParquetSharp;

namespace Bert4Rec.Tests.EventLog;

/// <summary>Small logs as Parquet, in the types that other programs write.</summary>
internal static class ParquetFiles
{
    /// <summary>How a log is written.</summary>
    /// <param name="Time">text, millis, micros, nanos or int96.</param>
    /// <param name="Id">text, int64 or int32.</param>
    /// <param name="Price">text, double, float or decimal.</param>
    /// <param name="Compression">The codec.</param>
    /// <param name="GroupRows">Rows of a row group.</param>
    /// <param name="LeftOut">Columns that the file lacks.</param>
    public sealed record Style(
        string Time = "micros",
        string Id = "int64",
        string Price = "double",
        Compression Compression = Compression.Snappy,
        int GroupRows = 7,
        string[]? LeftOut = null,
        bool Checksums = true,
        bool Dictionary = true);

    /// <summary>Writes a log of CSV, whose values have no quotes, as Parquet.</summary>
    public static void Write(string path, string csv, Style? style = null)
    {
        style ??= new();
        string[][] rows = [.. csv.Split('\n', StringSplitOptions.RemoveEmptyEntries).Skip(1).Select(line => line.Split(','))];
        Write(path, rows, style);
    }

    public static void Write(string path, string[][] rows, Style style)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        int[] columns =
            [.. Enumerable.Range(0, EventColumns.Count).Where(column => style.LeftOut?.Contains(EventColumns.Names[column]) != true)];
        using var builder = new WriterPropertiesBuilder();
        builder.Compression(style.Compression);
        if (style.Checksums)
            builder.EnablePageChecksum();
        if (!style.Dictionary)
            builder.DisableDictionary();
        using WriterProperties properties = builder.Build();
        using var file = new ParquetFileWriter(path, [.. columns.Select(column => Definition(column, style))], null, properties, null);
        foreach (string[][] chunk in rows.Chunk(style.GroupRows))
        {
            using RowGroupWriter group = file.AppendRowGroup();
            foreach (int column in columns)
            {
                string?[] values = [.. chunk.Select(row => row[column].Length == 0 ? null : row[column])];
                using ColumnWriter writer = group.NextColumn();
                WriteColumn(writer, Kind(column, style), values);
            }
        }
        file.Close();
    }

    private static string Kind(int column, Style style) => (EventColumn)column switch
    {
        EventColumn.EventTime => style.Time,
        EventColumn.ProductId or EventColumn.UserId or EventColumn.CategoryId => style.Id,
        EventColumn.Price => style.Price,
        _ => "text",
    };

    private static Column Definition(int column, Style style)
    {
        string name = EventColumns.Names[column];
        return Kind(column, style) switch
        {
            "millis" => new Column<DateTime?>(name, LogicalType.Timestamp(isAdjustedToUtc: true, TimeUnit.Millis)),
            "micros" => new Column<DateTime?>(name, LogicalType.Timestamp(isAdjustedToUtc: false, TimeUnit.Micros)),
            "nanos" => new Column<DateTimeNanos?>(name, LogicalType.Timestamp(isAdjustedToUtc: true, TimeUnit.Nanos)),
            "int96" => new Column<Int96?>(name),
            "int64" => new Column<long?>(name),
            "int32" => new Column<int?>(name),
            "double" => new Column<double?>(name),
            "float" => new Column<float?>(name),
            "decimal" => new Column<decimal?>(name, LogicalType.Decimal(29, 2)),
            "list" => new Column<string[]>(name),
            "bool" => new Column<bool?>(name),
            "nothing" => new Column<int?>(name, LogicalType.Null()),
            _ => new Column<string>(name),
        };
    }

    private static void WriteColumn(ColumnWriter writer, string kind, string?[] values)
    {
        switch (kind)
        {
            case "millis" or "micros":
                Put(writer, values, value => (DateTime?)Time(value));
                break;
            case "nanos":
                Put(writer, values, value => (DateTimeNanos?)new DateTimeNanos(Time(value)));
                break;
            case "int96":
                Put(writer, values, value =>
                {
                    long nanos = Time(value).TimeOfDay.Ticks * 100;
                    int day = 2_440_588 + (Time(value).Date - DateTime.UnixEpoch.Date).Days;
                    return (Int96?)new Int96((int)nanos, (int)(nanos >> 32), day);
                });
                break;
            case "int64":
                Put(writer, values, value => (long?)long.Parse(value, CultureInfo.InvariantCulture));
                break;
            case "int32" or "nothing":
                Put(writer, values, value => (int?)int.Parse(value, CultureInfo.InvariantCulture));
                break;
            case "double":
                Put(writer, values, value => (double?)double.Parse(value, CultureInfo.InvariantCulture));
                break;
            case "float":
                Put(writer, values, value => (float?)float.Parse(value, CultureInfo.InvariantCulture));
                break;
            case "decimal":
                Put(writer, values, value => (decimal?)decimal.Parse(value, CultureInfo.InvariantCulture));
                break;
            case "list":
                Put(writer, values, value => new[] { value });
                break;
            case "bool":
                Put(writer, values, _ => (bool?)true);
                break;
            default:
                Put(writer, values, value => value);
                break;
        }
    }

    private static DateTime Time(string value) =>
        DateTime.ParseExact(value.Replace(" UTC", ""), "yyyy-MM-dd HH:mm:ss.FFF", CultureInfo.InvariantCulture);

    private static void Put<T>(ColumnWriter writer, string?[] values, Func<string, T> parse)
    {
        using LogicalColumnWriter<T> column = writer.LogicalWriter<T>();
        column.WriteBatch([.. values.Select(value => value is null ? default! : parse(value))]);
    }
}
