using Bert4Rec.Inference;
using Bert4Rec.Kernels.Reference;
using Bert4Rec.Tests.Kernels;
using Bert4Rec.Tests.Training;

namespace Bert4Rec.Tests.Inference;

public sealed class PredictorTests(SmallShop shop) : IClassFixture<SmallShop>
{
    /// <summary>The position 0 is the oldest event's, or else the mask's, or in a causal model the last event's.</summary>
    [Theory]
    [InlineData("objective=cloze")]
    [InlineData("norm_first=true", "position_order=newest")]
    [InlineData("objective=next_item", "position_order=newest", "output_head=false")]
    [InlineData("objective=next_item", "norm_first=true")]
    public void Scores_and_attention_are_the_reference_models(params string[] settings)
    {
        const int Items = 40;
        string directory = shop.NewRun();
        SmallShop.Train(shop.Config([.. settings, "blend=false", "epochs=2", "learning_rate=0.02"]), directory);
        var folder = ModelFolder.Load(directory, null);
        var shape = folder.Layout.Shape;
        string[] history = ["p4", "p2", "p9"];
        int[] ids = [.. history.Select(token => folder.Dataset.Items.TryGetId(token, out int id) ? id : 0)];
        int[] tokens = shape.Causal ? ids : [.. ids, shape.MaskToken];
        var positions = Enumerable.Range(0, tokens.Length);
        var batch = new ReferenceBatch(
            tokens, [.. shape.NewestFirst ? positions.Reverse() : positions], [0, tokens.Length], [tokens.Length - 1], [0, 1]);
        var parameters = folder.Layout.Entries.ToDictionary(
            entry => entry.Name,
            entry => folder.Parameters[(int)entry.Offset..(int)(entry.Offset + entry.Length)].ToMatrix(entry.Shape[^1]));
        var reference = new ReferenceModel(parameters, shape.Heads, shape.LayerNormEpsilon, shape.Causal);
        var scores = reference.Scores(batch);

        using var recommender = TrainedShop.Open(directory);
        var list = recommender.Recommend(new RecommendationRequest { History = history, K = Items }).Items;
        Assert.Equal(Items, list.Count);
        foreach (var item in list)
        {
            Assert.True(folder.Dataset.Items.TryGetId(item.Token, out int id));
            Assert.Equal(scores[0, id], item.Score, 1e-4);
        }

        var attended = recommender.Attention(["nobody knows", .. history]);
        Assert.Equal(history, attended.Select(each => each.Token));
        var probabilities = reference.LastProbabilities(batch);
        for (int layer = 0; layer < shape.Layers; layer++)
        {
            double[] expected = [.. probabilities[layer].ColumnSums() / shape.Heads];
            Assert.Equal(1, expected.Sum(), 1e-9);
            Assert.Equal(1, attended.Sum(each => each.WeightOfLayer[layer]) + (shape.Causal ? 0 : expected[^1]), 1e-4);
            Assert.All(attended, (each, place) => Assert.Equal(expected[place], each.WeightOfLayer[layer], 1e-4));
        }
    }
}
