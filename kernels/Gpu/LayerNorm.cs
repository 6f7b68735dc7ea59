using System.Numerics;
using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// Dropout, residual and layer norm in one pass. As many threads as a row has quads of columns share the row, so a group takes several
/// short rows at once, and a thread keeps its quad in registers from the first read to the last write. The backward sums the gradients of
/// gain and bias in registers too, over a fixed stretch of rows a group, and a second kernel adds the stretches in order.
/// </summary>
internal sealed class LayerNorm
{
    /// <summary>Groups of the backward for each multiprocessor: enough to hide memory's latency, few enough to add up.</summary>
    private const int StretchesPerMultiprocessor = 4;

    /// <summary>Columns that a group of the second kernel adds up.</summary>
    private const int ColumnsPerGroup = 16;

    private readonly GpuDevice _device;
    private readonly GpuKernel<ForwardArguments> _forward;
    private readonly GpuKernel<BackwardArguments> _backward;
    private readonly GpuKernel<GradientArguments> _addStretches;

    public LayerNorm(GpuDevice device)
    {
        _device = device;
        int group = device.GroupSize;
        _forward = device.Load<ForwardArguments>(device.UsesWarps ? ForwardKernel<WarpReduction> : ForwardKernel<SharedReduction>, group);
        _backward = device.Load<BackwardArguments>(
            device.UsesWarps ? BackwardKernel<WarpReduction> : BackwardKernel<SharedReduction>, group);
        _addStretches = device.Load<GradientArguments>(AddStretchesKernel, group);
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
        int stretches = Math.Min(
            (rows + rowsPerGroup - 1) / rowsPerGroup, StretchesPerMultiprocessor * _device.Multiprocessors);
        var sums = _device.Workspace(2L * stretches * size);
        _backward.Launch(stretches, new(dy, x, gain, statistics, new DropoutKey(dropout), dSum, dInput, sums, rows, size, width));
        _addStretches.Launch((size + ColumnsPerGroup - 1) / ColumnsPerGroup, new(sums, dGain, dBias, stretches, size));
    }

    /// <summary>Threads that share a row: a power of two that gives each one quad, if the group is large enough.</summary>
    private int Width(int size) => Math.Min(_device.GroupSize, (int)BitOperations.RoundUpToPowerOf2((uint)Quad.Count(size)));

