using MathNet.Numerics;
using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Tests.Kernels;

/// <summary>Test numbers, their conversions, and the comparison that every layer is held to.</summary>
internal static class Numbers
{
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

    public static void Close(string what, Vector<double> expected, float[] actual, double tolerance) =>
        Close(what, expected.ToRowMatrix(), actual, tolerance);

    /// <summary>‖actual − expected‖ ≤ tolerance · scale.</summary>
    public static void Close(string what, Matrix<double> expected, float[] actual, double tolerance, double scale)
    {
        Assert.Equal(expected.RowCount * expected.ColumnCount, actual.Length);
        double error = (actual.ToMatrix(expected.ColumnCount) - expected).Norm();
        Assert.True(error <= tolerance * scale, $"{what}: error {error:g3} of {scale:g3} is {error / scale:g3}, allowed {tolerance:g3}");
    }

    /// <summary>√(Σ x²): Math.NET's Frobenius norm by way of x xᵀ would be quadratic in the rows.</summary>
    public static double Norm(this Matrix<double> x) => Math.Sqrt(x.Dot(x));

    /// <summary>Σ x ∘ y.</summary>
    public static double Dot(this Matrix<double> x, Matrix<double> y) => x.PointwiseMultiply(y).ColumnSums().Sum();
}
