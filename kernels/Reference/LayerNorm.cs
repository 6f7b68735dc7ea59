using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Kernels.Reference;

// Layer normalisation (Ba, Kiros & Hinton, 2016): every row is brought to mean 0 and variance 1, then scaled and shifted by learnt amounts.

/// <summary>y = gain ∘ (x − mean) / √(variance + ε) + bias, row by row.</summary>
public static class LayerNorm
{
    /// <param name="x">[T, H]</param>
    /// <param name="gain">[H]</param>
    /// <param name="bias">[H]</param>
    /// <param name="epsilon">ε</param>
    /// <returns>[T, H]</returns>
    public static Matrix<double> Forward(Matrix<double> x, Vector<double> gain, Vector<double> bias, double epsilon) =>
        Matrix<double>.Build.DenseOfRowVectors(x.EnumerateRows().Select(row =>
        {
            var (mean, inverseDeviation) = Statistics(row, epsilon);
            return gain.PointwiseMultiply((row - mean) * inverseDeviation) + bias;
        }));

    /// <summary>The mean of a row and 1 / √(variance + ε); the variance divides by H.</summary>
    public static (double Mean, double InverseDeviation) Statistics(Vector<double> row, double epsilon)
    {
        double mean = row.Sum() / row.Count;
        var centred = row - mean;
        double variance = centred.DotProduct(centred) / row.Count;
        return (mean, 1 / Math.Sqrt(variance + epsilon));
    }
}
