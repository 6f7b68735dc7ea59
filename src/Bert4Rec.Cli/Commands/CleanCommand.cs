using System.CommandLine;
using Bert4Rec.Cli.Options;
using Bert4Rec.Cli.Output;
using Bert4Rec.Configuration;
using Bert4Rec.EventLog;

namespace Bert4Rec.Cli.Commands;

/// <summary><c>clean</c>: what a model can learn from of a shop's event log, sorted by session.</summary>
internal static class CleanCommand
{
    public static Command Create(Terminal terminal)
    {
        Argument<string[]> inputs = EventLogOptions.Inputs();
        Option<string> output = CommonOptions.Output(
            "The cleaned file: CSV, or Parquet where its name ends in .parquet.", "FILE", isRequired: true);
        Option<EventTypes?> events = EventLogOptions.Events();
        Option<EventColumn[]> keepNulls = EventLogOptions.KeepNulls();
        var format = new LogFormatOptions();
        Option<double> maxBadRows = EventLogOptions.MaxBadRows();
        Option<int> threads = CommonOptions.Threads();
        Option<bool> json = CommonOptions.Json();
        var command = new Command("clean", "Cleans a shop's event log: missing values, types, order, duplicates.")
        {
            inputs, output, events, keepNulls, maxBadRows, threads, json,
        };
        format.AddTo(command);
        command.SetAction(parsed =>
        {
            var options = new CleanOptions
            {
                Format = format.Read(parsed),
                Events = parsed.GetValue(events) ?? new CleanOptions().Events,
                KeepNulls = parsed.GetRequiredValue(keepNulls).ToHashSet(),
                MaxBadRows = parsed.GetValue(maxBadRows),
                Threads = parsed.GetValue(threads),
            };
            return Interruption.Run(
                terminal,
                (progress, cancellation) => EventLogCleaner.Clean(
                    parsed.GetRequiredValue(inputs), parsed.GetRequiredValue(output), options, progress, cancellation),
                summary =>
                {
                    EventLogOptions.WarnOfBadRows(terminal, summary.Read);
                    if (parsed.GetValue(json))
                    {
                        Report.WriteJson(terminal.Out, new
                        {
                            summary.Output,
                            summary.RowsRead,
                            summary.RowsKept,
                            summary.Dropped,
                            BadRows = summary.Read.Examples,
                            summary.Sha256,
                        });
                        return;
                    }
                    EventLogOptions.WriteRows(terminal, summary.RowsRead, summary.RowsKept, summary.Dropped);
                    EventLogOptions.WriteLostRows(terminal.Out, summary.RowsKept, summary.Dropped);
                    terminal.Out.WriteLine(
                        $"cleaned file: {summary.Output}; try: bert4rec convert {Terminal.Quote(summary.Output)} --output DIR --name NAME");
                });
        });
        return command;
    }
}
