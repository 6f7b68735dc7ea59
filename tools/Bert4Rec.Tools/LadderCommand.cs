using System.CommandLine;
using System.Text;
using Bert4Rec.Cli.Options;
using Bert4Rec.Cli.Output;
using Bert4Rec.Kernels.Gpu.Emulator;
using Bert4Rec.Kernels.Gpu.Ladder;
using Bert4Rec.Kernels.Gpu.Runtime;
using Bert4Rec.Serialization;
using ILGPU;
using ILGPU.Runtime;

namespace Bert4Rec.Tools;

/// <summary><c>ladder</c>: counts what each step of the ladder does, on the emulator, and writes the page about it.</summary>
internal static class LadderCommand
{
    /// <summary>Sizes with about as many groups of the larger tiles as an A100 has multiprocessors.</summary>
    private const int Rows = 640, Depth = 256, SoftmaxRows = 2048, SoftmaxColumns = 512, Positions = 832;

    private static readonly GpuModel s_a100 = GpuModel.All.First(model => model.Name == "A100");

    public static Command Create(Terminal terminal)
    {
        var output = CommonOptions.Output("The file to write.", "FILE");
        output.DefaultValueFactory = _ => Path.Combine("docs", "ladder.md");
        var command = new Command("ladder", "Writes what each step of kernels/Gpu/Ladder does.") { output };
        command.SetAction(parsed =>
        {
            var progress = new ProgressReporter(terminal);
            string page = Document(progress);
            progress.Clear();
            OutputFile.WriteText(parsed.GetRequiredValue(output), page);
        });
        return command;
    }

    private static string Document(ProgressReporter progress)
    {
        var text = new StringBuilder();
        text.Append(
            $"""
            # A ladder to the kernels

            The kernels of [kernels/Gpu](../kernels/Gpu) have many ideas in one place. Here they come one at a time: each step computes the
            same as the one before it, is a page of [kernels/Gpu/Ladder](../kernels/Gpu/Ladder), and begins with what it changes and why. No
            model uses them. The tests run each step beside the formula (`LadderTests`), on the emulator of CUDA devices, which would find
            a race. Written by

                dotnet run -c Release --project tools/Bert4Rec.Tools -- ladder

            The emulator counts; nothing of this was measured on a GPU.

            - sectors: of 32 bytes, for a load or store of a warp in global memory. 4 are what 32 floats side by side take, 16 what 32
              float4s take; a float that all want is 1.
            - shared: turns of shared memory for a multiply-add of a warp, or, where there is no product, all of them; conflicts are those
              that different places in one bank cost.
            - arithmetic: float32's share of the instructions, a multiply-add as one; those of tensor cores are not in it.
            - A100: the time that it takes there at least, in microseconds, and by what: memory, sectors that the first cache hands out,
              float32 arithmetic, shared memory, cores for tensors, issue of instructions, launches (docs/gpu-kernels.md). No step
              reaches it; how near one comes depends on how well it hides waiting, which is not counted.


            """);
        int all = Ladder.Products.Count + Ladder.Softmaxes.Count + Ladder.Attentions.Count, done = 0;
        Append(
            $"The product, [{Rows}, {Depth}] · [{Depth}, {Rows}]", Ladder.Products, [Rows * Depth, Depth * Rows, Rows * Rows],
            views => new MatrixProduct(views[0], views[1], views[2], Rows, Rows, Depth));
        Append(
            $"Softmax of {SoftmaxRows} rows of {SoftmaxColumns}", Ladder.Softmaxes,
            [SoftmaxRows * SoftmaxColumns, SoftmaxRows * SoftmaxColumns],
            views => new RowSoftmax(views[0], views[1], SoftmaxRows, SoftmaxColumns));
        const int head = Positions * SingleHead.Width;
        Append(
            $"Attention, {Positions} positions, one head of {SingleHead.Width}", Ladder.Attentions,
            [head, head, head, head, Positions * Positions],
            views => new SingleHead(views[0], views[1], views[2], views[3], views[4], Positions));
        return text.ToString();

        void Append<TProblem>(
            string title, IReadOnlyList<LadderStep<TProblem>> steps, int[] lengths, Func<ArrayView<float>[], TProblem> problem)
        {
            text.AppendLine($"## {title}");
            text.AppendLine();
            text.AppendLine("| step | idea | launches | groups | sectors | shared | conflicts | arithmetic | A100, us |");
            text.AppendLine("|---|---|---:|---:|---:|---:|---:|---:|---|");
            foreach (var step in steps)
            {
                progress.Report(new("counting the ladder", done++, all, "steps"));
                text.AppendLine($"| [{step.Name}](../kernels/Gpu/Ladder/{step.Name}.cs) | {step.Idea} | {Count(step, lengths, problem)} |");
            }
            text.AppendLine();
        }
    }

    private static string Count<TProblem>(LadderStep<TProblem> step, int[] lengths, Func<ArrayView<float>[], TProblem> problem)
    {
        using var device = GpuDevices.OpenPtx(GpuDevices.Emulator, multiprocessors: TrainingStep.Multiprocessors);
        var random = new Random(1);
        var memory = lengths.Select(length => device.Allocate<float>(length)).ToArray();
        foreach (var (buffer, length) in memory.Zip(lengths))
            buffer.View.CopyFromCPU([.. Enumerable.Range(0, length).Select(_ => random.NextSingle())]);
        step.Launch(device, problem([.. memory.Select(buffer => buffer.View.BaseView)]));
        device.FinishCompute();
        IReadOnlyList<KernelCounts> counts = [.. device.Ptx!.Emulator.Counts];
        foreach (var buffer in memory)
            device.Free(buffer);

        long Sum(Func<KernelCounts, long> of) => counts.Sum(of);
        var estimates = counts.Select(kernel => s_a100.Estimate([kernel])).ToArray();
        long products = Sum(kernel => kernel.FloatOperations) / 64, wavefronts = Sum(kernel => kernel.SharedWavefronts);
        return string.Join(" | ", [
            $"{Sum(kernel => kernel.Launches)}",
            string.Join(", ", counts.Select(kernel => $"{kernel.Groups:N0}")),
            $"{(double)Sum(kernel => kernel.GlobalSectors) / Sum(kernel => kernel.GlobalRequests):F1}",
            $"{(double)wavefronts / products:F2}",
            $"{100.0 * Sum(kernel => kernel.BankConflicts) / Math.Max(1, wavefronts):F0}%",
            $"{100.0 * Sum(kernel => kernel.FloatInstructions) / Sum(kernel => kernel.Instructions):F0}%",
            $"{estimates.Sum(each => each.Microseconds):F1}: {string.Join(", ", estimates.Select(each => each.Limit).Distinct())}",
        ]);
    }
}
