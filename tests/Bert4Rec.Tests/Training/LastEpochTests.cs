using Bert4Rec.Configuration;
using Bert4Rec.Inference;
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

    public void Dispose() => _folder.Dispose();

    private string Of(string name) => Path.Combine(_folder.Path, name);

    private RunConfig Config(int epochs) => RunConfig.Load(
        [],
        [
            $"data_path={_folder.Path}", "dataset=shop", "objective=cloze", "hidden_size=16", "inner_size=32", "n_layers=1",
            "learning_rate=0.003", $"epochs={epochs}", "stopping_step=100", "topk=[10]", "seed=2024",
        ]);
}
