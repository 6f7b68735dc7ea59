using System.CommandLine;
using Bert4Rec.Cli.Options;
using Bert4Rec.Cli.Output;
using Bert4Rec.Data.Synthesis;
using Bert4Rec.Serialization;

namespace Bert4Rec.Cli.Commands;

/// <summary><c>synthesize</c>: atomic files of an invented shop, and the best metrics anyone could reach on it.</summary>
internal static class SynthesizeCommand
{
    public static Command Create(Terminal terminal)
    {
        var defaults = new ShopParameters();
        Option<int> users = CommonOptions.Count("--users", "Customers.", 1, defaults.Users);
        Option<int> items = CommonOptions.Count("--items", "Items in the catalogue.", 1, defaults.Items);
        Option<int> interactions = CommonOptions.Count("--interactions", "Purchases in all.", 1, defaults.Interactions);
        Option<ulong> seed = CommonOptions.Whole(minimum: 0UL, new Option<ulong>("--seed")
        {
            Description = "The same seed gives the same files.",
            HelpName = "N",
            DefaultValueFactory = _ => defaults.Seed,
        });
        Option<string> output = CommonOptions.Output("Folder for the files.", isRequired: true);
        Option<string> name = CommonOptions.DatasetName();
        name.DefaultValueFactory = _ => "shop";
        var format = new Option<string>("--format")
        {
            Description = "atomic: NAME.inter, NAME.item and NAME.user. csv: NAME.csv, a raw event log with views, carts, gaps and "
                + "duplicates, which clean and convert turn into the same purchases.",
            HelpName = "atomic|csv",
            DefaultValueFactory = _ => "atomic",
        };
        format.AcceptOnlyFromAmong("atomic", "csv");
        Option<long?> rows = CommonOptions.Whole(minimum: 1L, new Option<long?>("--rows")
        {
            Description = "Rows of the event log. Without --interactions and the others, the shop grows with it.",
            HelpName = "N",
        });
        Option<bool> json = CommonOptions.Json();
        var command = new Command("synthesize", "Writes the purchases of an invented shop, as atomic files or as a raw event log.")
        {
            users, items, interactions, format, rows, seed, output, name, json,
        };
        command.Validators.Add(result =>
        {
            if (result.GetResult(rows) is { Implicit: false } && CommonOptions.TryGet(result, format, out string? given) && given != "csv")
                result.AddError("--rows is for --format csv.");
        });
        command.SetAction(parsed =>
        {
            bool isLog = parsed.GetValue(format) == "csv";
            ShopParameters shop = parsed.GetValue(rows) is long wanted ? ShopLog.Fitting(wanted) : defaults;
            var parameters = new ShopParameters
            {
                Users = Given(users) ?? shop.Users,
                Items = Given(items) ?? shop.Items,
                Interactions = Given(interactions) ?? shop.Interactions,
                Seed = parsed.GetValue(seed),
            };
            if (HistoryLengths.WhyNot(parameters.Users, parameters.Interactions) is { } why)
            {
                string given = Given(interactions) is null && parsed.GetValue(rows) is long size
                    ? $"--rows {size}, which makes {parameters.Interactions} interactions"
                    : $"--interactions {parameters.Interactions}";
                throw new InputException($"{given}: {why}; give more or fewer, or other --users");
            }
            long logRows = parsed.GetValue(rows) ?? ShopLog.UsualRows(parameters.Interactions);
            string directory = parsed.GetRequiredValue(output);
            string dataset = parsed.GetRequiredValue(name);
            ShopOracle oracle;
            using (var progress = new ProgressReporter(terminal))
            using (FolderLock.Take(directory))
            {
                oracle = isLog
                    ? ShopSynthesizer.WriteLog(parameters, logRows, directory, dataset, progress)
                    : ShopSynthesizer.Write(parameters, directory, dataset, progress);
            }
            if (parsed.GetValue(json))
            {
                Report.WriteJson(terminal.Out, new { output = directory, dataset, oracle });
                return ExitCodes.Success;
            }
            string file = Path.Combine(directory, dataset) + (isLog ? ".csv" : ".inter");
            terminal.Out.WriteLine(
                $"{file}: {(isLog ? $"{logRows:N0} rows, " : "")}{parameters.Users:N0} users, {parameters.Items:N0} items, "
                + $"{parameters.Interactions:N0} interactions");
            terminal.Out.WriteLine(oracle.Expected is { } best
                ? $"the best possible, knowing the shop's probabilities: Recall@10 {best.Recall:F4}, NDCG@10 {best.Ndcg:F4}"
                : "no history is long enough to train, validate and test with: give more --interactions, or fewer --users");
            terminal.Out.WriteLine(isLog
                ? $"try: bert4rec analyze {Terminal.Quote(file)}"
                : $"try: bert4rec train --set data_path={Terminal.Quote(directory)} --set dataset={Terminal.Quote(dataset)}");
            return ExitCodes.Success;

            int? Given(Option<int> option) => parsed.GetResult(option) is { Implicit: false } ? parsed.GetValue(option) : null;
        });
        return command;
    }
}
