using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// Inverted dropout. The mask is a function of (seed, step, stream, row, column): the backward draws it again instead of reading it. A
/// thread handles four of the eight columns that share a block of random numbers.
/// </summary>
internal sealed class Dropout(GpuDevice device)
{
    private readonly GpuKernel<Arguments> _apply = device.Load<Arguments>(ApplyKernel, device.GroupSize);

    public void Apply(Tensor x, in DropoutMask dropout)
    {
        int count = checked(x.Rows * PhiloxFloat4.Count(x.Columns));
        if (count > 0 && !dropout.IsNone)
            _apply.Launch(device.GroupsFor(count), new(x.View(), new DropoutKey(dropout), count, x.Columns));
    }

    private static void ApplyKernel(Arguments a)
    {
        int perRow = PhiloxFloat4.Count(a.Columns);
        for (long i = Grid.GlobalLinearIndex; i < a.Count; i += (long)Grid.DimX * Group.DimX)
        {
            int row = (int)i / perRow, inRow = (int)i % perRow, column = PhiloxFloat4.FirstColumn(inRow);
            if (column >= a.Columns)
                continue;
            long start = (long)row * a.Columns;
            PhiloxFloat4.Load(a.X, start, column, a.Columns).Drop(a.Dropout, inRow, row).Store(a.X, start, column, a.Columns);
        }
    }

    internal readonly record struct Arguments(ArrayView<float> X, DropoutKey Dropout, int Count, int Columns);
}
