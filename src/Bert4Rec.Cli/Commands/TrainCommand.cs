using System.CommandLine;
using Bert4Rec.Configuration;
using Bert4Rec.Training;

namespace Bert4Rec.Cli.Commands;

/// <summary><c>train</c>: trains on atomic files, reports epoch by epoch, and sets the best model's test metrics beside the baselines'.</summary>
internal static class TrainCommand
{
    public static Command Create(Terminal terminal)
    {
        Option<string[]> config = CommonOptions.Config();
        Option<string[]> set = CommonOptions.Set();
        Option<string> device = CommonOptions.Device();
        Option<int> threads = CommonOptions.Threads();
        Option<int?> seed = CommonOptions.Seed();
        Option<bool> json = CommonOptions.Json();
        var output = new Option<string>("--output", "-o")
        {
            Description = "Folder for the model and the logs; the default is a new one in saved/.",
            HelpName = "DIR",
        };
        var resume = new Option<string>("--resume")
        {
            Description = "Goes on with the run in this folder, from its last whole epoch.",
            HelpName = "DIR",
        };
        var command = new Command("train", "Trains a model, tests the best one and compares it with the baselines.")
        {
            config, set, output, resume, device, threads, seed, json,
        };
        command.Validators.Add(result =>
        {
            bool resumes = result.GetResult(resume) is not null;
            if (resumes && (result.GetResult(config) is not null || result.GetResult(output) is not null))
                result.AddError("--resume takes the config and the folder of the run it goes on with: leave --config and --output out.");
            if (!resumes && result.GetResult(config) is null && result.GetResult(set) is null)
                result.AddError("Nothing says what to train on: give a --config FILE.");
        });
        command.SetAction(parsed =>
        {
            string? resumed = parsed.GetValue(resume);
            string[] files = resumed is null ? parsed.GetValue(config) ?? [] : [CommonOptions.ConfigOfRun(resumed)];
            string runDevice = parsed.GetRequiredValue(device);
            RunConfig runConfig = CommonOptions.LoadConfig(files, parsed.GetValue(set) ?? [], parsed.GetValue(seed), terminal);
            string directory = resumed ?? parsed.GetValue(output) ?? NewDirectory(runConfig);
            var options = new RunOptions(directory, runDevice, parsed.GetValue(threads), resumed is not null);
            return Train(runConfig, options, parsed.GetValue(json), terminal);
        });
        return command;
    }

    private static int Train(RunConfig config, RunOptions options, bool json, Terminal terminal)
    {
        TextWriter log = json ? terminal.Error : terminal.Out;
        var progress = new ProgressReporter(terminal);
        using var interruption = new Interruption(terminal);
        bool canResume = options.Resume;
        try
        {
            TrainingResult result = TrainingSession.Train(
                config,
                options,
                progress,
                start =>
                {
                    progress.Clear();
                    WriteHeader(log, start, options, config);
                },
                epoch =>
                {
                    progress.Clear();
                    WriteEpoch(log, epoch, config);
                    canResume = true;
                },
                interruption.Token);
            progress.Clear();
            if (json)
                Report.WriteJson(terminal.Out, new { output = options.OutputDirectory, result });
            else
                WriteResult(terminal, result, options, config);
            return Application.Success;
        }
        catch (OperationCanceledException) when (interruption.Token.IsCancellationRequested)
        {
            progress.Clear();
            terminal.Error.WriteLine(canResume
                ? $"stopped; to go on from the last whole epoch: bert4rec train --resume {Terminal.Quote(options.OutputDirectory)}"
                : "stopped before the first epoch was whole; there is nothing to resume");
            return interruption.ExitCode;
        }
        finally
        {
            progress.Clear();
        }
    }

    private static void WriteHeader(TextWriter log, TrainingStart start, RunOptions options, RunConfig config)
    {
        log.WriteLine($"data     {start.Dataset}: {start.Users:N0} users, {start.Items:N0} items, {start.Interactions:N0} interactions");
        log.WriteLine($"samples  {start.TrainSamples:N0} train, {start.ValidSamples:N0} valid, {start.TestSamples:N0} test");
        log.WriteLine($"model    {start.Parameters:N0} parameters");
        log.WriteLine($"device   {start.Device}, {start.Threads} {(start.Threads == 1 ? "thread" : "threads")}");
        if (start.DeviceNote is not null)
            log.WriteLine($"         {start.DeviceNote}");
        log.WriteLine($"output   {options.OutputDirectory}");
        log.WriteLine();
        log.WriteLine($"epoch      loss   seconds    tokens/s  {"valid " + config.ValidMetric,14}");
    }

    private static void WriteEpoch(TextWriter log, EpochReport epoch, RunConfig config)
    {
        string valid = "";
        if (epoch.Valid is not null)
        {
            double value = epoch.Valid.First(metric => metric.Key.Equals(config.ValidMetric, StringComparison.OrdinalIgnoreCase)).Value;
            valid = $"  {value.ToString($"F{config.MetricDecimalPlace}"),14}{(epoch.IsBest ? " *" : "")}";
        }
        log.WriteLine($"{epoch.Epoch,5}{epoch.Loss,10:F4}{epoch.Seconds,10:F1}{epoch.TokensPerSecond,12:N0}{valid}");
    }

    private static void WriteResult(Terminal terminal, TrainingResult result, RunOptions options, RunConfig config)
    {
        terminal.Out.WriteLine();
        bool hasTest = result.Test.Count > 0;
        terminal.Out.WriteLine(
            $"best epoch {result.BestEpoch} of {result.Epochs}, {ProgressReporter.Duration(result.Seconds)} in all; "
            + (hasTest ? "on the test part:" : "the split has no test part"));
        if (hasTest)
            Report.WriteMetrics(terminal.Out, terminal.OutIsTerminal, result.Test, result.Baselines, config.MetricDecimalPlace);
        terminal.Out.WriteLine($"model in {options.OutputDirectory}; try: bert4rec recommend --model {Terminal.Quote(options.OutputDirectory)} --history \"...\"");
    }

    /// <summary>"saved/ml-100k-20261124-053110": runs do not overwrite each other.</summary>
    private static string NewDirectory(RunConfig config) =>
        Path.Combine("saved", $"{config.Dataset ?? "run"}-{DateTime.Now:yyyyMMdd-HHmmss}");
}
