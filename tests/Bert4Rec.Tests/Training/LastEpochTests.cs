using Bert4Rec.Configuration;
using Bert4Rec.Inference;
using Bert4Rec.Training;

namespace Bert4Rec.Tests.Training;

/// <summary>Customers who never take the same item twice: what a model says of those that they had is nothing to choose it by.</summary>
public sealed class LastEpochTests : IDisposable
{
    private const int Users = 400, Groups = 3, ItemsOfGroup = 30, EventsOfUser = 14;

    private readonly TemporaryFolder _folder = new();

    public LastEpochTests()
    {
        var random = new Random(1);
        var lines = new List<string> { "user_id:token\titem_id:token\ttimestamp:float" };
        for (int user = 0; user < Users; user++)
        {
            int[] items = [.. Enumerable.Range(random.Next(Groups) * ItemsOfGroup, ItemsOfGroup)];
            // The first of a group sell best: by weights of 1, 1/2, 1/3, …
            var order = items.OrderBy(item => Math.Log(random.NextDouble()) * -(1 + (item % ItemsOfGroup)));
            lines.AddRange(order.Take(EventsOfUser).Select((item, time) => $"u{user}\ti{item}\t{time}"));
        }
        Directory.CreateDirectory(Path.Combine(_folder.Path, "shop"));
        File.WriteAllLines(Path.Combine(_folder.Path, "shop", "shop.inter"), lines);
    }

    [Fact]
    public void Where_the_blend_makes_the_last_epoch_the_better_one_it_is_the_model()
    {
        string whole = Of("whole"), shorter = Of("shorter");
        var epochs = new List<EpochReport>();
        TrainingResult result = SmallShop.Train(Config(100), whole, onEpoch: epochs.Add);
        int best = epochs.Last(epoch => epoch.IsBest).Epoch;
        Assert.NotEqual(BlendWeights.None, result.Blend!.Weights);
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

    public void Dispose() => _folder.Dispose();

    private string Of(string name) => Path.Combine(_folder.Path, name);

    private RunConfig Config(int epochs) => RunConfig.Load(
        [],
        [
            $"data_path={_folder.Path}", "dataset=shop", "objective=cloze", "hidden_size=16", "inner_size=32", "n_layers=1",
            "learning_rate=0.003", $"epochs={epochs}", "stopping_step=100", "topk=[10]", "seed=2020",
        ]);
}
