using System.Text;

namespace Bert4Rec.Serialization;

/// <summary>
/// A message of protobuf that is being written: fields with their numbers, in the order they are added, and its length, which its parent
/// writes before it. What is large is read when the message is written.
/// </summary>
internal sealed class ProtobufMessage
{
    private const int VarintType = 0, Fixed64Type = 1, LengthType = 2, Fixed32Type = 5;

    private readonly List<Action<Stream>> _parts = [];

    public long Length { get; private set; }

    public ProtobufMessage Varint(int field, long value) => Add(field, VarintType, [.. Encode((ulong)value)]);

    public ProtobufMessage Single(int field, float value) => Add(field, Fixed32Type, BitConverter.GetBytes(value));

    public ProtobufMessage Double(int field, double value) => Add(field, Fixed64Type, BitConverter.GetBytes(value));

    public ProtobufMessage Text(int field, string value)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(value);
        return Raw(field, bytes.Length, stream => stream.Write(bytes));
    }

    /// <summary>A message in this one, which must not grow any more.</summary>
    public ProtobufMessage Nested(int field, ProtobufMessage message) => Raw(field, message.Length, message.WriteTo);

    public ProtobufMessage Raw(int field, long length, Action<Stream> write)
    {
        Add(field, LengthType, [.. Encode((ulong)length)]);
        _parts.Add(write);
        Length += length;
        return this;
    }

    public void WriteTo(Stream stream)
    {
        foreach (Action<Stream> part in _parts)
            part(stream);
    }

    private ProtobufMessage Add(int field, int type, byte[] value)
    {
        byte[] bytes = [.. Encode((ulong)((field << 3) | type)), .. value];
        _parts.Add(stream => stream.Write(bytes));
        Length += bytes.Length;
        return this;
    }

    private static IEnumerable<byte> Encode(ulong value)
    {
        for (; value >= 0x80; value >>= 7)
            yield return (byte)(value | 0x80);
        yield return (byte)value;
    }
}
