using System.CommandLine;
using System.Diagnostics;
using Bert4Rec.Cli.Output;
using Bert4Rec.Kernels.Gpu;
using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;
using ILGPU.Algorithms;
using ILGPU.Algorithms.RadixSortOperations;
using ILGPU.Algorithms.ScanReduceOperations;
using ILGPU.Runtime;

namespace Bert4Rec.Tools;

/// <summary>
/// <c>algorithms</c>: our sort, prefix sums, reductions and functions beside those of ILGPU.Algorithms on a device: whether the results are
/// right, and how long they take.
/// </summary>
internal static class AlgorithmsCommand
{
    /// <summary>Sums of one thread, so that the reduction is not lost beside the launch.</summary>
    private const int Repeats = 8;

    private const string Architecture = "sm_80";

    public static Command Create(Terminal terminal)
    {
        var device = new Option<string>("--device")
        {
            Description = "What computes.",
            HelpName = "cuda[:i]|opencl[:i]|ilgpu-cpu",
            DefaultValueFactory = _ => GpuDevices.Simulator,
        };
        var length = new Option<int>("--length") { Description = "Elements.", HelpName = "N", DefaultValueFactory = _ => 2000 };
        var rounds = new Option<int>("--rounds")
        {
            Description = "Times to measure; the best counts.",
            HelpName = "N",
            DefaultValueFactory = _ => 5,
        };
        var command = new Command("algorithms", "Compares the GPU's building blocks with those of ILGPU.Algorithms.")
        {
            device, length, rounds,
        };
        command.SetAction(parsed =>
        {
            using var gpu = GpuDevices.Open(parsed.GetRequiredValue(device), configure: builder => builder.EnableAlgorithms());
            var comparison = new Comparison(gpu, parsed.GetValue(length), parsed.GetValue(rounds), terminal.Out);
            terminal.Out.WriteLine($"{gpu.Name}, {parsed.GetValue(length):N0} elements");
            terminal.Out.WriteLine();
            terminal.Out.WriteLine("| | ours | ILGPU.Algorithms |");
            terminal.Out.WriteLine("|---|---:|---:|");
            comparison.Sort();
            comparison.Scan();
            comparison.Reduce();
            comparison.Functions();
            CompareMachineCode(terminal.Out);
        });
        return command;
    }

    /// <summary>Instructions and registers on <see cref="Architecture"/>, where ptxas and nvdisasm are there.</summary>
    private static void CompareMachineCode(TextWriter output)
    {
        if (Ptxas.Find() is not { } ptxas || MachineCode.FindDisassembler() is not { } disassembler)
            return;
        output.WriteLine();
        output.WriteLine($"| {Architecture} | ours | ILGPU.Algorithms |");
        output.WriteLine("|---|---:|---:|");
        output.WriteLine($"| sum over a group | {Describe(ReduceKernel<WarpReduction>)} | {Describe(LibraryReduceKernel)} |");
        output.WriteLine($"| exp | {Describe(ExpKernel)} | {Describe(LibraryExpKernel)} |");
        output.WriteLine($"| log | {Describe(LogKernel)} | {Describe(LibraryLogKernel)} |");

        string Describe(Action<Arrays> kernel)
        {
            var (major, minor) = Multiprocessor.All.Single(other => other.Architecture == Architecture).Capability;
            using var compiler = new PtxCompiler(major, minor, builder => builder.EnableAlgorithms());
            var usage = Ptxas.Assemble(ptxas, compiler.Compile(kernel.Method), Architecture);
            return $"{MachineCode.Of(disassembler, usage.Cubin).Opcodes.Count} instructions, {usage.Registers} registers";
        }
    }

    private sealed class Comparison(GpuDevice device, int length, int rounds, TextWriter output)
    {
        private readonly Random _random = new(1);

