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

    /// <summary>What <see cref="AddProduct"/> multiplies by: Arm multiplies by one lane, and need not fill the others.</summary>
    static virtual V Factor(float x) => x;

    /// <summary>
    /// sum = a · b + sum for a <see cref="Factor"/> a, rounded once where the hardware can. As an assignment of
    /// <see cref="MultiplyAdd"/> the result would go through another register: 3 to 6% of a product's time.
    /// </summary>
    static abstract void AddProduct(ref V sum, V a, V b);

    static abstract V Max(V a, V b);

    static abstract V Min(V a, V b);

    static abstract V Abs(V a);

    static abstract V Sqrt(V a);

    /// <summary>a · 2ⁿ for n in the lowest bits of a word, by an addition to the exponent.</summary>
    static abstract V Scale(V a, V n);

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

    /// <summary>The words first, first + 1, first + 2, …, each in an even lane.</summary>
    static abstract V EvenWordsFrom(uint first);

    /// <summary>
    /// The 64-bit products of the words in even lanes and m, their lower halves in the even lanes and their upper ones in the odd.
    /// </summary>
    static abstract V MultiplyEven(V a, uint m);

    /// <summary>The words of odd lanes, each in the even lane before it.</summary>
    static abstract V OddToEven(V a);

    /// <summary>The words of a's even lanes, and after them those of b's.</summary>
    static abstract V EvenWords(V a, V b);

    /// <summary>Sum of the words, modulo 2³².</summary>
    static abstract V AddWords(V a, V b);

    /// <summary>Exclusive or of the words.</summary>
    static abstract V XorWords(V a, V b, V c);

    /// <summary>x in the lanes where a's word is not less than b's, y in the others.</summary>
    static abstract V SelectAtLeastWords(V a, V b, V x, V y);

    /// <summary>The lower halves of the words, moved to the upper ones: of two bfloat16 numbers the lower as a float.</summary>
    static abstract V LowerHalves(V a);

    /// <summary>The upper halves of the words, with zeros below.</summary>
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
    /// eˣ to 1 unit in the last place or so: x = n ln 2 + r, a polynomial of degree 6 in r (least squares of the relative error,
    /// 3·10⁻⁹), times 2ⁿ. Underflows to about 10⁻³⁸ rather than 0.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static virtual V Exp(V x)
    {
        // Beside 1.5 · 2²³ a float has no place for fractions: adding it rounds, and leaves n in the lowest bits.
        const float Rounder = 12_582_912;
        x = V.Max(V.Min(x, 88f), -87f);
        V shifted = V.MultiplyAdd(x, 1.44269504f, Rounder), n = shifted - Rounder;
        // ln 2 in two parts, the first with few enough bits that n times it is exact.
        var r = V.MultiplyAdd(n, -0.693359375f, x);
        r = V.MultiplyAdd(n, 2.12194440e-4f, r);
        // In pairs of terms, which do not wait for each other.
        V square = r * r, low = V.MultiplyAdd(0.166665208f, r, 0.499999935f), high = V.MultiplyAdd(0.00836870058f, r, 0.0416683861f);
        high = V.MultiplyAdd(0.00138146344f, square, high);
        var p = V.MultiplyAdd(V.MultiplyAdd(high, square, low), square, r);
        return V.Scale(p + 1f, shifted);
    }
}

/// <summary>
/// How much of a vector a loop reads and writes. Where all of it, there is no branch and no call, around which the compiler would keep what
/// is live in memory.
/// </summary>
internal unsafe interface ILanes<V>
    where V : struct, IVector<V>
{
    static abstract V Load(float* p, int count);

    static abstract void Store(V x, float* p, int count);
}

/// <summary>Whole vectors, whatever the count.</summary>
internal readonly unsafe struct AllLanes<V> : ILanes<V>
    where V : struct, IVector<V>
{
    public static V Load(float* p, int count) => V.Load(p);

    public static void Store(V x, float* p, int count) => x.Store(p);
}

/// <summary>The first lanes where the count is below a vector's width; see <see cref="IVector{V}.LoadFirst"/>.</summary>
internal readonly unsafe struct FirstLanes<V> : ILanes<V>
    where V : struct, IVector<V>
{
    public static V Load(float* p, int count) => V.LoadFirst(p, count);

    public static void Store(V x, float* p, int count) => V.StoreFirst(x, p, count);
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
