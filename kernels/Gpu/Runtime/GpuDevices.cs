using System.Runtime.InteropServices;
using System.Runtime.Loader;
using ILGPU;
using ILGPU.Runtime;
using ILGPU.Runtime.CPU;
using ILGPU.Runtime.Cuda;
using ILGPU.Runtime.OpenCL;

namespace Bert4Rec.Kernels.Gpu.Runtime;

/// <summary>An accelerator that was found.</summary>
/// <param name="Id">What --device calls it: "cuda:0", "opencl:1", "ilgpu-cpu".</param>
/// <param name="Name">The vendor's name.</param>
/// <param name="MemoryBytes">Its memory; null where it has none of its own.</param>
/// <param name="ComputeCapability">Of a CUDA device, such as "8.0"; of an OpenCL device its version.</param>
/// <param name="Kernels">Which versions of the kernels it would use.</param>
/// <param name="Problem">Why it cannot be used, and what to do; null where it can.</param>
/// <param name="IsGpu">Not a processor.</param>
public sealed record GpuDeviceInfo(
    string Id, string Name, long? MemoryBytes, string? ComputeCapability, string Kernels, string? Problem, bool IsGpu);

/// <summary>What ILGPU finds on this machine.</summary>
public static class GpuDevices
{
    /// <summary>What --device calls ILGPU's own simulator.</summary>
    public const string Simulator = "ilgpu-cpu";

    /// <summary>What --device calls the emulator of CUDA devices: "ptx", which is sm_80, or "ptx:90" and the like.</summary>
    public const string Emulator = "ptx";

    /// <summary>Threads of a warp, and warps, of the simulator: as few as still make groups of several warps.</summary>
    private const int SimulatorWarp = 8, SimulatorWarps = 2;

    /// <summary>The driver libraries as ILGPU looks for them.</summary>
    private static readonly (string Kind, string[] Libraries)[] Drivers =
    [
        ("cuda", OperatingSystem.IsWindows() ? ["nvcuda.dll"] : ["libcuda.so", "libcuda.so.1"]),
        (
            "opencl",
            OperatingSystem.IsWindows() ? ["OpenCL.dll"]
                : OperatingSystem.IsMacOS() ? ["/System/Library/Frameworks/OpenCL.framework/OpenCL"]
                : ["libOpenCL.so", "libOpenCL.so.1"]),
    ];

    /// <summary>
    /// ILGPU loads libraries by the names that only development packages have; the drivers' own names are others.
    /// </summary>
    static GpuDevices() => AssemblyLoadContext.Default.ResolvingUnmanagedDll += (assembly, name) =>
        assembly == typeof(Context).Assembly && name is "cuda" or "OpenCL" && NativeLibrary.TryLoad($"lib{name}.so.1", out nint library)
            ? library : 0;

    /// <summary>A sentence for each kind of which there is no device: what was found, and what to install.</summary>
    public static IReadOnlyList<string> Missing() =>
        [.. new[] { "cuda", "opencl" }.Where(kind => List(kind).Count == 0).Select(Missing)];

    /// <summary>The accelerators by kind, in the order of their numbers.</summary>
    public static IReadOnlyList<GpuDeviceInfo> List() => [.. List("cuda"), .. List("opencl")];

    /// <summary>Opens "cuda", "cuda:1", "opencl", "opencl:1", "ilgpu-cpu", "ptx" or "ptx:90".</summary>
    /// <exception cref="DeviceException">There is no such device here, or it cannot run the kernels, or not in this precision.</exception>
    internal static GpuDevice Open(string device, Precision precision = Precision.Full, Action<Context.Builder>? configure = null)
    {
        if (device.Split(':')[0] == Emulator)
            return OpenPtx(device, precision);
        if (precision != Precision.Full && !device.StartsWith("cuda", StringComparison.Ordinal))
            throw DeviceException.NoTensorCores(device, precision);
        if (device == Simulator)
            return Open(NewContext(Simulator, configure), 0, Simulator, precision);
        string[] parts = device.Split(':');
        string kind = parts[0];
        int index = parts.Length > 1 ? int.Parse(parts[1]) : 0;
        var found = List(kind);
        if (found.Count == 0)
            throw new DeviceException($"{device}: {Missing(kind)}");
        if (index >= found.Count)
        {
            throw new DeviceException(
                $"{device}: there are {found.Count} of this kind, {string.Join(", ", found.Select(info => info.Id))}");
        }
        if (found[index].Problem is string problem)
            throw new DeviceException($"{device}: {problem}");
        return Open(NewContext(kind, configure), index, found[index].Id, precision);
    }

    /// <summary>ILGPU's simulator, which can run the reductions of either kind.</summary>
    internal static GpuDevice NewSimulator(bool usesWarps)
    {
        var context = NewContext(Simulator);
        return new GpuDevice(context, Devices(context, Simulator)[0], Simulator, usesWarps);
    }

