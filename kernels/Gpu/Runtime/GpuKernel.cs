using ILGPU;
using ILGPU.Backends;
using ILGPU.Runtime;

namespace Bert4Rec.Kernels.Gpu.Runtime;

/// <summary>
/// A kernel, compiled when it is first launched or after a rehearsal of that. Kernels take one struct of arguments; the group size is
/// theirs, the number of groups the launch's.
/// </summary>
internal sealed class GpuKernel<TArguments>
    where TArguments : struct
{
    private readonly GpuDevice _device;
    private readonly int _groupSize;
    private readonly Lazy<string> _name;
    private readonly Action _compile;
    private readonly Lazy<Action<AcceleratorStream, KernelConfig, TArguments>> _launch;

    public GpuKernel(GpuDevice device, Action<TArguments> kernel, int groupSize)
    {
        _device = device;
        _groupSize = groupSize;
        _name = new(() => PtxCompiler.NameOf(kernel.Method));
        _launch = new(() =>
        {
            device.CountCompiled();
            if (device.Ptx is { } ptx)
                return ptx.Load<TArguments>(kernel.Method);
            try
            {
                var compiled = CompilerPasses.Compile(device.Accelerator.GetBackend(), kernel.Method);
                var loaded = device.Accelerator.LoadKernel(compiled);
                KernelLimits.Check(device, loaded, groupSize);
                return loaded.CreateLauncherDelegate<Action<AcceleratorStream, KernelConfig, TArguments>>();
            }
            catch (Exception e) when (e is not DeviceException)
            {
                throw device.Refusal(e);
            }
        });
        _compile = () => _ = _launch.Value;
        device.OnLoad?.Invoke(kernel.Method, groupSize);
    }

    public void Launch(int groups, in TArguments arguments) => Launch(new Index3D(groups, 1, 1), arguments);

    public void Launch(Index2D groups, in TArguments arguments) => Launch(new Index3D(groups.X, groups.Y, 1), arguments);

    public void Launch(Index3D groups, in TArguments arguments) => Launch(_device.Compute, groups, arguments);

    public void Launch(AcceleratorStream stream, Index2D groups, in TArguments arguments) =>
        Launch(stream, new Index3D(groups.X, groups.Y, 1), arguments);

    private void Launch(AcceleratorStream stream, Index3D groups, in TArguments arguments)
    {
        if (groups.X <= 0 || groups.Y <= 0 || groups.Z <= 0)
            return;
        if (_device.IsRehearsing)
        {
            _device.AddRehearsed(_compile);
            return;
        }
        try
        {
            var (launch, config) = (_launch.Value, new KernelConfig(groups, new Index3D(_groupSize, 1, 1)));
            if (_device.Timer is { } timer)
                Time(timer, launch, stream, config, arguments);
            else
                launch(stream, config, arguments);
        }
        catch (AcceleratorException e)
        {
            throw _device.Failure(e);
        }
    }

    /// <summary>Apart, because what it captures would be allocated with each launch.</summary>
    private void Time(
        LaunchTimer timer,
        Action<AcceleratorStream, KernelConfig, TArguments> launch,
        AcceleratorStream stream,
        KernelConfig config,
        TArguments arguments) =>
        timer.Time(stream, _name.Value, config.GridDim.Size, () => launch(stream, config, arguments));
}
