using ILGPU;
using ILGPU.Runtime;

namespace Bert4Rec.Kernels.Gpu.Runtime;

/// <summary>Memory of a GPU. A download waits for the arithmetic.</summary>
internal abstract class GpuBuffer<T>(GpuDevice device, long length) : DeviceBuffer<T>(length)
    where T : unmanaged
{
    protected GpuDevice Device { get; } = device;

    protected abstract ArrayView<T> View { get; }

    public override void Upload(ReadOnlySpan<T> source, long offset = 0)
    {
        CheckRange(offset, source.Length);
        if (source.Length > 0)
            Upload(source, View.SubView(offset, source.Length));
    }

    public override void Download(Span<T> destination, long offset = 0)
    {
        CheckRange(offset, destination.Length);
        if (destination.Length == 0)
            return;
        Device.Download(Device.Compute, View.SubView(offset, destination.Length), destination);
    }

    protected abstract void Upload(ReadOnlySpan<T> source, ArrayView<T> target);
}

/// <summary>Floats, a slice of the device's arena. They change rarely but by arithmetic: an upload waits for all of it.</summary>
internal sealed class GpuFloats : GpuBuffer<float>
{
    private readonly DeviceArena.Slice _slice;

    /// <summary>With old contents.</summary>
    public GpuFloats(GpuDevice device, long length)
        : base(device, length) => _slice = device.Arena.Take(length);

    /// <summary>For an operation on the compute queue.</summary>
    public ArrayView<float> ForCompute() => View;

    protected override ArrayView<float> View => _slice.View;

    protected override void Upload(ReadOnlySpan<float> source, ArrayView<float> target) =>
        Device.Upload(Device.Compute, source, target);

    private protected override void Dispose(bool disposing)
    {
        if (disposing)
            _slice.Dispose();
    }
}

/// <summary>
/// Integers: the batches. An upload waits only where the arithmetic that uses this very memory may still run, so that the next batch can be
/// brought while the last one is worked on; hence memory of its own, as <see cref="DeviceArena"/> says.
/// </summary>
internal sealed class GpuIntegers : GpuBuffer<int>
{
    private readonly MemoryBuffer1D<int, Stride1D.Dense> _memory;
    private long _lastUse;

    public GpuIntegers(GpuDevice device, long length)
        : base(device, length)
    {
        _memory = device.Allocate<int>(length);
        Upload(new int[length]);
    }

    /// <summary>For an operation on the compute queue.</summary>
    public ArrayView<int> ForCompute()
    {
        _lastUse = Device.BeginUse();
        return View;
    }

    /// <summary>For the transfer queue, which knows nothing of the other's order: waits until the arithmetic has done with it.</summary>
    public ArrayView<int> ForTransfer()
    {
        Device.FinishUse(_lastUse);
        return View;
    }

    /// <summary>For the transfer queue, where that came by them: what reads them there waits for nothing.</summary>
    public ArrayView<int> ForReading() => View;

    protected override ArrayView<int> View => _memory.View.BaseView;

    protected override void Upload(ReadOnlySpan<int> source, ArrayView<int> target)
    {
        Device.FinishUse(_lastUse);
        Device.Upload(Device.Transfer, source, target);
    }

    private protected override void Dispose(bool disposing)
    {
        if (disposing)
            Device.Free(_memory);
    }
}

/// <summary>The memory of an operand, for kernels; an empty view where there is none.</summary>
internal static class OperandViews
{
    public static ArrayView<float> View(this Tensor x) =>
        x.IsNone ? default : ((GpuFloats)x.Buffer).ForCompute().SubView(x.Offset, x.Length);

    public static ArrayView<int> View(this Indices x) =>
        x.IsNone ? default : ((GpuIntegers)x.Buffer).ForCompute().SubView(x.Offset, x.Length);

    /// <summary>As <see cref="View(Indices)"/>, for what the transfer queue only reads.</summary>
    public static ArrayView<int> ReadingView(this Indices x) => ((GpuIntegers)x.Buffer).ForReading().SubView(x.Offset, x.Length);

    /// <summary>As <see cref="View(Indices)"/>, for the transfer queue.</summary>
    public static ArrayView<int> TransferView(this Indices x) => ((GpuIntegers)x.Buffer).ForTransfer().SubView(x.Offset, x.Length);
}
