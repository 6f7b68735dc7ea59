using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Serialization;
using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Evaluation;
using Bert4Rec.EventLog;
using Bert4Rec.Inference;
using Bert4Rec.Model;
using Bert4Rec.Serialization;
using Bert4Rec.Training;

namespace Bert4Rec.Pipeline;

/// <summary>What an update added.</summary>
/// <param name="Users">Users that they are of.</param>
/// <param name="NewUsers">Those of them that the model did not know.</param>
/// <param name="NewItems">Items that it did not know.</param>
/// <param name="Epochs">Epochs that it is going to train.</param>
/// <param name="Warnings">What is odd in them.</param>
internal sealed record UpdateStart(int Events, int Users, int NewUsers, int NewItems, int Epochs, IReadOnlyList<string> Warnings)
{
    /// <summary>Whether epochs are compared with seen items left out, though the result is not.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool LeavesSeenOut { get; init; }
}

/// <summary>The held-out metrics of some samples, before an update and after it.</summary>
/// <param name="Before">Of the model as it was, new items having their first rows; empty for no samples.</param>
/// <param name="After">Of the updated one.</param>
internal sealed record UpdateMetrics(int Samples, IReadOnlyDictionary<string, double> Before, IReadOnlyDictionary<string, double> After);

/// <summary>How an update ended.</summary>
/// <param name="All">On the test part of all events, old and new.</param>
/// <param name="OfThose">On the samples in it of users with new events.</param>
/// <param name="Training">The training; its test metrics are those of <paramref name="All"/>, beside the baselines.</param>
internal sealed record UpdateResult(
    UpdateStart Start, UpdateMetrics All, UpdateMetrics OfThose, TrainingResult Training, double Seconds)
{
    /// <summary>Whether the blend left out what a customer had before the update.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool LeftSeenOut { get; init; }

    /// <summary>Whether it does so now.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool LeavesSeenOut { get; init; }
}

