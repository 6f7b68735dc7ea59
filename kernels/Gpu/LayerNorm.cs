using System.Numerics;
using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// Dropout, residual and layer norm in one pass. A row has a thread for each <see cref="Float4"/>, so a group takes several short rows at
/// once, and the thread keeps its float4 in registers from the first read to the last write. The backward sums the gradients of gain and
/// bias in registers too, over a fixed chunk of rows a group, and a second kernel adds the chunks in order.
/// </summary>
internal sealed class LayerNorm
{
    /// <summary>Groups of the backward for each multiprocessor: enough to hide memory's latency, few enough to add up.</summary>
    private const int ChunksPerMultiprocessor = 4;

    /// <summary>Columns that a group of the second kernel adds up.</summary>
    private const int ColumnsPerGroup = 16;

    private readonly GpuDevice _device;
    private readonly GpuKernel<ForwardArguments> _forward;
    private readonly GpuKernel<BackwardArguments> _backward;
    private readonly GpuKernel<GradientArguments> _addChunks;

    public LayerNorm(GpuDevice device)
    {
        _device = device;
        int group = device.GroupSize;
        _forward = device.Load<ForwardArguments>(device.UsesWarps ? ForwardKernel<WarpReduction> : ForwardKernel<SharedReduction>, group);
        _backward = device.Load<BackwardArguments>(
            device.UsesWarps ? BackwardKernel<WarpReduction> : BackwardKernel<SharedReduction>, group);
        _addChunks = device.Load<GradientArguments>(AddChunksKernel, group);
    }

    public void Forward(
        ArrayView<float> x, ArrayView<float> residual, in DropoutMask dropout, ArrayView<float> gain, ArrayView<float> bias, float epsilon,
        ArrayView<float> y, ArrayView<float> statistics, int rows, int size)
    {
        int width = Width(size), rowsPerGroup = _device.GroupSize / width;
        _forward.Launch(
            (rows + rowsPerGroup - 1) / rowsPerGroup,
            new(x, residual, new DropoutKey(dropout), gain, bias, epsilon, y, statistics, rows, size, width));
    }

    public void Backward(
        ArrayView<float> dy, ArrayView<float> x, ArrayView<float> gain, ArrayView<float> statistics, in DropoutMask dropout,
        ArrayView<float> dSum, ArrayView<float> dInput, ArrayView<float> dGain, ArrayView<float> dBias, int rows, int size)
    {
        if (rows == 0)
            return;
        int width = Width(size), rowsPerGroup = _device.GroupSize / width;
        int chunks = Math.Min(
            (rows + rowsPerGroup - 1) / rowsPerGroup, ChunksPerMultiprocessor * _device.Multiprocessors);
        var sums = _device.Workspace(2L * chunks * size);
        _backward.Launch(chunks, new(dy, x, gain, statistics, new DropoutKey(dropout), dSum, dInput, sums, rows, size, width));
        _addChunks.Launch((size + ColumnsPerGroup - 1) / ColumnsPerGroup, new(sums, dGain, dBias, chunks, size));
    }

    /// <summary>Threads that share a row: a power of two that gives each one <see cref="Float4"/>, if the group is large enough.</summary>
    private int Width(int size) => Math.Min(_device.GroupSize, (int)BitOperations.RoundUpToPowerOf2((uint)PhiloxFloat4.Count(size)));

