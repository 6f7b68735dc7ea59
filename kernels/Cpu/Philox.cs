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

    /// <summary>The four words of the blocks with these first counters.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Blocks(V counter, uint row, RandomKey key, out V x, out V y, out V z, out V w)
    {
        (x, y, z, w) = (counter, V.WordsOf(row), V.WordsOf(key.Stream), V.WordsOf(key.Step));
        uint k0 = (uint)key.Seed, k1 = (uint)(key.Seed >> 32);
        for (int round = 0; round < Philox.Rounds; round++)
        {
            var low0 = V.MultiplyWords(x, Philox.Multiplier0, out var high0);
            var low1 = V.MultiplyWords(z, Philox.Multiplier1, out var high1);
            x = V.XorWords(high1, y, V.WordsOf(k0));
            z = V.XorWords(high0, w, V.WordsOf(k1));
            y = low1;
            w = low0;
            k0 += Philox.Weyl0;
            k1 += Philox.Weyl1;
        }
    }
}
