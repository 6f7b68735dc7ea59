using Bert4Rec.Configuration;
using Bert4Rec.Inference;
using Bert4Rec.Pipeline;
using Bert4Rec.Tests.Cli;
using Bert4Rec.Training;

namespace Bert4Rec.Tests.Training;

/// <summary>Customers who hardly take the same item twice: what a model says of those that they had is nothing to choose it by.</summary>
public sealed class LastEpochTests : IDisposable
{
    private const int Users = 400, Groups = 3, ItemsOfGroup = 30, EventsOfUser = 14;

    private readonly TemporaryFolder _folder = new();

    /// <summary>Of each customer the last events are the validation's and the test's.</summary>
    /// <param name="returning">The share of customers whose event before the last is their first again.</param>
    private void WriteShop(double returning)
    {
        var random = new Random(1);
        var lines = new List<string> { "user_id:token\titem_id:token\ttimestamp:float" };
        for (int user = 0; user < Users; user++)
        {
            int[] items = [.. Enumerable.Range(random.Next(Groups) * ItemsOfGroup, ItemsOfGroup)];
            // The first of a group sell best: by weights of 1, 1/2, 1/3, …
            var order = items.OrderBy(item => Math.Log(random.NextDouble()) * -(1 + (item % ItemsOfGroup)));
            int[] events = [.. order.Take(EventsOfUser)];
            if (user < returning * Users)
                events[^2] = events[0];
            lines.AddRange(events.Select((item, time) => $"u{user}\ti{item}\t{time}"));
        }
        Directory.CreateDirectory(Path.Combine(_folder.Path, "shop"));
        File.WriteAllLines(Path.Combine(_folder.Path, "shop", "shop.inter"), lines);
    }

    [Fact]
    public void Where_the_blend_makes_the_last_epoch_the_better_one_it_is_the_model()
    {
        WriteShop(returning: 0.03);
        string whole = Of("whole"), shorter = Of("shorter");
        var epochs = new List<EpochReport>();
        TrainingResult result = SmallShop.Train(Config(100), whole, onEpoch: epochs.Add);
        int best = epochs.Last(epoch => epoch.IsBest).Epoch;
        Assert.NotEqual(BlendWeights.None, result.Blend!.Weights);
        Assert.All(epochs, epoch => Assert.False(epoch.ExcludeSeen));
        Assert.True(best < result.Epochs, "a case that says nothing: the last epoch is the best without a blend too");
        Assert.Equal((result.Epochs, (int?)best), (result.BestEpoch, result.Blend.InsteadOfEpoch));

        // What the best epoch without a blend reaches with one: the model of a training that ends there.
        TrainingResult early = SmallShop.Train(Config(best), shorter);
        Assert.Equal((best, null), (early.BestEpoch, early.Blend!.InsteadOfEpoch));
        Assert.True(early.Blend.With < result.Blend.With);

        TrainingResult again = SmallShop.Train(Config(100), whole, resume: true);
        Assert.Equal(result.Blend, again.Blend);
        Assert.Equal(result.BestEpoch, again.BestEpoch);
        Assert.Equal(result.Test, again.Test);
    }

    [Theory]
    [InlineData(0, true)]
    [InlineData(0.007, true)]
    [InlineData(0.02, false)]
    public void Epochs_are_compared_without_seen_items_where_hardly_any_comes_back(double returning, bool expected)
    {
        WriteShop(returning);
        var (all, left) = (new List<EpochReport>(), new List<EpochReport>());
        TrainingResult result = SmallShop.Train(Config(3), Of("all"), onEpoch: all.Add);
        SmallShop.Train(Config(3).With("exclude_seen=true"), Of("left"), onEpoch: left.Add);
        Assert.All(all, epoch => Assert.Equal(expected, epoch.ExcludeSeen));
        Assert.Equal(expected, all.Zip(left).All(pair => pair.First.Valid!.SequenceEqual(pair.Second.Valid!)));
        // The result's rankings hold seen items all the same.
        Assert.False(result.ExcludeSeen);
        var plain = new List<EpochReport>();
        SmallShop.Train(Config(3).With("blend=false"), Of("plain"), onEpoch: plain.Add);
        Assert.All(plain, epoch => Assert.False(epoch.ExcludeSeen));
        Assert.NotEqual(plain[^1].Valid, left[^1].Valid);
    }

