using System.Numerics;
using System.Runtime.InteropServices;
using Bert4Rec.Data;
using Bert4Rec.Model;
using Bert4Rec.Serialization;

namespace Bert4Rec.Inference;

/// <summary>
/// A trained model, ready to recommend. Any number of threads may use it at once: what they ask for at the same time goes through the model
/// together.
/// </summary>
public sealed class Recommender : IDisposable
{
    /// <summary>Longer lists are sorted out of all scores: to keep that many items in order while they come in takes longer.</summary>
    private const int LongestKeptList = 256;

    /// <summary>Where no more than this part of the catalogue may be recommended, its items are scored one by one.</summary>
    private const int FewItems = 16;

    /// <summary>Words of an id that are put together again.</summary>
    private const int MostWords = 8;

    private readonly InteractionDataset _dataset;
    private readonly RankingQueue _queue;
    private volatile bool _isDisposed;
    private readonly Lazy<bool> _hasBlanks;
    private readonly Lazy<int[]> _counts;
    private readonly Lazy<int[]> _byPopularity;
    private readonly Lazy<FieldIndex>[] _indexes;
    private readonly Lazy<float[]> _directions;
    private readonly int _attended;

    private Recommender(ModelFolder folder, RecommenderOptions options, string version, string? note)
    {
        Note = note;
        ModelVersion = version;
        _dataset = folder.Dataset;
        MaximumHistory = folder.Layout.Shape.HistoryLength;
        // [mask] attends to itself.
        _attended = folder.Layout.Shape.Causal ? 0 : 1;
        _queue = new RankingQueue(folder, options);
        _hasBlanks = new(() => Enumerable.Range(1, ItemCount).Any(item => _dataset.Items.Utf8(item).Contains((byte)' ')));
        _counts = new(CountItems);
        _byPopularity = new(() => [.. Enumerable.Range(1, ItemCount).OrderByDescending(item => _counts.Value[item])]);
        var table = _dataset.ItemFields;
        FieldNames = [.. (table?.Fields ?? []).Select(field => field.Name)];
        _indexes =
        [
            .. Enumerable.Range(0, FieldNames.Count).Select(field => new Lazy<FieldIndex>(
                () => new(table!, field, _dataset.ItemCount, folder.Config.SequenceSeparator))),
        ];
        _directions = new(() =>
        {
            float[] directions = [];
            _queue.Run(new(default) { Alone = worker => directions = worker.Directions() });
            return directions;
        });
    }

    /// <summary>The first 16 hexadecimal digits of the SHA-256 of the model.safetensors that recommends.</summary>
    public string ModelVersion { get; }

    /// <summary>Which of a folder's two models recommends, or that its training is not done, in a sentence; null where there is nothing to
    /// say.</summary>
    public string? Note { get; }

    /// <inheritdoc cref="RefitFolder.Missing"/>
    internal string? MissingRefit { get; private init; }

    /// <summary>Items of the catalogue.</summary>
    public int ItemCount => _dataset.ItemCount - 1;

    /// <summary>Users of the training data.</summary>
    public int UserCount => _dataset.UserCount - 1;

    /// <summary>Events of a history that the model sees: its newest ones. A blend knows what was before them too.</summary>
    public int MaximumHistory { get; }

    /// <summary>The columns of .item.</summary>
    public IReadOnlyList<string> FieldNames { get; }

