using Bert4Rec.Kernels;
using Bert4Rec.Model;

namespace Bert4Rec.Inference;

/// <summary>
/// Ranks the catalogue behind histories, micro-batch by micro-batch, on one kernel set: <c>[mask]</c> is put where the next event would be,
/// and the model asked what it hides; or, of a causal model, the last event is asked what comes next.
/// </summary>
internal sealed class Predictor : IDisposable
{
    /// <summary>With more, reading the catalogue once for all of them is faster than a quantized copy read once for each.</summary>
    private const int IndexedRows = 4;

    private readonly Bert4RecModel _model;
    private readonly SequenceBatch _batch;
    private readonly ModelShape _shape;
    private readonly bool _alwaysDropsOldest;
    private readonly DeviceBuffer<int> _lastRows;
    private readonly DeviceBuffer<int> _eachOne;
    private readonly KernelSet _kernels;
    private readonly int[] _hostRows;
    private readonly IQuantizedTopK? _quantized;
    private readonly bool _ownsQuantized;
    private DeviceBuffer<int>? _ints;
    private DeviceBuffer<float>? _floats;
    private Tensor? _hidden;

    /// <param name="parameters">Read only, may be shared.</param>
    /// <param name="alwaysDropsOldest">RecBole's habit: the oldest event makes room for the mask even where there is room.</param>
    /// <param name="quantizes">Prepare for histories that come a few at a time; the parameters must not change from here on.</param>
    /// <param name="prepared">One with the same parameters that has done so, and will live longer; or null.</param>
    public Predictor(
        KernelSet kernels,
        ParameterLayout layout,
        DeviceBuffer<float> parameters,
        int tokenCapacity,
        bool alwaysDropsOldest,
        bool quantizes = false,
        Predictor? prepared = null)
    {
        _kernels = kernels;
        _shape = layout.Shape;
        _alwaysDropsOldest = alwaysDropsOldest;
        _model = new Bert4RecModel(kernels, layout, parameters, null, tokenCapacity);
        _batch = new SequenceBatch(kernels, tokenCapacity, _shape.NewestFirst);
        _lastRows = kernels.AllocateInts(tokenCapacity);
        _eachOne = kernels.AllocateInts(tokenCapacity + 1);
        _eachOne.Upload([.. Enumerable.Range(0, tokenCapacity + 1)]);
        _hostRows = new int[tokenCapacity];
        _ownsQuantized = prepared is null;
        _quantized = prepared is not null ? prepared._quantized : quantizes ? kernels.QuantizeCatalogue(_model.Catalogue) : null;
    }

    /// <summary>Histories in the micro-batch.</summary>
    public int Count => _batch.SequenceCount;

    public void Clear()
    {
        _batch.Clear();
        _hidden = null;
    }

    /// <summary>
    /// Adds a history, oldest event first, of at least one event for a causal model; only its newest events count where it is longer than
    /// the model's sequences.
    /// </summary>
    /// <returns>False where the micro-batch is full.</returns>
    public bool TryAdd(ReadOnlySpan<int> history)
    {
        _hidden = null;
        int length = Math.Min(history.Length, _shape.MaximumLength);
        if (_shape.Causal)
        {
            if (!_batch.HasRoomFor(length))
                return false;
            _batch.Add(history[^length..]);
            return true;
        }
        int kept = _alwaysDropsOldest ? Math.Max(0, length - 1) : Math.Min(length, _shape.MaximumLength - 1);
        if (!_batch.HasRoomFor(kept + 1))
            return false;
        _batch.Add(history[^kept..], _shape.MaskToken);
        return true;
    }

    /// <summary>The k best items for each history of the micro-batch.</summary>
    /// <param name="k">Length of the lists.</param>
    /// <param name="targets">[Count] items whose rank is wanted, or empty.</param>
    /// <param name="targetBoosts">[Count] what is added to the targets' scores, or empty.</param>
    /// <param name="excludedOffsets">[Count+1] where each history's excluded items begin, or empty.</param>
    /// <param name="excludedItems">Items not to recommend, ascending within a history.</param>
    /// <param name="topItems">[Count · k] item ids, best first.</param>
    /// <param name="topScores">[Count · k] their scores.</param>
    /// <param name="ranks">[Count · 3] where there are targets; see <see cref="KernelSet.TopK"/>.</param>
    public void TopK(
        int k,
        ReadOnlySpan<int> targets,
        ReadOnlySpan<float> targetBoosts,
        ReadOnlySpan<int> excludedOffsets,
        ReadOnlySpan<int> excludedItems,
        Span<int> topItems,
        Span<float> topScores,
        Span<int> ranks)
    {
        var h = Hidden();
        if (Count <= IndexedRows && targets.IsEmpty && TryIndex(h, k, excludedOffsets, excludedItems, topItems, topScores))
            return;
        int room = (Count * k) + (4 * targets.Length) + excludedOffsets.Length + excludedItems.Length;
        var ints = new Room(AtLeast(ref _ints, room, _kernels.AllocateInts));
        var floats = AtLeast(ref _floats, (Count * k) + targetBoosts.Length, _kernels.AllocateFloats);
        Tensor scores = new(floats, 0, Count, k), boosts = default;
        if (!targetBoosts.IsEmpty)
        {
            boosts = new(floats, Count * k, 1, targetBoosts.Length);
            boosts.Upload(targetBoosts);
        }
        Indices items = ints.Take(Count * k), wanted = ints.Put(targets), wantedRanks = ints.Take(3 * targets.Length);
        Exclusions exclusions = excludedOffsets.IsEmpty ? default : new(ints.Put(excludedOffsets), ints.Put(excludedItems));
        _kernels.TopK(h, _model.Catalogue, wanted, boosts, exclusions, items, scores, wantedRanks);
        items.Buffer.Download(topItems[..(Count * k)], items.Offset);
        scores.Buffer.Download(topScores[..(Count * k)], scores.Offset);
        if (!targets.IsEmpty)
            wantedRanks.Buffer.Download(ranks[..(3 * Count)], wantedRanks.Offset);
    }

