using System.Runtime.InteropServices;

namespace Bert4Rec.Cli.Output;

/// <summary>
/// Turns the first Ctrl-C, or SIGTERM, into a request to stop after the current step; the second one ends the process at once, as without
/// this class.
/// </summary>
internal sealed class Interruption : IDisposable
{
    private const int SignalExitBase = 128;

    private readonly CancellationTokenSource _source = new();
    private readonly Terminal _terminal;
    private readonly string _announcement;
    private readonly PosixSignalRegistration[] _registrations;
    private int _signals;

    /// <param name="announcement">What is done now.</param>
    public Interruption(Terminal terminal, string announcement = "stopping after this step")
    {
        _terminal = terminal;
        _announcement = announcement;
        _registrations =
        [
            PosixSignalRegistration.Create(PosixSignal.SIGINT, context => Stop(context, number: 2)),
            PosixSignalRegistration.Create(PosixSignal.SIGTERM, context => Stop(context, number: 15)),
        ];
    }

    public CancellationToken Token => _source.Token;

    /// <summary>Runs a long step, its progress on the terminal, and hands over what came of it.</summary>
    /// <param name="step">What to run; it reports its progress and looks at the token.</param>
    /// <param name="report">Told what came of it, unless it was stopped.</param>
    /// <param name="stopped">What to say when it was stopped; null for nothing.</param>
    public static int Run<T>(
        Terminal terminal, Func<ProgressReporter, CancellationToken, T> step, Action<T> report, Func<string>? stopped = null)
    {
        var progress = new ProgressReporter(terminal);
        using var interruption = new Interruption(terminal);
        T result;
        try
        {
            result = step(progress, interruption.Token);
        }
        catch (Exception e) when (interruption.Token.IsCancellationRequested && IsCancellation(e))
        {
            progress.Clear();
            if (stopped is not null)
                terminal.Error.WriteLine(stopped());
            return interruption.ExitCode;
        }
        finally
        {
            progress.Clear();
        }
        report(result);
        return ExitCodes.Success;
    }

    /// <summary>Of one thread of several, too.</summary>
    private static bool IsCancellation(Exception e) => e is OperationCanceledException
        || (e is AggregateException several && several.Flatten().InnerExceptions.All(inner => inner is OperationCanceledException));

    /// <summary>128 and the signal's number, as shells have it: 130 for Ctrl-C.</summary>
    public int ExitCode { get; private set; } = SignalExitBase + 2;

    public void Dispose()
    {
        foreach (PosixSignalRegistration registration in _registrations)
            registration.Dispose();
        _source.Dispose();
    }

    private void Stop(PosixSignalContext context, int number)
    {
        // Counted before anything that can take its time: the second signal must not wait for what the first one does.
        if (Interlocked.Increment(ref _signals) > 1)
            return;
        context.Cancel = true;
        ExitCode = SignalExitBase + number;
        _terminal.Error.WriteLine($"\n{_announcement}; once more stops at once");
        _source.Cancel();
    }
}
