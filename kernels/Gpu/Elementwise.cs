using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;
using ILGPU.Runtime;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>Fill and add: a thread strides through the array by the whole grid, so neighbouring threads touch neighbouring words.</summary>
internal sealed class Elementwise(GpuDevice device)
{
    private readonly GpuKernel<FillArguments> _fill = device.Load<FillArguments>(FillKernel, device.GroupSize);
    private readonly GpuKernel<AddArguments> _add = device.Load<AddArguments>(AddKernel, device.GroupSize);

    public void Fill(ArrayView<float> x, float value) => _fill.Launch(device.GroupsFor(x.Length), new(x, value));

    public void Add(ArrayView<float> target, ArrayView<float> addend) => _add.Launch(device.GroupsFor(target.Length), new(target, addend));

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

    internal readonly record struct FillArguments(ArrayView<float> X, float Value);

    internal readonly record struct AddArguments(ArrayView<float> Target, ArrayView<float> Addend);
}