    private static void ForwardKernel<R>(ForwardArguments a)
        where R : struct, IGroupReduction
    {
        var shared = SharedMemory.Allocate<float>(GpuDevice.LargestGroup);
        int h = a.Size, float4s = PhiloxFloat4.Count(h), lane = Group.IdxX % a.Width;
        int row = (Grid.IdxX * (Group.DimX / a.Width)) + (Group.IdxX / a.Width);
        // Threads past the last row take part in the reductions only.
        int end = row < a.Rows ? float4s : 0;
        long start = (long)row * h;

        // The thread's first float4 stays in registers; of rows longer than four times the group, the cache has the others.
        Float4 first = default;
        float total = 0f;
        for (int i = lane; i < end; i += a.Width)
        {
            int column = PhiloxFloat4.FirstColumn(i);
            var sum = PhiloxFloat4.Load(a.X, start, column, h);
            if (a.Dropout.Drops)
                sum = sum.Drop(a.Dropout, i, row);
            if (a.Residual.Length > 0)
                sum += PhiloxFloat4.Load(a.Residual, start, column, h);
            sum.Store(a.X, start, column, h);
            total += sum.Sum;
            if (i == lane)
                first = sum;
        }
        float mean = default(R).Reduce<float, Sum>(total, a.Width, shared) / h;

        float squares = 0f;
        for (int i = lane; i < end; i += a.Width)
        {
            int column = PhiloxFloat4.FirstColumn(i);
            var centred = (i == lane ? first : PhiloxFloat4.Load(a.X, start, column, h)).Centre(mean, column, h);
            squares += (centred * centred).Sum;
        }
        float variance = default(R).Reduce<float, Sum>(squares, a.Width, shared) / h;
        float inverse = 1f / MathF.Sqrt(variance + a.Epsilon);

        for (int i = lane; i < end; i += a.Width)
        {
            int column = PhiloxFloat4.FirstColumn(i);
            var normalised = (i == lane ? first : PhiloxFloat4.Load(a.X, start, column, h)).Centre(mean, column, h) * inverse;
            var y = (normalised * PhiloxFloat4.Load(a.Gain, 0, column, h)) + PhiloxFloat4.Load(a.Bias, 0, column, h);
            y.Store(a.Y, start, column, h);
        }
        if (lane == 0 && row < a.Rows)
        {
            a.Statistics[2L * row] = mean;
            a.Statistics[(2L * row) + 1] = inverse;
        }
    }

    private static void BackwardKernel<R>(BackwardArguments a)
        where R : struct, IGroupReduction
    {
        var shared = SharedMemory.Allocate<Pair>(GpuDevice.LargestGroup);
        int h = a.Size, float4s = PhiloxFloat4.Count(h), lane = Group.IdxX % a.Width, rowsAtOnce = Group.DimX / a.Width;
        long chunk = Grid.IdxX * 2L * h;
        Float4 dGain = default, dBias = default;
        for (int firstRow = Grid.IdxX * rowsAtOnce; firstRow < a.Rows; firstRow += Grid.DimX * rowsAtOnce)
        {
            int row = firstRow + (Group.IdxX / a.Width);
            int end = row < a.Rows ? float4s : 0;
            long start = (long)row * h;
            float mean = row < a.Rows ? a.Statistics[2L * row] : 0f;
            float inverse = row < a.Rows ? a.Statistics[(2L * row) + 1] : 0f;

            Float4 firstG = default, firstNormalised = default;
            float sumG = 0f, sumGx = 0f;
            for (int i = lane; i < end; i += a.Width)
            {
                int column = PhiloxFloat4.FirstColumn(i);
                var dy = PhiloxFloat4.Load(a.Dy, start, column, h);
                var normalised = PhiloxFloat4.Load(a.X, start, column, h).Centre(mean, column, h) * inverse;
                var g = dy * PhiloxFloat4.Load(a.Gain, 0, column, h);
                sumG += g.Sum;
                sumGx += (g * normalised).Sum;
                if (i == lane)
                {
                    firstG = g;
                    firstNormalised = normalised;
                    dGain += dy * normalised;
                    dBias += dy;
                }
                else
                {
                    // A row of the whole group: nobody else adds to this chunk's sums of these columns.
                    bool isFirst = firstRow == Grid.IdxX;
                    var gainSum = isFirst ? default : PhiloxFloat4.Load(a.Sums, chunk, column, h);
                    var biasSum = isFirst ? default : PhiloxFloat4.Load(a.Sums, chunk + h, column, h);
                    (gainSum + (dy * normalised)).Store(a.Sums, chunk, column, h);
                    (biasSum + dy).Store(a.Sums, chunk + h, column, h);
                }
            }
            var sums = default(R).Reduce<Pair, PairSum>(new Pair(sumG, sumGx), a.Width, shared);
            var meanG = new Float4(sums.X / h);
            float meanGx = sums.Y / h;

            for (int i = lane; i < end; i += a.Width)
            {
                int column = PhiloxFloat4.FirstColumn(i);
                var normalised = i == lane ? firstNormalised : PhiloxFloat4.Load(a.X, start, column, h).Centre(mean, column, h) * inverse;
                // Until it is overwritten, dSum may be dy: only this thread reads these columns.
                var g = i == lane ? firstG : PhiloxFloat4.Load(a.Dy, start, column, h) * PhiloxFloat4.Load(a.Gain, 0, column, h);
                var d = (g - meanG - (normalised * meanGx)) * inverse;
                d.Store(a.DSum, start, column, h);
                if (a.DInput.Length > 0)
                    (a.Dropout.Drops ? d.Drop(a.Dropout, i, row) : d).Store(a.DInput, start, column, h);
            }
        }
        AddRows(dGain, a.Sums, chunk, lane, a.Width, h);
        AddRows(dBias, a.Sums, chunk + h, lane, a.Width, h);
    }

