using Bert4Rec.Inference;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Routing;

namespace Bert4Rec.Server;

/// <summary>Marks an endpoint that needs no key.</summary>
internal sealed class Open
{
    public static Open Metadata { get; } = new();
}

/// <summary>The API: turns HTTP into calls of the <see cref="Recommender"/>, and its records into JSON.</summary>
internal sealed class Endpoints(ModelHost models, ServerOptions options) : IDisposable
{
    /// <summary>Each is looked up in the whole catalogue.</summary>
    private const int MostFilters = 16;

    private const int DefaultK = 10, DefaultLimit = 20, MostWords = 16;

    private readonly RequestGate _gate = new(options.MaxRequests);

    /// <summary>What runs on the thread that calls it: with more of it at once, nothing else would run.</summary>
    private readonly SemaphoreSlim _scans = new(Environment.ProcessorCount);

    /// <summary>Whether no requests are to be sent here any more.</summary>
    public bool IsDraining { get; set; }

    public void Map(IEndpointRouteBuilder app)
    {
        Describe<RecommendAnswer>(app.MapPost("/v1/recommend", (Delegate)Recommend), "recommend", 413, 415)
            .Accepts<RecommendBody>("application/json")
            .WithSummary("Recommends items after a history, or many lists at once.");
        Describe<RecommendAnswer>(app.MapGet("/v1/users/{user}/recommendations", (Delegate)RecommendToUser), "recommendToUser")
            .WithSummary("Recommends items to a user of the training data.");
        Describe<ItemsAnswer>(app.MapGet("/v1/users/{user}/history", (Func<HttpContext, string, Task>)HistoryOf), "historyOf")
            .WithSummary("The items of a user of the training data, oldest first.");
        Describe<SimilarAnswer>(app.MapGet("/v1/items/{item}/similar", (Delegate)Similar), "similar")
            .WithSummary("Items that the model puts near an item, by the cosine of their embeddings.");
        Describe<ItemsAnswer>(app.MapGet("/v1/items", (Delegate)Search), "search")
            .WithSummary("Items whose token and fields contain all words of q; the most popular ones first.");
        Describe<AttentionAnswer>(app.MapPost("/v1/attention", (Delegate)Attention), "attention", 413, 415)
            .Accepts<AttentionBody>("application/json")
            .WithSummary("How much of the model's attention each event of a history gets.");
        app.MapGet("/healthz/live", (Delegate)Health).WithMetadata(Open.Metadata).Produces<HealthAnswer>()
            .WithName("live").WithSummary("Whether the process answers.");
        app.MapGet("/healthz/ready", (Delegate)Ready).WithMetadata(Open.Metadata).Produces<HealthAnswer>()
            .Produces<Problem>(503, Problem.ContentType)
            .WithName("ready").WithSummary("Whether requests should be sent here.");
    }

    public void Dispose() => _scans.Dispose();

    private static RouteHandlerBuilder Describe<TAnswer>(RouteHandlerBuilder endpoint, string name, params int[] more)
    {
        endpoint.Produces<TAnswer>().WithName(name);
        foreach (int status in (int[])[400, 401, 404, 408, 422, 503, 504, .. more])
            endpoint.Produces<Problem>(status, Problem.ContentType);
        return endpoint;
    }

    private async Task Recommend(HttpContext context)
    {
        RecommendBody body = await JsonBody.Read(context, ServerJson.Default.RecommendBody);
        if (body.Requests is not { } many)
        {
            await RecommendOne(context, body);
            return;
        }
        if (body with { Requests = null } != new RecommendBody())
            throw ProblemException.OutOfRange("requests", "nothing else may stand beside it");
        if (many.Count > options.MaxRequests)
            throw ProblemException.OutOfRange("requests", $"at most {options.MaxRequests}, not {many.Count}");
        RecommendAnswer answer;
        using (_gate.Enter(many.Count))
        {
            using ServedModel model = models.Hold();
            RecommendationResult[] results = await Task.WhenAll(many.Select(
                (request, index) => RecommendAsync(model.Recommender, request, $"requests[{index}]", context.RequestAborted)));
            answer = new(Results: [.. results.Select(result => Answer(result, version: null))], Model: model.Recommender.ModelVersion);
        }
        await Write(context, answer);
    }

