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

    /// <param name="Id">What the line, or the user, is called; null for the only one.</param>
    /// <param name="Tokens">Oldest first.</param>
    private sealed record History(string? Id, string[] Tokens);

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
            Description = "A file with a history a line, or '-' for standard input; an id and a TAB may stand before the tokens.",
            HelpName = "FILE",
        };
        Option<int> k = CommonOptions.Whole(minimum: 1, new Option<int>("-k", "--top")
        {
            Description = "Items to recommend.",
            HelpName = "K",
            DefaultValueFactory = _ => 10,
        });
        var excludeSeen = new Option<bool>("--exclude-seen") { Description = "Leave out the items of the history." };
        var command = new Command("recommend", "Recommends items for a history.")
        {
            model, history, user, histories, k, excludeSeen, device, threads, json,
        };
        command.Validators.Add(result =>
        {
            if (new Option[] { history, user, histories }.Count(option => result.GetResult(option) is not null) != 1)
                result.AddError("Give one of --history, --user and --histories.");
        });
        command.SetAction(parsed =>
        {
            var options = new RecommenderOptions { Device = parsed.GetRequiredValue(device), Threads = parsed.GetValue(threads) };
            using var recommender = Recommender.Load(parsed.GetRequiredValue(model), options);
            if (recommender.Note is string note)
                terminal.Error.WriteLine(note);
            IEnumerable<History> wanted =
                parsed.GetValue(histories) is string path ? ReadHistories(path, terminal)
                : parsed.GetValue(user) is string token ? [HistoryOf(token, recommender)]
                : [new History(null, Split(parsed.GetValue(history)!))];

            bool asJson = parsed.GetValue(json);
            bool asTable = !asJson && terminal.OutIsTerminal && parsed.GetResult(histories) is null;
            bool isFirst = true;
            foreach (History[] batch in wanted.Chunk(BatchSize))
            {
                var results = recommender.Recommend(
                    [.. batch.Select(each => new RecommendationRequest
                    {
                        History = each.Tokens,
                        K = parsed.GetValue(k),
                        ExcludeSeen = parsed.GetValue(excludeSeen),
                    })]);
                for (int i = 0; i < batch.Length; i++)
                {
                    var (list, unknown, isPopularity, _) = results[i];
                    Warn(terminal, batch[i], unknown, isPopularity);
                    if (asJson)
                        WriteJson(terminal.Out, batch[i], list, unknown, isPopularity);
                    else if (asTable)
                        WriteTable(terminal, list, ScoreFormat(isPopularity));
                    else
                        WriteTsv(terminal.Out, batch[i], list, ScoreFormat(isPopularity), withHeader: isFirst);
                    isFirst = false;
                }
            }
            return ExitCodes.Success;
        });
        return command;
    }

    private static IEnumerable<History> ReadHistories(string path, Terminal terminal)
    {
        using TextReader? file = path == "-" ? null : InputFile.OpenText(path);
        int number = 0;
        foreach (string line in InputFile.ReadLines(file ?? terminal.In, path))
        {
            number++;
            string[] parts = line.Split('\t');
            yield return parts.Length switch
            {
                1 => new History(number.ToString(), Split(line)),
                2 => new History(parts[0], Split(parts[1])),
                _ => throw InputException.At(path, number, "more than one TAB; a line is 'id TAB token token ...' or 'token token ...'"),
            };
        }
    }

    private static History HistoryOf(string user, Recommender recommender) => recommender.TryGetHistory(user, out var tokens)
        ? new History(user, [.. tokens])
        : throw new InputException(
            $"user {user}: not among the {recommender.UserCount} users of the training data; give a --history instead");

    private static string[] Split(string tokens) => tokens.Split(' ', StringSplitOptions.RemoveEmptyEntries);

    private static void Warn(Terminal terminal, History history, IReadOnlyList<string> unknown, bool isEmpty)
    {
        string whose = history.Id is null ? "the history" : $"the history of {history.Id}";
        if (unknown.Count > 0)
            terminal.Warn($"left out of {whose}, unknown to the model: {string.Join(' ', unknown)}");
        if (isEmpty)
            terminal.Warn($"{whose} is empty: these are the most popular items");
    }

    private static void WriteJson(
        TextWriter writer, History history, IReadOnlyList<Recommendation> list, IReadOnlyList<string> unknown, bool isEmpty) =>
        Report.WriteJson(writer, new
        {
            id = history.Id,
            unknown,
            popular = isEmpty,
            items = list.Select(item => new { item.Token, item.Score, fields = item.Fields.ToDictionary() }),
        });

    private static void WriteTable(Terminal terminal, IReadOnlyList<Recommendation> list, string scoreFormat)
    {
        var table = new Table { Border = TableBorder.Simple };
        table.AddColumn("item");
        table.AddColumn(new TableColumn("score").RightAligned());
        foreach (var field in list.Count > 0 ? list[0].Fields : [])
            table.AddColumn(new TableColumn(new Text(field.Key)));
        foreach (Recommendation item in list)
            table.AddRow(
                [new Text(item.Token), new Text(item.Score.ToString(scoreFormat)), .. item.Fields.Select(field => new Text(field.Value))]);
        Report.WriteTable(terminal.Out, isTerminal: true, table);
    }

    /// <summary>The score of a popular item is a count.</summary>
    private static string ScoreFormat(bool isPopularity) => isPopularity ? "F0" : "F4";

    /// <summary>One line an item; with the history's id in front where there can be several.</summary>
    private static void WriteTsv(
        TextWriter writer, History history, IReadOnlyList<Recommendation> list, string scoreFormat, bool withHeader)
    {
        string[] id = history.Id is null ? [] : [history.Id];
        if (withHeader)
        {
            string[] idHeader = history.Id is null ? [] : ["history"];
            WriteRow([.. idHeader, "item", "score", .. list.Count > 0 ? list[0].Fields.Select(field => field.Key) : []]);
        }
        foreach (Recommendation item in list)
            WriteRow([.. id, item.Token, item.Score.ToString(scoreFormat), .. item.Fields.Select(field => field.Value)]);

        void WriteRow(IEnumerable<string> cells) => writer.WriteLine(string.Join('\t', cells));
    }
}
