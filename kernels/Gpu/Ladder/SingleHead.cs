using ILGPU;

namespace Bert4Rec.Kernels.Gpu.Ladder;

/// <summary>
/// o [T, 32] = softmax(q kᵀ / √32) v of q, k and v [T, 32], one head that sees all positions, as every step of the ladder is asked for
/// it. T is a multiple of 64. Work is [T, T] floats that only step 1 has a use for.
/// </summary>
internal readonly record struct SingleHead(
    ArrayView<float> Q, ArrayView<float> K, ArrayView<float> V, ArrayView<float> O, ArrayView<float> Work, int T)
{
    /// <summary>Columns of the head, which are the lanes of a warp too.</summary>
    public const int Width = 32;

    /// <summary>1/√32</summary>
    public const float Scale = 0.176776695f;
}
