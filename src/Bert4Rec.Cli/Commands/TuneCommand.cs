using System.CommandLine;
using Bert4Rec.Cli.Options;
using Bert4Rec.Cli.Output;
using Bert4Rec.Configuration;
using Bert4Rec.Distributed;
using Bert4Rec.Pipeline;
using Bert4Rec.Serialization;
using Bert4Rec.Training;
using Bert4Rec.Tuning;

namespace Bert4Rec.Cli.Commands;

/// <summary><c>tune</c>: chooses settings by trials on the validation part, within a time or a number of trials.</summary>
internal static class TuneCommand
{
    public static Command Create(Terminal terminal, ProcessGroup ranks)
    {
        var training = new TrainingOptions();
        Option<string> space = CommonOptions.Space();
        Option<string> output = CommonOptions.Output(
            "Folder for the trials and the choice; the default is saved/DATASET-tune. The same command goes on there.");
        Option<TuneBudget?> budget = CommonOptions.Budget(
            new("--budget")
            {
                Description = "Time that it may take; the default is 30m.",
                HelpName = "90s|30m|1.5h",
            },
            mayBeTrials: false);
        Option<int?> trials = CommonOptions.Whole(
            minimum: 1,
            new Option<int?>("--trials")
            {
                Description = "Instead of a time, how many settings to try: the same seed then gives the same choice.",
                HelpName = "N",
            },
            TuneBudget.MostTrials);
        Command command = training.NewCommand(
            "tune", "Tries settings on the validation part, and writes the best ones as a config.", output, budget, trials, space);
        command.Validators.Add(result =>
        {
            if (result.GetResult(training.Config) is null && result.GetResult(training.Set) is null)
                result.AddError("Nothing says what to tune on: give a --config FILE.");
            if (result.GetResult(budget) is not null && result.GetResult(trials) is not null)
                result.AddError("--budget is a time and --trials a number of trials: give one of them.");
        });
        command.SetAction(parsed =>
        {
            string[] files = parsed.GetValue(training.Config) ?? [], settings = parsed.GetValue(training.Set) ?? [];
            RunConfig config = CommonOptions.LoadConfig(files, settings, parsed.GetValue(training.Seed), terminal, choosesObjective: true);
            string directory = parsed.GetValue(output) ?? Path.Combine("saved", $"{config.Dataset ?? "run"}-tune");
            var tuning = new TuneOptions(
                parsed.GetValue(trials) is int number ? TuneBudget.OfTrials(number) : parsed.GetValue(budget) ?? TuneBudget.Default,
                parsed.GetValue(space) is string file ? SearchSpace.Load(file) : null);
            foreach (string warning in TuneSession.Check(config, tuning))
                terminal.Warn(warning);
            return Tune(config, training.Read(parsed, directory, ranks, terminal), tuning, parsed.GetValue(training.Json), terminal);
        });
        return command;
    }

    private static int Tune(RunConfig config, RunOptions options, TuneOptions tuning, bool json, Terminal terminal)
    {
        TextWriter log = json ? terminal.Error : terminal.Out;
        var files = new TuneFolder(options.OutputDirectory);
        string page = files.Page, tuned = files.Tuned;
        int trials = 0;
        return Interruption.Run(
            terminal,
            (progress, cancellation) =>
            {
                using var folder = FolderLock.Take(options.OutputDirectory);
                var observer = new RunObserver(progress.Above<StepReport>(step => EventLogOptions.WriteStep(terminal, log, step)));
                RunConfig prepared = new PipelineRun(config, options, observer, progress, cancellation).Prepare();
                TuneResult result = TuneSession.Tune(
                    prepared,
                    options,
                    tuning,
                    progress.Above<TrialReport>(trial => TrainingLog.WriteTrial(log, trial, config, isFirst: trials++ == 0)),
                    progress,
                    cancellation);
                OutputFile.WriteText(page, TunePage.Render(result));
                return result;
            },
            result =>
            {
                if (json)
                {
                    var tried = result.Trials.Select(
                        trial => new { trial.Trial, trial.Settings, trial.Epochs, trial.BestEpoch, trial.Value });
                    Report.WriteJson(
                        terminal.Out,
                        new
                        {
                            output = options.OutputDirectory,
                            tuned,
                            page,
                            metric = result.Config.ValidMetric,
                            result.Chosen,
                            result.Best.Settings,
                            result.Best.Value,
                            trials = tried,
                        });
                    return;
                }
                terminal.Out.WriteLine($"\n{result.Verdict()}\n");
                terminal.Out.WriteLine($"trials in {page}");
                terminal.Out.WriteLine($"settings in {tuned}; try: bert4rec train --config {Terminal.Quote(tuned)}");
            },
            () => "stopped; the same command goes on where it was");
    }
}
