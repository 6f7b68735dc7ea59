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
/// <param name="TensorLanes">The same in TF32 on tensor cores; 0 where there is no TF32. In bfloat16 they do twice as many, and an
/// instruction takes twice as many.</param>
internal sealed record GpuModel(
    string Name, string Architecture, int Multiprocessors, double Gigahertz, double GigabytesPerSecond, int FloatLanes, int TensorLanes)
{
    /// <summary>Of a multiprocessor: each starts an instruction of its own warps in a clock, and does a share of the arithmetic.</summary>
    private const int Parts = 4;

    private const int WarpSize = 32;

    /// <summary>Sectors of 32 bytes that a multiprocessor's first cache hands out in a clock.</summary>
    private const int Sectors = 4;

    public const double LaunchMicroseconds = 2.5;

    public static IReadOnlyList<GpuModel> All { get; } =
    [
        new("T4", "sm_75", 40, 1.59, 320, 64, 0),
        new("A100", "sm_80", 108, 1.41, 1555, 64, 512),
        new("H100", "sm_90", 132, 1.98, 3350, 128, 1024),
    ];

    /// <summary>The time that launches take at least, one after another, and what most of it is set by.</summary>
    public (double Microseconds, string Limit) Estimate(IEnumerable<KernelCounts> launches)
    {
        (double Microseconds, string Limit)[] all = [.. launches.Select(Estimate)];
        return (all.Sum(launch => launch.Microseconds),
            all.GroupBy(launch => launch.Limit).MaxBy(limit => limit.Sum(launch => launch.Microseconds))!.Key);
    }

    private (double Microseconds, string Limit) Estimate(KernelCounts launch)
    {
        // Multiprocessors that have no group, or none any more while others have, do nothing; nor does a part that has no warp.
        double rounds = Math.Ceiling((double)launch.Groups / Multiprocessors), warps = rounds * launch.GroupSize / WarpSize;
        double clocks = Gigahertz * 1e3 * launch.Groups / rounds, partClocks = clocks * Math.Min(1, warps / Parts);
        (double Microseconds, string Limit)[] limits =
        [
            (launch.GlobalBytesTouched / (GigabytesPerSecond * 1e3), "memory"),
            (launch.FloatInstructions * WarpSize / (partClocks * FloatLanes), "arithmetic"),
            (launch.TensorInstructions * (double)(16 * 8 * 8) / (partClocks * Math.Max(1, TensorLanes)), "cores for tensors"),
            (launch.SharedWavefronts / clocks, "shared memory"),
            (launch.GlobalSectors / (clocks * Sectors), "global sectors"),
            (launch.Instructions / (partClocks * Parts), "issue"),
            (LaunchMicroseconds, "launch"),
        ];
        return limits.MaxBy(limit => limit.Microseconds);
    }
}
