using System.Runtime.CompilerServices;
using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// Combines the values of neighbouring threads of a group and gives every one of them the result: threads 0 to width − 1, width to
/// 2 · width − 1, and so on. The order depends on the width alone. All threads of the group take part, and on return the memory is free
/// again.
/// </summary>
/// <remarks>Kernels are generic in it; <see cref="GpuDevice.UsesWarps"/> says which version suits the device.</remarks>
internal interface IGroupReduction
{
    /// <param name="value">This thread's value.</param>
    /// <param name="width">A power of two, at most the group's size.</param>
    /// <param name="shared">Shared memory, one element a thread.</param>
    T Reduce<T, TCombine>(T value, int width, ArrayView<T> shared)
        where T : unmanaged
        where TCombine : struct, ICombine<T>;
}

/// <summary>By exchanges within warps, which need no barrier; only the warps' results go through shared memory.</summary>
internal readonly struct WarpReduction : IGroupReduction
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public T Reduce<T, TCombine>(T value, int width, ArrayView<T> shared)
        where T : unmanaged
        where TCombine : struct, ICombine<T>
    {
        for (int offset = (width < Warp.WarpSize ? width : Warp.WarpSize) / 2; offset > 0; offset /= 2)
            value = default(TCombine).Combine(value, Warp.ShuffleXor(value, offset));
        if (width <= Warp.WarpSize)
            return value;

        if (Warp.LaneIdx == 0)
            shared[Group.IdxX / Warp.WarpSize] = value;
        Group.Barrier();
        int first = (Group.IdxX & ~(width - 1)) / Warp.WarpSize;
        value = shared[first];
        for (int i = 1; i < width / Warp.WarpSize; i++)
            value = default(TCombine).Combine(value, shared[first + i]);
        Group.Barrier();
        return value;
    }
}

/// <summary>
/// Through shared memory, which every device has: sixteen values at a time, so that 256 take four barriers where a tree would take nine.
/// </summary>
internal readonly struct SharedReduction : IGroupReduction
{
    private const int Radix = 16;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public T Reduce<T, TCombine>(T value, int width, ArrayView<T> shared)
        where T : unmanaged
        where TCombine : struct, ICombine<T>
    {
        for (int stride = 1; stride < width; stride *= Radix)
        {
            shared[Group.IdxX] = value;
            Group.Barrier();
            // The threads stride apart that share the rest of their number.
            int end = stride * Radix < width ? stride * Radix : width;
            int first = (Group.IdxX & ~(end - 1)) | (Group.IdxX & (stride - 1));
            value = shared[first];
            for (int i = stride; i < end; i += stride)
                value = default(TCombine).Combine(value, shared[first + i]);
            Group.Barrier();
        }
        return value;
    }
}

/// <summary>An operation that a reduction repeats: commutative, and associative but for rounding.</summary>
internal interface ICombine<T>
{
    T Combine(T a, T b);
}

/// <summary>a + b</summary>
internal readonly struct Sum : ICombine<float>
{
    public float Combine(float a, float b) => a + b;
}

/// <summary>The larger of two.</summary>
internal readonly struct Max : ICombine<float>
{
    public float Combine(float a, float b) => a > b ? a : b;
}

/// <summary>Two numbers that are reduced together, for the price of one round of barriers.</summary>
internal readonly struct Pair(float x, float y)
{
    public readonly float X = x;
    public readonly float Y = y;
}

/// <summary>Two sums.</summary>
internal readonly struct PairSum : ICombine<Pair>
{
    public Pair Combine(Pair a, Pair b) => new(a.X + b.X, a.Y + b.Y);
}
