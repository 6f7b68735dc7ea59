using System.Globalization;
using System.IO.Compression;
using System.Text;
using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Serialization;

namespace Bert4Rec.Tests.Data;

/// <summary>The reader of blocks against the one that goes row by row.</summary>
public sealed class PlainRowsTests : IDisposable
{
    private static readonly ColumnUse[] s_columns = [ColumnUse.User, ColumnUse.Item, ColumnUse.Time, ColumnUse.Number, ColumnUse.Ignored];

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(1, "\n", false)]
    [InlineData(2, "\r\n", false)]
    [InlineData(3, "\n", true)]
    public void Blocks_give_the_same_ids_and_order_as_rows(int seed, string newLine, bool gzip)
    {
        var random = new Random(seed);
        for (int file = 0; file < 8; file++)
        {
            byte[] content = Encoding.UTF8.GetBytes(Rows(random, 1 << random.Next(12)).Replace("\n", newLine, StringComparison.Ordinal));
            string path = _folder.Write(gzip ? "a.inter.gz" : "a.inter", gzip ? Gzip(content) : content);

            PlainRows read = PlainRows.TryRead(path, '\t', s_columns, null, blockLength: 1 << random.Next(9, 16))!;

            string[] expected = [.. Encoding.UTF8.GetString(content).Split(newLine).Skip(1).Where(line => line.Length > 0)];
            Assert.Equal(expected.Length, read.Events.Count);
            int row = 0;
            foreach (var piece in read.Events.Pieces)
            {
                for (int i = 0; i < piece.Count; i++, row++)
                {
                    string[] values = expected[row].Split('\t');
                    Assert.Equal(values[0], read.Users[piece.Users[i]]);
                    Assert.Equal(values[1], read.Items[piece.Items[i]]);
                    Assert.Equal(double.Parse(values[2], CultureInfo.InvariantCulture), piece.Time(i));
                }
            }
            AssertSame(content, DatasetLoader.Load(RunConfig.Load([], [$"data_path={_folder.Path}", "dataset=a"])));
            File.Delete(path);
        }
    }

    [Theory]
    [InlineData("u\ta\t1\t2\n")]
    [InlineData("u\ta\t1\t2\tx\ty\n")]
    [InlineData("\ta\t1\t2\tx\n")]
    [InlineData("u\t\t1\t2\tx\n")]
    [InlineData("u\ta\tnoon\t2\tx\n")]
    [InlineData("u\ta\t1\t\tx\n")]
    [InlineData("u\ta\t1\tinfinity\tx\n")]
    [InlineData("u\ta\uFEFF\t1\t2\tx\n")]
    [InlineData("u\ta\t1\t2\tx\ru\ta\t1\t2\tx\n")]
    [InlineData("u\ta\t1\t2")]
    [InlineData("u\ta\t1\t2\tx\r")]
    [InlineData("")]
    public void What_is_in_doubt_is_left_to_the_other_reader(string rows)
    {
        const string Whole = "v\tb\t1\t2\tx\n";
        string header = "user_id:token\titem_id:token\ttimestamp:float\tn:float\tw:token_seq\n";
        string behindOthers = rows.Length > 0 ? string.Concat(Enumerable.Repeat(Whole, 2000)) + rows : "\n\n";
        foreach (string text in new[] { header + rows, header + behindOthers })
            Assert.Null(PlainRows.TryRead(_folder.Write("a.inter", text), '\t', s_columns, null));
        Assert.NotNull(PlainRows.TryRead(_folder.Write("a.inter", header + Whole), '\t', s_columns, null));
        Assert.Null(PlainRows.TryRead(_folder.Write("a.inter", "\n" + header + Whole), '\t', s_columns, null));
        byte[] notUtf8 = [.. Encoding.UTF8.GetBytes(header + "u\t"), 0xFF, .. "\t1\t2\tx\n"u8];
        Assert.Null(PlainRows.TryRead(_folder.Write("a.inter", notUtf8), '\t', s_columns, null));
        Assert.Null(PlainRows.TryRead(Path.Combine(_folder.Path, "none"), '\t', s_columns, null));
    }

    [Fact]
    public void Numbers_are_those_of_double_Parse()
    {
        var random = new Random(8);
        string[] odd =
        [
            "", "-", ".", "-.", "5.", ".5", "-.5", "-0", "0.0", "1e5", " 1", "1 ", "+1", "1.2.3", "--1", "1-", "NaN", "Infinity", "1e999",
            "0x1", "1,5", "123456789012345", "1234567890123456", "0.000000000000001", "0.0000000000000001", "9007199254740993", "1_0",
        ];
        for (int i = 0; i < 20_000; i++)
        {
            string text = i < odd.Length ? odd[i] : (i % 3) switch
            {
                0 => $"{random.NextInt64(-(1L << random.Next(63)), 1L << random.Next(63))}",
                1 => $"{random.NextInt64(1L << random.Next(50))}.{random.NextInt64(1L << random.Next(40)):D8}",
                _ => (random.NextDouble() * Math.Pow(10, random.Next(-20, 20))).ToString("R", CultureInfo.InvariantCulture),
            };
            bool isNumber = double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double expected)
                && double.IsFinite(expected);
            Assert.Equal(isNumber, PlainRows.TryNumber(Encoding.UTF8.GetBytes(text), out double number));
            if (isNumber)
                Assert.Equal(BitConverter.DoubleToInt64Bits(expected), BitConverter.DoubleToInt64Bits(number));
        }
    }

    [Theory]
    [InlineData(1.5e9, 1)]
    [InlineData(-3e4, 7)]
    [InlineData(1.5e12, 86_400_000)]
    [InlineData(0.125, 0.001)]
    [InlineData(1e300, 1e290)]
    [InlineData(-4e15, 0.5)]
    public void Times_are_kept_exactly(double first, double step)
    {
        double[] times = [.. Enumerable.Range(0, 100).Select(i => first + (i * 37 % 100 * step))];
        var piece = new InteractionPiece(times);
        Assert.Equal(times, Enumerable.Range(0, piece.Count).Select(piece.Time));
    }

    /// <summary>That the dataset is the one which the reader of rows makes of the content.</summary>
    internal static void AssertSame(byte[] interactions, InteractionDataset dataset, byte[]? items = null)
    {
        var config = RunConfig.Load([], []);
        var byRow = DatasetLoader.LoadFrom(
            suffix => suffix switch
            {
                "inter" => Open(interactions),
                "item" when items is not null => Open(items),
                _ => null,
            },
            config);
        Assert.Equal(byRow.Checksum(), dataset.Checksum());

        static AtomicFileReader Open(byte[] content) => new(new InputFile("events", new MemoryStream(content)), '\t', ' ');
    }

    private static string Rows(Random random, int rows)
    {
        var text = new StringBuilder("user_id:token\titem_id:token\ttimestamp:float\tn:float\tw:token_seq\n");
        for (int row = 0; row < rows; row++)
        {
            string user = random.Next(50) == 0 ? new string('ü', random.Next(1, 3000)) : $"u{random.Next(rows)}";
            string time = random.Next(20) == 0 ? $"{random.Next(1000)}.{random.Next(1000)}" : $"{1_569_888_000L + random.Next(100_000)}";
            text.Append(CultureInfo.InvariantCulture, $"{user}\tp{random.Next(1 + (rows / 4))}\t{time}\t{random.Next(9)}\tb ä c\n");
            if (random.Next(30) == 0)
                text.Append('\n');
        }
        if (random.Next(2) == 0)
            text.Length--;
        return text.ToString();
    }

    private static byte[] Gzip(byte[] content)
    {
        var output = new MemoryStream();
        using (var gzip = new GZipStream(output, CompressionLevel.Fastest))
            gzip.Write(content);
        return output.ToArray();
    }
}
