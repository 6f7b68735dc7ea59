using Bert4Rec.Kernels;
using Bert4Rec.Model;

namespace Bert4Rec.Inference;

/// <summary>The best items after one history, of all or of some.</summary>
/// <param name="history">Item ids, oldest first; at least one.</param>
/// <param name="k">Length of the list, at most.</param>
/// <param name="candidates">The items to rank, ascending; null for all but those excluded.</param>
/// <param name="excluded">Items that must not be in the list, ascending; looked at without candidates only.</param>
internal sealed class RankingTask(int[] history, int k, int[]? candidates, int[] excluded, CancellationToken cancellation)
    : RankingWork(cancellation)
{
    public int[] History => history;

    public int K => k;

    public int[]? Candidates => candidates;

    public int[] Excluded => excluded;

    /// <summary>Best first.</summary>
    public (int Item, float Score)[] Ranking { get; set; } = [];
}

/// <summary>One kernel set with all that a thread needs to rank; the parameters are everybody's.</summary>
internal sealed class RankingWorker : IDisposable
{
    private readonly KernelSet _kernels;
    private readonly Predictor _predictor;
    private readonly BlendedRanking? _blending;
    private readonly ModelShape _shape;
    private readonly Tensor _itemTable;

    /// <param name="parameters">Those of the folder, on the device.</param>
    /// <param name="maximumBatch">Histories in the predictor at once, at most.</param>
    /// <param name="first">The first worker with the same parameters, which will live longer; null for the first.</param>
    public RankingWorker(
        ModelFolder folder, KernelSet kernels, DeviceBuffer<float> parameters, int maximumBatch, RankingWorker? first)
    {
        _kernels = kernels;
        _shape = folder.Layout.Shape;
        _itemTable = folder.Layout.View(parameters, "item_embedding.weight").First(_shape.ItemCount);
        _predictor = new Predictor(
            kernels,
            folder.Layout,
            parameters,
            (int)Math.Min(MicroBatchSize.Tokens(_shape, kernels, maximumBatch), (long)maximumBatch * _shape.MaximumLength),
            folder.Config.RecboleCompatible,
            quantizes: true,
            first?._predictor);
        _blending = folder.Blend is null ? null : new BlendedRanking(folder.Blend, _shape.ItemCount);
    }

    /// <summary>Fills each task's ranking, or its failure.</summary>
    public void Rank(IReadOnlyList<RankingTask> tasks)
    {
        RankByMicroBatch([.. tasks.Where(task => task.Candidates is null)], RankCatalogue);
        RankByMicroBatch([.. tasks.Where(task => task.Candidates is not null)], RankCandidates);
    }

    /// <summary>[layers][keys] How the position that predicts attends to each of its sequence, mean over heads.</summary>
    /// <param name="history">Item ids, oldest first; at least one.</param>
    public IReadOnlyList<float[]> Attend(int[] history)
    {
        var watch = new AttentionWatch(_shape.Heads);
        _predictor.Clear();
        _predictor.TryAdd(history);
        _kernels.Observer = watch;
        try
        {
            _predictor.ScoreRow(0, [1], new float[1]);
        }
        finally
        {
            _kernels.Observer = null;
        }
        return watch.Layers;
    }

    /// <summary>[items · H] The items' embeddings, each of length 1; one that is 0 stays so.</summary>
    public float[] Directions()
    {
        int size = _shape.HiddenSize;
        var table = _itemTable.ToArray();
        for (int item = 0; item < _shape.ItemCount; item++)
        {
            var row = table.AsSpan(item * size, size);
            double squares = 0;
            foreach (float value in row)
                squares += (double)value * value;
            double scale = squares > 0 ? 1 / Math.Sqrt(squares) : 0;
            foreach (ref float value in row)
                value = (float)(value * scale);
        }
        return table;
    }

    public void Dispose() => _predictor.Dispose();

