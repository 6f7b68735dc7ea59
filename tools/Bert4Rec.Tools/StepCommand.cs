using System.CommandLine;
using System.Diagnostics;
using Bert4Rec.Cli.Output;
using Bert4Rec.Kernels.Gpu.Emulator;
using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;
using ILGPU.Runtime;

namespace Bert4Rec.Tools;

/// <summary><c>step</c>: times every kernel of the steps of <see cref="TrainingStep.All"/> on a GPU, beside what counting says.</summary>
internal static class StepCommand
{
    /// <summary>Steps of which each launch's fastest counts.</summary>
    private const int Rounds = 20;

    /// <summary>Floats to fill before a step.</summary>
    private const long Ahead = 1L << 28;

    public static Command Create(Terminal terminal)
    {
        var device = new Option<string>("--device")
        {
            Description = "A GPU: cuda[:i] or opencl[:i].",
            HelpName = "DEVICE",
            DefaultValueFactory = _ => "cuda",
        };
        var only = new Option<string?>("--only") { Description = "Steps whose title has this in it.", HelpName = "TEXT" };
        var counts = new Option<bool>("--no-counts") { Description = "Only what was measured." };
        var command = new Command("step", "Times every kernel of some training steps on a GPU, beside the least time by counting.")
        {
            device, only, counts,
        };
        device.Validators.Add(result =>
        {
            if (result.GetValueOrDefault<string>()?.Split(':')[0] is not ("cuda" or "opencl"))
                result.AddError($"--device {result.GetValueOrDefault<string>()}: of a GPU, cuda[:i] or opencl[:i]");
        });
        command.SetAction(parsed =>
        {
            string wanted = parsed.GetValue(only) ?? "";
            TrainingStep[] steps = [.. TrainingStep.All.Where(step => step.Title.Contains(wanted, StringComparison.OrdinalIgnoreCase))];
            if (steps.Length == 0)
            {
                throw new InputException(
                    $"--only {wanted}: no step; there are {string.Join("; ", TrainingStep.All.Select(step => step.Title))}");
            }
            foreach (var step in steps)
                Measure(step, parsed.GetRequiredValue(device), !parsed.GetValue(counts), terminal);
        });
        return command;
    }

    private static void Measure(TrainingStep step, string id, bool counts, Terminal terminal)
    {
        using var device = GpuDevices.Open(id, step.Precision, builder => builder.Profiling());
        using var run = new StepRun(step, device);
        int masked = run.Mask();
        run.Learn(masked);
        double clock = Fastest(() =>
        {
            run.Learn(masked);
            device.FinishCompute();
        });
        var measured = Time(device, run, masked);
        var model = GpuModel.All.FirstOrDefault(model => device.Name.Contains(model.Name, StringComparison.Ordinal));
        var counted = counts && model is not null ? step.Count(device.Multiprocessors).Launches : [];
        terminal.Out.WriteLine(
            $"""
            ### {step.Title}: {run.Tokens:N0} tokens, {masked:N0} masked; {device.Name}

            | kernel | launches | groups | us | counted, us |
            |---|---:|---:|---:|---:|
            """);
        foreach (var kernel in measured.GroupBy(launch => launch.Kernel))
        {
            terminal.Out.WriteLine(
                $"| `{kernel.Key}` | {kernel.Count()} | {kernel.Average(launch => launch.Groups):N0} "
                + $"| {kernel.Sum(launch => launch.Microseconds):F1} | {Least(launch => launch.Kernel == kernel.Key)} |");
        }
        terminal.Out.WriteLine(
            $"""
            | all | {measured.Length} | | {measured.Sum(launch => launch.Microseconds):F1} | {Least(_ => true)} |

            By the clock, without the mask and without marks: {clock:F0} us.

            """);

        string Least(Func<KernelCounts, bool> wanted)
        {
            KernelCounts[] launches = [.. counted.Where(wanted)];
            if (launches.Length == 0)
                return "";
            var (microseconds, limit) = model!.Estimate(launches);
            return $"{microseconds:F1} {limit[0]}";
        }
    }

    /// <summary>Each launch of a step at its fastest.</summary>
    private static LaunchTime[] Time(GpuDevice device, StepRun run, int masked)
    {
        var timer = device.Timer = new();
        var ahead = device.Allocate<float>(Ahead);
        LaunchTime[]? fastest = null;
        for (int round = 0; round < Rounds; round++)
        {
            run.Mask();
            var mask = timer.Take();
            // While it works on this, the host launches most of the step.
            for (int i = 0; i < 8; i++)
                ahead.MemSetToZero(device.Compute);
            run.Learn(masked);
            LaunchTime[] launches = [.. mask, .. timer.Take()];
            fastest ??= launches;
            for (int i = 0; i < launches.Length; i++)
                fastest[i] = launches[i].Microseconds < fastest[i].Microseconds ? launches[i] : fastest[i];
        }
        device.Free(ahead);
        device.Timer = null;
        return fastest!;
    }

    private static double Fastest(Action action) => Enumerable.Range(0, Rounds).Min(_ =>
    {
        long start = Stopwatch.GetTimestamp();
        action();
        return Stopwatch.GetElapsedTime(start).TotalMicroseconds;
    });
}
