using System.Runtime.InteropServices;

namespace Bert4Rec.Inference;

/// <summary>
/// Ranks as a <see cref="Predictor"/> does, with a <see cref="Blend"/> in the scores: the blended items of each history, a few hundred, are
/// scored one by one, and take their places among the best of the others.
/// </summary>
internal sealed class BlendedRanking(Blend blend, int itemCount)
{
    private readonly BlendWeights _weights = blend.Weights;
    private readonly BlendedItems _blended = new(blend, itemCount);

    /// <summary>Row b has the items _items[_offsets[b].._offsets[b + 1]], ascending, and the row's target where one was given.</summary>
    private readonly List<int> _offsets = [0];
    private readonly List<int> _items = [];
    private readonly List<float> _boosts = [];
    private readonly List<BlendTerms> _terms = [];

    /// <summary>The same of the items that must not be in a row's list, be they blended or not.</summary>
    private readonly List<int> _leftOutOffsets = [0];
    private readonly List<int> _leftOut = [];
    private readonly List<(float Score, int Item)> _ranking = [];

    public void Clear()
    {
        _offsets.RemoveRange(1, _offsets.Count - 1);
        _leftOutOffsets.RemoveRange(1, _leftOutOffsets.Count - 1);
        _items.Clear();
        _boosts.Clear();
        _terms.Clear();
        _leftOut.Clear();
    }

    /// <summary>Adds what is to be ranked after a history, which the predictor has been given too.</summary>
    /// <param name="history">Item ids, oldest first.</param>
    /// <param name="leftOut">Items that must not be in the list, ascending.</param>
    /// <param name="target">The item whose rank is wanted; 0 for none.</param>
    public void Add(ReadOnlySpan<int> history, ReadOnlySpan<int> leftOut, int target = 0)
    {
        _blended.Fill(history);
        bool wantsTarget = target > 0;
        foreach (int item in _blended.Items)
        {
            if (wantsTarget && item >= target)
            {
                Put(target);
                wantsTarget = false;
            }
            if (item != target && leftOut.BinarySearch(item) < 0)
                Put(item);
        }
        if (wantsTarget)
            Put(target);
        _offsets.Add(_items.Count);
        _leftOut.AddRange(leftOut);
        _leftOutOffsets.Add(_leftOut.Count);

        void Put(int item)
        {
            _items.Add(item);
            _terms.Add(_blended.Terms(item));
            _boosts.Add(_weights.Boost(_terms[^1]));
        }
    }

    /// <summary>scores[c] of candidates[c] after a history: adds what the blend does.</summary>
    public void AddTo(ReadOnlySpan<int> history, ReadOnlySpan<int> candidates, Span<float> scores)
    {
        _blended.Fill(history);
        for (int c = 0; c < candidates.Length; c++)
            scores[c] += _weights.Boost(_blended.Terms(candidates[c]));
    }

    /// <summary>As <see cref="Predictor.TopK"/>; what is left out is what <see cref="Add"/> was given.</summary>
    /// <returns>Whether all that was scored here is a number.</returns>
    public bool TopK(
        Predictor predictor, int k, ReadOnlySpan<int> targets, Span<int> topItems, Span<float> topScores, Span<int> ranks)
    {
        int rows = predictor.Count;
        float[] scores = Scores(predictor);
        var boosts = new float[targets.Length];
        for (int row = 0; row < boosts.Length; row++)
            boosts[row] = _boosts[Place(row, targets[row])];
        // Where ranks are counted none of the blended items may be among the others. Else only those whose boost is below 0: what is not
        // among the k best before others are boosted is not among them after.
        var (offsets, excluded) = Exclusions(all: !targets.IsEmpty);
        predictor.TopK(k, targets, boosts, offsets, excluded, topItems, topScores, ranks);
        for (int row = 0; row < rows; row++)
        {
            Span<int> list = topItems.Slice(row * k, k);
            Span<float> listScores = topScores.Slice(row * k, k);
            if (!targets.IsEmpty)
                Count(row, targets[row], scores, ranks.Slice(3 * row, 3));
            _ranking.Clear();
            for (int i = _offsets[row]; i < _offsets[row + 1]; i++)
            {
                // Behind all of the list nobody has a place in it, but one that was there: its score may have been rounded otherwise. A
                // target that is left out has a rank, but no place.
                float score = scores[i] + _boosts[i];
                if ((score >= listScores[k - 1] || list.Contains(_items[i])) && LeftOut(row).BinarySearch(_items[i]) < 0)
                    _ranking.Add((score, _items[i]));
            }
            for (int i = 0; i < k && list[i] > 0; i++)
            {
                if (Items(row).BinarySearch(list[i]) < 0)
                    _ranking.Add((listScores[i], list[i]));
            }
            _ranking.Sort((x, y) => x.Score != y.Score ? y.Score.CompareTo(x.Score) : x.Item.CompareTo(y.Item));
            list.Clear();
            listScores.Fill(float.NegativeInfinity);
            for (int i = 0; i < Math.Min(k, _ranking.Count); i++)
                (listScores[i], list[i]) = _ranking[i];
        }
        return scores.All(float.IsFinite);
    }

