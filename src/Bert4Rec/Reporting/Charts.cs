using System.IO.Hashing;
using System.Text;
using System.Text.RegularExpressions;
using ScottPlot;

namespace Bert4Rec.Reporting;

/// <summary>Charts as SVG that stands in a page and takes the page's colours, with a caption.</summary>
internal static partial class Charts
{
    private const int Width = 640, Height = 300, MostLabels = 10, BoldLine = 2, TickSize = 14;

    /// <summary>ScottPlot draws its axes and grid in these; they become the page's text colour.</summary>
    private const string Ink = "#010101";

    private static readonly Color _first = Color.FromHex("#2f7fc1"), _second = Color.FromHex("#d9822b");

    /// <summary>A bar for each label.</summary>
    public static string Bars(string caption, IEnumerable<(string Label, double Value)> bars)
    {
        (string Label, double Value)[] all = [.. bars];
        using var plot = new Plot();
        Add(plot, [.. all.Select(bar => bar.Value)], shift: 0, size: 0.8, _first);
        Label(plot, [.. all.Select(bar => bar.Label)]);
        return Figure(plot, caption);
    }

    /// <summary>Two bars for each label, side by side, and what the colours mean.</summary>
    public static string PairedBars(
        string caption,
        IReadOnlyList<string> labels,
        (string Name, IReadOnlyList<double> Values) first,
        (string Name, IReadOnlyList<double> Values) second)
    {
        using var plot = new Plot();
        Add(plot, first.Values, shift: -0.2, size: 0.38, _first);
        Add(plot, second.Values, shift: 0.2, size: 0.38, _second);
        Label(plot, labels);
        return Figure(plot, caption, first.Name, second.Name);
    }

    /// <summary>A line, one of its points marked where <paramref name="marked"/> is not null.</summary>
    public static string Line(string caption, IReadOnlyList<double> x, IReadOnlyList<double> y, int? marked = null)
    {
        using var plot = new Plot();
        var line = plot.Add.Scatter(x.ToArray(), y.ToArray(), _first);
        line.LineWidth = BoldLine;
        line.MarkerSize = x.Count == 1 ? 8 : 0;
        if (marked is int at)
            plot.Add.Marker(x[at], y[at], MarkerShape.FilledCircle, size: 10, _second);
        return Figure(plot, caption);
    }

    /// <summary>Several lines over each other, one of them in another colour.</summary>
    public static string Lines(
        string caption,
        IReadOnlyList<(IReadOnlyList<double> X, IReadOnlyList<double> Y)> lines,
        int marked,
        (string Others, string Marked) names)
    {
        using var plot = new Plot();
        // The marked one is drawn last, over the others.
        foreach (int i in Enumerable.Range(0, lines.Count).OrderBy(i => i == marked))
        {
            var line = plot.Add.Scatter(lines[i].X.ToArray(), lines[i].Y.ToArray(), i == marked ? _second : _first.WithOpacity(0.6));
            line.LineWidth = i == marked ? BoldLine : 1;
            line.MarkerSize = lines[i].X.Count == 1 ? 6 : 0;
        }
        return Figure(plot, caption, names.Others, names.Marked);
    }

    private static void Add(Plot plot, IReadOnlyList<double> values, double shift, double size, Color colour)
    {
        foreach ((int i, double value) in values.Index())
            plot.Add.Bar(new Bar { Position = i + shift, Value = value, Size = size, FillColor = colour, LineWidth = 0 });
        plot.Axes.Margins(bottom: 0);
    }

    private static void Label(Plot plot, IReadOnlyList<string> labels)
    {
        // Labels that would run into each other are left out.
        int step = Math.Max(1, (labels.Count + MostLabels - 1) / MostLabels);
        int[] labelled = [.. Enumerable.Range(0, labels.Count).Where(i => i % step == 0)];
        plot.Axes.Bottom.SetTicks([.. labelled.Select(i => (double)i)], [.. labelled.Select(i => labels[i])]);
    }

    private static string Figure(Plot plot, string caption, params string[] keys)
    {
        plot.FigureBackground.Color = Colors.Transparent;
        plot.DataBackground.Color = Colors.Transparent;
        plot.Axes.Color(Color.FromHex(Ink));
        plot.Axes.Bottom.TickLabelStyle.FontSize = plot.Axes.Left.TickLabelStyle.FontSize = TickSize;
        plot.Grid.MajorLineColor = Color.FromHex(Ink).WithOpacity(0.15);
        string svg = plot.GetSvgXml(Width, Height);
        // Inside a page there is no XML declaration; the viewBox lets the chart shrink with its column; ids are the whole page's.
        string viewBox = $"viewBox=\"0 0 {Width} {Height}\" role=\"img\" aria-label=\"{Html.Escape(caption)}\">";
        svg = svg[svg.IndexOf("<svg", StringComparison.Ordinal)..]
            .Replace($"width=\"{Width}\" height=\"{Height}\">", viewBox, StringComparison.Ordinal)
            .Replace($"\"{Ink}\"", "\"currentColor\"", StringComparison.Ordinal)
            .Replace("\"black\"", "\"currentColor\"", StringComparison.Ordinal);
        svg = NameClips(svg);
        string legend = keys.Length == 0 ? "" : $"<br><span class=\"key\" style=\"background:var(--first)\"></span>{Html.Escape(keys[0])}"
            + $"<span class=\"key\" style=\"background:var(--second)\"></span>{Html.Escape(keys[1])}";
        return $"<figure>{svg}<figcaption>{Html.Escape(caption)}{legend}</figcaption></figure>\n";
    }

    /// <summary>
    /// The clip paths' ids count up in a process and are the whole page's: instead they count within the chart, behind a hash of it.
    /// </summary>
    private static string NameClips(string svg)
    {
        var numbers = new Dictionary<string, int>();
        string numbered = Clip().Replace(svg, clip =>
        {
            numbers.TryAdd(clip.Value, numbers.Count);
            return $"cl_{numbers[clip.Value]}";
        });
        string scope = Convert.ToHexStringLower(XxHash32.Hash(Encoding.UTF8.GetBytes(numbered)));
        return Clip().Replace(numbered, clip => $"c{scope}{clip.Value[2..]}");
    }

    [GeneratedRegex("\\bcl_[0-9a-f]+\\b")]
    private static partial Regex Clip();
}
