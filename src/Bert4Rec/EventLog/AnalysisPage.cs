using System.Globalization;
using System.Net;
using System.Text;
using ScottPlot;

namespace Bert4Rec.EventLog;

/// <summary>An analysis as tables, and as one HTML page with its charts in it: no script, no network.</summary>
public static class AnalysisPage
{
    private const int ChartWidth = 640, ChartHeight = 300;

    private const string Style = """
        :root{color-scheme:light dark}
        body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:1360px;padding:1rem}
        main{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr))}
        section{border:1px solid #8886;border-radius:8px;padding:.5rem 1rem 1rem;overflow-x:auto;min-width:0}
        h2{font-size:1.05rem;margin:.3rem 0 .6rem}
        table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
        th,td{padding:.15rem .5rem;text-align:right;white-space:nowrap}
        th:first-child,td:first-child{text-align:left}
        tr+tr td{border-top:1px solid #8883}
        svg{max-width:100%;height:auto;background:#fff;border-radius:4px}
        """;

    /// <summary>The figures as tables: a title, the columns, the rows.</summary>
    public static IEnumerable<(string Title, string[] Header, IEnumerable<string[]> Rows)> Tables(LogAnalysis analysis)
    {
        yield return ("Rows", ["", "rows"], [
            ["readable rows", Whole(analysis.RawRows)],
            ["duplicated", Whole(analysis.DuplicatedRows)],
            ["without missing values", Whole(analysis.RowsWithoutNulls)],
            ["and without duplicates", Whole(analysis.RowsWithoutDuplicates)],
            ["purchases among them", Whole(analysis.Purchases)]]);
        yield return ("Columns", ["column", "type", "missing", "distinct"], EventColumns.Names.Select(name => new[]
        {
            name, analysis.Types[name], Whole(analysis.Nulls[name]), Whole(analysis.Unique[name]),
        }));
        double events = Math.Max(1, analysis.EventType.Values.Sum());
        yield return ("Events by type", ["type", "events", "share"], analysis.EventType.Select(type => new[]
        {
            type.Key, Whole(type.Value), Percent(type.Value / events),
        }));
        if (analysis.Price is { } price)
        {
            yield return ("Price", ["count", "mean", "std", "min", "25%", "50%", "75%", "max"], [[
                Whole((long)price.Count), Number(price.Mean), Number(price.Std), Number(price.Min), Number(price.Quarter),
                Number(price.Median), Number(price.ThreeQuarters), Number(price.Max)]]);
        }
        yield return ("Events by day", ["day", "events", "purchases"], analysis.RowsByDay.Select(day => new[]
        {
            day.Key, Whole(day.Value), Whole(analysis.PurchasesByDay[day.Key]),
        }));
        yield return ("Average events by hour (UTC)", ["hour", "events"], Averages(analysis.AverageByHour));
        yield return ("Average events by weekday", ["weekday", "events"], Averages(analysis.AverageByWeekday));
        long users = Math.Max(1, analysis.HistoryLengths.Values.Sum());
        yield return ("Users by purchases", ["purchases", "users", "share"], Binned(analysis.HistoryLengths).Select(bin => new[]
        {
            bin.Label, Whole(bin.Users), Percent((double)bin.Users / users),
        }));
        yield return ("Items by popularity", ["rank", "purchases"], analysis.ItemPopularity.Select(item => new[]
        {
            Whole(item.Key), Whole(item.Value),
        }));
        yield return ("Purchases", ["", "share"], [
            ["of an item purchased before by the same user", Percent(analysis.RepeatPurchaseShare)],
            ["of the most purchased tenth of the items", Percent(analysis.TopTenthShare)]]);
        yield return ("Left with k purchases a user and an item or more", ["k", "users", "items", "purchases"], analysis.Cores.Select(
            core => new[] { Whole(core.K), Whole(core.Users), Whole(core.Items), Whole(core.Purchases) }));

        static IEnumerable<string[]> Averages(IReadOnlyDictionary<string, double> averages) =>
            averages.Select(average => new[] { average.Key, average.Value.ToString("N1", CultureInfo.InvariantCulture) });
    }