    /// <summary>What a search for weights needs of the rows: the scores of the k best others and of the blended items.</summary>
    public void Collect(Predictor predictor, int k, ReadOnlySpan<int> targets, Span<BlendSample> samples)
    {
        int rows = predictor.Count;
        float[] scores = Scores(predictor), others = new float[rows * k];
        var (offsets, excluded) = Exclusions(all: true);
        predictor.TopK(k, [], [], offsets, excluded, new int[rows * k], others, []);
        for (int row = 0; row < rows; row++)
        {
            Range range = _offsets[row].._offsets[row + 1];
            samples[row] = new(
                others[(row * k)..((row + 1) * k)],
                scores[range],
                [.. CollectionsMarshal.AsSpan(_terms)[range]],
                LeftOut(row).BinarySearch(targets[row]) < 0 ? Place(row, targets[row]) - _offsets[row] : BlendSample.LeftOut);
        }
    }

    private ReadOnlySpan<int> Items(int row) => CollectionsMarshal.AsSpan(_items)[_offsets[row].._offsets[row + 1]];

    private ReadOnlySpan<int> LeftOut(int row) => CollectionsMarshal.AsSpan(_leftOut)[_leftOutOffsets[row].._leftOutOffsets[row + 1]];

    /// <summary>Where an item of a row stands.</summary>
    private int Place(int row, int item) => _offsets[row] + Items(row).BinarySearch(item);

    /// <summary>[items of all rows] The model's scores.</summary>
    private float[] Scores(Predictor predictor)
    {
        int rows = predictor.Count, width = 1;
        for (int row = 0; row < rows; row++)
            width = Math.Max(width, _offsets[row + 1] - _offsets[row]);
        // Shorter rows end with padding, item 0.
        var candidates = new int[rows * width];
        var padded = new float[rows * width];
        for (int row = 0; row < rows; row++)
            Items(row).CopyTo(candidates.AsSpan(row * width));
        predictor.Score(candidates, padded);
        var scores = new float[_items.Count];
        for (int row = 0; row < rows; row++)
            padded.AsSpan(row * width, _offsets[row + 1] - _offsets[row]).CopyTo(scores.AsSpan(_offsets[row]));
        return scores;
    }

    /// <summary>What the predictor is to leave out: what must not be in the lists, and the blended items, or some of them.</summary>
    private (int[] Offsets, int[] Items) Exclusions(bool all)
    {
        List<int> offsets = [0], excluded = [];
        for (int row = 0; row + 1 < _offsets.Count; row++)
        {
            var leftOut = LeftOut(row);
            int next = 0;
            for (int i = _offsets[row]; i < _offsets[row + 1]; i++)
            {
                if (!all && _boosts[i] >= 0)
                    continue;
                // What is left out up to the item comes first; where that is the item, once.
                int behind = next;
                while (behind < leftOut.Length && leftOut[behind] <= _items[i])
                    behind++;
                excluded.AddRange(leftOut[next..behind]);
                if (behind == next || leftOut[behind - 1] != _items[i])
                    excluded.Add(_items[i]);
                next = behind;
            }
            excluded.AddRange(leftOut[next..]);
            offsets.Add(excluded.Count);
        }
        return ([.. offsets], [.. excluded]);
    }

    /// <summary>Adds the blended items to what the predictor counted among the others.</summary>
    private void Count(int row, int target, float[] scores, Span<int> ranks)
    {
        int place = Place(row, target);
        float score = scores[place] + _boosts[place];
        for (int i = _offsets[row]; i < _offsets[row + 1]; i++)
        {
            if (i == place)
                continue;
            float other = scores[i] + _boosts[i];
            ranks[0] += other > score ? 1 : 0;
            ranks[1] += other == score ? 1 : 0;
            ranks[2] += other == score && i < place ? 1 : 0;
        }
    }
}
