using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Kernels.Reference;

// The first layer: what an event is plus where it stands. A lookup is a product with one-hot rows, so its gradient is the same rows
// added up.

/// <summary>Lookups in the item and position tables.</summary>
public static class Embedding
{
    /// <summary>x[t] = items[tokens[t]] + positionTable[positions[t]], [T, H].</summary>
    public static Matrix<double> Forward(int[] tokens, int[] positions, Matrix<double> items, Matrix<double> positionTable) =>
        GatherRows(items, tokens) + GatherRows(positionTable, positions);

    /// <summary>y[m] = x[rows[m]].</summary>
    public static Matrix<double> GatherRows(Matrix<double> x, int[] rows) =>
        Matrix<double>.Build.Dense(rows.Length, x.ColumnCount, (m, column) => x[rows[m], column]);
}
