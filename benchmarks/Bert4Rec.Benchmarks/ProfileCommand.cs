using System.CommandLine;
using System.Diagnostics;
using Bert4Rec.Cli;
using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Kernels;
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
        Option<int> steps = CommonOptions.Whole(1, new Option<int>("--steps")
        {
            Description = "Training steps of a round; the first of the first epoch.",
            HelpName = "N",
            DefaultValueFactory = _ => 4,
        });
        Option<int> rounds = CommonOptions.Whole(1, new Option<int>("--rounds")
        {
            Description = "Rounds of the same steps, after one to warm up; of each call the fastest counts.",
            HelpName = "N",
            DefaultValueFactory = _ => 10,
        });
        var command = new Command("profile", "Trains some steps and shows what each operation took.") { config, set, threads, steps, rounds };
        command.SetAction(parsed =>
        {
            RunConfig runConfig = CommonOptions.LoadConfig(parsed.GetValue(config) ?? [], parsed.GetValue(set) ?? [], null, terminal);
            Run(runConfig, parsed.GetValue(threads), parsed.GetValue(steps), parsed.GetValue(rounds), terminal);
        });
        return command;
    }

    private static void Run(RunConfig config, int threads, int steps, int rounds, Terminal terminal)
    {
        var dataset = DatasetLoader.Load(config, null);
        var split = Splitter.Split(dataset, config.EvalArgs);
        var sequences = TrainingSession.Sequences(config, dataset, split);
        var epoch = new List<SequenceSpan>();
        sequences.Fill(1, epoch);
        long epochTokens = epoch.Sum(sequence => (long)sequence.Length);

        using var device = new DeviceSet("cpu", threads);
        ProfiledKernels[] kernels = [.. device.Kernels.Select(k => new ProfiledKernels(k))];
        using var trainer = new Trainer(TrainerSettings.Of(config, dataset.ItemCount), dataset, sequences, kernels, device.Workers);
        trainer.BeginEpoch(1);
        double fastest = double.PositiveInfinity;
        for (int round = 0; round <= rounds; round++)
        {
            foreach (var k in kernels)
                k.BeginRound();
            // The same step numbers draw the same masks: every round does the same work.
            trainer.Step = 0;
            long start = Stopwatch.GetTimestamp();
            for (int step = 0, first = 0; step < steps && first < epoch.Count; step++, first += config.TrainBatchSize)
                trainer.TrainStep(first, Math.Min(config.TrainBatchSize, epoch.Count - first));
            fastest = Math.Min(fastest, Stopwatch.GetElapsedTime(start).TotalSeconds);
        }
        Write(kernels, fastest, epochTokens, device, terminal);
    }

    private static void Write(ProfiledKernels[] kernels, double fastestRound, long epochTokens, DeviceSet device, Terminal terminal)
    {
        int threads = kernels.Length;
        double tokens = kernels.Sum(k => k.Tokens), rounds = epochTokens / tokens;
        var sums = new Dictionary<string, Cost>();
        var all = default(Cost);
        foreach (var (name, cost) in kernels.SelectMany(k => k.Calls))
        {
            sums[name] = sums.GetValueOrDefault(name) + cost;
            all += cost;
        }

        var table = new Table { Border = terminal.OutIsTerminal ? TableBorder.Simple : TableBorder.Markdown };
        table.AddColumn("operation");
        foreach (string column in new[] { "calls", "seconds an epoch", "share", "GFLOP/s", "GB/s" })
            table.AddColumn(new TableColumn(column).RightAligned());
        foreach (var (name, cost) in sums.OrderByDescending(pair => pair.Value.Seconds))
            AddRow(name, cost);
        AddRow("all", all);
        Terminal.Draw(terminal.Out, terminal.OutIsTerminal).Write(table);
        terminal.Out.WriteLine(
            $"{kernels[0].Name}, {threads} threads; the fastest round: {tokens / fastestRound:N0} tokens/s, {fastestRound * rounds:F1} s an epoch");
        terminal.Out.WriteLine($"multiply-adds in registers {Peak.MultiplyAdd(device.Workers):F0} GFLOP/s");
        terminal.Out.WriteLine($"products in the first-level cache {Peak.Product(device.Workers):F0} GFLOP/s");

        void AddRow(string name, Cost cost)
        {
            double seconds = cost.Seconds / threads;
            table.AddRow(
                name,
                $"{cost.Calls * rounds:N0}",
                $"{seconds * rounds:F2}",
                $"{100 * cost.Seconds / all.Seconds:F1}%",
                cost.FloatingPointOperations == 0 ? "" : $"{cost.FloatingPointOperations / seconds / 1e9:F0}",
                $"{cost.Bytes / seconds / 1e9:F0}");
        }
    }
}
