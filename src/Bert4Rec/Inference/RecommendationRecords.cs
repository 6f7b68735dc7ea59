namespace Bert4Rec.Inference;

/// <summary>What somebody wants recommended.</summary>
public sealed record RecommendationRequest
{
    /// <summary>Item tokens, oldest first. Without one that the model knows, the most popular items are recommended.</summary>
    public IReadOnlyList<string> History { get; init; } = [];

    /// <summary>Length of the list, 1 or more; there are never more items than may be recommended.</summary>
    public int K { get; init; } = 10;

    /// <summary>Leave out the history's own items.</summary>
    public bool ExcludeSeen { get; init; }

    /// <summary>The only items that may be recommended; null for all.</summary>
    public IReadOnlyCollection<string>? Allow { get; init; }

    /// <summary>Items that must not be recommended; those that the model does not know do no harm.</summary>
    public IReadOnlyCollection<string>? Deny { get; init; }

    /// <summary>What the fields of an item must be; all filters must hold.</summary>
    public IReadOnlyList<FieldFilter> Filters { get; init; } = [];
}

/// <summary>What one field of an item must be: an item without a value does not pass.</summary>
/// <param name="Field">A column of .item.</param>
public sealed record FieldFilter(string Field)
{
    /// <summary>Of a field of words: its token is one of these; of a sequence, any of its tokens.</summary>
    public IReadOnlyList<string>? AnyOf { get; init; }

    /// <summary>Of a field of numbers: the least it may be.</summary>
    public double? Minimum { get; init; }

    /// <summary>The most it may be.</summary>
    public double? Maximum { get; init; }
}

/// <param name="Token">The item.</param>
/// <param name="Score">The model's score, with the blend; in a list of popular items, how often the item occurs; in one of similar items,
/// the cosine.</param>
/// <param name="Fields">What .item says of it.</param>
public sealed record Recommendation(string Token, float Score, IReadOnlyList<KeyValuePair<string, string>> Fields);

/// <param name="Items">Best first; fewer than wanted where no more may be recommended.</param>
/// <param name="UnknownTokens">Of the history and of those allowed: what the model does not know, and was left out.</param>
/// <param name="IsPopularity">The history has no item that the model knows: these are the most popular ones, and scores are counts.</param>
/// <param name="ModelVersion">Of the model that was asked; see <see cref="Recommender.ModelVersion"/>.</param>
public sealed record RecommendationResult(
    IReadOnlyList<Recommendation> Items, IReadOnlyList<string> UnknownTokens, bool IsPopularity, string ModelVersion);

/// <summary>On what a <see cref="Recommender"/> computes.</summary>
public sealed record RecommenderOptions
{
    /// <summary>auto, cpu, cuda[:i], opencl[:i], ilgpu-cpu or ptx[:sm].</summary>
    public string Device { get; init; } = "auto";

    /// <summary>Threads of the cpu that rank at the same time; 0 for one a core.</summary>
    public int Threads { get; init; }

    /// <summary>Requests that go through the model together, at most.</summary>
    public int MaximumBatch { get; init; } = 64;
}

/// <summary>An item of the catalogue.</summary>
/// <param name="Token">The item.</param>
/// <param name="Events">How often it occurs in the training data.</param>
/// <param name="Fields">What .item says of it.</param>
public sealed record ItemDescription(string Token, long Events, IReadOnlyList<KeyValuePair<string, string>> Fields);

/// <summary>An event of a history, and how much of the model's attention it gets.</summary>
/// <param name="Token">The item.</param>
/// <param name="WeightOfLayer">Of each layer: the event's share of the attention of the position that predicts, mean over heads. What all
/// events have is 1, or less by what <c>[mask]</c> pays to itself in a model that has one.</param>
public sealed record AttendedEvent(string Token, IReadOnlyList<float> WeightOfLayer);
