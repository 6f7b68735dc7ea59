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
    private readonly EventNameTable? _names;

    /// <param name="columns">The place of each of our columns in it; below 0 for one that it does not have.</param>
    internal EventRow(CsvReader csv, int[] columns, EventNameTable? names)
    {
        _csv = csv;
        _columns = columns;
        _names = names;
    }

    internal EventRow(ParquetRows rows, int row, EventNameTable? names)
    {
        _rows = rows;
        _row = row;
        _names = names;
    }

    /// <summary>The value of a column, empty where the log has no such column; of an event's type ours for the log's.</summary>
    public ReadOnlySpan<byte> this[EventColumn column]
    {
        get
        {
            ReadOnlySpan<byte> value = Read(column);
            return column == EventColumn.EventType && _names is not null ? _names.Find(value) : value;
        }
    }

    /// <summary>Whether it is an event that the log's names leave out.</summary>
    public bool IsLeftOut => _names is not null && _names.LeavesOut(Read(EventColumn.EventType));

    private ReadOnlySpan<byte> Read(EventColumn column) =>
        _rows is not null ? _rows[column][_row]
        : _columns[(int)column] >= 0 ? _csv!.GetSpan(_columns[(int)column])
        : default;
}

/// <summary>What the values of a row mean.</summary>
internal static class EventValues
{
    public const long MillisecondsPerSecond = 1000;

    /// <summary>1990 and 2100 as Unix seconds: a number outside is no time, and in between it is clear which unit it has.</summary>
    private const long FirstSecond = 631_152_000, LastSecond = 4_102_444_800;

    /// <summary>The years of a date: those outside, and 1900 and 1901, are what programs write for none.</summary>
    private const int FirstYear = 1902, EndYear = 2100;

    private static readonly byte[][] _nulls =
    [
        .. new[]
        {
            "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN",
            "None", "n/a", "nan", "null", @"\N",
        }.Select(Encoding.UTF8.GetBytes),
    ];

    public const string NotUtf8 = "not UTF-8; save the file as UTF-8";

    public static string WrongTime(ReadOnlySpan<byte> value) =>
        $"event_time must look like 2019-10-01 00:00:00 UTC, not {Printable.Quoted(value)} "
        + "(ISO 8601 and Unix time will do as well)";

    public static string WrongType(ReadOnlySpan<byte> value) =>
        $"event_type must be one of {string.Join(", ", EventTypeNames.Names)}, not {Printable.Quoted(value)} (--event-names can say so)";

    public static string WrongPrice(ReadOnlySpan<byte> value) =>
        $"price must be a number, not {Printable.Quoted(value)} (--columns price= reads none)";

    /// <summary>Whether a value is missing: empty or blank, a word that pandas' read_csv takes for it, or databases' \N.</summary>
    public static bool IsNull(ReadOnlySpan<byte> value)
    {
        if (value.IsEmpty)
            return true;
        if (value[0] == ' ' && !value.ContainsAnyExcept((byte)' '))
            return true;
        if (value.Length > 8 || !"#-1<Nn\\"u8.Contains(value[0]))
            return false;
        foreach (byte[] word in _nulls)
        {
            if (value.SequenceEqual(word))
                return true;
        }
        return false;
    }

    /// <summary>Whether it is a date that stands for none: 0001-01-01, 1900-01-01, 9999-12-31 and their like.</summary>
    public static bool IsNoDate(ReadOnlySpan<byte> text) => text.Length >= 10 && text[4] == '-' && text[7] == '-'
        && Digits(text, 0) >= 0 && Digits(text, 2) >= 0 && (Digits(text, 0) * 100) + Digits(text, 2) is < FirstYear or >= EndYear;

