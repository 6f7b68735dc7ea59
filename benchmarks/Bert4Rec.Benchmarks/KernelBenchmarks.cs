using BenchmarkDotNet.Attributes;
using Bert4Rec.Model;

namespace Bert4Rec.Benchmarks;

/// <summary>Times one kernel at the shape of one of the configs' micro-batches.</summary>
public class KernelBenchmarks : IDisposable
{
    private DeviceSet? _device;
    private KernelWorkload? _workload;
    private Action _run = () => { };

    /// <summary>What <see cref="Device"/> takes; set before a run.</summary>
    public static IReadOnlyList<string> Devices { get; set; } = ["cpu"];

    public static IEnumerable<string> Shapes => KernelWorkload.Shapes.Keys;

    public static IEnumerable<string> Kernels { get; } = NamesOfKernels();

    [ParamsSource(nameof(Devices))]
    public string Device { get; set; } = "";

    [ParamsSource(nameof(Shapes))]
    public string Shape { get; set; } = "";

    [ParamsSource(nameof(Kernels))]
    public string Kernel { get; set; } = "";

    [GlobalSetup]
    public void Setup()
    {
        _device = new DeviceSet(Device, 1);
        _workload = new KernelWorkload(_device.Kernels[0], KernelWorkload.Shapes[Shape]);
        _run = _workload[Kernel].Run;
    }

    [GlobalCleanup]
    public void Dispose()
    {
        _workload?.Dispose();
        _device?.Dispose();
        GC.SuppressFinalize(this);
    }

    [Benchmark]
    public void Run()
    {
        _run();
        _workload!.Wait();
    }

    /// <summary>The same at every shape and on every device.</summary>
    private static string[] NamesOfKernels()
    {
        using var device = new DeviceSet("cpu", 1);
        using var workload = new KernelWorkload(device.Kernels[0], KernelWorkload.Shapes["sample"]);
        return [.. workload.Names];
    }
}
