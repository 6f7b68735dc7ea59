using System.Globalization;
using System.Text;
using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Model;
using Bert4Rec.Serialization;
using CsvHelper;

namespace Bert4Rec.Inference;

/// <summary>
/// A trained model's folder, whole in itself: the parameters under RecBole's names, the config, both vocabularies with the items' fields,
/// and the events that histories are read from. The model file names the others by checksum, so that none can be swapped or altered unseen.
/// </summary>
internal sealed class ModelFolder(
    RunConfig config, InteractionDataset dataset, ParameterLayout layout, float[] parameters, bool isOurs, Blend? blend, string? refitOf,
    ModelUpdates? updates)
{
    public const string ModelFileName = "model.safetensors";
    public const string ConfigFileName = "config.yaml";

    /// <summary>Written after each epoch.</summary>
    public const string CheckpointFileName = "checkpoint.safetensors";

    /// <summary>Written when the training is done.</summary>
    public const string ResultFileName = "result.json";

    /// <summary>Written by run: what its steps made of what.</summary>
    public const string ManifestFileName = "manifest.json";

    /// <summary>The metadata of <see cref="RefitOf"/>.</summary>
    private const string RefitKey = "refit of";

    /// <summary>The metadata of <see cref="Blend"/>'s weights.</summary>
    private const string BlendKey = "blend";

    /// <summary>The metadata of <see cref="Updates"/>.</summary>
    private const string UpdatesKey = "updates";

    /// <summary>The metadata of the events, which says how new they are.</summary>
    private const string NewestKey = "newest";

    private const string UsersFileName = "users.txt";
    private const string ItemsFileName = "items.tsv";
    private const string EventsFileName = "events.safetensors";
    private static readonly CsvReaderOptions s_itemsRead = new() { Separator = '\t', Mode = CsvMode.Escape, HasHeader = false };
    private static readonly CsvWriterOptions s_itemsWritten = new() { Separator = '\t', Mode = CsvMode.Escape, NewLine = "\n" };
    private static readonly string[] s_companions = [ConfigFileName, UsersFileName, ItemsFileName, EventsFileName];

    /// <summary>The files of a trained model.</summary>
    public static IReadOnlyList<string> FileNames { get; } = [ModelFileName, .. s_companions];

    /// <summary>Whether it was trained here, and has its events with it.</summary>
    public bool IsOurs => isOurs;

    public RunConfig Config => config;

    public InteractionDataset Dataset => dataset;

    public ParameterLayout Layout => layout;

    /// <summary>[Layout.Length]</summary>
    public float[] Parameters => parameters;

    /// <summary>What stands beside the model in the score; null for the model alone, and with <c>blend: false</c>.</summary>
    public Blend? Blend => blend;

    /// <summary>SHA-256 of the held-out model that this one is a refit of, see <see cref="RefitFolder"/>; null for any other.</summary>
    public string? RefitOf => refitOf;

    /// <summary>What was added since it was trained; null for nothing.</summary>
    public ModelUpdates? Updates => updates;

    /// <summary><see cref="RefitOf"/> of a model's file.</summary>
    internal static string? RefitOfIn(SafeTensorsFile file) => file.Metadata.GetValueOrDefault(RefitKey);

    /// <summary>Whether a folder has its model's events with it.</summary>
    public static bool HasEvents(string directory) => File.Exists(Path.Combine(directory, EventsFileName));

    /// <summary>Writes everything but the model, before training.</summary>
    public static void SaveData(string directory, RunConfig config, InteractionDataset dataset)
    {
        SaveConfig(directory, config);
        OutputFile.Write(Path.Combine(directory, UsersFileName), stream =>
        {
            for (int user = 1; user < dataset.UserCount; user++)
            {
                stream.Write(dataset.Users.Utf8(user));
                stream.WriteByte((byte)'\n');
            }
        });
        OutputFile.Write(Path.Combine(directory, ItemsFileName), stream => WriteItems(stream, config, dataset));
        SafeTensors.Write(
            Path.Combine(directory, EventsFileName),
            [
                NamedTensor.Of("user_offsets", [dataset.UserOffsets.Length], dataset.UserOffsets),
                NamedTensor.Of("items", [dataset.EventItems.Length], dataset.EventItems),
            ],
            dataset.NewestText is { } newest ? new Dictionary<string, string> { [NewestKey] = newest } : null);
    }

    /// <summary>Writes the config alone; <see cref="SaveModel"/> must follow where there is a model.</summary>
    public static void SaveConfig(string directory, RunConfig config) =>
        OutputFile.WriteText(Path.Combine(directory, ConfigFileName), config.ToYaml());

    /// <summary>Writes the model, to stand beside what <see cref="SaveData"/> wrote.</summary>
    /// <param name="config">The settings it was trained with.</param>
    /// <param name="parameters">[Layout.Length]</param>
    /// <exception cref="InputException">A parameter is not a finite number.</exception>
    public static void SaveModel(
        string directory,
        RunConfig config,
        ParameterLayout layout,
        float[] parameters,
        BlendWeights? blend = null,
        string? refitOf = null,
        ModelUpdates? updates = null)
    {
        string path = Path.Combine(directory, ModelFileName);
        CheckFinite(path, layout, parameters, "try a tenth of learning_rate, or clip_grad_norm: 5");
        var metadata = new Dictionary<string, string>();
        foreach (string name in s_companions)
        {
            string companion = Path.Combine(directory, name);
            metadata[$"bytes of {name}"] = new FileInfo(companion).Length.ToString(CultureInfo.InvariantCulture);
            metadata[$"sha256 of {name}"] = Sha256.OfFile(companion);
        }
        metadata["config"] = config.ToYaml();
        if (blend is not null && blend != BlendWeights.None)
            metadata[BlendKey] = blend.ToString();
        if (refitOf is not null)
            metadata[RefitKey] = refitOf;
        if (updates is not null)
            metadata[UpdatesKey] = updates.ToString();
        SafeTensors.Write(
            path,
            layout.Entries.Select(entry => NamedTensor.Of(entry.Name, entry.Shape, parameters.AsMemory(entry.Range))),
            metadata);
    }

    /// <summary>In a sentence, that a folder's training goes on, or was stopped: it has a model after its first epochs. Null where it is
    /// done.</summary>
    public static string? Unfinished(string directory) =>
        File.Exists(Path.Combine(directory, CheckpointFileName)) && !File.Exists(Path.Combine(directory, ResultFileName))
            ? $"the training in {directory} is not done"
            : null;

    /// <summary>
    /// Loads a folder that training wrote; or one with a state dict of RecBole as model.safetensors, whose items are then those of the
    /// config's dataset, in RecBole's order.
    /// </summary>
    /// <param name="config">The settings to evaluate with; null for those the model was trained with.</param>
    /// <exception cref="InputException">A file is missing, damaged or altered, or does not fit the config.</exception>
    public static ModelFolder Load(string directory, RunConfig? config, IProgress<ProgressUpdate>? progress = null)
    {
        string path = Path.Combine(directory, ModelFileName);
        if (!File.Exists(path))
            throw new InputException($"{directory}: no {ModelFileName} in it; give the --output folder of a training run");
        using var file = SafeTensors.Read(path);
        bool isOurs = file.Metadata.ContainsKey($"sha256 of {EventsFileName}");
        if (isOurs)
            CheckCompanions(directory, path, file);
        var trained = isOurs || config is null ? RunConfig.Load([Path.Combine(directory, ConfigFileName)], []) : config;
        config ??= trained;
        CheckSame(path, "objective", ObjectiveNames.Of(config.Objective), ObjectiveNames.Of(trained.Objective));
        CheckSame(path, "n_heads", config.Heads, trained.Heads);
        // RecBole's models have no choice of these.
        CheckSame(path, "norm_first", config.NormFirst, isOurs && trained.NormFirst);
        CheckSame(path, "position_order", config.PositionOrder, isOurs ? trained.PositionOrder : PositionOrder.Oldest);
        CheckSame(path, "layer_norm_eps", config.LayerNormEpsilon, trained.LayerNormEpsilon);
        ModelUpdates? updates = UpdatesIn(file, path);
        var dataset = isOurs ? LoadData(directory, hasGrown: updates is not null) : DatasetLoader.Load(config, progress);
        var layout = new ParameterLayout(ModelShape.Of(config, dataset.ItemCount));
        var parameters = new float[layout.Length];
        foreach (var entry in layout.Entries)
        {
            var shape = file.Shape(entry.Name);
            if (!shape.SequenceEqual(entry.Shape))
            {
                throw new InputException(
                    $"{path}: {entry.Name} is [{string.Join(", ", shape)}], but the config and its {dataset.ItemCount} items make it "
                    + $"[{string.Join(", ", entry.Shape)}]");
            }
            file.ReadFloats(entry.Name).CopyTo(parameters, entry.Offset);
        }
        if (file.Names.Except(layout.Entries.Select(entry => entry.Name)).FirstOrDefault(IsLayers) is string other)
            throw new InputException($"{path}: has {other}, but the config makes a model without it (n_layers, output_head)");
        CheckFinite(path, layout, parameters, "train again, or restore the file");
        BlendWeights? weights = file.Metadata.TryGetValue(BlendKey, out string? text) ? BlendWeights.Parse(text, path) : null;
        var blend = weights is null || !config.Blend ? null : Blend.Of(weights, dataset, trained, progress);
        return new(config, dataset, layout, parameters, isOurs, blend, RefitOfIn(file), updates);
    }

    /// <summary>What was added to a folder's model since it was trained; null for nothing, and where there is no model.</summary>
    /// <exception cref="InputException">The model's file is damaged.</exception>
    public static ModelUpdates? ReadUpdates(string directory)
    {
        string path = Path.Combine(directory, ModelFileName);
        if (!File.Exists(path))
            return null;
        using var file = SafeTensors.Read(path);
        return UpdatesIn(file, path);
    }

    private static ModelUpdates? UpdatesIn(SafeTensorsFile file, string path) =>
        ModelUpdates.Parse(file.Metadata.GetValueOrDefault(UpdatesKey), path);

    /// <summary>Whether a tensor is a part of the encoder or the head; state dicts have buffers besides.</summary>
    private static bool IsLayers(string tensor) =>
        tensor.EndsWith(".weight", StringComparison.Ordinal) || tensor.EndsWith("bias", StringComparison.Ordinal);

    private static void CheckCompanions(string directory, string path, SafeTensorsFile file)
    {
        foreach (string name in s_companions)
        {
            string companion = Path.Combine(directory, name);
            if (!File.Exists(companion))
                throw new InputException($"{companion}: missing; it belongs to {path}");
            // The length first: a huge file in a small one's place is no reason to read it.
            string? saved = file.Metadata.GetValueOrDefault($"bytes of {name}");
            bool isLonger = long.TryParse(saved, CultureInfo.InvariantCulture, out long length) && new FileInfo(companion).Length > length;
            if (isLonger || file.Metadata.GetValueOrDefault($"sha256 of {name}") != Sha256.OfFile(companion))
                throw new InputException($"{companion}: not the file that {path} was saved with (its SHA-256 differs); restore it");
        }
    }

    /// <summary>Nothing can be ranked by scores that are no numbers, and comparisons with them would call every target the first.</summary>
    private static void CheckFinite(string path, ParameterLayout layout, ReadOnlySpan<float> parameters, string remedy)
    {
        foreach (var entry in layout.Entries)
        {
            foreach (float value in parameters[entry.Range])
            {
                if (float.IsFinite(value))
                    continue;
                throw new InputException($"{path}: {entry.Name} holds {value.ToString(CultureInfo.InvariantCulture)}; {remedy}")
                {
                    IsDivergence = true,
                };
            }
        }
    }

    /// <summary>Settings that the shapes of the parameters do not tell.</summary>
    private static void CheckSame<T>(string path, string key, T value, T trained)
        where T : IConvertible
    {
        if (value.Equals(trained))
            return;
        throw new InputException($"{path}: {key} {Text(value)}: the model was trained with {Text(trained)}; leave it as it is");

        // True and Newest are written in lower case in a config.
        static string Text(T setting) => setting.ToString(CultureInfo.InvariantCulture).ToLowerInvariant();
    }

    private static InteractionDataset LoadData(string directory, bool hasGrown)
    {
        Vocabulary users = ReadUsers(Path.Combine(directory, UsersFileName)), items = new();
        using var file = CsvReader.Create(InputFile.Open(Path.Combine(directory, ItemsFileName)), s_itemsRead);
        if (!file.Read())
            throw new InputException($"{Path.Combine(directory, ItemsFileName)}: no header; train again, or restore the folder");
        string[] header = [.. Enumerable.Range(0, file.FieldCount).Select(file.GetString)];
        string[] fields = header[1..];
        // Padding is item 0.
        var values = fields.Select(_ => new List<string?> { null }).ToArray();
        while (file.Read())
        {
            int before = items.Count;
            items.GetOrAdd(file.GetString(0));
            // The columns would shift against the items.
            if (items.Count == before || file.FieldCount != header.Length)
            {
                throw new InputException(
                    $"{Path.Combine(directory, ItemsFileName)}:{file.RowNumber}: not {header.Length} values of an item that was not there "
                    + "before; train again, or restore the folder");
            }
            for (int field = 0; field < fields.Length; field++)
                values[field].Add(file.GetString(field + 1) is { Length: > 0 } value ? value : null);
        }
        string eventsPath = Path.Combine(directory, EventsFileName);
        using var events = SafeTensors.Read(eventsPath);
        int[] offsets = events.ReadInts("user_offsets"), eventItems = events.ReadInts("items");
        // A right checksum says only that they are as they were written.
        if (InteractionDataset.Flaw(offsets, eventItems, (users.Count, UsersFileName), (items.Count, ItemsFileName)) is { } flaw)
            throw new InputException($"{eventsPath}: {flaw}; train again, or restore the folder");
        return new InteractionDataset(users, items, offsets, eventItems)
        {
            HasGrown = hasGrown,
            Newest = InteractionDataset.NewestIn(events.Metadata.GetValueOrDefault(NewestKey)),
            ItemFields = fields.Length == 0 ? null : ToTable(header, [.. values.Select(column => column.ToArray())]),
        };
    }

    /// <summary>Of a header without types, as it was once written, the values tell what is a number.</summary>
    private static ItemTable ToTable(string[] header, string?[][] values)
    {
        AtomicField[] fields = [.. header.Select(AtomicField.TryParse).OfType<AtomicField>()];
        return fields.Length == header.Length
            ? new(fields[1..], values)
            : new([.. header[1..].Zip(values, (name, column) => new AtomicField(name, TypeOf(column)))], values);

        static AtomicType TypeOf(string?[] column) =>
            column.OfType<string>().All(IsNumber) ? AtomicType.Number : AtomicType.TokenSequence;

        static bool IsNumber(string text) =>
            double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double number) && double.IsFinite(number);
    }

    /// <summary>A token a line; a CR, or a byte order mark, is but a part of one.</summary>
    private static Vocabulary ReadUsers(string path)
    {
        using var file = InputFile.Open(path);
        byte[] content = new byte[file.Length];
        file.ReadExactly(content);
        var users = new Vocabulary();
        for (int start = 0, end; (end = Array.IndexOf(content, (byte)'\n', start)) >= 0; start = end + 1)
            users.GetOrAdd(content.AsSpan(start..end));
        return users;
    }

    /// <summary>
    /// A header as .item has it, then a line an item: its token and its fields. A TAB in one of them, which another separator allows, is
    /// escaped.
    /// </summary>
    private static void WriteItems(Stream stream, RunConfig config, InteractionDataset dataset)
    {
        using var text = new StreamWriter(stream, leaveOpen: true);
        using var file = CsvWriter.Create(text, s_itemsWritten, leaveOpen: true);
        var fields = dataset.ItemFields;
        int[] columns = [.. Enumerable.Range(0, fields?.Fields.Count ?? 0)];
        AtomicField id = new(config.ItemIdField, AtomicType.Token);
        file.WriteRecord([.. (fields?.Fields ?? []).Prepend(id).Select(field => field.ToString())]);
        for (int item = 1; item < dataset.ItemCount; item++)
            file.WriteRecord([dataset.Items[item], .. columns.Select(column => fields![item, column])]);
    }
}
