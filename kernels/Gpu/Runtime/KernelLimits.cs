using ILGPU.Runtime;
using ILGPU.Runtime.OpenCL;

namespace Bert4Rec.Kernels.Gpu.Runtime;

/// <summary>
/// What an OpenCL device can give to one kernel, which its compiler alone knows: fewer threads a group than to others where a kernel needs
/// many registers. A CUDA driver says so itself when it loads a kernel.
/// </summary>
internal static class KernelLimits
{
    /// <exception cref="DeviceException">The kernel wants more.</exception>
    public static void Check(GpuDevice device, Kernel kernel, int groupSize)
    {
        if (kernel is not CLKernel { KernelPtr: var pointer } || device.Accelerator is not CLAccelerator accelerator)
            return;
        long threads = Ask<nint>(CLKernelWorkGroupInfoType.CL_KERNEL_WORK_GROUP_SIZE);
        if (threads < groupSize)
            throw device.Refusal($"it gives it groups of {threads} threads at most, where {groupSize} are needed");
        long bytes = Ask<long>(CLKernelWorkGroupInfoType.CL_KERNEL_LOCAL_MEM_SIZE);
        if (bytes > accelerator.MaxSharedMemoryPerGroup)
            throw device.Refusal($"it has {accelerator.MaxSharedMemoryPerGroup:N0} bytes of local memory, where {bytes:N0} are needed");

        T Ask<T>(CLKernelWorkGroupInfoType what)
            where T : unmanaged =>
            CLAPI.CurrentAPI.GetKernelWorkGroupInfo<T>(pointer, accelerator.DeviceId, what);
    }
}
