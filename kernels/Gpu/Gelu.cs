using System.Runtime.CompilerServices;
using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// gelu(u) = u Φ(u), applied by the product in front of it while u is in a register, and its slope, which is kept so that the backward is
/// one multiplication: by the product behind it, or here where there is none.
/// </summary>
internal sealed class Gelu(GpuDevice device)
{
    private readonly GpuKernel<BackwardArguments> _backward = device.Load<BackwardArguments>(BackwardKernel, device.GroupSize);

    /// <summary>dy ∘= slope</summary>
    public void Backward(Tensor dy, Tensor slope) => _backward.Launch(device.GroupsFor(dy.Length), new(dy.View(), slope.View()));

    private static void BackwardKernel(BackwardArguments a)
    {
        for (long i = Grid.GlobalLinearIndex; i < a.Dy.Length; i += (long)Grid.DimX * Group.DimX)
            a.Dy[i] *= a.Slope[i];
    }

    internal readonly record struct BackwardArguments(ArrayView<float> Dy, ArrayView<float> Slope);

    /// <summary>gelu(u) and gelu'(u) = Φ(u) + u φ(u).</summary>
    internal readonly struct Value
    {
        public readonly float Y;
        public readonly float Slope;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Value(float u)
        {
            var normal = new DeviceMath.Normal(u);
            Y = u * normal.Distribution;
            Slope = normal.Distribution + (u * normal.Density);
        }
    }
}
