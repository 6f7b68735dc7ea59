using System.Collections.Concurrent;
using Bert4Rec.Kernels.Gpu;
using Bert4Rec.Tools;

namespace Bert4Rec.Tests.Kernels;

/// <summary>
/// Every kernel compiles for NVIDIA's devices; and where ptxas is there ($BERT4REC_PTXAS, or on the PATH), it assembles each of them
/// without a spill and without local memory, in registers that a group of its size can have, and the main loops are what they were written
/// to be.
/// </summary>
public class PtxTests
{
    private const int RegistersOfMultiprocessor = 65536;
    private const int SharedBytesOfGroup = 48 * 1024;
    private const string Tf32Instruction = "HMMA.1688.F32.TF32", Bf16Instruction = "HMMA.16816.F32.BF16";

    private static readonly ConcurrentDictionary<(int, int), Lazy<IReadOnlyList<(string Name, int GroupSize, string Ptx)>>> Compiled =
        new();

    public static TheoryData<int, int> Architectures => new() { { 7, 5 }, { 8, 0 }, { 8, 6 }, { 9, 0 } };

    /// <summary>
    /// But for inline assembly, whose operands ILGPU hands over in variables of local memory: ptxas turns them into registers, as the next
    /// test shows.
    /// </summary>
    [SkippableTheory]
    [MemberData(nameof(Architectures))]
    public void Every_kernel_compiles_to_PTX_without_local_memory(int major, int minor)
    {
        SkipSlow(major, minor);
        var kernels = Compile(major, minor).Where(kernel => !UsesTensorCores(kernel.Name));
        Assert.NotEmpty(kernels);
        Assert.All(kernels, kernel => Assert.False(
            kernel.Ptx.Contains(".local", StringComparison.Ordinal), $"{kernel.Name} keeps an array in local memory"));
    }

    /// <summary>Nobody has looked whether they may: ILGPU's analysis has not.</summary>
    [SkippableTheory]
    [MemberData(nameof(Architectures))]
    public void No_branch_promises_that_threads_stay_together(int major, int minor)
    {
        SkipSlow(major, minor);
        Assert.All(Compile(major, minor), kernel => Assert.DoesNotMatch(@"@!?%p\d+\s+bra\.uni", kernel.Ptx));
    }

    [SkippableTheory]
    [MemberData(nameof(Architectures))]
    public void Every_kernel_assembles_without_spills(int major, int minor)
    {
        string ptxas = Tool(Ptxas.Find());
        Assert.All(Compile(major, minor), kernel =>
        {
            var usage = Ptxas.Assemble(ptxas, kernel.Ptx, $"sm_{major}{minor}");
            Assert.Equal(0, usage.SpillBytes);
            Assert.Equal(0, usage.StackBytes);
            Assert.InRange(usage.Registers * kernel.GroupSize, 1, RegistersOfMultiprocessor);
            Assert.InRange(usage.SharedBytes, 0, SharedBytesOfGroup);
        });
    }

    /// <summary>
    /// Of the main loop of a product's large tiles, 85% of the instructions multiply, of small ones 70%; a float that is read from shared
    /// memory serves eight of them, or four; memory is read four floats at a time, a step before they are stored.
    /// </summary>
    [SkippableFact]
    public void Products_spend_their_time_multiplying()
    {
        string ptxas = Tool(Ptxas.Find()), disassembler = Tool(MachineCode.FindDisassembler());
        var products = Compile(8, 0).Where(kernel => kernel.Name.EndsWith("WideAccess, MultiplyAdds>", StringComparison.Ordinal)).ToList();
        Assert.NotEmpty(products);
        Assert.All(products, kernel =>
        {
            var loop = MachineCode.Of(disassembler, Ptxas.Assemble(ptxas, kernel.Ptx, "sm_80").Cubin).MainLoop;
            bool isSmall = kernel.Name.Contains(nameof(SmallTile), StringComparison.Ordinal);
            int multiplyAdds = loop.Count("FFMA"), reads = 4 * loop.Count("LDS.128");
            Assert.True(
                multiplyAdds >= (isSmall ? 0.7 : 0.85) * loop.Opcodes.Count, $"{kernel.Name}: {multiplyAdds} of {loop.Opcodes.Count}");
            Assert.True(multiplyAdds >= (isSmall ? 2 : 4) * reads, $"{kernel.Name}: {reads} floats read from shared memory");
            Assert.Equal(0, loop.Count("LDS"));
            Assert.InRange(loop.Count("LDG.E.128"), 1, 4);
            Assert.Equal(0, loop.Count("LDG.E"));
            var opcodes = loop.Opcodes.ToList();
            int store = opcodes.FindIndex(opcode => opcode.StartsWith("STS", StringComparison.Ordinal));
            Assert.True(store < opcodes.IndexOf("LDG.E.128"), $"{kernel.Name} loads what the same step stores");
        });
    }