        /// <summary>Rows in the order of their keys, below 100,000 as an item table's are.</summary>
        public void Sort()
        {
            const int KeyEnd = 100_000;
            int[] keys = [.. Enumerable.Range(0, length).Select(_ => _random.Next(KeyEnd))];
            int[] expected = [.. Enumerable.Range(0, length).OrderBy(row => keys[row])];
            using var source = device.Accelerator.Allocate1D(keys);
            using var sorted = device.Accelerator.Allocate1D<int>(length);
            using var order = device.Accelerator.Allocate1D<int>(length);
            using var rows = device.Accelerator.Allocate1D([.. Enumerable.Range(0, length)]);
            var ours = new RadixSort(device, new(device));
            using var work = device.Accelerator.Allocate1D<int>(ours.WorkLength(length));
            ArrayView<int> result = default;
            Compare(
                "stable sort of rows by key",
                () => () => result = ours.Sort(device.Compute, new(source.View.BaseView, default, KeyEnd), KeyEnd, work.View.BaseView),
                () =>
                {
                    var sort = device.Accelerator.CreateRadixSortPairs<int, Stride1D.Dense, int, Stride1D.Dense, AscendingInt32>();
                    var temporary = device.Accelerator.Allocate1D<int>(
                        device.Accelerator.ComputeRadixSortPairsTempStorageSize<int, int, AscendingInt32>(length));
                    return () =>
                    {
                        sorted.View.CopyFrom(device.Compute, source.View);
                        order.View.CopyFrom(device.Compute, rows.View);
                        sort(device.Compute, sorted.View, order.View, temporary.View);
                        result = order.View.BaseView;
                    };
                },
                () => Read(result).SequenceEqual(expected) ? null : "another order");
        }

        /// <summary>Exclusive prefix sums of counts.</summary>
        public void Scan()
        {
            int[] counts = [.. Enumerable.Range(0, length).Select(_ => _random.Next(10))];
            int sum = 0;
            int[] expected = [.. counts.Select(count => (sum += count) - count)];
            using var source = device.Accelerator.Allocate1D(counts);
            using var result = device.Accelerator.Allocate1D<int>(length);
            var ours = new PrefixSum(device);
            using var work = device.Accelerator.Allocate1D<int>(ours.WorkLength(length));
            Compare(
                "exclusive prefix sums",
                () => () =>
                {
                    result.View.CopyFrom(device.Compute, source.View);
                    ours.Scan(device.Compute, result.View.BaseView, work.View.BaseView);
                },
                () =>
                {
                    var scan = device.Accelerator.CreateScan<int, Stride1D.Dense, Stride1D.Dense, AddInt32>(ScanKind.Exclusive);
                    var temporary = device.Accelerator.Allocate1D<int>(
                        device.Accelerator.ComputeScanTempStorageSize<int>(length).ToIntIndex());
                    return () => scan(device.Compute, source.View, result.View, temporary.View);
                },
                () => Read(result.View.BaseView).SequenceEqual(expected) ? null : "wrong sums");
        }

        /// <summary>The sum of a group's values, for each of its threads.</summary>
        public void Reduce()
        {
            int groups = Math.Max(1, length / device.GroupSize);
            float[] x = [.. Enumerable.Range(0, groups * device.GroupSize).Select(_ => (float)_random.Next(100))];
            float[] expected = [.. x.Chunk(device.GroupSize).SelectMany(group => Enumerable.Repeat(Repeats * group.Sum(), group.Length))];
            using var source = device.Accelerator.Allocate1D(x);
            using var result = device.Accelerator.Allocate1D<float>(x.Length);
            var arguments = new Arrays(source.View.BaseView, result.View.BaseView);
            Compare(
                "sum over a group",
                () => Launcher(device.UsesWarps ? ReduceKernel<WarpReduction> : ReduceKernel<SharedReduction>, groups, arguments),
                () => Launcher(LibraryReduceKernel, groups, arguments),
                () => Read(result.View.BaseView).SequenceEqual(expected) ? null : "wrong sums");
        }

        public void Functions()
        {
            Function("exp", ExpKernel, LibraryExpKernel, Math.Exp, () => ((float)_random.NextDouble() - 0.5f) * 40);
            Function("log", LogKernel, LibraryLogKernel, Math.Log, () => (float)_random.NextDouble() * 40 + 1e-3f);
        }

        private void Function(string name, Action<Arrays> ours, Action<Arrays> theirs, Func<double, double> exact, Func<float> next)
        {
            float[] x = [.. Enumerable.Range(0, length).Select(_ => next())];
            using var source = device.Accelerator.Allocate1D(x);
            using var result = device.Accelerator.Allocate1D<float>(length);
            var arguments = new Arrays(source.View.BaseView, result.View.BaseView);
            int groups = device.GroupsFor(length);
            Compare(name, () => Launcher(ours, groups, arguments), () => Launcher(theirs, groups, arguments), () =>
            {
                float[] y = Read(result.View.BaseView);
                return $"{Enumerable.Range(0, length).Max(i => Ulps(y[i], exact(x[i]))):F1} ulp";
            });
        }

