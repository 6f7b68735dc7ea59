using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Bert4Rec.Kernels.Cpu;

/// <summary>
/// The vector operations that the kernels are written in, so that one source runs at 512, 256 and 128 bits. V is a vector of floats, or, in
/// the operations named Bits…, of the 32-bit words that share its register.
/// </summary>
internal interface ISimd<V>
    where V : struct
{
    /// <summary>Floats in a vector.</summary>
    static abstract int Width { get; }

    /// <summary>Vectors beside each other in a register tile of six rows: four where there are 32 registers, else two.</summary>
    static abstract int TileVectors { get; }

    static abstract unsafe V Load(float* p);

    static abstract unsafe void Store(V x, float* p);

    static abstract V Broadcast(float x);

    static abstract V Add(V a, V b);

    static abstract V Subtract(V a, V b);

    static abstract V Multiply(V a, V b);

    static abstract V Divide(V a, V b);

    static abstract V Max(V a, V b);

    static abstract V Min(V a, V b);

    static abstract V Abs(V a);

    static abstract V Sqrt(V a);

    static abstract V Round(V a);

    /// <summary>a · b + c, rounded once where the hardware can.</summary>
    static abstract V MultiplyAdd(V a, V b, V c);

    /// <summary>2ⁿ for integral n in [−126, 127].</summary>
    static abstract V PowerOfTwo(V n);

    static abstract float Sum(V a);

    static abstract float MaxLane(V a);

    static abstract V GreaterThan(V a, V b);

    static abstract V Equal(V a, V b);

    static abstract V Select(V mask, V a, V b);

    /// <summary>A bit a lane, lane 0 lowest.</summary>
    static abstract uint MaskBits(V mask);

    /// <summary>0, 1, 2, … as floats.</summary>
    static abstract V Iota { get; }

    static abstract V BitsBroadcast(uint x);

    static abstract V BitsIota { get; }

    static abstract V BitsAdd(V a, V b);

    static abstract V BitsXor(V a, V b);

    /// <summary>The 64-bit products a · m, their low words returned.</summary>
    static abstract V BitsMultiply(V a, uint m, out V high);

    /// <summary>Unsigned a ≥ b.</summary>
    static abstract V BitsAtLeast(V a, V b);

    /// <summary>Floats whose upper halves are the words' lower halves: the bfloat16 numbers there.</summary>
    static abstract V BitsLowHalf(V a);

    /// <summary>The same of the words' upper halves.</summary>
    static abstract V BitsHighHalf(V a);
}

