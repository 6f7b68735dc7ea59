using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

internal sealed class Embedding(GpuDevice device)
{
    private readonly GpuDevice _device = device;
    public void Forward(ArrayView<int> tokens, ArrayView<int> positions, ArrayView<float> items, ArrayView<float> positionTable, ArrayView<float> x, int rows, int size) => throw new NotSupportedException();
    public void Backward(ArrayView<int> tokens, ArrayView<int> positions, ArrayView<float> dx, ArrayView<float> dItems, ArrayView<float> dPositions, int rows, int size) => throw new NotSupportedException();
    public void Gather(ArrayView<float> x, ArrayView<int> rows, ArrayView<float> y, int count, int size) => throw new NotSupportedException();
    public void GatherBackward(ArrayView<float> dy, ArrayView<int> rows, ArrayView<float> dx, int count, int size) => throw new NotSupportedException();
}
