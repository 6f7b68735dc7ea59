using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
using Bert4Rec.Pipeline;
using Bert4Rec.Training;
using Spectre.Console;
using Spectre.Console.Rendering;

namespace Bert4Rec.Cli.Output;

/// <summary>How results look: the table of the model beside the baselines, and JSON.</summary>
internal static class Report
{
    /// <summary>What is in no record of <see cref="ReportJson"/> is looked up at run time, which a trimmed program cannot.</summary>
    private static readonly JsonSerializerOptions JsonOptions = new()
    {
        TypeInfoResolver = JsonTypeInfoResolver.Combine(new ReportJson(), new DefaultJsonTypeInfoResolver()),
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    /// <summary>One line of JSON; property names in snake_case.</summary>
    public static void WriteJson<T>(TextWriter writer, T value) => writer.WriteLine(JsonSerializer.Serialize(value, JsonOptions));

    /// <summary>A line a metric, a column for the model and each baseline; Recall@10 and NDCG@10 first, if they are there.</summary>
    /// <param name="terminal">What the table is written to.</param>
    /// <param name="model">Values by RecBole's names ("recall@10").</param>
    /// <param name="errors">Standard errors of those that have one.</param>
    /// <param name="baselines">The same of each baseline, by its name.</param>
    /// <param name="decimals">Decimals of each value: metric_decimal_place.</param>
    public static void WriteMetrics(
        Terminal terminal,
        IReadOnlyDictionary<string, double> model,
        IReadOnlyDictionary<string, double> errors,
        IReadOnlyDictionary<string, IReadOnlyDictionary<string, double>> baselines,
        int decimals)
    {
        var table = new Table { Border = TableBorder.Simple };
        table.AddColumn("");
        table.AddColumn(new TableColumn("model").RightAligned());
        table.AddColumn(new TableColumn(new Text("± error")).RightAligned());
        bool isNarrow = terminal.OutIsTerminal && Terminal.Draw(terminal.Out, isTerminal: true).Profile.Width < WideTable;
        foreach (string name in baselines.Keys)
            table.AddColumn(new TableColumn(new Text(isNarrow ? OnTwoLines(name) : name)).RightAligned().NoWrap());
        string[] headline = [.. model.Keys.Where(IsHeadline)];
        foreach (string metric in headline)
            AddRow(metric, new Style(decoration: Decoration.Bold));
        if (headline.Length > 0)
            table.AddEmptyRow();
        foreach (string metric in model.Keys.Where(name => !IsHeadline(name)))
            AddRow(metric, Style.Plain);
        WriteTable(terminal, table);

        void AddRow(string metric, Style style)
        {
            string error = errors.TryGetValue(metric, out double value) ? Format(value) : "";
            string[] cells = [metric, Format(model[metric]), error, .. baselines.Values.Select(values => Format(values[metric]))];
            table.AddRow(cells.Select(IRenderable (cell) => new Text(cell, style)));
        }

        string Format(double value) => value.ToString($"F{decimals}");

        // Columns that are too wide would be cut in the middle of a word.
        static string OnTwoLines(string name) =>
            name.LastIndexOf(' ') is int space and > 0 ? $"{name[..space]}\n{name[(space + 1)..]}" : name;
    }

    /// <summary>Characters that a table of metrics beside all baselines takes.</summary>
    private const int WideTable = 96;

    /// <summary>Draws a table of texts, whose columns but the first are of numbers.</summary>
    public static void WriteTable(Terminal terminal, IEnumerable<string> header, IEnumerable<string[]> rows)
    {
        var table = new Table { Border = TableBorder.Simple };
        foreach ((int i, string name) in header.Index())
            table.AddColumn(i == 0 ? new TableColumn(new Text(name)) : new TableColumn(new Text(name)).RightAligned());
        foreach (string[] row in rows)
            table.AddRow(row.Select(cell => new Text(cell)));
        WriteTable(terminal, table);
    }

    /// <summary>Draws a table; where nobody watches, without the spaces that fill its lines up.</summary>
    public static void WriteTable(Terminal terminal, Table table)
    {
        if (terminal.OutIsTerminal)
        {
            Terminal.Draw(terminal.Out, isTerminal: true).Write(table);
            return;
        }
        using var text = new StringWriter();
        Terminal.Draw(text, isTerminal: false).Write(table);
        using var lines = new StringReader(text.ToString());
        while (lines.ReadLine() is string line)
            terminal.Out.WriteLine(line.TrimEnd());
    }

    /// <summary>The two figures that papers compare.</summary>
    private static bool IsHeadline(string metric) =>
        metric.Equals("recall@10", StringComparison.OrdinalIgnoreCase) || metric.Equals("ndcg@10", StringComparison.OrdinalIgnoreCase);
}

/// <summary>What <c>train --json</c> says.</summary>
internal sealed record TrainOutput(string Output, string? Refit, TrainingResult Result);

/// <summary>What <c>run --json</c> says.</summary>
internal sealed record RunOutput(
    string Output, string? Refit, string Report, IReadOnlyList<StepReport> Steps, TrainingResult Result);

/// <summary>What <c>recommend --json</c> says of a history.</summary>
internal sealed record RecommendOutput(
    string? Id, IReadOnlyList<string> Unknown, bool Popular, IEnumerable<RecommendOutputItem> Items);

/// <summary>An item of a <see cref="RecommendOutput"/>.</summary>
internal sealed record RecommendOutputItem(string Token, float Score, Dictionary<string, string> Fields);

[JsonSerializable(typeof(TrainOutput))]
[JsonSerializable(typeof(EvaluationResult))]
[JsonSerializable(typeof(RunOutput))]
[JsonSerializable(typeof(RecommendOutput))]
internal sealed partial class ReportJson : JsonSerializerContext;
