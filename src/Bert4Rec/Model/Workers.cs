using System.Runtime.ExceptionServices;

namespace Bert4Rec.Model;

/// <summary>
/// Runs one action on several threads, worker 0 being the caller's, and waits for all. The threads live as long as the object, and a run
/// allocates nothing.
/// </summary>
internal sealed class Workers : IDisposable
{
    private readonly Barrier _start;
    private readonly Barrier _end;
    private readonly Exception?[] _failures;
    private Action<int>? _action;

    public Workers(int count)
    {
        Count = count;
        _start = new Barrier(count);
        _end = new Barrier(count);
        _failures = new Exception?[count];
        for (int worker = 1; worker < count; worker++)
        {
            int index = worker;
            new Thread(() => Loop(index)) { IsBackground = true, Name = $"worker {index}" }.Start();
        }
    }

    public int Count { get; }

    /// <summary>Calls action(0) … action(Count−1), each on its thread.</summary>
    /// <exception cref="Exception">Of the first of the calls that failed.</exception>
    public void Run(Action<int> action)
    {
        _action = action;
        _start.SignalAndWait();
        Call(0);
        _end.SignalAndWait();
        foreach (var failure in _failures)
        {
            if (failure is not null)
                ExceptionDispatchInfo.Throw(failure);
        }
    }

    public void Dispose()
    {
        _action = null;
        _start.SignalAndWait();
    }

    private void Loop(int worker)
    {
        while (true)
        {
            _start.SignalAndWait();
            if (_action is null)
                return;
            Call(worker);
            _end.SignalAndWait();
        }
    }

    private void Call(int worker)
    {
        _failures[worker] = null;
        try
        {
            _action!(worker);
        }
        catch (Exception failure)
        {
            _failures[worker] = failure;
        }
    }
}
