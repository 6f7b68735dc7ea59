using Bert4Rec.Kernels;

namespace Bert4Rec.Benchmarks;

/// <summary>What calls of an operation cost, in sum.</summary>
/// <param name="Calls">How many.</param>
/// <param name="Seconds">In them.</param>
/// <param name="FloatingPointOperations">Of the matrix products in them, two for a multiply-add; nothing else is counted.</param>
/// <param name="Bytes">Of their operands and results, each touched once.</param>
internal readonly record struct Cost(long Calls, double Seconds, double FloatingPointOperations, double Bytes)
{
    public static Cost operator +(Cost a, Cost b) =>
        new(a.Calls + b.Calls, a.Seconds + b.Seconds, a.FloatingPointOperations + b.FloatingPointOperations, a.Bytes + b.Bytes);
}

/// <summary>
/// Times every operation of kernels that return when they are done, as those of the cpu do, and counts its work from its shapes. Rounds of
/// the same calls keep the least time of each call, on the thread's own clock: what else the machine did meanwhile drops out.
/// </summary>
internal sealed class KernelProfile : IKernelObserver
{
    private readonly List<(string Name, Cost Cost)> _calls = [];
    private int _next;
    private double _start;

    /// <summary>The calls of a round; those of linear layers name their shape.</summary>
    public IReadOnlyList<(string Name, Cost Cost)> Calls => _calls;

    /// <summary>Tokens that the round's steps took into the model.</summary>
    public long Tokens { get; private set; }

    public void BeginRound() => Tokens = _next = 0;

    public void Before(in KernelCall call) => _start = ThreadClock.Now();

    public void After(in KernelCall call)
    {
        double seconds = ThreadClock.Now() - _start;
        if (_next == _calls.Count)
            _calls.Add((NameOf(call), new Cost(1, seconds, 2.0 * call.MultiplyAdds, call.Bytes)));
        else if (seconds < _calls[_next].Cost.Seconds)
            _calls[_next] = (_calls[_next].Name, _calls[_next].Cost with { Seconds = seconds });
        Tokens += call.Tokens;
        _next++;
    }

    private static string NameOf(in KernelCall call)
    {
        if (call.Operation.StartsWith("Linear", StringComparison.Ordinal))
        {
            Tensor weight = call.Operation.EndsWith("Weight", StringComparison.Ordinal) ? call.Added[0] : call.Read[1];
            return $"{call.Operation} {weight.Columns} → {weight.Rows}";
        }
        bool someQueries = call.Operation.StartsWith("Attention", StringComparison.Ordinal) && call.Read[0].Rows != call.Read[1].Rows;
        return someQueries ? call.Operation + ", some queries" : call.Operation;
    }
}
