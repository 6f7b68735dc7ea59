using System.CommandLine;
using Bert4Rec.Cli.Options;
using Bert4Rec.Cli.Output;
using Bert4Rec.Configuration;
using Bert4Rec.Distributed;
using Bert4Rec.Inference;
using Bert4Rec.Pipeline;
using Bert4Rec.Serialization;
using Bert4Rec.Training;

namespace Bert4Rec.Cli.Commands;

/// <summary>
/// <c>train</c>: trains on atomic files, reports epoch by epoch, and sets the best model's test metrics beside the baselines'.
/// </summary>
internal static class TrainCommand
{
    public static Command Create(Terminal terminal, ProcessGroup ranks)
    {
        var training = new TrainingOptions();
        Option<string> output = CommonOptions.Output("Folder for the model and the logs; the default is a new one in saved/.");
        var resume = new Option<string>("--resume")
        {
            Description = "Goes on with the run in this folder, from its last whole epoch.",
            HelpName = "DIR",
        };
        Command command = training.NewCommand(
            "train", "Trains a model, tests the best one and compares it with the baselines.", output, resume);
        command.Validators.Add(result =>
        {
            bool resumes = result.GetResult(resume) is not null;
            if (resumes && (result.GetResult(training.Config) is not null || result.GetResult(output) is not null))
                result.AddError("--resume takes the config and the folder of the run it goes on with: leave --config and --output out.");
            if (!resumes && result.GetResult(training.Config) is null && result.GetResult(training.Set) is null)
                result.AddError("Nothing says what to train on: give a --config FILE.");
        });
        command.SetAction(parsed =>
        {
            string? resumed = parsed.GetValue(resume);
            string[] files = parsed.GetValue(training.Config) ?? [], settings = parsed.GetValue(training.Set) ?? [];
            RunConfig config = resumed is null
                ? CommonOptions.LoadConfig(files, settings, parsed.GetValue(training.Seed), terminal)
                : CommonOptions.ResumedConfig(resumed, settings, parsed.GetValue(training.Seed), terminal);
            string directory = resumed ?? parsed.GetValue(output) ?? NewDirectory(config);
            CommonOptions.CheckKeepsConfig(files, directory);
            RunOptions options = training.Read(parsed, directory, ranks, terminal) with { Resume = resumed is not null };
            return Train(config, options, parsed.GetValue(training.Json), terminal);
        });
        return command;
    }

    private static int Train(RunConfig config, RunOptions options, bool json, Terminal terminal)
    {
        TextWriter log = json ? terminal.Error : terminal.Out;
        bool canResume = options.Resume;
        return Interruption.Run(
            terminal,
            (progress, cancellation) =>
            {
                using var folder = FolderLock.Take(options.OutputDirectory);
                var observer = new RunObserver(progress.Above<StepReport>(step => EventLogOptions.WriteStep(terminal, log, step)));
                RunConfig prepared = new PipelineRun(config, options, observer, progress, cancellation).Prepare();
                return TrainingSession.Train(
                    prepared,
                    options,
                    progress,
                    progress.Above<TrainingStart>(start => TrainingLog.WriteHeader(log, start, options.OutputDirectory, config)),
                    progress.Above<EpochReport>(epoch =>
                    {
                        TrainingLog.WriteEpoch(log, epoch, config);
                        canResume = true;
                    }),
                    cancellation);
            },
            result =>
            {
                if (json)
                {
                    string? refit = RefitFolder.WholeOf(options.OutputDirectory);
                    Report.WriteJson(terminal.Out, new TrainOutput(options.OutputDirectory, refit, result));
                    return;
                }
                TrainingLog.WriteResult(terminal, result, options.OutputDirectory, config);
                TrainingLog.WriteModel(terminal, options.OutputDirectory, config);
            },
            () => canResume
                ? $"stopped; to go on from the last whole epoch: bert4rec train --resume {Terminal.Quote(options.OutputDirectory)}"
                : "stopped before the first epoch was whole; there is nothing to resume");
    }

    /// <summary>"saved/ml-100k-20261124-053110": runs do not overwrite each other.</summary>
    private static string NewDirectory(RunConfig config) =>
        Path.Combine("saved", $"{config.Dataset ?? "run"}-{DateTime.UtcNow:yyyyMMdd-HHmmss}");
}
