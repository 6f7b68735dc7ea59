using System.Globalization;

namespace Bert4Rec.Inference;

/// <summary>What was added to a model since it was trained.</summary>
/// <param name="Epochs">Epochs of the training.</param>
/// <param name="Inputs">SHA-256 of every file of events that was added, in order.</param>
/// <param name="Events">Checksum of the events that each log was cleaned to: the same ones may come in another file.</param>
internal sealed record ModelUpdates(int Epochs, IReadOnlyList<string> Inputs, IReadOnlyList<string> Events)
{
    private const string EventsPrefix = "events:";

    /// <summary>As <see cref="ToString"/> writes it; null for null.</summary>
    /// <exception cref="InputException">The text is none.</exception>
    public static ModelUpdates? Parse(string? text, string path)
    {
        if (text is null)
            return null;
        string[] parts = text.Split(' ');
        if (!int.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out int epochs))
            throw new InputException($"{path}: its updates are '{text}', not epochs and checksums; train again, or restore the file");
        ILookup<bool, string> checksums = parts.Skip(1).ToLookup(part => part.StartsWith(EventsPrefix, StringComparison.Ordinal));
        return new(epochs, [.. checksums[false]], [.. checksums[true].Select(part => part[EventsPrefix.Length..])]);
    }

    public override string ToString() => string.Join(
        ' ', [Epochs.ToString(CultureInfo.InvariantCulture), .. Inputs, .. Events.Select(checksum => EventsPrefix + checksum)]);
}
