using System.Reflection;
using Bert4Rec.Kernels.Gpu;
using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;
using ILGPU.Backends;
using ILGPU.Backends.EntryPoints;
using ILGPU.Backends.PTX;
using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;

namespace Bert4Rec.Tools;

/// <summary>
/// Compiles the kernels for NVIDIA's devices where there is none: what ptxas says of the result is most of the proof they need.
/// </summary>
internal static class PtxCompiler
{
    /// <summary>PTX of every kernel that a CUDA device of compute capability major.minor would run, with its name and group size.</summary>
    public static IEnumerable<(string Name, int GroupSize, string Ptx)> Compile(int major, int minor)
    {
        using var context = Context.Create(GpuDevices.Configure);
        using var backend = NewBackend(context, major, minor);
        foreach (var (kernel, groupSize) in Kernels(withTensorCores: major >= 8))
            yield return (Name(kernel), groupSize, Compile(backend, kernel));
    }

    /// <summary>PTX of one kernel, with a compiler that <paramref name="configure"/> has added to.</summary>
    public static string Compile(MethodInfo kernel, int major, int minor, Action<Context.Builder> configure)
    {
        using var context = Context.Create(builder =>
        {
            GpuDevices.Configure(builder);
            configure(builder);
        });
        using var backend = NewBackend(context, major, minor);
        return Compile(backend, kernel);
    }

    private static PTXBackend NewBackend(Context context, int major, int minor)
    {
        var architecture = new CudaArchitecture(major, minor);
        var backend = new PTXBackend(context, new CudaCapabilityContext(architecture), architecture, CudaInstructionSet.ISA_78, null);
        CompilerPasses.KeepOrder(backend);
        return backend;
    }

    private static string Compile(PTXBackend backend, MethodInfo kernel)
    {
        var entry = EntryPointDescription.FromExplicitlyGroupedKernel(kernel);
        return ((PTXCompiledKernel)backend.Compile(entry, default(KernelSpecialization))).PTXAssembly;
    }

    /// <summary>All kernels of a CUDA device, each with its group size; with tensor cores, those that use them come last.</summary>
    private static IReadOnlyList<(MethodInfo Kernel, int GroupSize)> Kernels(bool withTensorCores)
    {
        var kernels = new List<(MethodInfo, int)>();
        foreach (var tensorCores in withTensorCores ? new[] { TensorCores.None, TensorCores.Used } : [TensorCores.None])
        {
            using var device = new GpuDevice((kernel, groupSize) => kernels.Add((kernel, groupSize)), tensorCores);
            using var all = new GpuKernels(device);
        }
        return [.. kernels.Distinct()];
    }

    /// <summary>"Attention.Forward&lt;Columns64, WideAccess&gt;"; of a type's only kernel, "TiledProduct&lt;…&gt;".</summary>
    private static string Name(MethodInfo kernel)
    {
        string name = $"{Plain(kernel.DeclaringType!)}.{kernel.Name.Replace("Kernel", "", StringComparison.Ordinal)}".TrimEnd('.');
        Type[] arguments = [.. kernel.DeclaringType!.GetGenericArguments(), .. kernel.GetGenericArguments()];
        return arguments.Length == 0 ? name : $"{name}<{string.Join(", ", arguments.Select(Plain))}>";
    }

    private static string Plain(Type type) => type.Name.Split('`')[0];
}
