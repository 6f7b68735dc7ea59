using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Kernels;
using Bert4Rec.Model;

namespace Bert4Rec.Training;

/// <summary>
/// One kernel set with its own gradients and activations, working through its share of a batch, micro-batch by micro-batch. The parameters
/// are shared with the other replicas and only read.
/// </summary>
internal sealed class Replica : IDisposable
{
    private readonly TrainerSettings _settings;
    private readonly Bert4RecModel _model;
    private readonly DeviceBuffer<float> _loss;
    private readonly int _tokenCapacity;
    private readonly int[] _next;
    private readonly float[] _lossValue = new float[1];

    // Micro-batches of the share that a device works on, and of the next one: _pool is the one laid out last, and the share takes the first
    // _used of it.
    private readonly List<MicroBatch>[] _pools = [[], []];
    private int _pool;
    private int _used;

    public Replica(
        TrainerSettings settings, KernelSet kernels, ParameterLayout layout, DeviceBuffer<float> parameters, int tokenCapacity,
        SampledCatalogue? sampled)
    {
        _settings = settings;
        Kernels = kernels;
        Gradients = kernels.AllocateFloats((sampled?.Layout ?? layout).Length);
        _loss = kernels.AllocateFloats(1);
        _model = new Bert4RecModel(kernels, layout, parameters, Gradients, tokenCapacity, sampled);
        _tokenCapacity = tokenCapacity;
        _next = new int[tokenCapacity];
    }

    public KernelSet Kernels { get; }

    public DeviceBuffer<float> Gradients { get; }

    /// <summary>Rows with a target in the share that <see cref="Prepare"/> laid out.</summary>
    public int TargetCount { get; private set; }

    /// <summary>
    /// Packs a share of the batch into micro-batches and lays out what they are to predict. The previous share's memory stays as it is: a
    /// device may still be working on it.
    /// </summary>
    /// <param name="events">Events, of the dataset or of a batch.</param>
    /// <param name="share">The share's sequences in them.</param>
    /// <param name="firstRow">Index in the whole batch of the share's first token.</param>
    /// <param name="masking">How events are hidden, where they are.</param>
    /// <param name="firstSequence">Index in the whole batch of the share's first sequence.</param>
    public void Prepare(int[] events, ReadOnlySpan<SequenceSpan> share, uint firstRow, in ClozeMasking masking, uint firstSequence)
    {
        _pool ^= 1;
        _used = 0;
        TargetCount = 0;
        for (int next = 0; next < share.Length;)
        {
            var micro = NextMicroBatch(firstRow);
            int first = next;
            int tokens = 0;
            while (next < share.Length && micro.Sequences.HasRoomFor(share[next].Length))
            {
                var (start, length) = share[next];
                micro.Sequences.Add(events.AsSpan(start, length));
                if (_settings.Objective == Objective.NextItem)
                    events.AsSpan(start + 1, length).CopyTo(_next.AsSpan(tokens));
                tokens += length;
                next++;
            }
            if (_settings.Objective == Objective.NextItem)
                micro.PredictNext(_next.AsSpan(0, tokens), lastOnly: _settings.RecboleCompatible);
            else
                micro.Mask(masking with { Key = masking.Key with { FirstRow = firstSequence + (uint)first } });
            TargetCount += micro.TargetCount;
            firstRow += (uint)micro.Sequences.TokenCount;
        }
    }

    /// <summary>Adds the gradient of scale · Σ loss to <see cref="Gradients"/>.</summary>
    /// <param name="key">Seed and step of the dropout masks.</param>
    /// <param name="firstTarget">Index, among the whole batch's rows with a target, of the share's first one.</param>
    /// <param name="scale">1 / rows with a target in the whole batch.</param>
    public void ForwardAndBackward(RandomKey key, uint firstTarget, float scale)
    {
        Kernels.Fill(Tensor.Of(_loss), 0);
        for (int i = 0; i < _used; i++)
        {
            var micro = _pools[_pool][i];
            if (micro.TargetCount == 0)
                continue;
            _model.Forward(micro.Input(firstTarget), key);
            _model.LossAndBackward(micro.Targets, scale, Tensor.Of(_loss));
            firstTarget += (uint)micro.TargetCount;
        }
    }

    /// <summary>Σ loss over the rows of the last <see cref="ForwardAndBackward"/>, once the device is done with it.</summary>
    public double ReadLoss()
    {
        _loss.Download(_lossValue);
        return _lossValue[0];
    }

    public void Dispose()
    {
        _model.Dispose();
        _loss.Dispose();
        Gradients.Dispose();
        foreach (var micro in _pools.SelectMany(pool => pool))
            micro.Dispose();
    }

    private MicroBatch NextMicroBatch(uint firstRow)
    {
        var pool = _pools[_pool];
        if (_used == pool.Count)
            pool.Add(new MicroBatch(Kernels, _tokenCapacity, _settings.Shape.NewestFirst));
        var micro = pool[_used++];
        micro.Begin(firstRow);
        return micro;
    }
}
