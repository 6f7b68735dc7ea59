using System.Numerics;

namespace Bert4Rec.Kernels.Cpu;

/// <summary>Adam over flat buffers: one pass that reads four arrays and writes four, and so runs at the speed of memory.</summary>
internal static unsafe class Adam<V>
    where V : struct, IVector<V>
{
    public static void Update(
        Tensor parameters, Tensor gradients, Tensor firstMoments, Tensor secondMoments, Tensor norms, in AdamStep step)
    {
        float* parameter = parameters.Pointer(), gradient = gradients.Pointer();
        float* firstMoment = firstMoments.Pointer(), secondMoment = secondMoments.Pointer();
        double correction1 = 1 - Math.Pow(step.Beta1, step.Step);
        double correction2 = 1 - Math.Pow(step.Beta2, step.Step);
        V stepSize = (float)(step.LearningRate / correction1), inverseRoot = (float)(1 / Math.Sqrt(correction2));
        V scale = norms.IsNone ? 1 : step.ClippingScale(new ReadOnlySpan<float>(norms.Pointer(), (int)norms.Length));
        V penalty = step.Penalty, shrinkage = step.Shrinkage, epsilon = step.Epsilon;
        V beta1 = step.Beta1, beta2 = step.Beta2, rest1 = 1 - step.Beta1, rest2 = 1 - step.Beta2;
        for (long i = 0; i < parameters.Length; i += V.Width)
        {
            int lanes = (int)Math.Min(V.Width, parameters.Length - i);
            var p = V.LoadFirst(parameter + i, lanes);
            var g = V.MultiplyAdd(penalty, p, scale * V.LoadFirst(gradient + i, lanes));
            var m = V.MultiplyAdd(beta1, V.LoadFirst(firstMoment + i, lanes), rest1 * g);
            var v = V.MultiplyAdd(beta2, V.LoadFirst(secondMoment + i, lanes), rest2 * (g * g));
            var denominator = V.MultiplyAdd(V.Sqrt(v), inverseRoot, epsilon);
            V.StoreFirst(p - V.MultiplyAdd(shrinkage, p, stepSize * m / denominator), parameter + i, lanes);
            V.StoreFirst(m, firstMoment + i, lanes);
            V.StoreFirst(v, secondMoment + i, lanes);
            V.StoreFirst(0, gradient + i, lanes);
        }
    }

    /// <summary>√(Σ x²), in double precision: a gradient that explodes must not look infinite before its norm is clipped.</summary>
    public static void GradientNorm(Tensor x, Tensor result)
    {
        float* p = x.Pointer();
        Vector<double> sum0 = Vector<double>.Zero, sum1 = Vector<double>.Zero;
        long i = 0;
        for (; i + Vector<float>.Count <= x.Length; i += Vector<float>.Count)
        {
            Vector.Widen(Vector.Load(p + i), out var low, out var high);
            sum0 += low * low;
            sum1 += high * high;
        }
        double total = Vector.Sum(sum0 + sum1);
        for (; i < x.Length; i++)
            total += (double)p[i] * p[i];
        *result.Pointer() = (float)Math.Sqrt(total);
    }
}
