using System.Globalization;
using System.Text;
using System.Text.Unicode;
using Bert4Rec.Serialization;

namespace Bert4Rec.Data;

/// <summary>The types of RecBole's atomic files.</summary>
public enum AtomicType
{
    /// <summary>One word: an id, a category.</summary>
    Token,

    /// <summary>Words with a separator between them.</summary>
    TokenSequence,

    /// <summary>One number.</summary>
    Number,

    /// <summary>Numbers with a separator between them.</summary>
    NumberSequence,
}

internal static class AtomicTypes
{
    private static readonly string[] _keywords = ["token", "token_seq", "float", "float_seq"];

    public static string Keywords => string.Join(", ", _keywords);

    public static string Keyword(this AtomicType type) => _keywords[(int)type];

    public static bool TryParse(string keyword, out AtomicType type)
    {
        int index = Array.IndexOf(_keywords, keyword);
        type = (AtomicType)index;
        return index >= 0;
    }
}

/// <summary>A column of an atomic file, "name:type" in its first line.</summary>
public readonly record struct AtomicField(string Name, AtomicType Type);

/// <summary>
/// Reads an atomic file row by row: a line of values with one separator, no quoting. Rows are slices of one byte buffer, so that reading
/// allocates nothing per row. Plain or gzip (told by its first bytes), UTF-8 with or without a byte order mark, LF or CRLF.
/// </summary>
public sealed class AtomicFileReader : IDisposable
{
    private readonly InputFile _file;
    private readonly byte _separator;
    private readonly byte _sequenceSeparator;
    private readonly AtomicField[] _fields;
    private readonly int[] _ends;
    private byte[] _buffer = new byte[1 << 16];
    private int _next;
    private int _filled;
    private int _lineStart;
    private int _lineEnd;
    private char[] _characters = new char[256];

    /// <summary>Opens a file and reads its header.</summary>
    /// <exception cref="InputException">There is no such file, it cannot be read, or its header is not one.</exception>
    public AtomicFileReader(string path, char fieldSeparator = '\t', char sequenceSeparator = ' ')
    {
        _separator = (byte)fieldSeparator;
        _sequenceSeparator = (byte)sequenceSeparator;
        _file = new InputFile(path);
        try
        {
            _fields = ReadHeader();
        }
        catch
        {
            _file.Dispose();
            throw;
        }
        _ends = new int[_fields.Length];
    }

    public string Path => _file.Path;

    public IReadOnlyList<AtomicField> Fields => _fields;

    /// <summary>Number of the current line; the header is line 1.</summary>
    public long Line { get; private set; }

    /// <summary>Rows read so far.</summary>
    public long Rows { get; private set; }

    /// <summary>Bytes read of <see cref="Length"/>, as they lie on the disk.</summary>
    public long Position => _file.Position;

    public long Length => _file.Length;

    /// <summary>The bytes of the current row's value in a column.</summary>
    public ReadOnlySpan<byte> this[int column]
    {
        get
        {
            int start = column == 0 ? _lineStart : _ends[column - 1] + 1;
            return _buffer.AsSpan(start, _ends[column] - start);
        }
    }

    /// <summary>Index of a column, or -1.</summary>
    public int IndexOf(string name) => Array.FindIndex(_fields, field => field.Name == name);

    /// <summary>Index of a column that must be there, of any type or of one.</summary>
    /// <param name="name">The column.</param>
    /// <param name="setting">Where its name comes from: "TIME_FIELD".</param>
    /// <param name="type">Its type.</param>
    public int Require(string name, string setting, AtomicType? type = null)
    {
        int column = IndexOf(name);
        if (column < 0)
        {
            string names = string.Join(", ", _fields.Select(field => field.Name));
            throw Error(1, $"there is no column '{name}' ({setting}) among {names}; rename the column or change {setting}");
        }
        if (type is { } wanted && _fields[column].Type != wanted)
        {
            string found = _fields[column].Type.Keyword();
            throw Error(1, $"column '{name}' ({setting}) has the type {found}; write it as {name}:{wanted.Keyword()}");
        }
        return column;
    }

    /// <summary>Goes to the next row; empty lines are passed over.</summary>
    /// <exception cref="InputException">The line has too few or too many values, or is not UTF-8.</exception>
    public bool Read()
    {
        do
        {
            if (!ReadLine())
                return false;
        }
        while (_lineStart == _lineEnd);
        int column = 0;
        int at = _lineStart;
        while (true)
        {
            int length = _buffer.AsSpan(at, _lineEnd - at).IndexOf(_separator);
            if (column < _ends.Length)
                _ends[column] = length < 0 ? _lineEnd : at + length;
            column++;
            if (length < 0)
                break;
            at += length + 1;
        }
        if (column != _ends.Length)
        {
            throw Error(
                $"{Count(column, "value")} where the header has {Count(_ends.Length, "column")} (separated by {Show(_separator)}): "
                + Show(_buffer.AsSpan(_lineStart, _lineEnd - _lineStart)));
        }
        Rows++;
        return true;
    }

    /// <summary>The current row's token, valid until the next call.</summary>
    /// <exception cref="InputException">
    /// It is empty; or it holds a CR or a byte order mark, which the next program to read it as text could take for no part of it.
    /// </exception>
    public ReadOnlySpan<char> Token(int column)
    {
        var text = Text(column);
        if (text.IsEmpty)
            throw Error($"{_fields[column].Name} is empty; every row needs one");
        int odd = text.IndexOfAny('\r', '\uFEFF');
        if (odd < 0)
            return text;
        string what = text[odd] == '\r'
            ? "a carriage return (CR); end lines with LF or CRLF alone"
            : "a byte order mark (U+FEFF), as joined files have it; take it out";
        throw Error($"{_fields[column].Name} {Show(this[column])} has in it {what}");
    }