    /// <summary>
    /// Reads a time as Unix milliseconds: "2019-10-01 00:00:00", a T in place of the space or not, with a fraction of a second or not,
    /// and then nothing or " UTC" or "Z" for UTC, or an offset from it, "+02:00"; seconds may be missing, and the time of a day; all but
    /// the offset as digits alone, "20191001T000000", without the T too; a number is Unix seconds, or thousandths, millionths or
    /// billionths of them, whichever lies between 1990 and 2100.
    /// </summary>
    public static bool TryParseTime(ReadOnlySpan<byte> text, out long milliseconds)
    {
        if (text.Length == 23 && text.EndsWith(" UTC"u8))
            return TryParseDateAndTime(text[..19], out milliseconds);
        milliseconds = 0;
        if (text.Length < 5 || text[4] != '-')
            return Spread(text) is { } spread ? TryParseTime(spread, out milliseconds) : TryParseUnixTime(text, out milliseconds);
        int length = text.Length >= 19 && text[16] == ':' ? 19 : text.Length >= 16 ? 16 : 10;
        if (text.Length < length
            || !TryParseDateAndTime(length == 19 ? text[..19] : [.. text[..length], .. " 00:00:00"u8[(length - 10)..]], out milliseconds))
            return false;
        ReadOnlySpan<byte> rest = text[length..];
        if (length == 19 && rest.Length > 1 && rest[0] is (byte)'.' or (byte)',' && char.IsAsciiDigit((char)rest[1]))
        {
            int digit = 1;
            for (int worth = 100; digit < rest.Length && char.IsAsciiDigit((char)rest[digit]); digit++, worth /= 10)
                milliseconds += worth * (rest[digit] - '0');
            rest = rest[digit..];
        }
        if (rest.IsEmpty)
            return true;
        if (length == 10)
            return false;
        if (rest.SequenceEqual("Z"u8) || rest.SequenceEqual("z"u8) || rest.SequenceEqual(" UTC"u8))
            return true;
        if (!TryParseOffset(rest, out int offset))
            return false;
        milliseconds -= MillisecondsPerSecond * offset;
        return true;
    }

    /// <summary>"20191001", "20191001082600", "20191001T082600Z" with dashes and colons; null of what is none of these.</summary>
    private static byte[]? Spread(ReadOnlySpan<byte> text)
    {
        int digits = text.IndexOfAnyExceptInRange((byte)'0', (byte)'9');
        bool hasT = digits == 8 && text.Length >= 15 && text[8] is (byte)'T' or (byte)'t';
        if (!hasT && (digits >= 0 || text.Length is not (8 or 14)))
            return null;
        byte[] date = [.. text[..4], (byte)'-', .. text[4..6], (byte)'-', .. text[6..8]];
        ReadOnlySpan<byte> time = text[(hasT ? 9 : 8)..];
        return time.IsEmpty ? date : [.. date, (byte)'T', .. time[..2], (byte)':', .. time[2..4], (byte)':', .. time[4..]];
    }

    /// <summary>"+02:00", "+0200", "+02", with a minus as well, a space before it or not, as seconds.</summary>
    private static bool TryParseOffset(ReadOnlySpan<byte> text, out int seconds)
    {
        seconds = 0;
        if (text[0] == ' ')
            text = text[1..];
        if (text.Length is not (3 or 5 or 6) || text[0] is not ((byte)'+' or (byte)'-') || (text.Length == 6 && text[3] != ':'))
            return false;
        int hours = Digits(text, 1), minutes = text.Length == 3 ? 0 : Digits(text, text.Length - 2);
        if (hours is < 0 or > 14 || minutes is < 0 or > 59)
            return false;
        seconds = ((hours * 3600) + (minutes * 60)) * (text[0] == '-' ? -1 : 1);
        return true;
    }

    private static bool TryParseUnixTime(ReadOnlySpan<byte> text, out long milliseconds)
    {
        milliseconds = 0;
        if (text.Length > 24 || !char.IsAsciiDigit(text.IsEmpty ? ' ' : (char)text[0])
            || !decimal.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out decimal number))
            return false;
        for (long unit = 1; unit <= 1_000_000_000; unit *= 1000)
        {
            if (number >= FirstSecond * (decimal)unit && number < LastSecond * (decimal)unit)
            {
                milliseconds = (long)(number * MillisecondsPerSecond / unit);
                return true;
            }
        }
        return false;
    }

    private static bool TryParseDateAndTime(ReadOnlySpan<byte> text, out long milliseconds)
    {
        milliseconds = 0;
        if (text[4] != '-' || text[7] != '-' || text[10] is not ((byte)' ' or (byte)'T' or (byte)'t') || text[13] != ':' || text[16] != ':')
            return false;
        int year = (Digits(text, 0) * 100) + Digits(text, 2);
        int month = Digits(text, 5), day = Digits(text, 8), hour = Digits(text, 11), minute = Digits(text, 14), second = Digits(text, 17);
        if (year is < FirstYear or >= EndYear || Digits(text, 2) < 0
            || month is < 1 or > 12 || day < 1 || day > DateTime.DaysInMonth(year, month)
            || hour is < 0 or > 23 || minute is < 0 or > 59 || second is < 0 or > 59)
            return false;
        milliseconds = new DateTimeOffset(year, month, day, hour, minute, second, TimeSpan.Zero).ToUnixTimeMilliseconds();
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
        return NumberText.TryParse(text, out double value) ? NumberText.WriteShortest(value, to) : -1;
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
