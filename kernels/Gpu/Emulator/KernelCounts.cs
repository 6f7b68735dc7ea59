namespace Bert4Rec.Kernels.Gpu.Emulator;

/// <summary>What the launches of a kernel have done.</summary>
internal sealed class KernelCounts(PtxProgram program)
{
    private readonly PtxProgram _program = program;
    private readonly long[] _warps = new long[program.Code.Count];
    private readonly long[] _threads = new long[program.Code.Count];

    public string Kernel => _program.Name;

    public long Launches { get; set; }

    public long Groups { get; set; }

    /// <summary>Of a group; the last launch's.</summary>
    public int GroupSize { get; set; }

    /// <summary>Waits of warps.</summary>
    public long Barriers { get; set; }

    /// <summary>Branches of warps that have a condition.</summary>
    public long Branches { get; set; }

    /// <summary>Of <see cref="Branches"/>, those after which lanes went both ways.</summary>
    public long DivergentBranches { get; set; }

    /// <summary>Loads and stores of warps in global memory.</summary>
    public long GlobalRequests { get; set; }

    /// <summary>Sectors of 32 bytes that they touched: four a request are enough for 32 lanes of 4 bytes, 16 for 16 bytes.</summary>
    public long GlobalSectors { get; set; }

    /// <summary>Bytes that lanes loaded.</summary>
    public long GlobalBytesLoaded { get; set; }

    /// <summary>Bytes that lanes stored.</summary>
    public long GlobalBytesStored { get; set; }

    /// <summary>Bytes that a launch was the first to read, and those it was the first to write: what memory has to move at least.</summary>
    public long GlobalBytesTouched { get; set; }

    /// <summary>Loads, stores and atomic additions of warps in shared memory.</summary>
    public long SharedRequests { get; set; }

    /// <summary>Turns that shared memory takes for them: of a bank, one word a turn.</summary>
    public long SharedWavefronts { get; set; }

    /// <summary>Of <see cref="SharedWavefronts"/>, those that other places in the same banks cost.</summary>
    public long BankConflicts { get; set; }

    /// <summary>
    /// Instructions of warps, without those that NVIDIA's assembler does away with: see <see cref="PtxProgram.IsRemoved"/>.
    /// </summary>
    public long Instructions => Sum(_warps, _ => true);

    /// <summary>Of <see cref="Instructions"/>, those in float32, a multiply-add as one.</summary>
    public long FloatInstructions => Sum(_warps, opcode => opcode.EndsWith(".f32", StringComparison.Ordinal) && IsArithmetic(opcode));

    /// <summary>Multiplications and additions of threads, a multiply-add as two; on tensor cores too.</summary>
    public long FloatOperations => _program.Code.Select((instruction, i) =>
        instruction.Opcode.StartsWith("mma", StringComparison.Ordinal) ? _warps[i] * 2 * 16 * 8 * StepsOf(instruction.Opcode)
        : instruction.Opcode.EndsWith(".f32", StringComparison.Ordinal) && IsArithmetic(instruction.Opcode) ? _threads[i] : 0).Sum();

    /// <summary>Instructions of warps on tensor cores.</summary>
    public long TensorInstructions => Sum(_warps, opcode => opcode.StartsWith("mma", StringComparison.Ordinal));

    /// <summary>Opcodes, with how many warps and how many of their lanes executed each; the most frequent first.</summary>
    public IReadOnlyList<(string Opcode, long Warps, long Threads)> ByOpcode =>
    [
        .. _program.Code.Select((instruction, i) => (instruction.Opcode, Warps: _warps[i], Threads: _threads[i]))
            .GroupBy(entry => entry.Opcode, (opcode, all) => (opcode, all.Sum(entry => entry.Warps), all.Sum(entry => entry.Threads)))
            .Where(entry => entry.Item2 > 0).OrderByDescending(entry => entry.Item2),
    ];

    /// <summary>16, or 8: those of the K dimension that a tensor core's instruction takes.</summary>
    private static int StepsOf(string opcode) => opcode.Contains("m16n8k16", StringComparison.Ordinal) ? 16 : 8;

    private long Sum(long[] counts, Func<string, bool> isCounted) => _program.Code.Select((instruction, i) =>
        _program.IsRemoved(instruction) || !isCounted(instruction.Opcode) ? 0 : counts[i]).Sum();

    private static bool IsArithmetic(string opcode) => opcode.Split('.')[0] is "add" or "sub" or "mul" or "fma" or "div" or "rcp" or "sqrt";

    /// <summary>Of several launches of a kernel.</summary>
    public static KernelCounts Of(IReadOnlyList<KernelCounts> launches)
    {
        var all = new KernelCounts(launches[0]._program);
        foreach (var launch in launches)
            all.Add(launch);
        return all;
    }

    /// <summary>Adds what other launches of the kernel have done.</summary>
    /// <param name="other">Their counts.</param>
    /// <param name="factor">More than 1 where only a part of the groups was run: what was counted for them stands for all. The bytes
    /// touched, which groups share, have been worked out.</param>
    public void Add(KernelCounts other, double factor = 1)
    {
        Launches += other.Launches;
        Groups += other.Groups;
        GroupSize = other.GroupSize;
        GlobalBytesTouched += other.GlobalBytesTouched;
        Barriers += (long)(other.Barriers * factor);
        Branches += (long)(other.Branches * factor);
        DivergentBranches += (long)(other.DivergentBranches * factor);
        GlobalRequests += (long)(other.GlobalRequests * factor);
        GlobalSectors += (long)(other.GlobalSectors * factor);
        GlobalBytesLoaded += (long)(other.GlobalBytesLoaded * factor);
        GlobalBytesStored += (long)(other.GlobalBytesStored * factor);
        SharedRequests += (long)(other.SharedRequests * factor);
        SharedWavefronts += (long)(other.SharedWavefronts * factor);
        BankConflicts += (long)(other.BankConflicts * factor);
        for (int i = 0; i < _warps.Length; i++)
        {
            _warps[i] += (long)(other._warps[i] * factor);
            _threads[i] += (long)(other._threads[i] * factor);
        }
    }

    public void Count(int instruction, int lanes)
    {
        _warps[instruction]++;
        _threads[instruction] += lanes;
    }
}