    private Task RecommendToUser(
        HttpContext context, string user, [FromQuery] int? k, [FromQuery(Name = "exclude_seen")] bool? excludeSeen) =>
        RecommendOne(context, new RequestBody(User: Token(context, user), K: k, ExcludeSeen: excludeSeen));

    private async Task RecommendOne(HttpContext context, RequestBody request)
    {
        RecommendationResult result;
        using (_gate.Enter(1))
        {
            using ServedModel model = models.Hold();
            result = await RecommendAsync(model.Recommender, request, "", context.RequestAborted);
        }
        await Write(context, Answer(result, result.ModelVersion));
    }

    /// <param name="path">Of the request in the body.</param>
    private async Task<RecommendationResult> RecommendAsync(
        Recommender recommender, RequestBody? request, string path, CancellationToken cancellation)
    {
        string prefix = path.Length == 0 ? "" : path + ".";
        if (request is null)
            throw ProblemException.OutOfRange(path, "must be an object, not null");
        if (request is { History: not null, User: not null })
            throw ProblemException.OutOfRange(prefix + "user", "give a user or a history, not both");
        int nullFilter = request.Filters?.IndexOf(null!) ?? -1;
        if (nullFilter >= 0)
            throw ProblemException.OutOfRange($"{prefix}filters[{nullFilter}]", "must be an object, not null");
        if (request.Filters?.Count > MostFilters)
            throw ProblemException.OutOfRange(prefix + "filters", $"at most {MostFilters}, not {request.Filters.Count}");
        CheckHistory(request.History, prefix);
        try
        {
            return await recommender.RecommendAsync(
                new()
                {
                    History = request.User is null ? request.History ?? [] : HistoryOf(recommender, request.User, prefix + "user"),
                    K = InRange(request.K, DefaultK, prefix + "k"),
                    ExcludeSeen = request.ExcludeSeen ?? false,
                    Allow = request.Allow,
                    Deny = request.Deny,
                    Filters = [.. (request.Filters ?? []).Select(
                        filter => new FieldFilter(filter.Field!) { AnyOf = filter.AnyOf, Minimum = filter.Min, Maximum = filter.Max })],
                },
                cancellation);
        }
        catch (ArgumentException e) when (e.ParamName is string field && JsonBody.IsField(field))
        {
            throw ProblemException.OutOfRange(prefix + field, Sentence(e));
        }
    }

    private Task HistoryOf(HttpContext context, string user) => Scan(context, recommender => new ItemsAnswer(
        [.. HistoryOf(recommender, Token(context, user), "user").Select(token => Answer(recommender.Find(token)!))],
        recommender.ModelVersion));

    private Task Similar(HttpContext context, string item, [FromQuery] int? k) => Scan(context, recommender =>
    {
        string token = Token(context, item);
        if (recommender.Find(token) is null)
            throw new ProblemException(StatusCodes.Status404NotFound, "item: the model does not know it", "item");
        return new SimilarAnswer(
            [.. recommender.Similar(token, InRange(k, DefaultK, "k")).Select(Answer)], recommender.ModelVersion);
    });

    private Task Search(HttpContext context, [FromQuery] string? q, [FromQuery] int? limit)
    {
        // Each word is looked for in every field of every item.
        if (Recommender.WordsOf(q ?? "").Length > MostWords)
            throw ProblemException.OutOfRange("q", $"must have at most {MostWords} different words");
        return Scan(context, recommender => new ItemsAnswer(
            [.. recommender.Search(q ?? "", InRange(limit, DefaultLimit, "limit")).Select(Answer)], recommender.ModelVersion));
    }

