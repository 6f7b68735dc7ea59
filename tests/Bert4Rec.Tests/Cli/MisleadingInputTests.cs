using System.Text;
using Bert4Rec.Tests.EventLog;

namespace Bert4Rec.Tests.Cli;

/// <summary>Files and names from which something would come that looks like a result.</summary>
public sealed class MisleadingInputTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("a.csv", "c.csv.gz", "c.csv.gz: the cleaned file is CSV or Parquet; give it a name that ends in .csv or .parquet")]
    [InlineData("a.csv", "c.tsv", "c.tsv: the cleaned file is CSV or Parquet")]
    [InlineData("a.csv", "a.csv/b.csv", "a.csv: a file, where a folder is to be; remove it, or give another --output")]
    [InlineData("a.csv", "a.csv/b/c.csv", "a.csv: a file, where a folder is to be")]
    [InlineData("a.csv", "folder", "folder: a folder, where a file is to be; give another --output")]
    [InlineData("none.csv", "c.csv", "none.csv: the log has a header and no rows")]
    [InlineData("views.csv", "c.csv", "views.csv: no event is left of 1 rows (other event type 1); event_log.events (--events)")]
    public void A_log_is_not_cleaned_into_nothing_or_into_what_it_is_not(string log, string output, string error)
    {
        _folder.Write("a.csv", SmallLog.Text(SmallLog.Row()));
        _folder.Write("none.csv", SmallLog.Text());
        _folder.Write("views.csv", SmallLog.Text(SmallLog.Row(type: "view")));
        Directory.CreateDirectory(Path.Combine(_folder.Path, "folder"));
        string[] before = Directory.GetFileSystemEntries(_folder.Path);

        AssertRefused(1, error, "clean", Path.Combine(_folder.Path, log), "--output", Path.Combine(_folder.Path, output));
        Assert.Equal(before.Order(), Directory.GetFileSystemEntries(_folder.Path).Order());
    }

    [Fact]
    public void A_folder_of_two_kinds_of_log_and_a_column_for_two_are_refused()
    {
        Directory.CreateDirectory(Path.Combine(_folder.Path, "log"));
        string path = _folder.Write("log/a.csv", SmallLog.Text(SmallLog.Row())), output = Path.Combine(_folder.Path, "c.csv");
        AssertRefused(
            2, "product_id and user_id are both to be read from the column product_id", "clean", path, "--columns", "user_id=product_id",
            "--output", output);

        _folder.Write("log/b.tsv", SmallLog.Text(SmallLog.Row()));
        AssertRefused(
            1, "has both .csv and .tsv files; name those that are the log", "clean", Path.Combine(_folder.Path, "log"), "--output", output);
    }

    [Fact]
    public void An_analysis_counts_what_is_no_text_as_cleaning_does()
    {
        string text = SmallLog.Text(SmallLog.Row(brand: "caf\xe9"), SmallLog.Row(), SmallLog.Row(user: "8"));
        string path = _folder.Write("a.csv", Encoding.Latin1.GetBytes(text));
        CommandLine.Outcome analysis = CommandLine.Run("analyze", path, "--max-bad-rows", "1");
        CommandLine.Outcome cleaning = CommandLine.Run("clean", path, "-o", Path.Combine(_folder.Path, "c.csv"), "--max-bad-rows", "1");

        Assert.Contains("a.csv:2: not UTF-8", analysis.Error);
        Assert.Equal(analysis.Complaints, cleaning.Complaints);
    }

    [Theory]
    [InlineData("1569888000.0,2,1,20,a b,acme,1.5,7", "the file ends in the middle of a line: it was cut off; clean the log again")]
    [InlineData("1e300,2,1,20,a b,acme,1.5,7,s1\n", "event_time '1e300' is no Unix time in seconds")]
    public void What_no_cleaning_left_is_not_converted(string row, string error)
    {
        string path = _folder.Write("c.csv", SmallLog.Text("1569888000.0,2,1,20,a b,acme,1.5,7,s1") + row);
        AssertRefused(1, error, "convert", path, "-o", Path.Combine(_folder.Path, "out"), "--name", "x", "--max-bad-rows", "0");
    }

    [Fact]
    public void A_least_length_needs_no_greatest_one()
    {
        string row = "1569888000.0,2,1,20,a b,acme,1.5,7,s1";
        string path = _folder.Write("c.csv", SmallLog.Text(row, row.Replace(",7,", ",8,"), row.Replace(",1,20", ",2,20")));

        CommandLine.Outcome outcome = CommandLine.Run(
            "convert", path, "-o", Path.Combine(_folder.Path, "out"), "--name", "x", "--min-length", "2");

        Assert.Equal(0, outcome.ExitCode);
        Assert.Contains("1 users, 2 items, 2 events", outcome.Out);
    }

    [Fact]
    public void A_shop_with_nobody_to_test_has_no_best_possible()
    {
        string output = Path.Combine(_folder.Path, "shop");
        CommandLine.Outcome outcome = CommandLine.Run(
            "synthesize", "-o", output, "--users", "100", "--items", "50", "--interactions", "100");

        Assert.Equal(0, outcome.ExitCode);
        Assert.Contains("no history is long enough", outcome.Out);
        Assert.Contains("\"expected\": null", File.ReadAllText(Path.Combine(output, "oracle.json")));
    }

    private static void AssertRefused(int exitCode, string error, params string[] args)
    {
        CommandLine.Outcome outcome = CommandLine.Run(args);

        Assert.Equal(exitCode, outcome.ExitCode);
        Assert.Contains(error, outcome.Error);
    }
}
