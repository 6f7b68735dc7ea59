using System.Security.Cryptography;
using System.Text;
using Bert4Rec.Configuration;
using Bert4Rec.EventLog;

namespace Bert4Rec.Tests.EventLog;

public sealed class EventLogCleanerTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [SkippableTheory]
    [InlineData(EventTypes.All, "all")]
    [InlineData(EventTypes.Purchase, "purchase")]
    public void Real_rows_give_the_experiments_bytes(Enum types, string name)
    {
        var events = (EventTypes)types;
        string? log = TestFiles.SharedData("2019-Oct-head.csv"), expected = TestFiles.SharedFixture($"2019-Oct-head.{name}.csv");
        Skip.If(log is null || expected is null, "the shop's log is not here: set BERT4REC_DATA and BERT4REC_FIXTURES");

        foreach (long memory in new[] { 1L << 27, 1L << 16 })
        {
            (string text, CleanSummary summary) = Clean([log], new CleanOptions { Events = events, SortMemory = memory });

            Assert.Equal(File.ReadAllText(expected), text);
            Assert.Equal(5019, summary.RowsRead);
            Assert.Equal(memory < 1L << 20 && events == EventTypes.All, summary.RunsOnDisk > 1);
        }
    }

    [Fact]
    public void Rows_are_cleaned_sorted_and_unique()
    {
        string log = SmallLog.Text(
            SmallLog.Row(session: "b", time: "2019-10-01 00:00:09 UTC", price: "100"),
            SmallLog.Row(session: "b", time: "2019-10-01 00:00:08 UTC", price: "33.20", user: "1"),
            SmallLog.Row(session: "a", category: "x.y.z", brand: "\"Q, \"\"R\"\"\""),
            SmallLog.Row(session: "b", time: "2019-10-01 00:00:08 UTC", type: "cart"),
            SmallLog.Row(session: "b", time: "2019-10-01 00:00:08 UTC", price: "33.2", user: "1"),
            SmallLog.Row(session: "B", time: "1969-12-31 23:59:59 UTC"),
            SmallLog.Row(brand: ""),
            SmallLog.Row(session: ""));

        (string text, CleanSummary summary) = Clean([_folder.Write("a.csv", log)], new CleanOptions { Events = EventTypes.All });

        Assert.Equal(
            SmallLog.Text(
                "-1.0,5,1,20,a b,acme,1.5,7,B",
                "1569888000.0,5,1,20,x y z,\"Q, \"\"R\"\"\",1.5,7,a",
                "1569888008.0,5,1,20,a b,acme,33.2,1,b",
                "1569888008.0,3,1,20,a b,acme,1.5,7,b",
                "1569888009.0,5,1,20,a b,acme,100.0,7,b"),
            text);
        Assert.Equal((8, 5), (summary.RowsRead, summary.RowsKept));
        Assert.Equal(
            new Dictionary<string, long> { ["no brand"] = 1, ["no user_session"] = 1, ["duplicate"] = 1 }, summary.Dropped);
        Assert.Equal(Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text))), summary.Sha256);
    }

    [Fact]
    public void Columns_that_may_be_empty_stay_empty_and_rows_without_a_session_come_last()
    {
        string log = SmallLog.Text(
            SmallLog.Row(session: "", brand: "NULL"), SmallLog.Row(session: "z", category: ""),
            SmallLog.Row(session: "", user: "9", brand: ""),
            SmallLog.Row(session: "", brand: ""), SmallLog.Row(price: "nan"));
        var keep = new HashSet<EventColumn> { EventColumn.Brand, EventColumn.CategoryCode, EventColumn.UserSession };

        (string text, CleanSummary summary) = Clean([_folder.Write("a.csv", log)], new CleanOptions { KeepNulls = keep });

        Assert.Equal(
            SmallLog.Text(
                "1569888000.0,5,1,20,,acme,1.5,7,z", "1569888000.0,5,1,20,a b,,1.5,7,", "1569888000.0,5,1,20,a b,,1.5,9,"),
            text);
        Assert.Equal(new Dictionary<string, long> { ["no price"] = 1, ["duplicate"] = 1 }, summary.Dropped);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Sorting_through_the_disk_gives_the_same_bytes_and_leaves_nothing_behind(int seed)
    {
        string log = _folder.Write("a.csv", SmallLog.Random(seed, 3000));
        _folder.Write("out.csv.run99.tmp", "left by a run that was killed");
        _folder.Write("out.csv.runners.tmp", "somebody's");

        (string inMemory, CleanSummary summary) = Clean([log], new CleanOptions { Events = EventTypes.All });
        (string onDisk, CleanSummary throughDisk) = Clean([log], new CleanOptions { Events = EventTypes.All, SortMemory = 4096 });

        Assert.Equal(0, summary.RunsOnDisk);
        Assert.True(throughDisk.RunsOnDisk > 10, $"{throughDisk.RunsOnDisk} runs");
        Assert.Equal(inMemory, onDisk);
        Assert.Equal(summary.Dropped, throughDisk.Dropped);
        Assert.Equal(
            ["a.csv", "out.csv", "out.csv.runners.tmp"], Directory.GetFiles(_folder.Path).Select(Path.GetFileName).Order());
    }

    [Theory]
    [InlineData(EventTypes.All)]
    [InlineData(EventTypes.Purchase)]
    [InlineData(EventTypes.Cart | EventTypes.Purchase)]
    public void The_result_is_that_of_the_plain_steps(Enum types)
    {
        var events = (EventTypes)types;
        string text = SmallLog.Random(seed: 3, rows: 2000);
        string[][] rows = [.. text.Split('\n', StringSplitOptions.RemoveEmptyEntries).Skip(1).Select(line => line.Split(','))];
        string[] codes = ["1", "2", "3", "5"];
        string[] expected =
        [
            .. rows.Where(row => row.All(value => value.Length > 0))
                .Select(row => (Session: row[8], Line: string.Join(
                    ',',
                    $"{new DateTimeOffset(DateTime.Parse(row[0][..19]), TimeSpan.Zero).ToUnixTimeSeconds()}.0",
                    codes[EventTypeNames.Names.ToList().IndexOf(row[1])],
                    row[2],
                    row[3],
                    row[4].Replace('.', ' '),
                    row[5],
                    row[6].TrimEnd('0') + (row[6].EndsWith(".00", StringComparison.Ordinal) ? "0" : ""),
                    row[7],
                    row[8])))
                .OrderBy(row => row.Session, StringComparer.Ordinal).ThenBy(row => row.Line[..12], StringComparer.Ordinal)
                .Select(row => row.Line).Distinct()
                .Where(line => ((int)events & (1 << Array.IndexOf(codes, line.Split(',')[1]))) != 0),
        ];

        (string cleaned, CleanSummary summary) = Clean([_folder.Write("a.csv", text)], new CleanOptions { Events = events });

        Assert.Equal(SmallLog.Text(expected), cleaned);
        Assert.Equal(summary.RowsRead, summary.RowsKept + summary.Dropped.Values.Sum());
    }

    [Theory]
    [InlineData("event_time", "2019-13-01 00:00:00 UTC", "event_time must look like 2019-10-01 00:00:00 UTC, not '2019-13-")]
    [InlineData("event_time", "2019-02-29 00:00:00 UTC", "event_time must look like")]
    [InlineData("event_time", "yesterday", "event_time must look like")]
    [InlineData("event_type", "wish", "event_type must be one of view, remove_from_cart, cart, purchase, not 'wish'")]
    [InlineData("price", "1,5", "10 values where the header has 9 columns")]
    [InlineData("price", "cheap", "price must be a number, not 'cheap'")]
    [InlineData("price", "inf", "price must be a number, not 'inf'")]
    public void Values_that_mean_nothing_are_unreadable(string column, string value, string reason)
    {
        string[] values = SmallLog.Row().Split(',');
        values[SmallLog.Header.Split(',').ToList().IndexOf(column)] = value;
        string log = _folder.Write("a.csv", SmallLog.Text(SmallLog.Row(), string.Join(',', values)));

        CleanSummary summary = Clean([log], new CleanOptions { MaxBadRows = 1 }).Summary;

        Assert.StartsWith(reason, summary.Read.Examples.Single().Reason);
        Assert.Equal(3, summary.Read.Examples.Single().Line);
        Assert.Equal(new Dictionary<string, long> { ["unreadable"] = 1 }, summary.Dropped);
    }

    [Theory]
    [InlineData("33.20", "33.2")]
    [InlineData("100", "100.0")]
    [InlineData("0", "0.0")]
    [InlineData("0.00", "0.0")]
    [InlineData("0.50", "0.5")]
    [InlineData("1541.61", "1541.61")]
    [InlineData("007", "7.0")]
    [InlineData("+5", "5.0")]
    [InlineData(".5", "0.5")]
    [InlineData("5.", "5.0")]
    [InlineData("-2.50", "-2.5")]
    [InlineData("0.0001", "0.0001")]
    [InlineData("0.00001", "1e-05")]
    [InlineData("1e15", "1000000000000000.0")]
    [InlineData("1234567890123456.7", "1234567890123456.8")]
    [InlineData("1e16", "1e+16")]
    [InlineData("1.5e300", "1.5e+300")]
    [InlineData("0.1000000000000000055511151231257827", "0.1")]
    public void A_price_is_the_shortest_text_of_its_double(string text, string expected)
    {
        byte[] buffer = new byte[64];

        int written = EventValues.WriteShortest(Encoding.UTF8.GetBytes(text), buffer);

        Assert.Equal(expected, Encoding.UTF8.GetString(buffer, 0, written));
    }

    [Fact]
    public void An_output_that_is_an_input_or_lies_nowhere_changes_nothing()
    {
        string log = _folder.Write("a.csv", SmallLog.Text(SmallLog.Row()));

        Assert.Contains("the output is one of the inputs", Assert.Throws<InputException>(
            () => EventLogCleaner.Clean([_folder.Path], log, new CleanOptions())).Message);
        string output = _folder.Write("out.csv", "old");
        string bad = _folder.Write("bad.csv", SmallLog.Text("x"));
        Assert.Throws<InputException>(() => EventLogCleaner.Clean([bad], output, new CleanOptions()));
        Assert.Equal("old", File.ReadAllText(output));
        Assert.Equal(["a.csv", "bad.csv", "out.csv"], Directory.GetFiles(_folder.Path).Select(Path.GetFileName).Order());
    }

    private (string Text, CleanSummary Summary) Clean(IReadOnlyList<string> inputs, CleanOptions options)
    {
        string output = Path.Combine(_folder.Path, "out.csv");
        CleanSummary summary = EventLogCleaner.Clean(inputs, output, options);
        return (File.ReadAllText(output), summary);
    }
}
