using Bert4Rec.Data;
using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Cpu;
using Bert4Rec.Model;
using Bert4Rec.Training;

namespace Bert4Rec.Tests.Training;

public class TrainerTests
{
    private static readonly TrainerSettings s_settings = new(
        new ModelShape(31, 8, 16, 32, 2, 2, 1e-12f, 0.2f, 0.2f), 7, 16, 1e-3f, 0, null, 0.02, 0.3f, 0.5f, RecboleCompatible: false);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void The_same_seed_and_threads_give_the_same_bits(bool compatible)
    {
        var settings = s_settings with { RecboleCompatible = compatible };
        Assert.Equal(Train(settings, 2, 2).Parameters, Train(settings, 2, 2).Parameters);
        Assert.NotEqual(Train(settings, 2, 2).Parameters, Train(settings with { Seed = 8 }, 2, 2).Parameters);
    }

    /// <summary>Dropout and masks belong to rows of the batch, not to replicas or micro-batches, so only rounding may differ.</summary>
    [Theory]
    [InlineData(2)]
    [InlineData(3)]
    public void How_many_replicas_share_a_batch_changes_only_rounding(int replicas)
    {
        var (one, oneLoss) = Train(s_settings, 1, 3);
        var (several, severalLoss) = Train(s_settings, replicas, 3);
        Assert.Equal(oneLoss, severalLoss, 1e-5);
        double moved = one.Zip(ParameterInitializer.Draw(new(s_settings.Shape), 0.02, 7), (a, b) => Math.Abs(a - b)).Max();
        Assert.All(one.Zip(several), pair => Assert.InRange(Math.Abs(pair.First - pair.Second), 0, 0.05 * moved));
    }

    [Fact]
    public void A_steady_step_allocates_nothing()
    {
        using var workers = new Workers(2);
        using var trainer = NewTrainer(s_settings with { ClipGradNorm = 5 }, workers);
        trainer.BeginEpoch(1);
        for (int i = 0; i < 3; i++)
            trainer.TrainStep(0, 32);
        // Other tests allocate meanwhile; this thread's count is the trainer's own, the second replica runs the same code.
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 5; i++)
            trainer.TrainStep(0, 32);
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
    }

    [Fact]
    public void Clipping_bounds_the_step_and_leaves_small_gradients_alone()
    {
        var free = Train(s_settings, 2, 1).Parameters;
        Assert.Equal(free, Train(s_settings with { ClipGradNorm = 1e6f }, 2, 1).Parameters);
        // Adam's first step hardly feels a gradient's length, but for ε: at this length ε dominates.
        var clipped = Train(s_settings with { ClipGradNorm = 1e-9f }, 2, 1).Parameters;
        var start = ParameterInitializer.Draw(new(s_settings.Shape), 0.02, 7);
        Assert.True(Distance(start, clipped) < 0.2 * Distance(start, free));
    }

    [Fact]
    public void Weight_decay_pulls_towards_zero()
    {
        double Norm(float[] values) => Distance(values, new float[values.Length]);
        Assert.True(Norm(Train(s_settings with { WeightDecay = 1 }, 1, 3).Parameters) < Norm(Train(s_settings, 1, 3).Parameters));
    }

    [Fact]
    public void A_loss_that_is_no_number_names_the_step_and_the_rate()
    {
        var error = Assert.Throws<InputException>(() => Train(s_settings with { LearningRate = 1e30f }, 1, 5));
        Assert.Contains("step", error.Message);
        Assert.Contains("learning_rate", error.Message);
    }

    [Fact]
    public void Training_learns_a_cycle()
    {
        var settings = s_settings with { LearningRate = 3e-3f, Shape = s_settings.Shape with { HiddenDropout = 0, AttentionDropout = 0 } };
        var (_, first) = Train(settings, 1, 1);
        var (_, later) = Train(settings, 1, 200);
        Assert.True(later < 0.5 * first, $"{first} then {later}");
    }

    private static double Distance(float[] a, float[] b) => Math.Sqrt(a.Zip(b, (x, y) => ((double)x - y) * ((double)x - y)).Sum());

    private static (float[] Parameters, double Loss) Train(TrainerSettings settings, int replicas, int epochs)
    {
        using var workers = new Workers(replicas);
        using var trainer = NewTrainer(settings, workers);
        double loss = 0;
        for (int epoch = 1; epoch <= epochs; epoch++)
            loss = trainer.TrainEpoch(epoch, null, CancellationToken.None).Loss;
        var parameters = new float[trainer.Layout.Length];
        trainer.Parameters.Download(parameters);
        return (parameters, loss);
    }

    /// <summary>Forty users who walk round a circle of thirty items, 4 to 12 events each.</summary>
    private static Trainer NewTrainer(TrainerSettings settings, Workers workers)
    {
        Vocabulary users = new(), items = new();
        for (int item = 1; item < settings.Shape.ItemCount; item++)
            items.GetOrAdd($"i{item}");
        List<int> offsets = [0, 0], events = [];
        List<Sample> train = [];
        for (int user = 1; user <= 40; user++)
        {
            users.GetOrAdd($"u{user}");
            for (int i = 0; i < 4 + (user % 9); i++)
            {
                if (i > 0)
                    train.Add(new Sample(user, events.Count));
                events.Add(1 + (((user * 7) + i) % 30));
            }
            offsets.Add(events.Count);
        }
        var dataset = new InteractionDataset(users, items, [.. offsets], [.. events]);
        var split = new DatasetSplit([.. train], [], []);
        var sequences = settings.RecboleCompatible
            ? TrainingSequences.Prefixes(dataset, split, settings.Shape.MaximumLength)
            : TrainingSequences.Windows(dataset, split, settings.Shape.MaximumLength, (int)settings.Seed);
        IKernels[] kernels = [.. Enumerable.Range(0, workers.Count).Select(_ => CpuKernels.Create())];
        return new Trainer(settings, dataset, sequences, kernels, workers);
    }
}
