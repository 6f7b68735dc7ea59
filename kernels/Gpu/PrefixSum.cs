using System.Runtime.CompilerServices;
using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;
using ILGPU.Runtime;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// Exclusive prefix sums of integers, in place: x[i] becomes x[0] + … + x[i−1], which turns counts into the places where things go. A
/// group takes a tile; the first pass leaves every tile's sum, the second adds up the sums of the tiles before its own.
/// </summary>
internal sealed class PrefixSum(GpuDevice device)
{
    private const int PerThread = 16;

    private readonly GpuKernel<Arguments> _sumTiles = device.Load<Arguments>(SumTilesKernel, device.GroupSize);
    private readonly GpuKernel<Arguments> _scan = device.Load<Arguments>(ScanKernel, device.GroupSize);

    /// <summary>Integers of work memory that so many elements need.</summary>
    public int WorkLength(int length) => (length + (device.GroupSize * PerThread) - 1) / (device.GroupSize * PerThread);

    public void Scan(AcceleratorStream stream, ArrayView<int> x, ArrayView<int> work)
    {
        int tiles = WorkLength((int)x.Length);
        if (tiles > 1)
            _sumTiles.Launch(stream, new(tiles, 1), new(x, work));
        _scan.Launch(stream, new(tiles, 1), new(x, work));
    }

    private static void SumTilesKernel(Arguments a)
    {
        ref int sum = ref SharedMemory.Allocate<int>();
        if (Group.IdxX == 0)
            sum = 0;
        Group.Barrier();
        int start = ((Grid.IdxX * Group.DimX) + Group.IdxX) * PerThread;
        // Integers: whichever thread comes first, the sum is the same.
        Atomic.Add(ref sum, SumOf(a.X, start));
        Group.Barrier();
        if (Group.IdxX == 0)
            a.TileSums[Grid.IdxX] = sum;
    }

    private static void ScanKernel(Arguments a)
    {
        ref int before = ref SharedMemory.Allocate<int>();
        var ends = SharedMemory.Allocate<int>(GpuDevice.LargestGroup);
        int start = ((Grid.IdxX * Group.DimX) + Group.IdxX) * PerThread;
        int own = SumOf(a.X, start);
        if (Group.IdxX == 0)
            before = 0;
        Group.Barrier();
        int tiles = 0;
        for (int tile = Group.IdxX; tile < Grid.IdxX; tile += Group.DimX)
            tiles += a.TileSums[tile];
        Atomic.Add(ref before, tiles);
        int sum = Before(own, ends) + before;
        for (int i = start; i < start + PerThread && i < a.X.Length; i++)
        {
            int value = a.X[i];
            a.X[i] = sum;
            sum += value;
        }
    }

    /// <summary>What the threads before this one have, together; all threads of the group take part.</summary>
    /// <param name="own">What this thread has.</param>
    /// <param name="ends">Shared memory, one integer a thread.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Before(int own, ArrayView<int> ends)
    {
        ends[Group.IdxX] = own;
        Group.Barrier();
        // Hillis and Steele: after the step of length s, ends[i] sums the 2s threads up to i.
        for (int step = 1; step < Group.DimX; step *= 2)
        {
            int left = Group.IdxX >= step ? ends[Group.IdxX - step] : 0;
            Group.Barrier();
            ends[Group.IdxX] += left;
            Group.Barrier();
        }
        return ends[Group.IdxX] - own;
    }

    private static int SumOf(ArrayView<int> x, int start)
    {
        int sum = 0;
        for (int i = start; i < start + PerThread && i < x.Length; i++)
            sum += x[i];
        return sum;
    }

    internal readonly record struct Arguments(ArrayView<int> X, ArrayView<int> TileSums);
}
