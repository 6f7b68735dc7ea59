using System.Globalization;

namespace Bert4Rec.Configuration;

/// <summary>The metrics' names as RecBole writes them; read without regard to case.</summary>
public static class MetricName
{
    private const string GroupAuc = "GAUC";

    public static IReadOnlyList<string> All { get; } =
    [
        "Recall", "MRR", "NDCG", "Hit", "Precision", "MAP", GroupAuc, "ItemCoverage", "AveragePopularity", "GiniIndex", "ShannonEntropy",
        "TailPercentage",
    ];

    /// <summary>The name as <see cref="All"/> writes it, or null if there is no such metric.</summary>
    public static string? Find(string name) => All.FirstOrDefault(known => known.Equals(name, StringComparison.OrdinalIgnoreCase));

    /// <summary>True for a metric of the top k ("Recall@10"), false for one of the whole ranking ("GAUC").</summary>
    public static bool HasCutoff(string name) => name != GroupAuc;

    /// <summary>False where less is better: concentration on popular items.</summary>
    public static bool BiggerIsBetter(string name) => name is not ("AveragePopularity" or "GiniIndex");

    /// <summary>Reads "MRR@10" or "GAUC".</summary>
    public static bool TryParse(string text, out string name, out int cutoff)
    {
        int at = text.IndexOf('@');
        cutoff = 0;
        name = Find(at < 0 ? text : text[..at]) ?? "";
        if (name.Length == 0 || HasCutoff(name) != (at >= 0))
            return false;
        return at < 0 || (int.TryParse(text.AsSpan(at + 1), NumberStyles.None, CultureInfo.InvariantCulture, out cutoff) && cutoff > 0);
    }
}
