namespace Bert4Rec;

/// <summary>
/// The run cannot go on because of what the user gave it. The message is one line that names the file, the line and the value, and says
/// what would be right; the command line prints it without a stack trace and exits with 1, or with 2 for <see cref="IsWrongUsage"/>.
/// </summary>
public sealed class InputException : Exception
{
    /// <param name="message">One line.</param>
    public InputException(string message)
        : base(message)
    {
    }

    /// <param name="message">One line.</param>
    /// <param name="inner">What the system said.</param>
    public InputException(string message, Exception inner)
        : base(message, inner)
    {
    }

    /// <summary>Nothing was tried: what was asked for is beyond a limit.</summary>
    public bool IsWrongUsage { get; init; }

    /// <summary>A training left the numbers: its settings are to blame, and others may do.</summary>
    public bool IsDivergence { get; init; }

    /// <summary>Every rank of a job finds the same, at the same place.</summary>
    internal bool IsOfAllRanks { get; init; }

    /// <summary>An error at a line of a file: "FILE:LINE: message".</summary>
    public static InputException At(string file, long line, string message) => new($"{file}:{line}: {message}");
}
