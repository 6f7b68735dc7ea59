using System.IO.Compression;
using System.Text;
using Bert4Rec.Data;
using Bert4Rec.Serialization;
using Bert4Rec.Tests.EventLog;

namespace Bert4Rec.Tests.Serialization;

/// <summary>A gzip file that is not whole is refused by every reader, wherever it was cut or damaged.</summary>
public sealed class GzipInputTests : IDisposable
{
    private const int TrailerLength = 8;
    private const string Damaged = "the file is damaged; fetch or compress it again";

    private static readonly byte[] s_first = SmallLog.Gzip(Interactions(0, 60)), s_second = SmallLog.Gzip(Rows(60, 20));

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void An_atomic_file_cut_at_any_byte_is_refused()
    {
        byte[] whole = [.. s_first, .. s_second];
        for (int length = 0; length < whole.Length; length++)
        {
            string path = _folder.Write("d.inter.gz", whole[..length]);
            if (length == s_first.Length)
                Assert.Equal(60, RowsOf(path));
            else
                Assert.StartsWith(path, Assert.Throws<InputException>(() => RowsOf(path)).Message);
        }
        Assert.Equal(80, RowsOf(_folder.Write("d.inter.gz", whole)));
    }

    [Fact]
    public void An_event_log_cut_at_any_byte_is_refused()
    {
        byte[] first = SmallLog.Gzip(SmallLog.Random(1, 20)), whole = [.. first, .. SmallLog.Gzip(SmallLog.Row() + "\n")];
        for (int length = 0; length < whole.Length; length++)
        {
            string path = _folder.Write("a.csv.gz", whole[..length]);
            if (length == first.Length)
                Assert.Equal(20, SmallLog.ReadAll([path]).Summary.Rows);
            else
                Assert.StartsWith(path, Assert.Throws<InputException>(() => SmallLog.ReadAll([path])).Message);
        }
        Assert.Equal(21, SmallLog.ReadAll([_folder.Write("a.csv.gz", whole)]).Summary.Rows);
    }

    /// <summary>Larger than any buffer on the way, cut around every place where one may end.</summary>
    [Fact]
    public void A_file_of_many_buffers_cut_anywhere_is_refused()
    {
        byte[] whole = [.. SmallLog.Gzip(Interactions(0, 20_000)), .. SmallLog.Gzip(Rows(20_000, 20_000))];
        Assert.Equal(40_000, RowsOf(_folder.Write("d.inter.gz", whole)));
        var random = new Random(1);
        IEnumerable<int> lengths = Enumerable.Range(1, whole.Length / 4096).SelectMany(block => Enumerable.Range((block * 4096) - 1, 3))
            .Concat(Enumerable.Range(0, 50).Select(_ => random.Next(whole.Length)))
            .Where(length => length < whole.Length);
        Assert.All(lengths, length =>
        {
            string path = _folder.Write("d.inter.gz", whole[..length]);
            Assert.Contains(Damaged, Assert.Throws<InputException>(() => RowsOf(path)).Message);
        });
    }

    [Fact]
    public void A_flip_in_a_trailer_is_refused()
    {
        byte[] whole = [.. s_first, .. s_second];
        foreach (int end in new[] { s_first.Length, whole.Length })
        {
            for (int at = end - TrailerLength; at < end; at++)
            {
                for (int bit = 0; bit < 8; bit++)
                {
                    byte[] altered = [.. whole];
                    altered[at] ^= (byte)(1 << bit);
                    string path = _folder.Write("d.inter.gz", altered);
                    string message = Assert.Throws<InputException>(() => RowsOf(path)).Message;
                    Assert.StartsWith($"{path}: the gzip data", message);
                    Assert.EndsWith(Damaged, message);
                }
            }
        }
    }

    /// <summary>A second member whose first bytes are damaged would be taken for no member, and its rows left out.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    public void A_member_that_does_not_begin_as_one_is_refused(int at)
    {
        byte[] altered = [.. s_first, .. s_second];
        altered[s_first.Length + at] ^= 1;
        string path = _folder.Write("d.inter.gz", altered);
        Assert.Contains(Damaged, Assert.Throws<InputException>(() => RowsOf(path)).Message);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(5000)]
    [InlineData(100_000)]
    public void Zeros_may_follow_and_nothing_else(int count)
    {
        byte[] zeros = new byte[count];
        Assert.Equal(60, RowsOf(_folder.Write("d.inter.gz", [.. s_first, .. zeros])));
        byte[] letters = [.. Enumerable.Repeat((byte)'x', count)];
        foreach (byte[] rest in new byte[][] { [.. zeros, 1], [1, .. zeros], [.. zeros, .. s_second], letters })
        {
            string path = _folder.Write("d.inter.gz", [.. s_first, .. rest]);
            string message = Assert.Throws<InputException>(() => RowsOf(path)).Message;
            Assert.Equal($"{path}: what follows the gzip data is not gzip: {Damaged}", message);
        }
    }

    [Fact]
    public void Members_of_nothing_and_optional_header_fields_are_read()
    {
        // RFC 1952: FEXTRA and FNAME.
        byte[] named = [.. s_first[..3], 0b1100, .. s_first[4..10], 2, 0, .. "xx"u8, .. "name\0"u8, .. s_first[10..]];
        byte[] nothing = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        Assert.Equal(80, RowsOf(_folder.Write("d.inter.gz", [.. nothing, .. named, .. nothing, .. s_second, .. nothing])));
    }

    [Fact]
    public void A_file_is_unpacked_as_it_was_in_pieces_of_any_size()
    {
        byte[] content = Encoding.UTF8.GetBytes(Interactions(0, 3000));
        using var packed = new MemoryStream();
        foreach (byte[] part in content.Chunk(7001))
        {
            using var gzip = new GZipStream(packed, CompressionLevel.SmallestSize, leaveOpen: true);
            gzip.Write(part);
        }
        string path = _folder.Write("d.inter.gz", packed.ToArray());
        foreach (int size in new[] { 1, 13, 4096, 1 << 20 })
        {
            using var file = new InputFile(path);
            var read = new List<byte>();
            byte[] buffer = new byte[size];
            while (file.Content.Read(buffer) is > 0 and int count)
                read.AddRange(buffer[..count]);
            Assert.Equal(content, read);
        }
    }

    private static string Interactions(int first, int count) => "user_id:token\titem_id:token\ttimestamp:float\n" + Rows(first, count);

    private static string Rows(int first, int count) =>
        string.Concat(Enumerable.Range(first, count).Select(i => $"user{i * 7919 % 1000}\titem{i * 31 % 977}\t{i}\n"));

    private static long RowsOf(string path)
    {
        using var reader = new AtomicFileReader(path);
        while (reader.Read())
        {
        }
        return reader.Rows;
    }
}
