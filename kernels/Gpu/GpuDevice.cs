using System.Reflection;
using ILGPU;
using ILGPU.Runtime;
using ILGPU.Runtime.CPU;
using ILGPU.Runtime.Cuda;
using ILGPU.Runtime.OpenCL;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// One accelerator and what its kernels share: two queues (arithmetic, and what prepares the next batch meanwhile), work memory, and the sizes
/// of groups that suit it.
/// </summary>
internal sealed class GpuDevice : IDisposable
{
    private const int LargestGroup = 256;

    private readonly Context _context;
    private MemoryBuffer1D<float, Stride1D.Dense>? _workspace;

    public GpuDevice(Context context, Device device, string id)
    {
        _context = context;
        Accelerator = device.CreateAccelerator(context);
        Name = $"{id} ({Accelerator.Name.Trim()})";
        Transfer = Accelerator.CreateStream();
        IsCuda = Accelerator is CudaAccelerator;
        IsSimulator = Accelerator is CPUAccelerator;
        GroupSize = 1;
        while (GroupSize * 2 <= Math.Min(LargestGroup, Accelerator.MaxNumThreadsPerGroup))
            GroupSize *= 2;
    }

    public string Name { get; }

    public Accelerator Accelerator { get; }

    /// <summary>The queue of the arithmetic; its operations run in the order they were launched in.</summary>
    public AcceleratorStream Compute => Accelerator.DefaultStream;

    /// <summary>The queue of uploads and of the cloze mask, which do not wait for the arithmetic.</summary>
    public AcceleratorStream Transfer { get; }

    /// <summary>Whether groups may reduce by warp shuffles.</summary>
    public bool IsCuda { get; }

    /// <summary>ILGPU's own executor, where a barrier costs a thousand times what it does elsewhere.</summary>
    public bool IsSimulator { get; }

    /// <summary>Threads of a group, a power of two, 256 at most.</summary>
    public int GroupSize { get; }

    /// <summary>Groups enough to fill the device a few times over.</summary>
    public int MaximumGroups => Math.Max(1, Accelerator.NumMultiprocessors) * 16;

    /// <summary>
    /// Work memory of one operation on <see cref="Compute"/>, with old contents; valid until the next request. It grows to the largest
    /// request and stays.
    /// </summary>
    public ArrayView<float> Workspace(long floats)
    {
        if (_workspace is null || _workspace.Length < floats)
        {
            Compute.Synchronize();
            _workspace?.Dispose();
            _workspace = Accelerator.Allocate1D<float>(floats);
        }
        return _workspace.View.BaseView.SubView(0, floats);
    }

    /// <summary>Compiles a kernel for groups of so many threads.</summary>
    public GpuKernel<TArguments> Load<TArguments>(Action<TArguments> kernel, int groupSize)
        where TArguments : struct => new(this, kernel, groupSize);

    /// <summary>Groups that cover so many items, one item a thread, as many as are worth having; kernels stride by the whole grid.</summary>
    public int GroupsFor(long items) => (int)Math.Clamp((items + GroupSize - 1) / GroupSize, 1, MaximumGroups);

    public void Dispose()
    {
        _workspace?.Dispose();
        Transfer.Dispose();
        Accelerator.Dispose();
        _context.Dispose();
    }
}

/// <summary>A compiled kernel. Kernels take one struct of arguments; the group size is theirs, the number of groups the launch's.</summary>
internal sealed class GpuKernel<TArguments>(GpuDevice device, Action<TArguments> kernel, int groupSize)
    where TArguments : struct
{
    private readonly Action<AcceleratorStream, KernelConfig, TArguments> _launch = device.Accelerator.LoadKernel(kernel);

    public void Launch(Index2D groups, in TArguments arguments) => Launch(device.Compute, groups, arguments);

    public void Launch(int groups, in TArguments arguments) => Launch(device.Compute, new Index2D(groups, 1), arguments);

    public void Launch(AcceleratorStream stream, Index2D groups, in TArguments arguments)
    {
        if (groups.X > 0 && groups.Y > 0)
            _launch(stream, new KernelConfig(new Index3D(groups.X, groups.Y, 1), new Index3D(groupSize, 1, 1)), arguments);
    }
}
