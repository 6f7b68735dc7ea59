using Bert4Rec.Distributed;
using Bert4Rec.Kernels;
using Bert4Rec.Model;

namespace Bert4Rec.Training;

/// <summary>
/// Adam for the flat parameters that all replicas share: adds the gradients of the replicas, and of all ranks, in a fixed order, and has
/// each replica step its own shard. With several ranks every operation is one that all of them call.
/// </summary>
/// <remarks>
/// Between ranks: each adds its replicas' gradients, sends every other rank the part that is that one's shards, and adds what it gets in
/// the order of the ranks (a reduce-scatter; MPI's own has no fixed order). It keeps Adam's moments for its own shards only, steps these,
/// and gives their parameters to all (an all-gather). With sampled softmax each step has other rows of the item table, which belong to no
/// rank: all ranks get all gradients, and each steps all parameters.
/// </remarks>
internal sealed class ShardedAdam : IDisposable
{
    // Parts of the gradients: all of them; or, with sampled softmax, the rows of the candidates and [mask], what no item has, and the
    // candidates' biases.
    private const int Everything = 0, Rows = 0, Dense = 1, Biases = 2;

    private readonly TrainerSettings _settings;
    private readonly ParameterLayout _layout;
    private readonly DeviceBuffer<float> _parameters;
    private readonly SampledCatalogue? _sampled;
    private readonly Replica[] _replicas;
    private readonly Workers _workers;
    private readonly ProcessGroup _ranks;
    private readonly RankExchange _exchange;
    private readonly int _shards;
    private readonly int _firstShard;
    private readonly int _parts;
    private readonly long[] _bounds;
    private readonly DeviceBuffer<float>? _received;
    private readonly DeviceBuffer<float> _norms;
    private readonly float[] _ownNorms;
    private readonly float[] _allNorms;
    private readonly long _momentStart;
    private readonly Action<int> _addReplicas;
    private readonly Action<int> _addRanks;
    private readonly Action<int> _update;
    private int _step;
    private float _learningRate;

    /// <param name="settings">Adam's, and the shape of the model.</param>
    /// <param name="parameters">What is stepped.</param>
    /// <param name="replicas">Who have the gradients, and step.</param>
    /// <param name="workers">A thread for each.</param>
    /// <param name="sampled">The layout of the gradients with sampled softmax.</param>
    public ShardedAdam(
        TrainerSettings settings,
        ParameterLayout layout,
        DeviceBuffer<float> parameters,
        Replica[] replicas,
        Workers workers,
        RankExchange exchange,
        SampledCatalogue? sampled)
    {
        (_settings, _layout, _parameters, _replicas, _workers, _sampled) = (settings, layout, parameters, replicas, workers, sampled);
        (_exchange, _ranks) = (exchange, exchange.Ranks);
        _shards = replicas.Length * _ranks.Size;
        _firstShard = replicas.Length * _ranks.Rank;
        _parts = sampled is null ? 1 : settings.Shape.OutputHead ? 3 : 2;
        var kernels = replicas[0].Kernels;
        _norms = kernels.AllocateFloats(_shards * _parts);
        _ownNorms = new float[replicas.Length * _parts];
        _allNorms = new float[_shards * _parts];
        _bounds = new long[_ranks.Size + 1];
        (_momentStart, long moments) = sampled is null ? RankRange(Everything, _ranks.Rank) : (0, layout.Length);
        FirstMoments = kernels.AllocateFloats(moments);
        SecondMoments = kernels.AllocateFloats(moments);
        if (_ranks.Size > 1)
        {
            // The other ranks' gradients of this one's shards, whose borders are those of rows and cache lines.
            long border = 16 + settings.Shape.HiddenSize;
            _received = kernels.AllocateFloats(replicas[0].Gradients.Length + (_shards * _parts * border));
        }
        _addReplicas = AddReplicas;
        _addRanks = AddRanks;
        _update = Update;
    }

    /// <summary>Of all parameters, or with several ranks of this one's shards; see <see cref="ReadMoments"/>.</summary>
    public DeviceBuffer<float> FirstMoments { get; }

    /// <inheritdoc cref="FirstMoments"/>
    public DeviceBuffer<float> SecondMoments { get; }

    /// <summary>Whether each rank steps its shards alone.</summary>
    private bool IsSharded => _ranks.Size > 1 && _sampled is null;

    /// <summary>Adds up all gradients, steps the parameters, and sets the gradients to zero.</summary>
    /// <param name="step">From 1.</param>
    /// <param name="learningRate">Adam's, of this step.</param>
    public void Step(int step, float learningRate)
    {
        (_step, _learningRate) = (step, learningRate);
        _workers.Run(_addReplicas);
        if (_ranks.Size > 1)
            ReduceOverRanks();
        _workers.Run(_update);
        if (IsSharded)
            _exchange.AllGather(_parameters, Bounds(Everything));
    }

