using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

internal sealed class DropoutLayer(GpuDevice device)
{
    private readonly GpuDevice _device = device;
    public void Apply(ArrayView<float> x, in Dropout dropout, int rows, int columns) => throw new NotSupportedException();
}
