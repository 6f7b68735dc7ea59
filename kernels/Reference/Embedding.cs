using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Kernels.Reference;

// The first layer: what an event is plus where it stands.
//
//     x[t] = E[token t] + P[position t]
//
// A lookup is a product with rows that are 0 but for one 1:  x = O E, O[t, i] = 1 where token t = i.  The forward keeps the tokens, which
// are all of O.  By the rule of products  dE = Oᵀ dx, and that is a sum:
//
//     dE[i] = Σ dx[t]  over the t whose token is i;   dP[p] likewise over the t whose position is p
//
// Padding, item 0, stands for no event: it has a row in the table, and the lookup never gives that a gradient (PyTorch's padding_idx); the
// softmax, which counts it among the V items, does.

/// <summary>Lookups in the item and position tables, and of the rows that somebody reads.</summary>
public static class Embedding
{
    private const int Padding = 0;

    /// <param name="tokens">[T] rows of <paramref name="items"/>.</param>
    /// <param name="positions">[T] rows of <paramref name="positionTable"/>.</param>
    /// <param name="items">[V+1, H]</param>
    /// <param name="positionTable">[maximum length, H]</param>
    /// <returns>[T, H]</returns>
    public static Matrix<double> Forward(int[] tokens, int[] positions, Matrix<double> items, Matrix<double> positionTable) =>
        GatherRowsForward(items, tokens) + GatherRowsForward(positionTable, positions);

    /// <param name="dx">[T, H]</param>
    /// <param name="tokens">[T]</param>
    /// <param name="positions">[T]</param>
    /// <param name="itemRows">Rows of the item table, V + 1.</param>
    /// <param name="positionRows">Rows of the position table.</param>
    /// <returns>DItems and DPositions, of the tables' shapes.</returns>
    public static (Matrix<double> DItems, Matrix<double> DPositions) Backward(
        Matrix<double> dx, int[] tokens, int[] positions, int itemRows, int positionRows)
    {
        var dItems = GatherRowsBackward(dx, tokens, itemRows);
        dItems.ClearRow(Padding);
        return (dItems, GatherRowsBackward(dx, positions, positionRows));
    }

    /// <summary>y[m] = x[rows[m]].</summary>
    public static Matrix<double> GatherRowsForward(Matrix<double> x, int[] rows) =>
        Matrix<double>.Build.Dense(rows.Length, x.ColumnCount, (m, column) => x[rows[m], column]);

    /// <summary>dx[row] = Σ dy[m] over the m with rows[m] = row; dx has <paramref name="count"/> rows.</summary>
    public static Matrix<double> GatherRowsBackward(Matrix<double> dy, int[] rows, int count)
    {
        var dx = Matrix<double>.Build.Dense(count, dy.ColumnCount);
        for (int m = 0; m < rows.Length; m++)
            dx.SetRow(rows[m], dx.Row(rows[m]) + dy.Row(m));
        return dx;
    }
}
