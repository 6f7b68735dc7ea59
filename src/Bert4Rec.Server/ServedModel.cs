using Bert4Rec.Inference;

namespace Bert4Rec.Server;

/// <summary>
/// A model that requests share: it is closed when its host has another one and the last request that began with it has ended.
/// </summary>
internal sealed class ServedModel(Recommender recommender) : IDisposable
{
    // The first is the host's.
    private int _holders = 1;

    public Recommender Recommender => recommender;

    public bool IsClosed => Volatile.Read(ref _holders) == 0;

    public DateTimeOffset Loaded { get; } = DateTimeOffset.UtcNow;

    /// <summary>Takes hold of it, until a <see cref="Dispose"/>; false where it is closed.</summary>
    public bool TryHold()
    {
        int holders = Volatile.Read(ref _holders);
        while (holders > 0)
        {
            int seen = Interlocked.CompareExchange(ref _holders, holders + 1, holders);
            if (seen == holders)
                return true;
            holders = seen;
        }
        return false;
    }

    /// <summary>Lets go of it.</summary>
    public void Dispose()
    {
        if (Interlocked.Decrement(ref _holders) == 0)
            recommender.Dispose();
    }
}
