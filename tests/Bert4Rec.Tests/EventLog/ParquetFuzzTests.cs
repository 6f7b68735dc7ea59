using Bert4Rec.EventLog;
using ParquetSharp;

namespace Bert4Rec.Tests.EventLog;

/// <summary>Damaged files, whose pages have checksums: every one is refused by name, or gives the same rows.</summary>
public sealed class ParquetFuzzTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void A_damaged_file_gives_the_same_rows_or_is_refused_by_name()
    {
        var random = new Random(1);
        int refused = 0, cases = Fuzz.Cases / 10;
        string path = Path.Combine(_folder.Path, "a.parquet"), text = SmallLog.Random(3, 40);
        List<string> rows = SmallLog.ReadAll([_folder.Write("a.csv", text)]).Rows;
        byte[][] files =
        [
            .. new[] { Compression.Snappy, Compression.Zstd, Compression.Gzip, Compression.Uncompressed }.Select((codec, i) =>
            {
                ParquetFiles.Write(path, text, new("text", "text", "text", codec, GroupRows: 15, Dictionary: i % 2 == 0));
                return File.ReadAllBytes(path);
            }),
        ];
        for (int i = 0; i < cases; i++)
        {
            byte[] damaged = [.. files[i % files.Length]];
            for (int times = random.Next(1, 4); times > 0; times--)
            {
                int at = random.Next(damaged.Length);
                damaged = random.Next(4) switch
                {
                    0 => [.. damaged[..at], .. damaged[Math.Min(damaged.Length, at + random.Next(200))..]],
                    1 => [.. damaged[..at], .. new byte[random.Next(60)], .. damaged[at..]],
                    _ => [.. damaged[..at], (byte)random.Next(256), .. damaged[(at + 1)..]],
                };
            }
            File.WriteAllBytes(path, damaged);
            try
            {
                List<string> read = SmallLog.ReadAll([path]).Rows;
                Assert.Equal(rows, read);
            }
            catch (InputException e)
            {
                Assert.StartsWith(path, e.Message);
                Assert.DoesNotContain('\n', e.Message);
                refused++;
            }
        }
        Assert.InRange(refused, cases / 2, cases - 1);
    }
}
