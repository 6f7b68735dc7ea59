using Bert4Rec.Configuration;
using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Gpu;
using Bert4Rec.Model;
using Bert4Rec.Pipeline;
using Bert4Rec.Serialization;
using Bert4Rec.Tests.Kernels;
using Bert4Rec.Training;

namespace Bert4Rec.Tests.Training;

/// <summary>Training on the GPUs of this machine, OpenCL on the processor among them. The simulator would take days.</summary>
public class GpuTrainingTests
{
    private static string? Device => Backends.Gpus.FirstOrDefault(name => name != GpuDevices.Simulator);

    /// <summary>Both draw the same Philox numbers, so they differ by rounding alone, dropout or not.</summary>
    [SkippableFact]
    public void Two_epochs_of_the_sample_have_the_losses_of_the_cpu_and_the_same_bits_each_time()
    {
        Skip.If(Device is null, "no GPU and no OpenCL here");
        var (cpu, _) = Train("cpu");
        var (first, model) = Train(Device!);
        var (second, again) = Train(Device!);
        Assert.Equal(2, first.Count);
        Assert.All(cpu.Zip(first), pair => Assert.InRange(pair.Second / pair.First, 1 - 1e-4, 1 + 1e-4));
        Assert.Equal(first, second);
        Assert.Equal(model, again);
    }

    /// <summary>A catalogue of 100,000 items: the scores of 8,192 masked rows alone would be 3.3 GB.</summary>
    [SkippableFact]
    public void A_large_catalogue_trains_in_a_gigabyte()
    {
        Skip.If(Device is null, "no GPU and no OpenCL here");
        const int Masked = 8192, Sequence = 4;
        var shape = new ModelShape(100_001, 50, 128, 256, 2, 2, 1e-12f, 0.2f, 0.2f);
        var layout = new ParameterLayout(shape);
        using var device = GpuDevices.Open(Device!);
        using var kernels = new GpuKernels(device);
        DeviceBuffer<float> Parameters() => kernels.AllocateFloats(layout.Length);
        using DeviceBuffer<float> parameters = Parameters(), first = Parameters(), second = Parameters();
        parameters.Upload(ParameterInitializer.Draw(layout, 0.02, 1));
        long before = device.AllocatedBytes;

        using var gradients = Parameters();
        using var loss = kernels.AllocateFloats(1);
        using var model = new Bert4RecModel(kernels, layout, parameters, gradients, Masked * Sequence);
        var random = new Random(1);
        Indices Upload(IEnumerable<int> values)
        {
            int[] array = [.. values];
            var indices = Indices.Of(kernels.AllocateInts(array.Length));
            indices.Upload(array);
            return indices;
        }
        var places = Enumerable.Range(0, Masked);
        var offsets = Enumerable.Range(0, Masked + 1);
        var input = new ModelInput(
            Upload(random.Integers(Masked * Sequence, 1, shape.ItemCount)), Upload(places.SelectMany(_ => Enumerable.Range(0, Sequence))),
            Upload(offsets.Select(i => i * Sequence)), Upload(places.Select(i => (i * Sequence) + 1)), Upload(offsets));
        model.Forward(input, new RandomKey(1, 1, 0, 0));
        model.LossAndBackward(Upload(random.Integers(Masked, 1, shape.ItemCount)), 1f / Masked, Tensor.Of(loss));
        kernels.Adam(
            Tensor.Of(parameters), Tensor.Of(gradients), Tensor.Of(first), Tensor.Of(second), default, new AdamStep(1, 1e-3f));

        // Fresh weights of 0.02 tell the items hardly apart.
        Assert.InRange(Tensor.Of(loss).ToArray()[0] / Masked / Math.Log(shape.ItemCount), 0.99, 1.02);
        Assert.InRange(device.PeakBytes - before, 1, 1_000_000_000);
    }

    /// <summary>The parameters without what else the file holds: the config there names the run's folder.</summary>
    private static (List<double> Losses, float[] Model) Train(string device)
    {
        string folder = Directory.CreateTempSubdirectory("bert4rec").FullName;
        try
        {
            var config = RunConfig.Load(
                [Path.Combine(TestFiles.RepositoryRoot, "configs", "sample.yaml")],
                [$"event_log.input='{Path.Combine(TestFiles.RepositoryRoot, "data", "sample", "events.csv.gz")}'", "epochs=2"]);
            var options = new RunOptions(folder, device, 2, false);
            config = new ShopRun(config, options, new(), null, default).Prepare();
            var losses = new List<double>();
            TrainingSession.Train(config, options, null, null, epoch => losses.Add(epoch.Loss), default);
            using var model = SafeTensors.Read(Path.Combine(folder, "model.safetensors"));
            return (losses, [.. model.Names.Order(StringComparer.Ordinal).SelectMany(model.ReadFloats)]);
        }
        finally
        {
            Directory.Delete(folder, true);
        }
    }
}
