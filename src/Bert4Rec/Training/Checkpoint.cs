using System.Globalization;
using System.Text.Json;
using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Inference;
using Bert4Rec.Serialization;

namespace Bert4Rec.Training;

/// <summary>
/// The whole state of a run after an epoch. Everything random is a function of (seed, epoch, step), so the numbers below and the progress
/// are all that a run needs to end with the same bits as one that was never stopped.
/// </summary>
internal static class Checkpoint
{
    public const string FileName = ModelFolder.CheckpointFileName;

    /// <summary>In the origin of a refit: the SHA-256 of the held-out model.</summary>
    public const string HeldOutKey = "the held-out model's checksum";

    private const string ProgressKey = "progress", OriginKey = "origin", ConfigKey = "config";

    /// <summary>What the parameters mean, the order of everything random, and which epoch is the best, depend on.</summary>
    public static SortedDictionary<string, string> Origin(RunConfig config, InteractionDataset dataset, DatasetSplit split)
    {
        return new(StringComparer.Ordinal)
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

        // As a config has it, where words are in lower case.
        static string Text(IConvertible value) => value.ToString(CultureInfo.InvariantCulture).ToLowerInvariant();
    }

    /// <param name="origin">What the run is made from, by name: the dataset's checksum, and the settings that may not change on the
    /// way.</param>
    public static void Save(
        string directory,
        RunConfig config,
        IReadOnlyDictionary<string, string> origin,
        TrainingEngine engine,
        ParameterAverage average,
        float[] best,
        TrainingProgress progress)
    {
        int[] shape = [best.Length];
        var (first, second) = engine.ReadMoments();
        SafeTensors.Write(
            Path.Combine(directory, FileName),
            [
                NamedTensor.Of("parameters", best.Length, engine.Trainer.Parameters.Download),
                NamedTensor.Of("first_moments", shape, first),
                NamedTensor.Of("second_moments", shape, second),
                NamedTensor.Of("average_parameters", shape, average.Values),
                NamedTensor.Of("best_parameters", shape, best),
            ],
            new Dictionary<string, string>
            {
                [ProgressKey] = JsonSerializer.Serialize(progress, TrainingJson.Records.Plain),
                [OriginKey] = JsonSerializer.Serialize(origin, TrainingJson.Records.Plain),
                [ConfigKey] = config.ToYaml(),
            });
    }

    /// <summary>The settings of the run, as YAML, and how far it is; null where there is no checkpoint.</summary>
    /// <exception cref="InputException">The file is damaged, or none of ours.</exception>
    public static (string Config, TrainingProgress Progress)? TryReadRun(string directory)
    {
        using var file = TryOpen(directory, out string path);
        return file is null ? null : (Text(path, file, ConfigKey), Parse<TrainingProgress>(path, file, ProgressKey));
    }

    /// <summary>What the run is made from, by name; null where there is no checkpoint.</summary>
    /// <exception cref="InputException">The file is damaged, or none of ours.</exception>
    public static IReadOnlyDictionary<string, string>? TryReadOrigin(string directory)
    {
        using var file = TryOpen(directory, out string path);
        return file is null ? null : Parse<Dictionary<string, string>>(path, file, OriginKey);
    }

    /// <summary>Sets the engine's trainer, the average and <paramref name="best"/> to the saved state.</summary>
    /// <returns>Null where there is no checkpoint.</returns>
    /// <exception cref="InputException">The file is damaged, or of another model, other data or other settings.</exception>
    public static TrainingProgress? TryLoad(
        string directory, IReadOnlyDictionary<string, string> origin, TrainingEngine engine, ParameterAverage average, float[] best)
    {
        using var file = TryOpen(directory, out string path);
        if (file is null)
            return null;
        var saved = Parse<Dictionary<string, string>>(path, file, OriginKey);
        foreach (var (name, value) in origin)
        {
            if (saved.GetValueOrDefault(name) is string before && before == value)
                continue;
            throw new InputException(
                $"{path}: {name} was {saved.GetValueOrDefault(name) ?? "not set"} when it was saved and is now {value}; "
                + "restore what has changed, or train from the beginning in another folder");
        }
        engine.Trainer.Parameters.Upload(Values("parameters"));
        engine.LoadMoments(Values("first_moments"), Values("second_moments"));
        Values("average_parameters").CopyTo(average.Values, 0);
        Values("best_parameters").CopyTo(best, 0);
        var progress = Parse<TrainingProgress>(path, file, ProgressKey);
        engine.Trainer.Step = progress.Step;
        return progress;

        float[] Values(string name)
        {
            float[] values = file.ReadFloats(name);
            return values.Length == best.Length
                ? values
                : throw new InputException($"{path}: {name} has {values.Length} values, the model of config.yaml {best.Length}");
        }
    }

    private static SafeTensorsFile? TryOpen(string directory, out string path)
    {
        path = Path.Combine(directory, FileName);
        return File.Exists(path) ? SafeTensors.Read(path) : null;
    }

    private static string Text(string path, SafeTensorsFile file, string key) => file.Metadata.GetValueOrDefault(key)
        ?? throw new InputException($"{path}: not a checkpoint of this bert4rec; remove it to train from the beginning");

    private static T Parse<T>(string path, SafeTensorsFile file, string key)
        where T : class
    {
        string text = Text(path, file, key);
        try
        {
            if (JsonSerializer.Deserialize<T>(text, TrainingJson.Records.Plain) is { } value)
                return value;
        }
        catch (JsonException)
        {
            // Null says the same.
        }
        throw new InputException($"{path}: its {key} is none; remove it to train from the beginning");
    }
}
