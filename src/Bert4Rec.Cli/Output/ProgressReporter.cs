using System.Globalization;
using Spectre.Console;

namespace Bert4Rec.Cli.Output;

/// <summary>
/// Shows how far a long operation is, on standard error: one line redrawn in place in a terminal, and elsewhere (a log, a pipe) a plain
/// line every few seconds for whatever takes longer than two. Reports may come from any thread and as often as they like.
/// </summary>
/// <param name="time">The clock; null for the system's.</param>
internal sealed class ProgressReporter(Terminal terminal, TimeProvider? time = null) : IProgress<ProgressUpdate>, IDisposable
{
    private static readonly TimeSpan LiveInterval = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan LineInterval = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan LineDelay = TimeSpan.FromSeconds(2);

    private readonly Lock _lock = new();
    private readonly IAnsiConsole _console = Terminal.Draw(terminal.Error, terminal.ErrorIsTerminal);
    private readonly TimeProvider _time = time ?? TimeProvider.System;
    private string? _phase;
    private long _phaseStart;
    private string? _activity;
    private long _activityStart;
    private long _firstDone;
    private long? _lastShown;
    private bool _lineIsDrawn;

    /// <summary>Whether a line can be drawn again.</summary>
    private bool IsLive => terminal.ErrorIsTerminal && _console.Profile.Capabilities.Ansi;

    public void Report(ProgressUpdate value)
    {
        lock (_lock)
        {
            long now = _time.GetTimestamp();
            // Epochs that are shorter than the delay are one long activity.
            string phase = string.Concat(value.Activity.Where(character => !char.IsAsciiDigit(character)));
            if (phase != _phase)
            {
                _phase = phase;
                _phaseStart = now;
            }
            if (value.Activity != _activity)
            {
                _activity = value.Activity;
                _activityStart = now;
                _firstDone = value.Done;
            }
            TimeSpan elapsed = _time.GetElapsedTime(_activityStart, now);
            bool due = _lastShown is not long shown || _time.GetElapsedTime(shown, now) >= (IsLive ? LiveInterval : LineInterval);
            if (!due || (!IsLive && _time.GetElapsedTime(_phaseStart, now) < LineDelay))
                return;
            _lastShown = now;
            string line = Describe(value, value.Done - _firstDone, elapsed);
            if (IsLive)
                Redraw(line);
            else
                terminal.Error.WriteLine(line);
        }
    }

    /// <summary>What is written takes the drawn line away first.</summary>
    public Action<T> Above<T>(Action<T> write) => value =>
    {
        Clear();
        write(value);
    };

    /// <summary>Takes the drawn line away, before something else is written and at the end.</summary>
    public void Clear()
    {
        lock (_lock)
        {
            if (_lineIsDrawn)
                _console.Write(new ControlCode("\r\u001b[2K"));
            _lineIsDrawn = false;
        }
    }

    public void Dispose() => Clear();

    /// <summary>"reading log.csv: 41%, 1.23M of 3.00M bytes, 358k bytes/s, 5 s left, 12,345 rows".</summary>
    internal static string Describe(ProgressUpdate update, long doneSinceStart, TimeSpan elapsed)
    {
        var parts = new List<string>();
        if (update.Total > 0)
            parts.Add($"{Math.Clamp(100 * update.Done / update.Total, 0, 100)}%");
        parts.Add(update.Total > 0
            ? $"{Short(update.Done)} of {Short(update.Total)} {update.Unit}"
            : $"{Short(update.Done)} {update.Unit}");
        if (doneSinceStart > 0 && elapsed.TotalSeconds >= 0.5)
        {
            double rate = doneSinceStart / elapsed.TotalSeconds;
            parts.Add($"{Short(rate)} {update.Unit}/s");
            if (update.Total > update.Done)
                parts.Add($"{Duration((update.Total - update.Done) / rate)} left");
        }
        if (update.Detail is not null)
            parts.Add(update.Detail);
        return $"{update.Activity}: {string.Join(", ", parts)}";
    }

    /// <summary>Three digits and a magnitude: 999, 1.23k, 45.6M.</summary>
    internal static string Short(double value)
    {
        (double scaled, string suffix) = value switch
        {
            >= 999.5e6 => (value / 1e9, "G"),
            >= 999.5e3 => (value / 1e6, "M"),
            >= 999.5 => (value / 1e3, "k"),
            _ => (value, ""),
        };
        string format = scaled >= 99.95 || (suffix.Length == 0 && scaled == Math.Floor(scaled)) ? "F0" : scaled >= 9.995 ? "F1" : "F2";
        return scaled.ToString(format, CultureInfo.InvariantCulture) + suffix;
    }

    internal static string Duration(double seconds)
    {
        double whole = Math.Round(seconds);
        return whole switch
        {
            < 60 => $"{whole:F0} s",
            < 3600 => $"{TimeSpan.FromSeconds(whole):m\\:ss} min",
            < 100 * 3600 => $"{Math.Floor(whole / 3600):F0}:{TimeSpan.FromSeconds(whole):mm} h",
            _ => "over 4 days",
        };
    }

    private void Redraw(string line)
    {
        // A line that wraps could not be taken back.
        int width = Math.Max(1, _console.Profile.Width - 1);
        _console.Write(new ControlCode("\r\u001b[2K"));
        _console.Write(new Text(line.Length > width ? line[..width] : line, new Style(Color.Grey)));
        _lineIsDrawn = true;
    }
}
