using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.EventLog;

namespace Bert4Rec.Tests.EventLog;

public sealed class AtomicFileWriterTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private static readonly string _cleaned = SmallLog.Text(
        "20.0,5,p1,c1,a b,acme,2.0,u1,s1",
        "30.0,5,p1,c1,a b,newer,3.5,u2,s1",
        "10.0,3,p2,c1,,\"x, y\",4.0,u1,s2",
        "10.0,5,p1,c1,a b,oldest,1.0,u1,s2",
        "30.0,5,p1,c2,a b,last,9.0,u1,s3");

    [Fact]
    public void Events_pairs_and_latest_items_in_the_order_of_their_first_event()
    {
        ConvertSummary summary = Convert(new ConvertOptions());

        Assert.Equal(
            "user_id:token\tproduct_id:token\tevent_time:float\tevent_type:float\n"
            + "u1\tp1\t20.0\t5\nu2\tp1\t30.0\t5\nu1\tp2\t10.0\t3\nu1\tp1\t10.0\t5\nu1\tp1\t30.0\t5\n",
            Text("inter"));
        Assert.Equal("user_id:token\tuser_session:token\nu1\ts1\nu2\ts1\nu1\ts2\nu1\ts3\n", Text("user"));
        Assert.Equal(
            "product_id:token\tcategory_id:token\tcategory_code:token_seq\tbrand:token\tprice:float\n"
            + "p1\tc2\ta b\tlast\t9.0\np2\tc1\t\tx, y\t4.0\n",
            Text("item"));
        Assert.Equal((5, 5, 2, 4, 2), (summary.RowsRead, summary.RowsKept, summary.Histories, summary.UserRows, summary.Items));
        Assert.Empty(summary.Dropped);
    }

    [Fact]
    public void Sessions_can_take_the_users_place()
    {
        ConvertSummary summary = Convert(new ConvertOptions { GroupBy = HistoryOwner.Session });

        Assert.Equal(["user_id:token", "s1", "s1", "s2", "s2", "s3"], Lines("inter").Select(line => line.Split('\t')[0]));
        Assert.Equal(["user_id:token\tuser_session:token", "s1\ts1", "s2\ts2", "s3\ts3"], Lines("user"));
        Assert.Equal(3, summary.Histories);
    }

    [Theory]
    [InlineData(2, int.MaxValue, "history too short", 1, "u1")]
    [InlineData(1, 3, "history too long", 4, "u2")]
    public void Histories_of_other_lengths_are_left_out(int min, int max, string reason, long dropped, string left)
    {
        ConvertSummary summary = Convert(new ConvertOptions { MinLength = min, MaxLength = max });

        Assert.Equal(new Dictionary<string, long> { [reason] = dropped }, summary.Dropped);
        Assert.Equal(5 - dropped, summary.RowsKept);
        Assert.All(Lines("inter").Skip(1), line => Assert.StartsWith(left, line));
        Assert.Equal(summary.RowsRead, summary.RowsKept + summary.Dropped.Values.Sum());
    }

    [Fact]
    public void The_same_input_gives_the_same_bytes_and_the_reader_takes_them()
    {
        string log = _folder.Write("raw.csv", SmallLog.Random(5, 2000));
        string cleaned = Path.Combine(_folder.Path, "clean.csv");
        EventLogCleaner.Clean([log], cleaned, new CleanOptions { Events = EventTypes.All });
        AtomicFileWriter.Convert(cleaned, _folder.Path, "a", new ConvertOptions { Threads = 1 });
        ConvertSummary summary = AtomicFileWriter.Convert(cleaned, _folder.Path, "b", new ConvertOptions { Threads = 3 });

        foreach (string suffix in new[] { "inter", "user", "item" })
        {
            string a = Path.Combine(_folder.Path, $"a.{suffix}");
            Assert.Equal(File.ReadAllBytes(a), File.ReadAllBytes(Path.Combine(_folder.Path, $"b.{suffix}")));
            using var reader = new AtomicFileReader(a);
            long rows = 0;
            for (; reader.Read(); rows++)
            {
                for (int column = 0; column < reader.Fields.Count; column++)
                    reader.Check(column);
            }
            Assert.Equal(suffix switch { "inter" => summary.RowsKept, "user" => summary.UserRows, _ => summary.Items }, rows);
        }
    }

    [Fact]
    public void What_is_no_cleaned_log_is_refused_with_its_line()
    {
        string raw = _folder.Write("raw.csv", SmallLog.Text(SmallLog.Row()));
        string tab = _folder.Write("tab.csv", SmallLog.Text("1.0,5,p,c,a,x\ty,1.0,u,s"));
        string mark = _folder.Write("mark.csv", SmallLog.Text("1.0,5,p,c,a,x,1.0,\uFEFFu,s"));
        string empty = _folder.Write("empty.csv", SmallLog.Text());

        Assert.Contains("raw.csv:2: event_time must be a number", Throws(raw));
        Assert.Contains("tab.csv:2: brand has a TAB", Throws(tab));
        Assert.Contains("mark.csv:2: user_id has a byte order mark (U+FEFF)", Throws(mark));
        Assert.Contains("empty.csv: no row is left of 0", Throws(empty));
        Assert.False(File.Exists(Path.Combine(_folder.Path, "x.inter")));
        Assert.Empty(Directory.GetFiles(_folder.Path, "*.tmp"));

        string Throws(string path) =>
            Assert.Throws<InputException>(() => AtomicFileWriter.Convert(path, _folder.Path, "x", new ConvertOptions())).Message;
    }

    private ConvertSummary Convert(ConvertOptions options) =>
        AtomicFileWriter.Convert(_folder.Write("cleaned.csv", _cleaned), _folder.Path, "shop", options);

    private string Text(string suffix) => File.ReadAllText(Path.Combine(_folder.Path, $"shop.{suffix}"));

    private string[] Lines(string suffix) => Text(suffix).Split('\n', StringSplitOptions.RemoveEmptyEntries);
}