    private static void ForwardKernel<R>(ForwardArguments a)
        where R : struct, IGroupReduction
    {
        var shared = SharedMemory.Allocate<float>(GpuDevice.LargestGroup);
        int h = a.Size, quads = Quad.Count(h), lane = Group.IdxX % a.Width;
        int row = (Grid.IdxX * (Group.DimX / a.Width)) + (Group.IdxX / a.Width);
        // Threads past the last row take part in the reductions only.
        int end = row < a.Rows ? quads : 0;
        long start = (long)row * h;

        // The thread's first quad stays in registers; of rows longer than four times the group, the cache has the others.
        Float4 first = default;
        float total = 0f;
        for (int i = lane; i < end; i += a.Width)
        {
            int column = Quad.FirstColumn(i);
            var sum = Quad.Load(a.X, start, column, h);
            if (a.Dropout.Drops)
                sum = sum.Drop(a.Dropout, i, row);
            if (a.Residual.Length > 0)
                sum += Quad.Load(a.Residual, start, column, h);
            sum.Store(a.X, start, column, h);
            total += sum.Sum;
            if (i == lane)
                first = sum;
        }
        float mean = default(R).Reduce<float, Sum>(total, a.Width, shared) / h;

        float squares = 0f;
        for (int i = lane; i < end; i += a.Width)
        {
            int column = Quad.FirstColumn(i);
            var centred = (i == lane ? first : Quad.Load(a.X, start, column, h)).Centre(mean, column, h);
            squares += (centred * centred).Sum;
        }
        float variance = default(R).Reduce<float, Sum>(squares, a.Width, shared) / h;
        float inverse = 1f / MathF.Sqrt(variance + a.Epsilon);

        for (int i = lane; i < end; i += a.Width)
        {
            int column = Quad.FirstColumn(i);
            var normalised = (i == lane ? first : Quad.Load(a.X, start, column, h)).Centre(mean, column, h) * inverse;
            var y = (normalised * Quad.Load(a.Gain, 0, column, h)) + Quad.Load(a.Bias, 0, column, h);
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
        int h = a.Size, quads = Quad.Count(h), lane = Group.IdxX % a.Width, rowsAtOnce = Group.DimX / a.Width;
        long stretch = Grid.IdxX * 2L * h;
        Float4 dGain = default, dBias = default;
        for (int firstRow = Grid.IdxX * rowsAtOnce; firstRow < a.Rows; firstRow += Grid.DimX * rowsAtOnce)
        {
            int row = firstRow + (Group.IdxX / a.Width);
            int end = row < a.Rows ? quads : 0;
            long start = (long)row * h;
            float mean = row < a.Rows ? a.Statistics[2L * row] : 0f;
            float inverse = row < a.Rows ? a.Statistics[(2L * row) + 1] : 0f;

            Float4 firstG = default, firstNormalised = default;
            float sumG = 0f, sumGx = 0f;
            for (int i = lane; i < end; i += a.Width)
            {
                int column = Quad.FirstColumn(i);
                var dy = Quad.Load(a.Dy, start, column, h);
                var normalised = Quad.Load(a.X, start, column, h).Centre(mean, column, h) * inverse;
                var g = dy * Quad.Load(a.Gain, 0, column, h);
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
                    // A row of the whole group: nobody else adds to this stretch's sums of these columns.
                    bool isFirst = firstRow == Grid.IdxX;
                    var gainSum = isFirst ? default : Quad.Load(a.Sums, stretch, column, h);
                    var biasSum = isFirst ? default : Quad.Load(a.Sums, stretch + h, column, h);
                    (gainSum + (dy * normalised)).Store(a.Sums, stretch, column, h);
                    (biasSum + dy).Store(a.Sums, stretch + h, column, h);
                }
            }
            var sums = default(R).Reduce<Pair, PairSum>(new Pair(sumG, sumGx), a.Width, shared);
            var meanG = new Float4(sums.X / h);
            float meanGx = sums.Y / h;

            for (int i = lane; i < end; i += a.Width)
            {
                int column = Quad.FirstColumn(i);
                var normalised = i == lane ? firstNormalised : Quad.Load(a.X, start, column, h).Centre(mean, column, h) * inverse;
                // Until it is overwritten, dSum may be dy: only this thread reads these columns.
                var g = i == lane ? firstG : Quad.Load(a.Dy, start, column, h) * Quad.Load(a.Gain, 0, column, h);
                var d = (g - meanG - (normalised * meanGx)) * inverse;
                d.Store(a.DSum, start, column, h);
                if (a.DInput.Length > 0)
                    (a.Dropout.Drops ? d.Drop(a.Dropout, i, row) : d).Store(a.DInput, start, column, h);
            }
        }
        AddRows(dGain, a.Sums, stretch, lane, a.Width, h);
        AddRows(dBias, a.Sums, stretch + h, lane, a.Width, h);
    }

    /// <summary>Adds the sums of the rows that the group had at once, and stores those of the threads' first quads.</summary>
    private static void AddRows(Float4 sums, ArrayView<float> result, long start, int lane, int width, int h)
    {
        var shared = SharedMemory.Allocate<Float4>(GpuDevice.LargestGroup);
        shared[Group.IdxX] = sums;
        Group.Barrier();
        if (Group.IdxX < width && lane < Quad.Count(h))
        {
            for (int i = lane + width; i < Group.DimX; i += width)
                sums += shared[i];
            sums.Store(result, start, Quad.FirstColumn(lane), h);
        }
        Group.Barrier();
    }

    /// <summary>Sixteen columns a group: the threads of a column take turns at the stretches, and the first of them adds up.</summary>
    private static void AddStretchesKernel(GradientArguments a)
    {
        var shared = SharedMemory.Allocate<Pair>(GpuDevice.LargestGroup);
        int column = (Grid.IdxX * ColumnsPerGroup) + (Group.IdxX % ColumnsPerGroup);
        float gain = 0f, bias = 0f;
        if (column < a.Size)
        {
            for (int stretch = Group.IdxX / ColumnsPerGroup; stretch < a.Stretches; stretch += Group.DimX / ColumnsPerGroup)
            {
                long at = (stretch * 2L * a.Size) + column;
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
        ArrayView<float> Sums, ArrayView<float> DGain, ArrayView<float> DBias, int Stretches, int Size);
}
