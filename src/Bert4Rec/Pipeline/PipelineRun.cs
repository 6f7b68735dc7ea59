using System.Globalization;
using System.Reflection;
using System.Text.Json;
using System.Text.Json.Serialization;
using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.EventLog;
using Bert4Rec.Inference;
using Bert4Rec.Serialization;
using Bert4Rec.Training;
using Bert4Rec.Tuning;

namespace Bert4Rec.Pipeline;

/// <summary>A step that is done, or did not need doing.</summary>
/// <param name="Name">analyze, clean, convert, compare, tune, train, refit or report.</param>
/// <param name="Ran">False where what an earlier run left still holds.</param>
/// <param name="Rows">What became of the rows; of refit its epochs, 0 where it had nothing to do, and its events.</param>
/// <param name="Read">What the reader of an event log saw; null where none was read.</param>
/// <param name="Note">What came of a step that has no rows; null for nothing to tell.</param>
internal sealed record StepReport(
    string Name, bool Ran, IReadOnlyDictionary<string, long> Rows, [property: JsonIgnore] ReadSummary? Read, string? Note = null);

/// <summary>Told what a run does.</summary>
/// <param name="OnStep">After each step.</param>
/// <param name="OnStart">Once the data of the training is there.</param>
/// <param name="OnEpoch">After each epoch.</param>
/// <param name="OnTrial">After each trial of a tuning, and each time that it went on.</param>
internal sealed record RunObserver(
    Action<StepReport>? OnStep = null,
    Action<TrainingStart>? OnStart = null,
    Action<EpochReport>? OnEpoch = null,
    Action<TrialReport>? OnTrial = null);

