using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Gpu.Emulator;
using Bert4Rec.Kernels.Gpu.Runtime;
using Bert4Rec.Model;

namespace Bert4Rec.Tools;

/// <summary>The sizes of one training step of a configuration.</summary>
/// <param name="Name">Of the configuration.</param>
/// <param name="Shape">Of the model.</param>
/// <param name="Sequences">Of a batch.</param>
/// <param name="MeanLength">Of its sequences, whose lengths are drawn between 1 and twice that, where that is not the longest.</param>
/// <param name="Precision">Of the products.</param>
/// <param name="RecboleCompatible">Whether masks are RecBole's, which spare the first event of a sequence.</param>
internal sealed record TrainingStep(
    string Name, ModelShape Shape, int Sequences, int MeanLength, Precision Precision, bool RecboleCompatible = false)
{
    /// <summary>Groups side by side that are run of a launch: a step of a large shop has a hundred thousand, which are alike.</summary>
    public const int MostPlaces = 48;

    /// <summary>As many as an A100 has: what is split is split as there.</summary>
    public const int Multiprocessors = 108;

    /// <summary>Kernels whose results say where others read.</summary>
    private static readonly string[] s_places = ["RadixSort", "PrefixSum", "Embedding.AddSegments"];

    /// <summary>"configs/ml-100k.yaml, tf32"</summary>
    public string Title => $"{Name}, {Precision.Name()}";

    /// <summary>Whether only a part of the groups is run.</summary>
    private bool IsSampled => Sequences * MeanLength > 10_000;

    public static IReadOnlyList<TrainingStep> All { get; } =
    [
        new("configs/sample.yaml", new(401, 20, 64, 256, 2, 4, 1e-12f, 0.2f, 0.2f, NewestFirst: true), 64, 5, Precision.Full),
        new("configs/ml-100k.yaml", new(1683, 50, 64, 256, 2, 2, 1e-12f, 0.2f, 0.2f), 48, 50, Precision.Full),
        new("configs/ml-100k.yaml", new(1683, 50, 64, 256, 2, 2, 1e-12f, 0.2f, 0.2f), 48, 50, Precision.Tf32),
        new("configs/ml-100k.yaml", new(1683, 50, 64, 256, 2, 2, 1e-12f, 0.2f, 0.2f), 48, 50, Precision.Bf16),
        new("configs/ecommerce.yaml", new(19259, 50, 128, 256, 2, 2, 1e-12f, 0.2f, 0.2f), 4096, 5, Precision.Full, true),
        new("configs/ecommerce.yaml", new(19259, 50, 128, 256, 2, 2, 1e-12f, 0.2f, 0.2f), 4096, 5, Precision.Tf32, true),
        new("configs/ecommerce.yaml", new(19259, 50, 128, 256, 2, 2, 1e-12f, 0.2f, 0.2f), 4096, 5, Precision.Bf16, true),
    ];

    /// <summary>Takes the step on the emulator.</summary>
    /// <param name="multiprocessors">What is split is split for so many.</param>
    public CountedStep Count(int multiprocessors = Multiprocessors)
    {
        using var device = GpuDevices.OpenPtx(GpuDevices.Emulator, Precision, multiprocessors);
        using var run = new StepRun(this, device);
        // What came before is not of the step.
        var launches = new List<KernelCounts>();
        device.Ptx!.Emulator.Launched = launches.Add;
        int masked = run.Mask();
        if (IsSampled)
        {
            device.Ptx.Emulator.MostPlaces = kernel =>
                s_places.Any(prefix => kernel.StartsWith(prefix, StringComparison.Ordinal)) ? int.MaxValue : MostPlaces;
        }
        run.Learn(masked);
        return new(this, run.Tokens, masked, launches);
    }
}

/// <summary>What a step does.</summary>
/// <param name="Step">Its sizes.</param>
/// <param name="Tokens">Of its sequences.</param>
/// <param name="Masked">Rows.</param>
/// <param name="Launches">What each launch did.</param>
internal sealed record CountedStep(TrainingStep Step, int Tokens, int Masked, IReadOnlyList<KernelCounts> Launches);
