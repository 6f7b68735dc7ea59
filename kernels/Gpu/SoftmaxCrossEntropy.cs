using System.Runtime.CompilerServices;
using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// Softmax cross-entropy against the tied item table. The scores of a whole catalogue are never in memory at once: forward, each tile of
/// the product h · itemsᵀ leaves only a maximum and a sum of exponentials a row; backward, chunks of the catalogue are scored again, and
/// their scores leave the registers as gradients, which two more products take up.
/// </summary>
internal sealed class SoftmaxCrossEntropy(GpuDevice device, Linear linear)
{
    /// <summary>
    /// Floats of gradients of scores, or of what tiles leave, that are in memory at a time: 128 MB. The simulator, which is for tests,
    /// takes so few that small catalogues are cut too.
    /// </summary>
    private readonly int _workFloats = device.IsSimulator ? 1 << 13 : 32 << 20;

    /// <summary>Scores of a launch, unless its rows are fewer than those.</summary>
    private const int MostScores = 1 << 28, FewestRows = 128;

    /// <summary>Threads that combine the tiles of a row, at most: so few that the rows of a group fill a sector of memory.</summary>
    private const int LanesOfRow = 32;

    private readonly Product<KContiguous, KContiguous, ReduceScores> _reduce = new(device);
    private readonly Product<KContiguous, KContiguous, DifferentiateScores> _differentiate = new(device);
    private readonly GpuKernel<CombineArguments> _combine = device.UsesWarps
        ? device.Load<CombineArguments>(CombineKernel<WarpReduction>, device.GroupSize)
        : device.Load<CombineArguments>(CombineKernel<SharedReduction>, device.GroupSize);

    /// <summary>
    /// logSumExp[m] = log Σ exp(score[m]), losses[m] = logSumExp[m] − score[m, targets[m]], score = h · weightᵀ + bias.
    /// </summary>
    public void Forward(Tensor h, WeightAndBias catalogue, Indices targets, Tensor losses, Tensor logSumExp)
    {
        int rows = h.Rows, items = catalogue.Weight.Rows;
        int rowsAtATime = Math.Clamp(_workFloats / (2 * _reduce.TilesAcross(rows, items, h.Columns)), 1, Math.Max(1, rows));
        // Windows ends what takes a screen's device longer than two seconds.
        rowsAtATime = Math.Min(rowsAtATime, Math.Max(FewestRows, MostScores / items));
        for (int first = 0; first < rows; first += rowsAtATime)
        {
            int count = Math.Min(rowsAtATime, rows - first), tiles = _reduce.TilesAcross(count, items, h.Columns);
            long numbers = (long)tiles * count;
            var work = device.Workspace(2 * numbers);
            ArrayView<float> maxima = work.SubView(0, numbers), sums = work.SubView(numbers, numbers);
            var chunkLosses = losses.View().SubView(first, count);
            _reduce.Launch(
                new(h.SliceRows(first, count)),
                new(catalogue.Weight),
                new ReduceScores(catalogue.Bias.View(), targets.Slice(first, count).View(), chunkLosses, maxima, sums),
                count,
                items,
                h.Columns);
            var lanes = new RowLanes(device, Math.Min(tiles, LanesOfRow));
            _combine.Launch(
                lanes.Groups(count), new(maxima, sums, tiles, chunkLosses, logSumExp.View().SubView(first, count), lanes.Bits));
        }
    }

    /// <summary>
    /// dScore = scale (softmax − onehot(target)); dh = dScore · weight, gradient += dScoreᵀ · h and column sums of dScore.
    /// </summary>
    public void Backward(
        Tensor h, WeightAndBias catalogue, Indices targets, Tensor logSumExp, float scale, Tensor dh, WeightAndBias gradient)
    {
        int rows = h.Rows, items = catalogue.Weight.Rows;
        if (rows == 0)
            return;
        // Whole tiles, but for the end of the catalogue.
        int chunk = Math.Max(128, _workFloats / rows / 128 * 128);
        for (int first = 0; first < items; first += chunk)
        {
            int count = Math.Min(chunk, items - first), stride = (count + 3) / 4 * 4;
            var dScores = new Operand(device.Workspace((long)rows * stride), stride);
            var part = Slice(catalogue, first, count);
            _differentiate.Launch(
                new(h),
                new(part.Weight),
                new DifferentiateScores(part.Bias.View(), targets.View(), logSumExp.View(), first, scale, dScores),
                rows,
                count,
                h.Columns);
            linear.BackwardWeight(dScores, h, Slice(gradient, first, count));
            linear.BackwardInput(dScores, part.Weight, slope: default, dh, accumulate: first > 0);
        }
    }

