using System.Numerics;

namespace Bert4Rec.Kernels.Cpu;

/// <summary>Adam over flat buffers: one pass that reads four arrays and writes four, and so runs at the speed of memory.</summary>
internal static unsafe class AdamOptimizer<V>
    where V : struct, IVector<V>
{
    public static void Update(float* parameters, float* gradients, float* firstMoments, float* secondMoments, in AdamStep step, float gradientScale, long length)
    {
        double correction1 = 1 - Math.Pow(step.Beta1, step.Step);
        double correction2 = 1 - Math.Pow(step.Beta2, step.Step);
        V stepSize = (float)(step.LearningRate / correction1);
        V inverseRoot = (float)(1 / Math.Sqrt(correction2));
        V scale = gradientScale, decay = step.WeightDecay, epsilon = step.Epsilon;
        V beta1 = step.Beta1, beta2 = step.Beta2, rest1 = 1 - step.Beta1, rest2 = 1 - step.Beta2;
        for (long i = 0; i < length; i += V.Width)
        {
            int lanes = (int)Math.Min(V.Width, length - i);
            var p = V.LoadFirst(parameters + i, lanes);
            var g = V.MultiplyAdd(decay, p, scale * V.LoadFirst(gradients + i, lanes));
            var m = V.MultiplyAdd(beta1, V.LoadFirst(firstMoments + i, lanes), rest1 * g);
            var v = V.MultiplyAdd(beta2, V.LoadFirst(secondMoments + i, lanes), rest2 * (g * g));
            var denominator = V.MultiplyAdd(V.Sqrt(v), inverseRoot, epsilon);
            V.StoreFirst(p - stepSize * m / denominator, parameters + i, lanes);
            V.StoreFirst(m, firstMoments + i, lanes);
            V.StoreFirst(v, secondMoments + i, lanes);
            V.StoreFirst(0, gradients + i, lanes);
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
