using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Kernels.Reference;

// Inverted dropout (Srivastava et al., 2014): a share p of the cells becomes 0 and the others 1 / (1 − p) of what they were, which keeps
// the mean. Which cells is a function of seed, step, stream, row and column alone, so every backend drops the same ones.
//
//     y = x ∘ M,  M[row, column] = 0 or 1 / (1 − p)
//
// The forward keeps nothing: the mask M is drawn again.  M does not depend on x, so  dx = dy ∘ M:  the backward is the same operation.

/// <summary>y = x ∘ M, M drawn as <see cref="DropoutMask"/> says.</summary>
public static class Dropout
{
    /// <param name="x">[T, H], whose row 0 is row <see cref="RandomKey.FirstRow"/> of the batch.</param>
    /// <param name="dropout">Which cells are dropped.</param>
    public static Matrix<double> Forward(Matrix<double> x, DropoutMask dropout) =>
        x.PointwiseMultiply(Mask(x.RowCount, x.ColumnCount, dropout));

    /// <param name="dy">[T, H]</param>
    /// <param name="dropout">As in the forward.</param>
    public static Matrix<double> Backward(Matrix<double> dy, DropoutMask dropout) =>
        dy.PointwiseMultiply(Mask(dy.RowCount, dy.ColumnCount, dropout));

    /// <summary>M [rows, columns]: 0 or 1 / (1 − p); ones where nothing is dropped.</summary>
    public static Matrix<double> Mask(int rows, int columns, DropoutMask dropout)
    {
        if (dropout.IsNone)
            return Matrix<double>.Build.Dense(rows, columns, 1);
        var (seed, step, stream, firstRow) = dropout.Key;
        return Matrix<double>.Build.Dense(rows, columns, (row, column) =>
            Philox.Cell(seed, step, stream, firstRow + (uint)row, (uint)column) < dropout.Threshold ? 0 : dropout.Scale);
    }
}
