using Bert4Rec.Kernels;
using Bert4Rec.Model;

namespace Bert4Rec.Training;

/// <summary>
/// A part of a training batch that goes through the model at once (<see cref="MicroBatchSize"/>), with what is to be predicted in it.
/// </summary>
internal sealed class MicroBatch(KernelSet kernels, int tokenCapacity, bool newestFirst) : IDisposable
{
    private readonly DeviceBuffer<int> _maskedTokens = kernels.AllocateInts(tokenCapacity);
    private readonly DeviceBuffer<int> _targetRows = kernels.AllocateInts(tokenCapacity);
    private readonly DeviceBuffer<int> _targets = kernels.AllocateInts(tokenCapacity);
    private readonly DeviceBuffer<int> _targetOffsets = kernels.AllocateInts(tokenCapacity + 1);
    private readonly int[] _hostRows = new int[tokenCapacity];
    private readonly int[] _hostTargets = new int[tokenCapacity];
    private readonly int[] _hostOffsets = [.. Enumerable.Range(0, tokenCapacity + 1)];
    private Indices _tokens;
    private bool _everyRow;

    public SequenceBatch Sequences { get; } = new(kernels, tokenCapacity, newestFirst);

    /// <summary>Rows that the loss counts: they have a target.</summary>
    public int TargetCount { get; private set; }

    /// <summary>[TargetCount]</summary>
    public Indices Targets => Indices.Of(_targets).First(TargetCount);

    /// <summary>Index in the whole batch of the micro-batch's first token.</summary>
    public uint FirstRow { get; private set; }

    public void Begin(uint firstRow)
    {
        FirstRow = firstRow;
        Sequences.Clear();
    }

    /// <summary>Uploads the sequences and draws which of their events are hidden, to be predicted.</summary>
    public void Mask(in ClozeMasking masking)
    {
        Sequences.Upload();
        int tokens = Sequences.TokenCount;
        _tokens = Indices.Of(_maskedTokens).First(tokens);
        TargetCount = kernels.ClozeMask(
            Sequences.Tokens,
            Sequences.Offsets,
            masking,
            _tokens,
            Indices.Of(_targetRows).First(tokens),
            Indices.Of(_targets).First(tokens),
            Indices.Of(_targetOffsets).First(Sequences.SequenceCount + 1));
        _everyRow = false;
    }

    /// <summary>Uploads the sequences, in which each event, or the last alone, predicts the one after it.</summary>
    /// <param name="next">[T] The event after each.</param>
    /// <param name="lastOnly">Whether the last event of each sequence is the only one that predicts.</param>
    public void PredictNext(ReadOnlySpan<int> next, bool lastOnly)
    {
        Sequences.Upload();
        _tokens = Sequences.Tokens;
        _everyRow = !lastOnly;
        TargetCount = lastOnly ? Sequences.SequenceCount : Sequences.TokenCount;
        if (!lastOnly)
        {
            Targets.Upload(next);
            return;
        }
        for (int b = 0; b < TargetCount; b++)
        {
            _hostRows[b] = Sequences.LastRow(b);
            _hostTargets[b] = next[_hostRows[b]];
        }
        Targets.Upload(_hostTargets.AsSpan(0, TargetCount));
        Indices.Of(_targetRows).First(TargetCount).Upload(_hostRows.AsSpan(0, TargetCount));
        Indices.Of(_targetOffsets).First(TargetCount + 1).Upload(_hostOffsets.AsSpan(0, TargetCount + 1));
    }

    /// <param name="firstQuery">Index, among the whole batch's rows with a target, of the micro-batch's first one.</param>
    public ModelInput Input(uint firstQuery) => new(
        _tokens,
        Sequences.Positions,
        Sequences.Offsets,
        _everyRow ? default : Indices.Of(_targetRows).First(TargetCount),
        _everyRow ? default : Indices.Of(_targetOffsets).First(Sequences.SequenceCount + 1),
        FirstRow,
        firstQuery);

    public void Dispose()
    {
        Sequences.Dispose();
        _maskedTokens.Dispose();
        _targetRows.Dispose();
        _targets.Dispose();
        _targetOffsets.Dispose();
    }
}
