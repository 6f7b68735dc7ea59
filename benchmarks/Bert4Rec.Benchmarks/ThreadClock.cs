using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Bert4Rec.Benchmarks;

/// <summary>
/// Seconds that the calling thread has run on a processor, so that what else a shared machine does in between does not count. Where the
/// system is not Linux, seconds on the clock.
/// </summary>
internal static partial class ThreadClock
{
    private const int ThreadProcessorTime = 3;

    private static readonly bool _isLinux = OperatingSystem.IsLinux() && Environment.Is64BitProcess;

    public static double Now()
    {
        if (!_isLinux || GetTime(ThreadProcessorTime, out TimeSpecification time) != 0)
            return Stopwatch.GetTimestamp() / (double)Stopwatch.Frequency;
        return time.Seconds + (time.Nanoseconds * 1e-9);
    }

    /// <summary>
    /// Sleeps to some ten microseconds, where <see cref="Thread.Sleep(int)"/> knows only milliseconds; a signal may end it early.
    /// </summary>
    public static void Sleep(double seconds)
    {
        double whole = Math.Floor(seconds);
        TimeSpecification time = new() { Seconds = (long)whole, Nanoseconds = (long)((seconds - whole) * 1e9) };
        if (_isLinux)
            _ = Sleep(time, 0);
        else
            Thread.Sleep(TimeSpan.FromSeconds(seconds));
    }

    [LibraryImport("libc", EntryPoint = "nanosleep")]
    private static partial int Sleep(in TimeSpecification time, nint left);

    [LibraryImport("libc", EntryPoint = "clock_gettime")]
    private static partial int GetTime(int clock, out TimeSpecification time);

    [StructLayout(LayoutKind.Sequential)]
    private struct TimeSpecification
    {
        public long Seconds;
        public long Nanoseconds;
    }
}
