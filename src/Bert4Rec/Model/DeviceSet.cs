using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using Bert4Rec.Distributed;
using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Cpu;
using Bert4Rec.Kernels.Gpu;
using Bert4Rec.Kernels.Gpu.Runtime;
using Bert4Rec.Serialization;

namespace Bert4Rec.Model;

/// <summary>
/// The kernel sets of a run and a thread for each: on the cpu one a core, each single-threaded; on a GPU one for the device.
/// </summary>
internal sealed class DeviceSet : IDisposable
{
    /// <summary>No machine of today runs more at once, and starting some ten thousand ends the process.</summary>
    public static readonly int MostThreads = Math.Max(1024, Environment.ProcessorCount);

    private readonly Lazy<Workers> _workers;

    /// <param name="device">The command line's --device: auto, cpu, cuda[:i], opencl[:i], ilgpu-cpu or ptx[:sm].</param>
    /// <param name="threads">Threads of the cpu to use; 0 for one a core.</param>
    /// <param name="precision">What products multiply in.</param>
    /// <param name="ranks">Those that share this machine: its cores where no threads are given, and its GPUs where none is named; null for
    /// this process alone.</param>
    /// <exception cref="InputException">Fewer threads than none, or too many.</exception>
    /// <exception cref="DeviceException">There is no such device, or it has not this precision.</exception>
    public DeviceSet(string device, int threads, Precision precision = Precision.Full, ProcessGroup? ranks = null)
    {
        if (threads < 0 || threads > MostThreads)
            throw new InputException($"{threads} threads: wanted 1 to {MostThreads}, or 0 for one a core");
        if (!IsName(device))
            throw new DeviceException($"'{device}' is no device: wanted auto, cpu, cuda[:i], opencl[:i], ilgpu-cpu or ptx[:sm]");
        ranks ??= ProcessGroup.Alone;
        bool isOpen = device == "auto";
        if (isOpen)
            (device, Note) = Choose(GpuDevices.List());
        if (ranks.Size > 1 && device != "cpu")
            device = OfRank(isOpen ? device.Split(':')[0] : device, ranks.LocalRank, GpuDevices.List());
        if (device == "cpu")
        {
            if (precision != Precision.Full)
                throw DeviceException.NoTensorCores(device, precision);
            int cores = Environment.ProcessorCount, count = threads == 0 ? Math.Max(1, cores / ranks.LocalSize) : threads;
            if (ranks.Size > 1 && count > cores)
                Note = $"{count} threads on {Printable.Count(cores, "core")}: mpirun binds ranks; give it --bind-to none";
            Kernels = [.. Enumerable.Range(0, count).Select(_ => CpuKernels.Create())];
        }
        else
        {
            Kernels = [GpuKernels.Create(device, precision)];
        }
        _workers = new(() => new Workers(Kernels.Count));
    }

    /// <summary>Whether a device could be called so.</summary>
    public static bool IsName([NotNullWhen(true)] string? device) =>
        device is "auto" or "cpu" or "ilgpu-cpu"
        || (device?.Split(':') is ["cuda" or "opencl" or GpuDevices.Emulator, .. var number]
            && (number is [] || (number is [var text] && ushort.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out _))));

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

    /// <summary>Where a kind of GPU is named, or was found, but no number: the ranks of a machine take one after the other.</summary>
    private static string OfRank(string device, int localRank, IReadOnlyList<GpuDeviceInfo> devices)
    {
        var same = devices.Where(info => info.Problem is null && info.Id.StartsWith($"{device}:", StringComparison.Ordinal)).ToList();
        return same.Count == 0 ? device : same[localRank % same.Count].Id;
    }

    /// <summary>auto: a CUDA device, else an OpenCL GPU, else the cpu, whose own kernels beat OpenCL on the same cores.</summary>
    private static (string Device, string? Note) Choose(IReadOnlyList<GpuDeviceInfo> devices)
    {
        var gpus = devices.Where(device => device.IsGpu).ToList();
        if (gpus.Find(device => device.Problem is null) is { } usable)
            return (usable.Id, null);
        return ("cpu", gpus.Count == 0 ? null : $"using the cpu: {gpus[0].Id}: {gpus[0].Problem}");
    }
}
