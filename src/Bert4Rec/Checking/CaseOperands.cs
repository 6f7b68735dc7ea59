using Bert4Rec.Kernels;
using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Checking;

/// <summary>Operands of cases, and how far off what is no float may be.</summary>
internal static class CaseOperands
{
    public static Matrix<double>[] NoBackward(Matrix<double>[] operands, Matrix<double> w) => [];

    /// <summary>0 where these are the numbers, else 1, which no bound allows.</summary>
    public static double Exact(int[] expected, Indices actual) => expected.AsSpan().SequenceEqual(actual.ToArray()) ? 0 : 1;

    /// <inheritdoc cref="Exact"/>
    public static double IsZero(Tensor actual) => actual.ToArray().All(value => value == 0) ? 0 : 1;

    /// <summary>What the items score, [rows, k]; NaN for padding, for what is no item, and for one that its row had before.</summary>
    public static float[] ScoresOf(Matrix<double> scores, int[] items, int k) => [.. items.Select((item, i) =>
        item > 0 && item < scores.ColumnCount && !items.AsSpan(i / k * k, i % k).Contains(item) ? (float)scores[i / k, item] : float.NaN)];

    public static Matrix<double> Normal(Random random, int rows, int columns, double size = 1) =>
        Matrix<double>.Build.Dense(rows, columns, (_, _) => (float)MathNet.Numerics.Distributions.Normal.Sample(random, 0, size));

    /// <summary>Whole numbers from the first to before the second.</summary>
    public static int[] Whole(Random random, int count, int from, int to) =>
        [.. Enumerable.Range(0, count).Select(_ => random.Next(from, to))];

    /// <summary>Whole numbers from −2 to 2.</summary>
    public static Matrix<double> WholeMatrix(Random random, int rows, int columns) =>
        Matrix<double>.Build.Dense(rows, columns, (_, _) => random.Next(-2, 3));
}
