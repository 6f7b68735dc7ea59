using Bert4Rec.Configuration;
using Bert4Rec.Serialization;

namespace Bert4Rec.Tuning;

/// <param name="Epoch">An epoch that was validated.</param>
/// <param name="Value">The validation metric after it.</param>
internal sealed record TrialPoint(int Epoch, double Value);

/// <summary>A trial of settings, as far as it got.</summary>
/// <param name="Trial">Its number, from 0.</param>
/// <param name="Rung">How many times it has gone on; <see cref="Comparison"/> before that.</param>
/// <param name="Settings">"key=value", over the settings that were given.</param>
/// <param name="Epochs">Epochs so far.</param>
/// <param name="BestEpoch">The one that was best.</param>
/// <param name="Value">The validation metric after that one, the blend included; null where there is none.</param>
/// <param name="Curve">Every validation so far, without the blend.</param>
/// <param name="Failure">Why the training left the numbers; null where it did not.</param>
/// <param name="Seconds">What this rung took; null in a journal whose budget is a number of trials, which holds no times.</param>
internal sealed record TrialReport(
    int Trial,
    int Rung,
    IReadOnlyList<string> Settings,
    int Epochs,
    int BestEpoch,
    double? Value,
    IReadOnlyList<TrialPoint> Curve,
    string? Failure,
    double? Seconds)
{
    /// <summary>In place of a rung: objectives are compared.</summary>
    public const int Comparison = -1;

    /// <summary>"learning_rate=0.001, n_layers=3".</summary>
    public string Name => Settings.Count == 0 ? "as given" : string.Join(", ", Settings);
}

/// <summary>What a tuning, or a comparison of the objectives, chose.</summary>
/// <param name="Chosen">The number of their trial.</param>
/// <param name="Trials">Every trial as it was ranked last, by its number.</param>
/// <param name="Budget">Null where only the objectives were compared.</param>
internal sealed record TuneResult(RunConfig Config, int Chosen, IReadOnlyList<TrialReport> Trials, TuneBudget? Budget)
{
    /// <summary>The objectives, where they were compared before one of them was tuned.</summary>
    public IReadOnlyList<TrialReport> Compared { get; init; } = [];

    /// <summary>[rungs] The epochs of the rungs that a tuning came to.</summary>
    public IReadOnlyList<int> Rungs { get; init; } = [];

    public TrialReport Best => Trials.First(trial => trial.Trial == Chosen);

    /// <summary>What was chosen and why, in a sentence or two.</summary>
    public string Verdict()
    {
        if (Budget is null && Best.Value is null)
            return $"{Taken(Best)} is taken: there is no validation to compare by";
        if (Budget is null)
            return $"{string.Join("; ", Trials.Select(Figures))}; {Taken(Best)} is taken";
        string drawn = Printable.Count(Trials.Count, "trial");
        return $"{drawn}; the best is trial {Chosen} ({Best.Name}): {Figure(Best)}";
    }

    /// <summary>"next_item: MRR@10 0.0312 at epoch 11 of 12".</summary>
    internal string Figures(TrialReport trial) => $"{Taken(trial)}: {Figure(trial)}";

    private string Figure(TrialReport trial) => trial.Value is double value
        ? $"{Config.ValidMetric} {value.ToString($"F{Config.MetricDecimalPlace}")} at epoch {trial.BestEpoch} of {trial.Epochs}"
        : $"nothing after {trial.Epochs} epochs";

    private static string Taken(TrialReport trial) => trial.Settings[0][(trial.Settings[0].IndexOf('=') + 1)..];
}