    /// <summary>Adam's moments of all parameters, where this is rank 0: what <see cref="LoadMoments"/> takes.</summary>
    public (float[] First, float[] Second) ReadMoments() => (Gather(FirstMoments), Gather(SecondMoments));

    /// <summary>Sets Adam's moments to those of all parameters that rank 0 has; what the others hand over is not looked at.</summary>
    public void LoadMoments(float[] first, float[] second)
    {
        Spread(first, FirstMoments);
        Spread(second, SecondMoments);
    }

    public void Dispose()
    {
        FirstMoments.Dispose();
        SecondMoments.Dispose();
        _norms.Dispose();
        _received?.Dispose();
    }

    /// <summary>Adds all replicas' gradients of a shard to the first replica's.</summary>
    private void AddReplicas(int r)
    {
        var kernels = _replicas[r].Kernels;
        for (int part = 0; part < _parts; part++)
        {
            var sum = GradientShard(0, part, r, _replicas.Length);
            for (int other = 1; other < _replicas.Length; other++)
            {
                var gradients = GradientShard(other, part, r, _replicas.Length);
                kernels.Add(sum, gradients);
                kernels.Fill(gradients, 0);
            }
            if (_ranks.Size == 1)
                MeasureNorm(r, part, sum);
        }
    }

    /// <summary>Adds up the ranks' sums of this rank's shards; where every rank steps all of them, gives them to all.</summary>
    private void ReduceOverRanks()
    {
        var gradients = _replicas[0].Gradients;
        long start = 0;
        for (int part = 0; part < _parts; part++)
        {
            _exchange.Scatter(gradients, Bounds(part), _received!, start);
            start += (_ranks.Size - 1) * RankRange(part, _ranks.Rank).Length;
        }
        _workers.Run(_addRanks);
        if (_settings.ClipGradNorm is not null)
        {
            _norms.Download(_ownNorms, _firstShard * _parts);
            _ranks.AllGather<float>(_ownNorms, _allNorms);
            _norms.Upload(_allNorms);
        }
        if (IsSharded)
            return;
        for (int part = 0; part < _parts; part++)
            _exchange.AllGather(gradients, Bounds(part));
    }

    /// <summary>Adds the sums of the other ranks to this one's of a shard, in the order of the ranks.</summary>
    private void AddRanks(int r)
    {
        var kernels = _replicas[r].Kernels;
        int rank = _ranks.Rank;
        long start = 0;
        for (int part = 0; part < _parts; part++)
        {
            var sum = GradientShard(0, part, _firstShard + r, _shards);
            var (first, length) = RankRange(part, rank);
            // The order is rank 0, 1, 2, …: the ranks before this one are summed in the memory of the first, then this one's is added,
            // then the rest.
            for (int other = 1; other < rank; other++)
                kernels.Add(Received(0), Received(other));
            if (rank > 0)
                kernels.Add(sum, Received(0));
            for (int other = rank + 1; other < _ranks.Size; other++)
                kernels.Add(sum, Received(other));
            MeasureNorm(_firstShard + r, part, sum);
            start += (_ranks.Size - 1) * length;

            Tensor Received(int other) =>
                sum with { Buffer = _received!, Offset = start + (_exchange.Slot(other) * length) + sum.Offset - first };
        }
        if (!IsSharded)
            return;
        // What this rank sent away and does not get back: it is to begin the next step with zeros.
        for (int shard = r; shard < _shards; shard += _replicas.Length)
        {
            if (shard != _firstShard + r)
                kernels.Fill(GradientShard(0, Everything, shard, _shards), 0);
        }
    }

    private void Update(int r)
    {
        var kernels = _replicas[r].Kernels;
        var norms = _settings.ClipGradNorm is null ? default : Tensor.Of(_norms);
        var step = new AdamStep(
            _step,
            _learningRate,
            _settings.Beta1,
            _settings.Beta2,
            WeightDecay: _settings.WeightDecay,
            MaximumNorm: _settings.ClipGradNorm ?? float.PositiveInfinity,
            DecoupledDecay: _settings.DecoupledDecay);
        var (shard, shards) = _sampled is null ? (_firstShard + r, _shards) : (r, _replicas.Length);
        var parameters = Shard(_parameters, _sampled is null ? (0, _layout.Length) : _layout.Dense, shard, shards);
        long moments = parameters.Offset - _momentStart;
        kernels.Adam(
            parameters,
            GradientShard(0, _sampled is null ? Everything : Dense, shard, shards),
            parameters with { Buffer = FirstMoments, Offset = moments },
            parameters with { Buffer = SecondMoments, Offset = moments },
            norms,
            step);
        if (_sampled is null)
            return;
        kernels.AdamRows(
            Items(_parameters),
            SampledShard(_sampled.TokenRows, shard, shards),
            GradientShard(0, Rows, shard, shards),
            Items(FirstMoments),
            Items(SecondMoments),
            norms,
            step);
        if (!_settings.Shape.OutputHead)
            return;
        kernels.AdamRows(
            _layout.BiasRows(_parameters),
            SampledShard(_sampled.CandidateRows, shard, shards),
            GradientShard(0, Biases, shard, shards),
            _layout.BiasRows(FirstMoments),
            _layout.BiasRows(SecondMoments),
            norms,
            step);
    }

