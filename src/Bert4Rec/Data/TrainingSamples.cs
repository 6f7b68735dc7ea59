using System.Runtime.InteropServices;

namespace Bert4Rec.Data;

/// <summary>Samples of one user that follow each other: their targets are the events from First on.</summary>
internal readonly record struct SampleRun(int User, int First, int Count)
{
    /// <summary>The event after the last target.</summary>
    public int End => First + Count;
}

/// <summary>The samples to train on, user by user in time order. There are nearly as many as events, so they are kept as runs.</summary>
internal sealed class TrainingSamples(List<SampleRun> runs)
{
    public ReadOnlySpan<SampleRun> Runs => CollectionsMarshal.AsSpan(runs);

    /// <summary>How many samples there are.</summary>
    public int Length { get; } = runs.Sum(run => run.Count);
}
