using System.Runtime.InteropServices;
using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Distributed;
using Bert4Rec.Kernels;
using Bert4Rec.Model;

namespace Bert4Rec.Training;

/// <summary>
/// Optimises a model epoch by epoch. A batch is partitioned among the replicas of all ranks, each getting a share of consecutive sequences
/// of about as much work; their gradients are added in a fixed order, and each replica then steps its own shard of the flat parameters.
/// Nothing depends on which thread or rank was faster. With several ranks every operation is one that all of them call.
/// </summary>
/// <remarks>
/// Between ranks: each has one sum of its replicas' gradients, sends every other rank that one's shards, and adds what it gets in the
/// order of the ranks (a reduce-scatter whose order is fixed, which MPI's own is not). It keeps Adam's moments of its shards alone, and
/// gives the stepped parameters to all (an all-gather). Sampled softmax has other rows of the table in each step, which belong to no rank:
/// there the added gradients are given to all, and every rank steps all of them.
/// </remarks>
internal sealed class Trainer : IDisposable
{
    private const uint ShuffleStream = 0x53485546;
    private readonly TrainerSettings _settings;
    private readonly InteractionDataset _dataset;
    private readonly TrainingSequences _sequences;
    private readonly List<SequenceSpan> _epochSequences = [];
    private readonly List<SequenceSpan> _withoutTarget = [];
    private readonly CandidateItems? _candidates;
    private readonly SampledCatalogue? _sampled;
    private readonly Replica[] _replicas;
    private readonly Workers _workers;
    private readonly RankExchange _exchange;
    private readonly ProcessGroup _ranks;
    private readonly int _shares;
    private readonly int _firstShare;
    private readonly int _parts;
    private readonly DeviceBuffer<float>? _received;
    private readonly float[] _ownNorms;
    private readonly float[] _allNorms;
    private readonly long[] _bounds;
    private readonly uint[] _targetCounts;
    private readonly double[] _ownLosses;
    private readonly int[] _shareStarts;
    private readonly uint[] _shareRows;
    private readonly uint[] _firstTargets;
    private readonly double[] _losses;
    private readonly DeviceBuffer<float> _norms;
    private readonly long _momentStart;
    private readonly Action<int> _prepare;
    private readonly Action<int> _gather;
    private readonly Action<int> _forwardAndBackward;
    private readonly Action<int> _reduce;
    private readonly Action<int> _addRanks;
    private readonly Action<int> _update;
    private readonly Action<int> _readLosses;
    private bool _isDisposed;
    private int _first;
    private ClozeMasking _masking;
    private float _gradientScale;
    private float _learningRate;
    private int _epoch;
    private (int Step, int First, int Count) _prepared;

