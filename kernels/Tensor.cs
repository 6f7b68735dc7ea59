namespace Bert4Rec.Kernels;

/// <summary>A row-major matrix: a view of <see cref="Rows"/> × <see cref="Columns"/> floats in a flat buffer.</summary>
/// <param name="Buffer">The storage.</param>
/// <param name="Offset">Index of the first element in the storage.</param>
/// <param name="Rows">Number of rows.</param>
/// <param name="Columns">Number of columns; rows follow each other without a gap.</param>
public readonly record struct Tensor(DeviceBuffer<float> Buffer, long Offset, int Rows, int Columns)
{
    /// <summary>Number of elements.</summary>
    public long Length => (long)Rows * Columns;

    /// <summary>True for <c>default</c>: an optional operand that is not there.</summary>
    public bool IsNone => Buffer is null;

    /// <summary>The whole of a buffer as one row.</summary>
    public static Tensor Of(DeviceBuffer<float> buffer) => new(buffer, 0, 1, checked((int)buffer.Length));

    /// <summary>The first <paramref name="rows"/> rows.</summary>
    public Tensor First(int rows) => SliceRows(0, rows);

    /// <summary>Rows <paramref name="first"/> to <paramref name="first"/> + <paramref name="count"/>.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The rows do not lie in the tensor.</exception>
    public Tensor SliceRows(int first, int count)
    {
        if (first < 0 || count < 0 || first > Rows - count)
            throw new ArgumentOutOfRangeException(nameof(first), $"rows {first}..{first + count} of {Rows}");
        return this with { Offset = Offset + ((long)first * Columns), Rows = count };
    }

    /// <summary>Copies host values into the tensor.</summary>
    public void Upload(ReadOnlySpan<float> source)
    {
        if (source.Length != Length)
            throw new ArgumentException($"{source.Length} values for a tensor of {Rows} × {Columns}", nameof(source));
        Buffer.Upload(source, Offset);
    }

    /// <summary>Copies the tensor to a new host array.</summary>
    public float[] ToArray()
    {
        var values = new float[Length];
        Buffer.Download(values, Offset);
        return values;
    }
}

/// <summary>A vector of integers (item ids, positions, row numbers, offsets): a view of a flat buffer.</summary>
public readonly record struct Indices(DeviceBuffer<int> Buffer, long Offset, int Length)
{
    /// <summary>True for <c>default</c>: an optional operand that is not there.</summary>
    public bool IsNone => Buffer is null;

    /// <summary>The whole of a buffer.</summary>
    public static Indices Of(DeviceBuffer<int> buffer) => new(buffer, 0, checked((int)buffer.Length));

    /// <summary>The first <paramref name="length"/> elements.</summary>
    public Indices First(int length) => Slice(0, length);

    /// <exception cref="ArgumentOutOfRangeException">The range does not lie in the vector.</exception>
    public Indices Slice(int first, int length)
    {
        if (first < 0 || length < 0 || first > Length - length)
            throw new ArgumentOutOfRangeException(nameof(first), $"elements {first}..{first + length} of {Length}");
        return new(Buffer, Offset + first, length);
    }

    /// <summary>Copies host values into the vector.</summary>
    public void Upload(ReadOnlySpan<int> source)
    {
        if (source.Length != Length)
            throw new ArgumentException($"{source.Length} values for {Length} indices", nameof(source));
        Buffer.Upload(source, Offset);
    }

    /// <summary>Copies the vector to a new host array.</summary>
    public int[] ToArray()
    {
        var values = new int[Length];
        Buffer.Download(values, Offset);
        return values;
    }
}
