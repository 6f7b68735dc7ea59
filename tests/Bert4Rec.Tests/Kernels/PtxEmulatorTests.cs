using System.Runtime.InteropServices;
using Bert4Rec.Checking;
using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Gpu;
using Bert4Rec.Kernels.Gpu.Emulator;
using Bert4Rec.Kernels.Gpu.Runtime;

namespace Bert4Rec.Tests.Kernels;

/// <summary>The emulator of CUDA devices: it computes what PTX says, finds what is planted, and counts what it says it counts.</summary>
public class PtxEmulatorTests
{
    private const int Words = 256;

    /// <summary>%r1 is the thread, %rd1 global memory and %rd4 the thread's word of it, %rd5 and %rd6 the same in shared memory.</summary>
    private const string Prologue =
        """
        .visible .entry Kernel(
        	.param .align 8 .b8 _arguments[16]
        )
        {
        	.shared .align 16 .b8 buffer[1024];
        	ld.param.b64	%rd1, [_arguments];
        	ld.param.b32	%r9, [_arguments+8];
        	cvta.to.global.u64	%rd1, %rd1;
        	mov.b32	%r1, %tid.x;
        	mul.wide.u32	%rd3, %r1, 4;
        	add.u64	%rd4, %rd1, %rd3;
        	mov.b64	%rd5, buffer;
        	add.u64	%rd6, %rd5, %rd3;

        """;

    /// <summary>
    /// Each group stores 64 words of its own, counts itself in the last word of all, and then reads the words of the first group.
    /// </summary>
    private const string Store =
        "mov.b32 %r2, %ctaid.x; mul.wide.u32 %rd7, %r2, 256; add.u64 %rd8, %rd4, %rd7; st.global.b32 [%rd8], %r1; ";
    private const string Fence = "membar.gl; ";
    private const string Barrier = "bar.sync 0; ";
    private const string CountGroup = "setp.ne.s32 %p1, %r1, 0; @%p1 bra L_9; atom.add.global.u32 %r3, [%rd1+1020], 1;\nL_9:\n";
    private const string ReadFirst = "ld.global.b32 %r4, [%rd4];";

