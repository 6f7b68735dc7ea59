using System.Globalization;
using System.Text;
using Bert4Rec.Configuration;
using Bert4Rec.Serialization;
using CsvHelper;

namespace Bert4Rec.EventLog;

/// <summary>
/// One row of an event log: nine values as UTF-8, as CSV has them, quotes taken off; valid until the next row is read.
/// </summary>
internal readonly ref struct EventRow
{
    private readonly CsvReader? _csv;
    private readonly int[] _columns = [];
    private readonly ParquetRows? _rows;
    private readonly int _row;

    internal EventRow(CsvReader csv, int[] columns)
    {
        _csv = csv;
        _columns = columns;
    }

    internal EventRow(ParquetRows rows, int row)
    {
        _rows = rows;
        _row = row;
    }

    public ReadOnlySpan<byte> this[EventColumn column] =>
        _rows is null ? _csv!.GetSpan(_columns[(int)column]) : _rows[column][_row];
}

/// <summary>What the values of a row mean.</summary>
internal static class EventValues
{
    private const int SecondsPerDay = 86_400;

    private static readonly byte[][] _nulls =
    [
        .. new[]
        {
            "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN",
            "None", "n/a", "nan", "null",
        }.Select(Encoding.UTF8.GetBytes),
    ];

    /// <summary>Whether a value is missing: empty, or one of the words that pandas' read_csv takes for it.</summary>
    public static bool IsNull(ReadOnlySpan<byte> value)
    {
        if (value.IsEmpty)
            return true;
        if (value.Length > 8 || !"#-1<Nn"u8.Contains(value[0]))
            return false;
        foreach (byte[] word in _nulls)
        {
            if (value.SequenceEqual(word))
                return true;
        }
        return false;
    }

    /// <summary>Reads "2019-10-01 00:00:00 UTC", with or without the UTC, as Unix seconds.</summary>
    public static bool TryParseTime(ReadOnlySpan<byte> text, out long seconds)
    {
        seconds = 0;
        if (text.Length == 23 && text.EndsWith(" UTC"u8))
            text = text[..19];
        if (text.Length != 19 || text[4] != '-' || text[7] != '-' || text[10] != ' ' || text[13] != ':' || text[16] != ':')
            return false;
        int year = (Digits(text, 0) * 100) + Digits(text, 2);
        int month = Digits(text, 5), day = Digits(text, 8), hour = Digits(text, 11), minute = Digits(text, 14), second = Digits(text, 17);
        if ((year | month | day | hour | minute | second) < 0 || Digits(text, 0) < 0 || Digits(text, 2) < 0
            || year < 1 || month is < 1 or > 12 || day < 1 || day > DateTime.DaysInMonth(year, month)
            || hour > 23 || minute > 59 || second > 59)
        {
            return false;
        }
        int days = new DateOnly(year, month, day).DayNumber - DateOnly.FromDateTime(DateTime.UnixEpoch).DayNumber;
        seconds = ((long)days * SecondsPerDay) + (hour * 3600) + (minute * 60) + second;
        return true;
    }

    /// <summary>
    /// Writes a price as the shortest text that gives the same double, with at least one decimal, exponents as Python has them: 33.20 is
    /// 33.2, 100 is 100.0, 1e20 is 1e+20.
    /// </summary>
    /// <returns>The bytes written, or -1 where the text is no finite number.</returns>
    public static int WriteShortest(ReadOnlySpan<byte> text, Span<byte> to)
    {
        if (IsPlainDecimal(text, out int point))
        {
            // Two decimals of at most 15 digits never round to one double, so the text itself, without zeros at its end, is the shortest.
            int end = text.Length;
            while (point >= 0 && end > point + 2 && text[end - 1] == '0')
                end--;
            text[..end].CopyTo(to);
            if (point >= 0)
                return end;
            ".0"u8.CopyTo(to[end..]);
            return end + 2;
        }
        if (!double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double value) || !double.IsFinite(value))
            return -1;
        return NumberText.WriteShortest(value, to);
    }

    /// <summary>Whether it is digits with at most one point among them, 15 digits at most, no zero before another digit.</summary>
    private static bool IsPlainDecimal(ReadOnlySpan<byte> text, out int point)
    {
        point = text.IndexOf((byte)'.');
        // Below 0.0001 the shortest text has an exponent.
        if (text.Length is 0 or > 15 || text.StartsWith("0.0000"u8) || point == 0 || point == text.Length - 1
            || (text[0] == '0' && text.Length > 1 && point != 1))
            return false;
        return !text[..(point < 0 ? text.Length : point)].ContainsAnyExceptInRange((byte)'0', (byte)'9')
            && (point < 0 || !text[(point + 1)..].ContainsAnyExceptInRange((byte)'0', (byte)'9'));
    }

    private static int Digits(ReadOnlySpan<byte> text, int at)
    {
        int tens = text[at] - '0', ones = text[at + 1] - '0';
        return (uint)tens > 9 || (uint)ones > 9 ? -1000 : (tens * 10) + ones;
    }
}
