using System.CommandLine;
using Bert4Rec.Cli.Options;
using Bert4Rec.Cli.Output;
using Bert4Rec.EventLog;
using Bert4Rec.Pipeline;
using Bert4Rec.Serialization;

namespace Bert4Rec.Cli.Commands;

/// <summary><c>analyze</c>: what a shop's event log holds, and whether a sequence model has a chance on it.</summary>
internal static class AnalyzeCommand
{
    public static Command Create(Terminal terminal)
    {
        Argument<string[]> inputs = EventLogOptions.Inputs();
        var html = new Option<string?>("--html") { Description = "Also write a page with charts; it needs no network.", HelpName = "FILE" };
        var format = new LogFormatOptions();
        Option<double> maxBadRows = EventLogOptions.MaxBadRows();
        Option<int> threads = CommonOptions.Threads();
        Option<bool> json = CommonOptions.Json();
        var command = new Command("analyze", "Analyses a shop's event log.") { inputs, html, maxBadRows, threads, json };
        format.AddTo(command);
        command.SetAction(parsed =>
        {
            var options = new AnalyzeOptions
            {
                Format = format.Read(parsed),
                MaxBadRows = parsed.GetValue(maxBadRows),
                Threads = parsed.GetValue(threads),
            };
            string[] files = parsed.GetRequiredValue(inputs);
            if (parsed.GetValue(html) is string output && EventLogFiles.List(files).Any(file => UnixFile.IsSame(file, output)))
                throw new InputException($"{output}: the page is one of the inputs; choose another name");
            return Interruption.Run(
                terminal,
                (progress, cancellation) => EventLogAnalysis.Analyze(files, options, progress, cancellation),
                analysis =>
                {
                    EventLogOptions.WarnOfBadRows(terminal, analysis.Read!);
                    if (parsed.GetValue(html) is string page)
                        OutputFile.WriteText(page, AnalysisPage.Render(analysis));
                    if (parsed.GetValue(json))
                    {
                        Report.WriteJson(terminal.Out, analysis);
                        return;
                    }
                    Write(terminal, analysis);
                });
        });
        return command;
    }

    private static void Write(Terminal terminal, LogAnalysis analysis)
    {
        foreach ((string title, string[] header, IEnumerable<string[]> rows) in AnalysisPage.Tables(analysis))
        {
            terminal.Out.WriteLine(title);
            Report.WriteTable(terminal, header, rows);
        }
        EventLogOptions.WriteRows(terminal, analysis.Read!.Rows, analysis.RawRows, analysis.Dropped);
        if (analysis.Approximate.Count > 0)
            terminal.Out.WriteLine($"estimates, because the log is large: {string.Join(", ", analysis.Approximate)}");
    }
}
