using Bert4Rec.Kernels.Gpu.Runtime;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// How threads share rows: as many neighbours to a row as it has columns, rounded up to a power of two, a group at most.
/// </summary>
internal readonly struct RowLanes
{
    private readonly GpuDevice _device;

    public RowLanes(GpuDevice device, int size)
    {
        _device = device;
        while (1 << Bits < Math.Min(size, device.GroupSize))
            Bits++;
    }

    public int Bits { get; }

    public int Groups(int rows) => rows == 0 ? 0 : _device.GroupsFor((long)rows << Bits);
}
