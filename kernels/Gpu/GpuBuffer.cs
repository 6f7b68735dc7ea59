using ILGPU;
using ILGPU.Runtime;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>Memory of a GPU. An upload does not wait for the arithmetic, a download does.</summary>
internal sealed class GpuBuffer<T> : DeviceBuffer<T>
    where T : unmanaged
{
    private readonly GpuDevice _device;
    private readonly MemoryBuffer1D<T, Stride1D.Dense> _memory;

    public GpuBuffer(GpuDevice device, long length)
        : base(length)
    {
        _device = device;
        _memory = device.Allocate<T>(length);
        _memory.MemSetToZero(device.Compute);
        device.Compute.Synchronize();
    }

    public ArrayView<T> View => _memory.View.BaseView;

    public override void Upload(ReadOnlySpan<T> source, long offset = 0)
    {
        CheckRange(offset, source.Length);
        if (source.Length == 0)
            return;
        _memory.View.BaseView.SubView(offset, source.Length).CopyFromCPU(_device.Transfer, source);
        _device.Transfer.Synchronize();
    }

    public override void Download(Span<T> destination, long offset = 0)
    {
        CheckRange(offset, destination.Length);
        if (destination.Length == 0)
            return;
        _memory.View.BaseView.SubView(offset, destination.Length).CopyToCPU(_device.Compute, destination);
        _device.Compute.Synchronize();
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
            _device.Free(_memory);
    }
}
