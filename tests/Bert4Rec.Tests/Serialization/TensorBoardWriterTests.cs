using System.Text;
using Bert4Rec.Serialization;

namespace Bert4Rec.Tests.Serialization;

/// <summary>Decodes the event files with nothing of the writer's: bitwise CRC, and a protobuf reader of its own.</summary>
public sealed class TensorBoardWriterTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("bert4rec-").FullName;

    private string FilePath => Path.Combine(_folder, TensorBoardWriter.FileName);

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData("", 0u)]
    [InlineData("123456789", 0xE3069283u)]
    [InlineData("a", 0xC1D04330u)]
    public void Crc32C_has_the_published_values(string text, uint expected)
    {
        Assert.Equal(expected, TensorBoardWriter.Crc32C(Encoding.ASCII.GetBytes(text)));
        Assert.Equal(expected, BitwiseCrc32C(Encoding.ASCII.GetBytes(text)));
    }

    [Fact]
    public void Crc32C_of_32_zeros_is_that_of_RFC_3720()
    {
        Assert.Equal(0x8A9136AAu, TensorBoardWriter.Crc32C(new byte[32]));
    }

    [Fact]
    public void Scalars_can_be_decoded()
    {
        double before = (DateTime.UtcNow - DateTime.UnixEpoch).TotalSeconds;
        using (var writer = new TensorBoardWriter(_folder))
        {
            writer.WriteScalar("train/loss", 1, 6.904);
            writer.WriteScalar("valid/ndcg@10", 300, double.NaN);
            writer.WriteScalar(new string('ü', 100), long.MaxValue, -1e-3);
            Assert.Equal(4, Decode().Count); // Readable while it is being written.
        }

        List<Event> events = Decode();
        Assert.Equal("brain.Event:2", events[0].FileVersion);
        Assert.All(events, e => Assert.InRange(e.WallTime, before, before + 600));
        Assert.Equal(
            [("train/loss", 1L, 6.904f), ("valid/ndcg@10", 300L, float.NaN), (new string('ü', 100), long.MaxValue, -1e-3f)],
            events.Skip(1).Select(e => (e.Tag!, e.Step, e.Value!.Value)));
    }

    [Fact]
    public void A_resumed_run_goes_on_after_its_checkpoint()
    {
        Write(null, 1, 2, 3);
        Write(2, 3, 4);
        Assert.Equal([0, 1, 2, 3, 4], Decode().Select(e => e.Step));
        Write(null, 1);
        Assert.Equal([0, 1], Decode().Select(e => e.Step));
    }

    [Fact]
    public void A_half_written_event_is_cut_off_wherever_the_run_was_killed()
    {
        Write(null, 1, 2);
        byte[] whole = File.ReadAllBytes(FilePath);
        Write(null, 1);
        int oneEvent = (int)new FileInfo(FilePath).Length;
        for (int length = 0; length <= whole.Length; length++)
        {
            File.WriteAllBytes(FilePath, whole[..length]);
            Write(2, 7);
            long[] kept = length == whole.Length ? [0, 1, 2, 7] : length >= oneEvent ? [0, 1, 7] : [0, 7];
            Assert.Equal(kept, Decode().Select(e => e.Step));
        }
    }

    private void Write(long? resumeAfterStep, params long[] steps)
    {
        using var writer = new TensorBoardWriter(_folder, resumeAfterStep);
        foreach (long step in steps)
            writer.WriteScalar("loss", step, step);
    }

    private sealed record Event(double WallTime, long Step, string? FileVersion, string? Tag, float? Value);

    private List<Event> Decode()
    {
        using var stream = new FileStream(FilePath, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        using var reader = new BinaryReader(stream);
        var events = new List<Event>();
        while (stream.Position < stream.Length)
        {
            byte[] length = reader.ReadBytes(8);
            Assert.Equal(Mask(BitwiseCrc32C(length)), reader.ReadUInt32());
            byte[] data = reader.ReadBytes((int)BitConverter.ToUInt64(length));
            Assert.Equal(Mask(BitwiseCrc32C(data)), reader.ReadUInt32());

            Dictionary<int, byte[]> fields = Fields(data);
            Dictionary<int, byte[]>? point = fields.TryGetValue(5, out byte[]? summary) ? Fields(Fields(summary)[1]) : null;
            events.Add(new Event(
                BitConverter.ToDouble(fields[1]),
                BitConverter.ToInt64(fields[2]),
                fields.TryGetValue(3, out byte[]? version) ? Encoding.UTF8.GetString(version) : null,
                point is null ? null : Encoding.UTF8.GetString(point[1]),
                point is null ? null : BitConverter.ToSingle(point[2])));
        }
        return events;
    }

    /// <summary>A message's fields by number; a varint as its eight bytes.</summary>
    private static Dictionary<int, byte[]> Fields(byte[] message)
    {
        var fields = new Dictionary<int, byte[]>();
        using var reader = new BinaryReader(new MemoryStream(message));
        while (reader.BaseStream.Position < message.Length)
        {
            int tag = reader.Read7BitEncodedInt();
            fields.Add(tag >> 3, (tag & 7) switch
            {
                0 => BitConverter.GetBytes(reader.Read7BitEncodedInt64()),
                1 => reader.ReadBytes(8),
                2 => reader.ReadBytes(reader.Read7BitEncodedInt()),
                5 => reader.ReadBytes(4),
                int wireType => throw new InvalidDataException($"wire type {wireType}"),
            });
        }
        return fields;
    }

    private static uint Mask(uint crc) => unchecked(((crc >> 15) | (crc << 17)) + 0xa282ead8u);

    /// <summary>Polynomial 0x1EDC6F41, reflected, bit by bit.</summary>
    private static uint BitwiseCrc32C(byte[] data)
    {
        uint crc = 0xFFFFFFFF;
        foreach (byte value in data)
        {
            crc ^= value;
            for (int bit = 0; bit < 8; bit++)
                crc = (crc & 1) != 0 ? (crc >> 1) ^ 0x82F63B78 : crc >> 1;
        }
        return ~crc;
    }
}
