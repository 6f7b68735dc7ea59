using Bert4Rec.Configuration;
using Bert4Rec.EventLog;

namespace Bert4Rec.Tests.EventLog;

public sealed class EventLogReaderTests : IDisposable
{
    private const string Expected = "2019-10-01 00:00:00 UTC|purchase|1|20|a.b|acme|1.50|7|s1";

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("\n", false)]
    [InlineData("\r\n", false)]
    [InlineData("\n", true)]
    public void Line_ends_byte_order_marks_empty_lines_and_a_missing_last_line_break_do_not_matter(string lineEnd, bool mark)
    {
        string text = string.Join(lineEnd, (mark ? "\uFEFF" : "") + SmallLog.Header, SmallLog.Row(), "", SmallLog.Row(user: "8"));

        (List<string> rows, ReadSummary summary) = SmallLog.ReadAll([_folder.Write("a.csv", text)]);

        Assert.Equal([Expected, Expected.Replace("|7|", "|8|")], rows);
        Assert.Equal((2, 0), (summary.Rows, summary.BadRows));
    }

    [Fact]
    public void Columns_come_in_any_order_and_others_are_passed_over()
    {
        string path = _folder.Write(
            "a.csv",
            "note,user_session,user_id,price,brand,category_code,category_id,product_id,event_type,more,event_time\n"
            + "x,s1,7,1.50,acme,a.b,20,1,purchase,y,2019-10-01 00:00:00 UTC\n");

        Assert.Equal([Expected], SmallLog.ReadAll([path]).Rows);
    }

    [Fact]
    public void Quoted_values_lose_their_quotes()
    {
        string path = _folder.Write("a.csv", SmallLog.Text(SmallLog.Row(brand: "\"a, \"\"b\"\"\""), SmallLog.Row(brand: "22\" wide")));

        Assert.Equal([Expected.Replace("acme", "a, \"b\""), Expected.Replace("acme", "22\" wide")], SmallLog.ReadAll([path]).Rows);
    }

    [Fact]
    public void Folders_packed_files_and_several_files_are_one_log_in_their_order()
    {
        _folder.Write("b.csv.gz", SmallLog.Gzip(SmallLog.Text(SmallLog.Row(user: "2"))));
        _folder.Write("a.csv", SmallLog.Text(SmallLog.Row(user: "1")));
        _folder.Write("notes.txt", "no log");
        using var other = new TemporaryFolder();
        string first = other.Write("z.csv", SmallLog.Text(SmallLog.Row(user: "0")));

        (List<string> rows, ReadSummary summary) = SmallLog.ReadAll([first, _folder.Path]);

        Assert.Equal(["0", "1", "2"], rows.Select(row => row.Split('|')[7]));
        Assert.Equal(3, summary.Rows);
    }

    [Fact]
    public void Unreadable_rows_are_counted_and_the_first_ten_named_with_line_and_reason()
    {
        string[] rows =
        [
            SmallLog.Row(), "too,few", SmallLog.Row() + ",1", SmallLog.Row(brand: "\"open"), SmallLog.Row(brand: "\"ac\"me"),
            .. Enumerable.Repeat("x", 8), SmallLog.Row(),
        ];

        (List<string> read, ReadSummary summary) = SmallLog.ReadAll([_folder.Write("a.csv", SmallLog.Text(rows))]);

        Assert.Equal(2, read.Count);
        Assert.Equal((14, 12, 0), (summary.Rows, summary.BadRows, summary.CutRows));
        Assert.Equal(Enumerable.Range(3, 10).Select(line => (long)line), summary.Examples.Select(row => row.Line));
        Assert.Equal("2 values where the header has 9 columns", summary.Examples[0].Reason);
        Assert.Equal("10 values where the header has 9 columns", summary.Examples[1].Reason);
        Assert.Contains("a quote is not closed", summary.Examples[2].Reason);
        Assert.Contains("goes on after its closing quote", summary.Examples[3].Reason);
    }

    [Fact]
    public void More_unreadable_rows_than_allowed_are_an_error_that_names_the_first()
    {
        string path = _folder.Write("a.csv", SmallLog.Text([.. Enumerable.Repeat(SmallLog.Row(), 98), "x", "y"]));

        Assert.Equal(2, SmallLog.ReadAll([path], maxBadRows: 0.02).Summary.BadRows);
        InputException error = Assert.Throws<InputException>(() => SmallLog.ReadAll([path], maxBadRows: 0.019));
        Assert.Equal(
            $"{path}:100: 1 value where the header has 9 columns; 2 of 100 rows (2%) cannot be read, more than "
            + "the 1.9% of --max-bad-rows (event_log.max_bad_rows in a config)",
            error.Message);
    }

    [Fact]
    public void A_last_line_that_was_cut_is_counted_and_never_an_error()
    {
        string path = _folder.Write("a.csv", SmallLog.Text(SmallLog.Row()) + SmallLog.Row()[..40]);

        (List<string> rows, ReadSummary summary) = SmallLog.ReadAll([path], maxBadRows: 0);

        Assert.Single(rows);
        Assert.Equal((2, 1, 1), (summary.Rows, summary.BadRows, summary.CutRows));
        Assert.Equal(3, summary.Examples[0].Line);
        Assert.Contains("the file ends in the middle of this line", summary.Examples[0].Reason);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void Order_and_line_numbers_hold_across_blocks(int threads)
    {
        int rows = 5 * EventLogReader.BlockSize / SmallLog.Row().Length;
        string[] lines = [.. Enumerable.Range(0, rows).Select(i => SmallLog.Row(user: $"{i}"))];
        lines[rows - 5] = "bad";
        lines[rows / 2] = "bad";

        (List<string> read, ReadSummary summary) = SmallLog.ReadAll([_folder.Write("a.csv", SmallLog.Text(lines))], threads: threads);

        Assert.Equal(rows, summary.Rows);
        Assert.Equal([(rows / 2) + 2L, rows - 3L], summary.Examples.Select(row => row.Line));
        Assert.Equal(lines.Where(line => line != "bad").Select(line => line.Split(',')[7]), read.Select(row => row.Split('|')[7]));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    public void A_line_longer_than_a_block_is_one_unreadable_row(int rowsBefore)
    {
        string longRow = SmallLog.Row(brand: new string('x', (5 * EventLogReader.BlockSize / 2) + 17));
        string[] rows = [.. Enumerable.Repeat(SmallLog.Row(), rowsBefore), longRow, SmallLog.Row(user: "8"), "bad"];

        (List<string> read, ReadSummary summary) = SmallLog.ReadAll([_folder.Write("a.csv", SmallLog.Text(rows))]);

        Assert.Equal(rowsBefore + 1, read.Count);
        Assert.Equal((rowsBefore + 3, 2), (summary.Rows, summary.BadRows));
        Assert.Equal([rowsBefore + 2L, rowsBefore + 4L], summary.Examples.Select(row => row.Line));
        Assert.Equal("the line is longer than 1 MB", summary.Examples[0].Reason);
    }

    [Theory]
    [InlineData("", "a.csv:1: the file is empty")]
    [InlineData("a,b\n1,2\n", "lacks any of its columns; the first line must name the columns event_time,event_type")]
    [InlineData("event_time,event_type,product_id,category_id,category_code,brand,price,user_id\n", "lacks user_session")]
    [InlineData(SmallLog.Header + ",price\n", "names the column price twice")]
    public void A_file_that_is_no_event_log_is_told_by_its_first_line(string text, string expected)
    {
        InputException error = Assert.Throws<InputException>(() => SmallLog.ReadAll([_folder.Write("a.csv", text)]));

        Assert.Contains(expected, error.Message);
        Assert.Contains("a.csv:1: ", error.Message);
    }

    [Fact]
    public void What_is_not_there_is_named()
    {
        Assert.Contains("there is no such file or folder", Throws([Path.Combine(_folder.Path, "no.csv")]));
        Assert.Contains("no .csv, .csv.gz, .tsv, .tsv.gz or .parquet file", Throws([_folder.Path]));
        string path = _folder.Write("a.csv", SmallLog.Text(SmallLog.Row()));
        Assert.Contains("given twice", Throws([path, _folder.Path]));
        byte[] packed = SmallLog.Gzip(SmallLog.Random(1, 5000));
        packed[packed.Length / 2] ^= 0x55;
        Assert.Contains("b.csv.gz:", Throws([_folder.Write("b.csv.gz", packed)]));

        static string Throws(string[] inputs) => Assert.Throws<InputException>(() => SmallLog.ReadAll(inputs, 0)).Message;
    }

    [Fact]
    public void Cancelling_stops_the_reading()
    {
        string path = _folder.Write("a.csv", SmallLog.Random(1, 50_000));
        using var source = new CancellationTokenSource();

        Assert.ThrowsAny<OperationCanceledException>(() => EventLogReader.Read(
            [path], new ReadOptions(), () => new Block(_ => null), _ => source.Cancel(), cancellationToken: source.Token));
    }

    [Fact]
    public void What_a_thread_throws_comes_out()
    {
        string path = _folder.Write("a.csv", SmallLog.Random(1, 50_000));

        Assert.Throws<InvalidOperationException>(() => EventLogReader.Read(
            [path], new ReadOptions(), () => new Block(_ => throw new InvalidOperationException()), _ => { }));
    }

    private sealed class Block(Func<EventRow, string?> add) : IRowBlock
    {
        public string? Add(EventRow row) => add(row);

        public void Clear()
        {
        }
    }
}
