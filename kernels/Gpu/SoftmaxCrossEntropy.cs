using System.Runtime.CompilerServices;
using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// Softmax cross-entropy against the tied item table, without a matrix of scores. Forward, a tile of scores = h · itemsᵀ never leaves the
/// registers: it ends in each row's maximum and Σ exp, and a second kernel combines the tiles. Backward, the same product ends in the scores'
/// gradient for a stretch of the catalogue, in a bounded piece of work memory, from which two more products take it.
/// </summary>
internal sealed class SoftmaxCrossEntropy(GpuDevice device, MatMul matMul)
{
    /// <summary>Gradients of scores in memory at a time: 64 MB.</summary>
    private const int StretchFloats = 1 << 24;

    /// <summary>Items of a stretch come in multiples of the largest tile.</summary>
    private const int StretchUnit = 128;

    private readonly TiledProduct<SummedContiguous, SummedContiguous, SoftmaxParts> _parts = new(device);
    private readonly TiledProduct<SummedContiguous, SummedContiguous, ScoreGradients> _gradients = new(device);
    private readonly GpuKernel<CombineArguments> _combine = device.Load<CombineArguments>(CombineKernel, device.GroupSize);

    public void Forward(
        ArrayView<float> h, ArrayView<float> items, ArrayView<float> bias, ArrayView<int> targets, ArrayView<float> losses, ArrayView<float> logSumExp, int rows, int catalogue, int size)
    {
        if (rows == 0)
            return;
        int tiles = _parts.TileColumns(rows, catalogue);
        long cells = (long)tiles * rows;
        var work = device.Workspace((2 * cells) + rows);
        ArrayView<float> maxima = work.SubView(0, cells), sums = work.SubView(cells, cells), targetScores = work.SubView(2 * cells, rows);
        _parts.Launch(
            new(h, size), new(items, size), new SoftmaxParts(bias, targets, maxima, sums, targetScores), rows, catalogue, size);
        _combine.Launch(device.GroupsFor(rows), new(maxima, sums, targetScores, losses, logSumExp, rows, tiles));
    }

    public void Backward(
        ArrayView<float> h, ArrayView<float> items, ArrayView<float> bias, ArrayView<int> targets, ArrayView<float> logSumExp, float scale, ArrayView<float> dh, ArrayView<float> dItems, ArrayView<float> dBias, int rows, int catalogue, int size)
    {
        if (rows == 0)
            return;
        int stretch = Math.Max(StretchUnit, StretchFloats / rows / StretchUnit * StretchUnit);
        for (int first = 0; first < catalogue; first += stretch)
        {
            int count = Math.Min(stretch, catalogue - first), stride = (count + 3) / 4 * 4;
            var dScores = device.Workspace((long)rows * stride);
            var stretchItems = items.SubView((long)first * size, (long)count * size);
            _gradients.Launch(
                new(h, size),
                new(stretchItems, size),
                new ScoreGradients(bias.SubView(first, count), targets, first, logSumExp, scale, dScores, stride),
                rows,
                count,
                size);
            var dScoresOperand = new Operand(dScores, stride);
            matMul.BackwardWeight(
                dScoresOperand, h, dItems.SubView((long)first * size, (long)count * size), dBias.SubView(first, count), rows, count, size);
            matMul.BackwardInput(dScoresOperand, stretchItems, default, dh, accumulate: first > 0, rows, count, size);
        }
    }

    /// <summary>A thread a row: its tiles' maxima and sums, in the order of the catalogue.</summary>
    private static void CombineKernel(CombineArguments a)
    {
        for (int row = Grid.GlobalIndex.X; row < a.Rows; row += Grid.DimX * Group.DimX)
        {
            float max = a.Maxima[row], sum = a.Sums[row];
            for (int tile = 1; tile < a.Tiles; tile++)
            {
                long at = ((long)tile * a.Rows) + row;
                float largest = IntrinsicMath.Max(max, a.Maxima[at]);
                sum = (sum * DeviceMath.Exp(max - largest)) + (a.Sums[at] * DeviceMath.Exp(a.Maxima[at] - largest));
                max = largest;
            }
            float logSumExp = max + DeviceMath.Log(sum);
            a.LogSumExp[row] = logSumExp;
            a.Losses[row] = logSumExp - a.TargetScores[row];
        }
    }

    internal readonly record struct CombineArguments(
        ArrayView<float> Maxima, ArrayView<float> Sums, ArrayView<float> TargetScores, ArrayView<float> Losses, ArrayView<float> LogSumExp, int Rows, int Tiles);
}

