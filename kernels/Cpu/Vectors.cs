using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;

namespace Bert4Rec.Kernels.Cpu;

/// <summary>Sixteen floats in a register of 512 bits.</summary>
internal struct F32x16(Vector512<float> lanes) : IVector<F32x16>
{
    private Vector512<float> _lanes = lanes;

    public static int Width => 16;

    public static int TileVectors => 4;

    public static F32x16 Iota => new(Vector512<float>.Indices);

    private readonly Vector512<uint> Words => _lanes.AsUInt32();

    public static implicit operator F32x16(float x) => new(Vector512.Create(x));

    public static F32x16 operator +(F32x16 a, F32x16 b) => new(a._lanes + b._lanes);

    public static F32x16 operator -(F32x16 a, F32x16 b) => new(a._lanes - b._lanes);

    public static F32x16 operator *(F32x16 a, F32x16 b) => new(a._lanes * b._lanes);

    public static F32x16 operator /(F32x16 a, F32x16 b) => new(a._lanes / b._lanes);

    public static unsafe F32x16 Load(float* p) => new(Vector512.Load(p));

    public readonly unsafe void Store(float* p) => _lanes.Store(p);

    public static F32x16 MultiplyAdd(F32x16 a, F32x16 b, F32x16 c) => new(Vector512.MultiplyAddEstimate(a._lanes, b._lanes, c._lanes));

    public static void AddProduct(ref F32x16 sum, F32x16 a, F32x16 b) =>
        sum._lanes = Vector512.MultiplyAddEstimate(a._lanes, b._lanes, sum._lanes);

    public static F32x16 Max(F32x16 a, F32x16 b) => new(Vector512.MaxNative(a._lanes, b._lanes));

    public static F32x16 Min(F32x16 a, F32x16 b) => new(Vector512.MinNative(a._lanes, b._lanes));

    public static F32x16 Abs(F32x16 a) => new(Vector512.Abs(a._lanes));

    public static F32x16 Sqrt(F32x16 a) => new(Vector512.Sqrt(a._lanes));

    public static F32x16 Scale(F32x16 a, F32x16 n) => new((a._lanes.AsInt32() + Vector512.ShiftLeft(n._lanes.AsInt32(), 23)).AsSingle());

    public static float Sum(F32x16 a) => Vector512.Sum(a._lanes);

    public static float MaxLane(F32x16 a) => F32x8.MaxLane(new(Vector256.MaxNative(a._lanes.GetLower(), a._lanes.GetUpper())));

    public static F32x16 SelectGreater(F32x16 a, F32x16 b, F32x16 x, F32x16 y) =>
        new(Vector512.ConditionalSelect(Vector512.GreaterThan(a._lanes, b._lanes), x._lanes, y._lanes));

    public static uint GreaterBits(F32x16 a, F32x16 b) =>
        (uint)Vector512.ExtractMostSignificantBits(Vector512.GreaterThan(a._lanes, b._lanes));

    public static uint EqualBits(F32x16 a, F32x16 b) => (uint)Vector512.ExtractMostSignificantBits(Vector512.Equals(a._lanes, b._lanes));

    public static F32x16 EvenWordsFrom(uint first) => new((Vector512<ulong>.Indices + Vector512.Create((ulong)first)).AsSingle());

    public static F32x16 WordsOf(uint x) => new(Vector512.Create(x).AsSingle());

    public static F32x16 MultiplyEven(F32x16 a, uint m) => new(
        Avx512F.IsSupported
            ? Avx512F.Multiply(a.Words, Vector512.Create(m)).AsSingle()
            : ((a._lanes.AsUInt64() & Vector512.Create(0xFFFFFFFFul)) * Vector512.Create((ulong)m)).AsSingle());

    public static F32x16 OddToEven(F32x16 a) => new(Vector512.ShiftRightLogical(a._lanes.AsUInt64(), 32).AsSingle());

    public static F32x16 EvenWords(F32x16 a, F32x16 b) => new(Vector512.Narrow(a._lanes.AsUInt64(), b._lanes.AsUInt64()).AsSingle());

    public static F32x16 AddWords(F32x16 a, F32x16 b) => new((a.Words + b.Words).AsSingle());

    public static F32x16 XorWords(F32x16 a, F32x16 b, F32x16 c) => new((a.Words ^ (b.Words ^ c.Words)).AsSingle());

    public static F32x16 SelectAtLeastWords(F32x16 a, F32x16 b, F32x16 x, F32x16 y) =>
        new(Vector512.ConditionalSelect(Vector512.GreaterThanOrEqual(a.Words, b.Words).AsSingle(), x._lanes, y._lanes));

    public static F32x16 LowerHalves(F32x16 a) => new(Vector512.ShiftLeft(a.Words, 16).AsSingle());

    public static F32x16 UpperHalves(F32x16 a) => new((a.Words & Vector512.Create(0xFFFF0000u)).AsSingle());
}

/// <summary>Eight floats in a register of 256 bits.</summary>
internal struct F32x8(Vector256<float> lanes) : IVector<F32x8>
{
    private Vector256<float> _lanes = lanes;

