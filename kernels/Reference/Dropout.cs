using MathNet.Numerics.LinearAlgebra;
using DropoutMask = Bert4Rec.Kernels.Dropout;

namespace Bert4Rec.Kernels.Reference;

// Inverted dropout (Srivastava et al., 2014): a share p of the cells becomes 0 and the others 1 / (1 − p) of what they were, which keeps
// the mean. Which cells is a function of seed, step, stream, row and column alone, so every backend drops the same ones.
//
//     y = x ∘ F,  F[row, column] = 0 or 1 / (1 − p)
//
// The forward keeps nothing: F is drawn again.  F does not depend on x, so  dx = dy ∘ F:  forward and backward are the same operation.

/// <summary>y = x ∘ F, F the factors of a <see cref="DropoutMask"/>.</summary>
public static class Dropout
{
    /// <param name="x">[T, H], whose row 0 is row <see cref="RandomKey.FirstRow"/> of the batch.</param>
    /// <param name="mask">Which cells are dropped.</param>
    public static Matrix<double> Forward(Matrix<double> x, DropoutMask mask) =>
        x.PointwiseMultiply(Factors(x.RowCount, x.ColumnCount, mask));

    /// <param name="dy">[T, H]</param>
    /// <param name="mask">As in the forward.</param>
    public static Matrix<double> Backward(Matrix<double> dy, DropoutMask mask) =>
        dy.PointwiseMultiply(Factors(dy.RowCount, dy.ColumnCount, mask));

    /// <summary>F: 0 or 1 / (1 − p); ones where nothing is dropped.</summary>
    public static Matrix<double> Factors(int rows, int columns, DropoutMask mask)
    {
        if (mask.IsNone)
            return Matrix<double>.Build.Dense(rows, columns, 1);
        var (seed, step, stream, firstRow) = mask.Key;
        return Matrix<double>.Build.Dense(rows, columns, (row, column) =>
            Philox.Cell(seed, step, stream, firstRow + (uint)row, (uint)column) < mask.Threshold ? 0 : mask.Scale);
    }
}
