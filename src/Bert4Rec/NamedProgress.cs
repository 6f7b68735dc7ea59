namespace Bert4Rec;

/// <summary>Passes on how far a part of a longer work is.</summary>
/// <param name="name">The part's: "refit".</param>
/// <param name="inner">Who is told; null for nobody.</param>
internal sealed class NamedProgress(string name, IProgress<ProgressUpdate>? inner) : IProgress<ProgressUpdate>
{
    public void Report(ProgressUpdate value) => inner?.Report(value with { Activity = $"{name}, {value.Activity}" });
}