/// <summary>
/// From an event log, or atomic files, to a trained model and a report, in one folder. Every step is recorded in a
/// <see cref="RunManifest"/>: a second run does only what changed, one that was interrupted goes on where it was and ends with the same
/// files.
/// </summary>
/// <param name="config">The settings; with <see cref="RunConfig.EventLog"/> the run starts from it, else from the dataset's atomic
/// files.</param>
/// <param name="options">Where and on what. Resume has no meaning: a run always goes on.</param>
/// <param name="cancellation">Stops the run; the next one goes on.</param>
/// <param name="tuning">How to tune before training; null to train with the settings as they are.</param>
/// <exception cref="InputException">The folder's manifest is none.</exception>
internal sealed class PipelineRun(
    RunConfig config,
    RunOptions options,
    RunObserver observer,
    IProgress<ProgressUpdate>? progress,
    CancellationToken cancellation,
    TuneOptions? tuning = null)
{
    public const string ReportFileName = "report.html";

    /// <summary>Counted up when a log is read otherwise than before, or a model shown otherwise: a run does it again.</summary>
    private const string LogRevision = "2", PageRevision = "3";

    private const string CleanedFileName = "cleaned.csv";
    private const string Comparing = "compare", Tuning = "tune";
    private const int LongestAnalysis = 1 << 28;
    private const string AnalysisFileName = "analysis.json", AnalysisPageName = "analysis.html";

    /// <summary>Settings under which a held-out model is the same: a moved folder is the same data, and a refit comes after it.</summary>
    private static readonly string[] s_indifferent = ["data_path=.", "refit=false"];

    // Most steps have a config, and options for the manifest, of their own.
    private readonly RunConfig _config = config;
    private readonly RunOptions _options = options;
    private readonly RunManifest _manifest = RunManifest.Load(options.OutputDirectory, progress);

    internal static string Version { get; } = typeof(PipelineRun).Assembly.GetCustomAttribute<AssemblyFileVersionAttribute>()!.Version;

    private string Folder => _options.OutputDirectory;

    /// <summary>The settings of the model, once <see cref="Run"/> has chosen what it was left to choose.</summary>
    public RunConfig TrainedConfig { get; private set; } = config;

    /// <summary>The whole chain.</summary>
    /// <exception cref="InputException">An input or a setting is wrong.</exception>
    /// <exception cref="OperationCanceledException">The caller wants no more.</exception>
    public TrainingResult Run()
    {
        string journal = TuneFiles.Journal;
        if (File.Exists(journal) && !HasChosen && !LostManifest())
        {
            throw new InputException(
                $"{journal}: the trials of bert4rec tune, which a run would not keep; give another --output, or remove the file");
        }
        ModelUpdates? updates;
        try
        {
            updates = ModelFolder.ReadUpdates(Folder);
        }
        catch (InputException damage)
        {
            // It may have been updated: its events would be lost without a word.
            throw new InputException($"{damage.Message}; remove it to train again");
        }
        if (updates is not null)
        {
            throw new InputException(
                $"{Folder}: its model has been updated with {updates.Inputs.Count} files of events since, which a run would not train on; "
                + $"run in another --output, or remove {ModelFolder.ModelFileName} to begin again without them");
        }
        if (_config.EventLog is { } log)
        {
            CheckNames(log);
            Analyze();
        }
        RunConfig config = TrainingSession.ForData(Prepare(), _options, progress);
        TuneResult? choice = Choose(config);
        TrainedConfig = config = choice?.Config ?? config;
        Train(config, choice);
        string[] refit = Refit(config);
        Report(config, choice);
        string[] prepared = _config.EventLog is null ? [] : ["analyze", "clean", "convert"];
        string[] chosen = choice is null ? [] : [ChoiceName];
        _manifest.Keep([.. prepared, .. chosen, "train", .. refit, "report"]);
        return ResultFile.Read(Folder);
    }

    /// <summary>What a run writes must not be, the next time, what it reads; nor its dataset lie where a model does.</summary>
    private void CheckNames(EventLogSettings log)
    {
        if (log.Inputs.FirstOrDefault(input => Directory.Exists(input) && UnixFile.IsSame(input, Folder)) is string folder)
            throw new InputException($"{folder}: the folder of the log is that of the results; give another --output");
        if (_config.Dataset is TuneFolder.TrialsName or RefitFolder.Name)
        {
            throw new InputException(
                $"dataset is {_config.Dataset}, which is the name of a folder of a run's own; give another, as in --set dataset=shop");
        }
    }

    /// <summary>Makes the atomic files from the event log, if the run starts from one.</summary>
    /// <returns>The settings to train with: they name the atomic files, and no log.</returns>
    public RunConfig Prepare()
    {
        if (_config.EventLog is not { } log)
            return _config;
        string cleaned = Path.Combine(Folder, CleanedFileName);
        string name = _config.Dataset!;
        string dataset = Path.Combine(Folder, name);
        Step(
            "clean",
            EventLogFiles.List(log.Inputs),
            new(FormatOf(log))
            {
                ["events"] = log.Clean.Events.ToString(),
                ["keep_nulls"] = string.Join(",", log.Clean.KeepNulls.Order().Select(EventColumns.Name)),
                ["max_bad_rows"] = Text(log.Clean.MaxBadRows),
            },
            [cleaned],
            () =>
            {
                CleanSummary summary = EventLogCleaner.Clean(
                    log.Inputs, cleaned, log.Clean with { Threads = Threads }, progress, cancellation);
                return (Rows(summary.RowsRead, summary.RowsKept, summary.Dropped), summary.Read);
            });
        Step(
            "convert",
            [cleaned],
            new()
            {
                ["name"] = name,
                ["group_by"] = log.Convert.GroupBy.ToString(),
                ["min_length"] = Text(log.Convert.MinLength),
                ["max_length"] = Text(log.Convert.MaxLength),
                ["max_bad_rows"] = Text(log.Convert.MaxBadRows),
            },
            [.. new[] { "inter", "user", "item" }.Select(suffix => Path.Combine(dataset, $"{name}.{suffix}"))],
            () =>
            {
                ConvertSummary summary = AtomicFileWriter.Convert(
                    cleaned, dataset, name, log.Convert with { Threads = Threads }, progress, cancellation);
                return (Rows(summary.RowsRead, summary.RowsKept, summary.Dropped), summary.Read);
            });
        return _config.With($"data_path={RunConfig.Quoted(Folder)}", $"dataset={RunConfig.Quoted(name)}", "event_log=~");
    }

    private int Threads => _options.Threads == 0 ? Environment.ProcessorCount : _options.Threads;

    /// <summary>What a log's columns are called, and what its folders say, for the manifest; nothing where it is as ours.</summary>
    private static Dictionary<string, string> FormatOf(EventLogSettings log)
    {
        var options = new Dictionary<string, string>(log.Clean.Format.Settings()) { ["revision"] = LogRevision };
        string[] partitions =
        [
            .. EventLogFiles.List(log.Inputs).Where(ParquetInput.HasExtension)
                .Select(file => string.Join('/', ParquetLog.PartitionsOf(file, log.Clean.Format))),
        ];
        if (partitions.Any(partition => partition.Length > 0))
            options["partitions"] = string.Join('\n', partitions);
        return options;
    }

    private void Analyze()
    {
        EventLogSettings log = _config.EventLog!;
        string file = Path.Combine(Folder, AnalysisFileName), page = Path.Combine(Folder, AnalysisPageName);
        var format = new SortedDictionary<string, string>(FormatOf(log)) { ["max_bad_rows"] = Text(log.Clean.MaxBadRows) };
        Step("analyze", EventLogFiles.List(log.Inputs), format, [file, page], () =>
        {
            // The run cleans the log anyway: no checksums of it on the side.
            var options = new AnalyzeOptions
            {
                Format = log.Clean.Format,
                MaxBadRows = log.Clean.MaxBadRows,
                Threads = Threads,
                ChecksumBytes = 0,
            };
            LogAnalysis analysis = EventLogAnalysis.Analyze(log.Inputs, options, progress, cancellation);
            OutputFile.WriteText(file, JsonSerializer.Serialize(analysis, PipelineJson.Indented) + "\n");
            OutputFile.WriteText(page, AnalysisPage.Render(analysis));
            return (Rows(analysis.Read!.Rows, analysis.RawRows, analysis.Dropped), null);
        });
    }

    /// <summary>Chooses what the settings leave open: the objective, and with <see cref="TuneOptions"/> whatever can be tuned.</summary>
    /// <returns>Null where there is nothing to choose.</returns>
    private TuneResult? Choose(RunConfig config)
    {
        if (tuning is null && !config.LeavesObjectiveOpen())
        {
            // What an earlier run chose is not of the model that is trained now.
            if (HasChosen || File.Exists(TuneFiles.Journal))
                TuneFiles.Discard();
            return null;
        }
        SortedDictionary<string, string> options = TrainingOptions(config);
        if (tuning is not null)
        {
            options["budget"] = tuning.Budget.ToString();
            options["space"] = tuning.Space?.ToString() ?? "default";
            options["tuning"] = TuneSession.Revision;
        }
        ManifestStep step = NewStep(ChoiceName, new DatasetFiles(config).All, options);
        bool isDone = Holds(step);
        if (!isDone)
        {
            if (!IsBegun(step))
                TuneFiles.Discard();
            _manifest.Begin(step);
        }
        TuneResult choice = tuning is null
            ? TuneSession.CompareObjectives(config, _options, progress, cancellation)
            : TuneSession.Tune(config, _options, tuning, isDone ? null : observer.OnTrial, progress, cancellation);
        string verdict = choice.Verdict();
        // tuned.yaml may have been written anew.
        if (!isDone || !Holds(step))
        {
            string tuned = TuneFiles.Tuned, journal = TuneFiles.Journal;
            string[] files = tuning is null ? [journal] : [journal, tuned];
            var facts = new Dictionary<string, string> { ["choice"] = verdict };
            // Without a validation nothing was compared, and there is no journal.
            _manifest.Finish(step with { Facts = facts }, [.. files.Where(File.Exists)], cancellation);
        }
        observer.OnStep?.Invoke(new(ChoiceName, !isDone, step.Rows, null, verdict));
        return choice;
    }

    private TuneFolder TuneFiles => new(Folder);

    /// <summary>What choosing is called in the manifest.</summary>
    private string ChoiceName => tuning is null ? Comparing : Tuning;

    /// <summary>Whether a run in the folder has begun to choose: what a tuning would leave is a run's own.</summary>
    private bool HasChosen => _manifest[Comparing] is not null || _manifest[Tuning] is not null;

    /// <summary>Whether the folder is that of a run whose manifest was removed, to do everything again: tune leaves no model, but a
    /// page.</summary>
    private bool LostManifest() => File.Exists(Path.Combine(Folder, ModelFolder.ModelFileName))
        && !File.Exists(Path.Combine(Folder, RunManifest.FileName)) && !File.Exists(TuneFiles.Page);

    /// <summary>What a training depends on beside the data.</summary>
    private SortedDictionary<string, string> TrainingOptions(RunConfig config) => new()
    {
        ["device"] = _options.Device,
        ["precision"] = _options.Precision.ToString(),
        ["revision"] = TrainingSession.Revision,
        ["config"] = config.With(s_indifferent).ToYaml(),
    };

    private void Train(RunConfig config, TuneResult? choice)
    {
        SortedDictionary<string, string> options = TrainingOptions(config);
        string settings = options["config"];
        ManifestStep step = NewStep("train", new DatasetFiles(config).All, options);
        if (IsDone(step))
        {
            TuneFiles.DiscardTrials();
            return;
        }
        if (!IsBegun(step)
            || (Checkpoint.TryReadRun(Folder) is (string saved, _) && RunConfig.Parse(saved, Folder, s_indifferent).ToYaml() != settings))
            TrainingFolder.Discard(Folder);
        _manifest.Begin(step);
        // The trial that was taken is a training with these settings that was stopped: this one goes on with it.
        if (choice is not null && !File.Exists(Path.Combine(Folder, Checkpoint.FileName)))
            TrainingFolder.Move(TuneFiles.OfTrial(choice.Chosen), Folder);
        var facts = new SortedDictionary<string, string>(StringComparer.Ordinal);
        TrainingSession.TrainHeldOut(
            config,
            _options with { Resume = true },
            progress,
            start =>
            {
                facts["device"] = start.Device;
                facts[".NET"] = Environment.Version.ToString();
                observer.OnStart?.Invoke(start);
            },
            observer.OnEpoch,
            cancellation);
        TuneFiles.DiscardTrials();
        _manifest.Finish(step with { Facts = facts }, TrainingFolder.ResultFiles(Folder), cancellation);
        observer.OnStep?.Invoke(new("train", true, step.Rows, null));
    }

    /// <summary>The model that recommends.</summary>
    /// <returns>The step's name, or none where none is wanted.</returns>
    private string[] Refit(RunConfig config)
    {
        const string Name = "refit";
        if (!config.Refit)
        {
            TrainingFolder.DiscardRefit(Folder);
            return [];
        }
        ManifestStep step = NewStep(
            Name,
            [.. new DatasetFiles(config).All, .. TrainingFolder.ResultFiles(Folder)],
            TrainingOptions(config));
        if (IsDone(step))
            return [Name];
        if (!IsBegun(step))
            TrainingFolder.DiscardRefit(Folder);
        _manifest.Begin(step);
        var (epochs, events) = TrainingSession.Refit(config, _options, progress, cancellation);
        step = step with { Rows = new Dictionary<string, long> { ["epochs"] = epochs, ["events"] = events } };
        string[] files = epochs == 0 ? [] : [.. ModelFolder.FileNames.Select(file => Path.Combine(RefitFolder.Of(Folder), file))];
        _manifest.Finish(step, files, cancellation);
        observer.OnStep?.Invoke(new(Name, true, step.Rows, null));
        return [Name];
    }

    private void Report(RunConfig config, TuneResult? choice)
    {
        string page = Path.Combine(Folder, ReportFileName), analysis = Path.Combine(Folder, AnalysisFileName);
        ManifestStep?[] steps = [_manifest["clean"], _manifest["convert"], _manifest["train"]];
        string rows = JsonSerializer.Serialize(
            steps.Select(step => step?.Rows), PipelineJson.Default.IEnumerableIReadOnlyDictionaryStringInt64);
        long refitEpochs = config.Refit ? _manifest["refit"]!.Rows["epochs"] : 0;
        var options = new SortedDictionary<string, string>
        {
            ["rows"] = rows,
            ["choice"] = choice?.Verdict() ?? "",
            ["refit"] = Text(refitEpochs),
            ["revision"] = PageRevision,
        };
        string[] inputs = [.. TrainingFolder.ResultFiles(Folder), .. _config.EventLog is null ? Array.Empty<string>() : [analysis]];
        Step("report", inputs, options, [page], () =>
        {
            LogAnalysis? log = _config.EventLog is null
                ? null
                : JsonSerializer.Deserialize<LogAnalysis>(
                    InputFile.ReadText(analysis, LongestAnalysis, "an analysis"), PipelineJson.Indented);
            RunReport report = RunReport.Gather(config, _options, progress, cancellation) with
            {
                Log = log,
                Steps = [.. steps.OfType<ManifestStep>()],
                RefitEpochs = refitEpochs,
                Choice = choice,
            };
            OutputFile.WriteText(page, ReportPage.Render(report));
            return (new Dictionary<string, long>(), null);
        });
    }

    private void Step(
        string name,
        IReadOnlyList<string> inputs,
        SortedDictionary<string, string> options,
        IReadOnlyList<string> outputs,
        Func<(IReadOnlyDictionary<string, long> Rows, ReadSummary? Read)> work)
    {
        cancellation.ThrowIfCancellationRequested();
        ManifestStep step = NewStep(name, inputs, options);
        if (IsDone(step))
            return;
        _manifest.Begin(step);
        var (rows, read) = work();
        _manifest.Finish(step with { Rows = rows }, outputs, cancellation);
        observer.OnStep?.Invoke(new(name, true, rows, read));
    }

    private ManifestStep NewStep(string name, IReadOnlyList<string> inputs, SortedDictionary<string, string> options) => new(
        name,
        [.. inputs.Select(path => _manifest.Describe(path, cancellation))],
        options,
        new Dictionary<string, long>(),
        new Dictionary<string, string>());

    private bool IsDone(ManifestStep wanted)
    {
        if (!Holds(wanted))
            return false;
        observer.OnStep?.Invoke(new(wanted.Name, false, _manifest[wanted.Name]!.Rows, null));
        return true;
    }

    /// <summary>Whether the step was begun, from the same, and not done.</summary>
    private bool IsBegun(ManifestStep wanted) =>
        _manifest[wanted.Name] is { Outputs: null } begun && begun.IsMadeFrom(wanted.Inputs, wanted.Options);

    /// <summary>Whether a step was made from the same, and nobody touched what it wrote.</summary>
    private bool Holds(ManifestStep wanted) => _manifest[wanted.Name] is { } made
        && made.IsMadeFrom(wanted.Inputs, wanted.Options)
        && _manifest.HasOutputs(made, cancellation);

    private static Dictionary<string, long> Rows(long read, long kept, IReadOnlyDictionary<string, long> dropped)
    {
        var rows = new Dictionary<string, long> { ["read"] = read, ["kept"] = kept };
        foreach ((string reason, long count) in dropped)
            rows[$"dropped: {reason}"] = count;
        return rows;
    }

    private static string Text(IFormattable value) => value.ToString(null, CultureInfo.InvariantCulture);
}
