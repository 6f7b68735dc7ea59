using System.Text.Unicode;
using Bert4Rec.Serialization;
using CsvHelper;

namespace Bert4Rec.Data;

/// <summary>The types of RecBole's atomic files.</summary>
internal enum AtomicType
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
internal readonly record struct AtomicField(string Name, AtomicType Type)
{
    /// <summary>"name:type", or null where the text does not end in a type.</summary>
    internal static AtomicField? TryParse(string column)
    {
        int colon = column.LastIndexOf(':');
        return colon > 0 && AtomicTypes.TryParse(column[(colon + 1)..], out var type) ? new(column[..colon], type) : null;
    }

    public override string ToString() => $"{Name}:{Type.Keyword()}";
}

/// <summary>
/// Reads an atomic file row by row: a line of values with one separator, no quoting. Values are slices of CsvHelper's byte buffer, so that
/// reading allocates nothing per row. Plain or gzip (told by its first bytes), UTF-8 with or without a byte order mark, lines that end with
/// LF, CRLF or CR.
/// </summary>
internal sealed class AtomicFileReader : IDisposable
{
    private readonly InputFile _file;
    private readonly CsvReader _csv;
    private readonly char _separator;
    private readonly byte _sequenceSeparator;
    private readonly AtomicField[] _fields;
    private char[] _characters = new char[256];

    /// <summary>Opens a file and reads its header.</summary>
    /// <exception cref="InputException">There is no such file, it cannot be read, or its header is not one.</exception>
    public AtomicFileReader(string path, char fieldSeparator = '\t', char sequenceSeparator = ' ')
        : this(new InputFile(path), fieldSeparator, sequenceSeparator)
    {
    }

    /// <summary>Reads the header of what has been opened, and owns it from here on.</summary>
    /// <exception cref="InputException">The header is none.</exception>
    internal AtomicFileReader(InputFile file, char fieldSeparator, char sequenceSeparator)
    {
        _separator = fieldSeparator;
        _sequenceSeparator = (byte)sequenceSeparator;
        _file = file;
        _csv = CsvReader.Create(
            _file.Content,
            new CsvReaderOptions
            {
                Separator = fieldSeparator,
                Mode = CsvMode.NoEscape,
                HasHeader = false,
                TrackLineNumbers = true,
                MaxRecordSize = InputFile.LongestLine,
            });
        try
        {
            _fields = ReadHeader();
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public string Path => _file.Path;

    public IReadOnlyList<AtomicField> Fields => _fields;

    /// <summary>Number of the current line; the header is line 1.</summary>
    public long Line => _csv.LineNumber;

    /// <summary>Rows read so far.</summary>
    public long Rows { get; private set; }

    /// <summary>Bytes read of <see cref="Length"/>, as they lie on the disk.</summary>
    public long Position => _file.Position;

    public long Length => _file.Length;

    /// <summary>The bytes of the current row's value in a column.</summary>
    public ReadOnlySpan<byte> this[int column] => _csv.GetSpan(column);

    /// <summary>Index of a column, or -1.</summary>
    public int IndexOf(string name) => Array.FindIndex(_fields, field => field.Name == name);

    /// <summary>Index of a column that must be there, of any type or of one.</summary>
    /// <param name="setting">Where its name comes from: "TIME_FIELD".</param>
    /// <param name="type">The only type that it may have; null for any.</param>
    /// <exception cref="InputException">There is no such column, or it has another type.</exception>
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
        if (!ReadLine())
            return false;
        if (_csv.FieldCount != _fields.Length)
        {
            string separator = _separator == '\t' ? "a TAB" : $"'{_separator}'";
            throw Error(
                $"{Printable.Count(_csv.FieldCount, "value")} where the header has {Printable.Count(_fields.Length, "column")} "
                + $"(separated by {separator}): " + Printable.Quoted(_csv.RawRecord));
        }
        Rows++;
        return true;
    }

    /// <summary>The current row's token in UTF-8.</summary>
    /// <exception cref="InputException">
    /// It is empty; or it holds a byte order mark, which the next program to read it as text could take for no part of it.
    /// </exception>
    public ReadOnlySpan<byte> Token(int column)
    {
        var token = this[column];
        if (token.IsEmpty)
            throw Error($"{_fields[column].Name} is empty; every row needs one");
        if (token.IndexOf("\uFEFF"u8) < 0)
            return token;
        throw Error(
            $"{_fields[column].Name} {Printable.Quoted(token)} has in it a byte order mark (U+FEFF), "
            + "as joined files have it; take it out");
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
    /// <exception cref="InputException">It is not.</exception>
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

    public void Dispose()
    {
        _csv.Dispose();
        _file.Dispose();
    }

    private InputException Error(long line, string message) => InputException.At(Path, line, Printable.OneLine(message));

    private double Number(int column, ReadOnlySpan<byte> value)
    {
        if (!NumberText.TryParse(value, out double number))
            throw Error($"{_fields[column].Name} must be a number, not {Printable.Quoted(value)}");
        return number;
    }

    private AtomicField[] ReadHeader()
    {
        const string Wanted = "the first line names the columns, like 'user_id:token<TAB>item_id:token<TAB>timestamp:float'";
        if (!ReadLine())
            throw Error(1, $"the file is empty; {Wanted}");
        var fields = new AtomicField[_csv.FieldCount];
        for (int i = 0; i < fields.Length; i++)
        {
            string column = _csv.GetString(i);
            int colon = column.LastIndexOf(':');
            string name = colon < 0 ? "" : column[..colon];
            if (name.Length == 0)
                throw Error($"the header has '{column}' where name:type is wanted; {Wanted}");
            if (!AtomicTypes.TryParse(column[(colon + 1)..], out var type))
                throw Error($"column '{name}' has the type '{column[(colon + 1)..]}'; the types are {AtomicTypes.Keywords}");
            if (fields.Take(i).Any(field => field.Name == name))
                throw Error($"there are two columns '{name}'; rename one");
            fields[i] = new AtomicField(name, type);
        }
        return fields;
    }

    private bool ReadLine()
    {
        bool read;
        try
        {
            read = _csv.Read();
        }
        catch (CsvFormatException)
        {
            throw Error(Line + 1, $"the line is longer than {InputFile.LongestLine >> 20} MB: this is not an atomic file");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw _file.CannotReadOn(Line + 1, e);
        }
        if (read && !Utf8.IsValid(_csv.RawRecord))
            throw Error($"not UTF-8: {Printable.Quoted(_csv.RawRecord)}; save the file as UTF-8");
        return read;
    }
}
