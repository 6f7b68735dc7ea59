using System.Globalization;
using System.Runtime.InteropServices;
using MathNet.Numerics.Distributions;

namespace Bert4Rec.Evaluation;

/// <summary>
/// How a model does beside a baseline on the same samples: a paired t-test of the differences, customer by customer, as one customer's
/// samples are not independent.
/// </summary>
/// <param name="Metric">What is compared: "ndcg@10".</param>
/// <param name="Difference">The model's mean less the baseline's.</param>
/// <param name="StandardError">
/// Of the difference: √(G / (G − 1) Σ D_g²) / n for n samples of G customers, D_g the sum of the customer's differences, each less
/// the mean (Liang and Zeger, "Longitudinal Data Analysis Using Generalized Linear Models", 1986).
/// </param>
/// <param name="P">
/// How probable a difference at least as large, either way, would be if there were none: 2 P(T ≥ |Difference / StandardError|), T of
/// Student's distribution with G − 1 degrees of freedom (Student, "The Probable Error of a Mean", 1908). Where all customers differ by
/// the same, that of G signs which agree by chance: 2^(1 − G). 1 where none differs.
/// </param>
public sealed record Comparison(string Metric, double Difference, double StandardError, double P)
{
    /// <summary>A difference less probable than this is called one.</summary>
    public const double Significant = 0.05;

    /// <summary>What is said of rules whose rankings are without seen items because the model's blend leaves them out.</summary>
    internal const string RulesLeaveOut = "Like the model's blend, the rules leave out what customers had.";

    /// <summary>An error of so small a part of the mean is none.</summary>
    private const double Rounding = 1e-12;

    /// <summary>Whether the model is better, and not by chance.</summary>
    public bool IsBetter => Difference > 0 && P < Significant;

    /// <summary>Whether the model is worse, and not by chance.</summary>
    public bool IsWorse => Difference < 0 && P < Significant;

    /// <param name="metric">The metric's name.</param>
    /// <param name="model">[n] The model's value of each sample.</param>
    /// <param name="baseline">[n] The baseline's.</param>
    /// <param name="users">[n] Whose sample it is; empty where each is another's.</param>
    /// <exception cref="ArgumentException">The samples are not as many, or a value is no finite number.</exception>
    public static Comparison Of(
        string metric, ReadOnlySpan<double> model, ReadOnlySpan<double> baseline, ReadOnlySpan<int> users = default)
    {
        int n = model.Length;
        if (baseline.Length != n)
            throw new ArgumentException($"{n} samples of the model, and {baseline.Length} of the baseline", nameof(baseline));
        if (users.Length != n && users.Length > 0)
            throw new ArgumentException($"{n} samples, and the users of {users.Length}", nameof(users));
        double mean = 0, squares = 0;
        for (int i = 0; i < n; i++)
            mean += (model[i] - baseline[i]) / n;
        var deviations = new Dictionary<int, double>();
        for (int i = 0; i < n; i++)
            CollectionsMarshal.GetValueRefOrAddDefault(deviations, users.Length > 0 ? users[i] : i, out _) += model[i] - baseline[i] - mean;
        foreach (double deviation in deviations.Values)
            squares += deviation * deviation;
        if (!double.IsFinite(squares))
            throw new ArgumentException("a value is no finite number");
        double customers = deviations.Count, error = customers > 1 ? Math.Sqrt(customers / (customers - 1) * squares) / n : 0;
        if (error > Rounding * Math.Abs(mean))
            return new(metric, mean, error, 2 * StudentT.CDF(0, 1, customers - 1, -Math.Abs(mean / error)));
        return new(metric, mean, 0, mean == 0 ? 1 : Math.Pow(2, 1 - customers));
    }

    /// <summary>What the comparisons say, a sentence or two, and what to try where a baseline is not beaten.</summary>
    /// <param name="comparisons">By the baseline's name.</param>
    /// <param name="isLastBest">Whether the best epoch was the last one trained.</param>
    /// <param name="hasTriedNext">Whether the model, or one that it was compared with, was trained to predict the next item.</param>
    /// <param name="rulesExcludeSeen">Whether seen items were left out of the baselines' rankings because the model's blend leaves them
    /// out.</param>
    public static string Verdict(
        IReadOnlyDictionary<string, Comparison> comparisons, bool isLastBest, bool hasTriedNext, bool rulesExcludeSeen = false)
    {
        if (comparisons.Count == 0)
            return "";
        string metric = comparisons.Values.First().Metric;
        var rules = comparisons.Where(pair => pair.Key != Baselines.NoBlend).ToArray();
        string[] worse = [.. rules.Where(pair => pair.Value.IsWorse).Select(Name)];
        string[] level = [.. rules.Where(pair => !pair.Value.IsWorse && !pair.Value.IsBetter).Select(Name)];
        string[] better = [.. rules.Where(pair => pair.Value.IsBetter).Select(Name)];
        var sentences = new List<string>();
        if (worse.Length > 0)
            sentences.Add($"By {metric}, a simple rule is better than the model: {string.Join(", ", worse)}.");
        if (level.Length > 0)
            sentences.Add($"By {metric}, the model is not told apart from {string.Join(", ", level)}.");
        if (better.Length > 0)
            sentences.Add($"By {metric}, the model is better than {string.Join(", ", better)}.");
        if (rulesExcludeSeen)
            sentences.Add(RulesLeaveOut);
        if (comparisons.TryGetValue(Baselines.NoBlend, out var alone) && alone.IsWorse)
        {
            sentences.Insert(
                0,
                $"By {metric}, the model is {Amount(-alone.Difference)} better without its blend (p {Probability(alone.P)}): the "
                + "validation part, which chose it, is not like the test part. Set blend: false.");
            return string.Join(' ', sentences);
        }
        if (worse.Length + level.Length > 0)
        {
            string more = isLastBest ? "more epochs (the last was the best), " : "";
            string other = hasTriedNext ? "another hidden_dropout_prob and attn_dropout_prob" : "objective: next_item";
            sentences.Add($"Try {more}{other}, or another learning_rate; tune looks for them.");
        }
        if (alone is not null)
            sentences.Add($"Of the model's {metric}, {Amount(alone.Difference)} is the blend's (p {Probability(alone.P)}).");
        return string.Join(' ', sentences);
    }

    private static string Amount(double difference) => difference.ToString("+0.0000;-0.0000", CultureInfo.InvariantCulture);

    private static string Name(KeyValuePair<string, Comparison> pair) => $"{pair.Key} (p {Probability(pair.Value.P)})";

    private static string Probability(double p) => p < 0.001 ? "< 0.001" : $"= {p.ToString("F3", CultureInfo.InvariantCulture)}";
}
