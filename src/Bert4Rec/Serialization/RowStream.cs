using System.Text;

namespace Bert4Rec.Serialization;

/// <summary>Rows in memory as the lines of a file, which are written as they are read.</summary>
/// <param name="name">What the rows are, for errors.</param>
/// <param name="rows">Values; null is none.</param>
/// <param name="separator">Between them; it is in none of them.</param>
internal sealed class RowStream(string name, IEnumerable<string?[]> rows, char separator) : ForwardStream(isRead: true)
{
    private static readonly UTF8Encoding s_strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    private readonly IEnumerator<string?[]> _rows = rows.GetEnumerator();
    private byte[] _line = [];
    private int _length;
    private int _read;
    private long _number;

    /// <exception cref="InputException">A value would not be the same in a file.</exception>
    public override int Read(Span<byte> buffer)
    {
        int done = 0;
        while (done < buffer.Length && (_read < _length || NextLine()))
        {
            int count = Math.Min(buffer.Length - done, _length - _read);
            _line.AsSpan(_read, count).CopyTo(buffer[done..]);
            _read += count;
            done += count;
        }
        return done;
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
            _rows.Dispose();
        base.Dispose(disposing);
    }

    private bool NextLine()
    {
        if (!_rows.MoveNext())
            return false;
        _number++;
        string?[] row = _rows.Current;
        foreach (string? value in row)
        {
            if (value.AsSpan().IndexOfAny(separator, '\r', '\n') >= 0)
                throw InputException.At(name, _number, $"{Printable.Quoted(value!)} has a separator or a line break in it; take it out");
        }
        string line = string.Join(separator, row) + "\n";
        if (_line.Length < s_strict.GetMaxByteCount(line.Length))
            _line = new byte[2 * s_strict.GetMaxByteCount(line.Length)];
        try
        {
            (_read, _length) = (0, s_strict.GetBytes(line, _line));
        }
        catch (EncoderFallbackException)
        {
            throw InputException.At(name, _number, $"{Printable.Quoted(line[..^1])} is no Unicode text: it has half a character in it");
        }
        return true;
    }
}