    /// <summary>The emulator.</summary>
    /// <param name="id">"ptx" or "ptx:90".</param>
    /// <param name="precision">What products multiply in.</param>
    /// <param name="multiprocessors">What it says it has; null for few, as tests want.</param>
    internal static GpuDevice OpenPtx(string id, Precision precision = Precision.Full, int? multiprocessors = null)
    {
        var ptx = new PtxDevice(id, multiprocessors);
        if (precision != Precision.Full && !ptx.HasTensorCores)
            throw DeviceException.NoTensorCores(id, precision);
        var context = NewContext(Simulator);
        return new GpuDevice(context, Devices(context, Simulator)[0], id, precision: precision, ptx: ptx);
    }

    private static string Missing(string kind)
    {
        string found = HasDriver(kind) ? "its library is there, but reports no device" : $"{Libraries(kind)[0]} is not there";
        return kind == "cuda"
            ? $"no CUDA device: {found}. Install NVIDIA's driver, version 450 or newer"
            : $"no OpenCL device: {found}. Install the OpenCL runtime of the device's vendor and the loader (Debian: ocl-icd-opencl-dev)";
    }

    private static string[] Libraries(string kind) => Drivers.First(driver => driver.Kind == kind).Libraries;

    private static bool HasDriver(string kind) => Libraries(kind).Any(name =>
    {
        if (!NativeLibrary.TryLoad(name, out nint library))
            return false;
        NativeLibrary.Free(library);
        return true;
    });

    private static GpuDevice Open(Context context, int index, string id, Precision precision)
    {
        var device = Devices(context, id.Split(':')[0])[index];
        if (precision != Precision.Full && device is not CudaDevice { Architecture.Major: >= 8 })
        {
            context.Dispose();
            throw DeviceException.NoTensorCores(id, precision);
        }
        try
        {
            return new GpuDevice(context, device, id, precision: precision);
        }
        catch (Exception e) when (e is CapabilityNotSupportedException or CudaException or CLException or NotSupportedException
            or DllNotFoundException)
        {
            throw new DeviceException(
                $"{id}: the device was found but does not run the kernels: {e.Message}; try another --device, or cpu");
        }
    }

    private static List<GpuDeviceInfo> List(string kind)
    {
        if (!HasDriver(kind))
            return [];
        try
        {
            using var context = NewContext(kind);
            return [.. Devices(context, kind).Select((device, index) => Describe(device, $"{kind}:{index}"))];
        }
        catch (Exception e) when (e is CudaException or CLException or DllNotFoundException or TypeInitializationException
            or NotSupportedException)
        {
            return [];
        }
    }

    private static GpuDeviceInfo Describe(Device device, string id) => device switch
    {
        CudaDevice cuda => new(
            id, cuda.Name, cuda.MemorySize, $"{cuda.Architecture?.Major}.{cuda.Architecture?.Minor}", "warp shuffles", null, true),
        CLDevice opencl => new(
            id,
            opencl.Name,
            opencl.MemorySize,
            $"OpenCL C {VersionOf(opencl)}",
            "shared memory",
            opencl.Capabilities.GenericAddressSpace
                ? null
                : $"{opencl.Name} has no generic address space (OpenCL C {VersionOf(opencl)}), which the kernels need; "
                    + "install a newer driver (for PoCL: 5.0 or newer)",
            opencl.DeviceType.HasFlag(CLDeviceType.CL_DEVICE_TYPE_GPU)),
        _ => throw new ArgumentException($"a device of the kind {device.AcceleratorType}", nameof(device)),
    };

    /// <summary>"1.2": ILGPU writes "CL1.2".</summary>
    private static string VersionOf(CLDevice device) => $"{device.CVersion.Major}.{device.CVersion.Minor}";

    /// <summary>Those of a kind: where it finds none, ILGPU adds a simulator of its own.</summary>
    private static Device[] Devices(Context context, string kind) => kind switch
    {
        "cuda" => [.. context.Devices.OfType<CudaDevice>()],
        "opencl" => [.. context.Devices.OfType<CLDevice>()],
        _ => [.. context.Devices.OfType<CPUDevice>()],
    };

    /// <summary>How kernels are compiled, everywhere.</summary>
    internal static void Configure(Context.Builder builder) =>
        builder.Optimize(OptimizationLevel.O2).Math(MathMode.Default).Inlining(InliningMode.Aggressive);

    private static Context NewContext(string kind, Action<Context.Builder>? configure = null) => Context.Create(builder =>
    {
        Configure(builder);
        configure?.Invoke(builder);
        if (kind == "cuda")
            builder.Cuda();
        else if (kind == "opencl")
            builder.OpenCL(_ => true);
        else
            builder.CPU(new CPUDevice(SimulatorWarp, SimulatorWarps, 1));
    });
}
