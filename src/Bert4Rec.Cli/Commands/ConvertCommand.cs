using System.CommandLine;
using Bert4Rec.Cli.Options;
using Bert4Rec.Cli.Output;
using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Serialization;

namespace Bert4Rec.Cli.Commands;

/// <summary><c>convert</c>: a cleaned log as RecBole's atomic files.</summary>
internal static class ConvertCommand
{
    public static Command Create(Terminal terminal)
    {
        var cleaned = new Argument<string>("CLEANED") { Description = "The file that clean wrote." };
        Option<string> output = CommonOptions.Output("Folder for the files.", isRequired: true);
        Option<string> name = CommonOptions.DatasetName();
        name.Required = true;
        var groupBy = new Option<string>("--group-by")
        {
            Description = "Whose events make one history; a session then takes the user's place in user_id.",
            HelpName = "user|session",
            DefaultValueFactory = _ => "user",
        };
        groupBy.AcceptOnlyFromAmong("user", "session");
        var defaults = new ConvertOptions();
        Option<int> minLength = CommonOptions.Count("--min-length", "Leaves out histories with fewer events.", 1, defaults.MinLength);
        Option<int> maxLength = CommonOptions.Count("--max-length", "Leaves out histories with more events.", 1, defaults.MaxLength);
        Option<double> maxBadRows = EventLogOptions.MaxBadRows();
        Option<int> threads = CommonOptions.Threads();
        Option<bool> json = CommonOptions.Json();
        var command = new Command("convert", "Writes a cleaned log as atomic files.")
        {
            cleaned, output, name, groupBy, minLength, maxLength, maxBadRows, threads, json,
        };
        command.Validators.Add(result =>
        {
            if (CommonOptions.TryGet(result, minLength, out int least)
                && CommonOptions.TryGet(result, maxLength, out int most)
                && least > most)
                result.AddError("--min-length is greater than --max-length: no history would be left.");
        });
        command.SetAction(parsed =>
        {
            string directory = parsed.GetRequiredValue(output);
            string dataset = parsed.GetRequiredValue(name);
            var options = new ConvertOptions
            {
                GroupBy = parsed.GetValue(groupBy) == "session" ? HistoryOwner.Session : HistoryOwner.User,
                MinLength = parsed.GetValue(minLength),
                MaxLength = parsed.GetValue(maxLength),
                MaxBadRows = parsed.GetValue(maxBadRows),
                Threads = parsed.GetValue(threads),
            };
            return Interruption.Run(
                terminal,
                (progress, cancellation) =>
                {
                    using var folder = FolderLock.Take(directory);
                    return AtomicFileWriter.Convert(parsed.GetRequiredValue(cleaned), directory, dataset, options, progress, cancellation);
                },
                summary =>
                {
                    EventLogOptions.WarnOfBadRows(terminal, summary.Read);
                    if (parsed.GetValue(json))
                    {
                        Report.WriteJson(terminal.Out, new
                        {
                            summary.Files,
                            summary.RowsRead,
                            summary.RowsKept,
                            summary.Dropped,
                            summary.Histories,
                            summary.UserRows,
                            summary.Items,
                            BadRows = summary.Read.Examples,
                        });
                        return;
                    }
                    EventLogOptions.WriteRows(terminal, summary.RowsRead, summary.RowsKept, summary.Dropped);
                    string owners = options.GroupBy == HistoryOwner.User ? "users" : "sessions";
                    terminal.Out.WriteLine(
                        $"{summary.Files[0]}: {summary.Histories:N0} {owners}, {summary.Items:N0} items, {summary.RowsKept:N0} events");
                    terminal.Out.WriteLine(
                        $"try: bert4rec run --input {Terminal.Quote(summary.Files[0])} --output {Terminal.Quote($"saved/{dataset}")}");
                });
        });
        return command;
    }
}