        private Action Launcher(Action<Arrays> kernel, int groups, Arrays arguments)
        {
            var loaded = device.Load(kernel, device.GroupSize);
            return () => loaded.Launch(groups, arguments);
        }

        private static double Ulps(float y, double expected)
        {
            float magnitude = MathF.Abs((float)expected);
            return Math.Abs(y - expected) / (MathF.BitIncrement(magnitude) - magnitude);
        }

        /// <summary>Prepares and runs both, then measures them in turns.</summary>
        private void Compare(string name, Func<Action> ours, Func<Action> theirs, Func<string?> check)
        {
            Side[] sides = [Try(ours, check), Try(theirs, check)];
            for (int round = 0; round < rounds; round++)
            {
                foreach (var side in sides.Where(side => side.Run is not null))
                {
                    var clock = Stopwatch.StartNew();
                    side.Run!();
                    device.Compute.Synchronize();
                    side.Seconds = Math.Min(side.Seconds, clock.Elapsed.TotalSeconds);
                }
            }
            output.WriteLine($"| {name} | {sides[0]} | {sides[1]} |");
        }

        private Side Try(Func<Action> prepare, Func<string?> check)
        {
            try
            {
                var run = prepare();
                run();
                device.Compute.Synchronize();
                return new Side { Run = run, Note = check() };
            }
            catch (Exception e) when (e is not OutOfMemoryException)
            {
                return new Side { Note = $"{e.GetType().Name}: {Terminal.OneLine((e.InnerException ?? e).Message)}" };
            }
        }

        private T[] Read<T>(ArrayView<T> view)
            where T : unmanaged
        {
            var values = new T[view.Length];
            view.CopyToCPU(device.Compute, values);
            device.Compute.Synchronize();
            return values;
        }
    }

    /// <summary>One of the two that are compared.</summary>
    private sealed class Side
    {
        /// <summary>Null where it fails.</summary>
        public Action? Run { get; init; }

        public string? Note { get; init; }

        public double Seconds { get; set; } = double.PositiveInfinity;

        public override string ToString() =>
            string.Join(", ", new[] { Run is null ? null : $"{1e3 * Seconds:F3} ms", Note }.OfType<string>());
    }

    private static void ReduceKernel<R>(Arrays a)
        where R : struct, IGroupReduction
    {
        var shared = SharedMemory.Allocate<float>(GpuDevice.LargestGroup);
        float x = a.X[Grid.GlobalLinearIndex], sum = 0;
        for (int i = 0; i < Repeats; i++)
            sum += default(R).Reduce<float, Sum>(x, Group.DimX, shared);
        a.Y[Grid.GlobalLinearIndex] = sum;
    }

    private static void LibraryReduceKernel(Arrays a)
    {
        float x = a.X[Grid.GlobalLinearIndex], sum = 0;
        for (int i = 0; i < Repeats; i++)
        {
            sum += GroupExtensions.AllReduce<float, AddFloat>(x);
            Group.Barrier();
        }
        a.Y[Grid.GlobalLinearIndex] = sum;
    }

    private static void ExpKernel(Arrays a)
    {
        for (long i = Grid.GlobalLinearIndex; i < a.X.Length; i += (long)Grid.DimX * Group.DimX)
            a.Y[i] = DeviceMath.Exp(a.X[i]);
    }

    private static void LibraryExpKernel(Arrays a)
    {
        for (long i = Grid.GlobalLinearIndex; i < a.X.Length; i += (long)Grid.DimX * Group.DimX)
            a.Y[i] = XMath.Exp(a.X[i]);
    }

    private static void LogKernel(Arrays a)
    {
        for (long i = Grid.GlobalLinearIndex; i < a.X.Length; i += (long)Grid.DimX * Group.DimX)
            a.Y[i] = DeviceMath.Log(a.X[i]);
    }

    private static void LibraryLogKernel(Arrays a)
    {
        for (long i = Grid.GlobalLinearIndex; i < a.X.Length; i += (long)Grid.DimX * Group.DimX)
            a.Y[i] = XMath.Log(a.X[i]);
    }

    internal readonly record struct Arrays(ArrayView<float> X, ArrayView<float> Y);
}
