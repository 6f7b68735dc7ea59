using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

internal sealed class Attention(GpuDevice device)
{
    private readonly GpuDevice _device = device;
    public void Forward(ArrayView<float> q, ArrayView<float> kv, ArrayView<int> queryOffsets, ArrayView<int> keyOffsets, int sequences, int heads, int maximumLength, in Dropout dropout, ArrayView<float> output, ArrayView<float> logSumExp, int size) => throw new NotSupportedException();
    public void Backward(ArrayView<float> dOutput, ArrayView<float> q, ArrayView<float> kv, ArrayView<float> output, ArrayView<float> logSumExp, ArrayView<int> queryOffsets, ArrayView<int> keyOffsets, int sequences, int heads, int maximumLength, in Dropout dropout, ArrayView<float> dq, ArrayView<float> dkv, int queries, int size) => throw new NotSupportedException();
}
