using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Kernels.Reference;

// The dense layer, whose weight is kept as PyTorch keeps it: one row an output.
//
//     y = x Wᵀ + b,  that is  y[t, n] = Σₖ x[t, k] W[n, k] + b[n]
//
// The forward keeps x. Every term of the sum has one x and one W, so the gradient of the one is the other, times dy, summed over the index
// that it lacks:
//
//     dx[t, k] = Σₙ dy[t, n] W[n, k]        dx = dy W
//     dW[n, k] = Σₜ dy[t, n] x[t, k]        dW = dyᵀ x
//     db[n]    = Σₜ dy[t, n]

/// <summary>y = x · weightᵀ + bias.</summary>
public static class Linear
{
    /// <param name="x">[T, K]</param>
    /// <param name="weight">[N, K]</param>
    /// <param name="bias">[N]</param>
    /// <returns>[T, N]</returns>
    public static Matrix<double> Forward(Matrix<double> x, Matrix<double> weight, Vector<double> bias) =>
        x.TransposeAndMultiply(weight).MapIndexed((_, n, product) => product + bias[n]);

    /// <param name="dy">[T, N]</param>
    /// <param name="x">[T, K]</param>
    /// <param name="weight">[N, K]</param>
    /// <returns>Dx [T, K], DWeight [N, K] and DBias [N].</returns>
    public static (Matrix<double> Dx, Matrix<double> DWeight, Vector<double> DBias) Backward(
        Matrix<double> dy, Matrix<double> x, Matrix<double> weight) =>
        (dy * weight, dy.TransposeThisAndMultiply(x), dy.ColumnSums());
}
