using System.CommandLine;
using System.Diagnostics;
using Bert4Rec.Cli;
using Bert4Rec.Cli.Options;
using Bert4Rec.Cli.Output;
using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Distributed;
using Bert4Rec.Evaluation;
using Bert4Rec.Kernels;
using Bert4Rec.Training;

namespace Bert4Rec.Benchmarks;

/// <summary><c>epoch</c>: trains and validates some epochs as <c>train</c> does, and says what each took.</summary>
internal static class EpochCommand
{
    public static Command Create(Terminal terminal)
    {
        Option<string[]> config = CommonOptions.Config();
        Option<string[]> set = CommonOptions.Set();
        Option<string> device = CommonOptions.Device();
        Option<Precision> precision = CommonOptions.Precision(device);
        Option<int> threads = CommonOptions.Threads();
        Option<int> epochs = CommonOptions.Count("--epochs", "Epochs to train and validate.", 1, 3);
        var command = new Command("epoch", "Trains and validates some epochs and says what each took.")
        {
            config, set, device, precision, threads, epochs,
        };
        command.SetAction(parsed => Run(
            () => CommonOptions.LoadConfig(parsed.GetValue(config) ?? [], parsed.GetValue(set) ?? [], null, terminal),
            new RunOptions("", parsed.GetValue(device)!, parsed.GetValue(threads), false, parsed.GetValue(precision)),
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

    /// <summary>Under mpirun on rank 0, with the other ranks' help.</summary>
    private static void Run(Func<RunConfig> load, RunOptions options, int epochs, Terminal terminal)
    {
        using ProcessGroup ranks = MpiGroup.Join();
        if (ranks.Rank > 0)
        {
            TrainingEngine.Follow(ranks);
            return;
        }
        Measure(load(), options with { Ranks = ranks }, epochs, terminal);
        TrainingEngine.Dismiss(ranks);
    }

    private static void Measure(RunConfig config, RunOptions options, int epochs, Terminal terminal)
    {
        ProcessGroup ranks = options.Ranks;
        InteractionDataset? loaded = null;
        var load = Times.Of(() => loaded = DatasetLoader.Load(config));
        var dataset = loaded!;
        var split = Splitter.Split(dataset, config.EvalArgs);
        using var engine = new TrainingEngine(config, dataset, split, options, null);
        var trainer = engine.Trainer;
        var parameters = new float[trainer.Layout.Length];
        var settings = EvaluationSettings.OfTraining(config, config.EvalArgs.ValidMode);

        terminal.Out.WriteLine(
            $"{config.Dataset}: {dataset.UserCount - 1:N0} users, {dataset.ItemCount - 1:N0} items, "
            + $"{dataset.EventItems.Length:N0} events; "
            + $"hidden size {config.HiddenSize}, batches of {config.TrainBatchSize}; {engine.DeviceText}");
        terminal.Out.WriteLine($"data loaded in {load.Seconds:F1} s ({load.ProcessorSeconds:F1} s of the processor)");
        terminal.Out.WriteLine();
        terminal.Out.WriteLine(
            "| epoch | loss | steps | training, s | processor s / thread | tokens/s | validation, s | processor s / thread | histories/s | "
            + $"bytes allocated a step |{(ranks.Size == 1 ? "" : " bytes sent a step | exchange, s |")}");
        terminal.Out.WriteLine($"|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|{(ranks.Size == 1 ? "" : "---:|---:|")}");
        for (int epoch = 1; epoch <= epochs; epoch++)
        {
            (double Loss, long Tokens) result = default;
            int steps = trainer.Step;
            long allocated = GC.GetTotalAllocatedBytes(precise: true), sent = ranks.BytesSent;
            TimeSpan exchange = ranks.Time;
            var training = Times.Of(() => result = engine.TrainEpoch(epoch, null, CancellationToken.None));
            allocated = GC.GetTotalAllocatedBytes(precise: true) - allocated;
            sent = ranks.BytesSent - sent;
            exchange = ranks.Time - exchange;
            steps = Math.Max(1, trainer.Step - steps);
            trainer.Parameters.Download(parameters);
            engine.RankWith(parameters);
            var validation = Times.Of(() => Evaluator.Evaluate(engine.Ranker, dataset, engine.Statistics, split.Valid, settings));
            terminal.Out.WriteLine(
                $"| {epoch} | {result.Loss:F4} | {steps:N0} | {training.Seconds:F1} | {training.ProcessorSeconds / engine.Threads:F1} | "
                + $"{result.Tokens / training.Seconds:N0} | "
                + $"{validation.Seconds:F1} | {validation.ProcessorSeconds / engine.Threads:F1} | "
                + $"{split.Valid.Length / validation.Seconds:N0} | {allocated / steps:N0} |"
                + (ranks.Size == 1 ? "" : $" {sent / steps:N0} | {exchange.TotalSeconds:F2} |"));
        }
        terminal.Out.WriteLine();
        terminal.Out.WriteLine($"peak memory {Process.GetCurrentProcess().PeakWorkingSet64 / 1e6:N0} MB");
    }
}
