using System.Reflection;
using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Gpu;
using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;
using ILGPU.Backends.OpenCL;
using ILGPU.Runtime.OpenCL;

namespace Bert4Rec.Tests.Kernels;

/// <summary>The OpenCL source of every kernel, made without a device.</summary>
public class OpenClSourceTests
{
    /// <summary>Not every GPU has them: on those that do not, a kernel with one does not compile.</summary>
    [Fact]
    public void No_kernel_needs_doubles()
    {
        var kernels = new List<MethodInfo>();
        using var device = new GpuDevice((kernel, _) => kernels.Add(kernel), Precision.Full, usesWarps: false);
        using var all = new GpuKernels(device);
        using var context = Context.Create(GpuDevices.Configure);
        var constructor = typeof(CLCapabilityContext).GetConstructors().Single();
        // Of what a device may have, only what ILGPU asks of each.
        object[] has = [.. constructor.GetParameters().Select(parameter => (object)(parameter.Name == "genericAddressSpace"))];
        var capabilities = (CLCapabilityContext)constructor.Invoke(has);
        using var backend = new CLBackend(context, capabilities, CLDeviceVendor.Intel, new CLCVersion(3, 0));
        CompilerPasses.KeepOrder(backend);
        // Of the products' tiles and accesses one is enough: they differ in none of what they compute with.
        MethodInfo[] different =
        [
            .. kernels.Distinct().Where(kernel => !kernel.GetGenericArguments().Contains(typeof(LargeTile))
                && !kernel.GetGenericArguments().Contains(typeof(WideAccess))),
        ];
        Assert.NotEmpty(different);
        Assert.All(different, kernel => Assert.DoesNotContain(
            "double", ((CLCompiledKernel)CompilerPasses.Compile(backend, kernel)).Source, StringComparison.Ordinal));
    }
}
