using Bert4Rec.Configuration;

namespace Bert4Rec.Evaluation;

/// <summary>How to evaluate.</summary>
public sealed record EvaluationSettings
{
    /// <summary>Against what a target is ranked.</summary>
    public EvalMode Mode { get; init; } = EvalMode.Full;

    /// <summary>What to report, in this order: names of <see cref="MetricName.All"/>.</summary>
    public IReadOnlyList<string> Metrics { get; init; } = MetricName.All;

    /// <summary>List lengths.</summary>
    public IReadOnlyList<int> TopK { get; init; } = [10];

    /// <summary>Samples ranked at once.</summary>
    public int BatchSize { get; init; } = 4096;

    /// <summary>Of the drawn competitors.</summary>
    public ulong Seed { get; init; } = 2020;
}
