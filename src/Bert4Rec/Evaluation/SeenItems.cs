using Bert4Rec.Data;

namespace Bert4Rec.Evaluation;

/// <summary>
/// What each sample's user had before its target: the distinct items of the whole history, of which the model sees only the newest.
/// </summary>
/// <param name="Offsets">[samples + 1] Where each sample's items begin.</param>
/// <param name="Items">Item ids, ascending within a sample.</param>
internal sealed record SeenItems(int[] Offsets, int[] Items)
{
    /// <summary>The share of targets that may be left out for the others' sake.</summary>
    private const double FewRepeats = 0.01;

    /// <summary>The items of a sample, by its place among the samples.</summary>
    public ReadOnlySpan<int> this[int sample] => Items.AsSpan(Offsets[sample], Offsets[sample + 1] - Offsets[sample]);

    public static SeenItems Of(InteractionDataset dataset, ReadOnlySpan<Sample> samples)
    {
        var offsets = new int[samples.Length + 1];
        var items = new List<int>();
        for (int i = 0; i < samples.Length; i++)
        {
            items.AddRange(dataset.History(samples[i], int.MaxValue).ToArray().Distinct().Order());
            offsets[i + 1] = items.Count;
        }
        return new(offsets, [.. items]);
    }

    /// <summary>Whether users take next to nothing that they had before. False of no samples.</summary>
    public static bool HardlyComeBack(InteractionDataset dataset, Sample[] samples) =>
        samples.Length > 0
        && samples.Count(sample => dataset.History(sample, int.MaxValue).Contains(dataset.Target(sample))) < FewRepeats * samples.Length;

    public bool Contains(int sample, int item) => this[sample].BinarySearch(item) >= 0;
}
