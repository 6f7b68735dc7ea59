namespace Bert4Rec.Configuration;

/// <summary>How samples are split and ranked: RecBole's eval_args. Grouping by user and order by time are the only ones here.</summary>
internal sealed record EvalArgs(SplitRule Split, EvaluationMode ValidMode, EvaluationMode TestMode);

/// <summary>Which of a user's samples train, validate and test; see <see cref="LeaveOneOut"/> and <see cref="RatioSplit"/>.</summary>
internal abstract record SplitRule
{
    /// <summary>Whether samples are held back for validation.</summary>
    public abstract bool HasValidation { get; }
}

/// <summary>The last sample of a user tests and the one before it validates: RecBole's "LS".</summary>
/// <param name="Valid">There is a validation part ("valid_and_test", "valid_only").</param>
/// <param name="Test">There is a test part ("valid_and_test", "test_only").</param>
internal sealed record LeaveOneOut(bool Valid, bool Test) : SplitRule
{
    public override bool HasValidation => Valid;
}

/// <summary>Shares of each user's samples, normalised to a sum of 1: RecBole's "RS".</summary>
internal sealed record RatioSplit(double Train, double Valid, double Test) : SplitRule
{
    public override bool HasValidation => Valid > 0;
}
