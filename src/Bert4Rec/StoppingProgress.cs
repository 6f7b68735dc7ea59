namespace Bert4Rec;

/// <summary>Passes on how far a long work is, and ends it there when its caller wants no more.</summary>
/// <param name="inner">Who is told; null for nobody.</param>
/// <param name="cancellation">The caller's.</param>
internal sealed class StoppingProgress(IProgress<ProgressUpdate>? inner, CancellationToken cancellation) : IProgress<ProgressUpdate>
{
    /// <exception cref="OperationCanceledException">The caller wants no more.</exception>
    public void Report(ProgressUpdate value)
    {
        cancellation.ThrowIfCancellationRequested();
        inner?.Report(value);
    }
}
