using System.CommandLine;
using System.Text;
using Bert4Rec.Cli.Options;
using Bert4Rec.Cli.Output;
using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Gpu.Emulator;
using Bert4Rec.Serialization;

namespace Bert4Rec.Tools;

/// <summary>
/// <c>ptx</c>: writes what NVIDIA's assembler makes of every kernel, for each architecture: registers, shared memory, theoretical
/// occupancy, and what the main loops consist of.
/// </summary>
internal static class PtxCommand
{
    /// <summary>The architecture whose machine code is looked into.</summary>
    private const string LoopArchitecture = "sm_80";

    /// <summary>Its place in <see cref="Multiprocessor.All"/>.</summary>
    private static readonly int s_loopIndex =
        Multiprocessor.All.ToList().FindIndex(multiprocessor => multiprocessor.Architecture == LoopArchitecture);

    public static Command Create(Terminal terminal)
    {
        var output = CommonOptions.Output("The file to write.", "FILE");
        output.DefaultValueFactory = _ => Path.Combine("docs", "gpu-kernels.md");
        var command = new Command(
            "ptx", "Writes what ptxas ($BERT4REC_PTXAS, or on the PATH; nvdisasm beside it) makes of every GPU kernel.")
        {
            output,
        };
        command.SetAction(parsed =>
        {
            string ptxas = Ptxas.Find()
                ?? throw new InputException("ptxas is not there: put it on the PATH, or its path into BERT4REC_PTXAS");
            string disassembler = MachineCode.FindDisassembler()
                ?? throw new InputException($"nvdisasm is not there: put it beside {ptxas}");
            var progress = new ProgressReporter(terminal);
            Row[] rows = Assemble(ptxas, progress);
            var steps = new List<CountedStep>();
            foreach (var step in TrainingStep.All)
            {
                progress.Report(new("counting training steps", steps.Count, TrainingStep.All.Count, "steps"));
                steps.Add(step.Count());
            }
            progress.Clear();
            OutputFile.WriteText(parsed.GetRequiredValue(output), Document(VersionOf(ptxas), rows, disassembler, steps));
        });
        return command;
    }

    /// <summary>A row a kernel, with what it takes on each of <see cref="Multiprocessor.All"/>.</summary>
    private static Row[] Assemble(string ptxas, ProgressReporter progress)
    {
        var usages = new Dictionary<(string Name, int Threads), List<PtxasUsage?>>();
        var order = new List<(string Name, int Threads)>();
        for (int i = 0; i < Multiprocessor.All.Count; i++)
        {
            var multiprocessor = Multiprocessor.All[i];
            var (major, minor) = multiprocessor.Capability;
            int done = 0;
            foreach (var (name, threads, ptx) in PtxKernels.Compile(major, minor))
            {
                if (!usages.TryGetValue((name, threads), out var list))
                {
                    usages[(name, threads)] = list = [];
                    order.Add((name, threads));
                }
                // A kernel that earlier architectures do not have.
                while (list.Count < i)
                    list.Add(null);
                list.Add(Ptxas.Assemble(ptxas, ptx, multiprocessor.Architecture));
                progress.Report(new($"assembling for {multiprocessor.Architecture}", ++done, 0, "kernels"));
            }
        }
        return [.. order.Select(kernel => new Row(kernel.Name, kernel.Threads, usages[kernel]))];
    }

    private static string Document(string version, Row[] rows, string disassembler, IReadOnlyList<CountedStep> steps)
    {
        var text = new StringBuilder();
        text.Append(
            $"""
            # What the GPU kernels take

            Every kernel of a CUDA device, compiled by ILGPU and assembled by ptxas ({version}) for four
            architectures. No kernel spills a register or has local memory, and tests hold the loops to what they are for. Written by

                dotnet run -c Release --project tools/Bert4Rec.Tools -- ptx

            which needs no GPU, but ptxas and nvdisasm on the PATH, or the path of ptxas in BERT4REC_PTXAS (`.ci/gpu` shows how to fetch
            them). `docs/kernels.md` explains the kernels.

            ## Registers, shared memory, occupancy

            Occupancy is theoretical: the warps of as many groups as fit on a multiprocessor, of the warps it has room for. The letter says
            what their number is limited by: t threads, g groups, r registers, s shared memory. Kernels that wait for memory need many
            warps, so that some always have something to do. The products need few: what covers a load there is the arithmetic of the
            thread's other 64 sums.

            | architecture | devices | warps | groups | shared memory |
            |---|---|---:|---:|---:|

            """);
        foreach (var multiprocessor in Multiprocessor.All)
        {
            text.AppendLine(
                $"| {multiprocessor.Architecture} | {multiprocessor.Devices} | {multiprocessor.Warps} | {multiprocessor.Groups} "
                + $"| {multiprocessor.SharedBytes >> 10} KB |");
        }
        text.Append(
            """

            All have 65,536 registers. Below: threads of a group, bytes of shared memory of a group, and for each architecture the
            registers of a thread and the occupancy.


            """);
        text.AppendLine($"| kernel | threads | shared | {string.Join(" | ", Multiprocessor.All.Select(m => m.Architecture))} |");
        text.AppendLine($"|---|---:|---:|{string.Concat(Multiprocessor.All.Select(_ => "---:|"))}");
        foreach (var row in rows)
        {
            text.AppendLine(
                $"| `{row.Name}` | {row.Threads} | {row.SharedBytes:N0} | {string.Join(" | ", Multiprocessor.All.Select(row.Describe))} |");
        }
        AppendLoops(text, rows, disassembler);
        AppendSteps(text, rows, steps);
        return text.ToString();
    }

