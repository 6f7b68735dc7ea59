using System.Globalization;

namespace Bert4Rec.Configuration;

/// <summary>Which items compete with a sample's target.</summary>
internal enum CandidateSource
{
    /// <summary>Every item but padding; items of the history too.</summary>
    Full,

    /// <summary>Items drawn uniformly.</summary>
    Uniform,

    /// <summary>Items drawn in proportion to their training count.</summary>
    Popularity,
}

/// <summary>Against what the target is ranked: RecBole's <c>mode</c>.</summary>
/// <param name="Draws">How many are drawn; 0 for <see cref="CandidateSource.Full"/>.</param>
internal readonly record struct EvaluationMode(CandidateSource Source, int Draws)
{
    /// <summary>Far more than any evaluation draws, and few enough for the memory.</summary>
    public const int MaximumDraws = 100_000;

    /// <summary>Reads "full", "uni100", "pop100".</summary>
    /// <returns>False where it is none of these, or the number is not from 1 to <see cref="MaximumDraws"/>.</returns>
    public static bool TryParse(string text, out EvaluationMode mode)
    {
        mode = default;
        if (text == "full")
            return true;
        bool uniform = text.StartsWith("uni", StringComparison.Ordinal);
        if (!uniform && !text.StartsWith("pop", StringComparison.Ordinal))
            return false;
        if (!int.TryParse(text.AsSpan(3), NumberStyles.None, CultureInfo.InvariantCulture, out int draws) || draws is < 1 or > MaximumDraws)
            return false;
        mode = new(uniform ? CandidateSource.Uniform : CandidateSource.Popularity, draws);
        return true;
    }

    public override string ToString() => Source switch
    {
        CandidateSource.Full => "full",
        CandidateSource.Uniform => $"uni{Draws}",
        _ => $"pop{Draws}",
    };
}