    /// <summary>The page.</summary>
    public static string Render(LogAnalysis analysis)
    {
        var page = new StringBuilder();
        page.Append("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Event log</title>")
            .Append("<meta name=\"viewport\" content=\"width=device-width\"><style>").Append(Style).Append("</style></head><body>\n")
            .Append("<h1>Event log</h1>\n");
        if (analysis.Approximate.Count > 0)
            page.Append("<p>").Append(Escape($"Estimates, because the log is large: {string.Join(", ", analysis.Approximate)}")).Append("</p>\n");
        page.Append("<main>\n");
        Chart("Events by day", Bars(analysis.RowsByDay.Select(day => (day.Key[5..], (double)day.Value))));
        Chart("Average events by hour (UTC)", Bars(analysis.AverageByHour.Select(hour => (hour.Key, hour.Value))));
        Chart("Average events by weekday", Bars(analysis.AverageByWeekday.Select(day => (day.Key[..3], day.Value))));
        if (analysis.HistoryLengths.Count > 0)
        {
            Chart("Users by number of purchases", Bars(Binned(analysis.HistoryLengths).Select(bin => (bin.Label, (double)bin.Users))));
            Chart("Purchases of an item by its rank", Bars(analysis.ItemPopularity.Select(item => (Whole(item.Key), (double)item.Value))));
        }
        foreach ((string title, string[] header, IEnumerable<string[]> rows) in Tables(analysis))
        {
            page.Append("<section><h2>").Append(Escape(title)).Append("</h2><table>\n");
            Row("th", header);
            foreach (string[] row in rows)
                Row("td", row);
            page.Append("</table></section>\n");
        }
        page.Append("<section><h2>First rows</h2><pre>").Append(Escape(string.Join('\n', analysis.Head))).Append("</pre></section>\n");
        return page.Append("</main></body></html>\n").ToString();

        void Chart(string title, string svg) =>
            page.Append("<section><h2>").Append(Escape(title)).Append("</h2>\n").Append(svg).Append("</section>\n");

        void Row(string cell, string[] values)
        {
            page.Append("<tr>");
            foreach (string value in values)
                page.Append('<').Append(cell).Append('>').Append(Escape(value)).Append("</").Append(cell).Append('>');
            page.Append("</tr>\n");
        }
    }

    /// <summary>Lengths 1 to 5 alone, then in ranges: the tail is long and thin.</summary>
    private static IEnumerable<(string Label, long Users)> Binned(IReadOnlyDictionary<int, long> lengths)
    {
        (int From, int To)[] bins = [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 10), (11, 20), (21, 50), (51, 100), (101, int.MaxValue)];
        foreach ((int from, int to) in bins)
        {
            long users = lengths.Where(length => length.Key >= from && length.Key <= to).Sum(length => length.Value);
            if (users > 0)
                yield return (from == to ? Whole(from) : to == int.MaxValue ? "over 100" : $"{from}-{to}", users);
        }
    }

    private static string Bars(IEnumerable<(string Label, double Value)> bars)
    {
        (string Label, double Value)[] all = [.. bars];
        using var plot = new Plot();
        plot.Add.Bars(all.Select(bar => bar.Value).ToArray());
        // Labels that would run into each other are left out.
        int step = Math.Max(1, (all.Length + 11) / 12);
        int[] labelled = [.. Enumerable.Range(0, all.Length).Where(i => i % step == 0)];
        plot.Axes.Bottom.SetTicks([.. labelled.Select(i => (double)i)], [.. labelled.Select(i => all[i].Label)]);
        plot.Axes.Margins(bottom: 0);
        string svg = plot.GetSvgXml(ChartWidth, ChartHeight);
        // Inside a page there is no XML declaration; the viewBox lets the chart shrink with its column.
        return svg[svg.IndexOf("<svg", StringComparison.Ordinal)..].Replace(
            $"width=\"{ChartWidth}\" height=\"{ChartHeight}\">", $"viewBox=\"0 0 {ChartWidth} {ChartHeight}\">", StringComparison.Ordinal);
    }

    private static string Escape(string text) => WebUtility.HtmlEncode(text);

    private static string Whole(long number) => number.ToString("N0", CultureInfo.InvariantCulture);

    private static string Number(double number) => number.ToString("N2", CultureInfo.InvariantCulture);

    private static string Percent(double share) => share.ToString("P2", CultureInfo.InvariantCulture);
}
