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
/// <param name="Shrinkage">β of the shares that these were chosen for (<see cref="ItemTransitions"/>).</param>
public sealed record BlendWeights(float Transition, float Scale, float Seen, float Recent, float Shrinkage = 0)
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
        // Four are from the time before there was a shrinkage.
        return numbers is [var transition, >= 0 and var scale, var seen, var recent, .. var shrinkage]
            && shrinkage is [] or [>= 0] && numbers.Count == parts.Length
            ? new(transition, scale, seen, recent, shrinkage is [var beta] ? beta : 0)
            : throw new InputException($"{path}: its blend is '{text}', not five numbers; train again, or restore the file");
    }

    /// <summary>The five numbers, as they are kept in the model's file.</summary>
    public override string ToString() =>
        string.Create(CultureInfo.InvariantCulture, $"{Transition:R} {Scale:R} {Seen:R} {Recent:R} {Shrinkage:R}");

    /// <param name="affinity">T of the item after the history.</param>
    /// <param name="lag">How long ago the item was in the history: 1 for its last event, 0 where it was not.</param>
    public float Boost(float affinity, int lag) =>
        (Transition * MathF.Log(1 + (Scale * affinity))) + (lag == 0 ? 0 : Seen + (Recent / lag));
}

/// <summary>
/// What a simple rule knows, as a term of the score: score(i | h) = model(i | h) + w ln(1 + s T(i)) + [i ∈ h] (u + v / lag(i)), with
/// T(i) = Σ_j share(h_j → i) / lag(j) over the last <see cref="ItemTransitions.Window"/> events h_j of the history, which are lag(j) =
/// 1, 2, … events old. Few items have a T above 0 or are in the history; for all others the score is the model's.
/// </summary>
/// <remarks>
/// A log-linear mixture of a neural and a count-based model, whose first four numbers <see cref="BlendSearch"/> chooses on the validation
/// part.
/// </remarks>
internal sealed class Blend(BlendWeights weights, ItemTransitions transitions)
{
    /// <summary>With the transitions of a dataset's training part.</summary>
    public static Blend Of(
        BlendWeights weights, InteractionDataset dataset, EvalArgs args, IProgress<ProgressUpdate>? progress = null) =>
        new(weights, ItemTransitions.Count(dataset, Splitter.Split(dataset, args).Train, weights.Shrinkage, progress));

    public BlendWeights Weights => weights;

    public ItemTransitions Transitions => transitions;
}

/// <summary>The items whose score a <see cref="Blend"/> changes after one history after the other.</summary>
internal sealed class BlendedItems(ItemTransitions transitions, int itemCount)
{
    private readonly float[] _affinities = new float[itemCount];
    private readonly int[] _lags = new int[itemCount];
    private readonly List<int> _items = [];

    /// <summary>Ascending.</summary>
    public ReadOnlySpan<int> Items => CollectionsMarshal.AsSpan(_items);

    /// <summary>T of an item after the history.</summary>
    public float Affinity(int item) => _affinities[item];

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
