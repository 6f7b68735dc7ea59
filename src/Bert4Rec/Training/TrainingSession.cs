using System.Diagnostics;
using System.Globalization;
using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Evaluation;
using Bert4Rec.Inference;
using Bert4Rec.Model;
using Bert4Rec.Serialization;

namespace Bert4Rec.Training;

/// <summary>
/// A whole run: data, epochs with validation and checkpoints, the test of the best model, the refit, and the files that it leaves.
/// </summary>
internal static class TrainingSession
{
    private const int LongestConfig = 1 << 22;

    /// <param name="config">The settings.</param>
    /// <param name="options">Where and on what.</param>
    /// <param name="progress">Told of everything that takes time.</param>
    /// <param name="onStart">Told once the data is there.</param>
    /// <param name="onEpoch">Told after each epoch, once its checkpoint is written.</param>
    /// <param name="cancellation">Stops after the current step; the last whole epoch can be resumed.</param>
    /// <returns>How the run ended; of a trial, without the test.</returns>
    /// <exception cref="InputException">Wrong data or settings, or a loss that is no longer a number.</exception>
    /// <exception cref="OperationCanceledException">The caller wants no more.</exception>
    public static TrainingResult Train(
        RunConfig config,
        RunOptions options,
        IProgress<ProgressUpdate>? progress,
        Action<TrainingStart>? onStart,
        Action<EpochReport>? onEpoch,
        CancellationToken cancellation)
    {
        config.RequireObjective();
        var clock = Stopwatch.StartNew();
        var dataset = DatasetLoader.Load(config, progress, options.Cache);
        var result = TrainOn(config, dataset, options, progress, onStart, onEpoch, cancellation);
        return result with { Seconds = clock.Elapsed.TotalSeconds };
    }

    /// <summary>Counted up when the same settings and data make another model than before, the blend included: a run does such a training
    /// again, and a tuning does not go on with trials that were judged otherwise.</summary>
    internal const string Revision = "3";

    /// <summary>The same with data that is there already.</summary>
    /// <inheritdoc cref="Train"/>
    internal static TrainingResult TrainOn(
        RunConfig config,
        InteractionDataset dataset,
        RunOptions options,
        IProgress<ProgressUpdate>? progress,
        Action<TrainingStart>? onStart,
        Action<EpochReport>? onEpoch,
        CancellationToken cancellation)
    {
        var clock = Stopwatch.StartNew();
        config = ForData(config, dataset);
        var result = TrainModel(config, dataset, null, options, progress, onStart, onEpoch, cancellation);
        if (config.Refit && options.Trial is null)
            Refit(config, dataset, result, options, progress, cancellation);
        else if (RefitFolder.State(options.OutputDirectory).IsBegun && !RefitFolder.IsOfThisModel(options.OutputDirectory))
            DiscardRefit(options.OutputDirectory);
        return result with { Seconds = clock.Elapsed.TotalSeconds };
    }

    /// <summary>All of <see cref="Train"/> but the refit.</summary>
    /// <inheritdoc cref="Train"/>
    internal static TrainingResult TrainHeldOut(
        RunConfig config,
        RunOptions options,
        IProgress<ProgressUpdate>? progress,
        Action<TrainingStart>? onStart,
        Action<EpochReport>? onEpoch,
        CancellationToken cancellation)
    {
        var dataset = DatasetLoader.Load(config, progress, options.Cache);
        return TrainModel(ForData(config, dataset), dataset, null, options, progress, onStart, onEpoch, cancellation);
    }

    /// <summary>The settings with the defaults that go with the data, which is read only if some do.</summary>
    /// <inheritdoc cref="Train"/>
    internal static RunConfig ForData(RunConfig config, RunOptions options, IProgress<ProgressUpdate>? progress) =>
        config.AwaitsData ? ForData(config, DatasetLoader.Load(config, progress, options.Cache)) : config;

