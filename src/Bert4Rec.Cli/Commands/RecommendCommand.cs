using System.CommandLine;
using Bert4Rec.Cli.Options;
using Bert4Rec.Cli.Output;
using Bert4Rec.Inference;
using Bert4Rec.Serialization;
using Spectre.Console;

namespace Bert4Rec.Cli.Commands;

/// <summary>
/// <c>recommend</c>: the best k items after a history, with the item's fields; for one history, one known user, or a file of many.
/// </summary>
internal static class RecommendCommand
{
    /// <summary>Histories that go through the model at once.</summary>
    private const int BatchSize = 1024;

    /// <summary>Histories whose unknown items are warned of, where the answers go to a file.</summary>
    private const int WarnedHistories = 10;

    public static Command Create(Terminal terminal)
    {
        Option<string> model = CommonOptions.Model();
        Option<string> device = CommonOptions.Device();
        Option<int> threads = CommonOptions.Threads();
        Option<bool> json = CommonOptions.Json();
        json.Description = "Write one JSON object a history.";
        var history = new Option<string>("--history")
        {
            Description = "Item tokens separated by spaces, oldest first; may be empty.",
            HelpName = "\"tok tok tok\"",
        };
        var user = new Option<string>("--user")
        {
            Description = "A user of the training data, with all of their events.",
            HelpName = "TOKEN",
        };
        var histories = new Option<string>("--histories")
        {
            Description = "A file with a history a line, or '-' for standard input; an id and a TAB may stand before the tokens. "
                + ".jsonl: {\"id\": \"u1\", \"history\": [\"a\", \"b\"]}. .parquet: columns id and history.",
            HelpName = "FILE",
        };
        Option<string> output = CommonOptions.Output(
            $"Write to a file instead, whole or not at all: {RecommendationWriter.Endings}.", "FILE");
        Option<int> k = CommonOptions.Whole(minimum: 1, new Option<int>("-k", "--top")
        {
            Description = "Items to recommend.",
            HelpName = "K",
            DefaultValueFactory = _ => 10,
        });
        var excludeSeen = new Option<bool>("--exclude-seen") { Description = "Leave out the items of the history." };
        var command = new Command("recommend", "Recommends items for a history.")
        {
            model, history, user, histories, output, k, excludeSeen, device, threads, json,
        };
        command.Validators.Add(result =>
        {
            if (new Option[] { history, user, histories }.Count(option => result.GetResult(option) is not null) != 1)
                result.AddError("Give one of --history, --user and --histories.");
            if (!CommonOptions.TryGet(result, output, out string? file) || file is null)
                return;
            if (!RecommendationWriter.CanWrite(file))
                result.AddError($"--output must end in {RecommendationWriter.Endings}, not '{file}'.");
            if (result.GetResult(json) is not null)
                result.AddError("--json is for standard output; for a file of it, end --output's name in .jsonl.");
            if (CommonOptions.TryGet(result, histories, out string? input) && input is not null
                && Path.GetFullPath(input) == Path.GetFullPath(file))
            {
                result.AddError("--output is the file of --histories; choose another name.");
            }
        });
        command.SetAction(parsed =>
        {
            var options = new RecommenderOptions { Device = parsed.GetRequiredValue(device), Threads = parsed.GetValue(threads) };
            using var recommender = Recommender.Load(parsed.GetRequiredValue(model), options);
            if (recommender.Note is string note)
                terminal.Error.WriteLine(note);
            IEnumerable<NamedHistory> wanted =
                parsed.GetValue(histories) is string path
                    ? path == "-" ? HistoryFile.ReadLines(terminal.In, path) : HistoryFile.Read(path)
                : parsed.GetValue(user) is string token ? [HistoryOf(token, recommender)]
                : [new NamedHistory(null, HistoryFile.Split(parsed.GetValue(history)!))];
            bool isText = parsed.GetValue(user) is null && HistoryFile.IsText(parsed.GetValue(histories) ?? "-");
            if (isText)
                wanted = WarnOfBlanks(terminal, recommender, wanted);
            int length = parsed.GetValue(k);
            bool isExcluded = parsed.GetValue(excludeSeen);
            if (parsed.GetValue(output) is string file)
                return ToFile(terminal, recommender, wanted, length, isExcluded, file);

            var writer = parsed.GetValue(json) ? RecommendationWriter.Json(terminal.Out)
                : terminal.OutIsTerminal && parsed.GetResult(histories) is null ? null
                : RecommendationWriter.Tsv(terminal.Out, recommender.FieldNames);
            foreach ((NamedHistory each, RecommendationResult result) in Recommend(recommender, wanted, length, isExcluded, default))
            {
                Warn(terminal, each, result);
                if (writer is null)
                    WriteTable(terminal, result);
                else
                    writer.Add(each, result);
            }
            writer?.Finish();
            return ExitCodes.Success;
        });
        return command;
    }

