using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

internal sealed class TopK(GpuDevice device, MatMul matMul)
{
    private readonly GpuDevice _device = device;
    private readonly MatMul _matMul = matMul;
    public void Rank(ArrayView<float> h, ArrayView<float> items, ArrayView<float> bias, ArrayView<int> targets, ArrayView<int> excludedOffsets, ArrayView<int> excludedItems, ArrayView<int> topItems, ArrayView<float> topScores, ArrayView<int> targetRanks, int rows, int catalogue, int size, int k) => throw new NotSupportedException();
    public void Score(ArrayView<float> h, ArrayView<float> items, ArrayView<float> bias, ArrayView<int> candidates, ArrayView<float> scores, int rows, int perRow, int size) => throw new NotSupportedException();
}