internal readonly struct Simd512 : ISimd<Vector512<float>>
{
    public static int Width => 16;

    public static int TileVectors => 4;

    public static Vector512<float> Iota => Vector512<float>.Indices;

    public static Vector512<float> BitsIota => Vector512<uint>.Indices.AsSingle();

    public static unsafe Vector512<float> Load(float* p) => Vector512.Load(p);

    public static unsafe void Store(Vector512<float> x, float* p) => x.Store(p);

    public static Vector512<float> Broadcast(float x) => Vector512.Create(x);

    public static Vector512<float> Add(Vector512<float> a, Vector512<float> b) => a + b;

    public static Vector512<float> Subtract(Vector512<float> a, Vector512<float> b) => a - b;

    public static Vector512<float> Multiply(Vector512<float> a, Vector512<float> b) => a * b;

    public static Vector512<float> Divide(Vector512<float> a, Vector512<float> b) => a / b;

    public static Vector512<float> Max(Vector512<float> a, Vector512<float> b) => Vector512.MaxNative(a, b);

    public static Vector512<float> Min(Vector512<float> a, Vector512<float> b) => Vector512.MinNative(a, b);

    public static Vector512<float> Abs(Vector512<float> a) => Vector512.Abs(a);

    public static Vector512<float> Sqrt(Vector512<float> a) => Vector512.Sqrt(a);

    public static Vector512<float> Round(Vector512<float> a) => Vector512.Round(a);

    public static Vector512<float> MultiplyAdd(Vector512<float> a, Vector512<float> b, Vector512<float> c) =>
        Vector512.MultiplyAddEstimate(a, b, c);

    public static Vector512<float> PowerOfTwo(Vector512<float> n) =>
        Vector512.ShiftLeft(Vector512.ConvertToInt32Native(n) + Vector512.Create(127), 23).AsSingle();

    public static float Sum(Vector512<float> a) => Vector512.Sum(a);

    public static float MaxLane(Vector512<float> a) => Simd256.MaxLane(Vector256.MaxNative(a.GetLower(), a.GetUpper()));

    public static Vector512<float> GreaterThan(Vector512<float> a, Vector512<float> b) => Vector512.GreaterThan(a, b);

    public static Vector512<float> Equal(Vector512<float> a, Vector512<float> b) => Vector512.Equals(a, b);

    public static Vector512<float> Select(Vector512<float> mask, Vector512<float> a, Vector512<float> b) =>
        Vector512.ConditionalSelect(mask, a, b);

    public static uint MaskBits(Vector512<float> mask) => (uint)Vector512.ExtractMostSignificantBits(mask);

    public static Vector512<float> BitsBroadcast(uint x) => Vector512.Create(x).AsSingle();

    public static Vector512<float> BitsAdd(Vector512<float> a, Vector512<float> b) => (a.AsUInt32() + b.AsUInt32()).AsSingle();

    public static Vector512<float> BitsXor(Vector512<float> a, Vector512<float> b) => (a.AsUInt32() ^ b.AsUInt32()).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> BitsMultiply(Vector512<float> a, uint m, out Vector512<float> high)
    {
        var odd = Vector512.ShiftRightLogical(a.AsUInt64(), 32);
        Vector512<ulong> evenProduct, oddProduct;
        if (Avx512F.IsSupported)
        {
            evenProduct = Avx512F.Multiply(a.AsUInt32(), Vector512.Create(m));
            oddProduct = Avx512F.Multiply(odd.AsUInt32(), Vector512.Create(m));
        }
        else
        {
            evenProduct = (a.AsUInt64() & Vector512.Create(0xFFFFFFFFul)) * Vector512.Create((ulong)m);
            oddProduct = odd * Vector512.Create((ulong)m);
        }
        var evenLanes = Vector512.Create(0x00000000FFFFFFFFul).AsUInt32();
        high = Vector512.ConditionalSelect(evenLanes, Vector512.ShiftRightLogical(evenProduct, 32).AsUInt32(), oddProduct.AsUInt32()).AsSingle();
        return Vector512.ConditionalSelect(evenLanes, evenProduct.AsUInt32(), Vector512.ShiftLeft(oddProduct, 32).AsUInt32()).AsSingle();
    }

    public static Vector512<float> BitsAtLeast(Vector512<float> a, Vector512<float> b) =>
        Vector512.GreaterThanOrEqual(a.AsUInt32(), b.AsUInt32()).AsSingle();

    public static Vector512<float> BitsLowHalf(Vector512<float> a) => Vector512.ShiftLeft(a.AsUInt32(), 16).AsSingle();

    public static Vector512<float> BitsHighHalf(Vector512<float> a) => (a.AsUInt32() & Vector512.Create(0xFFFF0000u)).AsSingle();
}

