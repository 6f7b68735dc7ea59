using Bert4Rec.Serialization;

namespace Bert4Rec.Inference;

/// <summary>
/// The folder inside a model's in which the model that is to be delivered lies: trained anew on all events, those that the metrics were
/// measured on included. It names the held-out model, of which the metrics are, by checksum, and serves no other.
/// </summary>
internal static class RefitFolder
{
    public const string Name = "refit";

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
