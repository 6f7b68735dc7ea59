using System.CommandLine;
using Bert4Rec.Data.Synthesis;

namespace Bert4Rec.Cli.Commands;

/// <summary><c>synthesize</c>: atomic files of an invented shop, and the best metrics anyone could reach on it.</summary>
internal static class SynthesizeCommand
{
    public static Command Create(Terminal terminal)
    {
        Option<int> users = Count("--users", "Customers.");
        Option<int> items = Count("--items", "Items in the catalogue.");
        Option<int> interactions = Count("--interactions", "Purchases in all.");
        var seed = new Option<int>("--seed")
        {
            Description = "Seed of the shop; the same seed gives the same files.",
            HelpName = "N",
            DefaultValueFactory = _ => 1,
        };
        var output = new Option<string>("--output", "-o")
        {
            Description = "Folder of datasets: the files go to DIR/NAME.",
            HelpName = "DIR",
            Required = true,
        };
        var name = new Option<string>("--name")
        {
            Description = "Name of the dataset.",
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
            var progress = new ProgressReporter(terminal);
            string directory = Path.Combine(parsed.GetRequiredValue(output), parsed.GetRequiredValue(name));
            SynthesisResult result;
            try
            {
                result = ShopSynthesizer.Write(
                    directory, parsed.GetRequiredValue(name), parsed.GetValue(users), parsed.GetValue(items),
                    parsed.GetValue(interactions), parsed.GetValue(seed), progress);
            }
            finally
            {
                progress.Clear();
            }
            if (parsed.GetValue(json))
            {
                Report.WriteJson(terminal.Out, new { output = directory, result });
                return Application.Success;
            }
            terminal.Out.WriteLine($"{directory}: {result.Users:N0} users, {result.Items:N0} items, {result.Interactions:N0} interactions");
            terminal.Out.WriteLine(
                $"the best possible, knowing the shop's probabilities: Recall@10 {result.BestRecallAt10:F4}, NDCG@10 {result.BestNdcgAt10:F4}");
            return Application.Success;
        });
        return command;
    }

    private static Option<int> Count(string name, string description) => CommonOptions.Positive(new(name)
    {
        Description = description,
        HelpName = "N",
        Required = true,
    });
}