internal readonly struct Simd256 : ISimd<Vector256<float>>
{
    public static int Width => 8;

    public static int TileVectors => 2;

    public static Vector256<float> Iota => Vector256<float>.Indices;

    public static Vector256<float> BitsIota => Vector256<uint>.Indices.AsSingle();

    public static unsafe Vector256<float> Load(float* p) => Vector256.Load(p);

    public static unsafe void Store(Vector256<float> x, float* p) => x.Store(p);

    public static Vector256<float> Broadcast(float x) => Vector256.Create(x);

    public static Vector256<float> Add(Vector256<float> a, Vector256<float> b) => a + b;

    public static Vector256<float> Subtract(Vector256<float> a, Vector256<float> b) => a - b;

    public static Vector256<float> Multiply(Vector256<float> a, Vector256<float> b) => a * b;

    public static Vector256<float> Divide(Vector256<float> a, Vector256<float> b) => a / b;

    public static Vector256<float> Max(Vector256<float> a, Vector256<float> b) => Vector256.MaxNative(a, b);

    public static Vector256<float> Min(Vector256<float> a, Vector256<float> b) => Vector256.MinNative(a, b);

    public static Vector256<float> Abs(Vector256<float> a) => Vector256.Abs(a);

    public static Vector256<float> Sqrt(Vector256<float> a) => Vector256.Sqrt(a);

    public static Vector256<float> Round(Vector256<float> a) => Vector256.Round(a);

    public static Vector256<float> MultiplyAdd(Vector256<float> a, Vector256<float> b, Vector256<float> c) =>
        Vector256.MultiplyAddEstimate(a, b, c);

    public static Vector256<float> PowerOfTwo(Vector256<float> n) =>
        Vector256.ShiftLeft(Vector256.ConvertToInt32Native(n) + Vector256.Create(127), 23).AsSingle();

    public static float Sum(Vector256<float> a) => Vector256.Sum(a);

    public static float MaxLane(Vector256<float> a) => Simd128.MaxLane(Vector128.MaxNative(a.GetLower(), a.GetUpper()));

    public static Vector256<float> GreaterThan(Vector256<float> a, Vector256<float> b) => Vector256.GreaterThan(a, b);

    public static Vector256<float> Equal(Vector256<float> a, Vector256<float> b) => Vector256.Equals(a, b);

    public static Vector256<float> Select(Vector256<float> mask, Vector256<float> a, Vector256<float> b) =>
        Vector256.ConditionalSelect(mask, a, b);

    public static uint MaskBits(Vector256<float> mask) => (uint)Vector256.ExtractMostSignificantBits(mask);

    public static Vector256<float> BitsBroadcast(uint x) => Vector256.Create(x).AsSingle();

    public static Vector256<float> BitsAdd(Vector256<float> a, Vector256<float> b) => (a.AsUInt32() + b.AsUInt32()).AsSingle();

    public static Vector256<float> BitsXor(Vector256<float> a, Vector256<float> b) => (a.AsUInt32() ^ b.AsUInt32()).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> BitsMultiply(Vector256<float> a, uint m, out Vector256<float> high)
    {
        var odd = Vector256.ShiftRightLogical(a.AsUInt64(), 32);
        Vector256<ulong> evenProduct, oddProduct;
        if (Avx2.IsSupported)
        {
            evenProduct = Avx2.Multiply(a.AsUInt32(), Vector256.Create(m));
            oddProduct = Avx2.Multiply(odd.AsUInt32(), Vector256.Create(m));
        }
        else
        {
            evenProduct = (a.AsUInt64() & Vector256.Create(0xFFFFFFFFul)) * Vector256.Create((ulong)m);
            oddProduct = odd * Vector256.Create((ulong)m);
        }
        var evenLanes = Vector256.Create(0x00000000FFFFFFFFul).AsUInt32();
        high = Vector256.ConditionalSelect(evenLanes, Vector256.ShiftRightLogical(evenProduct, 32).AsUInt32(), oddProduct.AsUInt32()).AsSingle();
        return Vector256.ConditionalSelect(evenLanes, evenProduct.AsUInt32(), Vector256.ShiftLeft(oddProduct, 32).AsUInt32()).AsSingle();
    }

    public static Vector256<float> BitsAtLeast(Vector256<float> a, Vector256<float> b) =>
        Vector256.GreaterThanOrEqual(a.AsUInt32(), b.AsUInt32()).AsSingle();

    public static Vector256<float> BitsLowHalf(Vector256<float> a) => Vector256.ShiftLeft(a.AsUInt32(), 16).AsSingle();

    public static Vector256<float> BitsHighHalf(Vector256<float> a) => (a.AsUInt32() & Vector256.Create(0xFFFF0000u)).AsSingle();
}