    /// <summary>What is wrong, the kernel, and what the message says.</summary>
    public static TheoryData<string, string, string> Wrong => new()
    {
        {
            "a race in a warp", "st.shared.b32 [%rd6], %r1; xor.b32 %r2, %r1, 1; mul.wide.u32 %rd7, %r2, 4; "
            + "add.u64 %rd7, %rd5, %rd7; ld.shared.b32 %r3, [%rd7];",
            "thread 0 of group (0, 0, 0) reads what thread 1 wrote since the last barrier in shared memory"
        },
        {
            "a missing barrier", "setp.ne.s32 %p1, %r1, 0; @%p1 bra L_1; st.shared.b32 [%rd5], 7;\nL_1:\nld.shared.b32 %r3, [%rd5];",
            "thread 1 of group (0, 0, 0) reads what thread 0 wrote"
        },
        {
            "a barrier too few before memory is used again",
            "ld.shared.b32 %r2, [%rd5]; setp.ne.s32 %p1, %r1, 40; @%p1 bra L_1; st.shared.b32 [%rd5], 7;\nL_1:",
            "thread 40 of group (0, 0, 0) writes what other threads read"
        },
        { "two writers", "st.shared.b32 [%rd5], 7;", "thread 1 of group (0, 0, 0) writes what thread 0 wrote" },
        {
            "an atomic's result", "red.add.shared.u32 [%rd5], 1; ld.shared.b32 %r2, [%rd5];",
            "reads what another thread, atomically, wrote"
        },
        {
            "two writers in global memory", "st.global.b32 [%rd1], 7;",
            "writes what thread 0 wrote since the last barrier in global memory"
        },
        { "two groups", "st.global.b32 [%rd4], 7;", "thread 0 of group (1, 0, 0) writes what another group wrote in global memory" },
        {
            "a group that reads another's", "ld.global.b32 %r2, [%rd4]; st.global.b32 [%rd4], %r2;",
            "of group (1, 0, 0) reads what another"
        },
        {
            "a group that counts itself before others can see what it stored",
            Store + Barrier + CountGroup + Barrier + Fence + ReadFirst, "of group (1, 0, 0) reads what another group wrote"
        },
        {
            "a group that counts itself before all its threads are done",
            Store + Fence + CountGroup + Barrier + Fence + ReadFirst, "of group (1, 0, 0) reads what another group wrote"
        },
        {
            "a group that stores behind its fence",
            Fence + Store + Barrier + CountGroup + Barrier + Fence + ReadFirst, "of group (1, 0, 0) reads what another group wrote"
        },
        {
            "a group that reads without waiting for its count",
            Store + Fence + Barrier + CountGroup + Fence + ReadFirst, "of group (1, 0, 0) reads what another group wrote"
        },
        {
            "a group that reads without a fence",
            Store + Fence + Barrier + CountGroup + Barrier + ReadFirst, "of group (1, 0, 0) reads what another group wrote"
        },
        {
            "a count that is overwritten", CountGroup + "@%p1 bra L_8; st.global.b32 [%rd1+1020], 0;\nL_8:",
            "writes what another thread, atomically, wrote"
        },
        { "global memory that was not given", "ld.global.b32 %r2, [%rd4+1024];", "accesses global memory outside the kernel's arguments" },
        { "global memory before it", "ld.global.b32 %r2, [%rd4+-4];", "thread 0 of group (0, 0, 0) accesses global memory outside" },
        {
            "shared memory that is not there", "ld.shared.b32 %r2, [%rd6+1000];",
            "thread 6 of group (0, 0, 0) accesses shared memory outside"
        },
        {
            "unaligned global memory", "ld.global.v4.f32 {%f1, %f2, %f3, %f4}, [%rd4];",
            "thread 1 of group (0, 0, 0) accesses global memory at"
        },
        { "unaligned shared memory", "ld.shared.v2.f32 {%f1, %f2}, [%rd6];", "accesses shared memory at no multiple of 8 bytes" },
        {
            "a barrier for some of a warp", "setp.lt.s32 %p1, %r1, 7; @%p1 bra L_1; bar.sync 0;\nL_1:",
            "comes to a barrier without thread 0"
        },
        {
            "a barrier for some warps", "setp.lt.s32 %p1, %r1, 32; @%p1 bra L_1; bar.sync 0;\nL_1:",
            "waits for thread 0, which has returned"
        },
        { "two barriers", "setp.lt.s32 %p1, %r1, 32; @%p1 bra L_1; bar.sync 0; ret;\nL_1:\nbar.sync 0;", "waits where thread 32 does not" },
        { "a branch that parts threads", "setp.lt.s32 %p1, %r1, 7; @%p1 bra.uni L_1;\nL_1:", "leaves thread 7 at a branch" },
        {
            "a shuffle of some lanes",
            "setp.lt.s32 %p1, %r1, 7; @%p1 bra L_1; shfl.sync.bfly.b32 %r2, %r1, 1, 31, 4294967295;\nL_1:",
            "is one of 25 lanes where all 32 must be"
        },
        {
            "a tensor core's operand",
            "mov.b32 %f1, 0f3F800001; mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f2, %f3, %f4, %f5}, {%f1, %f1, %f1, %f1}, "
            + "{%f1, %f1}, {%f1, %f1, %f1, %f1};",
            "multiplies what is not rounded to TF32"
        },
    };

