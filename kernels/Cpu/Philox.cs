using System.Runtime.CompilerServices;

namespace Bert4Rec.Kernels.Cpu;

/// <summary>
/// <see cref="Philox"/> in vectors: lanes are neighbouring counters, which the cells of a row are assigned to so that whole vectors of
/// neighbouring columns come out.
/// </summary>
internal static unsafe class Philox<V>
    where V : struct, IVector<V>
{
    /// <summary>
    /// For each column of a row: 0 where its random word is below the threshold, else the value.
    /// </summary>
    /// <param name="key">The random numbers to draw.</param>
    /// <param name="row">The row's number in the whole batch.</param>
    /// <param name="threshold">Words below it give 0.</param>
    /// <param name="value">What the others give.</param>
    /// <param name="mask">Room for the columns rounded up to 64.</param>
    /// <param name="columns">Columns of the row.</param>
    public static void ThresholdRow(in RandomKey key, uint row, uint threshold, float value, float* mask, int columns)
    {
        V least = V.WordsOf(threshold), kept = value;
        for (int block = 0; block < columns; block += 64)
        {
            for (int lane = 0; lane < 16; lane += V.Width)
            {
                Blocks(V.WordsFrom((uint)((block / 4) + lane)), row, key, out var x, out var y, out var z, out var w);
                float* m = mask + block + lane;
                V.SelectAtLeastWords(x, least, kept, 0).Store(m);
                V.SelectAtLeastWords(y, least, kept, 0).Store(m + 16);
                V.SelectAtLeastWords(z, least, kept, 0).Store(m + 32);
                V.SelectAtLeastWords(w, least, kept, 0).Store(m + 48);
            }
        }
    }

    /// <summary>
    /// The four words of the blocks with these counters. The blocks of even lanes and those of odd ones go apart, each word in the even
    /// lane of a pair: a product fills the pair, and its halves are at hand.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Blocks(V counters, uint row, RandomKey key, out V x, out V y, out V z, out V w)
    {
        var (x0, y0, z0, w0) = (counters, V.WordsOf(row), V.WordsOf(key.Stream), V.WordsOf(key.Step));
        var (x1, y1, z1, w1) = (V.OddToEven(counters), y0, z0, w0);
        uint k0 = (uint)key.Seed, k1 = (uint)(key.Seed >> 32);
        for (int round = 0; round < Philox.Rounds; round++)
        {
            V key0 = V.WordsOf(k0), key1 = V.WordsOf(k1);
            V p0 = V.MultiplyEven(x0, Philox.Multiplier0), q0 = V.MultiplyEven(z0, Philox.Multiplier1);
            V p1 = V.MultiplyEven(x1, Philox.Multiplier0), q1 = V.MultiplyEven(z1, Philox.Multiplier1);
            x0 = V.XorWords(V.OddToEven(q0), y0, key0);
            x1 = V.XorWords(V.OddToEven(q1), y1, key0);
            z0 = V.XorWords(V.OddToEven(p0), w0, key1);
            z1 = V.XorWords(V.OddToEven(p1), w1, key1);
            (y0, y1, w0, w1) = (q0, q1, p0, p1);
            k0 += Philox.Weyl0;
            k1 += Philox.Weyl1;
        }
        (x, y, z, w) = (V.Interleave(x0, x1), V.Interleave(y0, y1), V.Interleave(z0, z1), V.Interleave(w0, w1));
    }
}
