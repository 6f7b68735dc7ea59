using Bert4Rec.Configuration;
using Bert4Rec.Serialization;

namespace Bert4Rec.Data;

/// <summary>
/// What was read of a dataset's files, in one file beside .inter. It is used only where the SHA-256 of each of them, and every setting that
/// reading depends on, are those it was made from; and it has a checksum of itself. Whatever is wrong with it, the files are read instead.
/// </summary>
/// <param name="onWarning">Told why it was not used, or not written.</param>
internal sealed class DatasetCache(Action<string> onWarning)
{
    private const string Extension = ".cache", KeyName = "made from", FieldsName = "fields", WarningsName = "warnings";
    private const string NewestName = "newest";

    /// <summary>To be counted up when the same files are read as something else.</summary>
    private const int Version = 1;

    /// <summary>The settings that the loader reads.</summary>
    internal static readonly string[] Settings =
    [
        "USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD", "field_separator", "seq_separator", "load_col", "val_interval",
        "filter_inter_by_user_or_item", "user_inter_num_interval", "item_inter_num_interval", "recbole_compatible",
    ];

    /// <summary>As <see cref="DatasetLoader.Load"/>, from the cache if it can be used; else from the files, and into the cache.</summary>
    /// <inheritdoc cref="DatasetLoader.Load"/>
    public InteractionDataset Load(RunConfig config, IProgress<ProgressUpdate>? progress)
    {
        string path = new DatasetFiles(config).Interactions + Extension, key = Key(config, progress);
        try
        {
            if (File.Exists(path) && TryRead(path, key) is { } cached)
                return cached;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or InputException)
        {
            onWarning($"{Printable.OneLine(e.Message)}; the dataset's files are read instead");
        }
        var dataset = DatasetLoader.Load(config, progress);
        try
        {
            if (UnixFile.IsSpecial(path))
                throw new InputException("it is a pipe or a device");
            if (Key(config, progress) == key)
                Write(path, key, dataset);
            else
                onWarning($"{path}: not written, for the dataset's files were altered while they were read");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or InputException)
        {
            onWarning($"{path}: not written: {Printable.OneLine(e.Message)}");
        }
        return dataset;
    }

    private static string Key(RunConfig config, IProgress<ProgressUpdate>? progress) => string.Join('\n',
    [
        $"version {Version} of bert4rec {typeof(DatasetCache).Assembly.ManifestModule.ModuleVersionId}",
        .. new DatasetFiles(config).All.Select(file => $"{Sha256.OfFile(file, progress)} {file}"),
        config.ToYaml(Settings),
    ]);

    private static InteractionDataset? TryRead(string path, string key)
    {
        using var file = SafeTensors.Read(path);
        if (file.Metadata.GetValueOrDefault(KeyName) != key)
            return null;
        // Without a checksum it would not be known to be whole.
        if (!file.Metadata.ContainsKey(SafeTensors.ChecksumKey))
            throw Wrong("it has no checksum");
        Vocabulary users = ReadVocabulary("user"), items = ReadVocabulary("item");
        int[] offsets = file.ReadInts("user_offsets"), events = file.ReadInts("items");
        if (InteractionDataset.Flaw(offsets, events, (users.Count, "user_text"), (items.Count, "item_text")) is { } flaw)
            throw Wrong(flaw);
        return new(users, items, offsets, events)
        {
            ItemFields = file.Metadata.TryGetValue(FieldsName, out string? fields) ? ReadFields(Lines(fields)) : null,
            Newest = InteractionDataset.NewestIn(file.Metadata.GetValueOrDefault(NewestName)),
            Warnings = Lines(file.Metadata[WarningsName]),
        };

        Vocabulary ReadVocabulary(string name)
        {
            try
            {
                return new(file.ReadBytes($"{name}_text"), file.ReadInts($"{name}_ends"));
            }
            catch (ArgumentException e)
            {
                throw Wrong($"its {name}_text is no vocabulary: {e.Message}");
            }
        }

        ItemTable ReadFields(string[] names)
        {
            var values = ReadVocabulary("value");
            // Equal values share a string; the first is none.
            string?[] texts = [null, .. Enumerable.Range(1, values.Count - 1).Select(id => values[id])];
            AtomicField[] fields = [.. names.Select(name => AtomicField.TryParse(name) ?? throw Wrong($"'{name}' is no field"))];
            return new(fields, [.. fields.Select((_, i) => Array.ConvertAll(file.ReadInts($"field_{i}"), Value))]);

            string? Value(int id) => id >= 0 && id < texts.Length ? texts[id] : throw Wrong($"there is no value {id}");
        }

        InputException Wrong(string what) => new($"{path}: {what}");
    }

    private static void Write(string path, string key, InteractionDataset dataset)
    {
        var metadata = new Dictionary<string, string> { [KeyName] = key, [WarningsName] = string.Join('\n', dataset.Warnings) };
        if (dataset.NewestText is { } newest)
            metadata[NewestName] = newest;
        List<NamedTensor> tensors =
        [
            .. Of("user", dataset.Users),
            .. Of("item", dataset.Items),
            NamedTensor.Of("user_offsets", [dataset.UserOffsets.Length], dataset.UserOffsets),
            NamedTensor.Of("items", [dataset.EventItems.Length], dataset.EventItems),
        ];
        if (dataset.ItemFields is { } table)
        {
            metadata[FieldsName] = string.Join('\n', table.Fields);
            var values = new Vocabulary();
            for (int field = 0; field < table.Fields.Count; field++)
            {
                int[] ids = new int[dataset.ItemCount];
                for (int item = 0; item < ids.Length; item++)
                    ids[item] = table[item, field] is { } value ? values.GetOrAdd(value) : 0;
                tensors.Add(NamedTensor.Of($"field_{field}", [ids.Length], ids));
            }
            tensors.AddRange(Of("value", values));
        }
        SafeTensors.Write(path, tensors, metadata);

        static NamedTensor[] Of(string name, Vocabulary vocabulary) =>
        [
            NamedTensor.Of($"{name}_text", [vocabulary.Text.Length], vocabulary.Text),
            NamedTensor.Of($"{name}_ends", [vocabulary.Count], vocabulary.Ends),
        ];
    }

    private static string[] Lines(string text) => text.Length == 0 ? [] : text.Split('\n');
}