    /// <summary>Or else the model would win by that alone.</summary>
    [Fact]
    public void What_the_blend_leaves_out_the_rules_leave_out_too()
    {
        WriteShop(returning: 0);
        string folder = Of("leaving");
        RunConfig config = Config(10);
        TrainingResult result = SmallShop.Train(config, folder);
        Assert.True(result.Blend!.Weights.LeavesSeenOut, $"a case that says nothing: {result.Blend.Weights}");
        Assert.True(result.RulesExcludeSeen);
        Assert.True(ResultFile.Read(folder).RulesExcludeSeen);

        EvaluationResult evaluated = Evaluate(), all = Evaluate("exclude_seen=true");
        Assert.Equal((true, false), (evaluated.RulesExcludeSeen, all.RulesExcludeSeen));
        Assert.Equal(result.Baselines["popularity"], evaluated.Baselines["popularity"]);
        Assert.Equal(all.Baselines["popularity"], evaluated.Baselines["popularity"]);
        RunReport report = RunReport.Gather(config, new RunOptions(folder, "cpu", 2, false), null, default);
        Assert.True(report.RulesExcludeSeen);
        Assert.Equal(all.Baselines["popularity"]["recall@10"], report.Rankers[1].Metrics["recall@10"]);
        Assert.Contains("the rules leave out what customers had", ReportPage.Render(report));

        string later = Path.Combine(_folder.Path, "later.inter");
        File.WriteAllText(later, "user_id:token\titem_id:token\ttimestamp:float\nu1\tnew\t100\nu2\tnew\t100\n");
        CommandLine.Outcome updated = CommandLine.Run("update", "--model", folder, "--input", later, "--threads", "1", "--epochs", "1");
        Assert.True(updated.ExitCode == 0, updated.Error);
        Assert.Contains("epochs   compared with seen items left out", updated.Out);
        Assert.Contains("Like the model's blend, the rules leave out what customers had.", updated.Out);
        Assert.DoesNotContain("the blend now", updated.Out);

        EvaluationResult Evaluate(params string[] settings) =>
            EvaluationRun.Evaluate(folder, config.With(settings), "test", "cpu", 2, null, default);
    }

    /// <summary>Events that chose the model do not show what it is worth.</summary>
    [Fact]
    public void Of_validation_alone_the_report_says_that_it_flatters()
    {
        WriteShop(returning: 0);
        string folder = Of("flattered");
        RunConfig config = Config(10).With("eval_args.split={LS: valid_only}");
        SmallShop.Train(config, folder);
        string page = ReportPage.Render(RunReport.Gather(config, new RunOptions(folder, "cpu", 2, false), null, default));
        Assert.Contains("These figures flatter the model", page);
        Assert.Contains("the rules leave out what customers had", page);
        Assert.DoesNotContain("the model had not seen", page);
        Assert.DoesNotContain("the model has not seen", page);

        CommandLine.Outcome evaluated = CommandLine.Run(["evaluate", folder, "--split", "valid", "--device", "cpu"]);
        Assert.Contains("these figures flatter the model.", evaluated.Out);
    }

    public void Dispose() => _folder.Dispose();

    private string Of(string name) => Path.Combine(_folder.Path, name);

    private RunConfig Config(int epochs) => RunConfig.Load(
        [],
        [
            $"data_path={_folder.Path}", "dataset=shop", "objective=cloze", "hidden_size=16", "inner_size=32", "n_layers=1",
            "learning_rate=0.003", $"epochs={epochs}", "stopping_step=100", "topk=[10]", "seed=2024",
        ]);
}
