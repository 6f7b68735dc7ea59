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
/// <param name="Next">z of what came right after the history's last item.</param>
public sealed record BlendWeights(
    float Transition, float Scale, float Seen, float Recent, float Similar = 0, float Shrinkage = 0, float Next = 0)
{
    /// <summary>By which a share of the very next items counts before the logarithm.</summary>
    private const float NextScale = 10;

    /// <summary>u that no score makes up for.</summary>
    internal const float LeavesOut = -100;

    /// <summary>The model alone.</summary>
    public static BlendWeights None { get; } = new(0, 1, 0, 0);

    /// <summary>Whether what a customer had is not ranked again, whatever the settings.</summary>
    internal bool LeavesSeenOut => Seen <= LeavesOut;

    /// <summary>As <see cref="ToString"/> writes them, and as the parameters stand.</summary>
    internal float[] Numbers => [Transition, Scale, Seen, Recent, Similar, Shrinkage, Next];

    /// <param name="numbers">As in <see cref="Numbers"/>; fewer are from the time before there were as many.</param>
    /// <returns>Null where they are no weights.</returns>
    internal static BlendWeights? Of(ReadOnlySpan<float> numbers) => numbers switch
    {
        [var transition, >= 0 and var scale, var seen, var recent] => new(transition, scale, seen, recent),
        [var transition, >= 0 and var scale, var seen, var recent, var similar, >= 0 and var shrinkage] =>
            new(transition, scale, seen, recent, similar, shrinkage),
        [var transition, >= 0 and var scale, var seen, var recent, var similar, >= 0 and var shrinkage, var next] =>
            new(transition, scale, seen, recent, similar, shrinkage, next),
        _ => null,
    };

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
        return (numbers.Count == parts.Length ? Of(CollectionsMarshal.AsSpan(numbers)) : null)
            ?? throw new InputException(
                $"{path}: its blend is '{text}', not 4, 6 or {None.Numbers.Length} numbers; train again, or restore the file");
    }

    /// <summary>The numbers, as they are kept in the model's file.</summary>
    public override string ToString() =>
        string.Join(' ', Numbers.Select(number => number.ToString("R", CultureInfo.InvariantCulture)));

    internal float Boost(BlendTerms terms)
    {
        // Only an N makes it a blended item, and N does not count.
        if (Next == 0 && terms is { Affinity: 0, Lag: 0 })
            return 0;
        float boost = (Transition * MathF.Log(1 + (Scale * terms.Affinity))) + (Similar * terms.Similarity);
        if (terms.Next > 0)
            boost += Next * MathF.Log(1 + (NextScale * terms.Next));
        return terms.Lag == 0 ? boost : boost + Seen + (Recent / terms.Lag);
    }
}

/// <summary>What the rules know of an item after a history.</summary>
internal struct BlendTerms
{
    /// <summary>T of the item.</summary>
    public float Affinity;

    /// <summary>N of the item.</summary>
    public float Next;

    /// <summary>A of the item.</summary>
    public float Similarity;

    /// <summary>How many events ago it was in the history: 1 for its last event, 0 where it was not.</summary>
    public int Lag;
}

/// <summary>
/// What a simple rule knows, as a term of the score.
/// score(i | h) = model(i | h) + w ln(1 + s T(i)) + z ln(1 + 10 N(i)) + c A(i) + [i ∈ h] (u + v / lag(i)).
/// T(i) = Σ_j share(h_j → i) / lag(j) and A(i) = Σ_j cos(h_j, i) / √lag(j), over the last <see cref="ItemTransitions.Window"/> events
/// h_j of the history, which are lag(j) = 1, 2, … events old; N(i) is the last one's share of i as the very next. Few items have a T
/// or an N above 0 or are in the history; of all others, A or not, the score is the model's.
/// </summary>
/// <remarks>
/// A log-linear mixture of a neural and a count-based model, whose numbers <see cref="BlendSearch"/> chooses on the validation part.
/// </remarks>
/// <param name="Weights">How much each term counts.</param>
/// <param name="Transitions">For T.</param>
/// <param name="Next">For N; null where it does not count.</param>
/// <param name="Similarity">For A; null where it does not count.</param>
internal sealed record Blend(BlendWeights Weights, ItemTransitions Transitions, ItemTransitions? Next, ItemSimilarity? Similarity)
{
    /// <summary>With the transitions of a dataset's training part, and its items' fields.</summary>
    /// <exception cref="InputException">The weights want fields, and the items have none in common.</exception>
    public static Blend Of(
        BlendWeights weights, InteractionDataset dataset, RunConfig config, IProgress<ProgressUpdate>? progress = null)
    {
        var similarity = weights.Similar == 0 ? null : ItemSimilarity.Of(dataset, config.SequenceSeparator)
            ?? throw new InputException("the model's blend goes by what items have in common, and they have no field; train again");
        return Of(weights, dataset, Splitter.Split(dataset, config.EvalArgs).Train, similarity, progress);
    }