/// <summary>
/// Adds new events, users and items to a trained folder: training goes on from its parameters, over the users with new events and as many
/// others, for a fraction of the epochs; both models of the folder, the held-out one and its refit, do so; then the new folder takes the
/// old one's place.
/// </summary>
/// <remarks>
/// The split is that of the config on all events, so the newest ones, old or new, are held back as in training: no model has seen them when
/// it is measured on them.
/// </remarks>
/// <param name="inputs">The model's settings, with what names the new events in place of the old ones; see
/// <see cref="Inputs"/>.</param>
/// <param name="options">The model's folder, which must have a model to update, and on what to train.</param>
/// <param name="epochs">Epochs to train; null for a fifth of those that the training took.</param>
/// <param name="cancellation">Stops the update, which leaves the folder as it was.</param>
internal sealed class UpdateRun(
    RunConfig inputs, RunOptions options, int? epochs, IProgress<ProgressUpdate>? progress, CancellationToken cancellation)
{
    /// <summary>Of the epochs that the training took, the part that an update takes.</summary>
    private const double EpochShare = 1.0 / 5;

    /// <summary>Keys of where the new events are and how they are read.</summary>
    private static readonly string[] s_inputKeys =
    [
        "data_path", "dataset", "event_log", "field_separator", "seq_separator", "USER_ID_FIELD", "ITEM_ID_FIELD", "RATING_FIELD",
        "TIME_FIELD", "load_col", "val_interval", "filter_inter_by_user_or_item",
    ];

    /// <summary>Below that, chance may have it that customers repeat what they had.</summary>
    private const int FewestKnown = 20;

    /// <summary>Where the new events' files are made, in the folder that the update works in.</summary>
    private const string EventsFolder = "events";

    private readonly RunConfig _config = SettingsOf(options.OutputDirectory);

    /// <summary>The settings that a folder's model was trained with, and is updated with.</summary>
    /// <exception cref="InputException">The folder has no config.</exception>
    public static RunConfig SettingsOf(string directory) => RunConfig.Load([Path.Combine(directory, ModelFolder.ConfigFileName)], []);

    /// <summary>
    /// A folder's settings with other events: how a log was cleaned and grouped into histories for the folder's training holds for the new
    /// one too.
    /// </summary>
    /// <param name="settings">"key=value": where the new events are, and how they are read, if not as before.</param>
    /// <exception cref="InputException">The folder has no config, or a setting is wrong.</exception>
    public static RunConfig Inputs(string directory, IReadOnlyList<string> settings)
    {
        foreach (string setting in settings)
        {
            string key = setting.Split('=', '.')[0].Trim();
            if (!s_inputKeys.Contains(key))
            {
                throw new InputException(
                    $"--set {setting}: the model keeps its settings; only where the new events are, and how they are read, is said anew "
                    + $"({string.Join(", ", s_inputKeys)})");
            }
        }
        var before = new List<string> { "user_inter_num_interval=~", "item_inter_num_interval=~" };
        if (settings.Any(setting => setting.StartsWith("event_log.input=", StringComparison.Ordinal)))
        {
            RunManifest manifest = RunManifest.Load(directory, null);
            foreach (string option in LogFormat.Keys)
            {
                if (manifest["clean"]?.Options.GetValueOrDefault(option) is { } value)
                    before.Add($"event_log.{option}={value}");
            }
            foreach (var (step, option) in new[]
            {
                ("clean", "events"), ("clean", "keep_nulls"), ("clean", "max_bad_rows"), ("convert", "group_by"), ("convert", "max_length"),
            })
            {
                if (manifest[step]?.Options.GetValueOrDefault(option) is { Length: > 0 } value)
                    before.Add($"event_log.{option}={(option is "events" or "keep_nulls" ? $"[{value}]" : value).ToLowerInvariant()}");
            }
        }
        return RunConfig.Load([Path.Combine(directory, ModelFolder.ConfigFileName)], [.. before, .. settings]);
    }

    /// <summary>Told what cleaning and converting a log left of it.</summary>
    public Action<StepReport>? OnStep { get; init; }

    /// <param name="onStart">Told once the new events are read.</param>
    /// <exception cref="InputException">The events or the folder are wrong, or were added before.</exception>
    /// <exception cref="OperationCanceledException">The caller wants no more.</exception>
    public UpdateResult Run(Action<UpdateStart>? onStart, Action<EpochReport>? onEpoch)
    {
        var clock = Stopwatch.StartNew();
        string target = Path.TrimEndingDirectorySeparator(Path.GetFullPath(options.OutputDirectory));
        if (new DirectoryInfo(target).ResolveLinkTarget(returnFinalTarget: true) is { } link)
            target = link.FullName;
        string staged = $"{target}.update";
        CheckStaged(staged, target);
        FolderReplacement.Finish(staged, target, Checkpoint.FileName);
        ModelFolder model = Load(target);
        ModelFolder delivered = RefitFolder.State(target).IsWhole ? RefitFolder.LoadDelivered(target, out _) : model;
        int trained = model.Updates?.Epochs ?? ResultFile.Read(target).BestEpoch;
        int length = epochs ?? Math.Max(2, (int)Math.Ceiling(trained * EpochShare));

        // What a killed update left is of no use.
        if (Directory.Exists(staged))
            Directory.Delete(staged, recursive: true);
        using var stagedLock = FolderLock.Take(staged);
        try
        {
            string[] checksums = Checksums(target, model);
            InteractionDataset added = Read(Path.Combine(staged, EventsFolder), model, out string[] ofEvents);
            if (AreSwapped(added, model.Dataset))
            {
                throw new InputException(
                    "what the new events name as users are items of the model, and as items its users; are the columns swapped?");
            }
            var (known, isExport) = Overlap(added, model.Dataset);
            if (isExport)
            {
                throw new InputException(
                    $"{known:N0} of the {added.EventItems.Length:N0} events are those that the model was trained on; give those that came "
                    + "since");
            }
            InteractionDataset dataset = model.Dataset.Append(added);
            var hasNew = new bool[dataset.UserCount];
            for (int user = 1; user < added.UserCount; user++)
            {
                dataset.Users.TryGetId(added.Users[user], out int id);
                hasNew[id] = true;
            }
            int users = hasNew.Count(isSo => isSo);
            var start = new UpdateStart(
                added.EventItems.Length,
                users,
                dataset.UserCount - model.Dataset.UserCount,
                dataset.ItemCount - model.Dataset.ItemCount,
                length,
                [.. added.Warnings, .. Oddities(added, model.Dataset)]);

            var layout = new ParameterLayout(ModelShape.Of(_config, dataset.ItemCount));
            int others = dataset.UserCount - 1 - users;
            int update = (model.Updates?.Inputs.Count ?? 0) + 1;
            int seed = unchecked(_config.Seed + update) & int.MaxValue;
            var replay = new Replay(hasNew, others == 0 ? 0 : Math.Min(1, Math.Max(users, 100) / (double)others), (ulong)seed);
            RunConfig settings = _config.With($"epochs={length}", $"stopping_step={length}", "eval_step=1", "refit=false");
            RunOptions continued = options with { OutputDirectory = staged, Resume = false };
            float[] first = GrownCatalogue.Grow(model.Layout, model.Parameters, layout, dataset, TrainingPart(_config));
            TrainingResult result = TrainingSession.Continue(
                settings, dataset, new(first, replay, seed), continued, progress, OnStart, onEpoch, cancellation);
            var updates = new ModelUpdates(
                trained, [.. model.Updates?.Inputs ?? [], .. checksums], [.. model.Updates?.Events ?? [], .. ofEvents]);
            // The folder says, not its settings: run makes a refit, or takes it away, without another training.
            bool hasRefit = RefitFolder.State(target) is { IsBegun: true } or { IsWhole: true };
            ModelFolder after = Seal(staged, _config.With($"refit={(hasRefit ? "true" : "false")}"), updates, null);
            if (hasRefit)
            {
                float[] last = delivered == model
                    ? after.Parameters
                    : GrownCatalogue.Grow(
                        delivered.Layout, delivered.Parameters, layout, dataset, TrainingPart(TrainingSession.RefitSettings(_config)));
                TrainingSession.Refit(settings, dataset, result, continued, progress, cancellation, new(last, replay, seed));
                if (RefitFolder.State(staged).IsWhole)
                    Seal(RefitFolder.Of(staged), TrainingSession.RefitSettings(_config), updates, RefitFolder.HeldOut(staged));
            }
            var (all, ofThose) = Compare(model, first, after, hasNew, result);
            Directory.Delete(Path.Combine(staged, EventsFolder), recursive: true);
            cancellation.ThrowIfCancellationRequested();
            foreach (string folder in new[] { staged, RefitFolder.Of(staged) }.Where(Directory.Exists))
                File.Delete(Path.Combine(folder, Checkpoint.FileName));
            if (!RefitFolder.State(staged).IsWhole)
                TrainingFolder.DiscardRefit(target);
            // A run that was resumed from the old checkpoint would train on the old events.
            FolderReplacement.Replace(staged, target, ModelFolder.ModelFileName, Checkpoint.FileName);
            return new(start, all, ofThose, result, clock.Elapsed.TotalSeconds)
            {
                LeftSeenOut = model.Blend?.Weights.LeavesSeenOut ?? false,
                LeavesSeenOut = after.Blend?.Weights.LeavesSeenOut ?? false,
            };

            void OnStart(TrainingStart training)
            {
                start = start with { LeavesSeenOut = training.LeavesSeenOut };
                onStart?.Invoke(start);
            }

            TrainingSamples TrainingPart(RunConfig config) => Splitter.Split(dataset, config.EvalArgs).Train;
        }
        finally
        {
            // Behind an exchange that could not be ended it has what is still to be moved; the next update does that.
            if (Directory.Exists(staged) && !FolderReplacement.IsUnfinished(target))
                FolderReplacement.Remove(staged);
        }
    }

    private static ModelFolder Load(string directory)
    {
        ModelFolder model = ModelFolder.Load(directory, null);
        if (model.RefitOf is not null)
            throw new InputException($"{directory}: a refit is updated with its run; give {RefitFolder.ModelOf(directory)}");
        if (ModelFolder.Unfinished(directory) is string unfinished)
            throw new InputException($"{unfinished}; end it first: bert4rec train --resume {directory}");
        return model.IsOurs
            ? model
            : throw new InputException($"{directory}: not a folder that bert4rec trained, so it has no events to go on from");
    }

    /// <summary>SHA-256 of the files of the new events, none of which the model knows yet.</summary>
    private string[] Checksums(string directory, ModelFolder model)
    {
        IReadOnlyList<string> files = inputs.EventLog is { } log
            ? EventLogFiles.List(log.Inputs)
            : [new DatasetFiles(inputs).Interactions];
        RunManifest manifest = RunManifest.Load(directory, null);
        HashSet<string> known = [.. model.Updates?.Inputs ?? []];
        foreach (string step in new[] { "clean", "train" })
            known.UnionWith((manifest[step]?.Inputs ?? []).Select(file => file.Sha256));
        var given = new Dictionary<string, string>();
        foreach (string file in files)
        {
            string checksum = Sha256.OfFile(file, progress, cancellation);
            if (known.Contains(checksum))
                throw new InputException($"{file}: the model was trained or updated with it before; give the events that came since");
            if (!given.TryAdd(checksum, file))
                throw new InputException($"{file}: the same as {given[checksum]}, byte for byte; give one of them");
        }
        return [.. given.Keys];
    }

    /// <summary>A killed update's folder is of no use, and goes; anything else of its name is somebody's.</summary>
    private static void CheckStaged(string staged, string target)
    {
        if (!Directory.Exists(staged) || FolderReplacement.IsUnfinished(target))
            return;
        HashSet<string> ours = [.. TrainingFolder.FileNames, FolderLock.FileName, EventsFolder, Path.GetFileName(RefitFolder.Of(target))];
        string? other = Directory.EnumerateFileSystemEntries(staged).Select(path => Path.GetFileName(path)).FirstOrDefault(
            name => !ours.Contains(name) && !name.EndsWith(".tmp", StringComparison.Ordinal) && !name.StartsWith('.'));
        if (other is not null)
            throw new InputException($"{staged}: an update works in a folder of this name; move what is there ({other})");
    }

    /// <summary>Whether most of the users are known as items, and items as users. Where the model has the same tokens for both, as numbers
    /// from 1 on, they do not tell.</summary>
    internal static bool AreSwapped(InteractionDataset added, InteractionDataset known)
    {
        if (Known(known.Items, known.Users) > 0.01 * known.ItemCount)
            return false;
        int straight = Known(added.Users, known.Users) + Known(added.Items, known.Items);
        int users = Known(added.Users, known.Items), items = Known(added.Items, known.Users);
        return 2 * users >= added.UserCount - 1 && items > 0 && users + items > 2 * straight;
    }

    /// <summary>
    /// Events that the model has already: those with which a user's new history repeats the end of the known one, two of them at least or
    /// all that was known; or repeats its beginning, and ends there. Times would tell, but a model keeps none. Customers do buy the same
    /// again, so it takes much of it to call the events an export of those that are known: half of the model's events and of the new
    /// ones; or, histories of one and the same item left aside, half of the model's events or nine of ten new ones. For these last a new
    /// history of one event counts too, if the known one ends with its item and not with two of them.
    /// </summary>
    internal static (int Known, bool IsExport) Overlap(InteractionDataset added, InteractionDataset known)
    {
        int events = 0, telling = 0, told = 0, single = 0;
        int[] idOf = [.. Enumerable.Range(0, added.ItemCount).Select(
            item => item > 0 && known.Items.TryGetId(added.Items[item], out int id) ? id : -1)];
        for (int user = 1; user < added.UserCount; user++)
        {
            int[] later = [.. added.EventItems[added.UserOffsets[user]..added.UserOffsets[user + 1]].Select(item => idOf[item])];
            if (!known.Users.TryGetId(added.Users[user], out int id))
            {
                telling += later.Length;
                continue;
            }
            ReadOnlySpan<int> before = known.EventItems.AsSpan(known.UserOffsets[id]..known.UserOffsets[id + 1]);
            bool tells = before.Length > 1 && before.ContainsAnyExcept(before[0]);
            if (tells)
                telling += later.Length;
            if (before.StartsWith(later))
            {
                Count(later.Length, tells);
                continue;
            }
            for (int start = Math.Max(0, before.Length - later.Length); start < before.Length; start++)
            {
                int length = before.Length - start;
                if (later.Length == 1 && before.Length > 1 && before[^1] == later[0] && before[^2] != later[0])
                    single++;
                if (length < 2 && length < before.Length)
                    break;
                if (later.AsSpan(0, length).SequenceEqual(before[start..]))
                {
                    Count(length, tells);
                    break;
                }
            }
        }
        int all = added.EventItems.Length;
        bool isOfAll = 2L * events >= Math.Max(all, known.EventItems.Length);
        bool isOfHalf = told >= FewestKnown && 2L * told >= known.EventItems.Length;
        bool isOfLast = told + single >= FewestKnown && told + single >= 0.9 * telling;
        return (events + (isOfLast ? single : 0), isOfAll || isOfHalf || isOfLast);

        void Count(int length, bool tells)
        {
            events += length;
            if (tells)
                told += length;
        }
    }

    /// <param name="directory">Where a log is cleaned.</param>
    /// <param name="model">What knows events already.</param>
    /// <param name="ofEvents">A checksum of the events of a log; nothing for atomic files, which are their own.</param>
    private InteractionDataset Read(string directory, ModelFolder model, out string[] ofEvents)
    {
        bool isCut = false;
        RunConfig prepared = new PipelineRun(
            inputs, options with { OutputDirectory = directory }, new RunObserver(Observe), progress, cancellation).Prepare();
        if (isCut)
        {
            throw new InputException(
                $"{string.Join(", ", inputs.EventLog!.Inputs)}: ends in the middle of a line: it was cut off, or is still being written; "
                + "events cannot be taken back out of a model, so give the whole log");
        }
        Directory.CreateDirectory(directory);
        ofEvents = [];
        if (inputs.EventLog is { } log)
        {
            ofEvents = [ChecksumOfLines(new DatasetFiles(prepared).Interactions)];
            if (model.Updates?.Events.Contains(ofEvents[0]) ?? false)
            {
                throw new InputException(
                    $"{string.Join(", ", log.Inputs)}: another file, but the model was updated with its events before; give those that "
                    + "came since");
            }
        }
        return DatasetLoader.LoadMore(prepared, model.Dataset, progress);

        void Observe(StepReport step)
        {
            isCut |= step.Read?.CutRows > 0;
            OnStep?.Invoke(step);
        }
    }

    /// <summary>The same for the same lines in any order: events of one time are in that of their log.</summary>
    private string ChecksumOfLines(string path)
    {
        long lines = 0;
        UInt128 sum = 0;
        foreach (string line in File.ReadLines(path))
        {
            cancellation.ThrowIfCancellationRequested();
            sum += BinaryPrimitives.ReadUInt128LittleEndian(SHA256.HashData(Encoding.UTF8.GetBytes(line)));
            lines++;
        }
        return string.Create(CultureInfo.InvariantCulture, $"{lines}-{sum:x32}");
    }

    /// <summary>What hardly is as it was meant, but may be.</summary>
    private IEnumerable<string> Oddities(InteractionDataset added, InteractionDataset known)
    {
        if (added.EventItems.Length < FewestKnown)
            yield break;
        const string Question = "is that the right column?";
        if (Known(added.Items, known.Items) == 0)
            yield return $"of {Printable.Count(added.ItemCount - 1, "item")} in the new events the model knows none; {Question}";
        if (Known(added.Users, known.Users) == 0 && inputs.EventLog?.Convert.GroupBy != HistoryOwner.Session)
            yield return $"of {Printable.Count(added.UserCount - 1, "user")} in the new events the model knows none; {Question}";
    }

    /// <summary>How many of some tokens are among others.</summary>
    private static int Known(Vocabulary tokens, Vocabulary known) =>
        Enumerable.Range(1, tokens.Count - 1).Count(id => known.TryGetId(tokens[id], out _));

    /// <summary>Saves a trained folder's model anew: with the settings it is to keep, not with those of the update.</summary>
    private static ModelFolder Seal(string directory, RunConfig config, ModelUpdates updates, string? refitOf)
    {
        ModelFolder model = ModelFolder.Load(directory, null);
        ModelFolder.SaveConfig(directory, config);
        ModelFolder.SaveModel(directory, config, model.Layout, model.Parameters, model.Blend?.Weights, refitOf, updates);
        // An updated model's events are split otherwise.
        return ModelFolder.Load(directory, null);
    }

    private (UpdateMetrics All, UpdateMetrics OfThose) Compare(
        ModelFolder before, float[] first, ModelFolder after, bool[] hasNew, TrainingResult result)
    {
        InteractionDataset dataset = after.Dataset;
        DatasetSplit split = Splitter.Split(dataset, _config.EvalArgs);
        var none = new Dictionary<string, double>();
        if (split.Test.Length == 0)
            return (new(0, none, none), new(0, none, none));
        Sample[] ofThose = [.. split.Test.Where(sample => hasNew[sample.User])];
        using var devices = new DeviceSet(options.Device, options.Threads, options.Precision);
        using var parameters = devices.Kernels[0].AllocateFloats(after.Layout.Length);
        using var ranker = new ModelRanker(devices.Kernels, devices.Workers, after.Layout, parameters, _config.RecboleCompatible);
        var statistics = TrainingStatistics.Count(dataset, split.Train);
        EvaluationSettings settings = EvaluationSettings.OfTraining(_config, _config.EvalArgs.TestMode);

        parameters.Upload(first);
        ranker.Use(BlendBefore(before, dataset));
        var (allBefore, thoseBefore) = (Measure(split.Test), Measure(ofThose));
        parameters.Upload(after.Parameters);
        ranker.Use(after.Blend);
        return (new(split.Test.Length, allBefore, result.Test), new(ofThose.Length, thoseBefore, Measure(ofThose)));

        IReadOnlyDictionary<string, double> Measure(Sample[] samples) =>
            samples.Length == 0 ? none : Evaluator.Evaluate(ranker, dataset, statistics, samples, settings, progress);
    }

    /// <summary>The old folder's blend, with what it knew of transitions, for the grown catalogue.</summary>
    private Blend? BlendBefore(ModelFolder before, InteractionDataset dataset)
    {
        if (before.Blend is null)
            return null;
        int[] offsets = new int[dataset.UserCount + 1];
        offsets.AsSpan().Fill(before.Dataset.EventItems.Length);
        before.Dataset.UserOffsets.CopyTo(offsets, 0);
        return Blend.Of(
            before.Blend.Weights,
            new(dataset.Users, dataset.Items, offsets, before.Dataset.EventItems)
            {
                ItemFields = dataset.ItemFields,
                HasGrown = before.Dataset.HasGrown,
            },
            _config);
    }
}
