using Bert4Rec.Data;

namespace Bert4Rec.Evaluation;

/// <summary>
/// What each sample's user had before its target: the distinct items of the whole history, of which the model sees only the newest.
/// </summary>
/// <param name="Offsets">[samples + 1] Where each sample's items begin.</param>
/// <param name="Items">Item ids, ascending within a sample.</param>
internal sealed record SeenItems(int[] Offsets, int[] Items)
{
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

    public bool Contains(int sample, int item) => this[sample].BinarySearch(item) >= 0;
}