internal readonly struct Simd128 : ISimd<Vector128<float>>
{
    public static int Width => 4;

    public static int TileVectors => 2;

    public static Vector128<float> Iota => Vector128<float>.Indices;

    public static Vector128<float> BitsIota => Vector128<uint>.Indices.AsSingle();

    public static unsafe Vector128<float> Load(float* p) => Vector128.Load(p);

    public static unsafe void Store(Vector128<float> x, float* p) => x.Store(p);

    public static Vector128<float> Broadcast(float x) => Vector128.Create(x);

    public static Vector128<float> Add(Vector128<float> a, Vector128<float> b) => a + b;

    public static Vector128<float> Subtract(Vector128<float> a, Vector128<float> b) => a - b;

    public static Vector128<float> Multiply(Vector128<float> a, Vector128<float> b) => a * b;

    public static Vector128<float> Divide(Vector128<float> a, Vector128<float> b) => a / b;

    public static Vector128<float> Max(Vector128<float> a, Vector128<float> b) => Vector128.MaxNative(a, b);

    public static Vector128<float> Min(Vector128<float> a, Vector128<float> b) => Vector128.MinNative(a, b);

    public static Vector128<float> Abs(Vector128<float> a) => Vector128.Abs(a);

    public static Vector128<float> Sqrt(Vector128<float> a) => Vector128.Sqrt(a);

    public static Vector128<float> Round(Vector128<float> a) => Vector128.Round(a);

    public static Vector128<float> MultiplyAdd(Vector128<float> a, Vector128<float> b, Vector128<float> c) =>
        Vector128.MultiplyAddEstimate(a, b, c);

    public static Vector128<float> PowerOfTwo(Vector128<float> n) =>
        Vector128.ShiftLeft(Vector128.ConvertToInt32Native(n) + Vector128.Create(127), 23).AsSingle();

    public static float Sum(Vector128<float> a) => Vector128.Sum(a);

    public static float MaxLane(Vector128<float> a) => MathF.Max(MathF.Max(a[0], a[1]), MathF.Max(a[2], a[3]));

    public static Vector128<float> GreaterThan(Vector128<float> a, Vector128<float> b) => Vector128.GreaterThan(a, b);

    public static Vector128<float> Equal(Vector128<float> a, Vector128<float> b) => Vector128.Equals(a, b);

    public static Vector128<float> Select(Vector128<float> mask, Vector128<float> a, Vector128<float> b) =>
        Vector128.ConditionalSelect(mask, a, b);

    public static uint MaskBits(Vector128<float> mask) => (uint)Vector128.ExtractMostSignificantBits(mask);

    public static Vector128<float> BitsBroadcast(uint x) => Vector128.Create(x).AsSingle();

    public static Vector128<float> BitsAdd(Vector128<float> a, Vector128<float> b) => (a.AsUInt32() + b.AsUInt32()).AsSingle();

    public static Vector128<float> BitsXor(Vector128<float> a, Vector128<float> b) => (a.AsUInt32() ^ b.AsUInt32()).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> BitsMultiply(Vector128<float> a, uint m, out Vector128<float> high)
    {
        var odd = Vector128.ShiftRightLogical(a.AsUInt64(), 32);
        Vector128<ulong> evenProduct, oddProduct;
        if (Sse2.IsSupported)
        {
            evenProduct = Sse2.Multiply(a.AsUInt32(), Vector128.Create(m));
            oddProduct = Sse2.Multiply(odd.AsUInt32(), Vector128.Create(m));
        }
        else
        {
            evenProduct = (a.AsUInt64() & Vector128.Create(0xFFFFFFFFul)) * Vector128.Create((ulong)m);
            oddProduct = odd * Vector128.Create((ulong)m);
        }
        var evenLanes = Vector128.Create(0x00000000FFFFFFFFul).AsUInt32();
        high = Vector128.ConditionalSelect(evenLanes, Vector128.ShiftRightLogical(evenProduct, 32).AsUInt32(), oddProduct.AsUInt32()).AsSingle();
        return Vector128.ConditionalSelect(evenLanes, evenProduct.AsUInt32(), Vector128.ShiftLeft(oddProduct, 32).AsUInt32()).AsSingle();
    }

    public static Vector128<float> BitsAtLeast(Vector128<float> a, Vector128<float> b) =>
        Vector128.GreaterThanOrEqual(a.AsUInt32(), b.AsUInt32()).AsSingle();

    public static Vector128<float> BitsLowHalf(Vector128<float> a) => Vector128.ShiftLeft(a.AsUInt32(), 16).AsSingle();

    public static Vector128<float> BitsHighHalf(Vector128<float> a) => (a.AsUInt32() & Vector128.Create(0xFFFF0000u)).AsSingle();
}