    public static int Width => 8;

    public static int TileVectors => 2;

    public static F32x8 Iota => new(Vector256<float>.Indices);

    private readonly Vector256<uint> Words => _lanes.AsUInt32();

    public static implicit operator F32x8(float x) => new(Vector256.Create(x));

    public static F32x8 operator +(F32x8 a, F32x8 b) => new(a._lanes + b._lanes);

    public static F32x8 operator -(F32x8 a, F32x8 b) => new(a._lanes - b._lanes);

    public static F32x8 operator *(F32x8 a, F32x8 b) => new(a._lanes * b._lanes);

    public static F32x8 operator /(F32x8 a, F32x8 b) => new(a._lanes / b._lanes);

    public static unsafe F32x8 Load(float* p) => new(Vector256.Load(p));

    public readonly unsafe void Store(float* p) => _lanes.Store(p);

    public static F32x8 MultiplyAdd(F32x8 a, F32x8 b, F32x8 c) => new(Vector256.MultiplyAddEstimate(a._lanes, b._lanes, c._lanes));

    public static void AddProduct(ref F32x8 sum, F32x8 a, F32x8 b) =>
        sum._lanes = Vector256.MultiplyAddEstimate(a._lanes, b._lanes, sum._lanes);

    public static F32x8 Max(F32x8 a, F32x8 b) => new(Vector256.MaxNative(a._lanes, b._lanes));

    public static F32x8 Min(F32x8 a, F32x8 b) => new(Vector256.MinNative(a._lanes, b._lanes));

    public static F32x8 Abs(F32x8 a) => new(Vector256.Abs(a._lanes));

    public static F32x8 Sqrt(F32x8 a) => new(Vector256.Sqrt(a._lanes));

    public static F32x8 Scale(F32x8 a, F32x8 n) => new((a._lanes.AsInt32() + Vector256.ShiftLeft(n._lanes.AsInt32(), 23)).AsSingle());

    public static float Sum(F32x8 a) => Vector256.Sum(a._lanes);

    public static float MaxLane(F32x8 a) => F32x4.MaxLane(new(Vector128.MaxNative(a._lanes.GetLower(), a._lanes.GetUpper())));

    public static F32x8 SelectGreater(F32x8 a, F32x8 b, F32x8 x, F32x8 y) =>
        new(Vector256.ConditionalSelect(Vector256.GreaterThan(a._lanes, b._lanes), x._lanes, y._lanes));

    public static uint GreaterBits(F32x8 a, F32x8 b) =>
        (uint)Vector256.ExtractMostSignificantBits(Vector256.GreaterThan(a._lanes, b._lanes));

    public static uint EqualBits(F32x8 a, F32x8 b) => (uint)Vector256.ExtractMostSignificantBits(Vector256.Equals(a._lanes, b._lanes));

    public static F32x8 EvenWordsFrom(uint first) => new((Vector256<ulong>.Indices + Vector256.Create((ulong)first)).AsSingle());

    public static F32x8 WordsOf(uint x) => new(Vector256.Create(x).AsSingle());

    public static F32x8 MultiplyEven(F32x8 a, uint m) => new(
        Avx2.IsSupported
            ? Avx2.Multiply(a.Words, Vector256.Create(m)).AsSingle()
            : ((a._lanes.AsUInt64() & Vector256.Create(0xFFFFFFFFul)) * Vector256.Create((ulong)m)).AsSingle());

    public static F32x8 OddToEven(F32x8 a) => new(Vector256.ShiftRightLogical(a._lanes.AsUInt64(), 32).AsSingle());

    public static F32x8 EvenWords(F32x8 a, F32x8 b) => new(Vector256.Narrow(a._lanes.AsUInt64(), b._lanes.AsUInt64()).AsSingle());

    public static F32x8 AddWords(F32x8 a, F32x8 b) => new((a.Words + b.Words).AsSingle());

    public static F32x8 XorWords(F32x8 a, F32x8 b, F32x8 c) => new((a.Words ^ (b.Words ^ c.Words)).AsSingle());

    public static F32x8 SelectAtLeastWords(F32x8 a, F32x8 b, F32x8 x, F32x8 y) =>
        new(Vector256.ConditionalSelect(Vector256.GreaterThanOrEqual(a.Words, b.Words).AsSingle(), x._lanes, y._lanes));

    public static F32x8 LowerHalves(F32x8 a) => new(Vector256.ShiftLeft(a.Words, 16).AsSingle());

    public static F32x8 UpperHalves(F32x8 a) => new((a.Words & Vector256.Create(0xFFFF0000u)).AsSingle());
}

/// <summary>Four floats in a register of 128 bits.</summary>
internal struct F32x4(Vector128<float> lanes) : IVector<F32x4>
{
    private Vector128<float> _lanes = lanes;

    public static int Width => 4;

    public static int TileVectors => AdvSimd.Arm64.IsSupported ? 4 : 2;

    public static F32x4 Iota => new(Vector128<float>.Indices);

    private readonly Vector128<uint> Words => _lanes.AsUInt32();

    public static implicit operator F32x4(float x) => new(Vector128.Create(x));

