using Bert4Rec.Configuration;
using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Gpu;
using Bert4Rec.Kernels.Gpu.Runtime;
using Bert4Rec.Model;
using Bert4Rec.Pipeline;
using Bert4Rec.Serialization;
using Bert4Rec.Tests.Distributed;
using Bert4Rec.Tests.Kernels;
using Bert4Rec.Training;

namespace Bert4Rec.Tests.Training;

/// <summary>
/// Training on the GPUs of this machine, OpenCL on the processor among them. The simulator and the emulator would take days.
/// </summary>
public class GpuTrainingTests
{
    public static TheoryData<string> Gpus => [.. Backends.Gpus];

    private static string? Device => Backends.Gpus.FirstOrDefault(
        name => name != GpuDevices.Simulator && !name.StartsWith(GpuDevices.Emulator, StringComparison.Ordinal));

    /// <summary>Both draw the same Philox numbers, so they differ by rounding alone, dropout or not.</summary>
    [SkippableTheory]
    [InlineData(2, "objective=cloze")]
    [InlineData(2, "objective=next_item")]
    [InlineData(1, "norm_first=true", "position_order=newest", "lr_schedule=cosine", "warmup_ratio=0.2", "initializer=xavier")]
    [InlineData(1, "objective=next_item", "norm_first=true", "output_head=false", "learner=adamw", "weight_decay=0.1", "adam_beta2=0.98")]
    [InlineData(1, "objective=next_item", "softmax_samples=200")]
    public void Epochs_of_the_sample_have_the_losses_of_the_cpu(int epochs, params string[] settings)
    {
        Skip.If(Device is null, "no GPU and no OpenCL here");
        var (cpu, _) = Train("cpu", epochs, settings);
        var (gpu, _) = Train(Device!, epochs, settings);
        Assert.Equal(epochs, gpu.Count);
        Assert.All(cpu.Zip(gpu), pair => Assert.InRange(pair.Second / pair.First, 1 - 1e-4, 1 + 1e-4));
    }

    [SkippableTheory]
    [InlineData("objective=cloze", "user_inter_num_interval=\"[10,inf)\"")]
    [InlineData("objective=next_item", "norm_first=true", "softmax_samples=200", "user_inter_num_interval=\"[10,inf)\"")]
    public void An_epoch_of_a_part_of_the_sample_has_the_same_bits_each_time(params string[] settings)
    {
        Skip.If(Device is null, "no GPU and no OpenCL here");
        var (first, model) = Train(Device!, 1, settings);
        var (second, again) = Train(Device!, 1, settings);
        Assert.Equal(first, second);
        Assert.Equal(model, again);
    }

    /// <summary>What another device has goes by way of the host.</summary>
    [SkippableFact]
    public void Ranks_with_a_device_each_step_as_threads_do()
    {
        Skip.If(Device is null, "no GPU and no OpenCL here");
        var settings = TrainerTests.Settings with { ClipGradNorm = 0.5f };
        using var threads = new TrainerTests.Run(settings, 2);
        double loss = threads.Trainer.TrainStep(0, 4), next = threads.Trainer.TrainStep(4, 4);
        var devices = ThreadRanks.Run(2, group =>
        {
            using var run = new TrainerTests.Run(settings, 1, Device!, group);
            double first = run.Trainer.TrainStep(0, 4), second = run.Trainer.TrainStep(4, 4);
            return (Loss: first, Next: second, run.Parameters, Moments: run.Trainer.Optimizer.ReadMoments());
        });
        Assert.InRange(devices[0].Loss / loss, 1 - 1e-5, 1 + 1e-5);
        Assert.InRange(devices[1].Next / next, 1 - 1e-4, 1 + 1e-4);
        Assert.Equal(devices[0].Parameters, devices[1].Parameters);
        var (expected, _) = threads.Trainer.Optimizer.ReadMoments();
        double length = Math.Sqrt(expected.Sum(x => (double)x * x));
        Assert.True(length > 1e-3);
        Assert.InRange(Math.Sqrt(expected.Zip(devices[0].Moments.First, (x, y) => (double)(x - y) * (x - y)).Sum()) / length, 0, 1e-4);
    }

