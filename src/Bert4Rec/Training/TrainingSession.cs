using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
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

    private const string MetricsFileName = "metrics.jsonl";
    private const string ResultFileName = "result.json";

    private static readonly JsonSerializerOptions Lines = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
    };

    private static readonly JsonSerializerOptions Indented = new(Lines) { WriteIndented = true };

    private static readonly JsonSerializerOptions s_read = new(Lines)
    {
        RespectNullableAnnotations = true,
        RespectRequiredConstructorParameters = true,
    };

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
            throw new InputException("no training samples: the split leaves none (a user needs two events to teach anything)");
        var sequences = Sequences(config, dataset, split);

        using var device = new DeviceSet(options.Device, options.Threads, options.Precision);
        using var trainer = new Trainer(TrainerSettings.Of(config, dataset.ItemCount), dataset, sequences, device.Kernels, device.Workers);
        using var evaluated = device.Kernels[0].AllocateFloats(trainer.Layout.Length);
        using var ranker = new ModelRanker(device.Kernels, device.Workers, trainer.Layout, evaluated, config.RecboleCompatible);
        var statistics = TrainingStatistics.Count(dataset, split.Train);
        string directory = options.OutputDirectory;
        var average = new ParameterAverage(trainer.Layout.Length, config.AverageDecay);
        var best = new float[trainer.Layout.Length];
        var origin = Origin(config, dataset, split);
        var state = options.Resume ? Checkpoint.TryLoad(directory, origin, trainer, average, best) ?? new() : new();
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

        using (var log = new MetricsLog(directory, state.Epoch))
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
                    valid = Evaluator.Evaluate(ranker, dataset, statistics, split.Valid, EvaluationSettings.OfTraining(config, config.EvalArgs.ValidMode), progress);
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
                Checkpoint.Save(directory, origin, trainer, average, best, state);
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
        var (test, baselines) = split.Test.Length == 0
            ? ([], [])
            : Baselines.Compare(ranker, dataset, split, statistics, split.Test, EvaluationSettings.OfTraining(config, config.EvalArgs.TestMode), progress);
        var result = new TrainingResult(
            state.Epoch,
            state.HasBest ? state.Stopping.BestEpoch : state.Epoch,
            clock.Elapsed.TotalSeconds,
            trainer.Layout.Length,
            state.Stopping.BestMetrics,
            test,
            baselines);
        // Without the time taken: the same run gives the same file.
        OutputFile.WriteText(
            Path.Combine(directory, ResultFileName),
            JsonSerializer.Serialize(
                new SavedResult(result.Epochs, result.BestEpoch, result.Parameters, result.BestValid, result.Test, result.Baselines), Indented) + "\n");
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
        foreach (string path in new[] { Checkpoint.FileName, ModelFolder.ModelFileName, ResultFileName }.Select(name => Path.Combine(directory, name)))
        {
            if (File.Exists(path))
                File.Delete(path);
        }
    }

    /// <summary>The files of a finished run that hold no times: the same run leaves the same bytes.</summary>
    internal static IReadOnlyList<string> ResultFiles(string directory) =>
        [.. ModelFolder.FileNames.Append(ResultFileName).Select(name => Path.Combine(directory, name))];

    /// <summary>The result that a run left in its folder, without the seconds.</summary>
    /// <exception cref="InputException">It is damaged.</exception>
    /// <exception cref="IOException">It cannot be read.</exception>
    internal static TrainingResult ReadResult(string directory)
    {
        string path = Path.Combine(directory, ResultFileName);
        return TryRead<SavedResult>(File.ReadAllText(path)) is { } saved
            ? new(saved.Epochs, saved.BestEpoch, 0, saved.Parameters, saved.BestValid, saved.Test, saved.Baselines)
            : throw new InputException($"{path}: not the result of a training run; train again, or restore it");
    }

    /// <summary>The epochs of a run, from its metrics.jsonl; none where there is no such file.</summary>
    /// <exception cref="InputException">It is damaged.</exception>
    internal static IReadOnlyList<EpochReport> ReadEpochs(string directory)
    {
        string path = Path.Combine(directory, MetricsFileName);
        var epochs = new List<EpochReport>();
        foreach (string line in File.Exists(path) ? File.ReadLines(path) : [])
        {
            if (TryRead<EpochReport>(line) is not { } epoch || epoch.Epoch <= (epochs.Count > 0 ? epochs[^1].Epoch : 0))
                throw InputException.At(path, epochs.Count + 1, "not the line of a next epoch; restore the file, or remove it to go on without the epochs");
            epochs.Add(epoch);
        }
        return epochs;
    }

    /// <summary>A record as <see cref="JsonSerializer"/> wrote it; null where the text is no such record, or not a whole one.</summary>
    private static T? TryRead<T>(string json)
        where T : class
    {
        try
        {
            return JsonSerializer.Deserialize<T>(json, s_read);
        }
        catch (JsonException)
        {
            return null;
        }
    }

    /// <summary>What the config's way of training makes of the training samples.</summary>
    internal static TrainingSequences Sequences(RunConfig config, InteractionDataset dataset, DatasetSplit split) => config.RecboleCompatible
        ? TrainingSequences.Prefixes(dataset, split, config.MaximumItemListLength)
        : TrainingSequences.Windows(dataset, split, config.MaximumItemListLength, config.Seed);

    /// <summary>result.json.</summary>
    private sealed record SavedResult(
        int Epochs,
        int BestEpoch,
        long Parameters,
        IReadOnlyDictionary<string, double> BestValid,
        IReadOnlyDictionary<string, double> Test,
        IReadOnlyDictionary<string, IReadOnlyDictionary<string, double>> Baselines);

    /// <summary>metrics.jsonl and the TensorBoard events, of epochs that a checkpoint stands behind.</summary>
    private sealed class MetricsLog : IDisposable
    {
        private readonly StreamWriter _lines;
        private readonly TensorBoardWriter _board;

        public MetricsLog(string directory, int epochsDone)
        {
            string path = Path.Combine(directory, MetricsFileName);
            string[] kept = epochsDone > 0 && File.Exists(path) ? [.. File.ReadLines(path).Take(epochsDone)] : [];
            OutputFile.WriteText(path, string.Concat(kept.Select(line => line + "\n")));
            _lines = new StreamWriter(path, append: true) { NewLine = "\n", AutoFlush = true };
            _board = new TensorBoardWriter(directory, epochsDone > 0 ? epochsDone : null);
        }

        public void Write(EpochReport report)
        {
            _lines.WriteLine(JsonSerializer.Serialize(report, Lines));
            _board.WriteScalar("train/loss", report.Epoch, report.Loss);
            foreach (var (name, value) in report.Valid ?? new Dictionary<string, double>())
                _board.WriteScalar($"valid/{name}", report.Epoch, value);
        }

        public void Dispose()
        {
            _lines.Dispose();
            _board.Dispose();
        }
    }
}
