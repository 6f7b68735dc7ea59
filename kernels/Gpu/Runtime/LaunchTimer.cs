using ILGPU.Runtime;

namespace Bert4Rec.Kernels.Gpu.Runtime;

/// <summary>What a kernel's launch took on the device.</summary>
/// <param name="Kernel">Its name.</param>
/// <param name="Groups">How many it had.</param>
/// <param name="Microseconds">From the queue's coming to it to its end.</param>
internal readonly record struct LaunchTime(string Kernel, long Groups, double Microseconds);

/// <summary>
/// Times each launch by marks in its queue, which the device itself makes: what the host does meanwhile does not count, unless the queue
/// runs empty.
/// </summary>
internal sealed class LaunchTimer
{
    private readonly List<(string Kernel, long Groups, ProfilingMarker Before, ProfilingMarker After)> _launches = [];

    /// <summary>Launches with marks around it.</summary>
    public void Time(AcceleratorStream queue, string kernel, long groups, Action launch)
    {
        var before = queue.AddProfilingMarker();
        launch();
        _launches.Add((kernel, groups, before, queue.AddProfilingMarker()));
    }

    /// <summary>Waits for the launches since the last time, and says what each took.</summary>
    public IReadOnlyList<LaunchTime> Take()
    {
        var times = new List<LaunchTime>(_launches.Count);
        foreach (var (kernel, groups, before, after) in _launches)
        {
            using (before)
            using (after)
            {
                after.Synchronize();
                times.Add(new(kernel, groups, after.MeasureFrom(before).TotalMicroseconds));
            }
        }
        _launches.Clear();
        return times;
    }
}
