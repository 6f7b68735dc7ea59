using System.Runtime.CompilerServices;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// <see cref="Philox"/> in device code, for the cells that share a block: of a chunk of 64 columns c, c + 8, c + 16, …, so a thread that
/// handles several of them draws once.
/// </summary>
internal static class DevicePhilox
{
    /// <summary>Of the columns c, c + 8, …, c + 56 with c = block / 8 · 64 + block % 8.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Words Draw(DropoutKey key, uint block, uint row)
    {
        uint c0 = block, c1 = row + key.FirstRow, c2 = key.Stream, c3 = key.Step;
        uint k0 = key.Seed0, k1 = key.Seed1;
        for (int round = 0; round < Philox.Rounds; round++)
        {
            ulong p0 = (ulong)Philox.Multiplier0 * c0;
            ulong p1 = (ulong)Philox.Multiplier1 * c2;
            uint n0 = (uint)(p1 >> 32) ^ c1 ^ k0, n2 = (uint)(p0 >> 32) ^ c3 ^ k1;
            c1 = (uint)p1;
            c3 = (uint)p0;
            c0 = n0;
            c2 = n2;
            k0 += Philox.Weyl0;
            k1 += Philox.Weyl1;
        }
        return new Words(c0, c1, c2, c3);
    }

    /// <summary>0 where the cell with this number is dropped, 1 / (1 − p) elsewhere.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Mask(DropoutKey key, uint number) => number < key.Threshold ? 0f : key.Scale;
}

/// <summary>One block of random numbers: four words, whose halves are a number each.</summary>
internal readonly struct Words(uint x, uint y, uint z, uint w)
{
    public const int Halves = 8;

    public readonly uint X = x;
    public readonly uint Y = y;
    public readonly uint Z = z;
    public readonly uint W = w;

    /// <summary>The number in a word's lower half.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint Lower(uint word) => word & ushort.MaxValue;

    /// <summary>The number in a word's upper half.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint Upper(uint word) => word >> 16;

    /// <summary>The number of column c + 8 · <paramref name="index"/>: the lower halves of the words come before the upper ones.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public uint Half(int index)
    {
        int i = index % 4;
        uint word = i == 0 ? X : i == 1 ? Y : i == 2 ? Z : W;
        return index < 4 ? Lower(word) : Upper(word);
    }
}

/// <summary><see cref="DropoutMask"/> as a kernel takes it. A threshold of 0 drops nothing, and a scale of 1 goes with it.</summary>
internal readonly struct DropoutKey
{
    public readonly uint Seed0;
    public readonly uint Seed1;
    public readonly uint Step;
    public readonly uint Stream;
    public readonly uint FirstRow;
    public readonly uint Threshold;
    public readonly float Scale;

    public DropoutKey(in DropoutMask dropout)
        : this(dropout.Key, dropout.Threshold, dropout.Scale)
    {
    }

    public DropoutKey(RandomKey key, uint threshold, float scale)
    {
        Seed0 = (uint)key.Seed;
        Seed1 = (uint)(key.Seed >> 32);
        Step = key.Step;
        Stream = key.Stream;
        FirstRow = key.FirstRow;
        Threshold = threshold;
        Scale = scale;
    }

    /// <summary>Whether anything can be dropped.</summary>
    public bool Drops => Threshold != 0;

    /// <summary>The key of another stream: attention's heads each have their own.</summary>
    public DropoutKey WithStream(uint stream) => new(Seed0, Seed1, Step, stream, FirstRow, Threshold, Scale);

    private DropoutKey(uint seed0, uint seed1, uint step, uint stream, uint firstRow, uint threshold, float scale)
    {
        Seed0 = seed0;
        Seed1 = seed1;
        Step = step;
        Stream = stream;
        FirstRow = firstRow;
        Threshold = threshold;
        Scale = scale;
    }
}