    /// <summary>A catalogue of 100,000 items: the scores of 8,192 masked rows alone would be 3.3 GB.</summary>
    [SkippableFact]
    public void A_large_catalogue_trains_in_a_gigabyte()
    {
        Skip.If(Device is null, "no GPU and no OpenCL here");
        const int Masked = 8192;
        var shape = new ModelShape(100_001, 50, 32, 64, 2, 2, 1e-12f, 0.2f, 0.2f);
        using var device = GpuDevices.Open(Device!);
        using var training = new Training(device, shape, Masked);
        double loss = training.Step();
        // Fresh weights of 0.02 tell the items hardly apart.
        Assert.InRange(loss / Masked / Math.Log(shape.ItemCount), 0.99, 1.02);
        Assert.InRange(device.PeakBytes - training.BytesOfParametersAndMoments, 1, 1_000_000_000);
    }

    [Theory]
    [MemberData(nameof(Gpus))]
    public void A_step_takes_no_memory_that_the_one_before_it_did_not(string name)
    {
        using var device = GpuDevices.Open(name);
        using var training = new Training(device, new ModelShape(40, 8, 8, 16, 1, 2, 1e-12f, 0.2f, 0.2f), 3);
        training.Step();
        var before = (device.PeakBytes, device.AllocatedBytes, device.Arena.TakenLength);
        training.Step();
        Assert.Equal(before, (device.PeakBytes, device.AllocatedBytes, device.Arena.TakenLength));
    }

    /// <summary>The parameters without what else the file holds: the config there names the run's folder.</summary>
    private static (List<double> Losses, float[] Model) Train(string device, int epochs, string[] settings)
    {
        string folder = Directory.CreateTempSubdirectory("bert4rec").FullName;
        try
        {
            var config = RunConfig.Load(
                [Path.Combine(TestFiles.RepositoryRoot, "configs", "sample.yaml")],
                [
                    $"event_log.input='{Path.Combine(TestFiles.RepositoryRoot, "data", "sample", "events.csv.gz")}'",
                    $"epochs={epochs}", .. settings,
                ]);
            var options = new RunOptions(folder, device, 2, false);
            config = new PipelineRun(config, options, new(), null, default).Prepare();
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

    /// <summary>A model whose every sequence has four events, the second of them masked.</summary>
    private sealed class Training : IDisposable
    {
        private const int Sequence = 4;

        private readonly GpuKernels _kernels;
        private readonly Tensor _parameters, _gradients, _first, _second, _loss;
        private readonly Bert4RecModel _model;
        private readonly ModelInput _input;
        private readonly Indices _targets;
        private readonly int _masked;
        private int _step;

        public Training(GpuDevice device, ModelShape shape, int masked)
        {
            _masked = masked;
            _kernels = new GpuKernels(device);
            var layout = new ParameterLayout(shape);
            (_parameters, _first, _second) = (Floats(layout.Length), Floats(layout.Length), Floats(layout.Length));
            _parameters.Upload(ParameterInitializer.Draw(layout, 0.02, 1));
            BytesOfParametersAndMoments = device.AllocatedBytes;

            (_gradients, _loss) = (Floats(layout.Length), Floats(1));
            _model = new Bert4RecModel(_kernels, layout, _parameters.Buffer, _gradients.Buffer, masked * Sequence);
            var random = new Random(1);
            var sequences = Enumerable.Range(0, masked);
            var offsets = Enumerable.Range(0, masked + 1);
            _input = new ModelInput(
                Integers(random.Integers(masked * Sequence, 1, shape.ItemCount)), Integers(
                    sequences.SelectMany(_ => Enumerable.Range(0, Sequence))),
                Integers(offsets.Select(i => i * Sequence)), Integers(sequences.Select(i => (i * Sequence) + 1)), Integers(offsets));
            _targets = Integers(random.Integers(masked, 1, shape.ItemCount));
        }

        public long BytesOfParametersAndMoments { get; }

        /// <summary>Σ loss of the masked events.</summary>
        public double Step()
        {
            _step++;
            _kernels.Fill(_gradients, 0);
            _kernels.Fill(_loss, 0);
            _model.Forward(_input, new RandomKey(1, (uint)_step, 0, 0));
            _model.LossAndBackward(_targets, 1f / _masked, _loss);
            _kernels.Adam(_parameters, _gradients, _first, _second, default, new AdamStep(_step, 1e-3f));
            return _loss.ToArray()[0];
        }

        /// <summary>All the memory goes with the device.</summary>
        public void Dispose() => _model.Dispose();

        private Tensor Floats(long length) => Tensor.Of(_kernels.AllocateFloats(length));

        private Indices Integers(IEnumerable<int> values)
        {
            int[] array = [.. values];
            var indices = Indices.Of(_kernels.AllocateInts(array.Length));
            indices.Upload(array);
            return indices;
        }
    }
}
