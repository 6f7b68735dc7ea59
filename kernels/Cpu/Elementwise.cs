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
        for (long i = 0; i < length; i += V.Width)
        {
            int lanes = (int)Math.Min(V.Width, length - i);
            V.StoreFirst(V.LoadFirst(a + i, lanes) + V.LoadFirst(b + i, lanes), sum + i, lanes);
        }
    }

    /// <summary>target ∘= factor</summary>
    public static void Multiply(float* target, float* factor, long length)
    {
        for (long i = 0; i < length; i += V.Width)
        {
            int lanes = (int)Math.Min(V.Width, length - i);
            V.StoreFirst(V.LoadFirst(target + i, lanes) * V.LoadFirst(factor + i, lanes), target + i, lanes);
        }
    }
}
