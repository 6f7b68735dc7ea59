using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Gpu;
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
    private const uint Seed = 1;

    /// <summary>RecBole masks a fifth of the events in four batches of five.</summary>
    private const float RecboleMasked = 0.8f * 0.2f;

    /// <summary>Groups side by side that are run of a launch: a step of a large shop has a hundred thousand, which are alike.</summary>
    public const int MostPlaces = 48;

    /// <summary>As many as an A100 has: what is split is split as there.</summary>
    public const int Multiprocessors = 108;

    /// <summary>Kernels whose results say where others read.</summary>
    private static readonly string[] s_places = ["RadixSort", "PrefixSum", "Embedding.AddRuns"];

    /// <summary>Whether only a part of the groups is run.</summary>
    private bool IsSampled => Sequences * MeanLength > 10_000;

    public static IReadOnlyList<TrainingStep> All { get; } =
    [
        new("configs/sample.yaml", new(600, 20, 64, 256, 2, 4, 1e-12f, 0.2f, 0.2f, NewestFirst: true), 64, 5, Precision.Full),
        new("configs/ml-100k.yaml", new(1683, 50, 64, 256, 2, 2, 1e-12f, 0.2f, 0.2f), 48, 50, Precision.Full),
        new("configs/ml-100k.yaml", new(1683, 50, 64, 256, 2, 2, 1e-12f, 0.2f, 0.2f), 48, 50, Precision.Tf32),
        new("configs/ml-100k.yaml", new(1683, 50, 64, 256, 2, 2, 1e-12f, 0.2f, 0.2f), 48, 50, Precision.Bf16),
        new("configs/ecommerce.yaml", new(19259, 50, 128, 256, 2, 2, 1e-12f, 0.2f, 0.2f), 4096, 5, Precision.Full, true),
        new("configs/ecommerce.yaml", new(19259, 50, 128, 256, 2, 2, 1e-12f, 0.2f, 0.2f), 4096, 5, Precision.Tf32, true),
        new("configs/ecommerce.yaml", new(19259, 50, 128, 256, 2, 2, 1e-12f, 0.2f, 0.2f), 4096, 5, Precision.Bf16, true),
    ];

    /// <summary>Takes the step on the emulator.</summary>
    /// <returns>Tokens, masked rows, and the counts of each launch.</returns>
    public (int Tokens, int Masked, IReadOnlyList<KernelCounts> Launches) Count()
    {
        var random = new Random((int)Seed);
        int[] lengths =
        [
            .. Enumerable.Range(0, Sequences).Select(_ => MeanLength == Shape.MaximumLength ? MeanLength : random.Next(1, 2 * MeanLength)),
        ];
        int[] offsets = [0, .. lengths.Select((_, i) => lengths[..(i + 1)].Sum())];
        int tokens = offsets[^1];
        using var device = GpuDevices.OpenPtx(GpuDevices.Emulator, Precision, Multiprocessors);
        using var kernels = new GpuKernels(device);
        var layout = new ParameterLayout(Shape);
        Tensor parameters = Floats(layout.Length), gradients = Floats(layout.Length), loss = Floats(1);
        Tensor first = Floats(layout.Length), second = Floats(layout.Length);
        parameters.Upload(ParameterInitializer.Draw(layout, 0.02, (int)Seed));
        using var model = new Bert4RecModel(kernels, layout, parameters.Buffer, gradients.Buffer, tokens);
        var events = Integers([.. Enumerable.Range(0, tokens).Select(_ => random.Next(1, Shape.ItemCount))]);
        var positions = Integers([.. lengths.SelectMany(length => Enumerable.Range(0, length))]);
        Indices starts = Integers(offsets), masked = Integers(new int[tokens]), rows = Integers(new int[tokens]);
        Indices targets = Integers(new int[tokens]), maskedStarts = Integers(new int[offsets.Length]);
        // What came before is not of the step.
        var launches = new List<KernelCounts>();
        device.Ptx!.Emulator.Launched = launches.Add;

        var masking = new ClozeMasking(
            new(Seed, 1, RandomStreams.ClozeMask, 0),
            RecboleCompatible ? RecboleMasked : 0.2f,
            RecboleCompatible ? 0 : 0.2f,
            Shape.MaskToken,
            int.MaxValue,
            RecboleCompatible,
            !RecboleCompatible);
        int count = kernels.ClozeMask(events, starts, masking, masked, rows, targets, maskedStarts);
        if (IsSampled)
        {
            device.Ptx.Emulator.MostPlaces = kernel =>
                s_places.Any(prefix => kernel.StartsWith(prefix, StringComparison.Ordinal)) ? int.MaxValue : MostPlaces;
        }
        kernels.Fill(loss, 0);
        model.Forward(new(masked, positions, starts, rows.Slice(0, count), maskedStarts), new(Seed, 1, 0, 0));
        model.LossAndBackward(targets.Slice(0, count), 1f / count, loss);
        kernels.Adam(parameters, gradients, first, second, default, new(1, 1e-3f));
        return (tokens, count, launches);

        Tensor Floats(long length) => Tensor.Of(kernels.AllocateFloats(length));

        Indices Integers(int[] values)
        {
            var indices = Indices.Of(kernels.AllocateInts(values.Length));
            indices.Upload(values);
            return indices;
        }
    }
}
