using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Kernels.Reference;

// The dense layer, whose weight is kept as PyTorch keeps it: one row an output.

/// <summary>y = x · weightᵀ + bias.</summary>
public static class Linear
{
    /// <param name="x">[T, K]</param>
    /// <param name="weight">[N, K]</param>
    /// <param name="bias">[N]</param>
    /// <returns>[T, N]</returns>
    public static Matrix<double> Forward(Matrix<double> x, Matrix<double> weight, Vector<double> bias) =>
        x.TransposeAndMultiply(weight).MapIndexed((_, n, product) => product + bias[n]);
}
