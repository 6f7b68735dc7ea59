using Bert4Rec.Kernels.Gpu;
using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;
using ILGPU.Backends;
using ILGPU.Backends.EntryPoints;
using ILGPU.Backends.OpenCL;
using ILGPU.Runtime;
using ILGPU.Runtime.OpenCL;

namespace Bert4Rec.Tests.Kernels;

/// <summary>What is changed in ILGPU's compiler shows in what it makes.</summary>
public class CompilerPassesTests
{
    public static TheoryData<string> Devices => [.. Backends.Gpus];

    [SkippableTheory]
    [MemberData(nameof(Devices))]
    public void Barriers_of_OpenCL_order_local_memory(string name)
    {
        using var device = GpuDevices.Open(name);
        Skip.IfNot(device.Accelerator is CLAccelerator, "not an OpenCL device");
        var method = ((Action<ArrayView<int>>)Exchange).Method;
        var compiled = (CLCompiledKernel)device.Accelerator.GetBackend().Compile(
            EntryPointDescription.FromExplicitlyGroupedKernel(method), default(KernelSpecialization));
        Assert.Matches(@"work_group_barrier\s*\(\s*CLK_LOCAL_MEM_FENCE \| CLK_GLOBAL_MEM_FENCE\s*\)", compiled.Source);
    }

    private static void Exchange(ArrayView<int> x)
    {
        var shared = SharedMemory.Allocate<int>(64);
        shared[Group.IdxX] = x[Group.IdxX];
        Group.Barrier();
        x[Group.IdxX] = shared[Group.DimX - 1 - Group.IdxX];
    }
}
