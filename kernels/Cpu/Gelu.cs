using System.Runtime.CompilerServices;

namespace Bert4Rec.Kernels.Cpu;

/// <summary>
/// gelu(u) = u Φ(u) in its erf form, and its slope Φ(u) + u φ(u) at once: both need e^(−u²/2), and with the slope kept the backward
/// is one multiplication.
/// </summary>
internal static unsafe class Gelu<V>
    where V : struct, IVector<V>
{
    /// <summary>y holds u and is overwritten by gelu(u); slope, where it is wanted, gets gelu'(u).</summary>
    public static void Forward(float* y, float* slope, long length)
    {
        long whole = length - (length % V.Width);
        for (long i = 0; i < whole; i += V.Width)
            Step<AllLanes<V>>(y + i, slope == null ? null : slope + i, V.Width);
        if (whole < length)
            Step<FirstLanes<V>>(y + whole, slope == null ? null : slope + whole, (int)(length - whole));
    }

    /// <summary>dy ∘= slope</summary>
    public static void Backward(Tensor dy, Tensor slope) => Elementwise<V>.Multiply(dy.Pointer(), slope.Pointer(), dy.Length);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Step<L>(float* y, float* slope, int lanes)
        where L : ILanes<V>
    {
        var u = L.Load(y, lanes);
        var phi = NormalDistribution(u, out var density);
        L.Store(u * phi, y, lanes);
        if (slope != null)
            L.Store(V.MultiplyAdd(u, density, phi), slope, lanes);
    }

    /// <summary>
    /// Φ(u) and φ(u). The upper tail of z = |u| is e^(−z²/2) t P(t), t = 1 / (1 + 0.33 z), P of degree 6: the form of Abramowitz and
    /// Stegun 7.1.26, its coefficients by least squares anew, to 3·10⁻⁹.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V NormalDistribution(V u, out V density)
    {
        var z = V.Abs(u);
        var e = V.Exp(z * z * -0.5f);
        var t = (V)1f / V.MultiplyAdd(z, 0.33f, 1f);
        // In pairs of terms, which do not wait for each other.
        var square = t * t;
        V p01 = V.MultiplyAdd(0.121082632f, t, 0.132417825f), p23 = V.MultiplyAdd(-0.0796773496f, t, 0.175568776f);
        V p45 = V.MultiplyAdd(-0.215731354f, t, 0.321825742f), p456 = V.MultiplyAdd(0.0445137316f, square, p45);
        var p = V.MultiplyAdd(V.MultiplyAdd(p456, square, p23), square, p01);
        var tail = p * t * e;
        density = e * 0.39894228f;
        return V.SelectGreater(u, 0f, (V)1f - tail, tail);
    }
}