    /// <summary>Adds the sums of the rows that the group had at once, and stores those of the threads' first float4s.</summary>
    private static void AddRows(Float4 sums, ArrayView<float> result, long start, int lane, int width, int h)
    {
        var shared = SharedMemory.Allocate<Float4>(GpuDevice.LargestGroup);
        shared[Group.IdxX] = sums;
        Group.Barrier();
        if (Group.IdxX < width && lane < PhiloxFloat4.Count(h))
        {
            for (int i = lane + width; i < Group.DimX; i += width)
                sums += shared[i];
            sums.Store(result, start, PhiloxFloat4.FirstColumn(lane), h);
        }
        Group.Barrier();
    }

    /// <summary>Sixteen columns a group: the threads of a column take turns at the chunks, and the first of them adds up.</summary>
    private static void AddChunksKernel(GradientArguments a)
    {
        var shared = SharedMemory.Allocate<Pair>(GpuDevice.LargestGroup);
        int column = (Grid.IdxX * ColumnsPerGroup) + (Group.IdxX % ColumnsPerGroup);
        float gain = 0f, bias = 0f;
        if (column < a.Size)
        {
            for (int chunk = Group.IdxX / ColumnsPerGroup; chunk < a.Chunks; chunk += Group.DimX / ColumnsPerGroup)
            {
                long at = (chunk * 2L * a.Size) + column;
                gain += a.Sums[at];
                bias += a.Sums[at + a.Size];
            }
        }
        shared[Group.IdxX] = new Pair(gain, bias);
        Group.Barrier();
        if (Group.IdxX < ColumnsPerGroup && column < a.Size)
        {
            for (int i = Group.IdxX + ColumnsPerGroup; i < Group.DimX; i += ColumnsPerGroup)
            {
                gain += shared[i].X;
                bias += shared[i].Y;
            }
            a.DGain[column] += gain;
            a.DBias[column] += bias;
        }
    }

    internal readonly record struct ForwardArguments(
        ArrayView<float> X, ArrayView<float> Residual, DropoutKey Dropout, ArrayView<float> Gain, ArrayView<float> Bias, float Epsilon,
        ArrayView<float> Y, ArrayView<float> Statistics, int Rows, int Size, int Width);

    internal readonly record struct BackwardArguments(
        ArrayView<float> Dy, ArrayView<float> X, ArrayView<float> Gain, ArrayView<float> Statistics, DropoutKey Dropout,
        ArrayView<float> DSum, ArrayView<float> DInput, ArrayView<float> Sums, int Rows, int Size, int Width);

    internal readonly record struct GradientArguments(
        ArrayView<float> Sums, ArrayView<float> DGain, ArrayView<float> DBias, int Chunks, int Size);
}