/// <summary>Of each row of a tile of scores its maximum and Σ exp(score − maximum), [tiles, rows], and the target's score where it is here.</summary>
internal readonly struct SoftmaxParts(
    ArrayView<float> bias, ArrayView<int> targets, ArrayView<float> maxima, ArrayView<float> sums, ArrayView<float> targetScores) : IEpilogue
{
    /// <summary>The score of no item: so low that its exponential is 0, and finite, so that differences are numbers.</summary>
    private const float Nothing = -1e30f;

    private readonly ArrayView<float> _bias = bias;
    private readonly ArrayView<int> _targets = targets;
    private readonly ArrayView<float> _maxima = maxima;
    private readonly ArrayView<float> _sums = sums;
    private readonly ArrayView<float> _targetScores = targetScores;

    public bool CanBeWide => GpuDevice.IsAligned(_bias);

    /// <summary>The thread's eight scores of a row, reduced, wait in shared memory for the row's other threads.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Row(in TilePlace place, int row, in Float4 left, in Float4 right)
    {
        int target = row < place.Rows ? _targets[row] : -1;
        var l = Scores(place, row, target, place.Left, left);
        var r = Scores(place, row, target, place.Right, right);
        float max = IntrinsicMath.Max(Largest(l), Largest(r));
        float sum = SumOfExp(l, max) + SumOfExp(r, max);
        int at = 2 * (((row - place.FirstRow) * (place.Side / 8)) + place.ThreadOfRow);
        place.Shared[at] = max;
        place.Shared[at + 1] = sum;
    }

    /// <summary>A thread a row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void End(in TilePlace place)
    {
        Group.Barrier();
        for (int i = Group.IdxX; i < place.Side && place.FirstRow + i < place.Rows; i += Group.DimX)
        {
            int first = 2 * i * (place.Side / 8), end = first + (place.Side / 4);
            float max = place.Shared[first];
            for (int at = first + 2; at < end; at += 2)
                max = IntrinsicMath.Max(max, place.Shared[at]);
            float sum = 0;
            for (int at = first; at < end; at += 2)
                sum += place.Shared[at + 1] * DeviceMath.Exp(place.Shared[at] - max);
            long cell = ((long)place.TileColumn * place.Rows) + place.FirstRow + i;
            _maxima[cell] = max;
            _sums[cell] = sum;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private Float4 Scores(in TilePlace place, int row, int target, int column, Float4 products)
    {
        int count = place.Columns - column;
        var scores = products + Float4.Load(_bias, column, count, place.Wide);
        int mine = target - column;
        if (mine >= 0 && mine < 4)
            _targetScores[row] = mine == 0 ? scores.X : mine == 1 ? scores.Y : mine == 2 ? scores.Z : scores.W;
        return new(
            count > 0 ? scores.X : Nothing, count > 1 ? scores.Y : Nothing, count > 2 ? scores.Z : Nothing, count > 3 ? scores.W : Nothing);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Largest(Float4 x) => IntrinsicMath.Max(IntrinsicMath.Max(x.X, x.Y), IntrinsicMath.Max(x.Z, x.W));

    /// <summary>Where the maximum is that of no item at all, its count does no harm: the combination gives it no weight.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float SumOfExp(Float4 x, float max) =>
        DeviceMath.Exp(x.X - max) + DeviceMath.Exp(x.Y - max) + (DeviceMath.Exp(x.Z - max) + DeviceMath.Exp(x.W - max));
}

/// <summary>dScore = scale (exp(score − log-sum-exp) − onehot(target)); zeros up to the stride.</summary>
/// <param name="bias">Of the stretch of the catalogue.</param>
/// <param name="targets">[M], ids in the whole catalogue.</param>
/// <param name="firstItem">The stretch's first item.</param>
/// <param name="logSumExp">[M]</param>
/// <param name="scale">Factor of the loss.</param>
/// <param name="dScores">[M, stride]</param>
/// <param name="stride">A multiple of four.</param>
internal readonly struct ScoreGradients(
    ArrayView<float> bias, ArrayView<int> targets, int firstItem, ArrayView<float> logSumExp, float scale, ArrayView<float> dScores, int stride) : IEpilogue
{
    private readonly ArrayView<float> _bias = bias;
    private readonly ArrayView<int> _targets = targets;
    private readonly int _firstItem = firstItem;
    private readonly ArrayView<float> _logSumExp = logSumExp;
    private readonly float _scale = scale;
    private readonly ArrayView<float> _dScores = dScores;
    private readonly int _stride = stride;

    public bool CanBeWide => GpuDevice.IsAligned(_bias) && GpuDevice.IsAligned(_dScores);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Row(in TilePlace place, int row, in Float4 left, in Float4 right)
    {
        if (row >= place.Rows)
            return;
        float logSumExp = _logSumExp[row];
        int target = _targets[row] - _firstItem;
        Four(place, row, place.Left, left, logSumExp, target);
        Four(place, row, place.Right, right, logSumExp, target);
    }

    public void End(in TilePlace place)
    {
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Four(in TilePlace place, int row, int column, Float4 products, float logSumExp, int target)
    {
        int count = place.Columns - column;
        var scores = products + Float4.Load(_bias, column, count, place.Wide);
        var gradients = new Float4(
            Of(scores.X, logSumExp, target == column, count > 0),
            Of(scores.Y, logSumExp, target == column + 1, count > 1),
            Of(scores.Z, logSumExp, target == column + 2, count > 2),
            Of(scores.W, logSumExp, target == column + 3, count > 3));
        gradients.Store(_dScores, ((long)row * _stride) + column, count > 0 ? 4 : 0, place.Wide);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private float Of(float score, float logSumExp, bool isTarget, bool isItem) =>
        isItem ? _scale * (DeviceMath.Exp(score - logSumExp) - (isTarget ? 1f : 0f)) : 0f;
}