    /// <summary>The current row's value as text, valid until the next call.</summary>
    public ReadOnlySpan<char> Text(int column)
    {
        var bytes = this[column];
        if (_characters.Length < bytes.Length)
            _characters = new char[bytes.Length * 2];
        Utf8.ToUtf16(bytes, _characters, out _, out int length);
        return _characters.AsSpan(0, length);
    }

    /// <summary>The current row's number.</summary>
    /// <exception cref="InputException">It is no finite number.</exception>
    public double Number(int column) => Number(column, this[column]);

    /// <summary>Checks that a value is of its column's type.</summary>
    public void Check(int column)
    {
        var value = this[column];
        if (_fields[column].Type == AtomicType.Number)
        {
            Number(column, value);
        }
        else if (_fields[column].Type == AtomicType.NumberSequence)
        {
            foreach (var part in value.Split(_sequenceSeparator))
            {
                if (!value[part].IsEmpty)
                    Number(column, value[part]);
            }
        }
    }

    /// <summary>An error at the current line.</summary>
    public InputException Error(string message) => Error(Line, message);

    public void Dispose() => _file.Dispose();

    private InputException Error(long line, string message) => InputException.At(Path, line, Printable(message));

    private double Number(int column, ReadOnlySpan<byte> value)
    {
        if (!double.TryParse(value, NumberStyles.Float, CultureInfo.InvariantCulture, out double number) || !double.IsFinite(number))
            throw Error($"{_fields[column].Name} must be a number, not {Show(value)}");
        return number;
    }

    private AtomicField[] ReadHeader()
    {
        const string Wanted = "the first line names the columns, like 'user_id:token<TAB>item_id:token<TAB>timestamp:float'";
        if (!ReadLine())
            throw Error(1, $"the file is empty; {Wanted}");
        if (_buffer.AsSpan(_lineStart, _lineEnd - _lineStart).StartsWith(Encoding.UTF8.Preamble))
            _lineStart += Encoding.UTF8.Preamble.Length;
        string header = Encoding.UTF8.GetString(_buffer, _lineStart, _lineEnd - _lineStart);
        string[] columns = header.Split((char)_separator);
        var fields = new AtomicField[columns.Length];
        for (int i = 0; i < columns.Length; i++)
        {
            int colon = columns[i].LastIndexOf(':');
            string name = colon < 0 ? "" : columns[i][..colon];
            if (name.Length == 0)
                throw Error($"the header has '{columns[i]}' where name:type is wanted; {Wanted}");
            if (!AtomicTypes.TryParse(columns[i][(colon + 1)..], out var type))
                throw Error($"column '{name}' has the type '{columns[i][(colon + 1)..]}'; the types are {AtomicTypes.Keywords}");
            if (fields.Take(i).Any(field => field.Name == name))
                throw Error($"there are two columns '{name}'; rename one");
            fields[i] = new AtomicField(name, type);
        }
        return fields;
    }

    /// <summary>Sets the line to the next one in the buffer, without its end.</summary>
    private bool ReadLine()
    {
        int searched = 0;
        int length;
        while ((length = _buffer.AsSpan(_next + searched, _filled - _next - searched).IndexOf((byte)'\n')) < 0)
        {
            searched = _filled - _next;
            if (searched > InputFile.LongestLine)
                throw Error(Line + 1, $"the line is longer than {InputFile.LongestLine >> 20} MB: this is not an atomic file");
            if (!Fill())
            {
                if (searched == 0)
                    return false;
                length = 0;
                break;
            }
        }
        _lineStart = _next;
        _lineEnd = _next + searched + length;
        _next = Math.Min(_lineEnd + 1, _filled);
        Line++;
        if (_lineEnd > _lineStart && _buffer[_lineEnd - 1] == '\r')
            _lineEnd--;
        var line = _buffer.AsSpan(_lineStart, _lineEnd - _lineStart);
        if (!Utf8.IsValid(line))
            throw Error($"not UTF-8: {Show(line)}; save the file as UTF-8");
        return true;
    }

    /// <summary>Appends bytes of the file to what is left in the buffer.</summary>
    private bool Fill()
    {
        if (_next > 0)
        {
            Buffer.BlockCopy(_buffer, _next, _buffer, 0, _filled - _next);
            _filled -= _next;
            _next = 0;
        }
        if (_filled == _buffer.Length)
            Array.Resize(ref _buffer, _buffer.Length * 2);
        int read = _file.Read(_buffer.AsSpan(_filled), minimum: 1, Line + 1);
        _filled += read;
        return read > 0;
    }

    private static string Count(int count, string what) => count == 1 ? $"1 {what}" : $"{count} {what}s";

    private static string Show(byte separator) => separator == '\t' ? "a TAB" : $"'{(char)separator}'";

    /// <summary>A value for a message: short, and in quotes.</summary>
    private static string Show(ReadOnlySpan<byte> value)
    {
        const int Longest = 60;
        return $"'{Encoding.UTF8.GetString(value[..Math.Min(value.Length, Longest)])}'" + (value.Length > Longest ? "…" : "");
    }

    /// <summary>What would not show, or break the line, replaced.</summary>
    private static string Printable(string message) => string.Create(message.Length, message, (text, from) =>
    {
        for (int i = 0; i < text.Length; i++)
        {
            char character = from[i];
            text[i] = character == '\t' ? ' ' : char.IsControl(character) || character is '\u2028' or '\u2029' or '\uFEFF'
                ? '\uFFFD'
                : character;
        }
    });
}
