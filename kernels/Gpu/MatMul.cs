using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

internal sealed class MatMul(GpuDevice device)
{
    private readonly GpuDevice _device = device;
    public void Forward(ArrayView<float> x, ArrayView<float> weight, ArrayView<float> bias, ArrayView<float> y, int rows, int outputs, int inputs) => throw new NotSupportedException();
    public void ForwardGelu(ArrayView<float> x, ArrayView<float> weight, ArrayView<float> bias, ArrayView<float> y, ArrayView<float> slope, int rows, int outputs, int inputs) => throw new NotSupportedException();
    public void BackwardInput(ArrayView<float> dy, ArrayView<float> weight, ArrayView<float> slope, ArrayView<float> dx, bool accumulate, int rows, int outputs, int inputs) => throw new NotSupportedException();
    public void BackwardWeight(ArrayView<float> dy, ArrayView<float> x, ArrayView<float> dWeight, ArrayView<float> dBias, int rows, int outputs, int inputs) => throw new NotSupportedException();
}
