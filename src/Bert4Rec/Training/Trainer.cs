using System.Runtime.InteropServices;
using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Distributed;
using Bert4Rec.Kernels;
using Bert4Rec.Model;

namespace Bert4Rec.Training;

/// <summary>
/// Optimises a model epoch by epoch, step by step: a batch is partitioned among the replicas of all ranks (<see cref="BatchShares"/>), each
/// computes the gradients of its share (<see cref="Replica"/>), and these are added and applied (<see cref="ShardedAdam"/>). Nothing
/// depends on which thread or rank was faster.
/// </summary>
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
    private readonly BatchShares _shares;
    private readonly int _firstShare;
    private readonly uint[] _targetCounts;

    // [shares] Each share's count of rows with a target, then the index, among the batch's rows with a target, of its first one.
    private readonly uint[] _firstTargets;
    private readonly double[] _ownLosses;
    private readonly double[] _losses;

    // What the workers run, as delegates that are made once and not in every step.
    private readonly Action<int> _prepare;
    private readonly Action<int> _gather;
    private readonly Action<int> _forwardAndBackward;
    private readonly Action<int> _readLosses;

    private bool _isDisposed;
    private int _first;
    private ClozeMasking _masking;
    private float _gradientScale;
    private int _epoch;
    private (int Step, int First, int Count) _prepared;

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
        _replicas = [.. kernels.Select(k => new Replica(settings, k, Layout, Parameters, capacity, _sampled))];
        Optimizer = new ShardedAdam(settings, Layout, Parameters, _replicas, workers, _exchange, _sampled);
        int replicas = _replicas.Length, shares = replicas * _ranks.Size;
        _shares = new BatchShares(settings, shares);
        _firstShare = replicas * _ranks.Rank;
        _targetCounts = new uint[replicas];
        _firstTargets = new uint[shares];
        _ownLosses = new double[replicas];
        _losses = new double[shares];
        _prepare = Prepare;
        _gather = GatherCandidates;
        _forwardAndBackward = ForwardAndBackward;
        _readLosses = ReadLoss;
    }

    public ParameterLayout Layout { get; }

    public DeviceBuffer<float> Parameters { get; }

    /// <summary>Applies the gradients to <see cref="Parameters"/>.</summary>
    public ShardedAdam Optimizer { get; }

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
        // All ranks need rank 0's parameters first: a rehearsed step computes nothing, but its all-gather does happen, and would overwrite
        // rank 0's with what the others began with.
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
        // Each share's count becomes the index of its first row with a target.
        foreach (ref uint entry in _firstTargets.AsSpan())
            (entry, targets) = (targets, targets + entry);
        if (targets == 0)
            return double.NaN;

        Step++;
        _gradientScale = 1f / targets;
        if (_sampled is not null)
        {
            _sampled.Upload(_candidates!.Items, _candidates.Corrections);
            _workers.Run(_gather);
        }
        _workers.Run(_forwardAndBackward);
        double rate = _settings.LearningRate * _settings.Rates.Factor(_epoch, (first + (count / 2.0)) / _epochSequences.Count);
        Optimizer.Step(Step, (float)rate);
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
        _first = first;
        _candidates?.Draw(Step + 1, _dataset.EventItems, CollectionsMarshal.AsSpan(_epochSequences).Slice(first, count));
        _masking = Masking(Step + 1);
        while (count > 0 && !HasTarget(_epochSequences[first + count - 1]))
            count--;
        _shares.Partition(
            CollectionsMarshal.AsSpan(_epochSequences).Slice(first, count),
            _candidates?.Count ?? _settings.Shape.ItemCount,
            _masking);
        _workers.Run(_prepare);
    }

    private void Prepare(int r)
    {
        var batch = _candidates is null ? CollectionsMarshal.AsSpan(_epochSequences)[_first..] : _candidates.Sequences;
        int own = _firstShare + r;
        var sequences = _shares[own];
        int[] events = _candidates?.Events ?? _dataset.EventItems;
        _replicas[r].Prepare(events, batch[sequences], _shares.FirstRow(own), _masking, (uint)sequences.Start.Value);
    }

    private void GatherCandidates(int r) => _sampled!.Gather(_replicas[r].Kernels, Layout, Parameters, r, _replicas.Length);

    private void ForwardAndBackward(int r) => _replicas[r].ForwardAndBackward(_masking.Key, _firstTargets[_firstShare + r], _gradientScale);

    private void ReadLoss(int r) => _ownLosses[r] = _replicas[r].ReadLoss();

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

    /// <summary>RecBole draws once a batch whether all its sequences mask only their last event.</summary>
    private float BatchLastOnlyShare(RandomKey key) =>
        Philox.Cell(key.Seed, key.Step, key.Stream + 2, 0, 0) < Philox.Threshold(_settings.LastOnlyShare) ? 1 : 0;

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

    /// <summary>Whether a sequence can have an event to predict: under RecBole's cloze masking, one of a single event cannot.</summary>
    internal bool HasTarget(SequenceSpan sequence) =>
        sequence.Length > 1 || !_settings.RecboleCompatible || _settings.Objective == Objective.NextItem;

    public void Dispose()
    {
        if (_isDisposed)
            return;
        _isDisposed = true;
        foreach (var replica in _replicas)
            replica.Dispose();
        _sampled?.Dispose();
        Parameters.Dispose();
        Optimizer.Dispose();
    }
}
