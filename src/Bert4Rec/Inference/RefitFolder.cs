using Bert4Rec.Data;
using Bert4Rec.Serialization;

namespace Bert4Rec.Inference;

/// <summary>
/// The folder inside a model's in which the model that is to be delivered lies: trained anew on all events, those that the metrics were
/// measured on included. It names the held-out model, of which the metrics are, by checksum, and serves no other.
/// </summary>
internal static class RefitFolder
{
    public const string Name = "refit";

    private const int LongestManifest = 1 << 26;

    public static string Of(string directory) => Path.Combine(directory, Name);

    /// <summary>The folder of the model that a refit's folder lies in.</summary>
    public static string ModelOf(string refit) =>
        Path.GetDirectoryName(Path.TrimEndingDirectorySeparator(refit)) is { Length: > 0 } directory ? directory : ".";

    /// <summary>The folder of the refit, if it is whole; null otherwise.</summary>
    public static string? WholeOf(string directory) => State(directory).IsWhole ? Of(directory) : null;

    /// <summary>SHA-256 of the held-out model in its folder.</summary>
    public static string HeldOut(string directory) => Sha256.OfFile(Path.Combine(directory, ModelFolder.ModelFileName));

    /// <summary>Whether the folder's refit was begun, and whether it has a model, which it gets at its end.</summary>
    public static (bool IsBegun, bool IsWhole) State(string directory)
    {
        string refit = Of(directory);
        return (File.Exists(Path.Combine(refit, ModelFolder.ConfigFileName)), File.Exists(Path.Combine(refit, ModelFolder.ModelFileName)));
    }

    /// <summary>
    /// That there is no refit where one is to be, in a sentence; else null. The manifest of run tells, which makes and discards a refit
    /// without another training; where there is none, the model's settings.
    /// </summary>
    /// <param name="directory">The folder.</param>
    /// <param name="folder">Its model.</param>
    public static string? Missing(string directory, ModelFolder folder)
    {
        if (State(directory) is { IsBegun: true } or { IsWhole: true } || !folder.IsOurs || folder.RefitOf is not null)
            return null;
        return IsToBe(directory, folder) ? $"{Of(directory)} is missing: not copied with the rest, or not trained yet" : null;
    }

    private static bool IsToBe(string directory, ModelFolder folder)
    {
        string manifest = Path.Combine(directory, ModelFolder.ManifestFileName);
        if (File.Exists(manifest))
        {
            string text = InputFile.ReadText(manifest, LongestManifest, "the manifest of a run");
            return text.Contains($"\"{Name}/{ModelFolder.ModelFileName}\"", StringComparison.Ordinal);
        }
        var split = Splitter.Split(folder.Dataset, folder.Config.EvalArgs);
        return folder.Config.Refit && split.Valid.Length + split.Test.Length > 0;
    }

    /// <summary>Whether the folder's refit is whole, and one of the model that lies there.</summary>
    public static bool IsOfThisModel(string directory)
    {
        if (!State(directory).IsWhole || !File.Exists(Path.Combine(directory, ModelFolder.ModelFileName)))
            return false;
        try
        {
            using var file = SafeTensors.Read(Path.Combine(Of(directory), ModelFolder.ModelFileName));
            return ModelFolder.RefitOfIn(file) == HeldOut(directory);
        }
        catch (InputException)
        {
            return false;
        }
    }

    /// <summary>Loads the model that recommends: the refit where it has one, else the folder's own.</summary>
    /// <param name="checksum">SHA-256 of its model.safetensors.</param>
    /// <exception cref="InputException">It is damaged, was refitted for another held-out model, or changed meanwhile.</exception>
    public static ModelFolder LoadDelivered(string directory, out string checksum)
    {
        string heldOut = Path.Combine(directory, ModelFolder.ModelFileName);
        bool isRefit = State(directory).IsWhole && File.Exists(heldOut);
        string delivered = isRefit ? Of(directory) : directory, model = Path.Combine(delivered, ModelFolder.ModelFileName);
        checksum = File.Exists(model) ? Sha256.OfFile(model) : "";
        var folder = ModelFolder.Load(delivered, null);
        if (Sha256.OfFile(model) != checksum)
            throw new InputException($"{model}: changed while it was loaded; load it again");
        return !isRefit || folder.RefitOf == HeldOut(directory)
            ? folder
            : throw new InputException(
                $"{model}: not refitted for the model in {heldOut} (its SHA-256 differs); train again, or restore both");
    }
}
