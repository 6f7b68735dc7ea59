using System.CommandLine;
using Bert4Rec.Cli;
using Bert4Rec.Cli.Options;
using Bert4Rec.Cli.Output;

namespace Bert4Rec.Benchmarks;

/// <summary><c>scaling</c>: how the time a token takes depends on the events, the catalogue and the threads.</summary>
internal static class ScalingCommand
{
    private const int MostInteractions = 549_446, UsualItems = 20_000, Steps = 3, Rounds = 3;
    private static readonly string[] s_settings =
    [
        "recbole_compatible=true", "hidden_size=128", "train_batch_size=1024",
        "eval_args={split: {RS: [7, 1, 2]}, order: TO, group_by: user, mode: full}",
    ];

    public static Command Create(Terminal terminal)
    {
        Option<int> threads = CommonOptions.Threads();
        var command = new Command("scaling", "Says how the time a token takes depends on events, catalogue and threads.") { threads };
        command.SetAction(parsed => Run(parsed.GetValue(threads), terminal));
        return command;
    }

    private static void Run(int threads, Terminal terminal)
    {
        terminal.Out.WriteLine("Batches of 1,024 histories, hidden size 128, recbole_compatible; processor time, "
            + "each call at its fastest of "
            + $"{Rounds} rounds of the same {Steps} steps.");
        terminal.Out.WriteLine();
        terminal.Out.WriteLine(
            "| events | items | threads | µs a token | of the encoder | tokens/s of the busiest thread's time | on the clock |");
        terminal.Out.WriteLine("|---:|---:|---:|---:|---:|---:|---:|");
        var bySize = new[] { 10_000, 75_000, MostInteractions }.Select(n => Row(n, UsualItems, threads)).ToList();
        var byItems = new[] { 5_000, UsualItems, 100_000 }.Select(items => Row(MostInteractions, items, threads)).ToList();
        var single = Row(MostInteractions, UsualItems, 1);
        terminal.Out.WriteLine();
        terminal.Out.WriteLine(
            $"From {10_000:N0} to {MostInteractions:N0} events a token takes "
            + $"{Spread(bySize.Select(row => row.Token)):F2} times as long, "
            + $"its encoder from 5,000 to 100,000 items {Spread(byItems.Select(row => row.Encoder)):F2} times (longest by shortest).");
        if (threads > 1)
            terminal.Out.WriteLine($"{threads} threads are {byItems[1].Speed / single.Speed:F2} times as fast as one.");

        (double Token, double Encoder, double Speed) Row(int interactions, int items, int threads)
        {
            using var shops = new Shops();
            var (config, dataset) = shops.Make(interactions, items, s_settings);
            var profile = TrainingProfile.Measure(config, dataset, threads, Steps, Rounds);
            double token = profile.All.Seconds / profile.Tokens, encoder = profile.EncoderSeconds / profile.Tokens;
            double speed = profile.Tokens / profile.ThreadSeconds.Max();
            terminal.Out.WriteLine($"| {interactions:N0} | {items:N0} | {threads} | {token * 1e6:F1} | {encoder * 1e6:F1} | {speed:N0} | "
                + $"{profile.Tokens / profile.RoundSeconds:N0} |");
            return (token, encoder, speed);
        }

        static double Spread(IEnumerable<double> values) => values.Max() / values.Min();
    }
}