    /// <param name="settings">What a step depends on.</param>
    /// <param name="dataset">The events.</param>
    /// <param name="sequences">What an epoch trains on.</param>
    /// <param name="kernels">A set for each replica.</param>
    /// <param name="workers">A thread for each.</param>
    /// <param name="eventCounts">[items] how often each occurs among the training events; wanted by sampled softmax.</param>
    /// <param name="ranks">The processes that train together, each with as many kernel sets; null for this one alone.</param>
    public Trainer(
        TrainerSettings settings,
        InteractionDataset dataset,
        TrainingSequences sequences,
        IReadOnlyList<KernelSet> kernels,
        Workers workers,
        int[]? eventCounts = null,
        ProcessGroup? ranks = null)
    {
        _ranks = ranks ?? ProcessGroup.Alone;
        _exchange = new(_ranks);
        _settings = settings;
        _dataset = dataset;
        _sequences = sequences;
        _workers = workers;
        Layout = new ParameterLayout(settings.Shape);
        Parameters = kernels[0].AllocateFloats(Layout.Length);
        Parameters.Upload(ParameterInitializer.Draw(Layout, settings.InitializerRange, settings.Seed, settings.Initializer));
        if (settings.SoftmaxSamples is int samples)
        {
            ArgumentNullException.ThrowIfNull(eventCounts);
            int batch = Math.Min(settings.BatchSize, sequences.MaximumCount);
            _candidates = new CandidateItems(
                samples, eventCounts, settings.Seed, batch, settings.Shape.MaximumLength, settings.Shape.Causal);
            _sampled = new SampledCatalogue(kernels[0], settings.Shape, _candidates.Capacity);
        }
        int capacity = MicroBatchSize.Tokens(_sampled?.Layout.Shape ?? settings.Shape, kernels[0], settings.BatchSize);
        _replicas = [.. kernels.Select(k => new Replica(k, Layout, Parameters, capacity, _sampled))];
        int replicas = _replicas.Length;
        _shares = replicas * _ranks.Size;
        _firstShare = replicas * _ranks.Rank;
        _shareStarts = new int[_shares + 1];
        _shareRows = new uint[_shares];
        _firstTargets = new uint[_shares];
        _targetCounts = new uint[replicas];
        _losses = new double[_shares];
        _ownLosses = new double[replicas];
        // Parts of sampled softmax's gradients: the candidates' rows, what no item has, and the candidates' biases.
        _parts = _sampled is null ? 1 : settings.Shape.OutputHead ? 3 : 2;
        _norms = kernels[0].AllocateFloats(_shares * _parts);
        _ownNorms = new float[replicas * _parts];
        _allNorms = new float[_shares * _parts];
        _bounds = new long[_ranks.Size + 1];
        (_momentStart, long moments) = _sampled is null ? RankRange(0, _ranks.Rank) : (0, Layout.Length);
        FirstMoments = kernels[0].AllocateFloats(moments);
        SecondMoments = kernels[0].AllocateFloats(moments);
        if (_ranks.Size > 1)
        {
            // The other ranks' gradients of this one's shards, whose borders are those of rows and cache lines.
            long border = 16 + settings.Shape.HiddenSize;
            _received = kernels[0].AllocateFloats(_replicas[0].Gradients.Length + (_shares * _parts * border));
        }
        _prepare = Prepare;
        _gather = GatherCandidates;
        _forwardAndBackward = ForwardAndBackward;
        _reduce = Reduce;
        _addRanks = AddRanks;
        _update = Update;
        _readLosses = ReadLoss;
    }

    public ParameterLayout Layout { get; }

    public DeviceBuffer<float> Parameters { get; }

    /// <summary>Of all parameters, or with several ranks of this one's shards; see <see cref="ReadMoments"/>.</summary>
    public DeviceBuffer<float> FirstMoments { get; }

    /// <inheritdoc cref="FirstMoments"/>
    public DeviceBuffer<float> SecondMoments { get; }

    /// <summary>What <see cref="BeginEpoch"/> laid out.</summary>
    internal IReadOnlyList<SequenceSpan> EpochSequences => _epochSequences;

    /// <summary>The candidates of the step that was prepared last; null without sampled softmax.</summary>
    internal CandidateItems? Candidates => _candidates;

    /// <summary>Optimiser steps so far.</summary>
    public int Step { get; set; }

    /// <summary>
    /// Has a GPU compile what the first step of an epoch takes and what the last, which may be smaller, does: what the device refuses is
    /// known before any work is done, and no step waits. All ranks do so together: they exchange what a step does.
    /// </summary>
    /// <exception cref="DeviceException">The device refuses a kernel.</exception>
    public void CompileKernels(int epoch) => _replicas[0].Kernels.Rehearse(() =>
    {
        BeginEpoch(epoch);
        // Else steps that do nothing would leave on rank 0 what the others have as yet.
        _exchange.Broadcast(Parameters);
        int step = Step, size = _settings.BatchSize, count = _epochSequences.Count;
        if (count >= size)
            TrainStep(0, size);
        if (count % size > 0)
            TrainStep(count - (count % size), count % size);
        Step = step;
    });