    private static RunConfig ForData(RunConfig config, InteractionDataset dataset) =>
        config.ForData(dataset.EventItems.Length, dataset.ItemCount - 1, dataset.UserCount - 1);

    /// <summary>
    /// Trains the model that recommends: anew, from the same seed, on all events, those that the finished run in the folder held back
    /// included, for as many epochs as were best there. Goes on with one that was begun for this run; any other is discarded.
    /// </summary>
    /// <returns>Epochs and events that it was trained on; no epochs where the run held nothing back, and so nothing is done.</returns>
    /// <inheritdoc cref="Train"/>
    internal static (int Epochs, int Events) Refit(
        RunConfig config, RunOptions options, IProgress<ProgressUpdate>? progress, CancellationToken cancellation) => Refit(
        config,
        DatasetLoader.Load(config, progress, options.Cache),
        ResultFile.Read(options.OutputDirectory),
        options,
        progress,
        cancellation);

    /// <summary>Goes on with a trained model on a dataset that has grown, in a folder of its own; see <see cref="WarmStart"/>.</summary>
    /// <param name="config">The settings; its epochs are those of the continuation.</param>
    /// <param name="dataset">All events, in place of those that the config names.</param>
    /// <param name="start">The model to go on with.</param>
    /// <inheritdoc cref="Train"/>
    internal static TrainingResult Continue(
        RunConfig config,
        InteractionDataset dataset,
        WarmStart start,
        RunOptions options,
        IProgress<ProgressUpdate>? progress,
        Action<TrainingStart>? onStart,
        Action<EpochReport>? onEpoch,
        CancellationToken cancellation) =>
        TrainModel(config, dataset, null, options, progress, onStart, onEpoch, cancellation, start);

    /// <summary>A run's settings, of the refit: no event is held back.</summary>
    internal static RunConfig RefitSettings(RunConfig config) => config.With("eval_args.split={RS: [1, 0, 0]}", "refit=false");

    /// <summary>As the other, of events that are read and a training that is done; after <see cref="Continue"/> with a model to go on
    /// with too.</summary>
    /// <inheritdoc cref="Continue"/>
    internal static (int Epochs, int Events) Refit(
        RunConfig config,
        InteractionDataset dataset,
        TrainingResult heldOut,
        RunOptions options,
        IProgress<ProgressUpdate>? progress,
        CancellationToken cancellation,
        WarmStart? start = null)
    {
        string directory = options.OutputDirectory, refit = RefitFolder.Of(directory);
        var split = Splitter.Split(dataset, config.EvalArgs);
        if (split.Valid.Length + split.Test.Length == 0)
        {
            DiscardRefit(directory);
            return (0, dataset.EventItems.Length);
        }
        var task = new RefitTask(RefitFolder.HeldOut(directory), heldOut.BestEpoch, heldOut.Blend?.Weights ?? BlendWeights.None);
        if (Checkpoint.TryReadOrigin(refit)?.GetValueOrDefault(Checkpoint.HeldOutKey) != task.HeldOut)
            DiscardRefit(directory);
        // As many epochs as the learning rate took its course over.
        RunConfig settings = RefitSettings(config);
        if (start is null && heldOut.Epochs > config.Epochs)
            settings = settings.With($"epochs={heldOut.Epochs}");
        TrainModel(
            settings,
            dataset,
            task,
            options with { OutputDirectory = refit, Resume = true },
            progress is null ? null : new NamedProgress("refit", progress),
            null,
            null,
            cancellation,
            start);
        return (heldOut.BestEpoch, dataset.EventItems.Length);
    }

