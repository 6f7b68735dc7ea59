using Bert4Rec.Kernels;
using MathNet.Numerics.LinearAlgebra;
using static Bert4Rec.Checking.CaseOperands;
using Reference = Bert4Rec.Kernels.Reference;

namespace Bert4Rec.Checking;

/// <summary>Cases of a step along the gradients.</summary>
internal static class OptimizerCases
{
    /// <param name="random">For the operands.</param>
    /// <param name="n">Numbers.</param>
    /// <param name="largest">Size of every seventh of them; the others' is 1.</param>
    public static KernelCase GradientNorm(Random random, int n, double largest) => new(
        $"[1, {n}]{(largest > 1 ? $", up to {largest:0e+0}" : "")}",
        [Normal(random, 1, n).MapIndexed((_, i, value) => (double)(float)(i % 7 == 0 ? largest * value : value))],
        Normal(random, 1, 1),
        x => Matrix<double>.Build.Dense(1, 1, Reference.Adam.GradientNorm(x[0].Enumerate())),
        NoBackward,
        (memory, x) =>
        {
            Tensor result = memory.ToSet(1, 1);
            memory.Kernels.GradientNorm(x[0], result);
            return new(result, []);
        });

    /// <summary>The parameters, the two moments, and the gradient, which is to be zero.</summary>
    public static KernelCase Adam(Random random, int n, bool decoupledDecay, bool unaligned = false)
    {
        var step = new AdamStep(3, 0.1f, WeightDecay: decoupledDecay ? 0.3f : 0.01f, MaximumNorm: 2, DecoupledDecay: decoupledDecay);
        Matrix<double>[] operands =
            [Normal(random, 1, n), Normal(random, 1, n), Normal(random, 1, n), Normal(random, 1, n).PointwiseAbs()];
        (double Parameter, double First, double Second)[] After(Matrix<double>[] x)
        {
            double clip = Reference.Adam.Clip(Reference.Adam.GradientNorm(x[1].Enumerate()), step.MaximumNorm);
            return [.. Enumerable.Range(0, n).Select(i => Reference.Adam.Step(x[0][0, i], x[1][0, i], x[2][0, i], x[3][0, i], step, clip))];
        }
        return new(
            $"{n} parameters, {(decoupledDecay ? "decoupled decay" : "decay")}, clipping{(unaligned ? ", unaligned" : "")}",
            operands,
            Normal(random, 1, n),
            x => Row(After(x).Select(after => after.Parameter)),
            NoBackward,
            (memory, x) =>
            {
                Tensor[] at = unaligned ? [.. operands.Select(memory.PutUnaligned)] : x;
                var after = After(operands);
                Tensor norm = memory.ToSet(1, 1);
                memory.Kernels.GradientNorm(at[1], norm);
                memory.Kernels.Adam(at[0], at[1], at[2], at[3], norm, step);
                return new(
                    at[0],
                    [],
                    GradientCheck.RelativeError(Row(after.Select(values => values.First)), at[2].ToArray()),
                    GradientCheck.RelativeError(Row(after.Select(values => values.Second)), at[3].ToArray()),
                    IsZero(at[1]));
            });

        static Matrix<double> Row(IEnumerable<double> values) => Matrix<double>.Build.DenseOfRows([values]);
    }

    /// <inheritdoc cref="Adam"/>
    public static KernelCase AdamRows(Random random, int[] rows, int items, int h)
    {
        var step = new AdamStep(3, 0.1f, WeightDecay: 0.01f, MaximumNorm: 2);
        Matrix<double>[] operands =
        [
            Normal(random, items, h), Normal(random, rows.Length, h), Normal(random, items, h), Normal(random, items, h).PointwiseAbs(),
        ];
        (Matrix<double> Parameters, Matrix<double> First, Matrix<double> Second) After(Matrix<double>[] x)
        {
            double clip = Reference.Adam.Clip(Reference.Adam.GradientNorm(x[1].Enumerate()), step.MaximumNorm);
            return Reference.Adam.StepRows(x[0], rows, x[1], x[2], x[3], step, clip);
        }
        return new(
            $"{rows.Length} of [{items}, {h}], decay, clipping",
            operands,
            Normal(random, items, h),
            x => After(x).Parameters,
            NoBackward,
            (memory, x) =>
            {
                var (_, first, second) = After(operands);
                Tensor norm = memory.ToSet(1, 1);
                memory.Kernels.GradientNorm(x[1], norm);
                memory.Kernels.AdamRows(x[0], memory.Put(rows), x[1], x[2], x[3], norm, step);
                return new(
                    x[0],
                    [],
                    GradientCheck.RelativeError(first, x[2].ToArray()),
                    GradientCheck.RelativeError(second, x[3].ToArray()),
                    IsZero(x[1]));
            });
    }
}
