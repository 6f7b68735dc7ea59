using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.ExceptionServices;
using ILGPU;
using ILGPU.Runtime;
using ILGPU.Runtime.CPU;
using ILGPU.Runtime.Cuda;
using ILGPU.Runtime.OpenCL;

namespace Bert4Rec.Kernels.Gpu.Runtime;

/// <summary>
/// One accelerator and what its kernels share: two queues (arithmetic, and what prepares the next batch meanwhile), memory, and the sizes
/// of groups that suit it.
/// </summary>
internal sealed class GpuDevice : IDisposable
{
    /// <summary>Bounds <see cref="GroupSize"/>: what kernels allocate shared memory for.</summary>
    public const int LargestGroup = 256;

    private readonly Context? _context;
    private readonly Accelerator? _accelerator;
    private readonly AcceleratorStream? _transfer;
    private DeviceArena.Slice? _workspace;
    private DeviceArena.Slice? _parts;
    private MemoryBuffer1D<int, Stride1D.Dense>? _counters;
    private long _uses;
    private long _finishedUses;
    private HashSet<Action>? _rehearsed;
    private int _compiledKernels;

    /// <param name="context">Owned from here on.</param>
    /// <param name="device">Of that context.</param>
    /// <param name="id">What --device calls it.</param>
    /// <param name="usesWarps">Overrides <see cref="UsesWarps"/>: the simulator has warps too, for tests.</param>
    /// <param name="precision">What products multiply in.</param>
    /// <param name="ptx">What runs the kernels instead of the device, which then only has the memory.</param>
    public GpuDevice(
        Context context,
        Device device,
        string id,
        bool? usesWarps = null,
        Precision precision = Precision.Full,
        PtxDevice? ptx = null)
    {
        _context = context;
        Ptx = ptx;
        Arena = new(this);
        _accelerator = device.CreateAccelerator(context);
        CompilerPasses.KeepOrder(_accelerator);
        if (_accelerator is CLAccelerator)
            CompilerPasses.FenceLocalMemory();
        string name = ptx is null ? Accelerator.Name.Trim() : $"emulated {ptx.Architecture}";
        Name = $"{id} ({name}){(precision == Precision.Full ? "" : $", {precision.Name()}")}";
        _transfer = Accelerator.CreateStream();
        UsesWarps = usesWarps ?? (ptx is not null || Accelerator is CudaAccelerator);
        Precision = precision;
        IsSimulator = Accelerator is CPUAccelerator && ptx is not { IsForTests: false };
        GroupSize = 1;
        while (GroupSize * 2 <= Math.Min(LargestGroup, ptx is null ? Accelerator.MaxNumThreadsPerGroup : LargestGroup))
            GroupSize *= 2;
    }

    /// <summary>A device that is not there: it only tells of the kernels that are loaded, so that others can compile them.</summary>
    /// <param name="onLoad">Is told each kernel and its group size.</param>
    /// <param name="precision">What products multiply in.</param>
    /// <param name="usesWarps">Whether it is a CUDA device.</param>
    public GpuDevice(Action<MethodInfo, int> onLoad, Precision precision, bool usesWarps = true)
    {
        Arena = new(this);
        Precision = precision;
        OnLoad = onLoad;
        Name = usesWarps ? "cuda" : "opencl";
        UsesWarps = usesWarps;
        GroupSize = LargestGroup;
    }

    public string Name { get; }

    /// <exception cref="InvalidOperationException">The device is not there.</exception>
    public Accelerator Accelerator => _accelerator ?? throw new InvalidOperationException("this device only lists its kernels");

    /// <summary>Is told each kernel and its group size instead of its being compiled; null on a device that is there.</summary>
    public Action<MethodInfo, int>? OnLoad { get; }

    /// <summary>The queue of the arithmetic; its operations run in the order they were launched in.</summary>
    public AcceleratorStream Compute => Accelerator.DefaultStream;

    /// <summary>The queue of uploads and of the cloze mask, which do not wait for the arithmetic.</summary>
    public AcceleratorStream Transfer => _transfer ?? throw new InvalidOperationException("this device only lists its kernels");

    /// <summary>What runs the kernels in the accelerator's place; null where that does.</summary>
    public PtxDevice? Ptx { get; }

    /// <summary>Whether groups reduce by exchanges within warps; elsewhere the size of a warp is not to be relied on.</summary>
    public bool UsesWarps { get; }

    /// <summary>What products multiply in.</summary>
    public Precision Precision { get; }

    /// <summary>An executor for tests: ILGPU's own, or the emulator.</summary>
    public bool IsSimulator { get; }

    /// <summary>Threads of a group, a power of two, 256 at most.</summary>
    public int GroupSize { get; }

    /// <summary>As many groups as this run at the same time at least; 1 on a device that is not there.</summary>
    public int Multiprocessors => Ptx?.Multiprocessors ?? Math.Max(1, _accelerator?.NumMultiprocessors ?? 1);

