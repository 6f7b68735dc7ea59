using System.Globalization;
using Bert4Rec.Configuration;
using Bert4Rec.EventLog;
using Bert4Rec.Reporting;

namespace Bert4Rec.Pipeline;

/// <summary>An analysis as tables, and as one HTML page with its charts in it: no script, no network.</summary>
internal static class AnalysisPage
{
    /// <summary>The figures as tables: a title, the columns, the rows.</summary>
    public static IEnumerable<(string Title, string[] Header, IEnumerable<string[]> Rows)> Tables(LogAnalysis analysis)
    {
        yield return ("Rows", ["", "rows"], [
            ["readable rows", Html.Whole(analysis.RawRows)],
            ["duplicated", Html.Whole(analysis.DuplicatedRows)],
            ["without missing values", Html.Whole(analysis.RowsWithoutNulls)],
            ["and without duplicates", Html.Whole(analysis.RowsWithoutDuplicates)],
            ["purchases among them", Html.Whole(analysis.Purchases)]]);
        yield return ("Columns", ["column", "type", "missing", "distinct"], EventColumns.Names.Select(name => new[]
        {
            name, analysis.Types[name], Html.Whole(analysis.Nulls[name]), Html.Whole(analysis.Unique[name]),
        }));
        double events = Math.Max(1, analysis.EventType.Values.Sum());
        yield return ("Events by type", ["type", "events", "share"], analysis.EventType.Select(type => new[]
        {
            type.Key, Html.Whole(type.Value), Html.Percent(type.Value / events),
        }));
        if (analysis.Price is { } price)
        {
            yield return ("Price", ["", "price"], [
                ["count", Html.Whole((long)price.Count)], ["mean", Html.Number(price.Mean)], ["std", Html.Number(price.Std)],
                ["min", Html.Number(price.Min)], ["25%", Html.Number(price.Quarter)], ["50%", Html.Number(price.Median)],
                ["75%", Html.Number(price.ThreeQuarters)], ["max", Html.Number(price.Max)]]);
        }
        yield return ("Events by day", ["day", "events", "purchases"], analysis.RowsByDay.Select(day => new[]
        {
            day.Key, Html.Whole(day.Value), Html.Whole(analysis.PurchasesByDay[day.Key]),
        }));
        yield return ("Average events by hour (UTC)", ["hour", "events"], Averages(analysis.AverageByHour));
        yield return ("Average events by weekday", ["weekday", "events"], Averages(analysis.AverageByWeekday));
        long users = Math.Max(1, analysis.HistoryLengths.Values.Sum());
        var lengths = Binned(analysis.HistoryLengths);
        yield return ("Users by purchases, before cleaning", ["purchases", "users", "share"], lengths.Select(bin => new[]
        {
            bin.Label, Html.Whole(bin.Users), Html.Percent((double)bin.Users / users),
        }));
        yield return ("Items by popularity, before cleaning", ["rank", "purchases"], analysis.ItemPopularity.Select(item => new[]
        {
            Html.Whole(item.Key), Html.Whole(item.Value),
        }));
        yield return ("Purchases before cleaning", ["", "share"], [
            ["of an item purchased before by the same user", Html.Percent(analysis.RepeatPurchaseShare)],
            ["of the most purchased tenth of the items", Html.Percent(analysis.TopTenthShare)]]);
        string cores = "Left with k purchases a user and an item or more, before cleaning";
        yield return (cores, ["k", "users", "items", "purchases"], analysis.Cores.Select(
            core => new[] { Html.Whole(core.K), Html.Whole(core.Users), Html.Whole(core.Items), Html.Whole(core.Purchases) }));

        static IEnumerable<string[]> Averages(IReadOnlyDictionary<string, double> averages) =>
            averages.Select(average => new[] { average.Key, average.Value.ToString("N1", CultureInfo.InvariantCulture) });
    }

    public static string Render(LogAnalysis analysis)
    {
        string introduction = analysis.Approximate.Count > 0
            ? Html.Paragraph($"Estimates, because the log is large: {string.Join(", ", analysis.Approximate)}")
            : "";
        return Html.Page("Event log", introduction, [
            .. Pictures(analysis).Select(chart => Html.Section(chart.Title, chart.Figure)),
            .. Tables(analysis).Select(table => Html.Section(table.Title, Html.Table(table.Header, table.Rows))),
            Html.Section("First rows", Html.Preformatted(string.Join('\n', analysis.Head)), wide: true)]);
    }

    private static IEnumerable<(string Title, string Figure)> Pictures(LogAnalysis analysis)
    {
        yield return ("Events by day", EventsByDay(analysis));
        yield return ("Average events by hour (UTC)", Charts.Bars(
            "events in an hour of the average day", analysis.AverageByHour.Select(hour => (hour.Key, hour.Value))));
        yield return ("Average events by weekday", Charts.Bars(
            "events on the average weekday", analysis.AverageByWeekday.Select(day => (day.Key[..3], day.Value))));
        if (analysis.HistoryLengths.Count == 0)
            yield break;
        yield return ("Users by number of purchases", Charts.Bars(
            "users with so many purchases", Binned(analysis.HistoryLengths).Select(bin => (bin.Label, (double)bin.Users))));
        yield return ("Purchases of an item by its rank", Charts.Bars(
            "purchases of the item at this rank", analysis.ItemPopularity.Select(item => (Html.Whole(item.Key), (double)item.Value))));
    }

    internal static string EventsByDay(LogAnalysis analysis) =>
        Charts.Bars("events by day", analysis.RowsByDay.Select(day => (day.Key[5..], (double)day.Value)));

    /// <summary>Lengths 1 to 5 alone, then in ranges: the tail is long and thin.</summary>
    internal static IEnumerable<(string Label, long Users)> Binned(IReadOnlyDictionary<int, long> lengths)
    {
        (int From, int To)[] bins = [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 10), (11, 20), (21, 50), (51, 100), (101, int.MaxValue)];
        foreach ((int from, int to) in bins)
        {
            long users = lengths.Where(length => length.Key >= from && length.Key <= to).Sum(length => length.Value);
            if (users > 0)
                yield return (from == to ? Html.Whole(from) : to == int.MaxValue ? "over 100" : $"{from}-{to}", users);
        }
    }
}
