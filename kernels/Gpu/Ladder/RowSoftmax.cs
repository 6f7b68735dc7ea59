using ILGPU;

namespace Bert4Rec.Kernels.Gpu.Ladder;

/// <summary>
/// y [Rows, Columns] with y[r, c] = exp(x[r, c] − max of row r) over the row's sum of those, as every step of the ladder is asked for it.
/// Rows are a multiple of 32.
/// </summary>
internal readonly record struct RowSoftmax(ArrayView<float> X, ArrayView<float> Y, int Rows, int Columns);
