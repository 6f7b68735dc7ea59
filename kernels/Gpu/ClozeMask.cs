using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

internal sealed class ClozeMask(GpuDevice device)
{
    private readonly GpuDevice _device = device;
    public int Draw(ArrayView<int> tokens, ArrayView<int> offsets, int sequences, in ClozeMasking masking, ArrayView<int> maskedTokens, ArrayView<int> maskedRows, ArrayView<int> targets, ArrayView<int> maskedOffsets) => throw new NotSupportedException();
}
