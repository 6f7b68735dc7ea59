namespace Bert4Rec.Tools;

/// <summary>
/// What a multiprocessor of an architecture has room for: NVIDIA, CUDA C++ Programming Guide, "Technical Specifications per Compute
/// Capability". All of them have 65,536 registers, and give them to warps in blocks of 256.
/// </summary>
/// <param name="Architecture">As ptxas calls it.</param>
/// <param name="Devices">For people.</param>
/// <param name="Warps">Of 32 threads, at most.</param>
/// <param name="Groups">At most.</param>
/// <param name="SharedBytes">Shared memory of all groups together.</param>
/// <param name="ReservedBytes">Of it, taken by the system for each group.</param>
internal sealed record Multiprocessor(
    string Architecture, string Devices, int Warps, int Groups, int SharedBytes, int ReservedBytes)
{
    private const int Registers = 65536, RegisterBlock = 256, WarpSize = 32;

    /// <summary>Multiprocessors have four parts; a group's warps are spread evenly over them.</summary>
    private const int Parts = 4;

    /// <summary>
    /// A group's shared memory is rounded up to this: 256 bytes on sm_75, 128 on the others, which comes to the same here.
    /// </summary>
    private const int SharedBlock = 256;

    public static IReadOnlyList<Multiprocessor> All { get; } =
    [
        new("sm_75", "Turing: T4, RTX 20", 32, 16, 64 << 10, 0),
        new("sm_80", "Ampere: A100", 64, 32, 164 << 10, 1 << 10),
        new("sm_86", "Ampere: A10, RTX 30", 48, 16, 100 << 10, 1 << 10),
        new("sm_90", "Hopper: H100", 64, 32, 228 << 10, 1 << 10),
    ];

    /// <summary>Compute capability.</summary>
    public (int Major, int Minor) Capability => (Architecture[3] - '0', Architecture[4] - '0');

    /// <summary>Groups of a kernel that are on a multiprocessor at the same time, and what limits their number.</summary>
    public (int Groups, string Limit) GroupsOf(int threads, int registers, int sharedBytes)
    {
        int warps = RoundUp(threads, WarpSize) / WarpSize;
        int warpsByRegisters = Registers / RoundUp(registers * WarpSize, RegisterBlock) / Parts * Parts;
        int shared = RoundUp(sharedBytes + ReservedBytes, SharedBlock);
        (int Groups, string Limit)[] limits =
        [
            (Warps / warps, "threads"),
            (Groups, "groups"),
            (warpsByRegisters / warps, "registers"),
            (shared == 0 ? int.MaxValue : SharedBytes / shared, "shared memory"),
        ];
        return limits.MinBy(limit => limit.Groups);
    }

    /// <summary>Theoretical occupancy: warps that are there, of those there is room for.</summary>
    public double OccupancyOf(int threads, int registers, int sharedBytes) =>
        (double)GroupsOf(threads, registers, sharedBytes).Groups * (RoundUp(threads, WarpSize) / WarpSize) / Warps;

    private static int RoundUp(int value, int block) => (value + block - 1) / block * block;
}
