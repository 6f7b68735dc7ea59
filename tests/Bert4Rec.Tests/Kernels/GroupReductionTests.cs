using Bert4Rec.Kernels.Gpu;
using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;
using ILGPU.Runtime;

namespace Bert4Rec.Tests.Kernels;

/// <summary>Both versions of the reduction, on the simulator: its warps have 8 threads and its groups 16.</summary>
public class GroupReductionTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(8)]
    [InlineData(16)]
    public void Shared_memory_reduces(int width) => Check<SharedReduction>(width, usesWarps: false);

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(8)]
    [InlineData(16)]
    public void Warps_reduce(int width) => Check<WarpReduction>(width, usesWarps: true);

    private static void Check<R>(int width, bool usesWarps)
        where R : struct, IGroupReduction
    {
        using var device = GpuDevices.NewSimulator(usesWarps);
        Assert.Equal(usesWarps, device.UsesWarps);
        float[] x = [.. Enumerable.Range(0, 2 * device.GroupSize).Select(i => (float)(i * 37 % 101))];
        using var input = device.Accelerator.Allocate1D(x);
        using var output = device.Accelerator.Allocate1D<float>(4 * x.Length);
        device.Load<Arguments>(Kernel<R>, device.GroupSize).Launch(2, new(input.View.BaseView, output.View.BaseView, width));

        float[] actual = output.GetAsArray1D();
        for (int i = 0; i < x.Length; i++)
        {
            float[] neighbours = x[(i / width * width)..((i / width * width) + width)];
            Assert.Equal([neighbours.Sum(), neighbours.Max(), neighbours.Sum(), -neighbours.Sum()], actual[(4 * i)..((4 * i) + 4)]);
        }
    }

    private static void Kernel<R>(Arguments a)
        where R : struct, IGroupReduction
    {
        var floats = SharedMemory.Allocate<float>(16);
        var pairs = SharedMemory.Allocate<Pair>(16);
        long i = Grid.GlobalLinearIndex;
        float x = a.X[i];
        a.Results[4 * i] = default(R).Reduce<float, Sum>(x, a.Width, floats);
        a.Results[(4 * i) + 1] = default(R).Reduce<float, Max>(x, a.Width, floats);
        var pair = default(R).Reduce<Pair, PairSum>(new Pair(x, -x), a.Width, pairs);
        a.Results[(4 * i) + 2] = pair.X;
        a.Results[(4 * i) + 3] = pair.Y;
    }

    public readonly record struct Arguments(ArrayView<float> X, ArrayView<float> Results, int Width);
}
