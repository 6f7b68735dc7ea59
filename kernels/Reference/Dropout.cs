using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Kernels.Reference;

// Inverted dropout (Srivastava et al., 2014): a share p of the cells becomes 0 and the others 1 / (1 − p) of what they were, which keeps
// the mean. Which cells is a function of seed, step, stream, row and column alone, so every backend drops the same ones.

/// <summary>The factor of each cell: 0 or 1 / (1 − p).</summary>
public static class Dropout
{
    /// <summary>The mask of a matrix whose row 0 is row <see cref="RandomKey.FirstRow"/> of the batch; ones for no dropout.</summary>
    public static Matrix<double> Draw(int rows, int columns, DropoutMask dropout)
    {
        if (dropout.IsNone)
            return Matrix<double>.Build.Dense(rows, columns, 1);
        var (seed, step, stream, firstRow) = dropout.Key;
        return Matrix<double>.Build.Dense(rows, columns, (row, column) =>
            Philox.Cell(seed, step, stream, firstRow + (uint)row, (uint)column) < dropout.Threshold ? 0 : dropout.Scale);
    }

    /// <summary>x ∘ mask.</summary>
    public static Matrix<double> Apply(Matrix<double> x, DropoutMask dropout) => x.PointwiseMultiply(Draw(x.RowCount, x.ColumnCount, dropout));
}
