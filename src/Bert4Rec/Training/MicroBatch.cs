using Bert4Rec.Kernels;
using Bert4Rec.Model;

namespace Bert4Rec.Training;

/// <summary>A part of a training batch, small enough for its activations to stay in the cache, with its cloze mask.</summary>
internal sealed class MicroBatch : IDisposable
{
    private readonly KernelSet _kernels;
    private readonly DeviceBuffer<int> _maskedTokens;
    private readonly DeviceBuffer<int> _maskedRows;
    private readonly DeviceBuffer<int> _targets;
    private readonly DeviceBuffer<int> _maskedOffsets;

    public MicroBatch(KernelSet kernels, int tokenCapacity)
    {
        _kernels = kernels;
        Sequences = new SequenceBatch(kernels, tokenCapacity, tokenCapacity);
        _maskedTokens = kernels.AllocateInts(tokenCapacity);
        _maskedRows = kernels.AllocateInts(tokenCapacity);
        _targets = kernels.AllocateInts(tokenCapacity);
        _maskedOffsets = kernels.AllocateInts(tokenCapacity + 1);
    }

    public SequenceBatch Sequences { get; }

    /// <summary>Rows that the loss counts.</summary>
    public int MaskedCount { get; private set; }

    /// <summary>[MaskedCount]</summary>
    public Indices Targets => Indices.Of(_targets).First(MaskedCount);

    /// <summary>Token of the whole batch that the first one is.</summary>
    public uint FirstRow { get; private set; }

    public void Begin(uint firstRow)
    {
        FirstRow = firstRow;
        Sequences.Clear();
    }

    /// <summary>Uploads the sequences and draws their mask.</summary>
    public void Mask(in ClozeMasking masking)
    {
        Sequences.Upload();
        int tokens = Sequences.TokenCount;
        MaskedCount = _kernels.ClozeMask(
            Sequences.Tokens,
            Sequences.Offsets,
            masking,
            Indices.Of(_maskedTokens).First(tokens),
            Indices.Of(_maskedRows).First(tokens),
            Indices.Of(_targets).First(tokens),
            Indices.Of(_maskedOffsets).First(Sequences.SequenceCount + 1));
    }

    /// <param name="firstQuery">Masked row of the whole batch that the first one is.</param>
    public ModelInput Input(uint firstQuery) => new(
        Indices.Of(_maskedTokens).First(Sequences.TokenCount),
        Sequences.Positions,
        Sequences.Offsets,
        Indices.Of(_maskedRows).First(MaskedCount),
        Indices.Of(_maskedOffsets).First(Sequences.SequenceCount + 1),
        FirstRow,
        firstQuery);

    public void Dispose()
    {
        Sequences.Dispose();
        _maskedTokens.Dispose();
        _maskedRows.Dispose();
        _targets.Dispose();
        _maskedOffsets.Dispose();
    }
}
