using System.Buffers.Binary;
using System.Numerics;

namespace Bert4Rec.Serialization;

/// <summary>
/// Scalars for TensorBoard: an event file of TFRecords (length, its CRC, a protobuf Event, its CRC), which TensorBoard reads while it
/// grows. Of the schema it knows the five fields that a scalar needs; see tensorflow/core/util/event.proto and framework/summary.proto.
/// </summary>
internal sealed class TensorBoardWriter : IDisposable
{
    /// <summary>TensorBoard wants "tfevents" in the name. The name is fixed so that a resumed run goes on in the file it left.</summary>
    public const string FileName = "events.out.tfevents.bert4rec";

    private const int LengthSize = sizeof(ulong);
    private const int ChecksumSize = sizeof(uint);
    private const int LongestRecord = 1 << 16;

    private readonly FileStream _file;

    /// <summary>Begins a file, or goes on in the one that is there.</summary>
    /// <param name="directory">The folder of the run; made if it is not there.</param>
    /// <param name="resumeAfterStep">Of a file that is there, keep the events up to this step and append; null: begin anew. What a killed
    /// run had half written, or wrote after its last checkpoint, is cut off.</param>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public TensorBoardWriter(string directory, long? resumeAfterStep = null)
    {
        Directory.CreateDirectory(directory);
        string path = Path.Combine(directory, FileName);
        long keep = 0;
        if (resumeAfterStep is long step && File.Exists(path))
        {
            using FileStream old = InputFile.Open(path);
            (keep, int records) = RecordsUpToStep(new BufferedStream(old), step);
            Kept = Math.Max(0, records - 1);
        }
        _file = new FileStream(path, FileMode.OpenOrCreate, FileAccess.Write, FileShare.Read);
        _file.SetLength(keep);
        _file.Seek(keep, SeekOrigin.Begin);
        if (keep == 0)
            WriteRecord(NewEvent(0).Text(3, "brain.Event:2")); // Event.file_version
    }

    /// <summary>Values of a resumed file that were whole and are kept.</summary>
    public int Kept { get; }

    /// <summary>Appends one value; it is in the file when this returns.</summary>
    /// <param name="tag">The chart's name; a slash makes groups: "train/loss".</param>
    /// <param name="step">Place on the horizontal axis: the epoch.</param>
    public void WriteScalar(string tag, long step, double value)
    {
        ProtobufMessage point = new ProtobufMessage().Text(1, tag).Single(2, (float)value); // Summary.Value's tag and simple_value
        WriteRecord(NewEvent(step).Nested(5, new ProtobufMessage().Nested(1, point))); // Event.summary, Summary.value
    }

    public void Dispose() => _file.Dispose();

    /// <summary>CRC-32C (Castagnoli), as in RFC 3720.</summary>
    internal static uint Crc32C(ReadOnlySpan<byte> data)
    {
        uint crc = uint.MaxValue;
        foreach (byte value in data)
            crc = BitOperations.Crc32C(crc, value);
        return ~crc;
    }

    /// <summary>TensorFlow's mask: a CRC of data that holds CRCs would say little.</summary>
    private static uint MaskedCrc32C(ReadOnlySpan<byte> data) => BitOperations.RotateRight(Crc32C(data), 15) + 0xa282ead8u;

    private static ProtobufMessage NewEvent(long step) =>
        new ProtobufMessage().Double(1, (DateTime.UtcNow - DateTime.UnixEpoch).TotalSeconds).Varint(2, step); // Event.wall_time, Event.step

    private void WriteRecord(ProtobufMessage message)
    {
        int length = (int)message.Length;
        var record = new byte[LengthSize + ChecksumSize + length + ChecksumSize];
        BinaryPrimitives.WriteUInt64LittleEndian(record, (ulong)length);
        BinaryPrimitives.WriteUInt32LittleEndian(record.AsSpan(LengthSize), MaskedCrc32C(record.AsSpan(0, LengthSize)));
        message.WriteTo(new MemoryStream(record, LengthSize + ChecksumSize, length));
        Span<byte> data = record.AsSpan(LengthSize + ChecksumSize, length);
        BinaryPrimitives.WriteUInt32LittleEndian(record.AsSpan(record.Length - ChecksumSize), MaskedCrc32C(data));
        _file.Write(record);
        _file.Flush();
    }

    /// <summary>The whole, undamaged records at the start of the file whose step is not beyond <paramref name="step"/>.</summary>
    private static (long Length, int Count) RecordsUpToStep(Stream file, long step)
    {
        // Our events begin with wall_time (a tag, eight bytes), then step's tag, then the step.
        const int StepOffset = 1 + sizeof(double) + 1;
        long end = 0;
        byte[] start = new byte[LengthSize + ChecksumSize];
        for (int records = 0; ; records++)
        {
            if (file.ReadAtLeast(start, start.Length, throwOnEndOfStream: false) < start.Length)
                return (end, records);
            ulong count = BinaryPrimitives.ReadUInt64LittleEndian(start);
            if (BinaryPrimitives.ReadUInt32LittleEndian(start.AsSpan(LengthSize)) != MaskedCrc32C(start.AsSpan(0, LengthSize))
                || count is <= StepOffset or > LongestRecord)
                return (end, records);
            byte[] rest = new byte[(int)count + ChecksumSize];
            ReadOnlySpan<byte> data = rest.AsSpan(0, (int)count);
            if (file.ReadAtLeast(rest, rest.Length, throwOnEndOfStream: false) < rest.Length
                || BinaryPrimitives.ReadUInt32LittleEndian(rest.AsSpan((int)count)) != MaskedCrc32C(data)
                || ReadVarint(data[StepOffset..]) > (ulong)step)
                return (end, records);
            end += start.Length + rest.Length;
        }
    }

    private static ulong ReadVarint(ReadOnlySpan<byte> bytes)
    {
        ulong value = 0;
        for (int i = 0; i < bytes.Length && i < 10; i++)
        {
            value |= (ulong)(bytes[i] & 0x7f) << (7 * i);
            if (bytes[i] < 0x80)
                break;
        }
        return value;
    }
}