    private void MeasureNorm(int shard, int part, Tensor gradients)
    {
        if (_settings.ClipGradNorm is not null)
            _replicas[shard - _firstShard].Kernels.GradientNorm(gradients, new(_norms, (shard * _parts) + part, 1, 1));
    }

    /// <summary>A shard of a part of a replica's gradients.</summary>
    private Tensor GradientShard(int replica, int part, int shard, int shards)
    {
        var buffer = _replicas[replica].Gradients;
        return _sampled is null
            ? Shard(buffer, (0, buffer.Length), shard, shards)
            : part switch
            {
                Rows => SampledShard(_sampled.Layout.View(buffer, "item_embedding.weight"), _sampled.TokenRows.Length, shard, shards),
                Dense => Shard(buffer, _sampled.Layout.Dense, shard, shards),
                _ => SampledShard(_sampled.Layout.BiasRows(buffer), _sampled.Count, shard, shards),
            };
    }

    /// <summary>Where a rank's shards begin in the gradients, and how many floats they are.</summary>
    private (long Start, long Length) RankRange(int part, int rank)
    {
        int first = rank * _replicas.Length;
        Tensor one = GradientShard(0, part, first, _shards), last = GradientShard(0, part, first + _replicas.Length - 1, _shards);
        return (one.Offset, last.Offset + last.Length - one.Offset);
    }

    /// <summary>[ranks + 1] Where each rank's range begins, and the last one ends; valid until the next call.</summary>
    private long[] Bounds(int part)
    {
        for (int rank = 0; rank < _ranks.Size; rank++)
        {
            var (start, length) = RankRange(part, rank);
            (_bounds[rank], _bounds[rank + 1]) = (start, start + length);
        }
        return _bounds;
    }

    private Tensor Items(DeviceBuffer<float> buffer) => _layout.View(buffer, "item_embedding.weight");

    /// <summary>One of so many shards of a range of a flat buffer, on boundaries of cache lines.</summary>
    private static Tensor Shard(DeviceBuffer<float> buffer, (long Start, long Length) range, int shard, int shards)
    {
        long first = Boundary(shard), end = shard == shards - 1 ? range.Length : Boundary(shard + 1);
        return new(buffer, range.Start + first, 1, checked((int)(end - first)));

        long Boundary(int i) => range.Length * i / shards / 16 * 16;
    }

    /// <summary>One of so many shards of the first rows of a table.</summary>
    private static Tensor SampledShard(Tensor table, int rows, int shard, int shards)
    {
        var (first, count) = SampledCatalogue.Part(rows, shard, shards);
        return table.SliceRows(first, count);
    }

    private static Indices SampledShard(Indices rows, int shard, int shards)
    {
        var (first, count) = SampledCatalogue.Part(rows.Length, shard, shards);
        return rows.Slice(first, count);
    }

    private float[] Gather(DeviceBuffer<float> moments)
    {
        var own = new float[moments.Length];
        moments.Download(own);
        if (!IsSharded)
            return own;
        if (_ranks.Rank > 0)
        {
            _ranks.Exchange<float>(0, own, ProcessGroup.Nobody, []);
            return [];
        }
        var all = new float[_layout.Length];
        own.CopyTo(all, 0);
        for (int rank = 1; rank < _ranks.Size; rank++)
            _ranks.Exchange(ProcessGroup.Nobody, [], rank, RangeOf(all, rank));
        return all;
    }

    private void Spread(float[] all, DeviceBuffer<float> moments)
    {
        if (_ranks.Rank == 0)
            moments.Upload(all.AsSpan(0, (int)moments.Length));
        if (!IsSharded)
        {
            _exchange.Broadcast(moments);
            return;
        }
        if (_ranks.Rank > 0)
        {
            var own = new float[moments.Length];
            _ranks.Exchange<float>(ProcessGroup.Nobody, [], 0, own);
            moments.Upload(own);
            return;
        }
        for (int rank = 1; rank < _ranks.Size; rank++)
            _ranks.Exchange<float>(rank, RangeOf(all, rank), ProcessGroup.Nobody, []);
    }

    private Span<float> RangeOf(float[] all, int rank)
    {
        var (start, length) = RankRange(Everything, rank);
        return all.AsSpan((int)start, (int)length);
    }
}
