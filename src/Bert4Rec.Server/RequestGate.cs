using Microsoft.AspNetCore.Http;

namespace Bert4Rec.Server;

/// <summary>
/// Lets only so many requests in at once; who comes after is told so at once, instead of waiting behind all of them. Bodies are read before
/// it and answers written behind it, so that no slow client keeps others out.
/// </summary>
internal sealed class RequestGate(int capacity)
{
    private int _inside;

    /// <summary>Lets some in, until what is returned is disposed of.</summary>
    /// <exception cref="ProblemException">There is no room: 503.</exception>
    public Pass Enter(int count)
    {
        // Not added before it is known to fit: one that is refused would keep others out meanwhile.
        for (int inside = _inside, seen; inside + (long)count <= capacity; inside = seen)
        {
            seen = Interlocked.CompareExchange(ref _inside, inside + count, inside);
            if (seen == inside)
                return new(this, count);
        }
        throw new ProblemException(
            StatusCodes.Status503ServiceUnavailable, $"more than {capacity} requests at once; try again later");
    }

    internal readonly struct Pass(RequestGate gate, int count) : IDisposable
    {
        public void Dispose() => Interlocked.Add(ref gate._inside, -count);
    }
}
