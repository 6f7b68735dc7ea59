using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Cpu;

namespace Bert4Rec;

/// <summary>What the kernels run on: chosen by the names of the command line's --device.</summary>
public static class Devices
{
    /// <summary>
    /// The kernel sets of a run, one a replica: on the cpu as many as there are threads, each single-threaded.
    /// </summary>
    /// <param name="device">auto or cpu.</param>
    /// <param name="threads">Threads to use; 0 for one a core.</param>
    /// <exception cref="InputException">There is no such device.</exception>
    public static IReadOnlyList<IKernels> CreateReplicas(string device, int threads)
    {
        if (device is not ("auto" or "cpu"))
            throw new InputException($"--device {device}: not there; this build has cpu");
        ArgumentOutOfRangeException.ThrowIfNegative(threads);
        int count = threads == 0 ? Environment.ProcessorCount : threads;
        return [.. Enumerable.Range(0, count).Select(_ => CpuKernels.Create())];
    }
}