    private static void AppendLoops(StringBuilder text, Row[] rows, string disassembler)
    {
        text.Append(
            $"""

            ## Main loops

            What the inner loops consist of on {LoopArchitecture}: FFMA is a multiply-add, LDS.128 and LDG.E.128 read four
            floats of shared and of global memory. A product has one loop, which goes BK = 8 steps along the K dimension (the
            small tile: 16); the cross-entropy is the products ReduceScores and DifferentiateScores. Attention forward has two,
            q · k and P · v; backward five: q · k, dO · v, dv, dk and dq. The variants for aligned operands are listed; the
            others read global memory a float at a time. With TensorCoreProducts, for `--precision tf32` and `bf16`, BK is 16
            (bf16's small tile: 32), and an HMMA is 1,024 multiply-adds of a warp, 32 of a thread, in bf16 twice as many; most
            of the other instructions round operands or move them into the registers that HMMA wants them in. sm_75 has neither
            TF32 nor bfloat16, and no such kernels.

            | kernel | FFMA | HMMA | LDS.128 | LDG.E.128 | all | share of FFMA or HMMA |
            |---|---:|---:|---:|---:|---:|---:|

            """);
        foreach (var row in rows.Where(row => row.Name.Contains("Wide", StringComparison.Ordinal)))
        {
            foreach (var loop in MachineCode.Of(disassembler, row.Usages[s_loopIndex]!.Cubin).InnerLoops)
            {
                int multiplyAdds = loop.Count("FFMA"), products = loop.Count("HMMA.1688.F32.TF32") + loop.Count("HMMA.16816.F32.BF16");
                // Others sum exponentials and the like.
                if (loop.Count("LDS.128") == 0)
                    continue;
                text.AppendLine(
                    $"| `{row.Name}` | {multiplyAdds} | {products} | {loop.Count("LDS.128")} | {loop.Count("LDG.E.128")} "
                    + $"| {loop.Opcodes.Count} | {100.0 * (multiplyAdds + products) / loop.Opcodes.Count:F1}% |");
            }
        }
    }

