using System.Numerics;

namespace Bert4Rec.Kernels.Cpu;

/// <summary>Adam over flat buffers: one pass that reads four arrays and writes four, and so runs at the speed of memory.</summary>
internal static unsafe class AdamOptimizer<S, V>
    where S : struct, ISimd<V>
    where V : struct
{
    public static void Update(float* parameters, float* gradients, float* firstMoments, float* secondMoments, in AdamStep step, float gradientScale, long length)
    {
        double correction1 = 1 - Math.Pow(step.Beta1, step.Step);
        double correction2 = 1 - Math.Pow(step.Beta2, step.Step);
        var stepSize = S.Broadcast((float)(step.LearningRate / correction1));
        var inverseRoot = S.Broadcast((float)(1 / Math.Sqrt(correction2)));
        V scale = S.Broadcast(gradientScale), decay = S.Broadcast(step.WeightDecay), epsilon = S.Broadcast(step.Epsilon);
        V beta1 = S.Broadcast(step.Beta1), beta2 = S.Broadcast(step.Beta2), rest1 = S.Broadcast(1 - step.Beta1), rest2 = S.Broadcast(1 - step.Beta2);
        for (long i = 0; i < length; i += S.Width)
        {
            int lanes = (int)Math.Min(S.Width, length - i);
            var p = Simd<S, V>.LoadFirst(parameters + i, lanes);
            var g = S.MultiplyAdd(decay, p, S.Multiply(scale, Simd<S, V>.LoadFirst(gradients + i, lanes)));
            var m = S.MultiplyAdd(beta1, Simd<S, V>.LoadFirst(firstMoments + i, lanes), S.Multiply(rest1, g));
            var v = S.MultiplyAdd(beta2, Simd<S, V>.LoadFirst(secondMoments + i, lanes), S.Multiply(rest2, S.Multiply(g, g)));
            var denominator = S.MultiplyAdd(S.Sqrt(v), inverseRoot, epsilon);
            Simd<S, V>.StoreFirst(S.Subtract(p, S.Divide(S.Multiply(stepSize, m), denominator)), parameters + i, lanes);
            Simd<S, V>.StoreFirst(m, firstMoments + i, lanes);
            Simd<S, V>.StoreFirst(v, secondMoments + i, lanes);
            Simd<S, V>.StoreFirst(S.Broadcast(0), gradients + i, lanes);
        }
    }

    /// <summary>Σ x², each square in double precision: a gradient that explodes must not look infinite before its norm is clipped.</summary>
    public static double SumOfSquares(float* x, long length)
    {
        Vector<double> sum0 = Vector<double>.Zero, sum1 = Vector<double>.Zero;
        long i = 0;
        for (; i + Vector<float>.Count <= length; i += Vector<float>.Count)
        {
            Vector.Widen(Vector.Load(x + i), out var low, out var high);
            sum0 += low * low;
            sum1 += high * high;
        }
        double total = Vector.Sum(sum0 + sum1);
        for (; i < length; i++)
            total += (double)x[i] * x[i];
        return total;
    }
}