    [Theory]
    [MemberData(nameof(Wrong))]
    public void What_is_wrong_is_said(string what, string body, string message)
    {
        string said = Assert.Throws<DeviceException>(() => Run(body, out _, groups: 2)).Message;
        Assert.True(said.Contains(message, StringComparison.Ordinal), $"{what}: {said}");
        Assert.StartsWith("Kernel: thread ", said, StringComparison.Ordinal);
        Assert.Contains("PTX line ", said, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("add.f64 %fd1, %fd2, %fd3;", "add.f64")]
    [InlineData("atom.max.global.u32 %r2, [%rd4], 1;", "atom.max.global.u32")]
    [InlineData("shfl.sync.down.b32 %r2, %r1, 1, 31, 4294967295;", "shfl.sync.down.b32")]
    [InlineData("ld.global.u8 %r2, [%rd4];", "u8")]
    [InlineData("mov.b32 %rd9, 1;", "%rd9 is no register of 32 bits")]
    public void An_unknown_instruction_is_named(string body, string name)
    {
        string message = Assert.Throws<DeviceException>(() => Run(body, out _)).Message;
        Assert.Contains(name, message, StringComparison.Ordinal);
        Assert.Contains("PTX line 14", message, StringComparison.Ordinal);
    }

    /// <summary>Thread t goes t % 5 times round a loop; every third one takes another way in it.</summary>
    [Fact]
    public void Lanes_that_part_meet_again()
    {
        int[] result = Run(
            """
            mov.b32 %r2, 0;
            mov.b32 %r3, 0;
            rem.s32 %r4, %r1, 5;
            rem.s32 %r5, %r1, 3;
            setp.eq.s32 %p2, %r5, 0;
            L_1:
            setp.ge.s32 %p1, %r2, %r4;
            @%p1 bra L_4;
            @%p2 bra L_2;
            add.s32 %r3, %r3, 1;
            bra L_3;
            L_2:
            add.s32 %r3, %r3, 100;
            L_3:
            add.s32 %r2, %r2, 1;
            bra L_1;
            L_4:
            shfl.sync.bfly.b32 %r6, %r3, 1, 31, 4294967295;
            bar.sync 0;
            st.global.b32 [%rd4], %r6;
            """,
            out var counts);
        for (int thread = 0; thread < 64; thread++)
            Assert.Equal((thread ^ 1) % 5 * ((thread ^ 1) % 3 == 0 ? 100 : 1), result[thread]);
        Assert.Equal(2, counts.Barriers);
        // Of a warp: four times some leave, and four times the others part.
        Assert.Equal(16, counts.DivergentBranches);
    }

    [Fact]
    public void Groups_may_meet_at_a_count()
    {
        int[] result = Run(Store + Fence + Barrier + CountGroup + Barrier + Fence + ReadFirst, out _, groups: 2);
        Assert.Equal(Enumerable.Range(0, 128).Select(i => i % 64), result[..128]);
        Assert.Equal(2, result[255]);
    }

    [Theory]
    [InlineData("mul.wide.u32 %rd7, %r1, 4;", 8, 0)]
    [InlineData("mul.wide.u32 %rd7, %r1, 8;", 16, 2)]
    [InlineData("mul.wide.u32 %rd7, %r9, 4;", 2, 0)]
    public void Sectors_and_bank_conflicts_are_counted(string place, int sectors, int conflicts)
    {
        Run(
            $"{place} add.u64 %rd8, %rd1, %rd7; ld.global.b32 %r2, [%rd8]; add.u64 %rd8, %rd5, %rd7; ld.shared.b32 %r2, [%rd8];",
            out var counts);
        Assert.Equal(2, counts.GlobalRequests);
        Assert.Equal(sectors, counts.GlobalSectors);
        Assert.Equal(256, counts.GlobalBytesLoaded);
        Assert.Equal(conflicts, counts.BankConflicts);
        Assert.Equal(2 + conflicts, counts.SharedWavefronts);
    }

    /// <summary>Of 3 groups 2 are run; all of them where they meet.</summary>
    [Theory]
    [InlineData(Store, 2)]
    [InlineData(Store + Fence + Barrier + CountGroup, 3)]
    public void Groups_that_are_not_run_are_counted(string body, int run)
    {
        int[] some = Run(body, out var ofSome, groups: 3, mostPlaces: 2), all = Run(body, out var ofAll, groups: 3);
        Assert.Equal(run, Enumerable.Range(0, 3).Count(group => some[(64 * group) + 5] != 0));
        Assert.Equal(3, Enumerable.Range(0, 3).Count(group => all[(64 * group) + 5] != 0));
        Assert.Equal(ofAll.ByOpcode, ofSome.ByOpcode);
        Assert.Equal(Counts(ofAll), Counts(ofSome));

        static long[] Counts(KernelCounts counts) =>
        [
            counts.Groups, counts.Barriers, counts.GlobalRequests, counts.GlobalSectors, counts.GlobalBytesStored,
            counts.GlobalBytesTouched,
        ];
    }

    /// <summary>Groups that read the same: memory moves it once.</summary>
    [Fact]
    public void Bytes_are_not_counted_beyond_the_memory_there_is()
    {
        const string ReadAll = "mul.wide.u32 %rd7, %r1, 16; add.u64 %rd8, %rd1, %rd7; ld.global.v4.b32 {%r2,%r3,%r4,%r5}, [%rd8];";
        Run(ReadAll, out var counts, groups: 100, mostPlaces: 10);
        Assert.Equal(Words * sizeof(int), counts.GlobalBytesTouched);
        Assert.Equal(100 * 64 * 16, counts.GlobalBytesLoaded);
    }

    [Fact]
    public void Instructions_are_counted()
    {
        Run("setp.lt.s32 %p1, %r1, 7; @%p1 bra L_1; add.f32 %f1, %f2, %f3;\nL_1:", out var counts);
        // Of the second warp, all add; of the first, 25.
        Assert.Equal(("add.f32", 2L, 57L), counts.ByOpcode.Single(entry => entry.Opcode == "add.f32"));
        Assert.Equal((2L, 1L), (counts.Branches, counts.DivergentBranches));
        Assert.Equal((1L, 1L, 64), (counts.Launches, counts.Groups, counts.GroupSize));
    }

    /// <summary>What a driver would refuse.</summary>
    [Fact]
    public void Grids_end_where_those_of_CUDA_do()
    {
        var program = new PtxProgram("Kernel", $"{Prologue}ret;\n}}");
        var emulator = new PtxEmulator();
        emulator.Launch(program, (1, ushort.MaxValue, 1), 1, new byte[16], []);
        Assert.Throws<DeviceException>(() => emulator.Launch(program, (1, ushort.MaxValue + 1, 1), 1, new byte[16], []));
    }

    /// <summary>Some kernels always, on both architectures' PTX; all of them with BERT4REC_PTX.</summary>
    [Theory]
    [InlineData("ptx", "layer-norm")]
    [InlineData("ptx:90", "cloze-mask")]
    public void Kernels_pass(string device, string kernel)
    {
        using var kernels = GpuKernels.Create(device);
        Assert.All(
            GradientCheck.Run(kernels, kernel, 1, null, null, Precision.Full), result => Assert.True(result.Passed, result.ToString()));
        Assert.Contains(
            GradientCheck.Run(kernels, kernel, 1, kernel, null, Precision.Full, withLarge: false), result => !result.Passed);
    }

    [Theory]
    [InlineData("ptx:81", Precision.Full, "ptx:81: kernels are compiled for ptx:75")]
    [InlineData("ptx:75", Precision.Tf32, "ptx:75: precision tf32 needs")]
    [InlineData("ptx:75", Precision.Bf16, "ptx:75: precision bf16 needs")]
    public void Other_architectures_are_refused(string device, Precision precision, string message) => Assert.StartsWith(
        message, Assert.Throws<DeviceException>(() => GpuDevices.Open(device, precision)).Message, StringComparison.Ordinal);

    /// <summary>On 256 words in groups of 64 threads.</summary>
    private static int[] Run(string body, out KernelCounts counts, int groups = 1, int mostPlaces = int.MaxValue)
    {
        const int Alignment = 64;
        int[] memory = GC.AllocateArray<int>(Words + (Alignment / sizeof(int)), pinned: true);
        long begin = Marshal.UnsafeAddrOfPinnedArrayElement(memory, 0), start = (begin + Alignment - 1) / Alignment * Alignment;
        byte[] parameters = [.. BitConverter.GetBytes(start), .. BitConverter.GetBytes(0L)];
        var emulator = new PtxEmulator { MostPlaces = _ => mostPlaces };
        var program = new PtxProgram("Kernel", $"{Prologue}{body}\nret;\n}}");
        emulator.Launch(program, (groups, 1, 1), 64, parameters, [new(start, start + (Words * sizeof(int)), start)]);
        counts = emulator.Counts.Single();
        return memory[(int)((start - begin) / sizeof(int))..];
    }
}
