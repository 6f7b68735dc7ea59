using System.Text.Json;
using System.Text.Json.Serialization;
using Microsoft.AspNetCore.Http;

namespace Bert4Rec.Server;

/// <summary>What somebody wants recommended; what is left out, or null, is as if not asked for.</summary>
/// <param name="History">Item tokens, oldest first; without one that the model knows, the most popular items are recommended.</param>
/// <param name="User">A user of the training data, instead of a history.</param>
/// <param name="K">Length of the list; 10 if not given.</param>
/// <param name="ExcludeSeen">Leave out the history's own items.</param>
/// <param name="Allow">The only items that may be recommended.</param>
/// <param name="Deny">Items that must not be recommended.</param>
/// <param name="Filters">What the fields of an item must be; all must hold.</param>
internal record RequestBody(
    List<string>? History = null,
    string? User = null,
    int? K = null,
    bool? ExcludeSeen = null,
    List<string>? Allow = null,
    List<string>? Deny = null,
    List<FilterBody>? Filters = null);

/// <summary>One request, or with <paramref name="Requests"/>, and nothing beside it, many.</summary>
internal sealed record RecommendBody(List<RequestBody>? Requests = null) : RequestBody();

/// <param name="Field">A column of .item.</param>
/// <param name="AnyOf">Of a field of words: its token, or any of its tokens, is one of these.</param>
/// <param name="Min">Of a field of numbers: the least it may be.</param>
/// <param name="Max">The most it may be.</param>
internal sealed record FilterBody(string? Field = null, List<string>? AnyOf = null, double? Min = null, double? Max = null);

internal sealed record AttentionBody(List<string>? History = null);

/// <param name="Score">The model's score; of popular items, how often they occur; of similar ones, the cosine.</param>
internal sealed record ScoredItem(string Item, float Score, Dictionary<string, string> Fields);

/// <summary>The answer to one request; of many, <paramref name="Results"/> has those, in their order.</summary>
/// <param name="Items">Best first.</param>
/// <param name="Unknown">Tokens of the history, and of those allowed, that the model does not know, and were left out.</param>
/// <param name="Popular">The history has no item that the model knows: these are the most popular ones.</param>
/// <param name="Model">The model's version.</param>
internal sealed record RecommendAnswer(
    IReadOnlyList<ScoredItem>? Items = null,
    IReadOnlyList<string>? Unknown = null,
    bool? Popular = null,
    IReadOnlyList<RecommendAnswer>? Results = null,
    string? Model = null);

internal sealed record SimilarAnswer(IReadOnlyList<ScoredItem> Items, string Model);

/// <param name="Events">How often the item occurs in the training data.</param>
internal sealed record FoundItem(string Item, long Events, Dictionary<string, string> Fields);

internal sealed record ItemsAnswer(IReadOnlyList<FoundItem> Items, string Model);

/// <param name="Layers">Of each layer: the event's share of the attention of the position that predicts, mean over heads.</param>
internal sealed record AttendedItem(string Item, IReadOnlyList<float> Layers);

internal sealed record AttentionAnswer(IReadOnlyList<AttendedItem> Events, string Model);

internal sealed record HealthAnswer(string Status, string Model, int Items, int Users);

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
    AllowDuplicateProperties = false,
    MaxDepth = 16)]
[JsonSerializable(typeof(RecommendBody))]
[JsonSerializable(typeof(AttentionBody))]
[JsonSerializable(typeof(RecommendAnswer))]
[JsonSerializable(typeof(SimilarAnswer))]
[JsonSerializable(typeof(ItemsAnswer))]
[JsonSerializable(typeof(AttentionAnswer))]
[JsonSerializable(typeof(HealthAnswer))]
[JsonSerializable(typeof(Problem))]
// The types of parameters.
[JsonSerializable(typeof(int?))]
[JsonSerializable(typeof(bool?))]
internal sealed partial class ServerJson : JsonSerializerContext
{
    /// <summary>Answers with a value. An answer that has begun is not given up: a part of one is worse than a late one.</summary>
    public static Task Write<T>(HttpContext context, T value, string contentType = "application/json")
    {
        byte[] body = JsonSerializer.SerializeToUtf8Bytes(value, typeof(T), Default);
        context.Response.ContentType = contentType;
        context.Response.ContentLength = body.Length;
        return context.Response.Body.WriteAsync(body, 0, body.Length, CancellationToken.None);
    }
}