    private static TrainingResult TrainModel(
        RunConfig config,
        InteractionDataset dataset,
        RefitTask? refit,
        RunOptions options,
        IProgress<ProgressUpdate>? progress,
        Action<TrainingStart>? onStart,
        Action<EpochReport>? onEpoch,
        CancellationToken cancellation,
        WarmStart? start = null)
    {
        var clock = Stopwatch.StartNew();
        var split = Splitter.Split(dataset, config.EvalArgs);
        if (split.Train.Length == 0)
            throw new InputException("no training samples: the split leaves none (a user needs two events to have a target)");
        RunConfig drawn = start is null ? config : config.With($"seed={start.Seed}");
        using var engine = new TrainingEngine(drawn, dataset, split, options, start?.Replay);
        var trainer = engine.Trainer;
        if (start is not null)
            trainer.Parameters.Upload(start.Parameters);
        string directory = options.OutputDirectory;
        var average = new ParameterAverage(trainer.Layout.Length, config.AverageDecay);
        int epochsBefore = 0;
        if (start is not null)
        {
            start.Parameters.CopyTo(average.Values, 0);
            // It counts as twice the epochs to come: with less the mean forgets it, with more it learns too little.
            epochsBefore = 2 * config.Epochs;
        }
        var best = new float[trainer.Layout.Length];
        var origin = Origin(config, dataset, split);
        if (refit is not null)
            origin[Checkpoint.HeldOutKey] = refit.HeldOut;
        var resumed = options.Resume ? Checkpoint.TryLoad(directory, origin, engine, average, best) : null;
        var state = resumed ?? new();
        var epochs = MetricsLog.Read(directory, state);
        state.MetricsChecksum = MetricsLog.Checksum(epochs);
        // Before config.yaml: a run that is killed from here on goes on with the settings of its checkpoint.
        if (state.Epoch > 0 && Checkpoint.TryReadRun(directory) is (var savedConfig, var saved)
            && (savedConfig != config.ToYaml() || saved.MetricsChecksum != state.MetricsChecksum))
            Checkpoint.Save(directory, config, origin, engine, average, best, state);
        // What an earlier run left here must not be taken for this one's, not even if this one is killed in its first epoch.
        if (resumed is null)
            Discard(directory);
        if (!IsDone())
        {
            // It would say of a model that changes from epoch to epoch that it is done.
            if (Directory.Exists(directory))
                File.Delete(Path.Combine(directory, ResultFile.Name));
            DiscardRefit(directory);
        }
        // Written anew for a resumed run too: they may have been altered since, and the model says by checksum which ones are its own.
        ModelFolder.SaveData(directory, config, dataset);
        if (state.HasBest && !IsDone())
            ModelFolder.SaveModel(directory, config, trainer.Layout, best);
        onStart?.Invoke(new(
            config.Dataset ?? config.DataPath,
            dataset.UserCount - 1,
            dataset.ItemCount - 1,
            dataset.EventItems.Length,
            split.Train.Length,
            split.Valid.Length,
            split.Test.Length,
            trainer.Layout.Length,
            engine.DeviceName,
            options.Ranks.Size,
            engine.Threads,
            engine.DeviceNote,
            config.DataNote())
        {
            IsDone = IsDone(),
            Warnings = dataset.Warnings,
        });

        var validation = EvaluationSettings.OfTraining(config, config.EvalArgs.ValidMode);
        // To go on may be worse than to stay. (What goes on with a model is never resumed.)
        if (start is not null && split.Valid.Length > 0)
        {
            Validate(start.Parameters);
            start.Parameters.CopyTo(best, 0);
        }
        if (!IsDone())
            engine.CompileKernels(state.Epoch + 1);
        SpareMemory.GiveBackAfter(dataset);
        using (var log = new MetricsLog(directory, epochs))
        {
            bool isOver = false;
            while (!isOver && !IsDone())
            {
                var epochClock = Stopwatch.StartNew();
                var (loss, tokens) = engine.TrainEpoch(++state.Epoch, progress, cancellation);
                state.Step = trainer.Step;
                double seconds = epochClock.Elapsed.TotalSeconds;
                average.Add(trainer.Parameters, epochsBefore + state.Epoch);
                IReadOnlyDictionary<string, double>? valid = null;
                bool isBest = split.Valid.Length == 0;
                if (!isBest && state.Epoch % config.EvalStep == 0)
                    (valid, isBest) = Validate(average.Values);
                if (isBest)
                {
                    average.Values.CopyTo(best, 0);
                    // A refit that is not done recommends nothing.
                    if (refit is null)
                        ModelFolder.SaveModel(directory, config, trainer.Layout, best);
                }
                var report = new EpochReport(state.Epoch, loss, seconds, tokens / seconds, valid, isBest);
                log.Write(report);
                state.MetricsChecksum = MetricsLog.Checksum([report], state.MetricsChecksum);
                Checkpoint.Save(directory, config, origin, engine, average, best, state);
                onEpoch?.Invoke(report);
                isOver = options.Trial?.IsOver(report) ?? false;
            }
        }

        // A large catalogue's moments and gradients are as large as what the rest needs.
        trainer.Dispose();
        // Several ranks would wait for the one that stopped.
        if (options.Ranks.Size == 1)
            progress = new StoppingProgress(progress, cancellation);
        BlendChoice? choice = null;
        IReadOnlyDictionary<string, double> bestValid = state.Stopping.BestMetrics;
        // No validation chose: the last parameters are the model.
        if (!state.HasBest)
            average.Values.CopyTo(best, 0);
        SpareMemory.GiveBackAfter(dataset);
        engine.RankWith(best);
        if (config.Blend && split.Valid.Length > 0)
        {
            choice = ChooseBlend();
            SpareMemory.GiveBackAfter(dataset);
            if (choice.Weights != BlendWeights.None)
                bestValid = Evaluator.Evaluate(engine.Ranker, dataset, engine.Statistics, split.Valid, validation, progress);
        }
        // What a trial is judged by is what would be delivered, the blend included.
        if (options.Trial is not null)
            return Result(Baselines.None);
        ModelFolder.SaveModel(directory, config, trainer.Layout, best, refit?.Blend ?? choice?.Weights, refit?.HeldOut);
        var test = split.Test.Length == 0
            ? Baselines.None
            : Baselines.Compare(
                engine.Ranker, engine.Unblended, dataset, split, engine.Statistics, split.Test,
                EvaluationSettings.OfTraining(config, config.EvalArgs.TestMode), progress, whenMeasured: engine.ForgetBlend);
        var result = Result(test);
        if (refit is null)
            ResultFile.Write(directory, result);
        return result;

        // A method of its own, whose variables keep the tables no longer than it takes.
        BlendChoice ChooseBlend()
        {
            var rules = Blend.ToChoose(dataset, split.Train, ItemSimilarity.Of(dataset, config.SequenceSeparator), progress);
            SpareMemory.GiveBackAfter(dataset);
            int k = Math.Min(Math.Min(validation.ComparedCutoff, BlendSearch.LongestList), dataset.ItemCount - 1);
            var chosen = engine.ChooseBlend(split.Valid, rules, k, config.ExcludeSeen, progress);
            engine.Use(rules.With(chosen.Weights));
            return chosen;
        }

        (IReadOnlyDictionary<string, double> Metrics, bool IsBest) Validate(float[] parameters)
        {
            engine.RankWith(parameters);
            var metrics = Evaluator.Evaluate(engine.Ranker, dataset, engine.Statistics, split.Valid, validation, progress);
            double value = Math.Round(metrics[config.ValidMetric.ToLowerInvariant()], config.MetricDecimalPlace);
            return (metrics, state.Stopping.Observe(state.Epoch, value, metrics, config.ValidMetricBigger, config.StoppingMargin));
        }

        TrainingResult Result(ComparedMetrics tested) => new(
            state.Epoch,
            state.HasBest ? state.Stopping.BestEpoch : state.Epoch,
            clock.Elapsed.TotalSeconds,
            trainer.Layout.Length,
            bestValid,
            tested.Metrics,
            tested.StandardErrors,
            tested.Baselines,
            tested.Comparisons,
            choice,
            config.ExcludeSeen);

        // A refit keeps the held-out run's epochs, so that its learning rate takes the same course, and stops at the best of them.
        bool IsDone() => state.Stopping.ShouldStop(config.StoppingStep)
            || state.Epoch >= (refit?.Epochs ?? Math.Min(config.Epochs, options.Trial?.Epochs ?? int.MaxValue));
    }