    public static F32x4 operator +(F32x4 a, F32x4 b) => new(a._lanes + b._lanes);

    public static F32x4 operator -(F32x4 a, F32x4 b) => new(a._lanes - b._lanes);

    public static F32x4 operator *(F32x4 a, F32x4 b) => new(a._lanes * b._lanes);

    public static F32x4 operator /(F32x4 a, F32x4 b) => new(a._lanes / b._lanes);

    public static unsafe F32x4 Load(float* p) => new(Vector128.Load(p));

    public readonly unsafe void Store(float* p) => _lanes.Store(p);

    public static F32x4 MultiplyAdd(F32x4 a, F32x4 b, F32x4 c) => new(Vector128.MultiplyAddEstimate(a._lanes, b._lanes, c._lanes));

    public static F32x4 Factor(float x) => new(AdvSimd.Arm64.IsSupported ? Vector128.CreateScalarUnsafe(x) : Vector128.Create(x));

    public static void AddProduct(ref F32x4 sum, F32x4 a, F32x4 b) => sum._lanes = AdvSimd.Arm64.IsSupported
        ? AdvSimd.Arm64.FusedMultiplyAddBySelectedScalar(sum._lanes, b._lanes, a._lanes, 0)
        : Vector128.MultiplyAddEstimate(a._lanes, b._lanes, sum._lanes);

    public static F32x4 Max(F32x4 a, F32x4 b) => new(Vector128.MaxNative(a._lanes, b._lanes));

    public static F32x4 Min(F32x4 a, F32x4 b) => new(Vector128.MinNative(a._lanes, b._lanes));

    public static F32x4 Abs(F32x4 a) => new(Vector128.Abs(a._lanes));

    public static F32x4 Sqrt(F32x4 a) => new(Vector128.Sqrt(a._lanes));

    public static F32x4 Scale(F32x4 a, F32x4 n) => new((a._lanes.AsInt32() + Vector128.ShiftLeft(n._lanes.AsInt32(), 23)).AsSingle());

    public static float Sum(F32x4 a) => Vector128.Sum(a._lanes);

    public static float MaxLane(F32x4 a)
    {
        var pairs = Vector128.MaxNative(a._lanes, Vector128.Shuffle(a._lanes, Vector128.Create(2, 3, 0, 1)));
        return Vector128.MaxNative(pairs, Vector128.Shuffle(pairs, Vector128.Create(1, 0, 3, 2))).ToScalar();
    }

    public static F32x4 SelectGreater(F32x4 a, F32x4 b, F32x4 x, F32x4 y) =>
        new(Vector128.ConditionalSelect(Vector128.GreaterThan(a._lanes, b._lanes), x._lanes, y._lanes));

    public static uint GreaterBits(F32x4 a, F32x4 b) =>
        (uint)Vector128.ExtractMostSignificantBits(Vector128.GreaterThan(a._lanes, b._lanes));

    public static uint EqualBits(F32x4 a, F32x4 b) => (uint)Vector128.ExtractMostSignificantBits(Vector128.Equals(a._lanes, b._lanes));

    public static F32x4 EvenWordsFrom(uint first) => new((Vector128<ulong>.Indices + Vector128.Create((ulong)first)).AsSingle());

    public static F32x4 WordsOf(uint x) => new(Vector128.Create(x).AsSingle());

    public static F32x4 MultiplyEven(F32x4 a, uint m) => new(
        Sse2.IsSupported
            ? Sse2.Multiply(a.Words, Vector128.Create(m)).AsSingle()
            : AdvSimd.IsSupported
            ? AdvSimd.MultiplyWideningLower(AdvSimd.ExtractNarrowingLower(a._lanes.AsUInt64()), Vector64.Create(m)).AsSingle()
            : ((a._lanes.AsUInt64() & Vector128.Create(0xFFFFFFFFul)) * Vector128.Create((ulong)m)).AsSingle());

    public static F32x4 OddToEven(F32x4 a) => new(Vector128.ShiftRightLogical(a._lanes.AsUInt64(), 32).AsSingle());

    public static F32x4 EvenWords(F32x4 a, F32x4 b) => new(Vector128.Narrow(a._lanes.AsUInt64(), b._lanes.AsUInt64()).AsSingle());

    public static F32x4 AddWords(F32x4 a, F32x4 b) => new((a.Words + b.Words).AsSingle());

    public static F32x4 XorWords(F32x4 a, F32x4 b, F32x4 c) => new((a.Words ^ (b.Words ^ c.Words)).AsSingle());

    public static F32x4 SelectAtLeastWords(F32x4 a, F32x4 b, F32x4 x, F32x4 y) =>
        new(Vector128.ConditionalSelect(Vector128.GreaterThanOrEqual(a.Words, b.Words).AsSingle(), x._lanes, y._lanes));

    public static F32x4 LowerHalves(F32x4 a) => new(Vector128.ShiftLeft(a.Words, 16).AsSingle());

    public static F32x4 UpperHalves(F32x4 a) => new((a.Words & Vector128.Create(0xFFFF0000u)).AsSingle());
}
