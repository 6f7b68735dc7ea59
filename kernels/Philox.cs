using System.Runtime.CompilerServices;

namespace Bert4Rec.Kernels;

/// <summary>
/// Philox4x32-10, the counter-based generator of Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011).
/// A number is a pure function of (key, counter): every backend, thread and replay computes the same one, so nothing random is ever stored.
/// </summary>
/// <remarks>
/// The model draws random numbers for the cells of a matrix, 16 bits each: a block is good for eight. The cell at (row, column) takes
/// those of the block with counter (column / 64 * 8 + column % 8, row, stream, step): the lower half of word column / 8 % 4 where column
/// % 64 &lt; 32, else its upper half. Eight neighbouring columns lie in eight blocks, so a vector of counters gives whole vectors of them.
/// </remarks>
public static class Philox
{
    internal const uint Multiplier0 = 0xD2511F53;
    internal const uint Multiplier1 = 0xCD9E8D57;
    internal const uint Weyl0 = 0x9E3779B9;
    internal const uint Weyl1 = 0xBB67AE85;
    internal const int Rounds = 10;

    /// <summary>The four words of one block.</summary>
    public static (uint X, uint Y, uint Z, uint W) Block(uint c0, uint c1, uint c2, uint c3, ulong seed)
    {
        uint k0 = (uint)seed, k1 = (uint)(seed >> 32);
        for (int round = 0; round < Rounds; round++)
        {
            ulong p0 = (ulong)Multiplier0 * c0;
            ulong p1 = (ulong)Multiplier1 * c2;
            (c0, c1, c2, c3) = ((uint)(p1 >> 32) ^ c1 ^ k0, (uint)p1, (uint)(p0 >> 32) ^ c3 ^ k1, (uint)p0);
            k0 += Weyl0;
            k1 += Weyl1;
        }
        return (c0, c1, c2, c3);
    }

    /// <summary>The random number of a matrix cell, in [0, 2¹⁶); see the remarks on the type.</summary>
    public static uint Cell(ulong seed, uint step, uint stream, uint row, uint column)
    {
        var (x, y, z, w) = Block((column / 64 * 8) + (column % 8), row, stream, step, seed);
        uint word = (column / 8 % 4) switch { 0 => x, 1 => y, 2 => z, _ => w };
        return column % 64 < 32 ? word & ushort.MaxValue : word >> 16;
    }

    /// <summary>What a <see cref="Cell"/> is below with this probability, to the nearest 2⁻¹⁶: in [0, 2¹⁶].</summary>
    /// <param name="probability">In [0, 1].</param>
    public static uint Threshold(float probability) => (uint)MathF.Round(probability * (ushort.MaxValue + 1));

    /// <summary>The word as a number in [0, 1), on a grid of 2⁻²⁴ so that float holds it exactly.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float ToUnit(uint word) => (word >> 8) * (1f / (1 << 24));
}

/// <summary>Which random numbers a kernel draws: those of (seed, step, stream), for the rows from <c>FirstRow</c> on.</summary>
/// <param name="Seed">The run's seed.</param>
/// <param name="Step">The training step.</param>
/// <param name="Stream">The purpose: a layer's dropout, the cloze mask, … No two purposes of one step share a stream.</param>
/// <param name="FirstRow">Row of the whole batch that the kernel's row 0 is, so that how a batch is cut does not change its
/// numbers.</param>
public readonly record struct RandomKey(ulong Seed, uint Step, uint Stream, uint FirstRow);
