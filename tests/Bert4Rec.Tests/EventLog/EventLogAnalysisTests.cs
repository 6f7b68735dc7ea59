using System.Text.Json;
using System.Xml.Linq;
using Bert4Rec.EventLog;
using Bert4Rec.Tests.Cli;

namespace Bert4Rec.Tests.EventLog;

public sealed class EventLogAnalysisTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [SkippableFact]
    public void Real_rows_give_every_figure_of_the_experiment()
    {
        string? log = TestFiles.SharedData("2019-Oct-head.csv"), expected = TestFiles.SharedFixture("2019-Oct-head.expected.json");
        Skip.If(log is null || expected is null, "the shop's log is not here: set BERT4REC_DATA and BERT4REC_FIXTURES");

        CommandLine.Outcome outcome = CommandLine.Run("analyze", log, "--json");

        Assert.Equal(0, outcome.ExitCode);
        using var wanted = JsonDocument.Parse(File.ReadAllText(expected));
        using var found = JsonDocument.Parse(outcome.Out);
        AssertSame("", wanted.RootElement, found.RootElement);
    }

    [Fact]
    public void Rows_are_the_same_however_they_are_written()
    {
        string log = _folder.Write("a.csv", SmallLog.Text(
            SmallLog.Row(time: "2019-10-01 00:01:00 UTC", category: "a.b", price: "1"),
            SmallLog.Row(time: "2019-10-01 00:01:00", category: "a b", price: "1.0")));
        LogAnalysis analysis = EventLogAnalysis.Analyze([log], new AnalyzeOptions());
        Assert.Equal((1, 1), (analysis.DuplicatedRows, analysis.Purchases));
    }

    [Fact]
    public void Absurd_prices_have_a_mean()
    {
        string log = _folder.Write("a.csv", SmallLog.Text(
            SmallLog.Row(price: "1e308"), SmallLog.Row(price: "1e308", user: "8"), SmallLog.Row(price: "4e307", user: "9")));
        NumberSummary price = EventLogAnalysis.Analyze([log], new AnalyzeOptions()).Price!;
        Assert.Equal(8, price.Mean / 1e307, 1e-9);
        Assert.Equal(Math.Sqrt(12), price.Std / 1e307, 1e-9);
        Assert.Equal(1e308, price.Max);
    }

    [Fact]
    public void Figures_of_a_small_log()
    {
        string log = _folder.Write("a.csv", SmallLog.Text(
            SmallLog.Row(product: "1", user: "1", price: "1.0"),
            SmallLog.Row(product: "1", user: "1", price: "1.00"),
            SmallLog.Row(product: "2", user: "1", time: "2019-10-02 05:00:00 UTC", price: "3"),
            SmallLog.Row(product: "1", user: "2", time: "2019-10-02 05:30:00 UTC", price: "4"),
            SmallLog.Row(product: "2", user: "2", time: "2019-10-03 00:00:00 UTC", price: ""),
            SmallLog.Row(product: "3", user: "x", type: "view", brand: "", price: "1")));

        LogAnalysis analysis = EventLogAnalysis.Analyze([log], new AnalyzeOptions());

        Assert.Equal((6, 1, 4, 3, 3), (
            analysis.RawRows, analysis.DuplicatedRows, analysis.RowsWithoutNulls, analysis.RowsWithoutDuplicates, analysis.Purchases));
        Assert.Equal((3L, 3L), (analysis.Unique["product_id"], analysis.Unique["user_id"]));
        Assert.Equal((1L, 1L), (analysis.Nulls["price"], analysis.Nulls["brand"]));
        Assert.Equal(new NumberSummary(5, 2, Math.Sqrt(2), 1, 1, 1, 3, 4), analysis.Price);
        Assert.Equal(new Dictionary<string, long> { ["0"] = 4, ["5"] = 2 }, analysis.RowsByHour);
        Assert.Equal(new Dictionary<string, long> { ["2019-10-01"] = 3, ["2019-10-02"] = 2, ["2019-10-03"] = 1 }, analysis.RowsByDay);
        Assert.Equal(3, analysis.AverageByWeekday["Tuesday"]);
        Assert.Equal(new Dictionary<int, long> { [2] = 1, [3] = 1 }, analysis.HistoryLengths);
        Assert.Equal(0.2, analysis.RepeatPurchaseShare);
        Assert.Equal(new Dictionary<int, long> { [1] = 3, [2] = 2 }, analysis.ItemPopularity);
        Assert.Equal(new CoreSize(2, 2, 2, 5), analysis.Cores[0]);
        Assert.Equal(new CoreSize(3, 0, 0, 0), analysis.Cores[1]);
        Assert.Equal(("integer", "text"), (analysis.Types["product_id"], analysis.Types["user_id"]));
        Assert.Empty(analysis.Approximate);
    }

    [Fact]
    public void Beyond_the_limits_figures_are_estimates_and_say_so()
    {
        var random = new Random(1);
        string[] rows =
            [.. Enumerable.Range(0, 20_000).Select(i => SmallLog.Row(user: $"{i % 10_000}", price: $"{random.Next(1, 100_000)}"))];
        string log = _folder.Write("a.csv", SmallLog.Text([.. rows, .. rows[..5000]]));

        LogAnalysis exact = EventLogAnalysis.Analyze([log], new AnalyzeOptions());
        LogAnalysis estimate = EventLogAnalysis.Analyze([log], new AnalyzeOptions { MaxDistinctRows = 2000, MaxDistinctValues = 2000 });

        Assert.Empty(exact.Approximate);
        Assert.Contains("duplicated_rows", estimate.Approximate);
        Assert.Contains("unique.user_id", estimate.Approximate);
        Assert.Contains("price.50%", estimate.Approximate);
        Assert.DoesNotContain("unique.brand", estimate.Approximate);
        Assert.InRange(estimate.Unique["user_id"], 9000, 11_000);
        Assert.InRange(estimate.DuplicatedRows, 4000, 6000);
        Assert.InRange(estimate.Price!.Median / exact.Price!.Median, 0.999, 1.001);
        Assert.Equal(exact.Price.Max, estimate.Price.Max, exact.Price.Max / 1000);
        Assert.Equal(exact.RawRows, estimate.RawRows);
    }

    [Fact]
    public void The_page_needs_nothing_from_elsewhere_and_hides_no_markup()
    {
        string log = _folder.Write("a.csv", SmallLog.Text(SmallLog.Row(brand: "<script>alert(1)</script>"), SmallLog.Row(user: "8")));
        string page = Path.Combine(_folder.Path, "a.html");

        CommandLine.Outcome outcome = CommandLine.Run("analyze", log, "--html", page);

        Assert.Equal(0, outcome.ExitCode);
        Assert.Contains("rows read", outcome.Out);
        string html = File.ReadAllText(page);
        Assert.Equal(5, html.Split("<svg").Length - 1);
        Assert.DoesNotContain("<script", html);
        Assert.DoesNotMatch("(src|href)=\"(http|//)", html);
        int at = 0;
        while ((at = html.IndexOf("<svg", at, StringComparison.Ordinal)) >= 0)
        {
            int end = html.IndexOf("</svg>", at, StringComparison.Ordinal) + "</svg>".Length;
            Assert.NotEmpty(XElement.Parse(html[at..end]).Elements());
            at = end;
        }
    }

    [Theory]
    [InlineData("clean", "'--output' is required")]
    [InlineData("clean a.csv -o b.csv --events buy", "--events must be all, or some of view,remove_from_cart,cart,purchase, not 'buy'")]
    [InlineData("clean a.csv -o b.csv --keep-nulls user_id", "'user_id' after --keep-nulls is not one of")]
    [InlineData("clean a.csv -o b.csv --max-bad-rows 200%", "--max-bad-rows must be a share like 0.1% or 0.001, not '200%'")]
    [InlineData("convert a.csv -o b", "'--name' is required")]
    [InlineData("convert a.csv -o b --name c --min-length 3 --max-length 2", "no history would be left")]
    [InlineData("analyze", "INPUT")]
    public void Wrong_usage_says_what_is_wrong_and_exits_with_2(string args, string expected)
    {
        CommandLine.Outcome outcome = CommandLine.Run(args.Split(' '));

        Assert.Equal(2, outcome.ExitCode);
        Assert.Contains(expected, outcome.Error);
    }

    [Fact]
    public void The_commands_end_with_an_account_and_name_unreadable_rows()
    {
        string log = _folder.Write("a.csv", SmallLog.Text(SmallLog.Row(), "x", SmallLog.Row(type: "view")));
        string cleaned = Path.Combine(_folder.Path, "clean.csv");

        CommandLine.Outcome refused = CommandLine.Run("clean", log, "-o", cleaned);
        CommandLine.Outcome clean = CommandLine.Run("clean", log, "-o", cleaned, "--max-bad-rows", "50%");
        CommandLine.Outcome convert = CommandLine.Run("convert", cleaned, "-o", _folder.Path, "--name", "shop", "--json");

        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("a.csv:3: 1 value where the header has 9 columns; 1 of 3 rows (33.33%) cannot be read", refused.Error);
        Assert.Equal(0, clean.ExitCode);
        Assert.Contains("a.csv:3: 1 value where", clean.Error);
        Assert.Matches(@"rows read +3\nrows kept +1\ndropped: unreadable +1\ndropped: other event type +1\n", clean.Out);
        using var json = JsonDocument.Parse(convert.Out);
        Assert.Equal(1, json.RootElement.GetProperty("rows_kept").GetInt64());
    }

    private static void AssertSame(string path, JsonElement wanted, JsonElement found)
    {
        if (wanted.ValueKind == JsonValueKind.Object)
        {
            foreach (JsonProperty property in wanted.EnumerateObject())
            {
                Assert.True(found.TryGetProperty(property.Name, out JsonElement value), $"no {path}.{property.Name}");
                AssertSame($"{path}.{property.Name}", property.Value, value);
            }
        }
        else if (wanted.ValueKind == JsonValueKind.Number)
        {
            double expected = wanted.GetDouble(), actual = found.GetDouble();
            Assert.True(Math.Abs(expected - actual) <= 1e-12 * Math.Abs(expected), $"{path}: {actual} for {expected}");
        }
        else
        {
            Assert.True(wanted.GetRawText() == found.GetRawText(), $"{path}: {found} for {wanted}");
        }
    }
}
