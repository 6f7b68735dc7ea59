namespace Bert4Rec.Evaluation;

/// <summary>The measures of a ranking, by RecBole's names; <see cref="MetricAccumulator"/> defines them.</summary>
public enum Metric
{
    Recall,
    MRR,
    NDCG,
    Hit,
    Precision,
    MAP,
    GAUC,
    ItemCoverage,
    AveragePopularity,
    GiniIndex,
    ShannonEntropy,
    TailPercentage,
}
