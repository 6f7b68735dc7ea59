using Bert4Rec.Export;
using Bert4Rec.Inference;
using Bert4Rec.Tests.Inference;
using Bert4Rec.Tests.Training;
using Microsoft.ML.OnnxRuntime;

namespace Bert4Rec.Tests.Export;

/// <summary>ONNX Runtime scores histories with an exported model as <see cref="Recommender"/> does with ours.</summary>
public sealed class OnnxModelTests(SmallShop shop) : IClassFixture<SmallShop>
{
    /// <summary>Histories a variety: few by default, $BERT4REC_EXPORT_HISTORIES for as many as one has time for.</summary>
    private static readonly int s_histories =
        int.TryParse(Environment.GetEnvironmentVariable("BERT4REC_EXPORT_HISTORIES"), out int histories) ? histories : 40;

    [Theory]
    [InlineData("objective=cloze")]
    [InlineData("objective=cloze", "position_order=newest", "n_layers=1", "hidden_size=24", "n_heads=3")]
    [InlineData("objective=cloze", "norm_first=true", "inner_size=20", "MAX_ITEM_LIST_LENGTH=3")]
    [InlineData("objective=cloze", "norm_first=true", "position_order=newest", "n_layers=3", "n_heads=1")]
    [InlineData("objective=next_item")]
    [InlineData("objective=next_item", "position_order=newest", "norm_first=true", "n_layers=1")]
    [InlineData("objective=next_item", "norm_first=true", "n_layers=3", "MAX_ITEM_LIST_LENGTH=4")]
    [InlineData("model=SASRec", "n_heads=4")]
    [InlineData("model=SASRec", "position_order=newest", "norm_first=true")]
    [InlineData("recbole_compatible=true", "objective=cloze", "MAX_ITEM_LIST_LENGTH=5")]
    [InlineData("recbole_compatible=true", "model=SASRec", "MAX_ITEM_LIST_LENGTH=5")]
    public void Scores_are_those_of_the_recommender(params string[] settings)
    {
        string directory = shop.NewRun(), export = shop.NewRun();
        SmallShop.Train(shop.Config([.. settings, "blend=false", "epochs=1", "learning_rate=0.02"]), directory);
        ExportSummary summary = ModelExport.Export(directory, export);
        using var recommender = TrainedShop.Open(directory);
        using var session = new InferenceSession(Path.Combine(export, ModelExport.ModelFileName));
        var items = ModelFolder.Load(directory, null).Dataset.Items;
        var random = new Random(1);
        var histories = Enumerable.Range(0, s_histories)
            .Select(_ => Enumerable.Range(0, random.Next(1, summary.MaximumHistory + 4)).Select(_ => random.Next(1, items.Count)).ToArray())
            .ToArray();
        int length = histories.Max(history => history.Length) + 2;

        foreach (bool padsBefore in new[] { false, true })
        {
            float[] scores = Score(session, histories, length, padsBefore);
            for (int row = 0; row < histories.Length; row++)
            {
                var list = recommender.Recommend(
                    new RecommendationRequest { History = [.. histories[row].Select(item => items[item])], K = items.Count });
                Assert.Equal(summary.Items, list.Items.Count);
                Assert.Equal(float.NegativeInfinity, scores[row * items.Count]);
                foreach (Recommendation item in list.Items)
                {
                    Assert.True(items.TryGetId(item.Token, out int id));
                    Assert.Equal(item.Score, scores[(row * items.Count) + id], 1e-4f);
                }
            }
        }
    }

    private static float[] Score(InferenceSession session, int[][] histories, int length, bool padsBefore)
    {
        var ids = new long[histories.Length * length];
        var mask = new bool[ids.Length];
        // What stands where nothing is makes no difference.
        Array.Fill(ids, 7);
        foreach ((int row, int[] history) in histories.Index())
        {
            int start = (row * length) + (padsBefore ? length - history.Length : 0);
            for (int i = 0; i < history.Length; i++)
                (ids[start + i], mask[start + i]) = (history[i], true);
        }
        using var history64 = OrtValue.CreateTensorValueFromMemory(ids, [histories.Length, length]);
        using var maskBits = OrtValue.CreateTensorValueFromMemory(mask, [histories.Length, length]);
        using var run = new RunOptions();
        using var results = session.Run(run, ["history", "mask"], [history64, maskBits], ["scores"]);
        return results[0].GetTensorDataAsSpan<float>().ToArray();
    }
}
