using System.Runtime.CompilerServices;
using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;
using ILGPU.Runtime;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// Softmax cross-entropy against the tied item table. The scores of a whole catalogue are never in memory at once: forward, each tile of
/// the product h · itemsᵀ leaves only a maximum and a sum of exponentials a row; backward, chunks of the catalogue are scored again, and
/// their scores leave the registers as gradients, which two more products take up.
/// </summary>
internal sealed class SoftmaxCrossEntropy(GpuDevice device, MatMul matMul)
{
    /// <summary>
    /// Floats of gradients of scores, or of what tiles leave, that are in memory at a time: 128 MB. The simulator, which is for tests,
    /// takes so few that small catalogues are cut too.
    /// </summary>
    private readonly int _workFloats = device.IsSimulator ? 1 << 13 : 32 << 20;

    private readonly TiledProduct<KContiguous, KContiguous, ReduceScores> _reduce = new(device);
    private readonly TiledProduct<KContiguous, KContiguous, DifferentiateScores> _differentiate = new(device);
    private readonly GpuKernel<CombineArguments> _combine = device.Load<CombineArguments>(CombineKernel, device.GroupSize);

    /// <summary>logSumExp[m] = log Σ exp(score[m]), losses[m] = logSumExp[m] − score[m, targets[m]], score = h · itemsᵀ + bias.</summary>
    public void Forward(
        ArrayView<float> h, ArrayView<float> items, ArrayView<float> bias, ArrayView<int> targets, ArrayView<float> losses,
        ArrayView<float> logSumExp, int rows, int catalogue, int size)
    {
        int rowsAtATime = Math.Clamp(_workFloats / (2 * _reduce.TilesAcross(rows, catalogue)), 1, Math.Max(1, rows));
        for (int first = 0; first < rows; first += rowsAtATime)
        {
            int count = Math.Min(rowsAtATime, rows - first), tiles = _reduce.TilesAcross(count, catalogue);
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
        int chunk = Math.Max(128, _workFloats / rows / 128 * 128);
        for (int first = 0; first < catalogue; first += chunk)
        {
            int count = Math.Min(chunk, catalogue - first), stride = (count + 3) / 4 * 4;
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

    /// <summary>A maximum and a sum for each float4 of the tile.</summary>
    public static int SharedFloats<TTile>()
        where TTile : struct, ITile => TTile.BN / 4 * 2 * SharedTile.RowLength(TTile.BM);

    public bool CanBeWide => true;

    /// <summary>Four scores go to shared memory as their maximum and the sum of their exponentials.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Store(in TilePlace place, int row, int column, in Float4 c)
    {
        int count = place.N - column;
        var b = Float4.Load(_bias, column, count, wide: false);
        var score = new Float4(
            c.X + b.X, count > 1 ? c.Y + b.Y : Lowest, count > 2 ? c.Z + b.Z : Lowest, count > 3 ? c.W + b.W : Lowest);
        int target = _targets[row] - column;
        if ((uint)target < 4)
            _losses[row] = -score.At(target);
        float max = Max(Max(score.X, score.Y), Max(score.Z, score.W));
        int at = Place(place, (column - place.FirstColumn) / 4) + row - place.FirstRow;
        place.Shared[at] = max;
        place.Shared[at + Place(place, place.BN / 4)] = DeviceMath.Exp(score.X - max) + DeviceMath.Exp(score.Y - max)
            + (DeviceMath.Exp(score.Z - max) + DeviceMath.Exp(score.W - max));
    }

    /// <summary>A thread adds up a row of the tile, from left to right.</summary>
    public void Finish(in TilePlace place)
    {
        Group.Barrier();
        int rows = IntrinsicMath.Min(place.BM, place.M - place.FirstRow);
        int float4s = IntrinsicMath.Min(place.BN, place.N - place.FirstColumn + 3) / 4, sums = Place(place, place.BN / 4);
        for (int row = Group.IdxX; row < rows; row += Group.DimX)
        {
            float max = place.Shared[row];
            for (int i = 1; i < float4s; i++)
                max = Max(max, place.Shared[Place(place, i) + row]);
            float sum = 0;
            for (int i = 0; i < float4s; i++)
                sum += place.Shared[Place(place, i) + sums + row] * DeviceMath.Exp(place.Shared[Place(place, i) + row] - max);
            long at = ((long)(place.FirstColumn / place.BN) * place.M) + place.FirstRow + row;
            _maxima[at] = max;
            _sums[at] = sum;
        }
    }

    /// <summary>Where the numbers of a column of float4s begin, one a row.</summary>
    private static int Place(in TilePlace place, int column) => column * SharedTile.RowLength(place.BM);

    private static float Max(float a, float b) => a > b ? a : b;
}

/// <summary>Turns the scores of a chunk of the catalogue into their gradients, scale (exp(score − logSumExp) − onehot(target)).</summary>
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

    public static int SharedFloats<TTile>()
        where TTile : struct, ITile => 0;

    public bool CanBeWide => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Store(in TilePlace place, int row, int column, in Float4 c)
    {
        int count = place.N - column, target = _targets[row] - _first - column;
        float logSumExp = _logSumExp[row];
        var b = Float4.Load(_bias, column, count, wide: false);
        var d = new Float4(
            Gradient(c.X + b.X - logSumExp, target == 0),
            count > 1 ? Gradient(c.Y + b.Y - logSumExp, target == 1) : 0f,
            count > 2 ? Gradient(c.Z + b.Z - logSumExp, target == 2) : 0f,
            count > 3 ? Gradient(c.W + b.W - logSumExp, target == 3) : 0f);
        d.Store(_dScores.Values, ((long)row * _dScores.Stride) + column, count, wide: true);
    }

    public void Finish(in TilePlace place)
    {
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private float Gradient(float logProbability, bool isTarget) => _scale * (DeviceMath.Exp(logProbability) - (isTarget ? 1f : 0f));
}
