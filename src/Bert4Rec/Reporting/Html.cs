using System.Globalization;
using System.Net;

namespace Bert4Rec.Reporting;

/// <summary>The pieces of a self-contained page: no script, no network, light and dark as the reader's system is.</summary>
internal static class Html
{
    private const string Style = """
        :root{color-scheme:light dark;--first:#2f7fc1;--second:#d9822b;--mark:#2f7fc126}
        body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:1360px;padding:1rem}
        main{columns:2 26rem;column-gap:1rem}
        section{break-inside:avoid;margin:0 0 1rem;border:1px solid #8886;border-radius:8px;padding:.5rem 1rem 1rem;overflow-x:auto}
        .wide{column-span:all}
        h1{font-size:1.5rem;margin:.3rem 0}
        h2{font-size:1.05rem;margin:.3rem 0 .6rem}
        p{max-width:60rem;margin:.4rem 0 .8rem}
        .lead{font-size:1.1rem}
        .row>*{overflow-x:auto;min-width:0}
        .row{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,20rem),1fr))}
        table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
        th,td{padding:.15rem .5rem;text-align:right;vertical-align:bottom}
        td{white-space:nowrap}
        th:first-child,td:first-child{text-align:left;white-space:normal}
        tr+tr td{border-top:1px solid #8883}
        figure{margin:0}
        figcaption{font-size:.9rem;opacity:.85}
        svg{max-width:100%;height:auto;display:block}
        .key{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin:0 .3em 0 .8em}
        .key:first-child{margin-left:0}
        ol,ul{margin:.2rem 0;padding-left:1.6rem}
        li.hit{background:var(--mark);font-weight:600}
        .token{opacity:.65;font-size:.85em}
        pre{overflow-x:auto;font-size:.85rem}
        """;

    /// <summary>A whole page: a heading, what stands above the sections, the sections.</summary>
    public static string Page(string title, string introduction, IEnumerable<string> sections) =>
        $"<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{Escape(title)}</title>"
        + "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><link rel=\"icon\" href=\"data:,\">"
        + $"<style>{Style}</style></head><body>\n<h1>{Escape(title)}</h1>\n{introduction}"
        + $"<main>\n{string.Concat(sections)}</main></body></html>\n";

    /// <summary>A framed part of the page; a wide one takes the page's whole width.</summary>
    public static string Section(string title, string content, bool wide = false) =>
        $"<section{(wide ? " class=\"wide\"" : "")}><h2>{Escape(title)}</h2>\n{content}</section>\n";

    public static string Paragraph(string text, string? cssClass = null) =>
        $"<p{(cssClass is null ? "" : $" class=\"{cssClass}\"")}>{Escape(text)}</p>\n";

    /// <summary>Charts and other pieces side by side, where there is room.</summary>
    public static string SideBySide(params IEnumerable<string> pieces) => $"<div class=\"row\">{string.Concat(pieces)}</div>\n";

    public static string Table(IReadOnlyList<string> header, IEnumerable<IReadOnlyList<string>> rows)
    {
        return $"<table>\n{Row("th", header)}{string.Concat(rows.Select(row => Row("td", row)))}</table>\n";

        static string Row(string cell, IReadOnlyList<string> values) =>
            $"<tr>{string.Concat(values.Select(value => $"<{cell}>{Escape(value)}</{cell}>"))}</tr>\n";
    }

    public static string Preformatted(string text) => $"<pre>{Escape(text)}</pre>\n";

    public static string Escape(string text) => WebUtility.HtmlEncode(text);

    public static string Whole(long number) => number.ToString("N0", CultureInfo.InvariantCulture);

    public static string Number(double number, int decimals = 2) => number.ToString($"N{decimals}", CultureInfo.InvariantCulture);

    public static string Percent(double share, int decimals = 2) => Number(100 * share, decimals) + "%";
}
