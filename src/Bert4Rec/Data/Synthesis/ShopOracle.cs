using System.Text.Json.Serialization;
using Bert4Rec.Serialization;

namespace Bert4Rec.Data.Synthesis;

/// <summary>The best that anyone could reach on a synthetic shop's test samples, by ranking with the true probabilities.</summary>
/// <param name="Samples">Test samples of the leave-one-out split that were measured.</param>
/// <param name="Expected">Mean over the samples of what the best list is to be expected to get: no recommender has a higher expectation.
/// </param>
/// <param name="Realised">What the best list gets on the purchases that were in fact made; luck included.</param>
internal sealed record ShopOracle(int Samples, OracleValues? Expected, OracleValues? Realised, ShopParameters Parameters);

/// <summary>Metrics of the best lists of ten.</summary>
internal sealed record OracleValues(
    [property: JsonPropertyName("recall@10")] double Recall,
    [property: JsonPropertyName("ndcg@10")] double Ndcg);

[JsonSerializable(typeof(ShopOracle))]
internal sealed partial class SynthesisJson : JsonSerializerContext
{
    public static RecordJson Records { get; } = new(new SynthesisJson());
}

/// <summary>Gathers a <see cref="ShopOracle"/> sample by sample.</summary>
internal sealed class OracleMeasure(Shop shop)
{
    private const int K = 10;

    private readonly double[] _probabilities = new double[shop.ItemCount];
    private double _expectedRecall;
    private double _expectedNdcg;
    private double _realisedRecall;
    private double _realisedNdcg;
    private int _samples;

    /// <param name="history">Items, oldest first.</param>
    /// <param name="target">What was bought next.</param>
    public void Add(ReadOnlySpan<int> history, int target)
    {
        shop.Probabilities(history, _probabilities);
        var best = new PriorityQueue<int, (double Probability, int NegatedItem)>(K + 1);
        for (int item = 0; item < _probabilities.Length; item++)
        {
            var priority = (_probabilities[item], -item);
            if (best.Count < K)
                best.Enqueue(item, priority);
            else if (best.TryPeek(out _, out var worst) && priority.Item1 > worst.Probability)
                best.DequeueEnqueue(item, priority);
        }
        for (int place = best.Count - 1; place >= 0; place--)
        {
            int item = best.Dequeue();
            double gain = 1 / Math.Log2(place + 2);
            _expectedRecall += _probabilities[item];
            _expectedNdcg += _probabilities[item] * gain;
            _realisedRecall += item == target ? 1 : 0;
            _realisedNdcg += item == target ? gain : 0;
        }
        _samples++;
    }

    public ShopOracle Result(ShopParameters parameters)
    {
        // Six decimals: the logarithm's last bits are the machine's.
        OracleValues? Means(double recall, double ndcg) =>
            _samples == 0 ? null : new(Math.Round(recall / _samples, 6), Math.Round(ndcg / _samples, 6));
        return new(_samples, Means(_expectedRecall, _expectedNdcg), Means(_realisedRecall, _realisedNdcg), parameters);
    }
}
