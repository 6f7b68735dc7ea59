using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Cpu;
using Bert4Rec.Training;

namespace Bert4Rec;

/// <summary>The kernel sets of a run and a thread for each: on the cpu one a core, each single-threaded.</summary>
internal sealed class DeviceSet : IDisposable
{
    /// <param name="device">The command line's --device: auto or cpu.</param>
    /// <param name="threads">Threads to use; 0 for one a core.</param>
    /// <exception cref="InputException">There is no such device.</exception>
    public DeviceSet(string device, int threads)
    {
        if (device is not ("auto" or "cpu"))
            throw new InputException($"--device {device}: not there; this build has cpu");
        if (threads < 0)
            throw new InputException($"--threads {threads}: wanted 1 or more, or 0 for one a core");
        int count = threads == 0 ? Environment.ProcessorCount : threads;
        Kernels = [.. Enumerable.Range(0, count).Select(_ => CpuKernels.Create())];
        Workers = new Workers(count);
    }

    public IReadOnlyList<IKernels> Kernels { get; }

    public Workers Workers { get; }

    public void Dispose()
    {
        Workers.Dispose();
        foreach (var kernels in Kernels)
            kernels.Dispose();
    }
}
