using System.Runtime.InteropServices;
using Bert4Rec.Data;
using Bert4Rec.Kernels;
using Bert4Rec.Model;

namespace Bert4Rec.Inference;

/// <param name="Token">The item.</param>
/// <param name="Score">The model's score; for an empty history, how often the item occurs.</param>
/// <param name="Fields">What .item says of it.</param>
public sealed record Recommendation(string Token, float Score, IReadOnlyList<KeyValuePair<string, string>> Fields);

/// <summary>A trained model, ready to recommend.</summary>
public sealed class Recommender : IDisposable
{
    /// <summary>Histories that a device is given at once, at most.</summary>
    private const int BatchSize = 64;

    private readonly InteractionDataset _dataset;
    private readonly DeviceSet _device;
    private readonly DeviceBuffer<float> _parameters;
    private readonly Predictor _predictor;
    private readonly BlendedRanking? _blending;
    private readonly int _historyLength;
    private readonly Lazy<int[]> _byPopularity;
    private readonly Lazy<int[]> _counts;

    private Recommender(ModelFolder folder, DeviceSet device, string? note)
    {
        Note = note;
        _dataset = folder.Dataset;
        _device = device;
        _parameters = device.Kernels[0].AllocateFloats(folder.Layout.Length);
        _parameters.Upload(folder.Parameters);
        _predictor = new Predictor(
            device.Kernels[0],
            folder.Layout,
            _parameters,
            MicroBatchSize.Tokens(folder.Layout.Shape, device.Kernels[0], BatchSize),
            folder.Config.RecboleCompatible,
            quantizes: true);
        _blending = folder.Blend is null ? null : new BlendedRanking(folder.Blend, _dataset.ItemCount);
        _historyLength = folder.Layout.Shape.HistoryLength;
        _counts = new(CountItems);
        _byPopularity = new(() => [.. Enumerable.Range(1, _dataset.ItemCount - 1).OrderByDescending(item => _counts.Value[item])]);
    }

    /// <summary>Which of a folder's two models recommends, in a sentence; null where there is but one.</summary>
    public string? Note { get; }

    /// <summary>Loads the folder that training wrote; nothing else is needed. Of one that was refitted, the refitted model.</summary>
    /// <exception cref="InputException">The folder is not what it should be.</exception>
    /// <exception cref="Kernels.DeviceException">There is no such device.</exception>
    public static Recommender Load(string directory, string device, int threads)
    {
        var folder = RefitFolder.LoadDelivered(directory);
        string? note = RefitFolder.State(directory) switch
        {
            { IsWhole: true } => $"recommending with {RefitFolder.Of(directory)}, trained on all events",
            { IsBegun: true } => $"recommending with the held-out model: the training in {RefitFolder.Of(directory)} is not done",
            _ => null,
        };
        return new(folder, new DeviceSet(device, threads), note);
    }

    /// <summary>All events of a user of the training data, oldest first.</summary>
    /// <exception cref="InputException">There is no such user.</exception>
    public IReadOnlyList<string> HistoryOf(string userToken)
    {
        if (!_dataset.Users.TryGetId(userToken, out int user))
            throw new InputException(
                $"user {userToken}: not among the {_dataset.UserCount - 1} users of the training data; give a --history instead");
        return [.. _dataset.EventItems[_dataset.UserOffsets[user].._dataset.UserOffsets[user + 1]].Select(item => _dataset.Items[item])];
    }

    /// <inheritdoc cref="Recommend(IReadOnlyList{IReadOnlyList{string}}, int, bool, out IReadOnlyList{IReadOnlyList{string}})"/>
    public IReadOnlyList<Recommendation> Recommend(
        IReadOnlyList<string> historyTokens, int k, bool excludeSeen, out IReadOnlyList<string> unknownTokens)
    {
        var lists = Recommend([historyTokens], k, excludeSeen, out var unknown);
        unknownTokens = unknown[0];
        return lists[0];
    }

