using System.Runtime.InteropServices;
using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Kernels;
using Bert4Rec.Model;

namespace Bert4Rec.Training;

/// <summary>
/// Optimises a model epoch by epoch. A batch is partitioned among the replicas, each getting consecutive sequences of about as much work;
/// their gradients are added in a fixed order, and each replica then steps its own shard of the flat parameters. Nothing depends on which
/// thread was faster.
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
    private readonly int[] _shareStarts;
    private readonly uint[] _shareRows;
    private readonly uint[] _shareTargets;
    private readonly double[] _losses;
    private readonly DeviceBuffer<float> _norms;
    private readonly Action<int> _prepare;
    private readonly Action<int> _gather;
    private readonly Action<int> _forwardAndBackward;
    private readonly Action<int> _reduce;
    private readonly Action<int> _update;
    private readonly Action<int> _readLosses;
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
    public Trainer(
        TrainerSettings settings,
        InteractionDataset dataset,
        TrainingSequences sequences,
        IReadOnlyList<KernelSet> kernels,
        Workers workers,
        int[]? eventCounts = null)
    {
        _settings = settings;
        _dataset = dataset;
        _sequences = sequences;
        _workers = workers;
        Layout = new ParameterLayout(settings.Shape);
        Parameters = kernels[0].AllocateFloats(Layout.Length);
        FirstMoments = kernels[0].AllocateFloats(Layout.Length);
        SecondMoments = kernels[0].AllocateFloats(Layout.Length);
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
        _shareStarts = new int[replicas + 1];
        _shareRows = new uint[replicas];
        _shareTargets = new uint[replicas];
        _losses = new double[replicas];
        // Parts of sampled softmax's gradients: the candidates' rows, what no item has, and the candidates' biases.
        int parts = _sampled is null ? 1 : settings.Shape.OutputHead ? 3 : 2;
        _norms = kernels[0].AllocateFloats(replicas * parts);
        _prepare = Prepare;
        _gather = Gather;
        _forwardAndBackward = ForwardAndBackward;
        _reduce = Reduce;
        _update = Update;
        _readLosses = ReadLoss;
    }

    public ParameterLayout Layout { get; }

    public DeviceBuffer<float> Parameters { get; }

    public DeviceBuffer<float> FirstMoments { get; }

    public DeviceBuffer<float> SecondMoments { get; }

    /// <summary>What <see cref="BeginEpoch"/> laid out.</summary>
    internal IReadOnlyList<SequenceSpan> EpochSequences => _epochSequences;

    /// <summary>The candidates of the step that was prepared last; null without sampled softmax.</summary>
    internal CandidateItems? Candidates => _candidates;

    /// <summary>Optimiser steps so far.</summary>
    public int Step { get; set; }

    /// <summary>
    /// Has a GPU compile what the first step of an epoch takes and what the last, which may be smaller, does: what the device refuses is
    /// known before any work is done, and no step waits.
    /// </summary>
    /// <exception cref="DeviceException">The device refuses a kernel.</exception>
    public void CompileKernels(int epoch) => _replicas[0].Kernels.Rehearse(() =>
    {
        BeginEpoch(epoch);
        int step = Step, size = _settings.BatchSize, count = _epochSequences.Count;
        if (count >= size)
            TrainStep(0, size);
        if (count % size > 0)
            TrainStep(count - (count % size), count % size);
        Step = step;
    });

    /// <summary>Trains on everything once.</summary>
    /// <param name="epoch">From 1; decides the order, the windows and, with the step, the masks.</param>
    /// <param name="progress">Told after each step.</param>
    /// <param name="cancellation">Looked at between steps.</param>
    /// <returns>The mean of the batches' mean losses, as RecBole counts, and the tokens trained on.</returns>
    /// <exception cref="InputException">The loss is no longer a number.</exception>
    /// <exception cref="OperationCanceledException">The caller wants no more.</exception>
    public (double Loss, long Tokens) TrainEpoch(int epoch, IProgress<ProgressUpdate>? progress, CancellationToken cancellation)
    {
        BeginEpoch(epoch);
        string activity = $"epoch {epoch}";
        long total = 0, done = 0;
        foreach (var sequence in _epochSequences)
            total += sequence.Length;
        double loss = 0;
        int batches = 0;
        for (int first = 0; first < _epochSequences.Count; first += _settings.BatchSize)
        {
            cancellation.ThrowIfCancellationRequested();
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
        uint targets = 0;
        for (int r = 0; r < _replicas.Length; r++)
        {
            _shareTargets[r] = targets;
            targets += (uint)_replicas[r].TargetCount;
        }
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
        _workers.Run(_update);
        if (next > 0)
            PrepareStep(first + count, next);
        _workers.Run(_readLosses);
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

    public void Dispose()
    {
        foreach (var replica in _replicas)
            replica.Dispose();
        _sampled?.Dispose();
        Parameters.Dispose();
        FirstMoments.Dispose();
        SecondMoments.Dispose();
        _norms.Dispose();
    }

    /// <summary>Gives each replica consecutive sequences of about as much work, of those that have a target.</summary>
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
        for (int r = 0; r < _replicas.Length; r++)
        {
            _shareStarts[r] = sequence;
            _shareRows[r] = row;
            double until = all * (r + 1) / _replicas.Length;
            for (; sequence < count && (assigned < until || r == _replicas.Length - 1); sequence++)
            {
                int length = _epochSequences[first + sequence].Length;
                assigned += Work(length);
                row += (uint)length;
            }
        }
        _shareStarts[_replicas.Length] = count;
    }

    /// <summary>
    /// Multiply-adds that a sequence may be expected to need: in the encoder for each event, in the softmax for each that
    /// is predicted.
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
        var share = batch[_shareStarts[r].._shareStarts[r + 1]];
        var task = new TrainingTask(_settings.Objective, _masking, LastOnly: _settings.RecboleCompatible);
        _replicas[r].Prepare(_candidates?.Events ?? _dataset.EventItems, share, _shareRows[r], task, (uint)_shareStarts[r]);
    }

    private void ForwardAndBackward(int r) => _replicas[r].ForwardAndBackward(_masking.Key, _shareTargets[r], _gradientScale);

    private void ReadLoss(int r) => _losses[r] = _replicas[r].ReadLoss();

    private void Gather(int r) => _sampled!.Gather(_replicas[r].Kernels, Layout, Parameters, r, _replicas.Length);

    /// <summary>Adds all replicas' gradients of a shard to the first replica's.</summary>
    private void Reduce(int r)
    {
        var kernels = _replicas[r].Kernels;
        int parts = (int)_norms.Length / _replicas.Length;
        for (int part = 0; part < parts; part++)
        {
            var sum = GradientShard(0, part, r);
            for (int other = 1; other < _replicas.Length; other++)
            {
                var gradients = GradientShard(other, part, r);
                kernels.Add(sum, gradients);
                kernels.Fill(gradients, 0);
            }
            if (_settings.ClipGradNorm is not null)
                kernels.GradientNorm(sum, new(_norms, (r * parts) + part, 1, 1));
        }
    }

    /// <summary>Of a replica's gradients, or of a part of those of sampled softmax, the shard that replica r adds up and steps.</summary>
    private Tensor GradientShard(int replica, int part, int r)
    {
        var buffer = _replicas[replica].Gradients;
        return _sampled is null
            ? Shard(buffer, (0, buffer.Length), r)
            : part switch
            {
                0 => SampledShard(_sampled.Layout.View(buffer, "item_embedding.weight"), _sampled.TokenRows.Length, r),
                1 => Shard(buffer, _sampled.Layout.Dense, r),
                _ => SampledShard(_sampled.Layout.BiasRows(buffer), _sampled.Count, r),
            };
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
        var dense = _sampled is null ? (0, Layout.Length) : Layout.Dense;
        kernels.Adam(
            Shard(Parameters, dense, r),
            GradientShard(0, _sampled is null ? 0 : 1, r),
            Shard(FirstMoments, dense, r),
            Shard(SecondMoments, dense, r),
            norms,
            step);
        if (_sampled is null)
            return;
        kernels.AdamRows(
            Items(Parameters),
            SampledShard(_sampled.TokenRows, r),
            GradientShard(0, 0, r),
            Items(FirstMoments),
            Items(SecondMoments),
            norms,
            step);
        if (!_settings.Shape.OutputHead)
            return;
        kernels.AdamRows(
            Layout.BiasRows(Parameters),
            SampledShard(_sampled.CandidateRows, r),
            GradientShard(0, 2, r),
            Layout.BiasRows(FirstMoments),
            Layout.BiasRows(SecondMoments),
            norms,
            step);
    }

    private Tensor Items(DeviceBuffer<float> buffer) => Layout.View(buffer, "item_embedding.weight");

    /// <summary>The share of replica r in a range of a flat buffer, on boundaries of cache lines.</summary>
    private Tensor Shard(DeviceBuffer<float> buffer, (long Start, long Length) range, int r)
    {
        long first = Boundary(r), end = r == _replicas.Length - 1 ? range.Length : Boundary(r + 1);
        return new(buffer, range.Start + first, 1, checked((int)(end - first)));

        long Boundary(int i) => range.Length * i / _replicas.Length / 16 * 16;
    }

    /// <summary>The share of replica r in the first rows of a table.</summary>
    private Tensor SampledShard(Tensor table, int rows, int r)
    {
        var (first, count) = SampledCatalogue.Part(rows, r, _replicas.Length);
        return table.SliceRows(first, count);
    }

    private Indices SampledShard(Indices rows, int r)
    {
        var (first, count) = SampledCatalogue.Part(rows.Length, r, _replicas.Length);
        return rows.Slice(first, count);
    }
}