    /// <summary>What the parameters mean, the order of everything random, and which epoch is the best, depend on.</summary>
    private static SortedDictionary<string, string> Origin(RunConfig config, InteractionDataset dataset, DatasetSplit split) =>
        new(StringComparer.Ordinal)
        {
            ["the checksum of the dataset"] = dataset.Checksum(),
            ["the number of train, valid and test samples"] = $"{split.Train.Length}, {split.Valid.Length}, {split.Test.Length}",
            ["seed"] = Text(config.Seed),
            ["recbole_compatible"] = Text(config.RecboleCompatible),
            ["objective"] = ObjectiveNames.Of(config.Objective),
            ["output_head"] = Text(config.OutputHead),
            ["MAX_ITEM_LIST_LENGTH"] = Text(config.MaximumItemListLength),
            ["hidden_size"] = Text(config.HiddenSize),
            ["inner_size"] = Text(config.InnerSize),
            ["n_layers"] = Text(config.Layers),
            ["n_heads"] = Text(config.Heads),
            ["norm_first"] = Text(config.NormFirst),
            ["position_order"] = Text(config.PositionOrder),
            ["initializer"] = Text(config.Initializer),
            ["layer_norm_eps"] = Text(config.LayerNormEpsilon),
            ["mask_ratio"] = Text(config.MaskRatio),
            ["ft_ratio"] = Text(config.FineTuningRatio),
            ["valid_metric"] = config.ValidMetric.ToLowerInvariant(),
            ["valid_metric_bigger"] = Text(config.ValidMetricBigger),
            ["exclude_seen"] = Text(config.ExcludeSeen),
            ["eval_args.mode"] = config.EvalArgs.ValidMode.ToString(),
        };

