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
    private readonly Bert4RecModel _model;
    private readonly DeviceBuffer<float> _loss;
    private readonly int _tokenCapacity;
    private readonly List<MicroBatch>[] _pools = [[], []];
    private readonly float[] _lossValue = new float[1];
    private int _pool;
    private int _used;

    public Replica(KernelSet kernels, ParameterLayout layout, DeviceBuffer<float> parameters, int tokenCapacity)
    {
        Kernels = kernels;
        Gradients = kernels.AllocateFloats(layout.Length);
        _loss = kernels.AllocateFloats(1);
        _model = new Bert4RecModel(kernels, layout, parameters, Gradients, tokenCapacity);
        _tokenCapacity = tokenCapacity;
    }

    public KernelSet Kernels { get; }

    public DeviceBuffer<float> Gradients { get; }

    /// <summary>Masked rows of the share that <see cref="Prepare"/> laid out.</summary>
    public int MaskedCount { get; private set; }

    /// <summary>
    /// Packs a share of the batch into micro-batches and draws their masks. The last share's memory stays as it is: a device may still be
    /// working on it.
    /// </summary>
    /// <param name="events">The dataset's events.</param>
    /// <param name="share">The share's sequences.</param>
    /// <param name="firstRow">Token of the whole batch that the share's first one is.</param>
    /// <param name="masking">How to mask; its FirstRow is the share's first sequence.</param>
    public void Prepare(int[] events, ReadOnlySpan<SequenceSpan> share, uint firstRow, in ClozeMasking masking)
    {
        _pool ^= 1;
        _used = 0;
        MaskedCount = 0;
        uint firstSequence = masking.Key.FirstRow;
        for (int next = 0; next < share.Length;)
        {
            var micro = NextMicroBatch(firstRow);
            int first = next;
            while (next < share.Length && micro.Sequences.HasRoomFor(share[next].Length))
            {
                micro.Sequences.Add(events.AsSpan(share[next].Start, share[next].Length));
                next++;
            }
            micro.Mask(masking with { Key = masking.Key with { FirstRow = firstSequence + (uint)first } });
            MaskedCount += micro.MaskedCount;
            firstRow += (uint)micro.Sequences.TokenCount;
        }
    }

    /// <summary>Adds the gradient of scale · Σ loss to <see cref="Gradients"/>.</summary>
    /// <param name="key">Seed and step of the dropout masks.</param>
    /// <param name="firstMasked">Masked row of the whole batch that the share's first one is.</param>
    /// <param name="scale">1 / masked rows of the whole batch.</param>
    public void ForwardAndBackward(RandomKey key, uint firstMasked, float scale)
    {
        Kernels.Fill(Tensor.Of(_loss), 0);
        for (int i = 0; i < _used; i++)
        {
            var micro = _pools[_pool][i];
            if (micro.MaskedCount == 0)
                continue;
            _model.Forward(micro.Input(firstMasked), key);
            _model.LossAndBackward(micro.Targets, scale, Tensor.Of(_loss));
            firstMasked += (uint)micro.MaskedCount;
        }
    }

    /// <summary>Σ loss over the masked rows of the last <see cref="ForwardAndBackward"/>, once the device is done with it.</summary>
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
            pool.Add(new MicroBatch(Kernels, _tokenCapacity));
        var micro = pool[_used++];
        micro.Begin(firstRow);
        return micro;
    }
}
