using System.CommandLine;
using Bert4Rec.Cli;
using Bert4Rec.Cli.Options;
using Bert4Rec.Cli.Output;
using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Model;
using Bert4Rec.Training;
using Spectre.Console;

namespace Bert4Rec.Benchmarks;

/// <summary>
/// <c>profile</c>: trains the same few steps several times over, and shows what each operation took at its fastest, beside what the machine
/// can do.
/// </summary>
internal static class ProfileCommand
{
    public static Command Create(Terminal terminal)
    {
        Option<string[]> config = CommonOptions.Config();
        Option<string[]> set = CommonOptions.Set();
        Option<int> threads = CommonOptions.Threads();
        Option<int> steps = CommonOptions.Count("--steps", "Training steps of a round; the first of the first epoch.", 1, 4);
        Option<int> rounds = CommonOptions.Count(
            "--rounds", "Rounds of the same steps, after one to warm up; of each call the fastest counts.", 1, 10);
        var command = new Command("profile", "Trains some steps and shows what each operation took.")
        {
            config, set, threads, steps, rounds,
        };
        command.SetAction(parsed =>
        {
            RunConfig runConfig = CommonOptions.LoadConfig(parsed.GetValue(config) ?? [], parsed.GetValue(set) ?? [], null, terminal);
            Run(runConfig, parsed.GetValue(threads), parsed.GetValue(steps), parsed.GetValue(rounds), terminal);
        });
        return command;
    }

    private static void Run(RunConfig config, int threads, int steps, int rounds, Terminal terminal)
    {
        var profile = TrainingProfile.Measure(config, DatasetLoader.Load(config), threads, steps, rounds);
        double epochs = profile.StepsToEpoch, allSeconds = profile.All.Seconds;
        var table = new Table { Border = terminal.OutIsTerminal ? TableBorder.Simple : TableBorder.Markdown };
        table.AddColumn("operation");
        foreach (string column in new[] { "calls", "seconds an epoch", "share", "GFLOP/s", "GB/s" })
            table.AddColumn(new TableColumn(column).RightAligned());
        foreach (var (name, cost) in profile.Operations.OrderByDescending(pair => pair.Value.Seconds))
            AddRow(name, cost);
        AddRow("all", profile.All);
        Terminal.Draw(terminal.Out, terminal.OutIsTerminal).Write(table);
        terminal.Out.WriteLine(
            $"{profile.Device}, {threads} threads; the fastest round: {profile.Tokens / profile.RoundSeconds:N0} tokens/s, "
            + $"{profile.RoundSeconds * epochs:F1} s an epoch");
        using var workers = new Workers(threads);
        double peak = Peak.Product(workers);
        terminal.Out.WriteLine($"multiply-adds in registers {Peak.MultiplyAdd(workers):F0} GFLOP/s");
        terminal.Out.WriteLine($"products in the first-level cache {peak:F0} GFLOP/s");
        var products = profile.Operations.Where(pair => pair.Key.StartsWith("Linear", StringComparison.Ordinal))
            .Aggregate(default(Cost), (sum, pair) => sum + pair.Value);
        double speed = products.FloatingPointOperations / products.Seconds * threads / 1e9;
        terminal.Out.WriteLine($"the layers' products {speed:F0} GFLOP/s, {100 * speed / peak:F0}% of that");

        void AddRow(string name, Cost cost)
        {
            double seconds = cost.Seconds / threads;
            table.AddRow(
                name,
                $"{cost.Calls * epochs:N0}",
                $"{seconds * epochs:F2}",
                $"{100 * cost.Seconds / allSeconds:F1}%",
                cost.FloatingPointOperations == 0 ? "" : $"{cost.FloatingPointOperations / seconds / 1e9:F0}",
                $"{cost.Bytes / seconds / 1e9:F0}");
        }
    }
}