    /// <summary>Of <paramref name="count"/> items.</summary>
    private static WeightAndBias Slice(WeightAndBias x, int first, int count) => new(
        x.Weight.SliceRows(first, count), x.Bias with { Offset = x.Bias.Offset + first, Rows = 1, Columns = count });

    /// <summary>Neighbouring threads share a row, and the rows of a group are neighbours, as are their numbers of each tile.</summary>
    private static void CombineKernel<R>(CombineArguments a)
        where R : struct, IGroupReduction
    {
        var shared = SharedMemory.Allocate<float>(GpuDevice.LargestGroup);
        int lanes = 1 << a.LaneBits, rowsPerGrid = (Group.DimX >> a.LaneBits) * Grid.DimX, rows = a.Losses.IntLength;
        int firstRow = Grid.IdxX * (Group.DimX >> a.LaneBits), lane = Group.IdxX & (lanes - 1);
        for (; firstRow < rows; firstRow += rowsPerGrid)
        {
            int row = firstRow + (Group.IdxX >> a.LaneBits);
            // Threads past the last row take part in the reductions only.
            int tiles = row < rows ? a.Tiles : 0;
            float max = CatalogueBias.Lowest;
            for (int tile = lane; tile < tiles; tile += lanes)
                max = default(Max).Combine(max, a.Maxima[((long)tile * rows) + row]);
            max = default(R).Reduce<float, Max>(max, lanes, shared);
            float sum = 0;
            for (int tile = lane; tile < tiles; tile += lanes)
            {
                long at = ((long)tile * rows) + row;
                sum += a.Sums[at] * DeviceMath.Exp(a.Maxima[at] - max);
            }
            sum = default(R).Reduce<float, Sum>(sum, lanes, shared);
            if (lane > 0 || row >= rows)
                continue;
            float logSumExp = max + DeviceMath.Log(sum);
            a.LogSumExp[row] = logSumExp;
            a.Losses[row] += logSumExp;
        }
    }

    /// <param name="Maxima">[tiles, M]</param>
    /// <param name="Sums">[tiles, M]</param>
    /// <param name="Tiles">How many.</param>
    /// <param name="Losses">[M], so far the target's score, negative.</param>
    /// <param name="LogSumExp">[M]</param>
    /// <param name="LaneBits">Of <see cref="RowLanes"/>.</param>
    internal readonly record struct CombineArguments(
        ArrayView<float> Maxima, ArrayView<float> Sums, int Tiles, ArrayView<float> Losses, ArrayView<float> LogSumExp, int LaneBits);
}

/// <summary>Of a tile of scores: each row's maximum, its sum of exponentials, and the target's score where the tile has it.</summary>
/// <param name="bias">[V]</param>
/// <param name="targets">[M]</param>
/// <param name="losses">[M], gets −score of the target.</param>
/// <param name="maxima">[tiles, M]</param>
/// <param name="sums">[tiles, M], Σ exp(score − maximum).</param>
internal readonly struct ReduceScores(
    ArrayView<float> bias, ArrayView<int> targets, ArrayView<float> losses, ArrayView<float> maxima, ArrayView<float> sums) : IEpilogue
{
    private readonly ArrayView<float> _bias = bias;
    private readonly ArrayView<int> _targets = targets;
    private readonly ArrayView<float> _losses = losses;
    private readonly ArrayView<float> _maxima = maxima;
    private readonly ArrayView<float> _sums = sums;

    /// <summary>A maximum and a sum for each float4 of the tile.</summary>
    public static int SharedFloats<TTile>()
        where TTile : struct, ITile => TTile.BN / 4 * 2 * TTile.BM;

    public bool CanBeWide => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Float4 LoadColumns(in TilePlace place, int column) => CatalogueBias.Load(_bias, column, place.N - column);

    /// <summary>The row's target, as bits.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Float4 LoadAhead(in TilePlace place, int row, int column) => new(Interop.IntAsFloat((uint)_targets[row]));

    /// <summary>Four scores go to shared memory as their maximum and the sum of their exponentials.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Store(in TilePlace place, int row, int column, in Float4 c, in Float4 ofColumns, in Float4 ahead)
    {
        var score = c + ofColumns;
        int target = (int)Interop.FloatAsInt(ahead.X) - column;
        if ((uint)target < 4)
            _losses[row] = -score.At(target);
        float max = Max(Max(score.X, score.Y), Max(score.Z, score.W));
        int at = Place(place, row - place.FirstRow, (column - place.FirstColumn) / 4);
        place.Shared[at] = max;
        place.Shared[at + (place.BN / 4 * place.BM)] = DeviceMath.Exp(score.X - max) + DeviceMath.Exp(score.Y - max)
            + (DeviceMath.Exp(score.Z - max) + DeviceMath.Exp(score.W - max));
    }

    /// <summary>A thread adds up a row of the tile, from left to right.</summary>
    public void Finish(in TilePlace place, in Float4 sums, int thread)
    {
        Group.Barrier();
        int rows = IntrinsicMath.Min(place.BM, place.M - place.FirstRow);
        int float4s = IntrinsicMath.Min(place.BN, place.N - place.FirstColumn + 3) / 4, toSums = place.BN / 4 * place.BM;
        for (int row = Group.IdxX; row < rows; row += Group.DimX)
        {
            float max = place.Shared[Place(place, row, 0)];
            for (int i = 1; i < float4s; i++)
                max = Max(max, place.Shared[Place(place, row, i)]);
            float sum = 0;
            for (int i = 0; i < float4s; i++)
            {
                int at = Place(place, row, i);
                sum += place.Shared[at + toSums] * DeviceMath.Exp(place.Shared[at] - max);
            }
            long tile = ((long)(place.FirstColumn / place.BN) * place.M) + place.FirstRow + row;
            _maxima[tile] = max;
            _sums[tile] = sum;
        }
    }

    /// <summary>
    /// Where the number of a row and a column of float4s is: one column behind the other, the rows of each in such an order that what a
    /// warp stores together, whichever rows and columns its micro-kernel gives it, lies in 32 different banks.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Place(in TilePlace place, int row, int column) =>
        (column * place.BM) + (row ^ (((column & 1) * 16) ^ ((column >> 1) & 1) ^ (((column >> 2) & 1) * 18)));

    private static float Max(float a, float b) => a > b ? a : b;
}