/// <summary>What every kernel needs beyond single operations: part vectors at the end of a row, the exponential, dropout masks.</summary>
internal static unsafe class Simd<S, V>
    where S : struct, ISimd<V>
    where V : struct
{
    /// <summary>Lanes 0 to count−1 of a vector; the others are zero. Nothing beyond them is read.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V LoadFirst(float* p, int count)
    {
        return count >= S.Width ? S.Load(p) : LoadPart(p, count);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreFirst(V x, float* p, int count)
    {
        if (count >= S.Width)
            S.Store(x, p);
        else
            StorePart(x, p, count);
    }

    /// <summary>A mask of lanes 0 to count−1.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V FirstLanes(int count) => S.GreaterThan(S.Broadcast(count), S.Iota);

    /// <summary>
    /// eˣ to 1 unit in the last place or so: x = n ln 2 + r, a polynomial of degree 6 in r (least squares of the relative error, 3·10⁻⁹),
    /// times 2ⁿ. Underflows to about 10⁻³⁸ rather than 0.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Exp(V x)
    {
        x = S.Max(S.Min(x, S.Broadcast(88f)), S.Broadcast(-87f));
        var n = S.Round(S.Multiply(x, S.Broadcast(1.44269504f)));
        // ln 2 in two parts, the first with few enough bits that n times it is exact.
        var r = S.MultiplyAdd(n, S.Broadcast(-0.693359375f), x);
        r = S.MultiplyAdd(n, S.Broadcast(2.12194440e-4f), r);
        var p = S.MultiplyAdd(S.Broadcast(0.00138146344f), r, S.Broadcast(0.00836870058f));
        p = S.MultiplyAdd(p, r, S.Broadcast(0.0416683861f));
        p = S.MultiplyAdd(p, r, S.Broadcast(0.166665208f));
        p = S.MultiplyAdd(p, r, S.Broadcast(0.499999935f));
        p = S.MultiplyAdd(p, r, S.Broadcast(1f));
        p = S.MultiplyAdd(p, r, S.Broadcast(1f));
        return S.Multiply(p, S.PowerOfTwo(n));
    }

    /// <summary>
    /// The multipliers 0 or 1 / (1 − p) of one row of a dropout mask. <paramref name="mask"/> has room for the columns rounded up to 64.
    /// </summary>
    public static void DropoutRow(in DropoutMask dropout, uint row, float* mask, int columns) =>
        ThresholdRow(dropout.Key, row, dropout.Threshold, dropout.Scale, mask, columns);

    /// <summary>For each column of a row: 0 where its random word is below the threshold, else <paramref name="value"/>.</summary>
    public static void ThresholdRow(in RandomKey key, uint row, uint threshold, float value, float* mask, int columns)
    {
        var least = S.BitsBroadcast(threshold);
        var kept = S.Broadcast(value);
        var zero = S.Broadcast(0);
        for (int block = 0; block < columns; block += 64)
        {
            for (int lane = 0; lane < 16; lane += S.Width)
            {
                var counter = S.BitsAdd(S.BitsIota, S.BitsBroadcast((uint)((block / 4) + lane)));
                PhiloxBlocks(counter, row, key, out var x, out var y, out var z, out var w);
                float* m = mask + block + lane;
                S.Store(S.Select(S.BitsAtLeast(x, least), kept, zero), m);
                S.Store(S.Select(S.BitsAtLeast(y, least), kept, zero), m + 16);
                S.Store(S.Select(S.BitsAtLeast(z, least), kept, zero), m + 32);
                S.Store(S.Select(S.BitsAtLeast(w, least), kept, zero), m + 48);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void PhiloxBlocks(V counter, uint row, RandomKey key, out V x, out V y, out V z, out V w)
    {
        x = counter;
        y = S.BitsBroadcast(row);
        z = S.BitsBroadcast(key.Stream);
        w = S.BitsBroadcast(key.Step);
        uint k0 = (uint)key.Seed, k1 = (uint)(key.Seed >> 32);
        for (int round = 0; round < Philox.Rounds; round++)
        {
            var low0 = S.BitsMultiply(x, Philox.Multiplier0, out var high0);
            var low1 = S.BitsMultiply(z, Philox.Multiplier1, out var high1);
            x = S.BitsXor(S.BitsXor(high1, y), S.BitsBroadcast(k0));
            z = S.BitsXor(S.BitsXor(high0, w), S.BitsBroadcast(k1));
            y = low1;
            w = low0;
            k0 += Philox.Weyl0;
            k1 += Philox.Weyl1;
        }
    }

    private static V LoadPart(float* p, int count)
    {
        float* whole = stackalloc float[16];
        for (int i = 0; i < count; i++)
            whole[i] = p[i];
        return S.Load(whole);
    }

    private static void StorePart(V x, float* p, int count)
    {
        float* whole = stackalloc float[16];
        S.Store(x, whole);
        for (int i = 0; i < count; i++)
            p[i] = whole[i];
    }
}
