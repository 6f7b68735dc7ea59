using System.Runtime.CompilerServices;
using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;
using ILGPU.Runtime;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// Softmax cross-entropy against the tied item table. The scores of a whole catalogue are never in memory at once: forward, each tile of
/// the product h · itemsᵀ leaves only a maximum and a sum of exponentials a row; backward, stretches of the catalogue are scored again, and
/// their scores leave the registers as gradients, which two more products take up.
/// </summary>
internal sealed class SoftmaxCrossEntropy(GpuDevice device, MatMul matMul)
{
    /// <summary>
    /// Floats of gradients of scores, or of what tiles leave, that are in memory at a time: 128 MB. The simulator, which is for tests,
    /// takes so few that small catalogues are cut too.
    /// </summary>
    private readonly int _workFloats = device.IsSimulator ? 1 << 13 : 32 << 20;

    private readonly TiledProduct<SummedContiguous, SummedContiguous, ReduceScores> _reduce = new(device);
    private readonly TiledProduct<SummedContiguous, SummedContiguous, DifferentiateScores> _differentiate = new(device);
    private readonly GpuKernel<CombineArguments> _combine = device.Load<CombineArguments>(CombineKernel, device.GroupSize);

    /// <summary>logSumExp[m] = log Σ exp(score[m]), losses[m] = logSumExp[m] − score[m, targets[m]], score = h · itemsᵀ + bias.</summary>
    public void Forward(
        ArrayView<float> h, ArrayView<float> items, ArrayView<float> bias, ArrayView<int> targets, ArrayView<float> losses,
        ArrayView<float> logSumExp, int rows, int catalogue, int size)
    {
        int rowsAtATime = Math.Clamp(_workFloats / (2 * _reduce.TileColumns(rows, catalogue)), 1, Math.Max(1, rows));
        for (int first = 0; first < rows; first += rowsAtATime)
        {
            int count = Math.Min(rowsAtATime, rows - first), tiles = _reduce.TileColumns(count, catalogue);
            var work = device.Workspace(2L * tiles * count);
            ArrayView<float> maxima = work.SubView(0, (long)tiles * count), sums = work.SubView((long)tiles * count, (long)tiles * count);
            ArrayView<float> partLosses = losses.SubView(first, count), partLogSumExp = logSumExp.SubView(first, count);
            _reduce.Launch(
                new(h.SubView((long)first * size, (long)count * size), size),
                new(items, size),
                new ReduceScores(bias, targets.SubView(first, count), partLosses, maxima, sums),
                count,
                catalogue,
                size);
            _combine.Launch(device.GroupsFor(count), new(maxima, sums, tiles, partLosses, partLogSumExp));
        }
    }

    /// <summary>dScore = scale (softmax − onehot(target)); dh = dScore · items, dItems += dScoreᵀ · h, dBias += its column sums.</summary>
    public void Backward(
        ArrayView<float> h, ArrayView<float> items, ArrayView<float> bias, ArrayView<int> targets, ArrayView<float> logSumExp, float scale,
        ArrayView<float> dh, ArrayView<float> dItems, ArrayView<float> dBias, int rows, int catalogue, int size)
    {
        if (rows == 0)
            return;
        // Whole tiles, but for the end of the catalogue.
        int stretch = Math.Max(128, _workFloats / rows / 128 * 128);
        for (int first = 0; first < catalogue; first += stretch)
        {
            int count = Math.Min(stretch, catalogue - first), stride = (count + 3) / 4 * 4;
            var dScores = new Operand(device.Workspace((long)rows * stride), stride);
            var table = items.SubView((long)first * size, (long)count * size);
            _differentiate.Launch(
                new(h, size),
                new(table, size),
                new DifferentiateScores(bias.SubView(first, count), targets, logSumExp, first, scale, dScores),
                rows,
                count,
                size);
            var dTable = dItems.SubView((long)first * size, (long)count * size);
            matMul.BackwardWeight(dScores, h, dTable, dBias.SubView(first, count), rows, count, size);
            matMul.BackwardInput(dScores, table, default, dh, accumulate: first > 0, rows, count, size);
        }
    }

