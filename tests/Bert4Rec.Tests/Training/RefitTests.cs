using Bert4Rec.Configuration;
using Bert4Rec.Inference;
using Bert4Rec.Serialization;
using Bert4Rec.Tests.Cli;
using Bert4Rec.Tests.Faults;
using Bert4Rec.Tests.Inference;
using Bert4Rec.Training;

namespace Bert4Rec.Tests.Training;

/// <summary>The model that recommends: what it is trained on, when it is used, and that it is never that of another run.</summary>
public sealed class RefitTests(SmallShop shop) : IClassFixture<SmallShop>
{
    private const string Model = "model.safetensors";

    [Fact]
    public void It_is_trained_on_all_events_for_as_many_epochs_as_were_best()
    {
        string heldOut = shop.NewRun(), refitted = shop.NewRun(), everything = shop.NewRun();
        // Overfits: the best epoch is not the last.
        string[] settings = ["epochs=8", "learning_rate=0.03", "average_decay=0.5"];
        SmallShop.Train(shop.Config(settings), heldOut);
        var result = SmallShop.Train(shop.Config([.. settings, "refit=true"]), refitted);
        Assert.InRange(result.BestEpoch, 1, 7);
        SmallShop.Train(
            shop.Config([.. settings, "eval_args.split={RS: [1, 0, 0]}", $"epochs={result.BestEpoch}"]), everything);

        Assert.Equal(Parameters(everything), Parameters(Refit(refitted)));
        Assert.Equal(result.BestEpoch, MetricsLog.Read(Refit(refitted)).Count);
        // The held-out run is what it is without a refit.
        Assert.Equal(Parameters(heldOut), Parameters(refitted));
        Assert.NotEqual(Parameters(heldOut), Parameters(everything));
        Assert.Equal(File.ReadAllText(Path.Combine(heldOut, "result.json")), File.ReadAllText(Path.Combine(refitted, "result.json")));
        Assert.False(Directory.Exists(Refit(heldOut)));
        // Histories are the same: all events were in the folder before.
        foreach (string name in new[] { "users.txt", "items.tsv", "events.safetensors" })
            Assert.Equal(File.ReadAllBytes(Path.Combine(refitted, name)), File.ReadAllBytes(Path.Combine(Refit(refitted), name)));
    }

    /// <summary>Its weights are what validation chose, its transitions those of all events.</summary>
    [Fact]
    public void It_has_the_blend_of_the_held_out_model()
    {
        string directory = shop.NewRun();
        var result = SmallShop.Train(shop.Config("refit=true", "epochs=1", "hidden_size=4"), directory);
        Assert.NotEqual(BlendWeights.None, result.Blend!.Weights);
        ModelFolder heldOut = ModelFolder.Load(directory, null), refit = ModelFolder.Load(Refit(directory), null);
        Assert.Equal(result.Blend.Weights, heldOut.Blend!.Weights);
        Assert.Equal(result.Blend.Weights, refit.Blend!.Weights);
        int last = refit.Dataset.UserOffsets[2] - 1, before = refit.Dataset.EventItems[last - 1];
        Assert.Contains(refit.Dataset.EventItems[last], refit.Blend.Transitions.Followers(before).ToArray());
        int[] items = [.. Enumerable.Range(1, refit.Dataset.ItemCount - 1)];
        Assert.True(items.Sum(item => refit.Blend.Transitions.Followers(item).Length)
            > items.Sum(item => heldOut.Blend.Transitions.Followers(item).Length));
    }

    [Fact]
    public void Without_validation_it_has_all_epochs()
    {
        string directory = shop.NewRun();
        SmallShop.Train(shop.Config("refit=true", "epochs=3", "eval_args.split={LS: test_only}"), directory);
        Assert.Equal(3, MetricsLog.Read(Refit(directory)).Count);
    }

    [Fact]
    public void Where_nothing_is_held_back_there_is_none()
    {
        string directory = shop.NewRun();
        CommandLine.Outcome outcome = CommandLine.Run(
            ["train", "--output", directory, .. Campaign.Set(shop.Settings("refit=true", "epochs=1", "eval_args.split={RS: [1, 0, 0]}"))]);
        Assert.Equal((0, ""), (outcome.ExitCode, outcome.Error));
        Assert.Contains("no refit: the split holds no event back\n", outcome.Out);
        Assert.False(Directory.Exists(Refit(directory)));
    }

