using Bert4Rec.Data;

namespace Bert4Rec.Evaluation;

/// <summary>Where the target stands among all items: how many score higher, how many score the same, and how many of those have a lower id.
/// The target itself is in none of them.</summary>
internal readonly record struct TargetRank(int Greater, int Equal, int EqualWithLowerId)
{
    /// <summary>Behind everything: the target is an item that was left out.</summary>
    public static TargetRank Last { get; } = new(int.MaxValue, 0, 0);

    /// <summary>Place in the list, from 0; ties go to the lower id.</summary>
    public int Position => Greater + EqualWithLowerId;
}

/// <summary>
/// Anything that ranks the catalogue for a history: the model, or a baseline. It sees the history of a sample, never its target's user's
/// future.
/// </summary>
internal interface IRanker
{
    string Name { get; }

    /// <summary>Ranks every item but padding, and those that are to be left out, for each sample.</summary>
    /// <param name="dataset">The events that the samples point into.</param>
    /// <param name="k">Length of each list.</param>
    /// <param name="topItems">[samples × k] item ids, best first, 0 where the catalogue is shorter.</param>
    /// <param name="places">[samples] where each sample's target stands among the items that are ranked; of no meaning where the target is
    /// left out.</param>
    /// <param name="seen">The items to leave out, or null.</param>
    void Rank(
        InteractionDataset dataset,
        ReadOnlySpan<Sample> samples,
        int k,
        Span<int> topItems,
        Span<TargetRank> places,
        SeenItems? seen = null);

    /// <summary>Scores given items only: scores[i, c] of candidates[i, c] for sample i.</summary>
    void Score(InteractionDataset dataset, ReadOnlySpan<Sample> samples, ReadOnlySpan<int> candidates, Span<float> scores);
}
