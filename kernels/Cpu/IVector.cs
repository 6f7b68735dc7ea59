using System.Runtime.CompilerServices;

namespace Bert4Rec.Kernels.Cpu;

/// <summary>
/// A vector of floats with the operators of arithmetic, so that a kernel reads like its formula and one source runs at 512, 256 and 128
/// bits. The members that speak of words take the 32 bits of each float for an unsigned integer.
/// </summary>
/// <remarks>
/// The implementations hold one register and nothing else, and the compiler sees through them: <c>a * b + c</c> is a multiplication and an
/// addition, rounded twice; <see cref="MultiplyAdd"/> is the fused one.
/// </remarks>
internal interface IVector<V>
    where V : struct, IVector<V>
{
    /// <summary>Floats in a vector.</summary>
    static abstract int Width { get; }

    /// <summary>Vectors beside each other in a register tile of six rows: four where there are 32 registers, else two.</summary>
    static abstract int TileVectors { get; }

    /// <summary>0, 1, 2, … as floats.</summary>
    static abstract V Iota { get; }

    /// <summary>The number in every lane.</summary>
    static abstract implicit operator V(float x);

    static abstract V operator +(V a, V b);

    static abstract V operator -(V a, V b);

    static abstract V operator *(V a, V b);

    static abstract V operator /(V a, V b);

    static abstract unsafe V Load(float* p);

    unsafe void Store(float* p);

    /// <summary>a · b + c, rounded once where the hardware can.</summary>
    static abstract V MultiplyAdd(V a, V b, V c);

    /// <summary>
    /// sum = a · b + sum, rounded once where the hardware can. As an assignment of <see cref="MultiplyAdd"/> the result would go through
    /// another register: 3 to 6% of a product's time.
    /// </summary>
    static abstract void AddProduct(ref V sum, V a, V b);

    static abstract V Max(V a, V b);

    static abstract V Min(V a, V b);

    static abstract V Abs(V a);

    static abstract V Sqrt(V a);

    static abstract V Round(V a);

    /// <summary>2ⁿ for integral n in [−126, 127].</summary>
    static abstract V PowerOfTwo(V n);

    /// <summary>The sum of the lanes.</summary>
    static abstract float Sum(V a);

    /// <summary>The largest lane.</summary>
    static abstract float MaxLane(V a);

    /// <summary>x in the lanes where a &gt; b, y in the others: one operation, for a mask between two would cost a vector.</summary>
    static abstract V SelectGreater(V a, V b, V x, V y);

    /// <summary>A bit a lane, lane 0 lowest: whether a &gt; b.</summary>
    static abstract uint GreaterBits(V a, V b);

    /// <summary>A bit a lane, lane 0 lowest: whether a = b.</summary>
    static abstract uint EqualBits(V a, V b);

    /// <summary>The word in every lane.</summary>
    static abstract V WordsOf(uint x);

    /// <summary>The words first, first + 1, first + 2, …</summary>
    static abstract V WordsFrom(uint first);

    /// <summary>The 64-bit products of the words and m: the lower halves are returned.</summary>
    static abstract V MultiplyWords(V a, uint m, out V high);

    /// <summary>Exclusive or of the words.</summary>
    static abstract V XorWords(V a, V b, V c);

    /// <summary>x in the lanes where a's word is not less than b's, y in the others.</summary>
    static abstract V SelectAtLeastWords(V a, V b, V x, V y);

    /// <summary>Of words that hold two bfloat16 numbers each, those of the lower halves as floats.</summary>
    static abstract V LowerHalves(V a);

    /// <summary>The same of the upper halves.</summary>
    static abstract V UpperHalves(V a);

    /// <summary>Lanes 0 to count−1 of a vector; the others are zero. Nothing beyond them is read.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static virtual unsafe V LoadFirst(float* p, int count) => count >= V.Width ? V.Load(p) : PartVector<V>.Load(p, count);

    /// <summary>Stores lanes 0 to count−1.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static virtual unsafe void StoreFirst(V x, float* p, int count)
    {
        if (count >= V.Width)
            x.Store(p);
        else
            PartVector<V>.Store(x, p, count);
    }

    /// <summary>x in the lanes 0 to count−1, y in the others.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static virtual V SelectFirst(int count, V x, V y) => V.SelectGreater(count, V.Iota, x, y);

    /// <summary>
    /// eˣ to 1 unit in the last place or so: x = n ln 2 + r, a polynomial of degree 6 in r (least squares of the relative error, 3·10⁻⁹),
    /// times 2ⁿ. Underflows to about 10⁻³⁸ rather than 0.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static virtual V Exp(V x)
    {
        x = V.Max(V.Min(x, 88f), -87f);
        var n = V.Round(x * 1.44269504f);
        // ln 2 in two parts, the first with few enough bits that n times it is exact.
        var r = V.MultiplyAdd(n, -0.693359375f, x);
        r = V.MultiplyAdd(n, 2.12194440e-4f, r);
        var p = V.MultiplyAdd(0.00138146344f, r, 0.00836870058f);
        p = V.MultiplyAdd(p, r, 0.0416683861f);
        p = V.MultiplyAdd(p, r, 0.166665208f);
        p = V.MultiplyAdd(p, r, 0.499999935f);
        p = V.MultiplyAdd(p, r, 1f);
        p = V.MultiplyAdd(p, r, 1f);
        return p * V.PowerOfTwo(n);
    }
}

/// <summary>The end of a row that is not a whole vector goes through the stack, lane by lane.</summary>
internal static unsafe class PartVector<V>
    where V : struct, IVector<V>
{
    public static V Load(float* p, int count)
    {
        float* whole = stackalloc float[16];
        for (int i = 0; i < count; i++)
            whole[i] = p[i];
        return V.Load(whole);
    }

    public static void Store(V x, float* p, int count)
    {
        float* whole = stackalloc float[16];
        x.Store(whole);
        for (int i = 0; i < count; i++)
            p[i] = whole[i];
    }
}
