using ILGPU;

namespace Bert4Rec.Kernels.Gpu.Ladder;

/// <summary>
/// c [M, N] = a [M, K] · b [K, N], row after row, as every step of the ladder is asked for it. Sizes are multiples of 64: a step shows one
/// idea, and no edges.
/// </summary>
internal readonly record struct MatrixProduct(ArrayView<float> A, ArrayView<float> B, ArrayView<float> C, int M, int N, int K);
