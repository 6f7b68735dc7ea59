using System.Globalization;

namespace Bert4Rec.Configuration;

/// <summary>How samples are split and ranked: RecBole's eval_args. Samples are grouped by user and ordered by time, the only way there is here.</summary>
public sealed record EvalArgs(SplitRule Split, EvalMode ValidMode, EvalMode TestMode)
{
    public string GroupBy { get; } = "user";

    public string Order { get; } = "TO";
}

/// <summary>Which of a user's samples train, validate and test; see <see cref="LeaveOneOut"/> and <see cref="RatioSplit"/>.</summary>
public abstract record SplitRule;

/// <summary>The last sample of a user tests and the one before it validates: RecBole's "LS".</summary>
/// <param name="Valid">There is a validation part ("valid_and_test", "valid_only").</param>
/// <param name="Test">There is a test part ("valid_and_test", "test_only").</param>
public sealed record LeaveOneOut(bool Valid, bool Test) : SplitRule;

/// <summary>Shares of each user's samples, normalised to a sum of 1: RecBole's "RS".</summary>
public sealed record RatioSplit(double Train, double Valid, double Test) : SplitRule;

/// <summary>Which items a target competes with.</summary>
public enum Candidates
{
    /// <summary>The whole catalogue: "full".</summary>
    Full,

    /// <summary>Items drawn evenly: "uni100".</summary>
    Uniform,

    /// <summary>Items drawn by popularity: "pop100".</summary>
    Popularity,
}

/// <param name="Candidates">Where the competing items come from.</param>
/// <param name="Count">How many are drawn; 0 for the whole catalogue.</param>
public readonly record struct EvalMode(Candidates Candidates, int Count)
{
    public static EvalMode Full => new(Candidates.Full, 0);

    public static bool TryParse(string text, out EvalMode mode)
    {
        mode = Full;
        if (text == "full")
            return true;
        if (text.Length <= 3 || !int.TryParse(text.AsSpan(3), NumberStyles.None, CultureInfo.InvariantCulture, out int count) || count < 1)
            return false;
        mode = new EvalMode(text.StartsWith("uni", StringComparison.Ordinal) ? Candidates.Uniform : Candidates.Popularity, count);
        return text.StartsWith("uni", StringComparison.Ordinal) || text.StartsWith("pop", StringComparison.Ordinal);
    }

    public override string ToString() => Candidates switch
    {
        Candidates.Full => "full",
        Candidates.Uniform => $"uni{Count}",
        _ => $"pop{Count}",
    };
}
