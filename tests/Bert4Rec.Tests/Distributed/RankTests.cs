using Bert4Rec.Configuration;
using Bert4Rec.Distributed;
using Bert4Rec.Tests.Faults;
using Bert4Rec.Tests.Training;
using Bert4Rec.Training;

namespace Bert4Rec.Tests.Distributed;

/// <summary>
/// A training by several ranks against one process with as many threads: the shares of a batch are the same, and every sum has the same
/// order, so where a rank has one thread even the bits are.
/// </summary>
public sealed class RankTests(SmallShop shop) : IClassFixture<SmallShop>
{
    private const int Batch = 16;

    [Theory]
    [InlineData(2, false, false, null)]
    [InlineData(3, true, false, null)]
    [InlineData(4, false, true, null)]
    [InlineData(2, false, true, 5)]
    [InlineData(3, false, false, 5)]
    public void Ranks_step_as_threads_do(int shares, bool compatible, bool clips, int? samples)
    {
        var settings = TrainerTests.Settings with
        {
            RecboleCompatible = compatible,
            ClipGradNorm = clips ? 0.5f : null,
            SoftmaxSamples = samples,
            WeightDecay = 0.01f,
        };
        var threads = Steps(settings, shares, ProcessGroup.Alone);
        var ranks = ThreadRanks.Run(shares, group => Steps(settings, 1, group));
        Assert.All(ranks, rank => Assert.Equal(threads.Losses, rank.Losses));
        Assert.All(ranks, rank => Assert.Equal(threads.Parameters, rank.Parameters));
        Assert.Equal(threads.First, ranks[0].First);
        Assert.Equal(threads.Second, ranks[0].Second);
        Assert.True(threads.Losses.Count(double.IsFinite) >= 3);
    }

    [Theory]
    [InlineData(2, 2, null)]
    [InlineData(3, 2, 5)]
    [InlineData(5, 1, null)]
    public void Ranks_of_threads_have_the_losses_of_one_thread_within_rounding(int ranks, int threads, int? samples)
    {
        var settings = TrainerTests.Settings with { SoftmaxSamples = samples };
        double[] expected = Steps(settings, 1, ProcessGroup.Alone).Losses;
        var once = ThreadRanks.Run(ranks, group => Steps(settings, threads, group));
        foreach (var (actual, loss) in once[^1].Losses.Zip(expected))
            Assert.InRange(actual / loss, 1 - 1e-5, 1 + 1e-5);
        Assert.Equal(once[0].Parameters, ThreadRanks.Run(ranks, group => Steps(settings, threads, group))[^1].Parameters);
    }

    /// <summary>Gradients one way and parameters the other: 2 (N − 1) / N of the parameters for each rank and step.</summary>
    [Theory]
    [InlineData(2)]
    [InlineData(4)]
    public void A_step_sends_as_much_as_it_must(int size)
    {
        long[] sent = ThreadRanks.Run(size, group =>
        {
            using var run = new TrainerTests.Run(TrainerTests.Settings, 1, ranks: group);
            run.Trainer.TrainStep(0, Batch);
            long before = group.BytesSent;
            run.Trainer.TrainStep(Batch, Batch);
            return group.BytesSent - before;
        });
        using var alone = new TrainerTests.Run(TrainerTests.Settings, 1);
        long bytes = 2 * (size - 1) * sizeof(float) * alone.Trainer.Layout.Length;
        Assert.Equal(bytes, sent.Sum());
    }

    /// <summary>Blend, refit, test and baselines included.</summary>
    [Theory]
    [InlineData]
    [InlineData("objective=next_item", "softmax_samples=5", "train_batch_size=8")]
    [InlineData("recbole_compatible=true", "eval_args={mode: uni20}", "clip_grad_norm=1")]
    public void A_run_leaves_the_bytes_of_one_process(params string[] settings)
    {
        var config = shop.Config([.. settings, .. settings.Contains("recbole_compatible=true") ? [] : new[] { "refit=true" }]);
        string alone = shop.NewRun(), ranks = shop.NewRun();
        SmallShop.Train(config, alone);
        Train(2, config, ranks);
        Assert.Null(Campaign.Difference(Campaign.Files(alone), ranks));
    }

    /// <summary>A device's kernels are compiled in a rehearsal of the first step, which no rank may go through alone.</summary>
    [Fact]
    public void Ranks_of_a_device_are_compiled_for_together()
    {
        using var folder = new TemporaryFolder();
        string[] rows =
        [
            .. Enumerable.Range(1, 6).SelectMany(user => Enumerable.Range(1, 4).Select(time => $"u{user}\ti{user * time % 7}\t{time}")),
        ];
        folder.Write("few.inter", string.Join('\n', ["user_id:token\titem_id:token\ttimestamp:float", .. rows, ""]));
        // The simulator takes its time.
        var config = shop.Config(
            $"data_path={folder.Path}", "dataset=few", "epochs=1", "n_layers=1", "hidden_size=8", "inner_size=8", "MAX_ITEM_LIST_LENGTH=4",
            "n_heads=1", "topk=[5]", "valid_metric=NDCG@5");
        var result = Train(2, config, shop.NewRun(), device: "ilgpu-cpu");
        Assert.InRange(result.Test["ndcg@5"] - SmallShop.Train(config, shop.NewRun()).Test["ndcg@5"], -1e-6, 1e-6);
    }

