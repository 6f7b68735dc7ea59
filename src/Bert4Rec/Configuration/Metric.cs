using Bert4Rec.Evaluation;

namespace Bert4Rec.Configuration;

/// <summary>The measures of a ranking, by RecBole's names; <see cref="MetricAccumulator"/> defines them.</summary>
internal enum Metric
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
