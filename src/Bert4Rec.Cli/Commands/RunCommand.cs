using System.CommandLine;
using System.Diagnostics;
using Bert4Rec.Cli.Options;
using Bert4Rec.Cli.Output;
using Bert4Rec.Configuration;
using Bert4Rec.Distributed;
using Bert4Rec.Inference;
using Bert4Rec.Pipeline;
using Bert4Rec.Serialization;
using Bert4Rec.Training;
using Bert4Rec.Tuning;

namespace Bert4Rec.Cli.Commands;

/// <summary><c>run</c>: from an event log, or atomic files, to a trained model and a report; does again only what changed.</summary>
internal static class RunCommand
{
    public static Command Create(Terminal terminal, ProcessGroup ranks)
    {
        var training = new TrainingOptions();
        var input = new Option<string[]>("--input", "-i")
        {
            Description = "Event logs (.csv, .csv.gz, .parquet, folders of them), or one .inter file; the config's event_log otherwise.",
            HelpName = "INPUT",
            AllowMultipleArgumentsPerToken = true,
        };
        Option<string> output = CommonOptions.Output(
            "Folder for everything; the default is saved/DATASET. A second run there does only what changed.");
        Option<TuneBudget?> tune = CommonOptions.Budget(
            new("--tune")
            {
                Description = "Tunes the settings first, for as long, or as many trials, as this says; see tune.",
                HelpName = "30m|TRIALS",
            },
            mayBeTrials: true);
        Option<string> space = CommonOptions.Space();
        var format = new LogFormatOptions();
        Option<EventTypes?> events = EventLogOptions.Events();
        Option<EventColumn[]> keepNulls = EventLogOptions.KeepNulls();
        const string Steps = "analyze, clean, convert, train, refit, report";
        Command command = training.NewCommand(
            "run", $"From an event log to a trained model and a report: {Steps}.", input, output, tune, space);
        format.AddTo(command);
        command.Options.Add(events);
        command.Options.Add(keepNulls);
        command.Validators.Add(result =>
        {
            if (result.GetResult(training.Config) is null && result.GetResult(input) is null && result.GetResult(training.Set) is null)
                result.AddError("Nothing says what to run on: give a --config FILE or an --input.");
            if (result.GetResult(space) is not null && result.GetResult(tune) is null)
                result.AddError("--space is for --tune.");
        });
        command.SetAction(parsed =>
        {
            string[] inputs = parsed.GetValue(input) ?? [];
            List<string> ofLog = [.. format.Settings(parsed)];
            if (parsed.GetValue(events) is { } kept)
                ofLog.Add($"event_log.events={EventTypeNames.List(kept)}");
            if (parsed.GetRequiredValue(keepNulls) is { Length: > 0 } columns)
                ofLog.Add($"event_log.keep_nulls=[{string.Join(',', columns.Select(EventColumns.Name))}]");
            string[] files = parsed.GetValue(training.Config) ?? [];
            string[] settings =
            [
                .. EventLogOptions.ColumnSettings(inputs, files),
                .. parsed.GetValue(training.Set) ?? [],
                .. EventLogOptions.InputSettings(inputs, ofLog),
            ];
            RunConfig config = CommonOptions.LoadConfig(files, settings, parsed.GetValue(training.Seed), terminal, choosesObjective: true);
            EventLogOptions.CheckIsRead(inputs, config);
            // What is put to use is to know all that there is; RecBole's way has no such step.
            if (!config.IsGiven("refit") && !config.RecboleCompatible)
                config = config.With("refit=true");
            string directory = parsed.GetValue(output) ?? Path.Combine("saved", config.Dataset ?? "run");
            CommonOptions.CheckKeepsConfig(files, directory);
            TuneOptions? tuning = parsed.GetValue(tune) is { } budget
                ? new(budget, parsed.GetValue(space) is string file ? SearchSpace.Load(file) : null)
                : null;
            foreach (string warning in tuning is null ? [] : TuneSession.Check(config, tuning))
                terminal.Warn(warning);
            return Run(config, training.Read(parsed, directory, ranks, terminal), tuning, parsed.GetValue(training.Json), terminal);
        });
        return command;
    }

    private static int Run(RunConfig config, RunOptions options, TuneOptions? tuning, bool json, Terminal terminal)
    {
        RunConfig trained = config;
        TextWriter log = json ? terminal.Error : terminal.Out;
        var steps = new List<StepReport>();
        int trials = 0;
        var clock = Stopwatch.StartNew();
        return Interruption.Run(
            terminal,
            (progress, cancellation) =>
            {
                using var folder = FolderLock.Take(options.OutputDirectory);
                var run = new PipelineRun(config, options, Observe(progress), progress, cancellation, tuning);
                TrainingResult result = run.Run();
                trained = run.TrainedConfig;
                return result;
            },
            result =>
            {
                string report = Path.Combine(options.OutputDirectory, PipelineRun.ReportFileName);
                double seconds = clock.Elapsed.TotalSeconds;
                if (json)
                {
                    string? refit = RefitFolder.WholeOf(options.OutputDirectory);
                    Report.WriteJson(
                        terminal.Out, new RunOutput(options.OutputDirectory, refit, report, steps, result with { Seconds = seconds }));
                    return;
                }
                TrainingLog.WriteResult(terminal, result, options.OutputDirectory, trained);
                terminal.Out.WriteLine($"report in {report}; {ProgressReporter.Duration(seconds)} in all");
                TrainingLog.WriteModel(terminal, options.OutputDirectory, config);
            },
            () => "stopped; the same command goes on where it was");

        RunObserver Observe(ProgressReporter progress) => new(
            progress.Above<StepReport>(step =>
            {
                steps.Add(step);
                EventLogOptions.WriteStep(terminal, log, step);
            }),
            progress.Above<TrainingStart>(start => TrainingLog.WriteHeader(log, start, options.OutputDirectory, config)),
            progress.Above<EpochReport>(epoch => TrainingLog.WriteEpoch(log, epoch, config)),
            progress.Above<TrialReport>(trial => TrainingLog.WriteTrial(log, trial, config, isFirst: trials++ == 0)));
    }
}