    /// <summary>
    /// From sm_80 on: every instruction of the loop's 2 · 4 · 4, or 2 · 4 of a small tile, and no multiply-add beside them. In bfloat16
    /// a large tile's loop has as many steps, and half the instructions.
    /// </summary>
    [SkippableTheory]
    [InlineData(8, 0, nameof(Tf32Core), Tf32Instruction, 32, 8)]
    [InlineData(8, 6, nameof(Tf32Core), Tf32Instruction, 32, 8)]
    [InlineData(9, 0, nameof(Tf32Core), Tf32Instruction, 32, 8)]
    [InlineData(8, 0, nameof(Bf16Core), Bf16Instruction, 16, 8)]
    [InlineData(8, 6, nameof(Bf16Core), Bf16Instruction, 16, 8)]
    [InlineData(9, 0, nameof(Bf16Core), Bf16Instruction, 16, 8)]
    public void Products_are_multiplied_by_tensor_cores(int major, int minor, string core, string instruction, int large, int small)
    {
        string ptxas = Tool(Ptxas.Find()), disassembler = Tool(MachineCode.FindDisassembler());
        var products = Compile(major, minor).Where(kernel => kernel.Name.EndsWith($"<{core}>>", StringComparison.Ordinal)).ToList();
        Assert.Equal(
            Compile(major, minor).Count(kernel => kernel.Name.EndsWith("MultiplyAdds>", StringComparison.Ordinal)), products.Count);
        Assert.All(products.Where(kernel => kernel.Name.Contains("Wide", StringComparison.Ordinal)), kernel =>
        {
            var code = MachineCode.Of(disassembler, Ptxas.Assemble(ptxas, kernel.Ptx, $"sm_{major}{minor}").Cubin);
            var loop = code.InnerLoops.MaxBy(other => other.Count(instruction))!;
            int products = kernel.Name.Contains(nameof(SmallTile), StringComparison.Ordinal) ? small : large;
            Assert.Equal(products, loop.Count(instruction));
            Assert.Equal(products, code.Opcodes.Count(opcode => opcode == instruction));
            Assert.Equal(0, loop.Count("FFMA"));
        });
    }

    [SkippableFact]
    public void Devices_without_tensor_cores_have_no_kernels_for_them()
    {
        SkipSlow(7, 5);
        Assert.DoesNotContain(Compile(7, 5), kernel => UsesTensorCores(kernel.Name));
    }

    private static bool UsesTensorCores(string name) => name.Contains("TensorCoreProducts<", StringComparison.Ordinal);

    private static IReadOnlyList<(string Name, int GroupSize, string Ptx)> Compile(int major, int minor) =>
        Compiled.GetOrAdd((major, minor), key => new(() => [.. PtxKernels.Compile(key.Item1, key.Item2)])).Value;

    /// <summary>Others have more kernels and take ten seconds each; what differs between them is for ptxas to say.</summary>
    private static void SkipSlow(int major, int minor) => Skip.If(
        (major, minor) != (7, 5) && Ptxas.Find() is null,
        "without ptxas kernels are compiled for one architecture only; set BERT4REC_PTXAS to the path of ptxas");

    private static string Tool(string? path)
    {
        Skip.If(path is null, "ptxas and nvdisasm are not there; set BERT4REC_PTXAS to the path of ptxas");
        return path!;
    }
}
