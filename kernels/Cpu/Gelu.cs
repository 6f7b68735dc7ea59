using System.Runtime.CompilerServices;

namespace Bert4Rec.Kernels.Cpu;

/// <summary>
/// gelu(u) = u Φ(u) in its erf form, and its slope Φ(u) + u φ(u) at once: both need e^(−u²/2), and with the slope kept the backward is one
/// multiplication.
/// </summary>
internal static unsafe class Gelu<V>
    where V : struct, IVector<V>
{
    /// <summary>y holds u and is overwritten by gelu(u); slope, where it is wanted, gets gelu'(u).</summary>
    public static void Forward(float* y, float* slope, long length)
    {
        for (long i = 0; i < length; i += V.Width)
        {
            int lanes = (int)Math.Min(V.Width, length - i);
            var u = V.LoadFirst(y + i, lanes);
            var phi = NormalDistribution(u, out var density);
            V.StoreFirst(u * phi, y + i, lanes);
            if (slope != null)
                V.StoreFirst(V.MultiplyAdd(u, density, phi), slope + i, lanes);
        }
    }

    public static void Backward(Tensor dy, Tensor slope) => Backward(dy.Pointer(), slope.Pointer(), dy.Length);

    /// <summary>dy ∘= slope</summary>
    public static void Backward(float* dy, float* slope, long length) => Elementwise<V>.Multiply(dy, slope, length);

    /// <summary>
    /// Φ(u) and φ(u). The upper tail of z = |u| is e^(−z²/2) t P(t), t = 1 / (1 + 0.33 z), P of degree 6: the form of Abramowitz and Stegun
    /// 7.1.26, its coefficients by least squares anew, to 3·10⁻⁹.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V NormalDistribution(V u, out V density)
    {
        var z = V.Abs(u);
        var e = V.Exp(z * z * -0.5f);
        var t = (V)1f / V.MultiplyAdd(z, 0.33f, 1f);
        var p = V.MultiplyAdd(0.0445137316f, t, -0.215731354f);
        p = V.MultiplyAdd(p, t, 0.321825742f);
        p = V.MultiplyAdd(p, t, -0.0796773496f);
        p = V.MultiplyAdd(p, t, 0.175568776f);
        p = V.MultiplyAdd(p, t, 0.121082632f);
        p = V.MultiplyAdd(p, t, 0.132417825f);
        var tail = p * t * e;
        density = e * 0.39894228f;
        return V.SelectGreater(u, 0f, (V)1f - tail, tail);
    }
}
