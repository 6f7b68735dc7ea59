using System.Globalization;

namespace Bert4Rec.Configuration;

/// <summary>Metrics as a config writes them: "MRR", "MRR@10", "GAUC", without regard to case.</summary>
internal static class MetricNames
{
    /// <summary>True for a metric of the top k, false for one of the whole ranking.</summary>
    public static bool HasCutoff(this Metric metric) => metric != Metric.GAUC;

    /// <summary>False for concentration on popular items.</summary>
    public static bool BiggerIsBetter(this Metric metric) => metric is not (Metric.AveragePopularity or Metric.GiniIndex);

    public static bool TryParse(string name, out Metric metric) =>
        Enum.TryParse(name, ignoreCase: true, out metric) && name.All(char.IsAsciiLetter);

    /// <summary>Reads "MRR@10" (cutoff 10) or "GAUC" (cutoff 0).</summary>
    public static bool TryParse(string text, out Metric metric, out int cutoff)
    {
        int at = text.IndexOf('@');
        cutoff = 0;
        if (!TryParse(at < 0 ? text : text[..at], out metric) || metric.HasCutoff() != (at >= 0))
            return false;
        return at < 0 || (int.TryParse(text.AsSpan(at + 1), NumberStyles.None, CultureInfo.InvariantCulture, out cutoff) && cutoff > 0);
    }
}
