namespace Bert4Rec.Kernels;

/// <summary>
/// A row of random numbers to be taken one after the other: number n is a function of (seed, stream, row, n), so it does not matter in
/// which order, batch or thread the rows are drawn. Only integer arithmetic and exact scalings: the same numbers on every machine.
/// </summary>
internal struct PhiloxSequence(ulong seed, uint stream, uint row)
{
    private uint _next;

    /// <summary>64 random bits.</summary>
    public ulong NextBits()
    {
        var (x, y, _, _) = Philox.Block(_next++, row, stream, 0, seed);
        return ((ulong)x << 32) | y;
    }

    /// <summary>An integer from 0 to <paramref name="bound"/> − 1; uniform but for a bias below bound · 2⁻⁶⁴.</summary>
    public long NextBelow(long bound) => (long)Math.BigMul(NextBits(), (ulong)bound, out _);

    /// <summary>A number in [0, 1), on a grid of 2⁻⁵³.</summary>
    public double NextUnit() => (NextBits() >> 11) * (1.0 / (1UL << 53));

    /// <summary>Fisher–Yates.</summary>
    public void Shuffle<T>(Span<T> values)
    {
        for (int i = values.Length - 1; i > 0; i--)
        {
            int j = (int)NextBelow(i + 1);
            (values[i], values[j]) = (values[j], values[i]);
        }
    }
}
