using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Cpu;
using Bert4Rec.Kernels.Gpu;
using Bert4Rec.Kernels.Gpu.Runtime;

namespace Bert4Rec.Tests.Kernels;

/// <summary>The kernel sets that this machine can run: every test of a layer runs on all of them.</summary>
public static class Backends
{
    private static readonly Dictionary<string, Func<KernelSet>> Factories = new()
    {
        ["cpu-512"] = () => CpuKernels.Create(512),
        ["cpu-256"] = () => CpuKernels.Create(256),
        ["cpu-128"] = () => CpuKernels.Create(128),
        [GpuDevices.Simulator] = () => GpuKernels.Create(GpuDevices.Simulator),
    };

    static Backends()
    {
        foreach (string id in GpuDevices.List().Where(device => device.Problem is null).Select(device => device.Id))
            Factories[id] = () => GpuKernels.Create(id);
        // It takes minutes: .ci/gpu runs it.
        if (Environment.GetEnvironmentVariable("BERT4REC_PTX") is string ptx)
            Factories[ptx] = () => GpuKernels.Create(ptx);
    }

    public static IEnumerable<string> Names => Factories.Keys;

    /// <summary>Those of the GPU kernels, by the names that --device takes.</summary>
    public static IEnumerable<string> Gpus => Factories.Keys.Where(name => !name.StartsWith("cpu", StringComparison.Ordinal));

    public static TheoryData<string> All => [.. Factories.Keys];

    /// <summary>The backend whose results the <see cref="Others"/> are held against.</summary>
    public static string First => Factories.Keys.First();

    public static TheoryData<string> Others => [.. Factories.Keys.Skip(1)];

    /// <summary>The simulator with the reductions of CUDA devices, for the layers that reduce.</summary>
    public const string SimulatedWarps = "ilgpu-cpu with warps";

    /// <summary>The emulator with as many multiprocessors as a GPU has.</summary>
    public const string ManyMultiprocessors = "ptx with 60 multiprocessors";

    public static KernelSet Create(string name) => name switch
    {
        SimulatedWarps => new GpuKernels(GpuDevices.NewSimulator(usesWarps: true)),
        ManyMultiprocessors => new GpuKernels(GpuDevices.OpenPtx(GpuDevices.Emulator, multiprocessors: 60)),
        _ => Factories[name](),
    };

    /// <summary>Every backend with every case.</summary>
    public static TheoryData<string, T1, T2> Times<T1, T2>(params (T1, T2)[] cases)
    {
        var data = new TheoryData<string, T1, T2>();
        foreach (string name in Factories.Keys)
            foreach (var (first, second) in cases)
                data.Add(name, first, second);
        return data;
    }

    /// <inheritdoc cref="Times{T1, T2}"/>
    public static TheoryData<string, T1, T2, T3> Times<T1, T2, T3>(params (T1, T2, T3)[] cases)
    {
        var data = new TheoryData<string, T1, T2, T3>();
        foreach (string name in Factories.Keys)
            foreach (var (first, second, third) in cases)
                data.Add(name, first, second, third);
        return data;
    }

    /// <inheritdoc cref="Times{T1, T2}"/>
    public static TheoryData<string, T1, T2, T3, T4> Times<T1, T2, T3, T4>(params (T1, T2, T3, T4)[] cases)
    {
        var data = new TheoryData<string, T1, T2, T3, T4>();
        foreach (string name in Factories.Keys)
            foreach (var (first, second, third, fourth) in cases)
                data.Add(name, first, second, third, fourth);
        return data;
    }
}
