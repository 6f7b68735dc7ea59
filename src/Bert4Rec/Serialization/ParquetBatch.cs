namespace Bert4Rec.Serialization;

/// <summary>Writes a value as text, into room of <see cref="ParquetBatch.Longest"/> bytes.</summary>
/// <returns>The bytes written.</returns>
internal delegate int TextWriter<in T>(T value, Span<byte> to);

/// <summary>
/// Values of some rows of a Parquet column, a missing one empty. They outlive the reader's page, and belong to one thread at a time.
/// </summary>
internal abstract class ParquetBatch
{
    /// <summary>Bytes of a number, time or identifier at most.</summary>
    public const int Longest = 64;

    public int Count { get; protected set; }

    /// <summary>A value as UTF-8, until the next one is asked for.</summary>
    public abstract ReadOnlySpan<byte> this[int index] { get; }

    /// <summary>All that is text in the file, one value after another.</summary>
    public virtual ReadOnlySpan<byte> Text => [];

    public virtual void Clear() => Count = 0;
}

/// <summary>Texts, one after another.</summary>
internal sealed class TextBatch : ParquetBatch
{
    /// <summary>Bytes that a value has at most: more than any token, and little enough for a batch of them.</summary>
    private const int LongestValue = 1 << 20;

    private const int LongestBatch = 1 << 26;

    private readonly int[] _ends = new int[ParquetColumn.BatchSize + 1];
    private byte[] _bytes = new byte[1 << 14];

    public override ReadOnlySpan<byte> this[int index] => _bytes.AsSpan(_ends[index], _ends[index + 1] - _ends[index]);

    public override ReadOnlySpan<byte> Text => _bytes.AsSpan(0, _ends[Count]);

    /// <summary>Room for a value, which <see cref="Add(int)"/> then takes.</summary>
    /// <exception cref="InvalidDataException">It is too long.</exception>
    public Span<byte> Reserve(int length)
    {
        int used = _ends[Count];
        if (length > LongestValue || used + length > LongestBatch)
            throw new InvalidDataException($"a value of {length:N0} bytes is longer than any token");
        if (_bytes.Length - used < length)
            Array.Resize(ref _bytes, Math.Max(used + length, 2 * _bytes.Length));
        return _bytes.AsSpan(used);
    }

    /// <summary>Ends a value of so many of the bytes that were reserved.</summary>
    public void Add(int length)
    {
        _ends[Count + 1] = _ends[Count] + length;
        Count++;
    }

    public void Add(ReadOnlySpan<byte> value)
    {
        value.CopyTo(Reserve(value.Length));
        Add(value.Length);
    }
}

/// <summary>Numbers or times, which become text only where somebody asks: most rows of a log are passed over by their event type.</summary>
internal sealed class ValueBatch<T>(TextWriter<T> write) : ParquetBatch
    where T : unmanaged
{
    private readonly T[] _values = new T[ParquetColumn.BatchSize];
    private readonly bool[] _hasValue = new bool[ParquetColumn.BatchSize];
    private readonly byte[] _text = new byte[Longest];
    private int _written = -1;
    private int _length;

    public override ReadOnlySpan<byte> this[int index]
    {
        get
        {
            if (!_hasValue[index])
                return [];
            if (_written != index)
                (_written, _length) = (index, write(_values[index], _text));
            return _text.AsSpan(0, _length);
        }
    }

    public override void Clear()
    {
        base.Clear();
        _written = -1;
    }

    public void Add(T value, bool hasValue) => (_values[Count], _hasValue[Count++]) = (value, hasValue);
}
