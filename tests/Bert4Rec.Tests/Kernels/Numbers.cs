using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using MathNet.Numerics;
using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Tests.Kernels;

/// <summary>Test numbers, their conversions, and the two comparisons that every layer is held to: values, and gradients.</summary>
internal static class Numbers
{
    /// <summary>Differences are the slow part of the tests, and the same for every backend.</summary>
    private static readonly ConcurrentDictionary<(string Test, string What), Matrix<double>> Known = new();

    /// <summary>The matrices are small: handing their products to the thread pool costs more than the products.</summary>
    static Numbers() => Control.UseSingleThread();

    /// <summary>Normal numbers that float32 holds exactly, so that kernel and reference start from the same ones.</summary>
    public static Matrix<double> Normal(this Random random, int rows, int columns, double deviation = 1, double mean = 0) =>
        Matrix<double>.Build.Dense(rows, columns, (_, _) => (float)MathNet.Numerics.Distributions.Normal.Sample(random, mean, deviation));

    public static int[] Integers(this Random random, int count, int minimum, int end) =>
        [.. Enumerable.Range(0, count).Select(_ => random.Next(minimum, end))];

    public static float[] ToFloats(this Matrix<double> matrix) => [.. matrix.ToRowMajorArray().Select(value => (float)value)];

    public static Matrix<double> ToMatrix(this float[] values, int columns) =>
        Matrix<double>.Build.Dense(values.Length / columns, columns, (row, column) => values[(row * columns) + column]);

    public static int[] Offsets(params int[] lengths)
    {
        int[] offsets = new int[lengths.Length + 1];
        for (int i = 0; i < lengths.Length; i++)
            offsets[i + 1] = offsets[i] + lengths[i];
        return offsets;
    }

    /// <summary>‖actual − expected‖ ≤ tolerance · ‖expected‖.</summary>
    public static void Close(string what, Matrix<double> expected, float[] actual, double tolerance) =>
        Close(what, expected, actual, tolerance, expected.Norm());

    /// <summary>‖actual − expected‖ ≤ tolerance · scale.</summary>
    public static void Close(string what, Matrix<double> expected, float[] actual, double tolerance, double scale)
    {
        Assert.Equal(expected.RowCount * expected.ColumnCount, actual.Length);
        double error = (actual.ToMatrix(expected.ColumnCount) - expected).Norm();
        Assert.True(error <= tolerance * scale, $"{what}: error {error:g3} of {scale:g3} is {error / scale:g3}, allowed {tolerance:g3}");
    }

    /// <summary>
    /// Holds a gradient against central differences of <paramref name="f"/> at <paramref name="x"/>: element by element where there are
    /// few, else along a random direction, which sees every element at once.
    /// </summary>
    /// <param name="what">Names f and x, in a failure and in <see cref="Known"/>: it must name everything that they depend on.</param>
    /// <param name="f">The double-precision reference, as a function of one operand.</param>
    /// <param name="x">Where.</param>
    /// <param name="gradient">What the kernel computed, of x's shape.</param>
    /// <param name="tolerance">Relative to the gradient's norm.</param>
    /// <param name="floor">Rounding is relative to this norm where the gradient's is smaller: terms that cancel.</param>
    /// <param name="test">The test's file.</param>
    public static void CheckGradient(
        string what, Func<Matrix<double>, double> f, Matrix<double> x, float[] gradient, double tolerance, double floor = 0,
        [CallerFilePath] string test = "")
    {
        var values = gradient.ToMatrix(x.ColumnCount);
        Check(what, f, x, values, tolerance * Math.Max(floor, values.Norm()), test);
    }

    /// <summary>As <see cref="CheckGradient"/>, for a kernel that adds the gradient to what was there <paramref name="before"/>.</summary>
    public static void CheckAdded(
        string what, Func<Matrix<double>, double> f, Matrix<double> x, Matrix<double> before, float[] after, double tolerance,
        [CallerFilePath] string test = "")
    {
        var gradient = after.ToMatrix(x.ColumnCount) - before;
        Check(what, f, x, gradient, tolerance * (gradient.Norm() + before.Norm()), test);
    }

    private static void Check(
        string what, Func<Matrix<double>, double> f, Matrix<double> x, Matrix<double> gradient, double allowed, string test)
    {
        if (x.RowCount * x.ColumnCount > 200)
        {
            var direction = new Random(17).Normal(x.RowCount, x.ColumnCount);
            double expected = Known.GetOrAdd((test, what), _ => Matrix<double>.Build.Dense(1, 1, Derivative(f, x, direction)))[0, 0];
            double actual = gradient.Dot(direction);
            Assert.True(Math.Abs(actual - expected) <= 3 * allowed,
                $"{what}: {actual:g9} along a random direction, {expected:g9} by central differences, allowed ±{3 * allowed:g3}");
            return;
        }

        double error = (gradient - Known.GetOrAdd((test, what), _ => Gradient(f, x))).Norm();
        Assert.True(error <= allowed, $"{what}: error {error:g3}, allowed {allowed:g3}");
    }

    /// <summary>The gradient of f, element by element by central differences.</summary>
    private static Matrix<double> Gradient(Func<Matrix<double>, double> f, Matrix<double> x) =>
        Matrix<double>.Build.Dense(x.RowCount, x.ColumnCount, (row, column) =>
        {
            var unit = Matrix<double>.Build.Dense(x.RowCount, x.ColumnCount);
            unit[row, column] = 1;
            return Derivative(f, x, unit);
        });

    /// <summary>The derivative of f along a direction, by central differences of fourth order.</summary>
    public static double Derivative(Func<Matrix<double>, double> f, Matrix<double> x, Matrix<double> direction, double step = 1e-3)
    {
        double At(double steps) => f(x + (direction * (steps * step)));
        return ((8 * (At(1) - At(-1))) - (At(2) - At(-2))) / (12 * step);
    }

    /// <summary>√(Σ x²): Math.NET's Frobenius norm by way of x xᵀ would be quadratic in the rows.</summary>
    public static double Norm(this Matrix<double> x) => Math.Sqrt(x.Dot(x));

    /// <summary>Σ x ∘ y.</summary>
    public static double Dot(this Matrix<double> x, Matrix<double> y) => x.PointwiseMultiply(y).ColumnSums().Sum();
}
