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

    /// <summary>SHA-256 of the held-out model in its folder.</summary>
    public static string HeldOut(string directory) => Sha256.OfFile(Path.Combine(directory, ModelFolder.ModelFileName));

    /// <summary>Whether the folder's refit was begun, and whether it has a model, which it gets at its end.</summary>
    public static (bool IsBegun, bool IsWhole) State(string directory)
    {
        string refit = Of(directory);
        return (File.Exists(Path.Combine(refit, ModelFolder.ConfigFileName)), File.Exists(Path.Combine(refit, ModelFolder.ModelFileName)));
    }

    /// <summary>Loads the model that recommends: the refit where it has one, else the folder's own.</summary>
    /// <exception cref="InputException">It is damaged, or was refitted for another held-out model.</exception>
    public static ModelFolder LoadDelivered(string directory)
    {
        string heldOut = Path.Combine(directory, ModelFolder.ModelFileName);
        if (!State(directory).IsWhole || !File.Exists(heldOut))
            return ModelFolder.Load(directory, null);
        var folder = ModelFolder.Load(Of(directory), null);
        return folder.RefitOf == HeldOut(directory)
            ? folder
            : throw new InputException(
                $"{Path.Combine(Of(directory), ModelFolder.ModelFileName)}: not refitted for the model in {heldOut} (its SHA-256 differs); "
                + "train again, or restore both");
    }
}
