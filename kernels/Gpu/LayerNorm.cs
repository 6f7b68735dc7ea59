using System.Numerics;
using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// Dropout, residual and layer norm in one pass. A row has a thread for each <see cref="Float4"/>, so a group takes several short rows at
/// once, and the thread keeps its float4 in registers from the first read to the last write. The backward sums the gradients of gain and
/// bias over a fixed set of rows a group, in registers where a thread has one float4, and the last group adds the groups' sums in order.
/// </summary>
internal sealed class LayerNorm
{
    /// <summary>Groups of the backward for each SM: enough to hide memory's latency, few enough to add up.</summary>
    private const int GroupsPerMultiprocessor = 2;

    private readonly GpuDevice _device;
    private readonly GpuKernel<ForwardArguments> _forward;
    private readonly GpuKernel<BackwardArguments> _backward;

    public LayerNorm(GpuDevice device)
    {
        _device = device;
        int group = device.GroupSize;
        _forward = device.Load<ForwardArguments>(device.UsesWarps ? ForwardKernel<WarpReduction> : ForwardKernel<SharedReduction>, group);
        _backward = device.Load<BackwardArguments>(
            device.UsesWarps ? BackwardKernel<WarpReduction> : BackwardKernel<SharedReduction>, group);
    }

    public void Forward(
        Tensor x, Tensor residual, in DropoutMask dropout, WeightAndBias norm, float epsilon, Tensor y, Tensor statistics)
    {
        int width = Width(x.Columns), rowsPerGroup = _device.GroupSize / width;
        _forward.Launch(
            (x.Rows + rowsPerGroup - 1) / rowsPerGroup,
            new(
                x.View(), residual.View(), new DropoutKey(dropout), norm.Weight.View(), norm.Bias.View(), epsilon, y.View(),
                statistics.View(), x.Rows, x.Columns, width));
    }

