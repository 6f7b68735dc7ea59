namespace Bert4Rec.Kernels.Cpu;

/// <summary>Fills, sums and products of elements in order: work that runs at the speed of memory.</summary>
internal static unsafe class Elementwise<V>
    where V : struct, IVector<V>
{
    public static void Fill(Tensor x, float value)
    {
        float* p = x.Pointer();
        for (long i = 0; i < x.Length; i += 1 << 30)
            new Span<float>(p + i, (int)Math.Min(1 << 30, x.Length - i)).Fill(value);
    }

    public static void Add(Tensor target, Tensor addend) => Add(target.Pointer(), addend.Pointer(), target.Length);

    /// <summary>One sum in double precision, in the order of the elements.</summary>
    public static void AddSum(Tensor x, Tensor accumulator)
    {
        float* p = x.Pointer();
        double sum = 0;
        for (long i = 0; i < x.Length; i++)
            sum += p[i];
        *accumulator.Pointer() += (float)sum;
    }

    /// <summary>target += addend</summary>
    public static void Add(float* target, float* addend, long length) => Sum(target, addend, target, length);

    /// <summary>sum = a + b</summary>
    public static void Sum(float* a, float* b, float* sum, long length)
    {
        long i = 0;
        for (; i + V.Width <= length; i += V.Width)
            (V.Load(a + i) + V.Load(b + i)).Store(sum + i);
        int rest = (int)(length - i);
        if (rest > 0)
            V.StoreFirst(V.LoadFirst(a + i, rest) + V.LoadFirst(b + i, rest), sum + i, rest);
    }

    /// <summary>target ∘= factor</summary>
    public static void Multiply(float* target, float* factor, long length)
    {
        long i = 0;
        for (; i + V.Width <= length; i += V.Width)
            (V.Load(target + i) * V.Load(factor + i)).Store(target + i);
        int rest = (int)(length - i);
        if (rest > 0)
            V.StoreFirst(V.LoadFirst(target + i, rest) * V.LoadFirst(factor + i, rest), target + i, rest);
    }
}
