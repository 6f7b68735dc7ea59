using System.Text.Unicode;
using Bert4Rec.Serialization;

namespace Bert4Rec.Data;

/// <summary>What <see cref="PlainRows"/> does with a column.</summary>
internal enum ColumnUse : byte
{
    /// <summary>It may be anything.</summary>
    Ignored,
    User,
    Item,
    Time,

    /// <summary>It must be a number.</summary>
    Number,
}

/// <summary>
/// Reads the rows of .inter in blocks that threads parse side by side; then one gives the users their ids and another the items, block by
/// block in the file's order, so that the ids are those of a reader that goes row by row. A file with anything in it that needs a second
/// look is left to that reader, <see cref="AtomicFileReader"/>: it alone says what is wrong, and in which line.
/// </summary>
internal sealed class PlainRows(InputFile file, int blockLength)
{
    private const int BlockLength = 1 << 22, MostThreads = 4;

    private static readonly double[] s_powersOfTen = [1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

    private readonly int _blockLength = (int)Math.Min(blockLength, Math.Max(file.Length + 1, 1 << 12));

    /// <summary>What was read behind the last whole line.</summary>
    private byte[] _rest = [];
    private bool _isAtEnd;
    private bool _isDoubtful;

    public Vocabulary Users { get; } = new();

    public Vocabulary Items { get; } = new();

    public InteractionColumns Events { get; } = new();

    /// <summary>Reads a file whose header is known.</summary>
    /// <param name="columns">What is done with each.</param>
    /// <param name="blockLength">Bytes of a block; a line that is longer makes it longer.</param>
    /// <returns>Null where a row is in doubt, or cannot be read, and where there is none.</returns>
    public static PlainRows? TryRead(
        string path, char separator, ColumnUse[] columns, IProgress<ProgressUpdate>? progress, int blockLength = BlockLength)
    {
        try
        {
            using var file = new InputFile(path);
            var rows = new PlainRows(file, blockLength);
            return char.IsAscii(separator) && rows.Read((byte)separator, columns, progress) ? rows : null;
        }
        catch (Exception e) when (e is InputException or AggregateException { InnerException: InputException })
        {
            return null;
        }
    }

    private bool Read(byte separator, ColumnUse[] columns, IProgress<ProgressUpdate>? progress)
    {
        Block[] blocks = Blocks(), next = Blocks();
        string activity = $"reading {Path.GetFileName(file.Path)}";
        int count = Fill(blocks);
        if (count == 0 || !blocks[0].SkipHeader())
            return false;
        Parse(blocks, count);
        while (count > 0 && !_isDoubtful)
        {
            progress?.Report(new(activity, file.Position, file.Length, "bytes"));
            var round = blocks.AsMemory(0, count);
            foreach (var block in round.Span)
            {
                if (block.Events is not { } events)
                    return false;
                Events.Add(events);
            }
            Parallel.Invoke(
                () =>
                {
                    foreach (var block in round.Span)
                        block.IdentifyUsers(Users);
                },
                () =>
                {
                    foreach (var block in round.Span)
                        block.IdentifyItems(Items);
                    count = Fill(next);
                    // Whoever is done with the users helps.
                    Parse(next, count);
                });
            (blocks, next) = (next, blocks);
        }
        return !_isDoubtful && Events.Count > 0;

        void Parse(Block[] filled, int number) => Parallel.For(0, number, i => filled[i].Parse(separator, columns));

        static Block[] Blocks() =>
            [.. Enumerable.Range(0, Math.Min(Environment.ProcessorCount, MostThreads)).Select(_ => new Block())];
    }

    /// <returns>How many blocks have lines in them.</returns>
    private int Fill(Block[] blocks)
    {
        int count = 0;
        try
        {
            while (count < blocks.Length && !_isAtEnd && !_isDoubtful)
                (_isAtEnd, _isDoubtful) = blocks[count++].Fill(file, ref _rest, _blockLength);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or InputException)
        {
            _isDoubtful = true;
        }
        return count;
    }

    /// <summary>
    /// Exactly what double.Parse gives. Up to 15 digits are a whole number that a double holds, and so is the power of ten that it is
    /// divided by: their quotient is rounded once.
    /// </summary>
    internal static bool TryNumber(ReadOnlySpan<byte> text, out double number)
    {
        const int MostDigits = 15;
        long digits = 0;
        int count = 0, point = -1, at = text.Length > 0 && text[0] == '-' ? 1 : 0;
        bool isNegative = at == 1;
        for (; at < text.Length && count <= MostDigits; at++)
        {
            int digit = text[at] - '0';
            if ((uint)digit <= 9)
                (digits, count) = ((digits * 10) + digit, count + 1);
            else if (text[at] == '.' && point < 0)
                point = count;
            else
                break;
        }
        if (at == text.Length && count is > 0 and <= MostDigits)
        {
            number = point < 0 ? digits : digits / s_powersOfTen[count - point];
            number = isNegative ? -number : number;
            return true;
        }
        return NumberText.TryParse(text, out number);
    }

    /// <summary>A token of a block's text.</summary>
    private readonly record struct Token(int Start, int Length, uint Hash);

    private sealed class Block
    {
        private byte[] _text = [];
        private int _start;
        private int _end;
        private int _rows;
        private Token[] _users = new Token[64];
        private Token[] _items = new Token[64];
        private double[] _times = new double[64];

        /// <summary>What <see cref="Parse"/> found; null where a row is in doubt.</summary>
        public InteractionPiece? Events { get; private set; }

        /// <summary>Takes whole lines: the rest of what was read before, and what follows in the file.</summary>
        public (bool IsAtEnd, bool IsDoubtful) Fill(InputFile file, ref byte[] rest, int length)
        {
            if (_text.Length < Math.Max(length, rest.Length + 1))
                _text = GC.AllocateUninitializedArray<byte>(Math.Max(length, rest.Length + 1));
            rest.CopyTo(_text, 0);
            for (int read = rest.Length; ; Array.Resize(ref _text, Math.Min(2 * _text.Length, InputFile.LongestLine)))
            {
                read += file.Content.ReadAtLeast(_text.AsSpan(read), _text.Length - read, throwOnEndOfStream: false);
                bool isAtEnd = read < _text.Length;
                _start = 0;
                _end = isAtEnd ? read : _text.AsSpan(0, read).LastIndexOf((byte)'\n') + 1;
                rest = _text[_end..read];
                if (isAtEnd || _end > 0)
                    return (isAtEnd, false);
                if (read >= InputFile.LongestLine)
                    return (false, true);
            }
        }

        /// <returns>Whether the first line can be one.</returns>
        public bool SkipHeader()
        {
            var text = _text.AsSpan(0, _end);
            int end = text.IndexOf((byte)'\n');
            int reserved = text.IndexOf((byte)'\r');
            _start = end + 1;
            return end > 1 && (reserved < 0 || reserved >= end - 1);
        }

        public void Parse(byte separator, ColumnUse[] columns) =>
            Events = TryParse(separator, columns) ? new(_times.AsSpan(0, _rows)) : null;

        public void IdentifyUsers(Vocabulary users) => Identify(_users, users, Events!.Users);

        public void IdentifyItems(Vocabulary items) => Identify(_items, items, Events!.Items);

        private void Identify(Token[] tokens, Vocabulary vocabulary, Span<int> ids)
        {
            const int Ahead = 32;
            for (int first = 0; first < ids.Length; first += Ahead)
            {
                int end = Math.Min(first + Ahead, ids.Length);
                for (int row = first; row < end; row++)
                    vocabulary.Peek(tokens[row].Hash);
                for (int row = first; row < end; row++)
                {
                    var (start, length, hash) = tokens[row];
                    ids[row] = vocabulary.GetOrAdd(_text.AsSpan(start, length), hash);
                }
            }
        }

        private bool TryParse(byte separator, ColumnUse[] columns)
        {
            _rows = 0;
            var text = _text.AsSpan(0, _end);
            var lines = text[_start..];
            if (!Utf8.IsValid(lines) || lines.IndexOf("\uFEFF"u8) >= 0 || !ReturnsEndLines(lines))
                return false;
            for (int at = _start; at < text.Length;)
            {
                if (text[at] is (byte)'\n' or (byte)'\r')
                {
                    at++;
                    continue;
                }
                if (_rows == _times.Length)
                {
                    Array.Resize(ref _users, 2 * _rows);
                    Array.Resize(ref _items, 2 * _rows);
                    Array.Resize(ref _times, 2 * _rows);
                }
                for (int column = 0; column < columns.Length; column++)
                {
                    int length = text[at..].IndexOfAny(separator, (byte)'\n');
                    int end = length < 0 ? text.Length : at + length;
                    bool isLast = end == text.Length || text[end] == '\n';
                    if (isLast != (column == columns.Length - 1))
                        return false;
                    var value = text[at..(isLast && end > at && text[end - 1] == '\r' ? end - 1 : end)];
                    if (!Take(columns[column], value, at))
                        return false;
                    at = Math.Min(end + 1, text.Length);
                }
                _rows++;
            }
            return true;
        }

        private bool Take(ColumnUse use, ReadOnlySpan<byte> value, int start)
        {
            switch (use)
            {
                case ColumnUse.User:
                    _users[_rows] = new(start, value.Length, Vocabulary.Hash(value));
                    return !value.IsEmpty;
                case ColumnUse.Item:
                    _items[_rows] = new(start, value.Length, Vocabulary.Hash(value));
                    return !value.IsEmpty;
                case ColumnUse.Time:
                    return TryNumber(value, out _times[_rows]);
                case ColumnUse.Number:
                    return TryNumber(value, out _);
                default:
                    return true;
            }
        }

        /// <summary>Whether each CR stands before an LF.</summary>
        private static bool ReturnsEndLines(ReadOnlySpan<byte> text)
        {
            for (int at = text.IndexOf((byte)'\r'); at >= 0; at = text.IndexOf((byte)'\r'))
            {
                if (at + 1 == text.Length || text[at + 1] != '\n')
                    return false;
                text = text[(at + 2)..];
            }
            return true;
        }
    }
}
