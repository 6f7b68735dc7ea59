using System.Runtime.CompilerServices;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// <see cref="Philox"/> in device code, for four cells that share a block: columns c, c + 16, c + 32 and c + 48 of a chunk of 64 take the
/// four words of one block, so a thread that handles those four draws once.
/// </summary>
internal static class DevicePhilox
{
    /// <summary>The words of columns c, c + 16, c + 32, c + 48 with c = block / 16 · 64 + block % 16.</summary>
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

    /// <summary>The word of one cell.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint Cell(DropoutKey key, uint row, uint column) =>
        Draw(key, (column / 64 * 16) + (column % 16), row).Word(column / 16 % 4);

    /// <summary>0 where the cell of this word is dropped, 1 / (1 − p) elsewhere.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Mask(DropoutKey key, uint word) => word < key.Threshold ? 0f : key.Scale;
}

/// <summary>One block of random numbers.</summary>
internal readonly struct Words(uint x, uint y, uint z, uint w)
{
    public readonly uint X = x;
    public readonly uint Y = y;
    public readonly uint Z = z;
    public readonly uint W = w;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public uint Word(uint index) => index == 0 ? X : index == 1 ? Y : index == 2 ? Z : W;
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