    [Theory]
    [InlineData("objective=cloze")]
    [InlineData("objective=next_item")]
    public void One_that_was_stopped_ends_with_the_same_bytes_when_resumed(string objective)
    {
        var config = shop.Config(objective, "refit=true", "epochs=4");
        string whole = shop.NewRun(), cut = shop.NewRun();
        var result = SmallShop.Train(config, whole);
        Assert.InRange(result.BestEpoch, 3, 4);
        StopInRefit(config, cut, epoch: 1);
        Assert.True(File.Exists(Path.Combine(cut, "result.json")));
        StopInRefit(config, cut, epoch: 3, resume: true);
        Assert.False(File.Exists(Path.Combine(Refit(cut), Model)));

        CommandLine.Outcome outcome = CommandLine.Run("train", "--resume", cut, "--threads", "2", "--device", "cpu");

        Assert.Equal((0, ""), (outcome.ExitCode, outcome.Error));
        Assert.Null(Campaign.Difference(Campaign.Files(whole), cut));
    }

    [Fact]
    public void Recommend_takes_it_once_it_is_done_and_says_so()
    {
        string directory = shop.NewRun(), heldOut = shop.NewRun();
        SmallShop.Train(shop.Config(), heldOut);
        StopInRefit(shop.Config("refit=true"), directory, epoch: 1);
        string[] histories = ["--history", "p1 p2 p3", "--device", "cpu"];
        CommandLine.Outcome before = Recommend(directory), plain = Recommend(heldOut);
        Assert.Equal((0, plain.Out), (before.ExitCode, before.Out));
        Assert.Equal($"recommending with the held-out model: the training in {Refit(directory)} is not done\n", before.Error);
        Assert.Equal("", plain.Error);

        SmallShop.Train(shop.Config("refit=true"), directory, resume: true);
        CommandLine.Outcome after = Recommend(directory), refit = Recommend(Refit(directory));
        Assert.Equal((0, refit.Out), (after.ExitCode, after.Out));
        Assert.NotEqual(before.Out, after.Out);
        Assert.Equal($"recommending with {Refit(directory)}, trained on all events\n", after.Error);
        Assert.Equal("", refit.Error);

        // As cp leaves it without -r.
        Directory.Delete(Refit(directory), recursive: true);
        CommandLine.Outcome alone = Recommend(directory);
        Assert.Equal((0, plain.Out), (alone.ExitCode, alone.Out));
        Assert.StartsWith($"recommending with the held-out model: {Refit(directory)} is missing", alone.Error);

        CommandLine.Outcome Recommend(string folder) => CommandLine.Run(["recommend", "--model", folder, .. histories]);
    }

    [Fact]
    public void Evaluate_takes_the_held_out_model_and_refuses_the_other()
    {
        string directory = shop.NewRun(), heldOut = shop.NewRun();
        SmallShop.Train(shop.Config(), heldOut);
        SmallShop.Train(shop.Config("refit=true"), directory);
        Assert.Equal(Table(Evaluate(heldOut)), Table(Evaluate(directory)));
        foreach (string[] more in new string[][] { [], ["--set", "eval_args.split={LS: valid_and_test}"] })
        {
            foreach (string folder in new[] { Refit(directory), Refit(directory) + Path.DirectorySeparatorChar })
            {
                CommandLine.Outcome refused = Evaluate(folder, more);
                Assert.Equal(
                    (1, $"error: {folder}: trained on all events, those that it would be tested on too; evaluate {directory}\n"),
                    (refused.ExitCode, refused.Error));
            }
        }

        static CommandLine.Outcome Evaluate(string folder, params string[] more) => CommandLine.Run(["evaluate", folder, .. more]);

        static IEnumerable<string> Table(CommandLine.Outcome outcome) => outcome.Lines.SkipWhile(line => !line.Contains("popularity"));
    }

    [Fact]
    public void It_cannot_be_gone_on_with_alone()
    {
        string directory = shop.NewRun();
        SmallShop.Train(shop.Config("refit=true", "epochs=1"), directory);
        CommandLine.Outcome outcome = CommandLine.Run("train", "--resume", Refit(directory));
        Assert.Equal(
            (1, $"error: {Refit(directory)}: a refit goes on with its run: bert4rec train --resume {directory}\n"),
            (outcome.ExitCode, outcome.Error));
    }

