using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Gpu;
using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;

namespace Bert4Rec.Tests.Kernels;

/// <summary>The memory that the GPU kernels' floats lie in.</summary>
public class DeviceArenaTests
{
    private const long BlockBytes = DeviceArena.BlockLength * sizeof(float);

    public static TheoryData<string> Gpus => [.. Backends.Gpus];

    /// <summary>
    /// Whatever is taken and given back in whatever order: what lies there stays as it was written, and new memory is zero.
    /// </summary>
    [Theory]
    [MemberData(nameof(Gpus))]
    public void Buffers_do_not_share_memory(string backend)
    {
        using var device = GpuDevices.Open(backend);
        using var kernels = new GpuKernels(device);
        var random = new Random(1);
        var held = new List<(DeviceBuffer<float> Buffer, float Value)>();
        for (int i = 1; i <= 200; i++)
        {
            if (held.Count > 0 && random.Next(2) == 0)
            {
                int which = random.Next(held.Count);
                Check(held[which]);
                held[which].Buffer.Dispose();
                held.RemoveAt(which);
            }
            var buffer = kernels.AllocateFloats(random.Next(20) == 0 ? 0 : random.Next(1, 50_000));
            Check((buffer, 0));
            kernels.Fill(Tensor.Of(buffer), i);
            held.Add((buffer, i));
        }
        held.ForEach(Check);
        held.ForEach(pair => pair.Buffer.Dispose());
        Assert.Equal(0, device.AllocatedBytes);
        Assert.Equal(BlockBytes, device.PeakBytes);

        static void Check((DeviceBuffer<float> Buffer, float Value) pair) =>
            Assert.Equal(-1, Array.FindIndex(Tensor.Of(pair.Buffer).ToArray(), value => value != pair.Value));
    }

    /// <summary>What could not grow has given its memory back, which is somebody else's then.</summary>
    [Fact]
    public void Memory_that_could_not_grow_is_not_handed_out_again()
    {
        using var device = GpuDevices.Open(GpuDevices.Simulator);
        device.Workspace(64);

        Assert.Throws<DeviceException>(() => device.Workspace(1L << 50));
        ArrayView<float> parts = device.Parts(64), work = device.Workspace(64);

        device.Upload(device.Compute, [1f], parts);
        device.Upload(device.Compute, [2f], work);
        float[] kept = new float[1];
        device.Download(device.Compute, parts.SubView(0, 1), kept);
        Assert.Equal(1, kept[0]);
    }

    /// <summary>Neighbours that come back, in any order, are one gap again: the whole block can be given out anew.</summary>
    [Theory]
    [InlineData(0, 1, 2)]
    [InlineData(0, 2, 1)]
    [InlineData(1, 0, 2)]
    [InlineData(1, 2, 0)]
    [InlineData(2, 0, 1)]
    [InlineData(2, 1, 0)]
    public void Gaps_grow_together(params int[] order)
    {
        using var device = GpuDevices.Open(GpuDevices.Simulator);
        using var first = device.Arena.Take(1);
        const long Length = (DeviceArena.BlockLength - DeviceArena.Alignment) / 3 / DeviceArena.Alignment * DeviceArena.Alignment;
        var slices = Enumerable.Range(0, 3).Select(_ => device.Arena.Take(Length)).ToArray();
        foreach (int i in order)
            slices[i].Dispose();
        using var all = device.Arena.Take(3 * Length);
        Assert.Equal(BlockBytes, device.AllocatedBytes);
    }

    [Fact]
    public void Slices_start_where_wide_loads_can()
    {
        using var device = GpuDevices.Open(GpuDevices.Simulator);
        foreach (long length in new[] { 0, 1, 63, 64, 65, 1000 })
        {
            var view = device.Arena.Take(length).View;
            Assert.Equal(length, view.Length);
            Assert.True(GpuDevice.IsAligned(view));
        }
    }

    [Fact]
    public void A_request_larger_than_a_block_has_its_own_and_the_driver_has_it_back()
    {
        using var device = GpuDevices.Open(GpuDevices.Simulator);
        using var small = device.Arena.Take(1);
        var large = device.Arena.Take(DeviceArena.BlockLength + 1);
        Assert.Equal((2 * BlockBytes) + (DeviceArena.Alignment * sizeof(float)), device.AllocatedBytes);
        large.Dispose();
        large.Dispose();
        Assert.Equal(BlockBytes, device.AllocatedBytes);
    }

    [Theory]
    [MemberData(nameof(Gpus))]
    public void More_than_the_device_has_is_refused_in_a_sentence(string backend)
    {
        using var device = GpuDevices.Open(backend);
        using var small = device.Arena.Take(1);
        string message = Assert.Throws<DeviceException>(() => device.Arena.Take(1L << 60)).Message;
        Assert.StartsWith(
            $"{device.Name}: out of memory: wanted 4,611,686,018,427,387,904 bytes beside 16,777,216; try",
            message,
            StringComparison.Ordinal);
        Assert.Equal(BlockBytes, device.AllocatedBytes);
        Assert.Equal(DeviceArena.Alignment, device.Arena.TakenLength);
    }

    [Fact]
    public void Work_memory_grows_to_the_largest_request_and_stays()
    {
        using var device = GpuDevices.Open(GpuDevices.Simulator);
        Assert.Equal(10, device.Workspace(10).Length);
        Assert.Equal(DeviceArena.BlockLength * 2, device.Workspace(DeviceArena.BlockLength * 2).Length);
        Assert.Equal(2 * BlockBytes, device.AllocatedBytes);
        device.Workspace(10);
        device.Parts(10);
        Assert.Equal(3 * BlockBytes, device.AllocatedBytes);
    }
}