    /// <summary>Trains on everything once.</summary>
    /// <param name="epoch">From 1; decides the order, the windows and the learning rate. Masks and dropout follow from the step.</param>
    /// <param name="progress">Told after each step.</param>
    /// <param name="cancellation">Looked at between steps.</param>
    /// <returns>The mean of the batches' mean losses, as RecBole counts, and the epoch's tokens, those of sequences without a target
    /// included.</returns>
    /// <exception cref="InputException">The loss is no longer a number.</exception>
    /// <exception cref="OperationCanceledException">The caller of any rank wants no more.</exception>
    public (double Loss, long Tokens) TrainEpoch(int epoch, IProgress<ProgressUpdate>? progress, CancellationToken cancellation)
    {
        BeginEpoch(epoch);
        _exchange.Broadcast(Parameters);
        string activity = $"epoch {epoch}";
        long total = 0, done = 0;
        foreach (var sequence in _epochSequences)
            total += sequence.Length;
        double loss = 0;
        int batches = 0;
        for (int first = 0; first < _epochSequences.Count; first += _settings.BatchSize)
        {
            if (_ranks.Any(cancellation.IsCancellationRequested))
                throw new OperationCanceledException(cancellation);
            int count = Math.Min(_settings.BatchSize, _epochSequences.Count - first);
            int next = Math.Min(_settings.BatchSize, _epochSequences.Count - first - count);
            double batchLoss = TrainStep(first, count, next);
            if (!double.IsNaN(batchLoss))
            {
                loss += batchLoss;
                batches++;
            }
            for (int i = first; i < first + count; i++)
                done += _epochSequences[i].Length;
            progress?.Report(new(activity, done, total, "tokens"));
        }
        if (batches == 0 && _sequences.Replay is null && _epochSequences.Count > 0 && !_epochSequences.Exists(HasTarget))
        {
            throw new InputException(
                "nothing to train on: all histories have a single event before their target, which RecBole's masks leave alone; train on "
                + "longer ones, or with objective: next_item")
            {
                IsOfAllRanks = true,
            };
        }
        return (loss / Math.Max(1, batches), total);
    }

    /// <summary>Lays out an epoch: its sequences in random order.</summary>
    internal void BeginEpoch(int epoch)
    {
        _prepared = default;
        _epoch = epoch;
        _sequences.Fill(epoch, _epochSequences);
        var all = CollectionsMarshal.AsSpan(_epochSequences);
        new PhiloxSequence(_settings.Seed, ShuffleStream, (uint)epoch).Shuffle(all);
        for (int first = 0; first < all.Length; first += _settings.BatchSize)
            MoveWithoutTargetToEnd(all.Slice(first, Math.Min(_settings.BatchSize, all.Length - first)));
    }

    /// <summary>Whether a sequence can have an event to predict: under RecBole's cloze masking, one of a single event cannot.</summary>
    internal bool HasTarget(SequenceSpan sequence) =>
        sequence.Length > 1 || !_settings.RecboleCompatible || _settings.Objective == Objective.NextItem;

    /// <summary>Puts the sequences without a target behind the others, in order.</summary>
    private void MoveWithoutTargetToEnd(Span<SequenceSpan> batch)
    {
        _withoutTarget.Clear();
        int kept = 0;
        foreach (var sequence in batch)
        {
            if (HasTarget(sequence))
                batch[kept++] = sequence;
            else
                _withoutTarget.Add(sequence);
        }
        CollectionsMarshal.AsSpan(_withoutTarget).CopyTo(batch[kept..]);
    }

