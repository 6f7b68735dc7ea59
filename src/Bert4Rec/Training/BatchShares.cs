using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Kernels;

namespace Bert4Rec.Training;

/// <summary>A batch partitioned among all replicas of all ranks: consecutive sequences of about as much work for each.</summary>
/// <param name="settings">What the work depends on.</param>
/// <param name="count">How many shares there are.</param>
internal sealed class BatchShares(TrainerSettings settings, int count)
{
    private readonly int[] _starts = new int[count + 1];
    private readonly uint[] _rows = new uint[count];

    /// <summary>The sequences of a share.</summary>
    public Range this[int share] => _starts[share].._starts[share + 1];

    /// <summary>Index in the batch of a share's first token.</summary>
    public uint FirstRow(int share) => _rows[share];

    /// <summary>Partitions a batch.</summary>
    /// <param name="batch">Its sequences that have a target.</param>
    /// <param name="catalogueSize">Items that a prediction is among.</param>
    /// <param name="masking">How many events a sequence predicts, where they are masked ones.</param>
    public void Partition(ReadOnlySpan<SequenceSpan> batch, int catalogueSize, in ClozeMasking masking)
    {
        double all = 0, assigned = 0;
        foreach (var sequence in batch)
            all += Work(sequence.Length, catalogueSize, masking);
        int next = 0;
        uint row = 0;
        for (int share = 0; share < count; share++)
        {
            _starts[share] = next;
            _rows[share] = row;
            double until = all * (share + 1) / count;
            for (; next < batch.Length && (assigned < until || share == count - 1); next++)
            {
                assigned += Work(batch[next].Length, catalogueSize, masking);
                row += (uint)batch[next].Length;
            }
        }
        _starts[count] = batch.Length;
    }

    /// <summary>
    /// Multiply-adds that a sequence may be expected to need: in the encoder's linear layers for each event (forward, dx and dW: 3), in the
    /// softmax for each that is predicted (forward, again in the backward, and its two products: 4). Attention's own are few.
    /// </summary>
    private double Work(int length, int catalogueSize, in ClozeMasking masking)
    {
        var shape = settings.Shape;
        double h = shape.HiddenSize;
        double encoder = 3 * shape.Layers * ((4 * h * h) + (2 * h * shape.InnerSize));
        double softmax = 4 * h * catalogueSize;
        double targets = settings.Objective == Objective.NextItem
            ? settings.RecboleCompatible ? 1 : length
            : masking.LastOnlyShare + ((1 - masking.LastOnlyShare) * masking.MaskRatio * length);
        return (length * encoder) + (targets * softmax);
    }
}