    /// <summary>Groups enough to fill the device a few times over.</summary>
    public int MaximumGroups => Multiprocessors * 16;

    /// <summary>Where floats lie.</summary>
    public DeviceArena Arena { get; }

    /// <summary>Told of each launch; null where none are timed. The context has to be made for that.</summary>
    public LaunchTimer? Timer { get; set; }

    /// <summary>Bytes taken from the driver.</summary>
    public long AllocatedBytes { get; private set; }

    /// <summary>The most that were ever taken.</summary>
    public long PeakBytes { get; private set; }

    /// <summary>Memory of the driver's, with old contents; to be given back to <see cref="Free"/>.</summary>
    /// <exception cref="DeviceException">The device has not so much left.</exception>
    public MemoryBuffer1D<T, Stride1D.Dense> Allocate<T>(long length)
        where T : unmanaged
    {
        MemoryBuffer1D<T, Stride1D.Dense> memory;
        try
        {
            // Kernels are given no empty buffers.
            memory = Accelerator.Allocate1D<T>(Math.Max(1, length));
        }
        catch (Exception e) when (e is AcceleratorException or OutOfMemoryException)
        {
            // ILGPU would free at the end what it could not allocate, and stop at the driver's error; the finalizer takes it off its list.
            GC.Collect();
            GC.WaitForPendingFinalizers();
            if (e is AcceleratorException failure && !IsOutOfMemory(failure))
                throw Failure(failure);
            throw new DeviceException(
                $"{Name}: out of memory: wanted {Unsafe.SizeOf<T>() * (double)length:N0} bytes beside {AllocatedBytes:N0}; "
                + "try a smaller train_batch_size or hidden_size, or --device cpu");
        }
        AllocatedBytes += memory.LengthInBytes;
        PeakBytes = Math.Max(PeakBytes, AllocatedBytes);
        return memory;
    }

    /// <summary>Gives memory back to the driver.</summary>
    public void Free(MemoryBuffer? memory)
    {
        if (memory is null || memory.IsDisposed)
            return;
        AllocatedBytes -= memory.LengthInBytes;
        GiveBack(memory);
    }

    /// <summary>
    /// Work memory of one operation on <see cref="Compute"/>, with old contents; valid until the next request. It grows to the largest
    /// request and stays.
    /// </summary>
    public ArrayView<float> Workspace(long floats) => Reserve(ref _workspace, floats);

    /// <summary>
    /// Work memory for the parts of one sum, beside <see cref="Workspace"/>: products split their sums inside larger operations.
    /// </summary>
    public ArrayView<float> Parts(long floats) => Reserve(ref _parts, floats);

    /// <summary>For <see cref="LastGroup"/>, one a result: zeros, of which operations on <see cref="Compute"/> leave zeros.</summary>
    public ArrayView<int> Counters
    {
        get
        {
            if (_counters is null)
            {
                _counters = Allocate<int>(MaximumGroups);
                _counters.MemSetToZero(Compute);
                FinishCompute();
            }
            return _counters.View.BaseView;
        }
    }

    /// <summary>Whether a view starts at a multiple of four floats, as 128-bit accesses need. An empty one does.</summary>
    public static bool IsAligned(ArrayView<float> view) => IndexOf(view) % 4 == 0;

    /// <summary>Told of each use of memory by an operation on <see cref="Compute"/>, before it is launched.</summary>
    /// <returns>The use's number, for <see cref="FinishUse"/>.</returns>
    public long BeginUse() => ++_uses;

    /// <summary>Waits for the operations on <see cref="Compute"/> if the one of that use may still be among them.</summary>
    public void FinishUse(long use)
    {
        if (use > _finishedUses)
            FinishCompute();
    }

    /// <summary>Waits for all operations on <see cref="Compute"/>.</summary>
    /// <exception cref="DeviceException">One of them failed.</exception>
    public void FinishCompute() => Finish(Compute);

    /// <summary>Waits for all operations on <see cref="Transfer"/>.</summary>
    /// <inheritdoc cref="FinishCompute"/>
    public void FinishTransfer() => Finish(Transfer);

    /// <summary>Copies to the device, and waits for that.</summary>
    /// <exception cref="DeviceException">The device failed, now or in what was launched before.</exception>
    public void Upload<T>(AcceleratorStream queue, ReadOnlySpan<T> source, ArrayView<T> target)
        where T : unmanaged
    {
        try
        {
            target.CopyFromCPU(queue, source);
        }
        catch (AcceleratorException e)
        {
            throw Failure(e, isLasting: true);
        }
        Finish(queue);
    }