    /// <summary>One optimiser step on consecutive sequences of the epoch.</summary>
    /// <param name="first">The first of the sequences.</param>
    /// <param name="count">How many sequences the step takes.</param>
    /// <param name="next">How many the next step takes; they are laid out while a device works on this one's.</param>
    /// <returns>The mean loss of the rows with a target; NaN where there was none, and so nothing done.</returns>
    internal double TrainStep(int first, int count, int next = 0)
    {
        if (_prepared != (Step + 1, first, count))
            PrepareStep(first, count);
        for (int r = 0; r < _replicas.Length; r++)
            _targetCounts[r] = (uint)_replicas[r].TargetCount;
        _ranks.AllGather<uint>(_targetCounts, _firstTargets);
        uint targets = 0;
        // Each share's count becomes the number of its first row with a target.
        foreach (ref uint entry in _firstTargets.AsSpan())
            (entry, targets) = (targets, targets + entry);
        if (targets == 0)
            return double.NaN;

        Step++;
        _gradientScale = 1f / targets;
        _learningRate = (float)(_settings.LearningRate * _settings.Rates.Factor(_epoch, (first + (count / 2.0)) / _epochSequences.Count));
        if (_sampled is not null)
        {
            _sampled.Upload(_candidates!.Items, _candidates.Corrections);
            _workers.Run(_gather);
        }
        _workers.Run(_forwardAndBackward);
        _workers.Run(_reduce);
        if (_ranks.Size > 1)
            ReduceOverRanks();
        _workers.Run(_update);
        if (IsSharded)
            _exchange.AllGather(Parameters, Bounds(0));
        if (next > 0)
            PrepareStep(first + count, next);
        _workers.Run(_readLosses);
        _ranks.AllGather<double>(_ownLosses, _losses);
        double loss = _losses.Sum() / targets;
        if (!double.IsFinite(loss))
        {
            throw new InputException(
                $"step {Step}: the loss is {loss} at learning_rate {_settings.LearningRate}; try a tenth of it, or clip_grad_norm: 5")
            {
                IsDivergence = true,
            };
        }
        return loss;
    }

    /// <summary>Partitions the next step's sequences among the replicas, and packs them with what they are to predict.</summary>
    private void PrepareStep(int first, int count)
    {
        _prepared = (Step + 1, first, count);
        _candidates?.Draw(Step + 1, _dataset.EventItems, CollectionsMarshal.AsSpan(_epochSequences).Slice(first, count));
        _masking = Masking(Step + 1);
        Partition(first, count);
        _workers.Run(_prepare);
    }

    /// <summary>How a step masks its batch, whose first sequence is row 0.</summary>
    internal ClozeMasking Masking(int step)
    {
        bool compatible = _settings.RecboleCompatible;
        var key = new RandomKey(_settings.Seed, (uint)step, RandomStreams.ClozeMask, 0);
        return new ClozeMasking(
            key,
            (float)_settings.MaskRatio,
            compatible ? BatchLastOnlyShare(key) : _settings.LastOnlyShare,
            _candidates?.Count ?? _settings.Shape.MaskToken,
            _settings.CountedLimit,
            SkipFirst: compatible,
            AtLeastOne: !compatible);
    }

    /// <summary>Adam's moments of all parameters, where this is rank 0: what <see cref="LoadMoments"/> takes.</summary>
    public (float[] First, float[] Second) ReadMoments() => (Gather(FirstMoments), Gather(SecondMoments));

    /// <summary>Sets Adam's moments to those of all parameters that rank 0 has; what the others hand over is not looked at.</summary>
    public void LoadMoments(float[] first, float[] second)
    {
        Spread(first, FirstMoments);
        Spread(second, SecondMoments);
    }

