using System.Diagnostics;
using System.Runtime.CompilerServices;
using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Inference;
using Bert4Rec.Serialization;

namespace Bert4Rec.Training;

/// <summary>
/// A whole run: data, epochs with validation and checkpoints, the test of the best model, the refit, and the files that it leaves.
/// </summary>
internal static class TrainingSession
{
    private const int LongestConfig = 1 << 22;

    /// <param name="options">Where and on what.</param>
    /// <param name="progress">Told of everything that takes time.</param>
    /// <param name="onStart">Told once the data is there.</param>
    /// <param name="onEpoch">Told after each epoch, once its checkpoint is written.</param>
    /// <param name="cancellation">Stops after the current step; the last whole epoch can be resumed.</param>
    /// <returns>How the run ended.</returns>
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
    internal const string Revision = "6";

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
        var result = RunToEnd(config, dataset, options, progress, onStart, onEpoch, cancellation);
        if (config.Refit)
            Refit(config, dataset, result, options, progress, cancellation);
        else if (RefitFolder.State(options.OutputDirectory).IsBegun && !RefitFolder.IsOfThisModel(options.OutputDirectory))
            TrainingFolder.DiscardRefit(options.OutputDirectory);
        return result with { Seconds = clock.Elapsed.TotalSeconds };
    }

    /// <summary>All of <see cref="Train"/> but the refit; of a trial, the test neither.</summary>
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
        return RunToEnd(ForData(config, dataset), dataset, options, progress, onStart, onEpoch, cancellation);
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
        RunToEnd(config, dataset, options, progress, onStart, onEpoch, cancellation, start: start);

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
            TrainingFolder.DiscardRefit(directory);
            return (0, dataset.EventItems.Length);
        }
        var task = new RefitTask(RefitFolder.HeldOut(directory), heldOut.BestEpoch, heldOut.Blend?.Weights ?? BlendWeights.None);
        if (Checkpoint.TryReadOrigin(refit)?.GetValueOrDefault(Checkpoint.HeldOutKey) != task.HeldOut)
            TrainingFolder.DiscardRefit(directory);
        // As many epochs as the learning rate took its course over.
        RunConfig settings = RefitSettings(config);
        if (start is null && heldOut.Epochs > config.Epochs)
            settings = settings.With($"epochs={heldOut.Epochs}");
        RunToEnd(
            settings,
            dataset,
            options with { OutputDirectory = refit, Resume = true },
            new NamedProgress("refit", progress),
            null,
            null,
            cancellation,
            task,
            start);
        return (heldOut.BestEpoch, dataset.EventItems.Length);
    }

    /// <summary>In a frame of its own, which keeps nothing of the training alive once it is done.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static TrainingResult RunToEnd(
        RunConfig config,
        InteractionDataset dataset,
        RunOptions options,
        IProgress<ProgressUpdate>? progress,
        Action<TrainingStart>? onStart,
        Action<EpochReport>? onEpoch,
        CancellationToken cancellation,
        RefitTask? refit = null,
        WarmStart? start = null)
    {
        using var run = new TrainingRun(config, dataset, options, progress, refit, start);
        return run.Run(onStart, onEpoch, cancellation);
    }

    /// <summary>
    /// The settings of the run that <c>--resume</c> goes on with, and others over them. They are the checkpoint's, which is whole or
    /// refused; config.yaml is written anew from them.
    /// </summary>
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
        {
            string run = RefitFolder.ModelOf(directory);
            throw new InputException($"{directory}: a refit goes on with its run: bert4rec train --resume {run}");
        }
        var found = new List<string>();
        if (File.Exists(configPath) && InputFile.ReadText(configPath, LongestConfig, "a config") != yaml)
            found.Add($"{configPath}: not the settings that {path} was saved with, which the run goes on with; change them with --set");
        RunConfig before = RunConfig.Parse(yaml, path, []), config = RunConfig.Parse(yaml, path, overrides);
        if (config.Epochs != before.Epochs && config.LearningRateSchedule != LearningRateSchedule.Constant)
        {
            string schedule = config.LearningRateSchedule.ToString().ToLowerInvariant();
            found.Add(
                $"epochs is {config.Epochs}, and was {before.Epochs}: from here on, the learning rate is what lr_schedule {schedule} makes "
                + $"of {config.Epochs} epochs; before, it was what it makes of {before.Epochs}");
        }
        warnings = found;
        return config;
    }
}