    private async Task Attention(HttpContext context)
    {
        AttentionBody body = await JsonBody.Read(context, ServerJson.Default.AttentionBody);
        List<string> history = body.History ?? [];
        CheckHistory(history, "");
        int isNull = history.IndexOf(null!);
        if (isNull >= 0)
            throw ProblemException.OutOfRange($"history[{isNull}]", "must be a string, not null");
        await Scan(context, recommender => new AttentionAnswer(
            [.. recommender.Attention(history).Select(each => new AttendedItem(each.Token, each.WeightOfLayer))],
            recommender.ModelVersion));
    }

    private Task Health(HttpContext context)
    {
        Recommender recommender = models.Now.Recommender;
        return Write(
            context,
            new HealthAnswer(IsDraining ? "draining" : "ready", recommender.ModelVersion, recommender.ItemCount, recommender.UserCount));
    }

    private Task Ready(HttpContext context) => IsDraining
        ? throw new ProblemException(StatusCodes.Status503ServiceUnavailable, "the server is about to end")
        : models.Now.Recommender.Lost is string lost
            ? throw new ProblemException(StatusCodes.Status503ServiceUnavailable, $"{lost} (the server must be started again)")
            : Health(context);

    /// <summary>Does what is done on the calling thread, with few others at once.</summary>
    private async Task Scan<T>(HttpContext context, Func<Recommender, T> work)
    {
        T answer;
        using (_gate.Enter(1))
        {
            await _scans.WaitAsync(context.RequestAborted);
            try
            {
                using ServedModel model = models.Hold();
                answer = work(model.Recommender);
            }
            finally
            {
                _scans.Release();
            }
        }
        await Write(context, answer);
    }

    private static Task Write<T>(HttpContext context, T answer)
    {
        context.RequestAborted.ThrowIfCancellationRequested();
        return ServerJson.Write(context, answer);
    }

    private void CheckHistory(List<string>? history, string prefix)
    {
        if (history?.Count > options.MaxHistory)
            throw ProblemException.OutOfRange(prefix + "history", $"at most {options.MaxHistory} items, not {history.Count}");
    }

    private int InRange(int? value, int otherwise, string field) =>
        (value ?? Math.Min(otherwise, options.MaxK)) is int number && number >= 1 && number <= options.MaxK
            ? number
            : throw ProblemException.OutOfRange(field, $"must be from 1 to {options.MaxK}, not {value}");

    private static IReadOnlyList<string> HistoryOf(Recommender recommender, string user, string field) =>
        recommender.TryGetHistory(user, out var history)
            ? history
            : throw new ProblemException(
                StatusCodes.Status404NotFound, $"{field}: not among the users of the training data; give a history instead", field);

    /// <summary>A token of the path; a %2F in it is left as it is by the server, lest it part the path.</summary>
    private static string Token(HttpContext context, string value)
    {
        if (!value.Contains("%2F", StringComparison.OrdinalIgnoreCase))
            return value;
        string target = context.Features.Get<IHttpRequestFeature>()!.RawTarget;
        string[] parts = target.Split('?')[0].TrimEnd('/').Split('/');
        return Uri.UnescapeDataString(parts[^2]);
    }

    private static RecommendAnswer Answer(RecommendationResult result, string? version) =>
        new([.. result.Items.Select(Answer)], result.UnknownTokens, result.IsPopularity, Model: version);

    private static ScoredItem Answer(Recommendation item) => new(item.Token, item.Score, item.Fields.ToDictionary());

    private static FoundItem Answer(ItemDescription item) => new(item.Token, item.Events, item.Fields.ToDictionary());

    /// <summary>The message without what <see cref="ArgumentException"/> adds to it.</summary>
    private static string Sentence(ArgumentException e) => e.Message.Replace($" (Parameter '{e.ParamName}')", "");
}
