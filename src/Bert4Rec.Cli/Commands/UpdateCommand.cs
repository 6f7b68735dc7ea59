using System.CommandLine;
using Bert4Rec.Cli.Options;
using Bert4Rec.Cli.Output;
using Bert4Rec.Configuration;
using Bert4Rec.Evaluation;
using Bert4Rec.Kernels;
using Bert4Rec.Pipeline;
using Bert4Rec.Serialization;
using Bert4Rec.Training;

namespace Bert4Rec.Cli.Commands;

/// <summary><c>update</c>: new events, users and items into a trained folder, which is replaced by the updated one.</summary>
internal static class UpdateCommand
{
    public static Command Create(Terminal terminal)
    {
        Option<string> model = CommonOptions.Model();
        Option<string[]> set = CommonOptions.Set();
        Option<string> device = CommonOptions.Device();
        Option<Precision> precision = CommonOptions.Precision(device);
        Option<int> threads = CommonOptions.Threads();
        Option<bool> json = CommonOptions.Json();
        var input = new Option<string[]>("--input", "-i")
        {
            Description = "The events since then: event logs, folders of them, or one .inter file.",
            HelpName = "INPUT",
            AllowMultipleArgumentsPerToken = true,
            Required = true,
        };
        Option<int?> epochs = CommonOptions.Whole(minimum: 1, new Option<int?>("--epochs")
        {
            Description = "Epochs to train; the default is a fifth of those that the training took.",
            HelpName = "N",
        });
        var command = new Command("update", "Adds new events, users and items to a trained model.")
        {
            model, input, set, epochs, device, precision, threads, json,
        };
        command.SetAction(parsed =>
        {
            string directory = parsed.GetRequiredValue(model);
            CommonOptions.ConfigOfRun(directory);
            string[] settings = [.. parsed.GetValue(set) ?? [], .. EventLogOptions.InputSettings(parsed.GetRequiredValue(input), [])];
            RunConfig inputs = UpdateRun.Inputs(directory, settings);
            EventLogOptions.CheckIsRead(parsed.GetRequiredValue(input), inputs);
            foreach (string warning in inputs.Warnings)
                terminal.Warn(warning);
            var options = new RunOptions(
                directory, parsed.GetRequiredValue(device), parsed.GetValue(threads), false, parsed.GetValue(precision));
            return Update(inputs, options, parsed.GetValue(epochs), parsed.GetValue(json), terminal);
        });
        return command;
    }

    private static int Update(RunConfig inputs, RunOptions options, int? epochs, bool json, Terminal terminal)
    {
        TextWriter log = json ? terminal.Error : terminal.Out;
        RunConfig config = UpdateRun.SettingsOf(options.OutputDirectory);
        return Interruption.Run(
            terminal,
            (progress, cancellation) =>
            {
                using var folder = FolderLock.Take(options.OutputDirectory);
                var run = new UpdateRun(inputs, options, epochs, progress, cancellation)
                {
                    OnStep = progress.Above<StepReport>(step => EventLogOptions.WriteStep(terminal, log, step)),
                };
                return run.Run(
                    progress.Above<UpdateStart>(start =>
                    {
                        foreach (string warning in start.Warnings)
                            terminal.Warn(warning);
                        log.WriteLine(
                            $"events   {start.Events:N0} new, of {start.Users:N0} users ({start.NewUsers:N0} new); "
                            + $"{start.NewItems:N0} new items");
                        log.WriteLine($"training {start.Epochs} epochs");
                        if (start.LeavesSeenOut)
                            log.WriteLine(TrainingLog.SeenLeftOut);
                        log.WriteLine();
                        TrainingLog.WriteEpochHeader(log, config);
                    }),
                    progress.Above<EpochReport>(epoch => TrainingLog.WriteEpoch(log, epoch, config)));
            },
            result =>
            {
                if (json)
                {
                    Report.WriteJson(terminal.Out, new { output = options.OutputDirectory, result });
                    return;
                }
                Write(terminal, result, config);
                terminal.Out.WriteLine();
                terminal.Out.WriteLine(
                    $"{Terminal.OneLine(options.OutputDirectory)} was replaced by the updated model; "
                    + $"{ProgressReporter.Duration(result.Seconds)} in all");
                string report = Path.Combine(options.OutputDirectory, PipelineRun.ReportFileName);
                if (File.Exists(report))
                    terminal.Out.WriteLine($"{Terminal.OneLine(report)} still shows the model as run left it");
            },
            () => "stopped; the model is as it was");
    }

    private static void Write(Terminal terminal, UpdateResult result, RunConfig config)
    {
        terminal.Out.WriteLine();
        if (result.All.Samples == 0)
        {
            terminal.Out.WriteLine("the split holds no event back, so nothing was measured");
            return;
        }
        if (result.Training.BestEpoch == 0)
            terminal.Out.WriteLine("no epoch was better on the validation part than the model as it was: its parameters stay");
        string named = EvaluationSettings.Named(config.EvalArgs.TestMode, result.Training.ExcludeSeen);
        terminal.Out.WriteLine($"held-out events, before the update and after it{named}:");
        string format = $"F{config.MetricDecimalPlace}";
        var rows = result.All.After.Select(metric => new[]
        {
            metric.Key,
            result.All.Before[metric.Key].ToString(format),
            metric.Value.ToString(format),
            result.Training.Baselines["Markov chain"][metric.Key].ToString(format),
            Of(result.OfThose.Before, metric.Key),
            Of(result.OfThose.After, metric.Key),
        });
        Report.WriteTable(
            terminal,
            ["", "before", "after", "Markov chain", "before, new events", "after, new events"],
            rows.Append(["samples", $"{result.All.Samples:N0}", "", "", $"{result.OfThose.Samples:N0}", ""]));
        if (result.LeavesSeenOut != result.LeftSeenOut)
            terminal.Out.WriteLine($"the blend {(result.LeavesSeenOut ? "now leaves" : "no longer leaves")} out what customers had");
        if (result.Training.RulesExcludeSeen)
            terminal.Out.WriteLine(Comparison.RulesLeaveOut);

        string Of(IReadOnlyDictionary<string, double> metrics, string name) =>
            metrics.TryGetValue(name, out double value) ? value.ToString(format) : "-";
    }
}