    /// <summary>Loads the folder that training wrote; nothing else is needed. Of one that was refitted, the refitted model.</summary>
    /// <exception cref="InputException">The folder is not what it should be.</exception>
    /// <exception cref="Kernels.DeviceException">There is no such device.</exception>
    /// <exception cref="ArgumentException">An option is out of its range.</exception>
    public static Recommender Load(string directory, RecommenderOptions? options = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(directory);
        options ??= new();
        if (options.MaximumBatch < 1)
            throw new ArgumentException($"a batch has at least 1 request, not {options.MaximumBatch}", nameof(options));
        if (options.Threads < 0 || options.Threads > DeviceSet.MostThreads)
            throw new ArgumentException($"1 to {DeviceSet.MostThreads} threads, or 0, not {options.Threads}", nameof(options));
        var folder = RefitFolder.LoadDelivered(directory, out string checksum);
        string? missing = RefitFolder.Missing(directory, folder);
        string? note = RefitFolder.State(directory) switch
        {
            { IsWhole: true } => $"recommending with {RefitFolder.Of(directory)}, trained on all events",
            { IsBegun: true } => $"recommending with the held-out model: the training in {RefitFolder.Of(directory)} is not done",
            _ when missing is not null => $"recommending with the held-out model: {missing}",
            // A refit's own folder has a model when it is done, and no result ever.
            _ when folder.RefitOf is null && ModelFolder.Unfinished(directory) is string unfinished =>
                $"recommending with the best model so far: {unfinished}",
            _ => null,
        };
        return new(folder, options, checksum[..16], note) { MissingRefit = missing };
    }

    /// <summary>The k items most likely to come next after a history; for an empty one the most popular items.</summary>
    /// <exception cref="ArgumentException">The request makes no sense; the parameter's name says which part of it.</exception>
    /// <exception cref="InputException">The model's scores are no finite numbers.</exception>
    /// <exception cref="OperationCanceledException">The caller wants no more.</exception>
    /// <exception cref="ObjectDisposedException">The recommender is disposed.</exception>
    public RecommendationResult Recommend(RecommendationRequest request, CancellationToken cancellation = default)
    {
        var prepared = Prepare(request, "", cancellation);
        if (prepared.Task is not null)
            _queue.Run(prepared.Task);
        return Finish(prepared);
    }

    /// <summary>The same for many histories at once, in their order.</summary>
    /// <inheritdoc cref="Recommend(RecommendationRequest, CancellationToken)"/>
    public IReadOnlyList<RecommendationResult> Recommend(
        IReadOnlyList<RecommendationRequest> requests, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(requests);
        Prepared[] prepared = [.. requests.Select((request, i) => Prepare(request, $"requests[{i}].", cancellation))];
        RankingTask[] tasks = [.. prepared.Select(each => each.Task).OfType<RankingTask>()];
        _queue.Enqueue(tasks);
        foreach (var task in tasks)
            task.Done.GetAwaiter().GetResult();
        return [.. prepared.Select(Finish)];
    }

    /// <summary>The same, without a thread that waits.</summary>
    /// <inheritdoc cref="Recommend(RecommendationRequest, CancellationToken)"/>
    public async Task<RecommendationResult> RecommendAsync(RecommendationRequest request, CancellationToken cancellation = default)
    {
        var prepared = Prepare(request, "", cancellation);
        if (prepared.Task is not null)
        {
            _queue.Enqueue([prepared.Task]);
            await prepared.Task.Done.ConfigureAwait(false);
        }
        return Finish(prepared);
    }

    /// <summary>All events of a user of the training data, oldest first.</summary>
    /// <returns>False where there is no such user.</returns>
    public bool TryGetHistory(string user, out IReadOnlyList<string> history)
    {
        bool isKnown = _dataset.Users.TryGetId(user, out int id);
        history = isKnown
            ? [.. _dataset.EventItems[_dataset.UserOffsets[id].._dataset.UserOffsets[id + 1]].Select(item => _dataset.Items[item])]
            : [];
        return isKnown;
    }

    /// <summary>Why its device will answer no more; null where it may.</summary>
    internal string? Lost => _queue.Lost;

    /// <summary>An item whose token is some of these, one after another, with blanks between them; null where there is none.</summary>
    internal string? FindJoined(IReadOnlyList<string> tokens)
    {
        for (int first = 0; _hasBlanks.Value && first < tokens.Count; first++)
        {
            string joined = tokens[first];
            for (int next = first + 1; next < tokens.Count && next < first + MostWords; next++)
            {
                joined += $" {tokens[next]}";
                if (_dataset.Items.TryGetId(joined, out _))
                    return joined;
            }
        }
        return null;
    }