    /// <summary>Whether each rank steps its shards alone.</summary>
    private bool IsSharded => _ranks.Size > 1 && _sampled is null;

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
        var all = new float[Layout.Length];
        own.CopyTo(all, 0);
        for (int rank = 1; rank < _ranks.Size; rank++)
            _ranks.Exchange(ProcessGroup.Nobody, [], rank, RangeOf(all, rank));
        return all;
    }

    private void Spread(float[] all, DeviceBuffer<float> moments)
    {
        if (_ranks.Rank > 0 && IsSharded)
        {
            var own = new float[moments.Length];
            _ranks.Exchange<float>(ProcessGroup.Nobody, [], 0, own);
            moments.Upload(own);
            return;
        }
        if (_ranks.Rank == 0)
            moments.Upload(all.AsSpan(0, (int)moments.Length));
        if (!IsSharded)
            _exchange.Broadcast(moments);
        for (int rank = 1; rank < _ranks.Size && IsSharded; rank++)
            _ranks.Exchange<float>(rank, RangeOf(all, rank), ProcessGroup.Nobody, []);
    }

    private Span<float> RangeOf(float[] all, int rank)
    {
        var (start, length) = RankRange(0, rank);
        return all.AsSpan((int)start, (int)length);
    }

    public void Dispose()
    {
        if (_isDisposed)
            return;
        _isDisposed = true;
        foreach (var replica in _replicas)
            replica.Dispose();
        _sampled?.Dispose();
        Parameters.Dispose();
        FirstMoments.Dispose();
        SecondMoments.Dispose();
        _norms.Dispose();
        _received?.Dispose();
    }

    /// <summary>Gives each share consecutive sequences of about as much work, of those that have a target.</summary>
    private void Partition(int first, int count)
    {
        _first = first;
        while (count > 0 && !HasTarget(_epochSequences[first + count - 1]))
            count--;
        double all = 0, assigned = 0;
        for (int i = 0; i < count; i++)
            all += Work(_epochSequences[first + i].Length);
        int sequence = 0;
        uint row = 0;
        for (int share = 0; share < _shares; share++)
        {
            _shareStarts[share] = sequence;
            _shareRows[share] = row;
            double until = all * (share + 1) / _shares;
            for (; sequence < count && (assigned < until || share == _shares - 1); sequence++)
            {
                int length = _epochSequences[first + sequence].Length;
                assigned += Work(length);
                row += (uint)length;
            }
        }
        _shareStarts[_shares] = count;
    }

    /// <summary>
    /// Multiply-adds that a sequence may be expected to need: in the encoder's linear layers for each event (forward, dx and dW: 3), in the
    /// softmax for each that is predicted (forward, again in the backward, and its two products: 4). Attention's own are few.
    /// </summary>
    private double Work(int length)
    {
        var shape = _settings.Shape;
        double h = shape.HiddenSize;
        double encoder = 3 * shape.Layers * ((4 * h * h) + (2 * h * shape.InnerSize));
        double softmax = 4 * h * (_candidates?.Count ?? shape.ItemCount);
        double targets = _settings.Objective == Objective.NextItem
            ? _settings.RecboleCompatible ? 1 : length
            : _masking.LastOnlyShare + ((1 - _masking.LastOnlyShare) * _masking.MaskRatio * length);
        return (length * encoder) + (targets * softmax);
    }

    /// <summary>RecBole draws once a batch whether all its sequences mask only their last event.</summary>
    private float BatchLastOnlyShare(RandomKey key) =>
        Philox.ToUnit(Philox.Cell(key.Seed, key.Step, key.Stream + 2, 0, 0)) < _settings.LastOnlyShare ? 1 : 0;

    private void Prepare(int r)
    {
        var batch = _candidates is null ? CollectionsMarshal.AsSpan(_epochSequences)[_first..] : _candidates.Sequences;
        int own = _firstShare + r;
        var share = batch[_shareStarts[own].._shareStarts[own + 1]];
        var task = new TrainingTask(_settings.Objective, _masking, LastOnly: _settings.RecboleCompatible);
        _replicas[r].Prepare(_candidates?.Events ?? _dataset.EventItems, share, _shareRows[own], task, (uint)_shareStarts[own]);
    }

    private void ForwardAndBackward(int r) => _replicas[r].ForwardAndBackward(_masking.Key, _firstTargets[_firstShare + r], _gradientScale);

    private void ReadLoss(int r) => _ownLosses[r] = _replicas[r].ReadLoss();

    private void GatherCandidates(int r) => _sampled!.Gather(_replicas[r].Kernels, Layout, Parameters, r, _replicas.Length);

    /// <summary>Adds all replicas' gradients of a shard to the first replica's.</summary>
    private void Reduce(int r)
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
            _norms.Download(_ownNorms, _firstShare * _parts);
            _ranks.AllGather<float>(_ownNorms, _allNorms);
            _norms.Upload(_allNorms);
        }
        for (int part = 0; part < _parts && _sampled is not null; part++)
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
            var sum = GradientShard(0, part, _firstShare + r, _shares);
            var (first, length) = RankRange(part, rank);
            for (int other = 1; other < rank; other++)
                kernels.Add(Received(0), Received(other));
            if (rank > 0)
                kernels.Add(sum, Received(0));
            for (int other = rank + 1; other < _ranks.Size; other++)
                kernels.Add(sum, Received(other));
            MeasureNorm(_firstShare + r, part, sum);
            start += (_ranks.Size - 1) * length;

            Tensor Received(int other) =>
                sum with { Buffer = _received!, Offset = start + (_exchange.Slot(other) * length) + sum.Offset - first };
        }
        // What this rank sent away and does not get back: it is to begin the next step with zeros.
        for (int share = r; share < _shares && _sampled is null; share += _replicas.Length)
        {
            if (share != _firstShare + r)
                kernels.Fill(GradientShard(0, 0, share, _shares), 0);
        }
    }

    private void MeasureNorm(int share, int part, Tensor gradients)
    {
        if (_settings.ClipGradNorm is not null)
            _replicas[share - _firstShare].Kernels.GradientNorm(gradients, new(_norms, (share * _parts) + part, 1, 1));
    }

    /// <summary>
    /// A shard of a replica's gradients; with sampled softmax, of their part 0 (the candidates' rows), 1 (what belongs to no item) or 2
    /// (the candidates' biases).
    /// </summary>
    private Tensor GradientShard(int replica, int part, int shard, int shards)
    {
        var buffer = _replicas[replica].Gradients;
        return _sampled is null
            ? Shard(buffer, (0, buffer.Length), shard, shards)
            : part switch
            {
                0 => SampledShard(_sampled.Layout.View(buffer, "item_embedding.weight"), _sampled.TokenRows.Length, shard, shards),
                1 => Shard(buffer, _sampled.Layout.Dense, shard, shards),
                _ => SampledShard(_sampled.Layout.BiasRows(buffer), _sampled.Count, shard, shards),
            };
    }

    /// <summary>Where a rank's shards begin in the gradients, and how many floats they are.</summary>
    private (long Start, long Length) RankRange(int part, int rank)
    {
        int first = rank * _replicas.Length;
        Tensor one = GradientShard(0, part, first, _shares), last = GradientShard(0, part, first + _replicas.Length - 1, _shares);
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

    private void Update(int r)
    {
        var kernels = _replicas[r].Kernels;
        var norms = _settings.ClipGradNorm is null ? default : Tensor.Of(_norms);
        var step = new AdamStep(
            Step,
            _learningRate,
            _settings.Beta1,
            _settings.Beta2,
            WeightDecay: _settings.WeightDecay,
            MaximumNorm: _settings.ClipGradNorm ?? float.PositiveInfinity,
            DecoupledDecay: _settings.DecoupledDecay);
        var (shard, shards) = _sampled is null ? (_firstShare + r, _shares) : (r, _replicas.Length);
        var parameters = Shard(Parameters, _sampled is null ? (0, Layout.Length) : Layout.Dense, shard, shards);
        long moments = parameters.Offset - _momentStart;
        kernels.Adam(
            parameters,
            GradientShard(0, _sampled is null ? 0 : 1, shard, shards),
            parameters with { Buffer = FirstMoments, Offset = moments },
            parameters with { Buffer = SecondMoments, Offset = moments },
            norms,
            step);
        if (_sampled is null)
            return;
        kernels.AdamRows(
            Items(Parameters),
            SampledShard(_sampled.TokenRows, shard, shards),
            GradientShard(0, 0, shard, shards),
            Items(FirstMoments),
            Items(SecondMoments),
            norms,
            step);
        if (!_settings.Shape.OutputHead)
            return;
        kernels.AdamRows(
            Layout.BiasRows(Parameters),
            SampledShard(_sampled.CandidateRows, shard, shards),
            GradientShard(0, 2, shard, shards),
            Layout.BiasRows(FirstMoments),
            Layout.BiasRows(SecondMoments),
            norms,
            step);
    }

    private Tensor Items(DeviceBuffer<float> buffer) => Layout.View(buffer, "item_embedding.weight");

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
}
