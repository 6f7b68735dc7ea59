using Bert4Rec.Kernels;

namespace Bert4Rec.Model;

/// <summary>How much of a batch goes through the network at once.</summary>
internal static class MicroBatchSize
{
    /// <summary>
    /// Tokens of a micro-batch. On the cpu as many as let a layer's activations share the second-level cache with its weights, and more
    /// where the item table is too large for that cache: each micro-batch reads all of it. On a device with memory of its own a whole
    /// batch, if its activations take no more than a quarter of the memory and half a gigabyte. At least a whole sequence.
    /// </summary>
    /// <param name="sequences">Sequences of a whole batch.</param>
    public static int Tokens(ModelShape shape, KernelSet kernels, int sequences)
    {
        const long MostBytes = 1 << 29, CachedBytes = 1 << 20;
        long tableBytes = (long)shape.ItemCount * shape.HiddenSize * sizeof(float);
        long tokens = kernels.MemoryBytes is long memory
            ? Math.Min(
                (long)sequences * shape.MaximumLength,
                Math.Min(memory / 4, MostBytes) / (sizeof(float) * Activations.FloatsPerToken(shape)))
            : Math.Clamp(65536 / shape.HiddenSize, 128, 1024) * (tableBytes > CachedBytes ? 4 : 1);
        return (int)Math.Max(tokens, shape.MaximumLength);
    }
}