/// <summary>
/// Turns the scores of a chunk of the catalogue into their gradients, scale (exp(score − logSumExp) − onehot(target)).
/// </summary>
/// <param name="bias">[chunk]</param>
/// <param name="targets">[M]</param>
/// <param name="logSumExp">[M]</param>
/// <param name="first">First item of the chunk.</param>
/// <param name="scale">Of the loss.</param>
/// <param name="dScores">[M, chunk], rows a multiple of four apart; zeros fill what lies between.</param>
internal readonly struct DifferentiateScores(
    ArrayView<float> bias, ArrayView<int> targets, ArrayView<float> logSumExp, int first, float scale, Operand dScores) : IEpilogue
{
    private readonly ArrayView<float> _bias = bias;
    private readonly ArrayView<int> _targets = targets;
    private readonly ArrayView<float> _logSumExp = logSumExp;
    private readonly int _first = first;
    private readonly float _scale = scale;
    private readonly Operand _dScores = dScores;

    public bool CanBeWide => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Float4 LoadColumns(in TilePlace place, int column) => CatalogueBias.Load(_bias, column, place.N - column);

    /// <summary>The row's target, as bits, and its logSumExp.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Float4 LoadAhead(in TilePlace place, int row, int column) =>
        new(Interop.IntAsFloat((uint)_targets[row]), _logSumExp[row], 0f, 0f);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Store(in TilePlace place, int row, int column, in Float4 c, in Float4 ofColumns, in Float4 ahead)
    {
        int target = (int)Interop.FloatAsInt(ahead.X) - _first - column;
        var logProbability = c + ofColumns - new Float4(ahead.Y);
        var d = new Float4(
            Gradient(logProbability.X, target == 0),
            Gradient(logProbability.Y, target == 1),
            Gradient(logProbability.Z, target == 2),
            Gradient(logProbability.W, target == 3));
        d.Store(_dScores.Values, ((long)row * _dScores.Stride) + column, place.N - column, wide: true);
    }

    public void Finish(in TilePlace place, in Float4 sums, int thread)
    {
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private float Gradient(float logProbability, bool isTarget) => _scale * (DeviceMath.Exp(logProbability) - (isTarget ? 1f : 0f));
}

/// <summary>The bias of items, and past the end of the catalogue what makes nothing of the scores there, which are 0.</summary>
internal static class CatalogueBias
{
    /// <summary>Below every score, and finite.</summary>
    public const float Lowest = -1e30f;

    /// <summary>Of <paramref name="count"/> items.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 Load(ArrayView<float> bias, int first, int count) => new(
        bias[first],
        count > 1 ? bias[first + 1] : Lowest,
        count > 2 ? bias[first + 2] : Lowest,
        count > 3 ? bias[first + 3] : Lowest);
}
