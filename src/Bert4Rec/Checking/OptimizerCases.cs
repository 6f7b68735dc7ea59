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

    public static KernelCase Adam(Random random, int n, bool decoupledDecay, bool unaligned = false)
    {
        var step = new AdamStep(3, 0.1f, WeightDecay: decoupledDecay ? 0.3f : 0.01f, MaximumNorm: 2, DecoupledDecay: decoupledDecay);
        return Step(
            random,
            $"{n} parameters, {(decoupledDecay ? "decoupled decay" : "decay")}, clipping{(unaligned ? ", unaligned" : "")}",
            [0],
            1,
            n,
            step,
            unaligned,
            (memory, x, norm) => memory.Kernels.Adam(x[0], x[1], x[2], x[3], norm, step));
    }

    public static KernelCase AdamRows(Random random, int[] rows, int items, int h)
    {
        var step = new AdamStep(3, 0.1f, WeightDecay: 0.01f, MaximumNorm: 2);
        return Step(
            random,
            $"{rows.Length} of [{items}, {h}], decay, clipping",
            rows,
            items,
            h,
            step,
            unaligned: false,
            (memory, x, norm) => memory.Kernels.AdamRows(x[0], memory.Put(rows), x[1], x[2], x[3], norm, step));
    }

    /// <summary>A step of some rows: the parameters, the two moments, and the gradient, which is to be zero.</summary>
    private static KernelCase Step(
        Random random, string shape, int[] rows, int items, int h, AdamStep step, bool unaligned, Action<CheckMemory, Tensor[], Tensor> run)
    {
        Matrix<double>[] operands =
        [
            Normal(random, items, h), Normal(random, rows.Length, h), Normal(random, items, h), Normal(random, items, h).PointwiseAbs(),
        ];
        double clip = Reference.Adam.Clip(Reference.Adam.GradientNorm(operands[1].Enumerate()), step.MaximumNorm);
        var (parameters, first, second) = Reference.Adam.StepRows(
            operands[0], rows, operands[1], operands[2], operands[3], step, clip);
        return new(
            shape,
            operands,
            Normal(random, items, h),
            _ => parameters,
            NoBackward,
            (memory, x) =>
            {
                Tensor[] at = unaligned ? [.. operands.Select(memory.PutUnaligned)] : x;
                Tensor norm = memory.ToSet(1, 1);
                memory.Kernels.GradientNorm(at[1], norm);
                run(memory, at, norm);
                return new(
                    at[0],
                    [],
                    GradientCheck.RelativeError(first, at[2].ToArray()),
                    GradientCheck.RelativeError(second, at[3].ToArray()),
                    IsZero(at[1]));
            });
    }
}
