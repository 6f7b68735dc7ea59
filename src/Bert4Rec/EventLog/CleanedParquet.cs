using System.Globalization;
using Bert4Rec.Configuration;
using Bert4Rec.Serialization;
using CsvHelper;
using ParquetSharp;

namespace Bert4Rec.EventLog;

/// <summary>
/// Takes the lines of a cleaned log, and writes them as row groups: event_time and price as doubles, event_type as a whole number, and all
/// else as text, missing values as nulls. Read again, they are the same lines.
/// </summary>
internal sealed class CleanedParquet(ParquetOutput output) : ForwardStream(isRead: false)
{
    /// <summary>Bytes of lines in a row group, about.</summary>
    private const int GroupSize = 1 << 24;

    private static readonly CsvReaderOptions s_csv = new() { Separator = ',', HasHeader = false, AllowLineBreaksInQuotes = false };

    private byte[] _lines = new byte[GroupSize];
    private int _used;
    private bool _hasHeader;

    public static Column[] Columns { get; } =
    [
        .. Enum.GetValues<EventColumn>().Select(column => column switch
        {
            EventColumn.EventTime => (Column)new Column<double>(column.Name()),
            EventColumn.EventType => new Column<long>(column.Name()),
            EventColumn.Price => new Column<double?>(column.Name()),
            _ => new Column<string>(column.Name()),
        }),
    ];

    public override void Write(ReadOnlySpan<byte> buffer)
    {
        if (_lines.Length - _used < buffer.Length)
        {
            int end = _lines.AsSpan(0, _used).LastIndexOf((byte)'\n') + 1;
            WriteGroup(end);
            _lines.AsSpan(end, _used - end).CopyTo(_lines);
            _used -= end;
            if (_lines.Length - _used < buffer.Length)
                Array.Resize(ref _lines, _used + buffer.Length);
        }
        buffer.CopyTo(_lines.AsSpan(_used));
        _used += buffer.Length;
    }

    /// <summary>Writes what is left: whole lines.</summary>
    public void Finish()
    {
        WriteGroup(_used);
        _used = 0;
    }

    private void WriteGroup(int length)
    {
        using CsvReader csv = CsvReader.Create(_lines.AsMemory(0, length), s_csv);
        _hasHeader = _hasHeader || csv.Read();
        var rows = new List<string[]>();
        while (csv.Read())
            rows.Add([.. Enumerable.Range(0, EventColumns.Count).Select(csv.GetString)]);
        if (rows.Count > 0)
            output.WriteGroup([.. Enum.GetValues<EventColumn>().Select(column => Values(rows, column))]);
    }

    private static Array Values(List<string[]> rows, EventColumn column)
    {
        var values = rows.Select(row => row[(int)column]);
        return column switch
        {
            EventColumn.EventTime => values.Select(Number).ToArray(),
            EventColumn.EventType => values.Select(value => long.Parse(value, CultureInfo.InvariantCulture)).ToArray(),
            EventColumn.Price => values.Select(value => value.Length == 0 ? (double?)null : Number(value)).ToArray(),
            _ => values.Select(value => value.Length == 0 ? null : value).ToArray(),
        };

        static double Number(string value) => double.Parse(value, CultureInfo.InvariantCulture);
    }
}
