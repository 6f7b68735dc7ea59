using Bert4Rec.Kernels.Gpu;

namespace Bert4Rec.Tests.Kernels;

/// <summary>
/// Every kernel compiles for NVIDIA's devices; and where ptxas is there ($BERT4REC_PTXAS, or on the PATH), it assembles each of them without
/// a spill and without local memory, in registers that a group of its size can have.
/// </summary>
public class PtxTests
{
    private const int RegistersOfMultiprocessor = 65536;
    private const int SharedBytesOfGroup = 48 * 1024;

    public static TheoryData<int, int> Architectures => new() { { 7, 5 }, { 8, 0 }, { 8, 6 }, { 9, 0 } };

    [Theory]
    [MemberData(nameof(Architectures))]
    public void Every_kernel_compiles_to_PTX_without_local_memory(int major, int minor)
    {
        var kernels = PtxCompiler.Compile(major, minor).ToList();
        Assert.NotEmpty(kernels);
        Assert.All(kernels, kernel => Assert.False(
            kernel.Ptx.Contains(".local", StringComparison.Ordinal), $"{kernel.Name} keeps an array in local memory"));
    }

    [SkippableTheory]
    [MemberData(nameof(Architectures))]
    public void Every_kernel_assembles_without_spills(int major, int minor)
    {
        string? ptxas = Ptxas.Find();
        Skip.If(ptxas is null, "ptxas is not there; set BERT4REC_PTXAS to its path");
        Assert.All(PtxCompiler.Compile(major, minor), kernel =>
        {
            var usage = Ptxas.Assemble(ptxas!, kernel.Ptx, $"sm_{major}{minor}");
            Assert.Equal(0, usage.SpillBytes);
            Assert.Equal(0, usage.StackBytes);
            Assert.InRange(usage.Registers * kernel.GroupSize, 1, RegistersOfMultiprocessor);
            Assert.InRange(usage.SharedBytes, 0, SharedBytesOfGroup);
        });
    }
}
