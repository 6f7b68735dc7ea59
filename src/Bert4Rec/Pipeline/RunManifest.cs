using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using Bert4Rec.EventLog;
using Bert4Rec.Inference;
using Bert4Rec.Serialization;

namespace Bert4Rec.Pipeline;

/// <param name="Path">The path in the run's folder; of a file elsewhere, the path that was given.</param>
/// <param name="Sha256">Its checksum, in lower case.</param>
internal sealed record ManifestFile(string Path, long Bytes, string Sha256);

/// <summary>A step of a run: what it was made from, and what it wrote.</summary>
/// <param name="Name">analyze, clean, convert, compare, tune, train, refit or report.</param>
/// <param name="Options">Everything else that its outputs depend on.</param>
/// <param name="Rows">As of <see cref="StepReport"/>.</param>
/// <param name="Facts">What else is worth knowing: the device of a training.</param>
/// <param name="Outputs">The files it wrote; null for a step that was begun and is not done.</param>
internal sealed record ManifestStep(
    string Name,
    IReadOnlyList<ManifestFile> Inputs,
    IReadOnlyDictionary<string, string> Options,
    IReadOnlyDictionary<string, long> Rows,
    IReadOnlyDictionary<string, string> Facts,
    IReadOnlyList<ManifestFile>? Outputs = null)
{
    /// <summary>The same files, whatever they are called now, and the same options.</summary>
    internal bool IsMadeFrom(IReadOnlyList<ManifestFile> inputs, IReadOnlyDictionary<string, string> options) =>
        Inputs.Select(file => file.Sha256).SequenceEqual(inputs.Select(file => file.Sha256))
        && Options.Count == options.Count
        && Options.All(option => options.GetValueOrDefault(option.Key) == option.Value);
}

/// <summary>
/// manifest.json: the steps of a run with the checksums of their inputs and outputs. A step whose inputs and options are the recorded ones
/// and whose outputs are untouched need not run again; one that was begun and is not done was interrupted.
/// </summary>
/// <param name="progress">Told of the bytes that are read for checksums.</param>
internal sealed class RunManifest(string directory, IProgress<ProgressUpdate>? progress, List<ManifestStep> steps)
{
    public const string FileName = ModelFolder.ManifestFileName;

    private const int LongestFile = 1 << 26;

    private static readonly JsonSerializerOptions _format = new(PipelineJson.Indented)
    {
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        RespectNullableAnnotations = true,
        RespectRequiredConstructorParameters = true,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    /// <summary>The manifest of a run's folder; an empty one where there is none.</summary>
    /// <exception cref="InputException">The file is none.</exception>
    public static RunManifest Load(string directory, IProgress<ProgressUpdate>? progress)
    {
        string path = Path.Combine(directory, FileName);
        if (!File.Exists(path))
            return new(directory, progress, []);
        string text = InputFile.ReadText(path, LongestFile, "a manifest of bert4rec run");
        Content? content = null;
        string where = path;
        try
        {
            content = JsonSerializer.Deserialize<Content>(text, _format);
        }
        catch (JsonException e)
        {
            where = e.LineNumber is long line ? $"{path}:{line + 1}" : path;
        }
        if (content is null || !content.Steps.All(IsWhole))
            throw new InputException($"{where}: not a manifest of bert4rec run; remove it to do everything again");
        // The text too: a property or a space twice says the same, yet this file would stay as it is beside those of an unbroken run.
        return content.Sha256 == Checksum(content.Steps) && Text(content) == text
            ? new(directory, progress, [.. content.Steps])
            : throw new InputException(
                $"{path}: not as bert4rec run wrote it; restore it, or remove it to do everything again");
    }

    /// <summary>What the serializer does not look at: nulls in lists and dictionaries.</summary>
    private static bool IsWhole(ManifestStep step) =>
        step is not null && step.Inputs.Concat(step.Outputs ?? []).All(file => file is not null)
        && step.Options.Values.Concat(step.Facts.Values).All(value => value is not null);

    /// <summary>The last record of a step, or null.</summary>
    public ManifestStep? this[string name] => steps.Find(step => step.Name == name);

    /// <summary>Whether a step's recorded outputs are all there, as it wrote them.</summary>
    public bool HasOutputs(ManifestStep step, CancellationToken cancellation) =>
        step.Outputs is not null && step.Outputs.All(output =>
        {
            string path = Path.Combine(directory, output.Path);
            return File.Exists(path)
                && new FileInfo(path).Length == output.Bytes
                && Sha256.OfFile(path, progress, cancellation) == output.Sha256;
        });

    /// <summary>A file as it is recorded: one of the run's folder by its path in it.</summary>
    public ManifestFile Describe(string path, CancellationToken cancellation)
    {
        string inFolder = Path.GetRelativePath(directory, path);
        bool isOutside = inFolder.StartsWith("..", StringComparison.Ordinal) || Path.IsPathRooted(inFolder);
        return new(
            (isOutside ? path : inFolder).Replace('\\', '/'), new FileInfo(path).Length, Sha256.OfFile(path, progress, cancellation));
    }

    /// <summary>Records that a step begins: from now on it is interrupted, until it is <see cref="Finish">finished</see>.</summary>
    public void Begin(ManifestStep step) => Put(step with { Outputs = null });

    /// <summary>Records what a step wrote: files of the run's folder.</summary>
    public void Finish(ManifestStep step, IEnumerable<string> outputs, CancellationToken cancellation) => Put(step with
    {
        Outputs = [.. outputs.Select(path => Describe(path, cancellation))],
    });

    /// <summary>Drops the records of steps that this run does not have, and puts the others into its order.</summary>
    public void Keep(IReadOnlyCollection<string> names)
    {
        ManifestStep[] kept = [.. names.Select(name => this[name]).OfType<ManifestStep>()];
        if (kept.SequenceEqual(steps))
            return;
        steps.Clear();
        steps.AddRange(kept);
        Save();
    }

    /// <summary>A step keeps its place when it is done again.</summary>
    private void Put(ManifestStep step)
    {
        int place = steps.FindIndex(other => other.Name == step.Name);
        if (place < 0)
            steps.Add(step);
        else
            steps[place] = step;
        Save();
    }

    private void Save()
    {
        var content = new Content(PipelineRun.Version, Checksum(steps), steps);
        OutputFile.WriteText(Path.Combine(directory, FileName), Text(content));
    }

    private static string Text(Content content) => JsonSerializer.Serialize(content, _format) + "\n";

    private static string Checksum(IReadOnlyList<ManifestStep> steps) => Sha256.Of(JsonSerializer.SerializeToUtf8Bytes(steps, _format));

    /// <param name="Sha256">Of the steps: a number in them goes into the report.</param>
    internal sealed record Content(string Version, string Sha256, IReadOnlyList<ManifestStep> Steps);
}

/// <summary>The records of manifest.json and analysis.json.</summary>
[JsonSerializable(typeof(RunManifest.Content))]
[JsonSerializable(typeof(LogAnalysis))]
[JsonSerializable(typeof(IEnumerable<IReadOnlyDictionary<string, long>?>))]
internal sealed partial class PipelineJson : JsonSerializerContext
{
    public static JsonSerializerOptions Indented { get; } = new()
    {
        TypeInfoResolver = new PipelineJson(),
        WriteIndented = true,
        NewLine = "\n",
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
    };
}