    /// <summary>As a config has it, where words are in lower case.</summary>
    private static string Text(IConvertible value) => value.ToString(CultureInfo.InvariantCulture).ToLowerInvariant();

    /// <summary>Removes what a run left in its folder: its refit, its checkpoint, its model, its result.</summary>
    internal static void Discard(string directory)
    {
        DiscardRefit(directory);
        string[] files = [Checkpoint.FileName, ModelFolder.ModelFileName, ResultFile.Name];
        foreach (string path in files.Select(name => Path.Combine(directory, name)).Where(File.Exists))
            File.Delete(path);
    }

    /// <summary>Removes a folder's refit; files in it that are none of ours stay.</summary>
    internal static void DiscardRefit(string directory) => DiscardFolder(RefitFolder.Of(directory));

    /// <summary>Removes a training's folder; files in it that are none of ours stay, and then the folder does.</summary>
    internal static void DiscardFolder(string directory)
    {
        if (!Directory.Exists(directory))
            return;
        foreach (string name in FileNames)
            OutputFile.Delete(Path.Combine(directory, name));
        if (!Directory.EnumerateFileSystemEntries(directory).Any())
            Directory.Delete(directory);
    }

    /// <summary>What a training leaves in its folder.</summary>
    internal static IReadOnlyList<string> FileNames { get; } =
        [.. ModelFolder.FileNames, Checkpoint.FileName, MetricsLog.FileName, TensorBoardWriter.FileName, ResultFile.Name];

    /// <summary>The folder in a run's that has its refitted model; null where there is none.</summary>
    public static string? RefitOfRun(string directory) => RefitFolder.State(directory).IsWhole ? RefitFolder.Of(directory) : null;

