using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// Fill, add, and a sum: a thread strides through the array by the whole grid, so that neighbouring threads touch neighbouring floats.
/// </summary>
internal sealed class Elementwise(GpuDevice device)
{
    private readonly GpuKernel<FillArguments> _fill = device.Load<FillArguments>(FillKernel, device.GroupSize);
    private readonly GpuKernel<AddArguments> _add = device.Load<AddArguments>(AddKernel, device.GroupSize);
    private readonly GpuKernel<SumArguments> _sum = device.Load<SumArguments>(
        device.UsesWarps ? SumKernel<WarpReduction> : SumKernel<SharedReduction>, device.GroupSize);

    public void Fill(ArrayView<float> x, float value) => _fill.Launch(device.GroupsFor(x.Length), new(x, value));

    public void Add(Tensor target, Tensor addend) => _add.Launch(device.GroupsFor(target.Length), new(target.View(), addend.View()));

    public void AddSum(Tensor x, Tensor accumulator)
    {
        int groups = device.GroupsFor(x.Length);
        _sum.Launch(groups, new(x.View(), device.Workspace(groups), accumulator.View(), device.Counters));
    }

    private static void FillKernel(FillArguments a)
    {
        for (long i = Grid.GlobalLinearIndex; i < a.X.Length; i += (long)Grid.DimX * Group.DimX)
            a.X[i] = a.Value;
    }

    private static void AddKernel(AddArguments a)
    {
        for (long i = Grid.GlobalLinearIndex; i < a.Target.Length; i += (long)Grid.DimX * Group.DimX)
            a.Target[i] += a.Addend[i];
    }

    private static void SumKernel<R>(SumArguments a)
        where R : struct, IGroupReduction
    {
        var shared = SharedMemory.Allocate<float>(GpuDevice.LargestGroup);
        var sum = new CompensatedSum(0, 0);
        for (long i = Grid.GlobalLinearIndex; i < a.X.Length; i += (long)Grid.DimX * Group.DimX)
            sum = sum.Plus(a.X[i]);
        float total = default(R).Reduce<float, Sum>(sum.Total, Group.DimX, shared);
        if (Group.IdxX == 0)
            a.Sums[Grid.IdxX] = total;
        if (!LastGroup.IsThis(a.Counter, Grid.DimX))
            return;
        sum = new CompensatedSum(0, 0);
        for (int i = Group.IdxX; i < Grid.DimX; i += Group.DimX)
            sum = sum.Plus(a.Sums[i]);
        total = default(R).Reduce<float, Sum>(sum.Total, Group.DimX, shared);
        if (Group.IdxX == 0)
            a.Accumulator[0] += total;
    }

    internal readonly record struct FillArguments(ArrayView<float> X, float Value);

    internal readonly record struct AddArguments(ArrayView<float> Target, ArrayView<float> Addend);

    /// <param name="X">What to sum.</param>
    /// <param name="Sums">One element a group.</param>
    /// <param name="Accumulator">What the sum is added to.</param>
    /// <param name="Counter">For <see cref="LastGroup"/>.</param>
    internal readonly record struct SumArguments(
        ArrayView<float> X, ArrayView<float> Sums, ArrayView<float> Accumulator, ArrayView<int> Counter);
}
