using ILGPU;
using ILGPU.Runtime;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// Memory of a GPU. A download waits for the arithmetic; an upload only where the arithmetic that uses this very memory may still run, so
/// that the next batch can be brought while the last one is worked on.
/// </summary>
internal sealed class GpuBuffer<T> : DeviceBuffer<T>
    where T : unmanaged
{
    private readonly GpuDevice _device;
    private readonly MemoryBuffer1D<T, Stride1D.Dense> _memory;
    private long _lastUse;

    public GpuBuffer(GpuDevice device, long length)
        : base(length)
    {
        _device = device;
        _memory = device.Allocate<T>(length);
        _memory.MemSetToZero(device.Compute);
        device.Compute.Synchronize();
    }

    /// <summary>For an operation on the compute queue.</summary>
    public ArrayView<T> ForCompute()
    {
        _lastUse = _device.BeginUse();
        return _memory.View.BaseView;
    }

    /// <summary>For the transfer queue, which knows nothing of the other's order: waits until the arithmetic has done with it.</summary>
    public ArrayView<T> ForTransfer()
    {
        _device.FinishUse(_lastUse);
        return _memory.View.BaseView;
    }

    public override void Upload(ReadOnlySpan<T> source, long offset = 0)
    {
        CheckRange(offset, source.Length);
        if (source.Length == 0)
            return;
        ForTransfer().SubView(offset, source.Length).CopyFromCPU(_device.Transfer, source);
        _device.Transfer.Synchronize();
    }

    public override void Download(Span<T> destination, long offset = 0)
    {
        CheckRange(offset, destination.Length);
        if (destination.Length == 0)
            return;
        _memory.View.BaseView.SubView(offset, destination.Length).CopyToCPU(_device.Compute, destination);
        _device.FinishCompute();
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
            _device.Free(_memory);
    }
}
