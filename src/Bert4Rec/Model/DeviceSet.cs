using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Cpu;
using Bert4Rec.Kernels.Gpu;
using Bert4Rec.Kernels.Gpu.Runtime;

namespace Bert4Rec.Model;

/// <summary>
/// The kernel sets of a run and a thread for each: on the cpu one a core, each single-threaded; on a GPU one for the device.
/// </summary>
internal sealed class DeviceSet : IDisposable
{
    private readonly Lazy<Workers> _workers;

    /// <param name="device">The command line's --device: auto, cpu, cuda[:i], opencl[:i], ilgpu-cpu or ptx[:sm].</param>
    /// <param name="threads">Threads of the cpu to use; 0 for one a core.</param>
    /// <param name="precision">What products multiply in.</param>
    /// <exception cref="InputException">Fewer threads than none.</exception>
    /// <exception cref="DeviceException">There is no such device, or it has not this precision.</exception>
    public DeviceSet(string device, int threads, Precision precision = Precision.Full)
    {
        if (threads < 0)
            throw new InputException($"--threads {threads}: wanted 1 or more, or 0 for one a core");
        if (device == "auto")
            (device, Note) = Choose(GpuDevices.List());
        if (device == "cpu")
        {
            if (precision == Precision.Tf32)
                throw DeviceException.NoTensorCores(device);
            int count = threads == 0 ? Environment.ProcessorCount : threads;
            Kernels = [.. Enumerable.Range(0, count).Select(_ => CpuKernels.Create())];
        }
        else
        {
            Kernels = [GpuKernels.Create(device, precision)];
        }
        _workers = new(() => new Workers(Kernels.Count));
    }

    public IReadOnlyList<KernelSet> Kernels { get; }

    /// <summary>Started when they are first asked for.</summary>
    public Workers Workers => _workers.Value;

    /// <summary>Why auto did not take a GPU that is there; null where there is none, or it was taken.</summary>
    public string? Note { get; }

    public void Dispose()
    {
        if (_workers.IsValueCreated)
            _workers.Value.Dispose();
        foreach (var kernels in Kernels)
            kernels.Dispose();
    }

    /// <summary>auto: a CUDA device, else an OpenCL GPU, else the cpu, whose own kernels beat OpenCL on the same cores.</summary>
    internal static (string Device, string? Note) Choose(IReadOnlyList<GpuDeviceInfo> devices)
    {
        var gpus = devices.Where(device => device.IsGpu).ToList();
        if (gpus.Find(device => device.Problem is null) is { } usable)
            return (usable.Id, null);
        return ("cpu", gpus.Count == 0 ? null : $"using the cpu: {gpus[0].Id}: {gpus[0].Problem}");
    }
}
