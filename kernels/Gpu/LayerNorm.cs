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
    /// <summary>Groups of the backward for each multiprocessor: enough to hide memory's latency, few enough to add up.</summary>
    private const int ChunksPerMultiprocessor = 2;

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
        int chunks = Math.Min((x.Rows + rowsPerGroup - 1) / rowsPerGroup, ChunksPerMultiprocessor * _device.Multiprocessors);
        int stride = ((2 * size) + 3) / 4 * 4;
        var sums = _device.Workspace((long)chunks * stride);
        _backward.Launch(
            chunks,
            new(
                dy.View(), x.View(), weight.View(), statistics.View(), new DropoutKey(dropout), dSum.View(), dInput.View(), sums, stride,
                gradient.Weight.View(), gradient.Bias.View(), _device.Counters, x.Rows, size, width));
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
        long chunk = (long)Grid.IdxX * a.Stride;
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
                var ds = (g - meanG - (normalised * meanGx)) * inverse;
                ds.Store(a.DSum, start, column, h);
                if (a.DInput.Length > 0)
                    (a.Dropout.Drops ? ds.Drop(a.Dropout, i, row) : ds).Store(a.DInput, start, column, h);
            }
        }
        AddRows(dGain, a.Sums, chunk, lane, a.Width, h);
        AddRows(dBias, a.Sums, chunk + h, lane, a.Width, h);
        if (LastGroup.IsThis(a.Counter, Grid.DimX))
            AddChunks(a);
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

    /// <summary>The threads of four columns take turns at the chunks, eight of them under way at a time; the first adds up.</summary>
    private static void AddChunks(in BackwardArguments a)
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
            var chunks = new Chunks(Float4.Wide(a.Sums), float4s, column, end);
            for (int chunk = turn; chunk < end; chunk += 8 * turns)
                sum += chunks.Four(chunk, turns) + chunks.Four(chunk + (4 * turns), turns);
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

    /// <summary>Four columns of all chunks' sums; zeros past the last chunk.</summary>
    private readonly struct Chunks(ArrayView<Float4> sums, int float4s, int column, int end)
    {
        private readonly ArrayView<Float4> _sums = sums;
        private readonly int _float4s = float4s;
        private readonly int _column = column;
        private readonly int _end = end;

        public Float4 Four(int first, int apart) =>
            At(first) + At(first + apart) + (At(first + (2 * apart)) + At(first + (3 * apart)));

        private Float4 At(int chunk) => chunk < _end ? _sums[((long)chunk * _float4s) + _column] : default;
    }

    internal readonly record struct ForwardArguments(
        ArrayView<float> X, ArrayView<float> Residual, DropoutKey Dropout, ArrayView<float> Gain, ArrayView<float> Bias, float Epsilon,
        ArrayView<float> Y, ArrayView<float> Statistics, int Rows, int Size, int Width);

    /// <param name="Dy">[T, H]</param>
    /// <param name="X">[T, H]</param>
    /// <param name="Gain">[H]</param>
    /// <param name="Statistics">[T, 2]</param>
    /// <param name="Dropout">Of DInput.</param>
    /// <param name="DSum">[T, H]</param>
    /// <param name="DInput">[T, H] or none.</param>
    /// <param name="Sums">Of each chunk, the sums for gain, then those for bias.</param>
    /// <param name="Stride">From one chunk's sums to the next: a multiple of four.</param>
    /// <param name="DGain">[H]</param>
    /// <param name="DBias">[H]</param>
    /// <param name="Counter">For <see cref="LastGroup"/>.</param>
    /// <param name="Rows">T</param>
    /// <param name="Size">H</param>
    /// <param name="Width">Threads of a row.</param>
    internal readonly record struct BackwardArguments(
        ArrayView<float> Dy, ArrayView<float> X, ArrayView<float> Gain, ArrayView<float> Statistics, DropoutKey Dropout,
        ArrayView<float> DSum, ArrayView<float> DInput, ArrayView<float> Sums, int Stride, ArrayView<float> DGain, ArrayView<float> DBias,
        ArrayView<int> Counter, int Rows, int Size, int Width)
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
