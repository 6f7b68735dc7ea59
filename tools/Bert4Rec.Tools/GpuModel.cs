using Bert4Rec.Kernels.Gpu.Emulator;

namespace Bert4Rec.Tools;

/// <summary>
/// What a GPU can do at most, by its vendor's data sheets: T4 (70 W), A100 (SXM4, 40 GB), H100 (SXM5). What a launch costs is the measure
/// usual for kernels that follow each other in a queue.
/// </summary>
/// <param name="Name">For people.</param>
/// <param name="Architecture">As ptxas calls it.</param>
/// <param name="Multiprocessors">How many.</param>
/// <param name="Gigahertz">Boost clock.</param>
/// <param name="GigabytesPerSecond">Of its memory.</param>
/// <param name="FloatLanes">Multiply-adds in float32 of a multiprocessor and clock.</param>
/// <param name="TensorLanes">The same in TF32 on tensor cores; 0 where there is no TF32.</param>
internal sealed record GpuModel(
    string Name, string Architecture, int Multiprocessors, double Gigahertz, double GigabytesPerSecond, int FloatLanes, int TensorLanes)
{
    /// <summary>Instructions that a multiprocessor starts in a clock: one in each of its four parts.</summary>
    private const int Issued = 4;

    /// <summary>Sectors of 32 bytes that a multiprocessor's first cache hands out in a clock.</summary>
    private const int Sectors = 4;

    public const double LaunchMicroseconds = 2.5;

    public static IReadOnlyList<GpuModel> All { get; } =
    [
        new("T4", "sm_75", 40, 1.59, 320, 64, 0),
        new("A100", "sm_80", 108, 1.41, 1555, 64, 512),
        new("H100", "sm_90", 132, 1.98, 3350, 128, 1024),
    ];

    /// <summary>The time that all launches of a kernel take at least, and what it is set by.</summary>
    public (double Microseconds, string Limit) Estimate(KernelCounts counts)
    {
        // Multiprocessors that have no group, or none any more while others have, do nothing.
        double groups = (double)counts.Groups / counts.Launches, rounds = Math.Ceiling(groups / Multiprocessors);
        double clocks = Multiprocessors * Gigahertz * 1e3 * (groups / (rounds * Multiprocessors));
        (double Microseconds, string Limit)[] limits =
        [
            (counts.GlobalBytesTouched / (GigabytesPerSecond * 1e3), "memory"),
            (counts.FloatInstructions * 32 / (clocks * FloatLanes), "arithmetic"),
            (counts.TensorInstructions * (double)(16 * 8 * 8) / (clocks * Math.Max(1, TensorLanes)), "cores for tensors"),
            (counts.SharedWavefronts / clocks, "shared memory"),
            (counts.GlobalSectors / (clocks * Sectors), "global sectors"),
            (counts.Instructions / (clocks * Issued), "issue"),
            (LaunchMicroseconds * counts.Launches, "launch"),
        ];
        return limits.MaxBy(limit => limit.Microseconds);
    }
}
