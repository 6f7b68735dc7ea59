using System.Diagnostics;
using System.Globalization;
using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Evaluation;
using Bert4Rec.Inference;
using Bert4Rec.Model;
using Bert4Rec.Serialization;

namespace Bert4Rec.Training;

/// <summary>A whole run: data, epochs with validation and checkpoints, the test of the best model, and the files that it leaves.</summary>
public static class TrainingSession
{
    public const string ConfigFileName = ModelFolder.ConfigFileName;

    private const int LongestConfig = 1 << 22;

    /// <param name="config">The settings.</param>
    /// <param name="options">Where and on what.</param>
    /// <param name="progress">Told of everything that takes time.</param>
    /// <param name="onStart">Told once the data is there.</param>
    /// <param name="onEpoch">Told after each epoch, once its checkpoint is written.</param>
    /// <param name="cancellation">Stops after the current step; the last whole epoch can be resumed.</param>
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
        var clock = Stopwatch.StartNew();
        var dataset = DatasetLoader.Load(config, progress);
        var split = Splitter.Split(dataset, config.EvalArgs);
        if (split.Train.Length == 0)
            throw new InputException("no training samples: the split leaves none (a user needs two events to have a target)");
        var sequences = Sequences(config, dataset, split);

        using var device = new DeviceSet(options.Device, options.Threads, options.Precision);
        var statistics = TrainingStatistics.Count(dataset, split.Train);
        using var trainer = new Trainer(
            TrainerSettings.Of(config, dataset.ItemCount), dataset, sequences, device.Kernels, device.Workers, statistics.EventCounts);
        using var evaluated = device.Kernels[0].AllocateFloats(trainer.Layout.Length);
        using var ranker = new ModelRanker(device.Kernels, device.Workers, trainer.Layout, evaluated, config.RecboleCompatible);
        string directory = options.OutputDirectory;
        var average = new ParameterAverage(trainer.Layout.Length, config.AverageDecay);
        var best = new float[trainer.Layout.Length];
        var origin = Origin(config, dataset, split);
        var state = options.Resume ? Checkpoint.TryLoad(directory, origin, trainer, average, best) ?? new() : new();
        var epochs = MetricsLog.Read(directory, state);
        state.MetricsChecksum = MetricsLog.Checksum(epochs);
        // Before config.yaml: a run that is killed from here on goes on with the settings of its checkpoint.
        if (state.Epoch > 0 && Checkpoint.TryReadRun(directory) is (var savedConfig, var saved)
            && (savedConfig != config.ToYaml() || saved.MetricsChecksum != state.MetricsChecksum))
            Checkpoint.Save(directory, config, origin, trainer, average, best, state);
        // What an earlier run left here must not be taken for this one's, not even if this one is killed in its first epoch.
        if (!options.Resume)
            Discard(directory);
        // Written anew for a resumed run too: they may have been altered since, and the model says by checksum which ones are its own.
        ModelFolder.SaveData(directory, config, dataset);
        if (state.HasBest)
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
            device.Kernels[0].Name,
            device.Kernels.Count,
            device.Note));

        var validation = EvaluationSettings.OfTraining(config, config.EvalArgs.ValidMode);
        using (var log = new MetricsLog(directory, epochs))
        {
            while (!state.Stopping.ShouldStop(config.StoppingStep) && state.Epoch < config.Epochs)
            {
                var epochClock = Stopwatch.StartNew();
                var (loss, tokens) = trainer.TrainEpoch(++state.Epoch, progress, cancellation);
                state.Step = trainer.Step;
                double seconds = epochClock.Elapsed.TotalSeconds;
                average.Add(trainer.Parameters, state.Epoch);
                IReadOnlyDictionary<string, double>? valid = null;
                bool isBest = split.Valid.Length == 0;
                if (!isBest && state.Epoch % config.EvalStep == 0)
                {
                    evaluated.Upload(average.Values);
                    valid = Evaluator.Evaluate(
                        ranker, dataset, statistics, split.Valid, validation, progress);
                    double value = Math.Round(valid[config.ValidMetric.ToLowerInvariant()], config.MetricDecimalPlace);
                    isBest = state.Stopping.Observe(state.Epoch, value, valid, config.ValidMetricBigger);
                }
                if (isBest)
                {
                    average.Values.CopyTo(best, 0);
                    ModelFolder.SaveModel(directory, config, trainer.Layout, best);
                }
                var report = new EpochReport(state.Epoch, loss, seconds, tokens / seconds, valid, isBest);
                log.Write(report);
                state.MetricsChecksum = MetricsLog.Checksum([report], state.MetricsChecksum);
                Checkpoint.Save(directory, config, origin, trainer, average, best, state);
                onEpoch?.Invoke(report);
            }
        }

        if (!state.HasBest)
        {
            // No validation chose: the last parameters are the model.
            average.Values.CopyTo(best, 0);
            ModelFolder.SaveModel(directory, config, trainer.Layout, best);
        }
        evaluated.Upload(best);
        var test = split.Test.Length == 0
            ? Baselines.None
            : Baselines.Compare(
                ranker, dataset, split, statistics, split.Test,
                EvaluationSettings.OfTraining(config, config.EvalArgs.TestMode), progress);
        var result = new TrainingResult(
            state.Epoch,
            state.HasBest ? state.Stopping.BestEpoch : state.Epoch,
            clock.Elapsed.TotalSeconds,
            trainer.Layout.Length,
            state.Stopping.BestMetrics,
            test.Metrics,
            test.StandardErrors,
            test.Baselines,
            test.Comparisons);
        ResultFile.Write(directory, result);
        return result;
    }

    /// <summary>What the parameters mean and the order of everything random depend on.</summary>
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
            ["layer_norm_eps"] = Text(config.LayerNormEpsilon),
            ["mask_ratio"] = Text(config.MaskRatio),
            ["ft_ratio"] = Text(config.FineTuningRatio),
        };

    private static string Text(IConvertible value) => value.ToString(CultureInfo.InvariantCulture);

    /// <summary>Removes what a run left in its folder: its checkpoint, its model, its result.</summary>
    internal static void Discard(string directory)
    {
        foreach (string name in new[] { Checkpoint.FileName, ModelFolder.ModelFileName, ResultFile.Name })
        {
            string path = Path.Combine(directory, name);
            if (File.Exists(path))
                File.Delete(path);
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
    /// <param name="warning">Set where config.yaml says something else.</param>
    /// <exception cref="InputException">There is no checkpoint, or none that can be read.</exception>
    public static RunConfig ReadConfig(string directory, IReadOnlyList<string> overrides, out string? warning)
    {
        string path = Path.Combine(directory, Checkpoint.FileName), configPath = Path.Combine(directory, ConfigFileName);
        if (Checkpoint.TryReadRun(directory) is not (string yaml, _))
        {
            throw new InputException(
                $"{directory}: no {Checkpoint.FileName} in it, so no epoch of a run was whole; start again with its --config and --output");
        }
        warning = !File.Exists(configPath) || InputFile.ReadText(configPath, LongestConfig, "a config") == yaml
            ? null
            : $"{configPath}: not the settings that {path} was saved with, which the run goes on with; change them with --set";
        return RunConfig.Parse(yaml, path, overrides);
    }

    /// <summary>What the config's way of training makes of the training samples.</summary>
    internal static TrainingSequences Sequences(RunConfig config, InteractionDataset dataset, DatasetSplit split) =>
        config.RecboleCompatible
            ? TrainingSequences.Prefixes(dataset, split, config.MaximumItemListLength)
            : config.Objective == Objective.NextItem
                ? TrainingSequences.NextItemWindows(dataset, split, config.MaximumItemListLength, config.Seed)
                : TrainingSequences.Windows(dataset, split, config.MaximumItemListLength, config.Seed);
}
