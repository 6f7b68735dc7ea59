namespace Bert4Rec.Data;

/// <summary>Memory that a phase of work on many events leaves behind.</summary>
internal static class SpareMemory
{
    /// <summary>Fewer events leave nothing that is worth a collection.</summary>
    private const int ManyEvents = 1 << 22;

    /// <summary>Gives it back before the next phase takes its own; left to itself, the collector waits until none is left.</summary>
    public static void GiveBackAfter(InteractionDataset dataset)
    {
        if (dataset.EventItems.Length > ManyEvents)
            GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
    }
}
