using System.Buffers.Binary;
using System.Text;
using Bert4Rec.Serialization;

namespace Bert4Rec.Tests.Serialization;

public sealed class SafeTensorsTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("bert4rec-").FullName;

    private string FilePath => Path.Combine(_folder, "test.safetensors");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void What_is_written_is_read()
    {
        float[] floats = [1.5f, -0f, float.NaN, float.MaxValue, float.Epsilon, float.NegativeInfinity];
        int[] ints = [int.MinValue, 0, int.MaxValue];
        SafeTensors.Write(
            FilePath,
            [
                NamedTensor.Of("größe \"x\"", [2, 3], floats),
                NamedTensor.Of("ints", [1, 3, 1], ints),
                NamedTensor.Of("bytes", [2], new byte[] { 0, 255 }),
                NamedTensor.Of("scalar", [], new float[] { 7 }),
                NamedTensor.Of("empty", [0, 5], Array.Empty<float>()),
            ],
            new Dictionary<string, string> { ["config"] = "a: 1\nb: \"ü\"\t\\" });

        using SafeTensorsFile file = SafeTensors.Read(FilePath);
        var read = file.ReadFloats("größe \"x\"");
        Assert.Equal(floats.Select(BitConverter.SingleToInt32Bits), read.Select(BitConverter.SingleToInt32Bits));
        Assert.Equal([2, 3], file.Shape("größe \"x\""));
        Assert.Equal(ints, file.ReadInts("ints"));
        Assert.Equal([1, 3, 1], file.Shape("ints"));
        Assert.Equal([0, 255], file.ReadBytes("bytes"));
        Assert.Equal([7], file.ReadFloats("scalar"));
        Assert.Empty(file.Shape("scalar"));
        Assert.Empty(file.ReadFloats("empty"));
        Assert.Equal("a: 1\nb: \"ü\"\t\\", file.Metadata["config"]);
        Assert.Equal(["empty", "größe \"x\"", "ints", "scalar", "bytes"], file.Names);
    }

    [Fact]
    public void The_bytes_depend_on_the_content_alone()
    {
        NamedTensor[] tensors =
        [
            NamedTensor.Of("b", [3], new float[] { 1, 2, 3 }),
            NamedTensor.Of("a", [1], new float[] { 4 }),
            NamedTensor.Of("A", [1], new byte[] { 5 }),
        ];
        byte[] first = Bytes(tensors, new() { ["y"] = "1", ["x"] = "2" });
        byte[] second = Bytes([.. tensors.Reverse()], new() { ["x"] = "2", ["y"] = "1" });

        Assert.Equal(first, second);
        Assert.Equal(0UL, BinaryPrimitives.ReadUInt64LittleEndian(first) % 8);
        Assert.Equal(["a", "b", "A"], ReadNames()); // The widest first, so that everything is aligned.
        byte[] Bytes(NamedTensor[] given, Dictionary<string, string> metadata)
        {
            SafeTensors.Write(FilePath, given, metadata);
            return File.ReadAllBytes(FilePath);
        }

        string[] ReadNames()
        {
            using SafeTensorsFile file = SafeTensors.Read(FilePath);
            return [.. file.Names];
        }
    }

    [Fact]
    public void A_tensor_longer_than_a_piece_is_read_whole()
    {
        var values = new float[(1 << 20) + 12_345];
        for (int i = 0; i < values.Length; i++)
            values[i] = i;
        SafeTensors.Write(FilePath, [NamedTensor.Of("x", [values.Length], values)]);

        using SafeTensorsFile file = SafeTensors.Read(FilePath);
        Assert.Equal(values, file.ReadFloats("x"));
    }

    [Fact]
    public void Half_precision_is_widened()
    {
        // 1, -2 and the largest half; 1, -2 and 2^127 in bfloat16.
        WriteRaw(
            """{"h":{"dtype":"F16","shape":[3],"data_offsets":[0,6]},"b":{"dtype":"BF16","shape":[3],"data_offsets":[6,12]}}""",
            [0x00, 0x3c, 0x00, 0xc0, 0xff, 0x7b, 0x80, 0x3f, 0x00, 0xc0, 0x00, 0x7f]);

        using SafeTensorsFile file = SafeTensors.Read(FilePath);
        Assert.Equal([1, -2, 65504], file.ReadFloats("h"));
        Assert.Equal([1, -2, MathF.Pow(2, 127)], file.ReadFloats("b"));
    }

    [Fact]
    public void Wider_numbers_are_narrowed()
    {
        WriteRaw(
            """
            {"d":{"dtype":"F64","shape":[2],"data_offsets":[0,16]},"i":{"dtype":"I64","shape":[2],"data_offsets":[16,32]},
            "l":{"dtype":"I64","shape":[1],"data_offsets":[32,40]}}
            """,
            [
                .. new[] { Math.PI, double.MinValue }.SelectMany(BitConverter.GetBytes),
                .. new long[] { int.MinValue, int.MaxValue, 1L << 40 }.SelectMany(BitConverter.GetBytes),
            ]);

        using SafeTensorsFile file = SafeTensors.Read(FilePath);
        Assert.Equal([(float)Math.PI, float.NegativeInfinity], file.ReadFloats("d"));
        Assert.Equal([int.MinValue, int.MaxValue], file.ReadInts("i"));
        Assert.Contains("'i' is of type I64", Assert.Throws<InputException>(() => file.ReadFloats("i")).Message);
        Assert.Contains("holds 1099511627776", Assert.Throws<InputException>(() => file.ReadInts("l")).Message);
    }

    [Fact]
    public void A_file_of_the_reference_implementation_is_read()
    {
        using SafeTensorsFile file = SafeTensors.Read(TestFiles.Fixtures("recbole-metrics.safetensors")[0]);

        Assert.Equal([240, 151], file.Shape("scores"));
        float[] scores = file.ReadFloats("scores");
        int[] targets = file.ReadInts("positive_item");
        int hits = targets.Where((target, row) => scores.AsSpan(row * 151, 151).ToArray().Max() == scores[(row * 151) + target]).Count();
        Assert.Equal(double.Parse(file.Metadata["recall@1"]), hits / 240.0, 1e-8);
    }

    [Fact]
    public void A_file_cut_at_any_length_is_refused_by_name()
    {
        byte[] whole = SmallFile();
        for (int length = 0; length < whole.Length; length++)
        {
            File.WriteAllBytes(FilePath, whole[..length]);
            AssertRefused();
        }
    }

    [Fact]
    public void A_file_without_a_checksum_cut_at_any_length_is_refused_by_name()
    {
        WriteRaw("""{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", new byte[8]);
        byte[] whole = File.ReadAllBytes(FilePath);
        for (int length = 0; length < whole.Length; length++)
        {
            File.WriteAllBytes(FilePath, whole[..length]);
            AssertRefused();
        }
    }

    [Fact]
    public void A_file_with_any_bit_flipped_is_refused_by_name()
    {
        byte[] whole = SmallFile();
        for (int bit = 0; bit < whole.Length * 8; bit++)
        {
            byte[] damaged = [.. whole];
            damaged[bit / 8] ^= (byte)(1 << (bit % 8));
            File.WriteAllBytes(FilePath, damaged);
            AssertRefused();
        }
    }

    [Theory]
    [InlineData(" ", "\t")]
    [InlineData("[2,3]", "[3,2]")]
    [InlineData("note", "nota")]
    public void A_header_that_says_something_else_is_refused(string old, string replacement)
    {
        string text = Encoding.Latin1.GetString(SmallFile());
        int place = text.LastIndexOf(old, StringComparison.Ordinal);
        Assert.True(place > 0);
        File.WriteAllBytes(FilePath, Encoding.Latin1.GetBytes(text[..place] + replacement + text[(place + old.Length)..]));

        Assert.Contains("SHA-256", AssertRefused());
    }

    [Theory]
    [InlineData("""{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]""", "not valid JSON")]
    [InlineData("""[1]""", "not a JSON object")]
    [InlineData("""{"x":1}""", "'x' in the header is not a JSON object")]
    [InlineData("""{"x":{"shape":[2],"data_offsets":[0,8]}}""", "no dtype")]
    [InlineData("""{"x":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}}""", "no dtype")]
    [InlineData("""{"x":{"dtype":"F32","data_offsets":[0,8]}}""", "no shape")]
    [InlineData("""{"x":{"dtype":"F32","shape":[2]}}""", "no data_offsets")]
    [InlineData("""{"x":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}""", "-2 in the shape")]
    [InlineData("""{"x":{"dtype":"F32","shape":[2.5],"data_offsets":[0,8]}}""", "2.5 in the shape")]
    [InlineData("""{"x":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,8]}}""", "larger than")]
    [InlineData("""{"x":{"dtype":"F32","shape":[2147483000,2147483000],"data_offsets":[0,8]}}""", "larger than")]
    [InlineData("""{"x":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}""", "needs 12 bytes, but its data_offsets span 8")]
    [InlineData("""{"x":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}""", "not a begin and an end")]
    [InlineData("""{"x":{"dtype":"F32","shape":[2],"data_offsets":[0]}}""", "not a begin and an end")]
    [InlineData("""{"x":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}""", "it is truncated")]
    [InlineData("""{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}""", "4 bytes after the last tensor")]
    [InlineData("""{"x":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}""", "begins at byte 4")]
    [InlineData(
        """{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"y":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}""",
        "'y' begins at byte 4 of the data, the one before it ends at 8")]
    [InlineData(
        """{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""",
        "not valid JSON")]
    [InlineData("""{"__metadata__":{"a":1},"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", "the metadata 'a'")]
    [InlineData("""{"\ud800":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", "not valid JSON")]
    [InlineData("""{"__metadata__":{"sha256":""},"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", "SHA-256")]
    [InlineData("""{"__metadata__":{"sha256":"ab"},"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", "SHA-256")]
    public void A_wrong_header_is_refused_with_what_is_wrong(string header, string expected)
    {
        WriteRaw(header, new byte[8]);

        Assert.Contains(expected, AssertRefused());
    }

    [Fact]
    public void An_absurd_header_length_is_refused_without_asking_for_the_memory()
    {
        foreach (ulong length in new[] { 100_000_001UL, (ulong)long.MaxValue, ulong.MaxValue })
        {
            var bytes = new byte[64];
            BinaryPrimitives.WriteUInt64LittleEndian(bytes, length);
            File.WriteAllBytes(FilePath, bytes);
            Assert.Contains("header would be", AssertRefused());
        }
    }

    [Fact]
    public void A_missing_file_a_missing_tensor_and_a_wrong_type_are_named()
    {
        Assert.Contains("there is no such file", AssertRefused());
        File.WriteAllBytes(FilePath, SmallFile());
        using SafeTensorsFile file = SafeTensors.Read(FilePath);
        Assert.Contains("no tensor 'y'", Assert.Throws<InputException>(() => file.ReadFloats("y")).Message);
        Assert.Contains("'i' is of type I32", Assert.Throws<InputException>(() => file.ReadFloats("i")).Message);
        Assert.Contains("'x' is of type F32", Assert.Throws<InputException>(() => file.ReadInts("x")).Message);
    }

    [Fact]
    public void The_writer_refuses_what_no_reader_could_read()
    {
        NamedTensor x = NamedTensor.Of("x", [1], new float[1]);
        Assert.Throws<ArgumentException>(() => NamedTensor.Of("x", [2, 2], new float[3]));
        Assert.Throws<ArgumentException>(() => SafeTensors.Write(FilePath, [x, x]));
        Assert.Throws<ArgumentException>(() => SafeTensors.Write(FilePath, [NamedTensor.Of("__metadata__", [1], new float[1])]));
        Assert.Throws<ArgumentException>(() => SafeTensors.Write(FilePath, [x], new Dictionary<string, string> { ["sha256"] = "" }));
        Assert.False(File.Exists(FilePath));
    }

    private byte[] SmallFile()
    {
        SafeTensors.Write(
            FilePath,
            [NamedTensor.Of("x", [2, 3], new float[] { 1, 2, 3, 4, 5, 6 }), NamedTensor.Of("i", [1], new[] { 1 << 30 })],
            new Dictionary<string, string> { ["note"] = "a" });
        return File.ReadAllBytes(FilePath);
    }

    private void WriteRaw(string header, byte[] data)
    {
        byte[] json = Encoding.UTF8.GetBytes(header);
        var length = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)json.Length);
        File.WriteAllBytes(FilePath, [.. length, .. json, .. data]);
    }

    private string AssertRefused()
    {
        string message = Assert.Throws<InputException>(() => SafeTensors.Read(FilePath).Dispose()).Message;
        Assert.StartsWith(FilePath, message);
        return message;
    }
}
