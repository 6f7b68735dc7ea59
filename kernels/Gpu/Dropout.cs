using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// Inverted dropout. The mask is a function of (seed, step, stream, row, column): the backward draws it again instead of reading it. A
/// thread handles the four columns that share a block of random numbers.
/// </summary>
internal sealed class DropoutLayer(GpuDevice device)
{
    private readonly GpuKernel<Arguments> _apply = device.Load<Arguments>(ApplyKernel, device.GroupSize);

    public void Apply(ArrayView<float> x, in DropoutMask dropout, int rows, int columns)
    {
        int quads = checked(rows * Quad.Count(columns));
        if (quads > 0)
            _apply.Launch(device.GroupsFor(quads), new(x, new DropoutKey(dropout), quads, columns));
    }

    private static void ApplyKernel(Arguments a)
    {
        int perRow = Quad.Count(a.Columns);
        for (long i = Grid.GlobalLinearIndex; i < a.Quads; i += (long)Grid.DimX * Group.DimX)
        {
            int row = (int)i / perRow, quad = (int)i % perRow, column = Quad.FirstColumn(quad);
            if (column >= a.Columns)
                continue;
            long start = (long)row * a.Columns;
            Quad.Load(a.X, start, column, a.Columns).Drop(a.Dropout, quad, row).Store(a.X, start, column, a.Columns);
        }
    }

    internal readonly record struct Arguments(ArrayView<float> X, DropoutKey Dropout, int Quads, int Columns);
}