    /// <summary>Scores of given items: candidates and scores are [Count · C].</summary>
    public void Score(ReadOnlySpan<int> candidates, Span<float> scores) => Score(Hidden(), candidates, scores);

    /// <summary>Scores of given items after one of the histories.</summary>
    /// <param name="row">Which of them.</param>
    /// <param name="candidates">[C] item ids.</param>
    /// <param name="scores">[C]</param>
    public void ScoreRow(int row, ReadOnlySpan<int> candidates, Span<float> scores) =>
        Score(Hidden().SliceRows(row, 1), candidates, scores);

    private void Score(Tensor h, ReadOnlySpan<int> candidates, Span<float> scores)
    {
        var ints = new Room(AtLeast(ref _ints, candidates.Length, _kernels.AllocateInts));
        var floats = AtLeast(ref _floats, candidates.Length, _kernels.AllocateFloats);
        Tensor result = new(floats, 0, h.Rows, candidates.Length / h.Rows);
        _kernels.ScoreItems(h, _model.Catalogue, ints.Put(candidates), result);
        result.Buffer.Download(scores[..candidates.Length], 0);
    }

    public void Dispose()
    {
        if (_ownsQuantized)
            _quantized?.Dispose();
        _model.Dispose();
        _batch.Dispose();
        _lastRows.Dispose();
        _eachOne.Dispose();
        _ints?.Dispose();
        _floats?.Dispose();
    }

    private bool TryIndex(
        Tensor h, int k, ReadOnlySpan<int> excludedOffsets, ReadOnlySpan<int> excludedItems, Span<int> topItems, Span<float> topScores)
    {
        if (_quantized is null)
            return false;
        for (int b = 0; b < Count; b++)
        {
            var excluded = excludedOffsets.IsEmpty ? [] : excludedItems[excludedOffsets[b]..excludedOffsets[b + 1]];
            if (!_quantized.TryTopK(h.SliceRows(b, 1), excluded, topItems.Slice(b * k, k), topScores.Slice(b * k, k)))
                return false;
        }
        return true;
    }

    /// <summary>What the model makes of the micro-batch, once for all that is asked of it.</summary>
    private Tensor Hidden()
    {
        if (_hidden is { } known)
            return known;
        _batch.Upload();
        for (int b = 0; b < Count; b++)
            _hostRows[b] = _batch.LastRow(b);
        _lastRows.Upload(_hostRows.AsSpan(0, Count));
        var hidden = _model.Predict(
            new(
                _batch.Tokens,
                _batch.Positions,
                _batch.Offsets,
                Indices.Of(_lastRows).First(Count),
                Indices.Of(_eachOne).First(Count + 1)));
        _hidden = hidden;
        return hidden;
    }

    /// <summary>The buffer, or a longer one in its place.</summary>
    private static DeviceBuffer<T> AtLeast<T>(ref DeviceBuffer<T>? buffer, int length, Func<long, DeviceBuffer<T>> allocate)
        where T : unmanaged
    {
        if (buffer is null || buffer.Length < length)
        {
            buffer?.Dispose();
            buffer = null;
            buffer = allocate(length);
        }
        return buffer;
    }

    /// <summary>A buffer that is handed out piece by piece.</summary>
    private struct Room(DeviceBuffer<int> buffer)
    {
        private int _next;

        /// <summary>None for a length of 0.</summary>
        public Indices Take(int length)
        {
            if (length == 0)
                return default;
            var indices = new Indices(buffer, _next, length);
            _next += length;
            return indices;
        }

        public Indices Put(ReadOnlySpan<int> values)
        {
            var indices = Take(values.Length);
            if (!indices.IsNone)
                indices.Upload(values);
            return indices;
        }
    }
}