    /// <summary>The run's folder that a refit lies in.</summary>
    internal static string RunOfRefit(string directory) =>
        Path.GetDirectoryName(Path.TrimEndingDirectorySeparator(directory)) is { Length: > 0 } run ? run : ".";

    /// <summary>
    /// Moves what a stopped run goes on from into another folder, the checkpoint last: without it the others say nothing.
    /// </summary>
    internal static void Move(string from, string to)
    {
        foreach (string name in new[] { MetricsLog.FileName, TensorBoardWriter.FileName, Checkpoint.FileName })
        {
            string path = Path.Combine(from, name);
            if (File.Exists(path))
                File.Move(path, Path.Combine(to, name), overwrite: true);
        }
    }

    /// <summary>The files of a finished run that hold no times: the same run leaves the same bytes.</summary>
    internal static IReadOnlyList<string> ResultFiles(string directory) =>
        [.. ModelFolder.FileNames.Append(ResultFile.Name).Select(name => Path.Combine(directory, name))];

    /// <summary>
    /// The settings of the run that <c>--resume</c> goes on with, and others over them. They are the checkpoint's, which is whole or
    /// refused; config.yaml is written anew from them.
    /// </summary>
    /// <param name="directory">The run's folder.</param>
    /// <param name="overrides">"key=value".</param>
    /// <param name="warnings">Where config.yaml says something else, or the learning rate takes another course from here on.</param>
    /// <exception cref="InputException">There is no checkpoint, or none that can be read.</exception>
    public static RunConfig ReadConfig(string directory, IReadOnlyList<string> overrides, out IReadOnlyList<string> warnings)
    {
        string path = Path.Combine(directory, Checkpoint.FileName), configPath = Path.Combine(directory, ModelFolder.ConfigFileName);
        if (Checkpoint.TryReadRun(directory) is not (string yaml, _))
        {
            throw new InputException(
                $"{directory}: no {Checkpoint.FileName} in it, so no epoch of a run was whole; start again with its --config and --output");
        }
        if (Checkpoint.TryReadOrigin(directory)!.ContainsKey(Checkpoint.HeldOutKey))
            throw new InputException($"{directory}: a refit goes on with its run: bert4rec train --resume {RunOfRefit(directory)}");
        var found = new List<string>();
        if (File.Exists(configPath) && InputFile.ReadText(configPath, LongestConfig, "a config") != yaml)
            found.Add($"{configPath}: not the settings that {path} was saved with, which the run goes on with; change them with --set");
        RunConfig before = RunConfig.Parse(yaml, path, []), config = RunConfig.Parse(yaml, path, overrides);
        if (config.Epochs != before.Epochs && config.LearningRateSchedule != LearningRateSchedule.Constant)
        {
            found.Add(
                $"epochs is {config.Epochs}, and was {before.Epochs}: from here on, the learning rate is what lr_schedule "
                + $"{Text(config.LearningRateSchedule)} makes of {config.Epochs} epochs; before, it was what it makes of {before.Epochs}");
        }
        warnings = found;
        return config;
    }

    /// <summary>What the config's way of training makes of the training samples.</summary>
    internal static TrainingSequences Sequences(RunConfig config, InteractionDataset dataset, DatasetSplit split) =>
        config.RecboleCompatible
            ? TrainingSequences.Prefixes(dataset, split, config.MaximumItemListLength)
            : config.Objective == Objective.NextItem
                ? TrainingSequences.NextItemWindows(dataset, split, config.MaximumItemListLength, config.Seed)
                : TrainingSequences.Windows(dataset, split, config.MaximumItemListLength, config.Seed);

    /// <param name="HeldOut">SHA-256 of the model that is refitted.</param>
    /// <param name="Epochs">How many to train.</param>
    /// <param name="Blend">The weights that validation chose.</param>
    private sealed record RefitTask(string HeldOut, int Epochs, BlendWeights Blend);
}
