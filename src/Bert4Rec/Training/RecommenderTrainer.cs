using System.Diagnostics;
using System.Globalization;
using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Serialization;

namespace Bert4Rec.Training;

/// <summary>Something that a user did with an item: bought it, watched it.</summary>
/// <param name="User">The user's token.</param>
/// <param name="Item">The item's token.</param>
/// <param name="Timestamp">Orders a user's events; of equal ones the first that is given is the older. Any unit.</param>
public sealed record UserEvent(string User, string Item, double Timestamp);

/// <summary>What is known of an item beside its token.</summary>
/// <param name="Item">The item's token.</param>
/// <param name="Fields">Values by column, which is written as in .item, "category:token_seq" or "price:float"; without a type, and
/// without a colon, it is a token. A column that an item lacks has no value there.</param>
public sealed record ItemFields(string Item, IReadOnlyDictionary<string, string> Fields);

/// <summary>How a <see cref="RecommenderTrainer"/> trains.</summary>
public sealed record TrainerOptions
{
    /// <summary>Keys of the config and their values as text, as <c>--set</c> takes them: ["epochs"] = "20".</summary>
    public IReadOnlyDictionary<string, string> Settings { get; init; } = new Dictionary<string, string>();

    /// <summary>What is known of the items, which may also be some without events.</summary>
    public IEnumerable<ItemFields>? Items { get; init; }

    /// <summary>auto, cpu, cuda[:i], opencl[:i], ilgpu-cpu or ptx[:sm].</summary>
    public string Device { get; init; } = "auto";

    /// <summary>Threads of the cpu; 0 for one a core.</summary>
    public int Threads { get; init; }

    /// <summary>Seed of all random numbers; null for the config's.</summary>
    public int? Seed { get; init; }

    /// <summary>Train the model that recommends anew on all events, those that the metrics were measured on included.</summary>
    public bool Refit { get; init; }

    /// <summary>Go on from the last whole epoch that is in the folder, from the same events; from the beginning if there is neither that
    /// nor a finished model.</summary>
    public bool Resume { get; init; }

    /// <summary>Told of settings without effect, and of what is odd in the data.</summary>
    public Action<string>? OnWarning { get; init; }
}

/// <summary>Trains on events in memory: to the same parameters, bit for bit, as <c>bert4rec train</c> on the same events in an .inter
/// file.</summary>
public static class RecommenderTrainer
{
    /// <param name="events">Read once, in any order.</param>
    /// <param name="outputDirectory">Gets the model, which <see cref="Inference.Recommender.Load"/> loads, and the logs. What an earlier
    /// training left there is replaced.</param>
    /// <param name="options">How.</param>
    /// <param name="progress">Told after each epoch.</param>
    /// <param name="cancellation">Stops after the current step; the last whole epoch can be resumed.</param>
    /// <returns>How the training ended, with the metrics of the test part.</returns>
    /// <exception cref="InputException">A setting, an event or an item is wrong, or the folder cannot be written.</exception>
    /// <exception cref="Kernels.DeviceException">There is no such device.</exception>
    /// <exception cref="OperationCanceledException">The caller wants no more.</exception>
    public static TrainingResult Train(
        IEnumerable<UserEvent> events,
        string outputDirectory,
        TrainerOptions? options = null,
        IProgress<EpochReport>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(events);
        ArgumentException.ThrowIfNullOrEmpty(outputDirectory);
        var clock = Stopwatch.StartNew();
        options ??= new();
        ArgumentNullException.ThrowIfNull(options.Settings);
        List<string> settings = [.. options.Settings.Select(setting => $"{setting.Key}={setting.Value}")];
        if (options.Seed is int seed)
            settings.Add($"seed={seed}");
        if (options.Refit)
            settings.Add("refit=true");
        var config = RunConfig.Load([], settings);
        if (config.EventLog is not null)
            throw new InputException("event_log names a log in files, and the events are in memory; leave it out");
        config.RequireObjective();
        using var folder = Lock(outputDirectory);
        // A training that was stopped before its first checkpoint has a model, but no result.
        if (options.Resume && File.Exists(Path.Combine(outputDirectory, ResultFile.Name))
            && !File.Exists(Path.Combine(outputDirectory, Checkpoint.FileName)))
        {
            throw new InputException(
                $"{outputDirectory}: has a model, and no {Checkpoint.FileName} to go on from; an update leaves none. Train without Resume, "
                + "which replaces the model, or in another folder");
        }
        var dataset = DatasetLoader.LoadFrom(Open, config);
        foreach (string warning in config.Warnings.Concat(dataset.Warnings))
            options.OnWarning?.Invoke(warning);
        var result = TrainingSession.TrainOn(
            config,
            dataset,
            new RunOptions(outputDirectory, options.Device, options.Threads, options.Resume),
            null,
            null,
            progress is null ? null : progress.Report,
            cancellation);
        return result with { Seconds = clock.Elapsed.TotalSeconds };

        AtomicFileReader? Open(string suffix) => suffix switch
        {
            "inter" => Reader("events", EventRows(events, config, cancellation)),
            "item" when options.Items is not null && config.LoadsFile(suffix) => Reader("items", ItemRows(options.Items, config)),
            _ => null,
        };

        AtomicFileReader Reader(string name, IEnumerable<string?[]> rows) => new(
            new InputFile(name, new RowStream(name, rows, config.FieldSeparator)), config.FieldSeparator, config.SequenceSeparator);
    }

    private static FolderLock Lock(string directory)
    {
        try
        {
            return FolderLock.Take(directory);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new InputException($"{directory}: cannot be made or written: {e.Message}", e);
        }
    }

    private static IEnumerable<string?[]> EventRows(IEnumerable<UserEvent> events, RunConfig config, CancellationToken cancellation)
    {
        yield return [$"{config.UserIdField}:token", $"{config.ItemIdField}:token", $"{config.TimeField}:float"];
        int row = 0;
        foreach (var given in events)
        {
            cancellation.ThrowIfCancellationRequested();
            row++;
            var (user, item, timestamp) = given ?? throw new InputException($"events: the event at {row - 1} is null");
            yield return [user, item, timestamp.ToString(CultureInfo.InvariantCulture)];
        }
    }

    private static IEnumerable<string?[]> ItemRows(IEnumerable<ItemFields> items, RunConfig config)
    {
        ItemFields[] all = [.. items];
        int wrong = Array.FindIndex(all, item => item?.Fields is null);
        if (wrong >= 0)
            throw new InputException($"items: the item at {wrong}, or its fields, is null");
        string[] columns = [.. all.SelectMany(item => item.Fields.Keys).Select(Typed).Distinct()];
        yield return [$"{config.ItemIdField}:token", .. columns];
        foreach (var item in all)
        {
            var values = item.Fields.ToLookup(field => Typed(field.Key), field => field.Value);
            if (values.FirstOrDefault(value => value.Count() > 1) is { } twice)
                throw new InputException($"items: {item.Item} has the field {twice.Key} twice");
            yield return [item.Item, .. columns.Select(column => values[column].FirstOrDefault(""))];
        }

        static string Typed(string column) => column.Contains(':') ? column : $"{column}:token";
    }
}