    private static void AppendSteps(StringBuilder text, Row[] rows, IReadOnlyList<CountedStep> steps)
    {
        text.Append(
            $"""

            ## Training steps, counted

            What a step has to do, counted by the emulator (`--device ptx`, {TrainingStep.Multiprocessors} multiprocessors) as it runs
            the PTX, and the time that it takes at least: by the bytes that the launches are the first to touch (m), float32 arithmetic (a),
            tensor cores (c), turns of shared memory (s), sectors of global memory, cached or not (g), instructions (i), or
            {GpuModel.LaunchMicroseconds} us a launch (l), whichever is longest. All multiprocessors share the memory; all else is done by
            those that have a group, and by those of the four parts of each that have a warp. Nothing waits for anything in it: no kernel
            is faster, and most are slower. `docs/performance.md` has what an H100 took,
            kernel by kernel.

            A request is a load or a store of a warp in global memory, 32 bytes a sector: 4 are enough for 32 floats side by side, 16 for
            32 float4s. Conflicts are turns of shared memory beyond those that the same accesses in different banks would take. Occupancy is
            that of an A100 while the launch runs: as many of its groups on each multiprocessor as there are, and as there is room for.

            Of configs/ecommerce.yaml, whose batches are large, {TrainingStep.MostPlaces} groups of a launch are run, spread over its
            grid (of a product that is split along K, as many tiles with all their parts), and counted for the others; bytes never for
            more than the memory that the kernel is given.


            """);
        foreach (var (step, tokens, masked, launches) in steps)
        {
            text.AppendLine(
                $"### {step.Title}: {tokens:N0} tokens, {masked:N0} masked, {step.Shape.ItemCount:N0} items");
            text.AppendLine();
            text.AppendLine(
                "| kernel | launches | groups | occupancy | MB | sectors a request | MFLOP | conflicts | branches that part | "
                + $"{string.Join(" | ", GpuModel.All.Select(model => $"{model.Name}, us"))} |");
            text.AppendLine($"|---|---:|---:|---:|---:|---:|---:|---:|---:|{string.Concat(GpuModel.All.Select(_ => "---:|"))}");
            KernelCounts[][] kernels = [.. launches.GroupBy(launch => launch.Kernel).Select(all => all.ToArray())];
            foreach (var all in kernels)
            {
                var kernel = KernelCounts.Of(all);
                text.AppendLine(
                    $"| `{kernel.Kernel}` | {kernel.Launches} | {kernel.Groups / kernel.Launches:N0} | {Occupancy(all)} "
                    + $"| {kernel.GlobalBytesTouched / 1e6:F2} | {Ratio(kernel.GlobalSectors, kernel.GlobalRequests):F1} "
                    + $"| {kernel.FloatOperations / 1e6:F1} "
                    + $"| {100 * Ratio(kernel.BankConflicts, kernel.SharedWavefronts):F0}% "
                    + $"| {100 * Ratio(kernel.DivergentBranches, kernel.Branches):F0}% "
                    + $"| {string.Join(" | ", GpuModel.All.Select(model => Describe(model, all)))} |");
            }
            double megabytes = launches.Sum(launch => launch.GlobalBytesTouched) / 1e6;
            double megaflops = launches.Sum(launch => launch.FloatOperations) / 1e6;
            var sums = GpuModel.All.Select(
                model => launches.Any(launch => IsMissing(model, launch)) ? "" : $"{model.Estimate(launches).Microseconds:F0}");
            text.AppendLine($"| all | {launches.Count} | | | {megabytes:F2} | | {megaflops:F1} | | | {string.Join(" | ", sums)} |");
            text.AppendLine();
        }

        // Before sm_80 there is neither TF32 nor bfloat16.
        bool IsMissing(GpuModel model, KernelCounts launch) => launch.TensorInstructions > 0 && model.TensorLanes == 0;

        string Describe(GpuModel model, KernelCounts[] all)
        {
            if (IsMissing(model, all[0]))
                return "";
            var (microseconds, limit) = model.Estimate(all);
            return $"{microseconds:F1} {limit[0]}";
        }

        string Occupancy(KernelCounts[] all)
        {
            var row = rows.FirstOrDefault(row => row.Name == all[0].Kernel && row.Threads == all[0].GroupSize);
            return row is null ? "" : $"{100 * all.Average(launch => row.Occupancy(launch.Groups)):F0}%";
        }

        double Ratio(long part, long whole) => whole == 0 ? 0 : (double)part / whole;
    }

    /// <summary>"release 11.8, V11.8.89"</summary>
    private static string VersionOf(string ptxas)
    {
        string text = Ptxas.Run("ptxas", ptxas, "--version");
        int start = text.IndexOf("release", StringComparison.Ordinal);
        return start < 0 ? "version unknown" : text[start..].Split('\n')[0].Trim();
    }

    /// <param name="Name">Of a kernel.</param>
    /// <param name="Threads">Of a group.</param>
    /// <param name="Usages">On each of <see cref="Multiprocessor.All"/>; null where it has no such kernel.</param>
    private sealed record Row(string Name, int Threads, IReadOnlyList<PtxasUsage?> Usages)
    {
        public int SharedBytes => Usages.Max(usage => usage?.SharedBytes ?? 0);

        /// <summary>While that many groups are spread over an A100.</summary>
        public double Occupancy(long groups)
        {
            var (multiprocessor, usage) = (Multiprocessor.All[s_loopIndex], Usages[s_loopIndex]!);
            var (most, _) = multiprocessor.GroupsOf(Threads, usage.Registers, usage.SharedBytes);
            double resident = Math.Min(1, (double)groups / TrainingStep.Multiprocessors / most);
            return resident * multiprocessor.OccupancyOf(Threads, usage.Registers, usage.SharedBytes);
        }

        /// <summary>"134, 19% r"</summary>
        public string Describe(Multiprocessor multiprocessor, int index)
        {
            if (index >= Usages.Count || Usages[index] is not { } usage)
                return "";
            var (_, limit) = multiprocessor.GroupsOf(Threads, usage.Registers, usage.SharedBytes);
            return $"{usage.Registers}, {100 * multiprocessor.OccupancyOf(Threads, usage.Registers, usage.SharedBytes):F0}% {limit[0]}";
        }
    }
}