    private void RankByMicroBatch(ReadOnlySpan<RankingTask> tasks, Action<RankingTask[]> rank)
    {
        while (!tasks.IsEmpty)
        {
            _predictor.Clear();
            int count = 0;
            while (count < tasks.Length && _predictor.TryAdd(tasks[count].History))
                count++;
            rank(tasks[..count].ToArray());
            tasks = tasks[count..];
        }
    }

    private void RankCatalogue(RankingTask[] tasks)
    {
        int k = tasks.Max(task => task.K);
        var items = new int[tasks.Length * k];
        var scores = new float[tasks.Length * k];
        if (_blending is null)
        {
            int[] offsets = [], excluded = [];
            if (Array.Exists(tasks, task => task.Excluded.Length > 0))
            {
                offsets = new int[tasks.Length + 1];
                for (int i = 0; i < tasks.Length; i++)
                    offsets[i + 1] = offsets[i] + tasks[i].Excluded.Length;
                excluded = [.. tasks.SelectMany(task => task.Excluded)];
            }
            _predictor.TopK(k, [], [], offsets, excluded, items, scores, []);
        }
        else
        {
            _blending.Clear();
            foreach (var task in tasks)
                _blending.Add(task.History, task.Excluded);
            _blending.TopK(_predictor, k, [], items, scores, []);
        }
        for (int i = 0; i < tasks.Length; i++)
        {
            // Items without a number for a score are in no list: fewer than there must be, or some with the wrong ones, tell of them.
            var ranking = new (int, float)[Math.Min(tasks[i].K, _shape.ItemCount - 1 - tasks[i].Excluded.Length)];
            for (int place = 0; place < ranking.Length; place++)
            {
                int at = (i * k) + place;
                if (items[at] == 0 || !float.IsFinite(scores[at]))
                    tasks[i].Failure = NotFinite();
                ranking[place] = (items[at], scores[at]);
            }
            tasks[i].Ranking = ranking;
        }
    }

    private void RankCandidates(RankingTask[] tasks)
    {
        for (int i = 0; i < tasks.Length; i++)
        {
            int[] candidates = tasks[i].Candidates!;
            var scores = new float[candidates.Length];
            _predictor.ScoreRow(i, candidates, scores);
            _blending?.AddTo(tasks[i].History, candidates, scores);
            if (!Array.TrueForAll(scores, float.IsFinite))
                tasks[i].Failure = NotFinite();
            else
                tasks[i].Ranking = BestScores.Of(tasks[i].K, candidates, scores);
        }
    }

    private static InputException NotFinite() =>
        new("the model gives scores that are no finite numbers, which cannot be ranked; train it again");

    /// <summary>Makes the attention's probabilities again as each layer passes, of its last query.</summary>
    private sealed class AttentionWatch(int heads) : IKernelObserver
    {
        public List<float[]> Layers { get; } = [];

        public void Before(in KernelCall call)
        {
        }

        public void After(in KernelCall call)
        {
            if (call.Operation != nameof(KernelSet.AttentionForward))
                return;
            Tensor q = call.Read[0], kv = call.Read[1], logSumExps = call.Set[1];
            float[] query = q.SliceRows(q.Rows - 1, 1).ToArray(), keys = kv.ToArray();
            float[] logSumExp = logSumExps.SliceRows(logSumExps.Rows - 1, 1).ToArray();
            var weights = new float[kv.Rows];
            int size = query.Length / heads;
            for (int key = 0; key < weights.Length; key++)
            {
                double sum = 0;
                for (int head = 0; head < heads; head++)
                {
                    double score = 0;
                    for (int j = head * size; j < (head + 1) * size; j++)
                        score += (double)query[j] * keys[(key * kv.Columns) + j];
                    sum += Math.Exp((score / Math.Sqrt(size)) - logSumExp[head]);
                }
                weights[key] = (float)(sum / heads);
            }
            Layers.Add(weights);
        }
    }
}