    /// <summary>With the transitions of a training part.</summary>
    public static Blend Of(
        BlendWeights weights,
        InteractionDataset dataset,
        TrainingSamples train,
        ItemSimilarity? similarity,
        IProgress<ProgressUpdate>? progress = null) => new(
            weights,
            ItemTransitions.Count(dataset, train, weights.Shrinkage, progress),
            weights.Next == 0 ? null : ItemTransitions.CountNext(dataset, train, weights.Shrinkage, progress),
            similarity);

    /// <summary>All that weights may be chosen for; the model alone as yet.</summary>
    public static Blend ToChoose(
        InteractionDataset dataset, TrainingSamples train, ItemSimilarity? similarity, IProgress<ProgressUpdate>? progress = null)
    {
        var transitions = ItemTransitions.Count(dataset, train, ItemTransitions.Shrinkage, progress);
        SpareMemory.GiveBackAfter(dataset);
        var next = ItemTransitions.CountNext(dataset, train, ItemTransitions.Shrinkage, progress);
        return new(BlendWeights.None, transitions, next, similarity);
    }

    /// <summary>With other weights, and without what does not count with them.</summary>
    public Blend With(BlendWeights weights) =>
        new(weights, Transitions, weights.Next == 0 ? null : Next, weights.Similar == 0 ? null : Similarity);
}

/// <summary>The items whose score a <see cref="Blend"/> changes after one history after the other.</summary>
internal sealed class BlendedItems(Blend blend, int itemCount)
{
    /// <summary>[items] From 1 on, where an item's terms are: a few hundred have some, and a worker has an array of its own.</summary>
    private readonly int[] _places = new int[itemCount];
    private readonly List<BlendTerms> _terms = [];
    private readonly List<int> _items = [];

    /// <summary>[words] What the history's last events are about, and those events.</summary>
    private readonly float[] _profile = new float[blend.Similarity?.WordCount ?? 0];
    private readonly List<int> _profiled = [];

    /// <summary>Ascending.</summary>
    public ReadOnlySpan<int> Items => CollectionsMarshal.AsSpan(_items);

    /// <summary>What is known of an item after the history; nothing where it is not blended.</summary>
    public BlendTerms Terms(int item) => _places[item] == 0 ? default : _terms[_places[item] - 1];

    /// <param name="history">Item ids, oldest first.</param>
    public void Fill(ReadOnlySpan<int> history)
    {
        foreach (int item in _items)
            _places[item] = 0;
        _items.Clear();
        _terms.Clear();
        for (int lag = 1; lag <= history.Length; lag++)
        {
            int item = history[^lag];
            ref var terms = ref Blended(item);
            if (terms.Lag == 0)
                terms.Lag = lag;
            if (lag > ItemTransitions.Window)
                continue;
            var followers = blend.Transitions.Followers(item);
            var shares = blend.Transitions.Shares(item);
            for (int i = 0; i < followers.Length; i++)
                Blended(followers[i]).Affinity += shares[i] / lag;
        }
        if (blend.Next is { } next && !history.IsEmpty)
        {
            var followers = next.Followers(history[^1]);
            var shares = next.Shares(history[^1]);
            for (int i = 0; i < followers.Length; i++)
                Blended(followers[i]).Next = shares[i];
        }
        _items.Sort();
        if (blend.Similarity is { } similarity)
            Compare(similarity, history);
    }

    private void Compare(ItemSimilarity similarity, ReadOnlySpan<int> history)
    {
        foreach (int item in _profiled)
            similarity.Clear(item, _profile);
        _profiled.Clear();
        for (int lag = 1; lag <= Math.Min(history.Length, ItemTransitions.Window); lag++)
        {
            similarity.AddTo(history[^lag], 1 / MathF.Sqrt(lag), _profile);
            _profiled.Add(history[^lag]);
        }
        foreach (int item in _items)
            Blended(item).Similarity = similarity.Product(item, _profile);
    }

    /// <summary>An item's terms, to be added to.</summary>
    private ref BlendTerms Blended(int item)
    {
        ref int place = ref _places[item];
        if (place == 0)
        {
            _items.Add(item);
            _terms.Add(default);
            place = _terms.Count;
        }
        return ref CollectionsMarshal.AsSpan(_terms)[place - 1];
    }
}
