using System.Reflection;
using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Gpu;
using Bert4Rec.Kernels.Gpu.Runtime;

namespace Bert4Rec.Tools;

/// <summary>
/// All kernels of a CUDA device where there is none: what ptxas says of their PTX is a good part of the proof they need.
/// </summary>
internal static class PtxKernels
{
    /// <summary>PTX of every kernel that a CUDA device of compute capability major.minor would run, with its name and group size.</summary>
    public static IEnumerable<(string Name, int GroupSize, string Ptx)> Compile(int major, int minor)
    {
        using var compiler = new PtxCompiler(major, minor);
        foreach (var (kernel, groupSize) in All(withTensorCores: major >= 8))
            yield return (PtxCompiler.NameOf(kernel), groupSize, compiler.Compile(kernel));
    }

    /// <summary>Each with its group size; with tensor cores, those that use them come last.</summary>
    public static IReadOnlyList<(MethodInfo Kernel, int GroupSize)> All(bool withTensorCores)
    {
        var kernels = new List<(MethodInfo, int)>();
        foreach (var precision in withTensorCores ? Enum.GetValues<Precision>() : [Precision.Full])
        {
            using var device = new GpuDevice((kernel, groupSize) => kernels.Add((kernel, groupSize)), precision);
            using var all = new GpuKernels(device);
        }
        return [.. kernels.Distinct()];
    }
}
