using System.Runtime.CompilerServices;

namespace Bert4Rec.Kernels.Cpu;

/// <summary>
/// gelu(u) = u Φ(u) in its erf form, and its slope Φ(u) + u φ(u) at once: both need e^(−u²/2), and with the slope kept the backward is one
/// multiplication.
/// </summary>
internal static unsafe class Gelu<S, V>
    where S : struct, ISimd<V>
    where V : struct
{
    /// <summary>y holds u and is overwritten by gelu(u); slope, where it is wanted, gets gelu'(u).</summary>
    public static void Forward(float* y, float* slope, long length)
    {
        for (long i = 0; i < length; i += S.Width)
        {
            int lanes = (int)Math.Min(S.Width, length - i);
            var u = Simd<S, V>.LoadFirst(y + i, lanes);
            var phi = NormalDistribution(u, out var density);
            Simd<S, V>.StoreFirst(S.Multiply(u, phi), y + i, lanes);
            if (slope != null)
                Simd<S, V>.StoreFirst(S.MultiplyAdd(u, density, phi), slope + i, lanes);
        }
    }

    /// <summary>dy ∘= slope</summary>
    public static void Backward(float* dy, float* slope, long length)
    {
        for (long i = 0; i < length; i += S.Width)
        {
            int lanes = (int)Math.Min(S.Width, length - i);
            Simd<S, V>.StoreFirst(S.Multiply(Simd<S, V>.LoadFirst(dy + i, lanes), Simd<S, V>.LoadFirst(slope + i, lanes)), dy + i, lanes);
        }
    }

    /// <summary>
    /// Φ(u) and φ(u). The upper tail of z = |u| is e^(−z²/2) t P(t), t = 1 / (1 + 0.33 z), P of degree 6: the form of Abramowitz and Stegun
    /// 7.1.26, its coefficients by least squares anew, to 3·10⁻⁹.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V NormalDistribution(V u, out V density)
    {
        var one = S.Broadcast(1f);
        var z = S.Abs(u);
        var e = Simd<S, V>.Exp(S.Multiply(S.Multiply(z, z), S.Broadcast(-0.5f)));
        var t = S.Divide(one, S.MultiplyAdd(z, S.Broadcast(0.33f), one));
        var p = S.MultiplyAdd(S.Broadcast(0.0445137316f), t, S.Broadcast(-0.215731354f));
        p = S.MultiplyAdd(p, t, S.Broadcast(0.321825742f));
        p = S.MultiplyAdd(p, t, S.Broadcast(-0.0796773496f));
        p = S.MultiplyAdd(p, t, S.Broadcast(0.175568776f));
        p = S.MultiplyAdd(p, t, S.Broadcast(0.121082632f));
        p = S.MultiplyAdd(p, t, S.Broadcast(0.132417825f));
        var tail = S.Multiply(S.Multiply(p, t), e);
        density = S.Multiply(e, S.Broadcast(0.39894228f));
        return S.Select(S.GreaterThan(u, S.Broadcast(0f)), S.Subtract(one, tail), tail);
    }
}
