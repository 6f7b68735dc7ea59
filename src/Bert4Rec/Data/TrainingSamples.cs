using System.Collections;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Bert4Rec.Data;

/// <summary>Samples of one user that follow each other: their targets are the events from First on.</summary>
internal readonly record struct SampleRun(int User, int First, int Count)
{
    /// <summary>The event after the last target.</summary>
    public int End => First + Count;
}

/// <summary>The samples to train on, user by user in time order. There are nearly as many as events, so they are kept as runs.</summary>
[CollectionBuilder(typeof(TrainingSamples), nameof(Of))]
internal sealed class TrainingSamples(List<SampleRun> runs) : IReadOnlyCollection<Sample>
{
    public ReadOnlySpan<SampleRun> Runs => CollectionsMarshal.AsSpan(runs);

    /// <summary>How many samples there are.</summary>
    public int Length { get; } = runs.Sum(run => run.Count);

    int IReadOnlyCollection<Sample>.Count => Length;

    public static TrainingSamples Of(ReadOnlySpan<Sample> samples)
    {
        var runs = new List<SampleRun>();
        foreach (var (user, target) in samples)
        {
            if (runs.Count > 0 && runs[^1].User == user && runs[^1].End == target)
                runs[^1] = runs[^1] with { Count = runs[^1].Count + 1 };
            else
                runs.Add(new(user, target, 1));
        }
        return new(runs);
    }

    public IEnumerator<Sample> GetEnumerator()
    {
        foreach (var run in runs)
        {
            for (int target = run.First; target < run.End; target++)
                yield return new(run.User, target);
        }
    }

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}
