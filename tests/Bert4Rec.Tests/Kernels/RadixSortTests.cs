using Bert4Rec.Kernels.Gpu;
using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;
using ILGPU.Runtime;

namespace Bert4Rec.Tests.Kernels;

/// <summary>What embedding and cloze mask are built on, at lengths of one tile and of several.</summary>
public class RadixSortTests
{
    public static TheoryData<string> Gpus => [.. Backends.Gpus];

    [Theory]
    [MemberData(nameof(Gpus))]
    public void Prefix_sums_leave_out_the_element_itself(string backend)
    {
        using var device = GpuDevices.Open(backend);
        var prefixSum = new PrefixSum(device);
        foreach (int length in new[] { 1, 5, 16, 257, 5000 })
        {
            int[] x = new Random(length).Integers(length, 0, 10);
            using var values = device.Accelerator.Allocate1D(x);
            using var work = device.Accelerator.Allocate1D<int>(prefixSum.WorkLength(length));
            prefixSum.Scan(device.Compute, values.View.BaseView, work.View.BaseView);

            int sum = 0;
            Assert.Equal(x.Select(value => (sum += value) - value), Read(device, values.View.BaseView));
        }
    }

    [Theory]
    [MemberData(nameof(Gpus))]
    public void Rows_of_equal_keys_keep_their_order(string backend)
    {
        using var device = GpuDevices.Open(backend);
        var sort = new RadixSort(device, new(device));
        foreach (var (length, keyEnd) in new[] { (1, 1), (5, 1), (40, 16), (300, 17), (3000, 70_000), (5000, 300) })
        {
            int[] keys = new Random(length).Integers(length, 0, keyEnd);
            keys[^1] = keyEnd - 1;
            using var values = device.Accelerator.Allocate1D(keys);
            using var work = device.Accelerator.Allocate1D<int>(sort.WorkLength(length));
            var order = sort.Sort(device.Compute, new(values.View.BaseView, default, keyEnd), keyEnd, work.View.BaseView);
            Assert.Equal(Enumerable.Range(0, length).OrderBy(row => keys[row]), Read(device, order));
        }
    }

    /// <summary>As the embedding has them, for one group a list and for several.</summary>
    [Theory]
    [MemberData(nameof(Gpus))]
    public void Two_lists_are_sorted_one_behind_the_other(string backend)
    {
        using var device = GpuDevices.Open(backend);
        var sort = new RadixSort(device, new(device));
        foreach (int length in new[] { 1, 100, 250, 4100 })
        {
            int[] first = new Random(length).Integers(length, 0, 700), second = new Random(length + 1).Integers(length, 0, 20);
            int[] keys = [.. first, .. second.Select(key => 700 + key)];
            using var firstValues = device.Accelerator.Allocate1D(first);
            using var secondValues = device.Accelerator.Allocate1D(second);
            using var work = device.Accelerator.Allocate1D<int>(sort.WorkLength(2 * length));
            var order = sort.Sort(device.Compute, new(firstValues.View.BaseView, secondValues.View.BaseView, 700), 720, work.View.BaseView);
            Assert.Equal(Enumerable.Range(0, 2 * length).OrderBy(row => keys[row]), Read(device, order));
        }
    }

    private static int[] Read(GpuDevice device, ArrayView<int> view)
    {
        int[] values = new int[view.Length];
        view.CopyToCPU(device.Compute, values);
        return values;
    }
}