    /// <summary>As a copy that was interrupted, or a model put in the place of another, would leave it.</summary>
    [Fact]
    public void One_of_another_run_is_refused_by_name()
    {
        string directory = shop.NewRun(), other = shop.NewRun();
        SmallShop.Train(shop.Config("refit=true", "epochs=2"), directory);
        SmallShop.Train(shop.Config("refit=true", "epochs=2", "seed=8"), other);
        foreach (string name in ModelFolder.FileNames)
            File.Copy(Path.Combine(other, name), Path.Combine(directory, name), overwrite: true);
        string model = Path.Combine(Refit(directory), Model);
        string message = $"{model}: not refitted for the model in {Path.Combine(directory, Model)} (its SHA-256 differs)";
        Assert.StartsWith(message, Assert.Throws<InputException>(() => TrainedShop.Open(directory)).Message);

        // Nor is a model that no refit made taken for one.
        Directory.Delete(Refit(directory), recursive: true);
        Campaign.Copy(directory, Refit(directory));
        Assert.StartsWith(message, Assert.Throws<InputException>(() => TrainedShop.Open(directory)).Message);
    }

    [Theory]
    [InlineData(false, "seed=8", "refit=true")]
    [InlineData(false, "refit=false")]
    [InlineData(true, "epochs=6", "refit=true")]
    public void Training_begins_by_discarding_it(bool resume, params string[] settings)
    {
        string directory = shop.NewRun();
        SmallShop.Train(shop.Config("refit=true", "epochs=2"), directory);
        string notes = Path.Combine(Refit(directory), "notes.txt");
        File.WriteAllText(notes, "mine");
        using var stop = new CancellationTokenSource();
        stop.Cancel();
        Assert.ThrowsAny<OperationCanceledException>(
            () => SmallShop.Train(shop.Config(settings), directory, resume, cancellation: stop.Token));
        Assert.Equal([notes], Directory.GetFileSystemEntries(Refit(directory)));
        File.Delete(notes);

        SmallShop.Train(shop.Config(settings), directory, resume: true);
        string whole = shop.NewRun();
        SmallShop.Train(shop.Config(settings), whole);
        Assert.Equal(Directory.Exists(Refit(whole)), File.Exists(Path.Combine(Refit(directory), Model)));
        if (Directory.Exists(Refit(whole)))
            Assert.Equal(Parameters(Refit(whole)), Parameters(Refit(directory)));
    }

    /// <summary>Other settings, the same parameters: it is made for a file, and made again with it.</summary>
    [Fact]
    public void A_run_that_is_resumed_with_other_settings_gets_another()
    {
        string directory = shop.NewRun();
        SmallShop.Train(shop.Config("refit=true", "epochs=2"), directory);
        SmallShop.Train(shop.Config("refit=true", "epochs=2", "topk=[3]"), directory, resume: true);
        using (TrainedShop.Open(directory))
            Assert.Equal([3], ModelFolder.Load(Refit(directory), null).Config.TopK);
        SmallShop.Train(shop.Config("refit=false", "epochs=2", "topk=[3]"), directory, resume: true);
        Assert.False(Directory.Exists(Refit(directory)));
    }

    private static string Refit(string directory) => Path.Combine(directory, "refit");

    private static float[] Parameters(string directory)
    {
        using var file = SafeTensors.Read(Path.Combine(directory, Model));
        return [.. file.Names.SelectMany(file.ReadFloats)];
    }

    /// <summary>Trains until the refit has ended an epoch.</summary>
    internal static void StopInRefit(RunConfig config, string directory, int epoch, bool resume = false, int threads = 2)
    {
        using var stop = new CancellationTokenSource();
        var progress = new StopAt(update =>
        {
            if (update.Activity == $"refit, epoch {epoch + 1}")
                stop.Cancel();
        });
        Assert.ThrowsAny<OperationCanceledException>(() => TrainingSession.Train(
            config, new RunOptions(directory, "cpu", threads, resume), progress, null, null, stop.Token));
        Assert.Equal(epoch, MetricsLog.Read(Refit(directory)).Count);
    }

    private sealed class StopAt(Action<ProgressUpdate> onReport) : IProgress<ProgressUpdate>
    {
        public void Report(ProgressUpdate value) => onReport(value);
    }
}
