using System.CommandLine;
using System.Diagnostics;
using Bert4Rec.Cli;
using Bert4Rec.Cli.Options;
using Bert4Rec.Cli.Output;
using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Evaluation;
using Bert4Rec.Inference;
using Bert4Rec.Model;
using Bert4Rec.Training;

namespace Bert4Rec.Benchmarks;

/// <summary><c>epoch</c>: trains and validates some epochs as <c>train</c> does, and says what each took.</summary>
internal static class EpochCommand
{
    public static Command Create(Terminal terminal)
    {
        Option<string[]> config = CommonOptions.Config();
        Option<string[]> set = CommonOptions.Set();
        Option<int> threads = CommonOptions.Threads();
        Option<int> epochs = CommonOptions.Whole(1, new Option<int>("--epochs")
        {
            Description = "Epochs to train and validate.",
            HelpName = "N",
            DefaultValueFactory = _ => 3,
        });
        var command = new Command("epoch", "Trains and validates some epochs and says what each took.") { config, set, threads, epochs };
        command.SetAction(parsed => Run(
            CommonOptions.LoadConfig(parsed.GetValue(config) ?? [], parsed.GetValue(set) ?? [], null, terminal),
            parsed.GetValue(threads),
            parsed.GetValue(epochs),
            terminal));
        return command;
    }

    /// <summary>Time on the clock, and of all of the process's threads on the processor.</summary>
    private readonly record struct Times(double Seconds, double ProcessorSeconds)
    {
        public static Times Of(Action action)
        {
            long start = Stopwatch.GetTimestamp();
            TimeSpan processor = Process.GetCurrentProcess().TotalProcessorTime;
            action();
            return new(
                Stopwatch.GetElapsedTime(start).TotalSeconds, (Process.GetCurrentProcess().TotalProcessorTime - processor).TotalSeconds);
        }
    }

    private static void Run(RunConfig config, int threads, int epochs, Terminal terminal)
    {
        InteractionDataset? loaded = null;
        var load = Times.Of(() => loaded = DatasetLoader.Load(config));
        var dataset = loaded!;
        var split = Splitter.Split(dataset, config.EvalArgs);
        var statistics = TrainingStatistics.Count(dataset, split.Train);
        using var device = new DeviceSet("cpu", threads);
        using var trainer = new Trainer(
            TrainerSettings.Of(config, dataset.ItemCount),
            dataset,
            TrainingSession.Sequences(config, dataset, split),
            device.Kernels,
            device.Workers,
            statistics.EventCounts);
        using var ranker = new ModelRanker(device.Kernels, device.Workers, trainer.Layout, trainer.Parameters, config.RecboleCompatible);
        var settings = EvaluationSettings.OfTraining(config, config.EvalArgs.ValidMode);

        terminal.Out.WriteLine(
            $"{config.Dataset}: {dataset.UserCount - 1:N0} users, {dataset.ItemCount - 1:N0} items, "
            + $"{dataset.EventItems.Length:N0} events; "
            + $"hidden size {config.HiddenSize}, batches of {config.TrainBatchSize}; {device.Kernels[0].Name}, {threads} threads");
        terminal.Out.WriteLine($"data loaded in {load.Seconds:F1} s ({load.ProcessorSeconds:F1} s of the processor)");
        terminal.Out.WriteLine();
        terminal.Out.WriteLine(
            "| epoch | loss | training, s | processor s / thread | tokens/s | validation, s | processor s / thread | histories/s | "
            + "bytes allocated a step |");
        terminal.Out.WriteLine("|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
        for (int epoch = 1; epoch <= epochs; epoch++)
        {
            (double Loss, long Tokens) result = default;
            int steps = trainer.Step;
            long allocated = GC.GetTotalAllocatedBytes(precise: true);
            var training = Times.Of(() => result = trainer.TrainEpoch(epoch, null, CancellationToken.None));
            allocated = GC.GetTotalAllocatedBytes(precise: true) - allocated;
            steps = trainer.Step - steps;
            var validation = Times.Of(() => Evaluator.Evaluate(ranker, dataset, statistics, split.Valid, settings));
            terminal.Out.WriteLine(
                $"| {epoch} | {result.Loss:F4} | {training.Seconds:F1} | {training.ProcessorSeconds / threads:F1} | "
                + $"{result.Tokens / training.Seconds:N0} | "
                + $"{validation.Seconds:F1} | {validation.ProcessorSeconds / threads:F1} | "
                + $"{split.Valid.Length / validation.Seconds:N0} | {allocated / Math.Max(1, steps):N0} |");
        }
        terminal.Out.WriteLine();
        terminal.Out.WriteLine($"peak memory {Process.GetCurrentProcess().PeakWorkingSet64 / 1e6:N0} MB");
    }
}
