using System.Numerics;

namespace Bert4Rec.Kernels.Cpu;

/// <summary>Adam over flat buffers: one pass that reads four arrays and writes four, and so runs at the speed of memory.</summary>
internal static unsafe class Adam<V>
    where V : struct, IVector<V>
{
    public static void Update(
        Tensor parameters, Tensor gradients, Tensor firstMoments, Tensor secondMoments, Tensor norms, in AdamStep step) =>
        Update(
            parameters.Pointer(),
            gradients.Pointer(),
            firstMoments.Pointer(),
            secondMoments.Pointer(),
            parameters.Length,
            new Rates(norms, step));

    /// <summary>A row of gradients after the other, each for a row of the table.</summary>
    public static void UpdateRows(
        Tensor parameters, Indices rows, Tensor gradients, Tensor firstMoments, Tensor secondMoments, Tensor norms, in AdamStep step)
    {
        int* row = rows.Pointer();
        Matrix parameter = new(parameters), gradient = new(gradients), first = new(firstMoments), second = new(secondMoments);
        var rates = new Rates(norms, step);
        for (int m = 0; m < rows.Length; m++)
            Update(parameter.Row(row[m]), gradient.Row(m), first.Row(row[m]), second.Row(row[m]), gradients.Columns, rates);
    }

    private static void Update(float* parameter, float* gradient, float* firstMoment, float* secondMoment, long length, in Rates rates)
    {
        V stepSize = rates.StepSize, inverseRoot = rates.InverseRoot, scale = rates.Clip;
        V penalty = rates.Penalty, shrinkage = rates.Shrinkage, epsilon = rates.Epsilon;
        V beta1 = rates.Beta1, beta2 = rates.Beta2, rest1 = 1 - rates.Beta1, rest2 = 1 - rates.Beta2;
        long whole = length - (length % V.Width);
        for (long i = 0; i < whole; i += V.Width)
            Step<AllLanes<V>>(i, V.Width);
        if (whole < length)
            Step<FirstLanes<V>>(whole, (int)(length - whole));

        void Step<L>(long i, int lanes)
            where L : ILanes<V>
        {
            var p = L.Load(parameter + i, lanes);
            var g = V.MultiplyAdd(penalty, p, scale * L.Load(gradient + i, lanes));
            var m = V.MultiplyAdd(beta1, L.Load(firstMoment + i, lanes), rest1 * g);
            var v = V.MultiplyAdd(beta2, L.Load(secondMoment + i, lanes), rest2 * (g * g));
            var denominator = V.MultiplyAdd(V.Sqrt(v), inverseRoot, epsilon);
            L.Store(p - V.MultiplyAdd(shrinkage, p, stepSize * m / denominator), parameter + i, lanes);
            L.Store(m, firstMoment + i, lanes);
            L.Store(v, secondMoment + i, lanes);
            L.Store(0, gradient + i, lanes);
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

    /// <summary>An <see cref="AdamStep"/> with what is the same for all parameters worked out.</summary>
    private readonly struct Rates(Tensor norms, in AdamStep step)
    {
        public readonly float StepSize = (float)(step.LearningRate / (1 - Math.Pow(step.Beta1, step.Step)));
        public readonly float InverseRoot = (float)(1 / Math.Sqrt(1 - Math.Pow(step.Beta2, step.Step)));
        public readonly float Clip =
            norms.IsNone ? 1 : step.ClippingScale(new ReadOnlySpan<float>(norms.Pointer(), (int)norms.Length));

        public readonly float Penalty = step.Penalty;
        public readonly float Shrinkage = step.Shrinkage;
        public readonly float Epsilon = step.Epsilon;
        public readonly float Beta1 = step.Beta1;
        public readonly float Beta2 = step.Beta2;
    }
}
