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
        var output = new Option<string>("--output", "-o")
        {
            Description = "The cleaned CSV file.",
            HelpName = "FILE",
            Required = true,
        };
        var events = new Option<EventTypes>("--events")
        {
            Description = $"Events to keep: all, or some of {string.Join(",", EventTypeNames.Names)}.",
            HelpName = "purchase|cart,purchase|all",
            DefaultValueFactory = _ => EventTypes.Purchase,
            CustomParser = argument =>
            {
                string text = argument.Tokens[0].Value;
                if (!EventTypeNames.TryParse(text, out EventTypes types))
                    argument.AddError($"--events must be all, or some of {string.Join(",", EventTypeNames.Names)}, not '{text}'.");
                return types;
            },
        };
        string optional = string.Join(", ", EventColumns.Optional.Select(EventColumns.Name));
        var keepNulls = new Option<EventColumn[]>("--keep-nulls")
        {
            Description = "Columns that may be empty: a row without them is kept.",
            HelpName = "COLUMN,...",
            DefaultValueFactory = _ => [],
            CustomParser = argument =>
            {
                var columns = new List<EventColumn>();
                foreach (string name in argument.Tokens.SelectMany(token => token.Value.Split(',')))
                {
                    if (EventColumns.TryParse(name, out EventColumn column) && !EventColumns.Required.Contains(column))
                        columns.Add(column);
                    else
                        argument.AddError($"'{name}' after --keep-nulls is not one of {optional}.");
                }
                return [.. columns];
            },
        };
        Option<double> maxBadRows = EventLogOptions.MaxBadRows();
        Option<int> threads = CommonOptions.Threads();
        Option<bool> json = CommonOptions.Json();
        var command = new Command("clean", "Cleans a shop's event log: missing values, types, order, duplicates.")
        {
            inputs, output, events, keepNulls, maxBadRows, threads, json,
        };
        command.SetAction(parsed =>
        {
            var options = new CleanOptions
            {
                Events = parsed.GetValue(events),
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
                    terminal.Out.WriteLine(
                        $"cleaned file: {summary.Output}; try: bert4rec convert {Terminal.Quote(summary.Output)} --output DIR --name NAME");
                });
        });
        return command;
    }
}