    /// <summary>What is known of an item; null where it is not in the catalogue.</summary>
    public ItemDescription? Find(string token) => _dataset.Items.TryGetId(token, out int item) ? Describe(item) : null;

    /// <summary>The items that the model takes for the most similar: by the cosine of their embeddings.</summary>
    /// <param name="token">The item, which is not among them.</param>
    /// <param name="k">How many, at most; 1 or more.</param>
    /// <exception cref="ArgumentException">There is no such item, or k is below 1.</exception>
    /// <exception cref="ObjectDisposedException">The recommender is disposed.</exception>
    public IReadOnlyList<Recommendation> Similar(string token, int k)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        CheckCount(k, "k");
        int item = KnownItem(token);
        float[] directions = _directions.Value;
        int size = directions.Length / _dataset.ItemCount;
        int[] others = [.. Enumerable.Range(1, ItemCount).Where(other => other != item)];
        float[] cosines = Array.ConvertAll(others, other => Dot(Direction(item), Direction(other)));
        return [.. BestScores.Of(k, others, cosines).Select(best => Recommend(best.Item, best.Score))];

        ReadOnlySpan<float> Direction(int of) => directions.AsSpan(of * size, size);
    }

    /// <summary>The items with all words of a text somewhere in their token or fields, whatever the case; most events first.</summary>
    /// <param name="text">Words between blanks; without any, all items are found.</param>
    /// <param name="limit">How many items, at most; 1 or more.</param>
    /// <exception cref="ArgumentException">The limit is below 1.</exception>
    public IReadOnlyList<ItemDescription> Search(string text, int limit)
    {
        ArgumentNullException.ThrowIfNull(text);
        CheckCount(limit, "limit");
        string[] words = WordsOf(text);
        var table = _dataset.ItemFields;
        return [.. _byPopularity.Value.Where(item => Array.TrueForAll(words, word => Has(item, word))).Take(limit).Select(Describe)];

        bool Has(int item, string word)
        {
            if (_dataset.Items[item].Contains(word, StringComparison.OrdinalIgnoreCase))
                return true;
            for (int field = 0; field < FieldNames.Count; field++)
            {
                if (table![item, field]?.Contains(word, StringComparison.OrdinalIgnoreCase) ?? false)
                    return true;
            }
            return false;
        }
    }

    /// <summary>The words that <see cref="Search"/> looks for.</summary>
    internal static string[] WordsOf(string text) =>
        [.. text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).Distinct(StringComparer.OrdinalIgnoreCase)];

    /// <summary>What the model looks at when it recommends: its attention to the events of a history.</summary>
    /// <param name="history">Item tokens, oldest first.</param>
    /// <returns>The known items among the newest events, which the model sees, oldest first.</returns>
    /// <exception cref="ArgumentException">A token is null.</exception>
    /// <exception cref="ObjectDisposedException">The recommender is disposed.</exception>
    public IReadOnlyList<AttendedEvent> Attention(IReadOnlyList<string> history)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        int[] known = Known(history, "history", []);
        if (known.Length == 0)
            return [];
        IReadOnlyList<float[]> layers = [];
        _queue.Run(new(default) { Alone = worker => layers = worker.Attend(known) });
        int count = layers[0].Length - _attended;
        return
        [
            .. known[^count..].Select((item, place) => new AttendedEvent(_dataset.Items[item], [.. layers.Select(layer => layer[place])])),
        ];
    }

    /// <summary>Waits for what is running; from then on nothing is recommended.</summary>
    public void Dispose()
    {
        _isDisposed = true;
        _queue.Dispose();
    }

    /// <param name="Task">What to ask of the model; null where the answer is known.</param>
    /// <param name="Ranking">That answer.</param>
    private sealed record Prepared(
        RankingTask? Task, (int Item, float Score)[] Ranking, bool IsPopularity, IReadOnlyList<string> Unknown);

    /// <summary>Checks a request, and looks up what it names.</summary>
    private Prepared Prepare(RecommendationRequest request, string path, CancellationToken cancellation)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        cancellation.ThrowIfCancellationRequested();
        if (request is null)
            throw new ArgumentNullException(path.Length == 0 ? nameof(request) : path.TrimEnd('.'));
        CheckCount(request.K, $"{path}k");
        var unknown = new List<string>();
        int[] history = Known(request.History, $"{path}history", unknown);
        int[] denied = request.Deny is null ? [] : Known(request.Deny, $"{path}deny", []);
        int[] excluded = [.. denied.Union(request.ExcludeSeen ? history : []).Order()];
        int k = Math.Min(request.K, ItemCount);
        bool[]? allowed = Allowed(request, path, unknown);
        if (allowed is null && k > LongestKeptList)
        {
            allowed = new bool[_dataset.ItemCount];
            allowed.AsSpan().Fill(true);
        }
        if (allowed is not null)
        {
            foreach (int item in excluded)
                allowed[item] = false;
            excluded = Where(allowed, isAllowed: false);
        }
        if (history.Length == 0)
        {
            var items = _byPopularity.Value.Where(item => Array.BinarySearch(excluded, item) < 0).Take(k);
            return new(null, [.. items.Select(item => (item, (float)_counts.Value[item]))], true, unknown);
        }
        int ranked = ItemCount - excluded.Length;
        if (ranked == 0)
            return new(null, [], false, unknown);
        bool areFew = allowed is not null && (ranked <= ItemCount / FewItems || k > LongestKeptList);
        return new(
            new(history, k, areFew ? Where(allowed!, isAllowed: true) : null, excluded, cancellation), [], false, unknown);
    }

    /// <summary>[items] Whether each may be recommended, by what the request allows and by its filters; null for all.</summary>
    private bool[]? Allowed(RecommendationRequest request, string path, List<string> unknown)
    {
        bool[]? allowed = null;
        if (request.Allow is not null)
        {
            allowed = new bool[_dataset.ItemCount];
            foreach (int item in Known(request.Allow, $"{path}allow", unknown))
                allowed[item] = true;
        }
        foreach (var (i, filter) in (request.Filters ?? throw Missing($"{path}filters")).Index())
        {
            bool[] passing = Passing(filter, $"{path}filters[{i}]");
            if (allowed is not null)
            {
                for (int item = 0; item < passing.Length; item++)
                    passing[item] &= allowed[item];
            }
            allowed = passing;
        }
        return allowed;
    }

    private RecommendationResult Finish(Prepared prepared) => new(
        [.. (prepared.Task?.Ranking ?? prepared.Ranking).Select(each => Recommend(each.Item, each.Score))],
        prepared.Unknown,
        prepared.IsPopularity,
        ModelVersion);

    /// <summary>[items] Whether a filter lets each pass.</summary>
    private bool[] Passing(FieldFilter filter, string path)
    {
        if (filter is null)
            throw Missing(path);
        int field = FieldNames.ToList().IndexOf(filter.Field);
        if (field < 0)
        {
            string names = FieldNames.Count == 0 ? "the model has no item fields" : $"the fields are {string.Join(", ", FieldNames)}";
            throw new ArgumentException($"there is no field {Printable.Quoted(filter.Field ?? "")}; {names}", $"{path}.field");
        }
        var index = _indexes[field].Value;
        if (filter is { AnyOf: null, Minimum: null, Maximum: null })
        {
            string wanted = index.HasNumbers ? "min or max" : "any_of";
            throw new ArgumentException($"a filter on {filter.Field} needs {wanted}", path);
        }
        if (filter.AnyOf is not null)
        {
            if (index.HasNumbers)
                throw new ArgumentException($"{filter.Field} is a number; filter it by min and max", $"{path}.any_of");
            CheckTokens(filter.AnyOf, $"{path}.any_of");
        }
        foreach (var (end, name) in new[] { (filter.Minimum, "min"), (filter.Maximum, "max") })
        {
            if (end is null)
                continue;
            if (!index.HasNumbers)
                throw new ArgumentException($"{filter.Field} is text; filter it by any_of", $"{path}.{name}");
            if (double.IsNaN(end.Value))
                throw new ArgumentException("not a number", $"{path}.{name}");
        }
        if (filter.Minimum > filter.Maximum)
            throw new ArgumentException($"min {filter.Minimum} is above max {filter.Maximum}", $"{path}.min");
        return filter.AnyOf is not null
            ? index.HaveAnyOf(filter.AnyOf)
            : index.AreBetween(filter.Minimum ?? double.NegativeInfinity, filter.Maximum ?? double.PositiveInfinity);
    }

    /// <summary>The ids of the tokens that are known, in their order; the others are added to a list.</summary>
    private int[] Known(IReadOnlyCollection<string> tokens, string path, List<string> unknown)
    {
        CheckTokens(tokens, path);
        var ids = new List<int>(tokens.Count);
        foreach (string token in tokens)
        {
            if (_dataset.Items.TryGetId(token, out int id))
                ids.Add(id);
            else
                unknown.Add(token);
        }
        return [.. ids];
    }

    private int KnownItem(string token) => _dataset.Items.TryGetId(token, out int item)
        ? item
        : throw new ArgumentException($"{Printable.Quoted(token ?? "")} is not among the {ItemCount} items of the model", nameof(token));

    private static void CheckTokens(IReadOnlyCollection<string> tokens, string path)
    {
        if (tokens is null)
            throw Missing(path);
        foreach (var (place, token) in tokens.Index())
        {
            if (token is null)
                throw Missing($"{path}[{place}]");
        }
    }

    private static void CheckCount(int count, string path)
    {
        if (count < 1)
            throw new ArgumentException($"wanted 1 or more, not {count}", path);
    }

    private static ArgumentException Missing(string path) => new("must not be null", path);

    /// <summary>The items that are allowed, or that are not, ascending.</summary>
    private static int[] Where(bool[] allowed, bool isAllowed)
    {
        var items = new int[allowed.Length];
        int count = 0;
        for (int item = 1; item < allowed.Length; item++)
        {
            // No branch, which could not be foreseen.
            items[count] = item;
            count += allowed[item] == isAllowed ? 1 : 0;
        }
        return items[..count];
    }

    private static float Dot(ReadOnlySpan<float> x, ReadOnlySpan<float> y)
    {
        var vectors = MemoryMarshal.Cast<float, Vector<float>>(x);
        var others = MemoryMarshal.Cast<float, Vector<float>>(y);
        var sums = Vector<float>.Zero;
        for (int i = 0; i < vectors.Length; i++)
            sums += vectors[i] * others[i];
        float sum = Vector.Sum(sums);
        for (int i = vectors.Length * Vector<float>.Count; i < x.Length; i++)
            sum += x[i] * y[i];
        return sum;
    }

    private Recommendation Recommend(int item, float score) => new(_dataset.Items[item], score, FieldsOf(item));

    private ItemDescription Describe(int item) => new(_dataset.Items[item], _counts.Value[item], FieldsOf(item));

    private KeyValuePair<string, string>[] FieldsOf(int item)
    {
        var fields = new KeyValuePair<string, string>[FieldNames.Count];
        for (int field = 0; field < fields.Length; field++)
            fields[field] = new(FieldNames[field], _dataset.ItemFields![item, field] ?? "");
        return fields;
    }

    private int[] CountItems()
    {
        var counts = new int[_dataset.ItemCount];
        foreach (int item in _dataset.EventItems)
            counts[item]++;
        return counts;
    }
}
