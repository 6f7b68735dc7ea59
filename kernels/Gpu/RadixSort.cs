using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;
using ILGPU.Runtime;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>Keys of two lists, one behind the other. Those of the second are larger than those of the first.</summary>
/// <param name="First">From 0 on.</param>
/// <param name="Second">Less than they are by <paramref name="SecondStart"/>; may be none.</param>
/// <param name="SecondStart">Where the keys of the second list begin.</param>
internal readonly record struct JointKeys(ArrayView<int> First, ArrayView<int> Second, int SecondStart)
{
    public int Length => (int)(First.Length + Second.Length);

    public int this[int i] => i < First.Length ? First[i] : SecondStart + Second[i - First.Length];
}

/// <summary>
/// Sorts row numbers by a key, rows of equal keys in ascending order, four bits a pass from the lowest. A thread counts the digits of a
/// chunk of its own; prefix sums of the counts, digit by digit and chunk by chunk, are the places where each chunk puts its rows.
/// No thread meets another, so the order is the same every time. A list for which the threads of one group are enough is sorted in one
/// launch; for others each pass has its own.
/// </summary>
internal sealed class RadixSort(GpuDevice device, PrefixSum prefixSum)
{
    private const int DigitBits = 4;
    private const int Digits = 1 << DigitBits;
    private const int Chunk = 16;

    private readonly GpuKernel<Arguments> _count = device.Load<Arguments>(CountKernel, device.GroupSize);
    private readonly GpuKernel<Arguments> _scatter = device.Load<Arguments>(ScatterKernel, device.GroupSize);
    private readonly GpuKernel<ShortArguments> _sortShort = device.Load<ShortArguments>(SortShortKernel, device.GroupSize);

    /// <summary>Integers of work memory that so many keys need.</summary>
    public long WorkLength(int keys) => (2L * keys) + Counters(keys) + prefixSum.WorkLength(Counters(keys));

    /// <param name="queue">Where it is launched.</param>
    /// <param name="keys">From 0 to <paramref name="keyEnd"/> − 1.</param>
    /// <param name="keyEnd">Bounds the keys, and so the passes.</param>
    /// <param name="work">The result lies in it.</param>
    /// <returns>The rows of <paramref name="keys"/> in order.</returns>
    public ArrayView<int> Sort(AcceleratorStream queue, JointKeys keys, int keyEnd, ArrayView<int> work)
    {
        int length = keys.Length, counters = Counters(length);
        ArrayView<int> from = default, to = work.SubView(0, length), spare = work.SubView(length, length);
        if (Math.Max(keys.First.Length, keys.Second.Length) <= Chunk * device.GroupSize)
        {
            int largest = Math.Max(keys.SecondStart, keyEnd - keys.SecondStart) - 1, passes = 1;
            while (largest >> (passes * DigitBits) > 0)
                passes++;
            _sortShort.Launch(queue, new(keys.Second.Length > 0 ? 2 : 1, 1), new(keys, to, spare, passes));
            return passes % 2 == 1 ? to : spare;
        }
        var counts = work.SubView(2L * length, counters);
        var tileSums = work.SubView((2L * length) + counters, prefixSum.WorkLength(counters));
        int groups = ((counters / Digits) + device.GroupSize - 1) / device.GroupSize;
        for (int shift = 0; shift == 0 || (keyEnd - 1) >> shift > 0; shift += DigitBits)
        {
            var pass = new Arguments(keys, from, to, counts, shift);
            _count.Launch(queue, new(groups, 1), pass);
            prefixSum.Scan(queue, counts, tileSums);
            _scatter.Launch(queue, new(groups, 1), pass);
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

    /// <summary>A group sorts one of the lists: pass by pass, with the counters of all its threads in shared memory.</summary>
    private static void SortShortKernel(ShortArguments a)
    {
        var counters = SharedMemory.Allocate<int>(Place(Digits * GpuDevice.LargestGroup));
        var ends = SharedMemory.Allocate<int>(GpuDevice.LargestGroup);
        bool isSecond = Grid.IdxX == 1;
        int length = (int)(isSecond ? a.Keys.Second.Length : a.Keys.First.Length), before = isSecond ? (int)a.Keys.First.Length : 0;
        int chunk = (length + Group.DimX - 1) / Group.DimX, start = before + (Group.IdxX * chunk);
        int end = IntrinsicMath.Min(start + chunk, before + length);
        for (int pass = 0; pass < a.Passes; pass++)
        {
            for (int digit = 0; digit < Digits; digit++)
                counters[Place((digit * Group.DimX) + Group.IdxX)] = 0;
            for (int i = start; i < end; i++)
                counters[Place((a.Digit(a.Row(i, pass), pass) * Group.DimX) + Group.IdxX)]++;
            Group.Barrier();

            // Of the counters, digit by digit, a thread sums sixteen: what one digit has in as many threads.
            int own = 0;
            for (int i = 0; i < Digits; i++)
                own += counters[Place((Group.IdxX * Digits) + i)];
            int sum = before + PrefixSum.Before(own, ends);
            for (int i = 0; i < Digits; i++)
            {
                int at = Place((Group.IdxX * Digits) + i), count = counters[at];
                counters[at] = sum;
                sum += count;
            }
            Group.Barrier();

            var to = pass % 2 == 0 ? a.To : a.Spare;
            for (int i = start; i < end; i++)
            {
                int row = a.Row(i, pass), counter = Place((a.Digit(row, pass) * Group.DimX) + Group.IdxX);
                to[counters[counter]] = row;
                counters[counter]++;
            }
            Group.Barrier();
        }
    }

    /// <summary>One place is left free behind sixteen: threads that each go through sixteen meet in no bank.</summary>
    private static int Place(int counter) => counter + (counter / Digits);

    /// <param name="Keys">By row.</param>
    /// <param name="From">Rows in the order of the passes before; none before the first.</param>
    /// <param name="To">Rows in the order of this pass.</param>
    /// <param name="Counts">[digits, chunks]</param>
    /// <param name="Shift">Of the pass's digit.</param>
    internal readonly record struct Arguments(JointKeys Keys, ArrayView<int> From, ArrayView<int> To, ArrayView<int> Counts, int Shift)
    {
        public int Row(int i) => Shift == 0 ? i : From[i];

        public int Digit(int row) => (Keys[row] >> Shift) & (Digits - 1);
    }

    /// <param name="Keys">By row; each list is sorted by itself.</param>
    /// <param name="To">Rows in the order of the first pass, the third and so on.</param>
    /// <param name="Spare">Rows in the order of the others.</param>
    /// <param name="Passes">How many.</param>
    internal readonly record struct ShortArguments(JointKeys Keys, ArrayView<int> To, ArrayView<int> Spare, int Passes)
    {
        public int Row(int i, int pass) => pass == 0 ? i : pass % 2 == 0 ? Spare[i] : To[i];

        public int Digit(int row, int pass)
        {
            int key = row < Keys.First.Length ? Keys.First[row] : Keys.Second[row - Keys.First.Length];
            return (key >> (pass * DigitBits)) & (Digits - 1);
        }
    }
}
