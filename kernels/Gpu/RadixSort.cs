using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// Sorts row numbers by a key, rows of equal keys in ascending order, four bits a pass from the lowest. A thread counts the digits of a
/// chunk of its own; prefix sums of the counts, digit by digit and chunk by chunk, are the places where each chunk puts its rows.
/// No thread meets another, so the order is the same every time.
/// </summary>
internal sealed class RadixSort(GpuDevice device, PrefixSum prefixSum)
{
    private const int DigitBits = 4;
    private const int Digits = 1 << DigitBits;
    private const int Chunk = 16;

    private readonly GpuKernel<Arguments> _count = device.Load<Arguments>(CountKernel, device.GroupSize);
    private readonly GpuKernel<Arguments> _scatter = device.Load<Arguments>(ScatterKernel, device.GroupSize);

    /// <summary>Integers of work memory that so many keys need.</summary>
    public long WorkLength(int keys) => (2L * keys) + Counters(keys) + prefixSum.WorkLength(Counters(keys));

    /// <param name="keys">From 0 to <paramref name="keyEnd"/> − 1.</param>
    /// <param name="keyEnd">Bounds the keys, and so the passes.</param>
    /// <param name="work">The result lies in it.</param>
    /// <returns>The rows of <paramref name="keys"/> in order.</returns>
    public ArrayView<int> Sort(ArrayView<int> keys, int keyEnd, ArrayView<int> work)
    {
        int length = (int)keys.Length, counters = Counters(length);
        ArrayView<int> from = default, to = work.SubView(0, length), spare = work.SubView(length, length);
        var counts = work.SubView(2L * length, counters);
        var tileSums = work.SubView((2L * length) + counters, prefixSum.WorkLength(counters));
        int groups = ((counters / Digits) + device.GroupSize - 1) / device.GroupSize;
        for (int shift = 0; shift == 0 || (keyEnd - 1) >> shift > 0; shift += DigitBits)
        {
            var pass = new Arguments(keys, from, to, counts, shift);
            _count.Launch(groups, pass);
            prefixSum.Scan(device.Compute, counts, tileSums);
            _scatter.Launch(groups, pass);
            (from, to, spare) = (to, spare, to);
        }
        return from;
    }

    private static int Counters(int keys) => (keys + Chunk - 1) / Chunk * Digits;

    private static void CountKernel(Arguments a)
    {
        int chunk = Grid.GlobalIndex.X, chunks = (int)a.Counts.Length / Digits;
        // A column of counters a thread: only their owner touches them.
        var counters = SharedMemory.Allocate<int>(Digits * GpuDevice.LargestGroup);
        if (chunk >= chunks)
            return;
        for (int digit = 0; digit < Digits; digit++)
            counters[(digit * Group.DimX) + Group.IdxX] = 0;
        for (int i = chunk * Chunk; i < (chunk + 1) * Chunk && i < a.Keys.Length; i++)
            counters[(a.Digit(a.Row(i)) * Group.DimX) + Group.IdxX]++;
        for (int digit = 0; digit < Digits; digit++)
            a.Counts[(digit * chunks) + chunk] = counters[(digit * Group.DimX) + Group.IdxX];
    }

    private static void ScatterKernel(Arguments a)
    {
        int chunk = Grid.GlobalIndex.X, chunks = (int)a.Counts.Length / Digits;
        var places = SharedMemory.Allocate<int>(Digits * GpuDevice.LargestGroup);
        if (chunk >= chunks)
            return;
        for (int digit = 0; digit < Digits; digit++)
            places[(digit * Group.DimX) + Group.IdxX] = a.Counts[(digit * chunks) + chunk];
        for (int i = chunk * Chunk; i < (chunk + 1) * Chunk && i < a.Keys.Length; i++)
        {
            int row = a.Row(i), column = (a.Digit(row) * Group.DimX) + Group.IdxX;
            a.To[places[column]] = row;
            places[column]++;
        }
    }

    /// <param name="Keys">By row.</param>
    /// <param name="From">Rows in the order of the passes before; none before the first.</param>
    /// <param name="To">Rows in the order of this pass.</param>
    /// <param name="Counts">[digits, chunks]</param>
    /// <param name="Shift">Of the pass's digit.</param>
    internal readonly record struct Arguments(ArrayView<int> Keys, ArrayView<int> From, ArrayView<int> To, ArrayView<int> Counts, int Shift)
    {
        public int Row(int i) => Shift == 0 ? i : From[i];

        public int Digit(int row) => (Keys[row] >> Shift) & (Digits - 1);
    }
}
