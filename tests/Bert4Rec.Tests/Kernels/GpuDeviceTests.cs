using System.Collections.Concurrent;
using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;
using ILGPU.Runtime;

namespace Bert4Rec.Tests.Kernels;

/// <summary>Kernels can be compiled before they are launched.</summary>
public class GpuDeviceTests
{
    [Fact]
    public void A_rehearsal_compiles_and_does_nothing_else()
    {
        using var device = GpuDevices.Open(GpuDevices.Simulator);
        using var x = device.Accelerator.Allocate1D(new[] { 1, 2 });
        var kernel = device.Load<Arguments>(AddOne, 2);
        device.Rehearse(() => kernel.Launch(1, new(x.View.BaseView)));
        Assert.Equal([1, 2], x.GetAsArray1D());
        Assert.Equal(1, device.CompiledKernels);

        kernel.Launch(1, new(x.View.BaseView));
        device.FinishCompute();
        Assert.Equal([2, 3], x.GetAsArray1D());
        Assert.Equal(1, device.CompiledKernels);
    }

    [Fact]
    public void Launches_are_timed_one_by_one()
    {
        using var device = GpuDevices.Open(GpuDevices.Simulator, configure: builder => builder.Profiling());
        using var x = device.Accelerator.Allocate1D(new[] { 1, 2 });
        var kernel = device.Load<Arguments>(AddOne, 2);
        device.Timer = new();
        kernel.Launch(1, new(x.View.BaseView));
        kernel.Launch(1, new(x.View.BaseView));
        var times = device.Timer.Take();
        Assert.Equal([3, 4], x.GetAsArray1D());
        Assert.Equal([("GpuDeviceTests.AddOne", 1L), ("GpuDeviceTests.AddOne", 1L)], times.Select(time => (time.Kernel, time.Groups)));
        Assert.All(times, time => Assert.InRange(time.Microseconds, 0, 60e6));
        Assert.Empty(device.Timer.Take());
    }

    [Fact]
    public void What_a_device_refuses_is_a_sentence()
    {
        using var device = GpuDevices.Open(GpuDevices.Simulator);
        using var x = device.Accelerator.Allocate1D(new[] { 1 });
        var kernel = device.Load<Arguments>(Throw, 1);
        void Launch() => kernel.Launch(1, new(x.View.BaseView));
        string message = Assert.Throws<DeviceException>(() => device.Rehearse(Launch)).Message;
        Assert.StartsWith($"{device.Name}: the device refuses a kernel: ", message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    /// <summary>ILGPU's compiler waits for threads of the pool, which are few.</summary>
    [Fact]
    public void A_rehearsal_compiles_side_by_side_and_leaves_the_pool_to_the_compiler()
    {
        const int Kernels = 8;
        using var device = GpuDevices.Open(GpuDevices.Simulator);
        using var all = new Barrier(Kernels);
        var ofPool = new ConcurrentBag<bool>();
        device.Rehearse(() =>
        {
            for (int i = 0; i < Kernels; i++)
            {
                int kernel = i;
                device.AddRehearsed(() =>
                {
                    Assert.True(all.SignalAndWait(TimeSpan.FromSeconds(60)), $"kernel {kernel} waits for the others");
                    ofPool.Add(Thread.CurrentThread.IsThreadPoolThread);
                });
            }
        });
        Assert.Equal(Enumerable.Repeat(false, Kernels), ofPool);
    }

    private static void AddOne(Arguments a) => a.X[Group.IdxX]++;

    private static void Throw(Arguments a) => a.X[0] = new string('x', a.X[0]).GetHashCode(StringComparison.Ordinal);

    public readonly record struct Arguments(ArrayView<int> X);
}
