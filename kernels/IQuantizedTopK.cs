namespace Bert4Rec.Kernels;

/// <summary>A catalogue whose best items for one row are found without reading all of it; many threads may ask at once.</summary>
public interface IQuantizedTopK : IDisposable
{
    /// <summary>What <see cref="KernelSet.TopK"/> gives for one row, where the quantized copy is of use for it.</summary>
    /// <param name="h">[1, H]</param>
    /// <param name="excluded">Items that must not come, ascending.</param>
    /// <param name="topItems">[k] ids, best first; 0 where there are fewer than k.</param>
    /// <param name="topScores">[k]; negative infinity where there are fewer than k.</param>
    /// <returns>False where it is not: nothing is written then.</returns>
    bool TryTopK(Tensor h, ReadOnlySpan<int> excluded, Span<int> topItems, Span<float> topScores);
}