    [Fact]
    public void What_no_rank_can_train_on_is_said_by_the_first()
    {
        using var folder = new TemporaryFolder();
        string[] rows = [.. Enumerable.Range(1, 6).SelectMany(user => new[] { $"u{user}\ta{user % 3}\t1", $"u{user}\tb{user % 2}\t2" })];
        folder.Write("two.inter", string.Join('\n', ["user_id:token\titem_id:token\ttimestamp:float", .. rows, ""]));
        var config = shop.Config($"data_path={folder.Path}", "dataset=two", "recbole_compatible=true");
        ThreadRanks.Run(3, group =>
        {
            if (group.Rank > 0)
            {
                TrainingEngine.Follow(group);
                return true;
            }
            var failure = Assert.Throws<InputException>(() => TrainAs(group, config, shop.NewRun()));
            Assert.StartsWith("nothing to train on", failure.Message);
            Assert.False(group.IsAwaited);
            TrainingEngine.Dismiss(group);
            return true;
        });
    }

    [Fact]
    public void A_run_is_resumed_by_another_number_of_ranks()
    {
        var config = shop.Config("epochs=5");
        string whole = shop.NewRun(), stopped = shop.NewRun();
        var expected = SmallShop.Train(config, whole);
        // 2 × 1 and 1 × 2 are the same shares; three ranks round otherwise.
        Assert.Throws<OperationCanceledException>(() => Train(2, config, stopped, stopAfter: 2));
        Assert.Throws<OperationCanceledException>(() => SmallShop.Train(
            config, stopped, resume: true, onEpoch: epoch => throw new OperationCanceledException()));
        Train(2, config, stopped, resume: true);
        Assert.Null(Campaign.Difference(Campaign.Files(whole), stopped));

        string other = shop.NewRun();
        Assert.Throws<OperationCanceledException>(() => Train(3, config, other, stopAfter: 3));
        var result = Train(4, config, other, resume: true);
        Assert.Equal(expected.Epochs, result.Epochs);
        Assert.InRange(result.Test["ndcg@10"] / expected.Test["ndcg@10"], 0.9, 1.1);
    }

    [Fact]
    public void A_loss_that_is_no_number_ends_the_training_on_all_ranks_and_another_may_follow()
    {
        string directory = shop.NewRun();
        ThreadRanks.Run(3, group =>
        {
            if (group.Rank > 0)
            {
                TrainingEngine.Follow(group);
                return true;
            }
            var failure = Assert.Throws<InputException>(() => TrainAs(group, shop.Config("learning_rate=1e30"), directory));
            Assert.True(failure.IsDivergence);
            Assert.False(group.IsAwaited);
            TrainAs(group, shop.Config("epochs=1"), directory);
            TrainingEngine.Dismiss(group);
            return true;
        });
        Assert.True(File.Exists(Path.Combine(directory, "result.json")));
    }

    [Fact]
    public void A_rank_that_fails_is_awaited_by_the_others()
    {
        string directory = shop.NewRun();
        Assert.Throws<IOException>(() => ThreadRanks.Run(2, group =>
        {
            if (group.Rank > 0)
            {
                TrainingEngine.Follow(group);
                return true;
            }
            try
            {
                TrainAs(group, shop.Config(), directory, new Failing());
            }
            finally
            {
                Assert.True(group.IsAwaited);
            }
            return true;
        }));
    }

    private static (double[] Losses, float[] Parameters, float[] First, float[] Second) Steps(
        TrainerSettings settings, int threads, ProcessGroup ranks)
    {
        using var run = new TrainerTests.Run(settings, threads, ranks: ranks);
        var losses = new List<double>();
        for (int first = 0; first + Batch <= run.Trainer.EpochSequences.Count; first += Batch)
            losses.Add(run.Trainer.TrainStep(first, Batch));
        // There and back again.
        var (one, two) = run.Trainer.Optimizer.ReadMoments();
        run.Trainer.Optimizer.LoadMoments(two, one);
        run.Trainer.Optimizer.LoadMoments(one, two);
        losses.Add(run.Trainer.TrainStep(0, 5));
        (one, two) = run.Trainer.Optimizer.ReadMoments();
        return ([.. losses], run.Parameters, one, two);
    }

    private static TrainingResult Train(
        int size, RunConfig config, string directory, bool resume = false, int stopAfter = int.MaxValue, string device = "cpu") =>
        ThreadRanks.Run(size, group =>
        {
            if (group.Rank > 0)
            {
                TrainingEngine.Follow(group);
                return null;
            }
            try
            {
                return TrainAs(group, config, directory, resume: resume, stopAfter: stopAfter, device: device);
            }
            finally
            {
                TrainingEngine.Dismiss(group);
            }
        })[0]!;

    private static TrainingResult TrainAs(
        ProcessGroup ranks,
        RunConfig config,
        string directory,
        IProgress<ProgressUpdate>? progress = null,
        bool resume = false,
        int stopAfter = int.MaxValue,
        string device = "cpu")
    {
        using var stop = new CancellationTokenSource();
        var options = new RunOptions(directory, device, Threads: 1, resume) { Ranks = ranks };
        return TrainingSession.Train(config, options, progress, null, epoch => StopAfter(epoch.Epoch), stop.Token);

        void StopAfter(int epoch)
        {
            if (epoch == stopAfter)
                stop.Cancel();
        }
    }

    private sealed class Failing : IProgress<ProgressUpdate>
    {
        public void Report(ProgressUpdate value)
        {
            if (value.Activity.StartsWith("epoch", StringComparison.Ordinal))
                throw new IOException("in the middle of an epoch");
        }
    }
}