    /// <summary>A thread a row, since a row has few tiles.</summary>
    private static void CombineKernel(CombineArguments a)
    {
        for (long row = Grid.GlobalLinearIndex; row < a.Losses.Length; row += (long)Grid.DimX * Group.DimX)
        {
            float max = a.Maxima[row], sum = a.Sums[row];
            for (int tile = 1; tile < a.Tiles; tile++)
            {
                long at = (tile * a.Losses.Length) + row;
                float tileMax = a.Maxima[at], before = max;
                max = tileMax > max ? tileMax : max;
                sum = (sum * DeviceMath.Exp(before - max)) + (a.Sums[at] * DeviceMath.Exp(tileMax - max));
            }
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
    internal readonly record struct CombineArguments(
        ArrayView<float> Maxima, ArrayView<float> Sums, int Tiles, ArrayView<float> Losses, ArrayView<float> LogSumExp);
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

    /// <summary>Below every score, and finite.</summary>
    private const float Lowest = -1e30f;

    public bool CanBeWide => true;

    /// <summary>The thread's own eight scores of a row go to shared memory, as a maximum and a sum.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Row(in TilePlace place, int row, in Float4 left, in Float4 right)
    {
        Float4 a = Score(place, place.Left, left), b = Score(place, place.Right, right);
        if (row < place.Rows)
        {
            int target = _targets[row];
            if ((uint)(target - place.Left) < 4)
                _losses[row] = -a.At(target - place.Left);
            if ((uint)(target - place.Right) < 4)
                _losses[row] = -b.At(target - place.Right);
        }
        float max = Max(Max(Max(a.X, a.Y), Max(a.Z, a.W)), Max(Max(b.X, b.Y), Max(b.Z, b.W)));
        float sum = DeviceMath.Exp(a.X - max) + DeviceMath.Exp(a.Y - max) + DeviceMath.Exp(a.Z - max) + DeviceMath.Exp(a.W - max)
            + DeviceMath.Exp(b.X - max) + DeviceMath.Exp(b.Y - max) + DeviceMath.Exp(b.Z - max) + DeviceMath.Exp(b.W - max);
        int at = Place(place, place.ThreadOfRow) + row - place.FirstRow;
        place.Shared[at] = max;
        place.Shared[at + Place(place, place.TileColumns / 8)] = sum;
    }

    /// <summary>A thread adds up what the threads of a row found, in their order.</summary>
    public void End(in TilePlace place)
    {
        Group.Barrier();
        for (int row = Group.IdxX; row < place.TileRows; row += Group.DimX)
        {
            if (place.FirstRow + row >= place.Rows)
                break;
            int sums = Place(place, place.TileColumns / 8) + row;
            float max = place.Shared[row];
            for (int thread = 1; thread < place.TileColumns / 8; thread++)
                max = Max(max, place.Shared[Place(place, thread) + row]);
            float sum = 0;
            for (int thread = 0; thread < place.TileColumns / 8; thread++)
                sum += place.Shared[Place(place, thread) + sums] * DeviceMath.Exp(place.Shared[Place(place, thread) + row] - max);
            long at = ((long)place.TileColumn * place.Rows) + place.FirstRow + row;
            _maxima[at] = max;
            _sums[at] = sum;
        }
    }

    /// <summary>A thread's column in shared memory; four floats more than rows keep neighbours in different banks.</summary>
    private static int Place(in TilePlace place, int thread) => thread * (place.TileRows + 4);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private Float4 Score(in TilePlace place, int column, Float4 c)
    {
        int count = place.Columns - column;
        var b = Float4.Load(_bias, column, count, wide: false);
        return new Float4(
            count > 0 ? c.X + b.X : Lowest, count > 1 ? c.Y + b.Y : Lowest, count > 2 ? c.Z + b.Z : Lowest, count > 3 ? c.W + b.W : Lowest);
    }

    private static float Max(float a, float b) => a > b ? a : b;
}

/// <summary>Turns the scores of a stretch of the catalogue into their gradients, scale (exp(score − logSumExp) − onehot(target)).</summary>
/// <param name="bias">[stretch]</param>
/// <param name="targets">[M]</param>
/// <param name="logSumExp">[M]</param>
/// <param name="first">First item of the stretch.</param>
/// <param name="scale">Of the loss.</param>
/// <param name="dScores">[M, stretch], rows a multiple of four apart; zeros fill what lies between.</param>
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
    public void Row(in TilePlace place, int row, in Float4 left, in Float4 right)
    {
        if (row >= place.Rows)
            return;
        int target = _targets[row] - _first;
        float logSumExp = _logSumExp[row];
        Four(place, row, place.Left, left, target, logSumExp);
        Four(place, row, place.Right, right, target, logSumExp);
    }

    public void End(in TilePlace place)
    {
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Four(in TilePlace place, int row, int column, in Float4 c, int target, float logSumExp)
    {
        int count = place.Columns - column;
        var b = Float4.Load(_bias, column, count, wide: false);
        var d = new Float4(
            count > 0 ? Gradient(c.X + b.X - logSumExp, target == column) : 0f,
            count > 1 ? Gradient(c.Y + b.Y - logSumExp, target == column + 1) : 0f,
            count > 2 ? Gradient(c.Z + b.Z - logSumExp, target == column + 2) : 0f,
            count > 3 ? Gradient(c.W + b.W - logSumExp, target == column + 3) : 0f);
        d.Store(_dScores.Values, ((long)row * _dScores.Stride) + column, _dScores.Stride - column, wide: true);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private float Gradient(float logProbability, bool isTarget) => _scale * (DeviceMath.Exp(logProbability) - (isTarget ? 1f : 0f));
}
