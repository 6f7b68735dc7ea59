using System.Runtime.CompilerServices;

namespace Bert4Rec.Kernels.Cpu;

/// <summary>
/// <see cref="Philox"/> in vectors: lanes are neighbouring counters, which the cells of a row are assigned to so that whole vectors of
/// neighbouring columns come out.
/// </summary>
internal static unsafe class Philox<V>
    where V : struct, IVector<V>
{
    // Columns whose numbers stand in the same half and word of as many blocks.
    private const int Neighbours = 8;

    /// <summary>For each column of a row: 0 where its random number is below the threshold, else the value.</summary>
    /// <param name="key">The random numbers to draw.</param>
    /// <param name="row">The row's number in the whole batch.</param>
    /// <param name="threshold">Numbers below it give 0; less than 2¹⁶.</param>
    /// <param name="value">What the others give.</param>
    /// <param name="mask">Room for the columns rounded up to 64.</param>
    /// <param name="columns">Columns of the row.</param>
    public static void ThresholdRow(in RandomKey key, uint row, uint threshold, float value, float* mask, int columns)
    {
        if (V.Width > Neighbours)
        {
            // Sixteen lanes would have to be cells of two rows.
            Philox<F32x8>.ThresholdRow(key, row, threshold, value, mask, columns);
            return;
        }
        V least = V.WordsOf(threshold << 16), kept = value;
        for (int chunk = 0; chunk < columns; chunk += 64)
        {
            for (int lane = 0; lane < Neighbours; lane += V.Width)
            {
                Blocks((uint)((chunk / 8) + lane), row, key, out var x, out var y, out var z, out var w);
                // A number is compared in the upper half of a word: what is below it there changes nothing.
                float* m = mask + chunk + lane;
                V.SelectAtLeastWords(V.LowerHalves(x), least, kept, 0).Store(m);
                V.SelectAtLeastWords(V.LowerHalves(y), least, kept, 0).Store(m + 8);
                V.SelectAtLeastWords(V.LowerHalves(z), least, kept, 0).Store(m + 16);
                V.SelectAtLeastWords(V.LowerHalves(w), least, kept, 0).Store(m + 24);
                V.SelectAtLeastWords(x, least, kept, 0).Store(m + 32);
                V.SelectAtLeastWords(y, least, kept, 0).Store(m + 40);
                V.SelectAtLeastWords(z, least, kept, 0).Store(m + 48);
                V.SelectAtLeastWords(w, least, kept, 0).Store(m + 56);
            }
        }
    }

    /// <summary>
    /// The four words of as many blocks as there are lanes, from this counter on. Half of them go apart from the others, each word in the
    /// even lane of a pair: a product fills the pair, and its halves are at hand.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Blocks(uint first, uint row, in RandomKey key, out V x, out V y, out V z, out V w)
    {
        V x0 = V.EvenWordsFrom(first), y0 = V.WordsOf(row), z0 = V.WordsOf(key.Stream), w0 = V.WordsOf(key.Step);
        V x1 = V.EvenWordsFrom(first + (uint)(V.Width / 2)), y1 = y0, z1 = z0, w1 = w0;
        V key0 = V.WordsOf((uint)key.Seed), key1 = V.WordsOf((uint)(key.Seed >> 32));
        for (int round = 0; round < Philox.Rounds; round++)
        {
            V p0 = V.MultiplyEven(x0, Philox.Multiplier0), q0 = V.MultiplyEven(z0, Philox.Multiplier1);
            V p1 = V.MultiplyEven(x1, Philox.Multiplier0), q1 = V.MultiplyEven(z1, Philox.Multiplier1);
            x0 = V.XorWords(V.OddToEven(q0), y0, key0);
            x1 = V.XorWords(V.OddToEven(q1), y1, key0);
            z0 = V.XorWords(V.OddToEven(p0), w0, key1);
            z1 = V.XorWords(V.OddToEven(p1), w1, key1);
            (y0, y1, w0, w1) = (q0, q1, p0, p1);
            key0 = V.AddWords(key0, V.WordsOf(Philox.Weyl0));
            key1 = V.AddWords(key1, V.WordsOf(Philox.Weyl1));
        }
        (x, y, z, w) = (V.EvenWords(x0, x1), V.EvenWords(y0, y1), V.EvenWords(z0, z1), V.EvenWords(w0, w1));
    }
}