    private static IEnumerable<NamedHistory> WarnOfBlanks(
        Terminal terminal, Recommender recommender, IEnumerable<NamedHistory> histories)
    {
        bool isWarned = false;
        foreach (NamedHistory history in histories)
        {
            if (!isWarned && recommender.FindJoined(history.Tokens) is string item)
            {
                terminal.Warn(
                    $"{Printable.Quoted(item)} is an item of this model, and here a blank ends an id; give such histories as "
                    + "--histories FILE.jsonl");
                isWarned = true;
            }
            yield return history;
        }
    }

    private static int ToFile(
        Terminal terminal, Recommender recommender, IEnumerable<NamedHistory> histories, int k, bool excludeSeen, string file) =>
        Interruption.Run(
            terminal,
            (progress, cancellation) =>
            {
                long done = 0, odd = 0;
                RecommendationWriter.WriteFile(file, recommender.FieldNames, writer =>
                {
                    foreach ((NamedHistory history, RecommendationResult result) in Recommend(
                        recommender, histories, k, excludeSeen, cancellation))
                    {
                        writer.Add(history, result);
                        done++;
                        bool isOdd = result.IsPopularity || result.UnknownTokens.Count > 0;
                        if (isOdd && odd++ < WarnedHistories)
                        {
                            progress.Clear();
                            Warn(terminal, history, result);
                        }
                        progress.Report(new("recommending", done, 0, "histories"));
                    }
                });
                return (Done: done, Odd: odd);
            },
            count =>
            {
                if (count.Odd > WarnedHistories)
                    terminal.Warn($"and {count.Odd - WarnedHistories:N0} more histories with unknown items, or without any");
                terminal.Out.WriteLine($"{count.Done:N0} histories; recommendations in {file}");
            });

    private static IEnumerable<(NamedHistory History, RecommendationResult Result)> Recommend(
        Recommender recommender, IEnumerable<NamedHistory> histories, int k, bool excludeSeen, CancellationToken cancellation)
    {
        foreach (NamedHistory[] batch in histories.Chunk(BatchSize))
        {
            var results = recommender.Recommend(
                [.. batch.Select(each => new RecommendationRequest { History = each.Tokens, K = k, ExcludeSeen = excludeSeen })],
                cancellation);
            for (int i = 0; i < batch.Length; i++)
                yield return (batch[i], results[i]);
        }
    }

    private static NamedHistory HistoryOf(string user, Recommender recommender) => recommender.TryGetHistory(user, out var tokens)
        ? new NamedHistory(user, [.. tokens])
        : throw new InputException(
            $"user {user}: not among the {recommender.UserCount} users of the training data; give a --history instead");

    private static void Warn(Terminal terminal, NamedHistory history, RecommendationResult result)
    {
        string whose = history.Id is null ? "the history" : $"the history of {history.Id}";
        if (result.UnknownTokens.Count > 0)
            terminal.Warn($"left out of {whose}, unknown to the model: {string.Join(' ', result.UnknownTokens)}");
        if (result.IsPopularity)
            terminal.Warn($"{whose} is empty: these are the most popular items");
    }

    private static void WriteTable(Terminal terminal, RecommendationResult result)
    {
        var table = new Table { Border = TableBorder.Simple };
        table.AddColumn("item");
        table.AddColumn(new TableColumn("score").RightAligned());
        foreach (var field in result.Items.Count > 0 ? result.Items[0].Fields : [])
            table.AddColumn(new TableColumn(new Text(field.Key)));
        string format = RecommendationWriter.ScoreFormat(result);
        foreach (Recommendation item in result.Items)
            table.AddRow(
                [new Text(item.Token), new Text(item.Score.ToString(format)), .. item.Fields.Select(field => new Text(field.Value))]);
        Report.WriteTable(terminal with { OutIsTerminal = true }, table);
    }
}
