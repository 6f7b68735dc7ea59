using System.Runtime.CompilerServices;
using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// The functions that ILGPU leaves to each vendor's library, in plain arithmetic and with powers of two, for which every device has an
/// instruction. NaN stays NaN.
/// </summary>
internal static class DeviceMath
{
    private const float InverseLn2 = 1.44269504f;

    // ln 2 in two parts, the first with few enough bits that a multiple of it is exact.
    private const float Ln2High = 0.693359375f;
    private const float Ln2Low = -2.12194440e-4f;

    /// <summary>
    /// e^x = 2^(x / ln 2), by the device's own instruction: its relative error grows with |x|, as the rounding of the exponent does, by
    /// 6·10⁻⁸ a unit. On CUDA 0 where that is too small for a normal number.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Exp(float x) => IntrinsicMath.CPUOnly.Exp2(x * InverseLn2);

    /// <summary>
    /// ln x of a positive normal number, to a unit or two in the last place: x = 2ⁿ m with m in [1/√2, √2), and ln m = 2 artanh s,
    /// s = (m − 1) / (m + 1), by its series.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Log(float x)
    {
        // Bits from those of 1/√2 on: the exponent field then counts from m = 1/√2.
        const uint inverseRoot2 = 0x3F3504F3;
        uint bits = Interop.FloatAsInt(x) - inverseRoot2;
        int n = (int)bits >> 23;
        float m = Interop.IntAsFloat((bits & 0x007FFFFF) + inverseRoot2);
        float s = (m - 1f) / (m + 1f);
        float s2 = s * s;
        float p = (s2 * (1f / 9f)) + (1f / 7f);
        p = (p * s2) + (1f / 5f);
        p = (p * s2) + (1f / 3f);
        p = (p * s2 * s) + s;
        float result = (n * Ln2High) + ((n * Ln2Low) + (2f * p));
        return x > 0f ? result : float.NaN;
    }

    /// <summary>The normal distribution at u: Φ(u) and φ(u), which share their exponential.</summary>
    internal readonly struct Normal
    {
        /// <summary>
        /// The upper tail of z = |u|, half of erfc(z / √2), is e^(−z²/2) t P(t), t = 1 / (1 + 0.33 z), P of degree 6: the form of
        /// Abramowitz and Stegun 7.1.26, with the coefficients of the CPU's kernel, good to 3·10⁻⁹.
        /// </summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Normal(float u)
        {
            float z = u < 0f ? -u : u;
            float e = Exp(-0.5f * (z * z));
            float t = 1f / ((0.33f * z) + 1f);
            float p = (0.0445137316f * t) - 0.215731354f;
            p = (p * t) + 0.321825742f;
            p = (p * t) - 0.0796773496f;
            p = (p * t) + 0.175568776f;
            p = (p * t) + 0.121082632f;
            p = (p * t) + 0.132417825f;
            float tail = p * t * e;
            Density = e * 0.39894228f;
            Distribution = u > 0f ? 1f - tail : tail;
        }

        /// <summary>Φ(u), the share of normal numbers below u.</summary>
        public float Distribution { get; }

        /// <summary>φ(u) = e^(−u²/2) / √(2π).</summary>
        public float Density { get; }
    }
}
