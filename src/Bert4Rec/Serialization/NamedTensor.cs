using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Bert4Rec.Serialization;

/// <summary>A tensor to be written: its name, its shape, and its values in row-major order, which are not copied.</summary>
internal abstract class NamedTensor
{
    private const int PieceLength = 1 << 20;

    private NamedTensor(string name, IReadOnlyList<int> shape, int length, string dataType, int elementSize)
    {
        long elements = shape.Aggregate(1L, (product, size) => checked(product * size));
        if (elements != length)
            throw new ArgumentException($"{name}: {length} values for the shape [{string.Join(", ", shape)}]", nameof(shape));
        Name = name;
        Shape = shape;
        DataType = dataType;
        ElementSize = elementSize;
        ByteLength = elements * elementSize;
    }

    public string Name { get; }

    public IReadOnlyList<int> Shape { get; }

    /// <summary>F32, I32 or U8.</summary>
    public string DataType { get; }

    internal int ElementSize { get; }

    internal long ByteLength { get; }

    public static NamedTensor Of(string name, IReadOnlyList<int> shape, ReadOnlyMemory<float> values) =>
        new Values<float>(name, shape, values, "F32");

    public static NamedTensor Of(string name, IReadOnlyList<int> shape, ReadOnlyMemory<int> values) =>
        new Values<int>(name, shape, values, "I32");

    public static NamedTensor Of(string name, IReadOnlyList<int> shape, ReadOnlyMemory<byte> values) =>
        new Values<byte>(name, shape, values, "U8");

    /// <summary>Values that are elsewhere, and are fetched piece by piece, each time that they are wanted.</summary>
    /// <param name="length">How many there are: a vector.</param>
    /// <param name="fetch">Fills a span with the values from an offset on.</param>
    public static NamedTensor Of(string name, int length, Fetch fetch) => new Elsewhere(name, length, fetch);

    internal delegate void Fetch(Span<float> values, long offset);

    /// <summary>Hands over the bytes piece by piece: all of them may be more than a span holds.</summary>
    internal abstract void ForEachPiece(Action<ReadOnlySpan<byte>> action);

    private sealed class Values<T>(string name, IReadOnlyList<int> shape, ReadOnlyMemory<T> values, string dataType)
        : NamedTensor(name, shape, values.Length, dataType, Unsafe.SizeOf<T>())
        where T : unmanaged
    {
        internal override void ForEachPiece(Action<ReadOnlySpan<byte>> action)
        {
            for (int start = 0; start < values.Length; start += PieceLength)
                action(MemoryMarshal.AsBytes(values.Span.Slice(start, Math.Min(PieceLength, values.Length - start))));
        }
    }

    private sealed class Elsewhere(string name, int length, Fetch fetch) : NamedTensor(name, [length], length, "F32", sizeof(float))
    {
        internal override void ForEachPiece(Action<ReadOnlySpan<byte>> action)
        {
            float[] piece = new float[Math.Min(PieceLength, Shape[0])];
            for (int start = 0; start < Shape[0]; start += PieceLength)
            {
                var values = piece.AsSpan(0, Math.Min(PieceLength, Shape[0] - start));
                fetch(values, start);
                action(MemoryMarshal.AsBytes(values));
            }
        }
    }
}
