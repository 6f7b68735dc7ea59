using System.CommandLine;
using Bert4Rec.Data.Synthesis;

namespace Bert4Rec.Cli.Commands;

/// <summary><c>synthesize</c>: atomic files of an invented shop, and the best metrics anyone could reach on it.</summary>
internal static class SynthesizeCommand
{
    public static Command Create(Terminal terminal)
    {
        var defaults = new ShopParameters();
        Option<int> users = Count("--users", "Customers.", defaults.Users);
        Option<int> items = Count("--items", "Items in the catalogue.", defaults.Items);
        Option<int> interactions = Count("--interactions", "Purchases in all.", defaults.Interactions);
        Option<ulong> seed = CommonOptions.Whole(minimum: 0UL, new Option<ulong>("--seed")
        {
            Description = "The same seed gives the same files.",
            HelpName = "N",
            DefaultValueFactory = _ => defaults.Seed,
        });
        var output = new Option<string>("--output", "-o")
        {
            Description = "Folder for the files.",
            HelpName = "DIR",
            Required = true,
        };
        var name = new Option<string>("--name")
        {
            Description = "Name of the dataset: its files are NAME.inter and so on.",
            HelpName = "NAME",
            DefaultValueFactory = _ => "shop",
        };
        name.AcceptLegalFileNamesOnly();
        Option<bool> json = CommonOptions.Json();
        var command = new Command("synthesize", "Writes atomic files of an invented shop.")
        {
            users, items, interactions, seed, output, name, json,
        };
        command.SetAction(parsed =>
        {
            var parameters = new ShopParameters
            {
                Users = parsed.GetValue(users),
                Items = parsed.GetValue(items),
                Interactions = parsed.GetValue(interactions),
                Seed = parsed.GetValue(seed),
            };
            string directory = parsed.GetRequiredValue(output);
            string dataset = parsed.GetRequiredValue(name);
            var progress = new ProgressReporter(terminal);
            ShopOracle oracle;
            try
            {
                oracle = ShopSynthesizer.Write(parameters, directory, dataset, progress);
            }
            finally
            {
                progress.Clear();
            }
            if (parsed.GetValue(json))
            {
                Report.WriteJson(terminal.Out, new { output = directory, dataset, oracle });
                return Application.Success;
            }
            terminal.Out.WriteLine(
                $"{Path.Combine(directory, dataset)}.inter: {parameters.Users:N0} users, {parameters.Items:N0} items, "
                + $"{parameters.Interactions:N0} interactions");
            terminal.Out.WriteLine(
                $"the best possible, knowing the shop's probabilities: Recall@10 {oracle.Expected.Recall:F4}, NDCG@10 {oracle.Expected.Ndcg:F4}");
            terminal.Out.WriteLine($"try: bert4rec train --set data_path={Terminal.Quote(directory)} --set dataset={Terminal.Quote(dataset)}");
            return Application.Success;
        });
        return command;
    }

    private static Option<int> Count(string name, string description, int defaultValue) => CommonOptions.Whole(minimum: 1, new Option<int>(name)
    {
        Description = description,
        HelpName = "N",
        DefaultValueFactory = _ => defaultValue,
    });
}
