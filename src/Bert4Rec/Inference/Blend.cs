using System.Globalization;
using System.Runtime.InteropServices;
using Bert4Rec.Configuration;
using Bert4Rec.Data;

namespace Bert4Rec.Inference;

/// <summary>How much a simple rule's knowledge counts beside the model's; see <see cref="Blend"/>.</summary>
/// <param name="Transition">w of the transitions.</param>
/// <param name="Scale">s, by which a share counts before the logarithm.</param>
/// <param name="Seen">u, for an item that is in the history: below 0 where customers do not come back to what they had.</param>
/// <param name="Recent">v, for an item that is in the history, the more the later it was.</param>
/// <param name="Similar">c of what is like the history (<see cref="ItemSimilarity"/>).</param>
/// <param name="Shrinkage">β of the shares that these were chosen for (<see cref="ItemTransitions"/>).</param>
public sealed record BlendWeights(float Transition, float Scale, float Seen, float Recent, float Similar = 0, float Shrinkage = 0)
{
    /// <summary>The model alone.</summary>
    public static BlendWeights None { get; } = new(0, 1, 0, 0);

    /// <summary>As <see cref="ToString"/> writes them.</summary>
    /// <exception cref="InputException">The text is no weights.</exception>
    internal static BlendWeights Parse(string text, string path)
    {
        var numbers = new List<float>();
        string[] parts = text.Split(' ');
        foreach (string part in parts)
        {
            if (!float.TryParse(part, NumberStyles.Float, CultureInfo.InvariantCulture, out float number) || !float.IsFinite(number))
                break;
            numbers.Add(number);
        }
        // Four are from the time before there were two more.
        return (numbers.Count == parts.Length ? numbers : []) switch
        {
            [var transition, >= 0 and var scale, var seen, var recent] => new(transition, scale, seen, recent),
            [var transition, >= 0 and var scale, var seen, var recent, var similar, >= 0 and var shrinkage] =>
                new(transition, scale, seen, recent, similar, shrinkage),
            _ => throw new InputException($"{path}: its blend is '{text}', not six numbers; train again, or restore the file"),
        };
    }

    /// <summary>The six numbers, as they are kept in the model's file.</summary>
    public override string ToString() =>
        string.Create(CultureInfo.InvariantCulture, $"{Transition:R} {Scale:R} {Seen:R} {Recent:R} {Similar:R} {Shrinkage:R}");

    /// <param name="affinity">T of the item after the history.</param>
    /// <param name="similarity">A of the item after the history.</param>
    /// <param name="lag">How long ago the item was in the history: 1 for its last event, 0 where it was not.</param>
    public float Boost(float affinity, float similarity, int lag) =>
        (Transition * MathF.Log(1 + (Scale * affinity))) + (Similar * similarity) + (lag == 0 ? 0 : Seen + (Recent / lag));
}

/// <summary>
/// What a simple rule knows, as a term of the score.
/// score(i | h) = model(i | h) + w ln(1 + s T(i)) + c A(i) + [i ∈ h] (u + v / lag(i)).
/// T(i) = Σ_j share(h_j → i) / lag(j) and A(i) = Σ_j cos(h_j, i) / √lag(j), over the last <see cref="ItemTransitions.Window"/> events
/// h_j of the history, which are lag(j) = 1, 2, … events old. Few items have a T above 0 or are in the history; of all others, A or
/// not, the score is the model's.
/// </summary>
/// <remarks>
/// A log-linear mixture of a neural and a count-based model, whose numbers <see cref="BlendSearch"/> chooses on the validation part.
/// </remarks>
internal sealed class Blend(BlendWeights weights, ItemTransitions transitions, ItemSimilarity? similarity)
{
    /// <summary>With the transitions of a dataset's training part, and its items' fields.</summary>
    /// <exception cref="InputException">The weights want fields, and the items have none in common.</exception>
    public static Blend Of(
        BlendWeights weights, InteractionDataset dataset, RunConfig config, IProgress<ProgressUpdate>? progress = null)
    {
        var similarity = weights.Similar == 0 ? null : ItemSimilarity.Of(dataset, config.SequenceSeparator)
            ?? throw new InputException("the model's blend goes by what items have in common, and they have no field; train again");
        var train = Splitter.Split(dataset, config.EvalArgs).Train;
        return new(weights, ItemTransitions.Count(dataset, train, weights.Shrinkage, progress), similarity);
    }

    public BlendWeights Weights => weights;

    public ItemTransitions Transitions => transitions;

    /// <summary>Null where it does not count.</summary>
    public ItemSimilarity? Similarity => similarity;
}

/// <summary>The items whose score a <see cref="Blend"/> changes after one history after the other.</summary>
internal sealed class BlendedItems(ItemTransitions transitions, ItemSimilarity? similarity, int itemCount)
{
    private readonly float[] _affinities = new float[itemCount];
    private readonly int[] _lags = new int[itemCount];
    private readonly List<int> _items = [];

    /// <summary>[words] What the history's last events are about, and those events.</summary>
    private readonly float[] _profile = new float[similarity?.WordCount ?? 0];
    private readonly List<int> _profiled = [];

    /// <summary>Ascending.</summary>
    public ReadOnlySpan<int> Items => CollectionsMarshal.AsSpan(_items);

    /// <summary>T of an item after the history.</summary>
    public float Affinity(int item) => _affinities[item];

    /// <summary>A of an item after the history; 0 where it is not blended.</summary>
    public float Similarity(int item) =>
        similarity is null || (_affinities[item] == 0 && _lags[item] == 0) ? 0 : similarity.Product(item, _profile);

    /// <summary>How many events ago an item was in the history, 1 being its last event; 0 where it is not in it.</summary>
    public int Lag(int item) => _lags[item];

    /// <param name="history">Item ids, oldest first.</param>
    public void Fill(ReadOnlySpan<int> history)
    {
        foreach (int item in _items)
        {
            _affinities[item] = 0;
            _lags[item] = 0;
        }
        _items.Clear();
        foreach (int item in _profiled)
            similarity!.Clear(item, _profile);
        _profiled.Clear();
        for (int lag = 1; lag <= history.Length; lag++)
        {
            int item = history[^lag];
            if (_lags[item] == 0)
            {
                _lags[item] = lag;
                if (_affinities[item] == 0)
                    _items.Add(item);
            }
            if (lag > ItemTransitions.Window)
                continue;
            if (similarity is not null)
            {
                similarity.AddTo(item, 1 / MathF.Sqrt(lag), _profile);
                _profiled.Add(item);
            }
            var followers = transitions.Followers(item);
            var shares = transitions.Shares(item);
            for (int i = 0; i < followers.Length; i++)
            {
                int follower = followers[i];
                if (_affinities[follower] == 0 && _lags[follower] == 0)
                    _items.Add(follower);
                _affinities[follower] += shares[i] / lag;
            }
        }
        _items.Sort();
    }
}
