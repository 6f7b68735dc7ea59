using System.CommandLine;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Loggers;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.NoEmit;
using Bert4Rec.Cli.Output;
using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Gpu.Runtime;
using Bert4Rec.Model;
using Perfolizer.Horology;

namespace Bert4Rec.Benchmarks;

/// <summary><c>kernels</c>: every kernel by BenchmarkDotNet, beside what the machine can do.</summary>
internal static class KernelsCommand
{
    private const int CopiedFloats = 1 << 24;

    public static Command Create(Terminal terminal)
    {
        var command = new Command("kernels", "Times every kernel on the cpu, one thread, and on every GPU that is there.");
        command.SetAction(_ => Run(terminal));
        return command;
    }

    private static void Run(Terminal terminal)
    {
        KernelBenchmarks.Devices = ["cpu", .. GpuDevices.List().Where(device => device.Problem is null).Select(device => device.Id)];
        var job = Job.Default.WithToolchain(InProcessNoEmitToolchain.Instance)
            .WithWarmupCount(2).WithIterationCount(5).WithIterationTime(TimeInterval.FromMilliseconds(40)).WithUnrollFactor(1);
        string artifacts = Directory.CreateTempSubdirectory("bert4rec-").FullName;
        var config = ManualConfig.CreateEmpty().AddJob(job).AddLogger(NullLogger.Instance).WithArtifactsPath(artifacts)
            .WithOptions(ConfigOptions.DisableOptimizationsValidator | ConfigOptions.DisableLogFile);
        var summary = BenchmarkRunner.Run<KernelBenchmarks>(config);
        Directory.Delete(artifacts, recursive: true);

        var ceilings = KernelBenchmarks.Devices.ToDictionary(device => device, Measure);
        foreach (var group in summary.Reports.GroupBy(report => (
            Device: Parameter(report.BenchmarkCase, "Device"), Shape: Parameter(report.BenchmarkCase, "Shape"))))
        {
            var (product, copy) = ceilings[group.Key.Device];
            var shape = KernelWorkload.Shapes[group.Key.Shape];
            using var device = new DeviceSet(group.Key.Device, 1);
            using var workload = new KernelWorkload(device.Kernels[0], shape);
            terminal.Out.WriteLine(
                $"{device.Kernels[0].Name}{(group.Key.Device == "cpu" ? ", one thread" : "")}, {group.Key.Shape}: "
                + $"{shape.Tokens:N0} tokens in sequences of {shape.Length}, "
                + $"{shape.Masked} masked, {shape.Items:N0} items, hidden size {shape.Hidden}, inner {shape.Inner}. "
                + $"Ceilings: products {product:F0} GFLOP/s, copying {copy:F0} GB/s.");
            terminal.Out.WriteLine();
            terminal.Out.WriteLine("| kernel | median, µs | spread | GFLOP/s | GB/s | of the ceiling |");
            terminal.Out.WriteLine("|---|---:|---:|---:|---:|---:|");
            foreach (var report in group)
            {
                if (report.ResultStatistics is not { } time)
                    throw new InputException($"{Parameter(report.BenchmarkCase, "Kernel")}: not measured");
                var call = workload[Parameter(report.BenchmarkCase, "Kernel")];
                double speed = call.FloatingPointOperations / time.Median, bandwidth = call.Bytes / time.Median;
                terminal.Out.WriteLine(
                    $"| {Parameter(report.BenchmarkCase, "Kernel")} | {time.Median / 1e3:F1} | "
                    + $"±{100 * (time.Max - time.Min) / 2 / time.Median:F0}% | "
                    + $"{(speed > 0 ? $"{speed:F0}" : "")} | {bandwidth:F0} | {100 * Math.Max(speed / product, bandwidth / copy):F0}% |");
            }
            terminal.Out.WriteLine();
        }
    }

    private static string Parameter(BenchmarkCase benchmark, string name) => (string)benchmark.Parameters[name];

    /// <summary>Products in GFLOP/s and copies in GB/s, read and written bytes together: the best of some attempts.</summary>
    private static (double Product, double Copy) Measure(string id)
    {
        using var device = new DeviceSet(id, 1);
        var kernels = device.Kernels[0];
        using DeviceBuffer<float> from = kernels.AllocateFloats(CopiedFloats), to = kernels.AllocateFloats(CopiedFloats);
        using DeviceBuffer<float> one = kernels.AllocateFloats(1);
        Tensor source = Tensor.Of(from), target = Tensor.Of(to);
        double copy = 3.0 * sizeof(float) * CopiedFloats / Best(() => kernels.Add(target, source));
        if (id == "cpu")
        {
            using var workers = new Workers(1);
            return (Peak.Product(workers), copy / 1e9);
        }
        const int Side = 2048;
        Tensor Square(DeviceBuffer<float> buffer) => new(buffer, 0, Side, Side);
        using var result = kernels.AllocateFloats(Side * Side);
        double product = 2.0 * Side * Side * Side / Best(
            () => kernels.LinearForward(Square(from), new(Square(to), source.First(1) with { Columns = Side }), Square(result)));
        return (product / 1e9, copy / 1e9);

        double Best(Action action)
        {
            var value = new float[1];
            double best = double.PositiveInfinity;
            for (int attempt = 0; attempt < 10; attempt++)
            {
                long start = System.Diagnostics.Stopwatch.GetTimestamp();
                action();
                one.Download(value);
                best = Math.Min(best, System.Diagnostics.Stopwatch.GetElapsedTime(start).TotalSeconds);
            }
            return best;
        }
    }
}
