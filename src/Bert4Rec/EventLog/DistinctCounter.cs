using System.Numerics;

namespace Bert4Rec.EventLog;

/// <summary>
/// Counts distinct 64-bit hashes and the repeats among them: exact up to a number of entries, and beyond it from a sample, every
/// hash whose last L bits are zero, a share of 2^-L chosen by the hash alone (Wegman's adaptive sampling, in Flajolet 1990), so that its
/// standard error is about 1.2 / sqrt(entries): 0.05% at six million.
/// </summary>
/// <param name="maxEntries">Entries to hold; 8 to 16 bytes each.</param>
internal sealed class DistinctCounter(int maxEntries)
{
    private const int SmallestCapacity = 1 << 10;

    private readonly long[] _repeats = new long[64];
    private readonly long[] _markedRepeats = new long[64];
    private ulong[] _slots = new ulong[SmallestCapacity];
    private int _used;
    private int _level;

    /// <summary>False where <see cref="Distinct"/> and <see cref="Repeats"/> are estimates.</summary>
    public bool IsExact => _level == 0;

    public long Distinct => (long)_used << _level;

    /// <summary>Hashes that had been added before.</summary>
    public long Repeats => Sum(_repeats) << _level;

    /// <summary>Those among them that were marked.</summary>
    public long MarkedRepeats => Sum(_markedRepeats) << _level;

    public void Add(ulong hash, bool marked = false)
    {
        // Zero marks a free slot; one hash in 2^64 is taken for another.
        if (hash == 0)
            hash = 1UL << 63;
        int zeros = BitOperations.TrailingZeroCount(hash);
        if (zeros < _level)
            return;
        if (!Insert(_slots, hash))
        {
            _repeats[zeros]++;
            if (marked)
                _markedRepeats[zeros]++;
            return;
        }
        _used++;
        if (_used > maxEntries)
        {
            _level++;
            Rehash(_slots.Length);
        }
        else if (_used > _slots.Length / 4 * 3)
        {
            Rehash(2 * _slots.Length);
        }
    }

    private long Sum(long[] byZeros) => byZeros.AsSpan(_level).ToArray().Sum();

    private static bool Insert(ulong[] slots, ulong hash)
    {
        // The last bits choose the sample: the first ones choose the slot.
        int at = (int)(hash >> (64 - BitOperations.Log2((uint)slots.Length)));
        while (slots[at] != 0)
        {
            if (slots[at] == hash)
                return false;
            at = (at + 1) & (slots.Length - 1);
        }
        slots[at] = hash;
        return true;
    }

    private void Rehash(int capacity)
    {
        ulong[] old = _slots;
        _slots = new ulong[capacity];
        _used = 0;
        foreach (ulong hash in old)
        {
            if (hash != 0 && BitOperations.TrailingZeroCount(hash) >= _level && Insert(_slots, hash))
                _used++;
        }
    }
}