    /// <summary>Copies from the device when the queue has come to that, and waits for it.</summary>
    /// <inheritdoc cref="Upload{T}"/>
    public void Download<T>(AcceleratorStream queue, ArrayView<T> source, Span<T> target)
        where T : unmanaged
    {
        try
        {
            source.CopyToCPU(queue, target);
        }
        catch (AcceleratorException e)
        {
            throw Failure(e, isLasting: true);
        }
        Finish(queue);
    }

    private static bool IsOutOfMemory(AcceleratorException e) => e switch
    {
        CudaException cuda => cuda.Error == nameof(CudaError.CUDA_ERROR_OUT_OF_MEMORY),
        // OpenCL gives large buffers their place when they are first used.
        CLException cl => cl.Error is CLError.CL_MEM_OBJECT_ALLOCATION_FAILURE or CLError.CL_OUT_OF_RESOURCES
            or CLError.CL_OUT_OF_HOST_MEMORY or CLError.CL_INVALID_BUFFER_SIZE,
        _ => true,
    };

    /// <summary>The driver's error as a sentence.</summary>
    /// <param name="e">The error.</param>
    /// <param name="isLasting">It is of work that was done, and not of a launch that was not taken.</param>
    public DeviceException Failure(AcceleratorException e, bool isLasting = false) =>
        new($"{Name}: the device failed: {FirstLine(e)}; try again, and if it fails again another --device, or cpu")
        {
            IsLasting = isLasting && !(e is CLException or CudaException && IsOutOfMemory(e)),
        };

    /// <summary>As <see cref="Failure"/>, of a kernel that the device or the compiler does not take.</summary>
    public DeviceException Refusal(Exception e) => Refusal(FirstLine(e));

    /// <inheritdoc cref="Refusal(Exception)"/>
    public DeviceException Refusal(string reason) =>
        new($"{Name}: the device refuses a kernel: {reason}; try another --device, or cpu");

    /// <summary>
    /// Goes through work without launching any of its kernels, and then compiles those, side by side: when the work is done, none is left
    /// to compile.
    /// </summary>
    /// <exception cref="DeviceException">The device refuses a kernel.</exception>
    public void Rehearse(Action work)
    {
        HashSet<Action> compilations = [];
        _rehearsed = compilations;
        try
        {
            work();
        }
        finally
        {
            _rehearsed = null;
        }
        try
        {
            // Not on the pool's threads: the compiler waits for some of them, and they would wait for it.
            Task.WaitAll([.. compilations.Select(compile => Task.Factory.StartNew(
                compile, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default))]);
        }
        catch (AggregateException e)
        {
            ExceptionDispatchInfo.Throw(e.GetBaseException());
        }
    }

    /// <summary>Whether launches are only rehearsed.</summary>
    public bool IsRehearsing => _rehearsed is not null;

    /// <summary>So many have been compiled.</summary>
    public int CompiledKernels => _compiledKernels;

    /// <summary>Told of each that is.</summary>
    public void CountCompiled() => Interlocked.Increment(ref _compiledKernels);

    /// <summary>Told, in a rehearsal, how to compile what would be launched.</summary>
    public void AddRehearsed(Action compile) => _rehearsed!.Add(compile);

    /// <summary>A kernel for groups of <paramref name="groupSize"/> threads.</summary>
    public GpuKernel<TArguments> Load<TArguments>(Action<TArguments> kernel, int groupSize)
        where TArguments : struct => new(this, kernel, groupSize);

    /// <summary>
    /// Groups that cover so many items, one item a thread, as many as are worth having; kernels stride by the whole grid.
    /// </summary>
    public int GroupsFor(long items) => (int)Math.Clamp((items + GroupSize - 1) / GroupSize, 1, MaximumGroups);

    private ArrayView<float> Reserve(ref DeviceArena.Slice? slice, long floats)
    {
        if (slice is null || slice.View.Length < floats)
        {
            slice?.Dispose();
            slice = null;
            slice = Arena.Take(floats);
        }
        return slice.View.SubView(0, floats);
    }

    private void Finish(AcceleratorStream queue)
    {
        try
        {
            queue.Synchronize();
        }
        catch (AcceleratorException e)
        {
            throw Failure(e, isLasting: true);
        }
        if (queue == Compute)
            _finishedUses = _uses;
    }

    /// <summary>An error of what ran before comes with each call, this one too: whoever wants results hears of it.</summary>
    private static void GiveBack(IDisposable? taken)
    {
        try
        {
            taken?.Dispose();
        }
        catch (AcceleratorException)
        {
        }
    }

    private static string FirstLine(Exception e) => e.GetBaseException().Message.Trim().Split('\n')[0].TrimEnd();

    /// <summary>Where a view begins in its buffer; generic, because a cast to the interface would allocate.</summary>
    private static long IndexOf<TView>(TView view)
        where TView : struct, IContiguousArrayView => view.Index;

    public void Dispose()
    {
        Arena.Dispose();
        Free(_counters);
        GiveBack(_transfer);
        GiveBack(_accelerator);
        _context?.Dispose();
    }
}