    public void Backward(
        Tensor dy, Tensor x, Tensor weight, Tensor statistics, in DropoutMask dropout, Tensor dSum, Tensor dInput, WeightAndBias gradient)
    {
        if (x.Rows == 0)
            return;
        int size = x.Columns, width = Width(size), rowsPerGroup = _device.GroupSize / width;
        int groups = Math.Min((x.Rows + rowsPerGroup - 1) / rowsPerGroup, GroupsPerMultiprocessor * _device.Multiprocessors);
        int stride = ((2 * size) + 3) / 4 * 4;
        var partials = _device.Workspace((long)groups * stride);
        _backward.Launch(
            groups,
            new(
                dy.View(), x.View(), weight.View(), statistics.View(), new DropoutKey(dropout), dSum.View(), dInput.View(), partials,
                stride, gradient.Weight.View(), gradient.Bias.View(), _device.Counters, x.Rows, size, width));
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
            var s = PhiloxFloat4.Load(a.X, start, column, h);
            if (a.Dropout.Drops)
                s = s.Drop(a.Dropout, i, row);
            if (a.Residual.Length > 0)
                s += PhiloxFloat4.Load(a.Residual, start, column, h);
            s.Store(a.X, start, column, h);
            total += s.Sum;
            if (i == lane)
                first = s;
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
        long partial = (long)Grid.IdxX * a.Stride;
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
                    // A row of the whole group: no other thread adds to the group's partials of these columns.
                    bool isFirst = firstRow == Grid.IdxX;
                    var gainPartial = isFirst ? default : PhiloxFloat4.Load(a.Partials, partial, column, h);
                    var biasPartial = isFirst ? default : PhiloxFloat4.Load(a.Partials, partial + h, column, h);
                    (gainPartial + (dy * normalised)).Store(a.Partials, partial, column, h);
                    (biasPartial + dy).Store(a.Partials, partial + h, column, h);
                }
            }
            var sums = default(R).Reduce<Pair, PairSum>(new Pair(sumG, sumGx), a.Width, shared);
            var meanG = new Float4(sums.X / h);
            float meanGx = sums.Y / h;

            for (int i = lane; i < end; i += a.Width)
            {
                int column = PhiloxFloat4.FirstColumn(i);
                var normalised = i == lane ? firstNormalised : PhiloxFloat4.Load(a.X, start, column, h).Centre(mean, column, h) * inverse;
                // dSum may be dy itself: only this thread reads these columns, and it reads them first.
                var g = i == lane ? firstG : PhiloxFloat4.Load(a.Dy, start, column, h) * PhiloxFloat4.Load(a.Gain, 0, column, h);
                var ds = (g - meanG - (normalised * meanGx)) * inverse;
                ds.Store(a.DSum, start, column, h);
                if (a.DInput.Length > 0)
                    (a.Dropout.Drops ? ds.Drop(a.Dropout, i, row) : ds).Store(a.DInput, start, column, h);
            }
        }
        AddRows(dGain, a.Partials, partial, lane, a.Width, h);
        AddRows(dBias, a.Partials, partial + h, lane, a.Width, h);
        if (LastGroup.IsThis(a.Counter, Grid.DimX))
            AddPartials(a);
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

    /// <summary>
    /// Adds the groups' partials, in order: the threads that share four columns take every n-th group, eight of them under way at a time,
    /// and the first of the threads adds what they have.
    /// </summary>
    private static void AddPartials(in BackwardArguments a)
    {
        var shared = SharedMemory.Allocate<Float4>(GpuDevice.LargestGroup);
        int float4s = a.Stride / 4, across = IntrinsicMath.Min(float4s, Group.DimX), turns = Group.DimX / across;
        int turn = Group.IdxX / across;
        for (int firstColumn = 0; firstColumn < float4s; firstColumn += across)
        {
            int column = firstColumn + (Group.IdxX % across);
            // Threads past the last column meet the others at the barriers.
            int end = column < float4s && turn < turns ? Grid.DimX : 0;
            Float4 sum = default;
            var partials = new PartialColumns(Float4.Wide(a.Partials), float4s, column, end);
            for (int group = turn; group < end; group += 8 * turns)
                sum += partials.Four(group, turns) + partials.Four(group + (4 * turns), turns);
            shared[Group.IdxX] = sum;
            Group.Barrier();
            if (turn == 0 && column < float4s)
            {
                for (int i = 1; i < turns; i++)
                    sum += shared[(i * across) + Group.IdxX];
                // Only this thread reads it before the barrier.
                shared[Group.IdxX] = sum;
            }
            Group.Barrier();
            var sums = shared.Cast<float>();
            for (int i = Group.IdxX; i < 4 * IntrinsicMath.Min(across, float4s - firstColumn); i += Group.DimX)
                a.AddToGradient((4 * firstColumn) + i, sums[i]);
            Group.Barrier();
        }
    }

    /// <summary>Four columns of all groups' partials; zeros past the last group.</summary>
    private readonly struct PartialColumns(ArrayView<Float4> partials, int float4s, int column, int end)
    {
        private readonly ArrayView<Float4> _partials = partials;
        private readonly int _float4s = float4s;
        private readonly int _column = column;
        private readonly int _end = end;

        public Float4 Four(int first, int apart) =>
            At(first) + At(first + apart) + (At(first + (2 * apart)) + At(first + (3 * apart)));

        private Float4 At(int group) => group < _end ? _partials[((long)group * _float4s) + _column] : default;
    }

    /// <param name="X">[T, H] The input, which s = residual + dropout(x) replaces.</param>
    /// <param name="Residual">[T, H] or none.</param>
    /// <param name="Dropout">Of the input.</param>
    /// <param name="Gain">[H]</param>
    /// <param name="Bias">[H]</param>
    /// <param name="Epsilon">ε</param>
    /// <param name="Y">[T, H]</param>
    /// <param name="Statistics">[T, 2]</param>
    /// <param name="Rows">T</param>
    /// <param name="Size">H</param>
    /// <param name="Width">Threads of a row.</param>
    internal readonly record struct ForwardArguments(
        ArrayView<float> X, ArrayView<float> Residual, DropoutKey Dropout, ArrayView<float> Gain, ArrayView<float> Bias, float Epsilon,
        ArrayView<float> Y, ArrayView<float> Statistics, int Rows, int Size, int Width);

    /// <param name="Dy">[T, H]</param>
    /// <param name="X">[T, H]</param>
    /// <param name="Gain">[H]</param>
    /// <param name="Statistics">[T, 2]</param>
    /// <param name="Dropout">Of DInput.</param>
    /// <param name="DSum">[T, H] The gradient of s = residual + dropout(x), which X holds.</param>
    /// <param name="DInput">[T, H] or none.</param>
    /// <param name="Partials">[groups, Stride] Each group's part of dgain, then of dbias.</param>
    /// <param name="Stride">From one group's partials to the next: a multiple of four.</param>
    /// <param name="DGain">[H]</param>
    /// <param name="DBias">[H]</param>
    /// <param name="Counter">For <see cref="LastGroup"/>.</param>
    /// <param name="Rows">T</param>
    /// <param name="Size">H</param>
    /// <param name="Width">Threads of a row.</param>
    internal readonly record struct BackwardArguments(
        ArrayView<float> Dy, ArrayView<float> X, ArrayView<float> Gain, ArrayView<float> Statistics, DropoutKey Dropout,
        ArrayView<float> DSum, ArrayView<float> DInput, ArrayView<float> Partials, int Stride, ArrayView<float> DGain,
        ArrayView<float> DBias, ArrayView<int> Counter, int Rows, int Size, int Width)
    {
        /// <summary>Adds to the gain's gradient (the first H columns) or the bias's (the next H); those after them fill.</summary>
        public void AddToGradient(int column, float sum)
        {
            if (column < Size)
                DGain[column] += sum;
            else if (column < 2 * Size)
                DBias[column - Size] += sum;
        }
    }
}