    /// <summary>The k items most likely to come next after each history; for an empty one the most popular items.</summary>
    /// <param name="histories">Item tokens, oldest first.</param>
    /// <param name="k">Length of each list, at most.</param>
    /// <param name="excludeSeen">Leave out the history's own items.</param>
    /// <param name="unknownTokens">The tokens of each history that the model does not know, which were left out.</param>
    public IReadOnlyList<IReadOnlyList<Recommendation>> Recommend(
        IReadOnlyList<IReadOnlyList<string>> histories, int k, bool excludeSeen, out IReadOnlyList<IReadOnlyList<string>> unknownTokens)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(k, 1);
        k = Math.Min(k, _dataset.ItemCount - 1);
        var unknown = new List<string>[histories.Count];
        var known = new int[histories.Count][];
        var lists = new IReadOnlyList<Recommendation>[histories.Count];
        for (int i = 0; i < histories.Count; i++)
        {
            var ids = new List<int>();
            unknown[i] = [];
            foreach (string token in histories[i])
            {
                if (_dataset.Items.TryGetId(token, out int id))
                    ids.Add(id);
                else
                    unknown[i].Add(token);
            }
            known[i] = [.. ids];
        }
        unknownTokens = unknown;

        var waiting = new List<int>();
        for (int i = 0; i < histories.Count; i++)
        {
            if (known[i].Length == 0)
            {
                lists[i] = [.. _byPopularity.Value.Take(k).Select(item => Describe(item, _counts.Value[item]))];
                continue;
            }
            if (waiting.Count == 0)
                _predictor.Clear();
            if (!_predictor.TryAdd(known[i]))
            {
                Flush(waiting, known, lists, k, excludeSeen);
                _predictor.TryAdd(known[i]);
            }
            waiting.Add(i);
        }
        Flush(waiting, known, lists, k, excludeSeen);
        return lists;
    }

    public void Dispose()
    {
        _predictor.Dispose();
        _parameters.Dispose();
        _device.Dispose();
    }

    private void Flush(List<int> waiting, int[][] known, IReadOnlyList<Recommendation>[] lists, int k, bool excludeSeen)
    {
        if (waiting.Count == 0)
            return;
        List<int> offsets = [], excluded = [];
        if (excludeSeen)
        {
            offsets.Add(0);
            foreach (int i in waiting)
            {
                excluded.AddRange(known[i].Distinct().Order());
                offsets.Add(excluded.Count);
            }
        }
        var items = new int[waiting.Count * k];
        var scores = new float[waiting.Count * k];
        if (_blending is null)
        {
            _predictor.TopK(k, [], [], offsets.ToArray(), excluded.ToArray(), items, scores, []);
        }
        else
        {
            _blending.Clear();
            for (int w = 0; w < waiting.Count; w++)
            {
                var history = known[waiting[w]].AsSpan();
                ReadOnlySpan<int> leftOut = excludeSeen ? CollectionsMarshal.AsSpan(excluded)[offsets[w]..offsets[w + 1]] : [];
                _blending.Add(history[^Math.Min(history.Length, _historyLength)..], leftOut);
            }
            _blending.TopK(_predictor, k, [], items, scores, []);
        }
        for (int w = 0; w < waiting.Count; w++)
        {
            // Items without a number for a score are in no list: fewer than there must be, or some with the wrong ones, tell of them.
            int wanted = Math.Min(k, _dataset.ItemCount - 1 - (excludeSeen ? known[waiting[w]].Distinct().Count() : 0));
            for (int at = w * k; at < (w * k) + wanted; at++)
            {
                if (items[at] == 0 || !float.IsFinite(scores[at]))
                    throw new InputException("the model gives scores that are no finite numbers, which cannot be ranked; train it again");
            }
            lists[waiting[w]] =
                [.. Enumerable.Range(w * k, k).Where(at => items[at] > 0).Select(at => Describe(items[at], scores[at]))];
        }
        waiting.Clear();
        _predictor.Clear();
    }

    private Recommendation Describe(int item, float score)
    {
        var table = _dataset.ItemFields;
        return new(
            _dataset.Items[item],
            score,
            table is null ? [] : [.. table.Fields.Select((name, field) => KeyValuePair.Create(name, table[item, field] ?? ""))]);
    }

    private int[] CountItems()
    {
        var counts = new int[_dataset.ItemCount];
        foreach (int item in _dataset.EventItems)
            counts[item]++;
        return counts;
    }
}
