using System.Globalization;

namespace Bert4Rec.Inference;

/// <summary>What was added to a model since it was trained.</summary>
/// <param name="Epochs">Epochs of the training.</param>
/// <param name="Inputs">SHA-256 of every file of events that was added, in order.</param>
internal sealed record ModelUpdates(int Epochs, IReadOnlyList<string> Inputs)
{
    /// <summary>As <see cref="ToString"/> writes it; null for null.</summary>
    /// <exception cref="InputException">The text is none.</exception>
    public static ModelUpdates? Parse(string? text, string path)
    {
        if (text is null)
            return null;
        string[] parts = text.Split(' ');
        return int.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out int epochs)
            ? new(epochs, parts[1..])
            : throw new InputException($"{path}: its updates are '{text}', not epochs and checksums; train again, or restore the file");
    }

    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Epochs} {string.Join(' ', Inputs)}");
}
