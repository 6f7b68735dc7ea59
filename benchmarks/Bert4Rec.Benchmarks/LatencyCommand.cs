using System.CommandLine;
using System.Diagnostics;
using Bert4Rec.Cli;
using Bert4Rec.Cli.Options;
using Bert4Rec.Cli.Output;
using Bert4Rec.Inference;
using Bert4Rec.Model;
using Bert4Rec.Training;

namespace Bert4Rec.Benchmarks;

/// <summary><c>latency</c>: how long one <c>recommend</c> takes in a process that has the model loaded, on one thread.</summary>
internal static class LatencyCommand
{
    private const int WarmUp = 300, Queries = 3_000;

    /// <summary>Such as validation chooses on a shop's log; what they are makes no difference to the time.</summary>
    private static readonly BlendWeights s_blend = new(1, 1000, -0.5f, 1), s_none = BlendWeights.None;

    public static Command Create(Terminal terminal)
    {
        Option<int> items = CommonOptions.Count("--items", "Items of the catalogue.", 100, 45_000);
        var command = new Command("latency", "Says how long recommending for one customer takes.") { items };
        command.SetAction(parsed => Run(parsed.GetValue(items), terminal));
        return command;
    }

    private static void Run(int items, Terminal terminal)
    {
        terminal.Out.WriteLine(
            $"{Queries:N0} customers one by one, histories of 1 to 50 events, 10 of {items:N0} items each, one thread; milliseconds.");
        terminal.Out.WriteLine();
        terminal.Out.WriteLine("| hidden size | blend | p50 | p99 | p50 of the processor | p99 of the processor | together, a second |");
        terminal.Out.WriteLine("|---:|---|---:|---:|---:|---:|---:|");
        foreach (var (hidden, blend) in new[] { (64, s_none), (64, s_blend), (128, s_none), (128, s_blend) })
        {
            using var shops = new Shops();
            var (config, dataset) = shops.Make(100_000, items, $"hidden_size={hidden}");
            var settings = TrainerSettings.Of(config, dataset.ItemCount);
            var layout = new ParameterLayout(settings.Shape);
            string folder = Path.Combine(shops.Folder, "model");
            ModelFolder.SaveData(folder, config, dataset);
            float[] parameters = ParameterInitializer.Draw(layout, settings.InitializerRange, settings.Seed);
            ModelFolder.SaveModel(folder, config, layout, parameters, blend);
            using var recommender = Recommender.Load(folder, new() { Device = "cpu", Threads = 1 });
            var random = new Random(1);
            RecommendationRequest[] requests =
            [
                .. Enumerable.Range(0, WarmUp + Queries).Select(_ => new RecommendationRequest
                {
                    History = [.. Enumerable.Range(0, random.Next(1, 51)).Select(_ => dataset.Items[random.Next(1, dataset.ItemCount)])],
                }),
            ];
            var clock = new List<double>();
            var processor = new List<double>();
            for (int i = 0; i < requests.Length; i++)
            {
                long start = Stopwatch.GetTimestamp();
                double processorStart = ThreadClock.Now();
                recommender.Recommend(requests[i]);
                if (i < WarmUp)
                    continue;
                processor.Add((ThreadClock.Now() - processorStart) * 1e3);
                clock.Add(Stopwatch.GetElapsedTime(start).TotalMilliseconds);
            }
            recommender.Recommend(requests[..WarmUp]);
            long together = Stopwatch.GetTimestamp();
            recommender.Recommend(requests);
            double rate = requests.Length / Stopwatch.GetElapsedTime(together).TotalSeconds;
            terminal.Out.WriteLine(
                $"| {hidden} | {(blend == s_none ? "no" : "yes")} | {Percentile(clock, 50):F2} | {Percentile(clock, 99):F2} | "
                + $"{Percentile(processor, 50):F2} | {Percentile(processor, 99):F2} | {rate:N0} |");
        }
    }

    private static double Percentile(List<double> values, int percent) => values.Order().ElementAt((values.Count - 1) * percent / 100);
}
