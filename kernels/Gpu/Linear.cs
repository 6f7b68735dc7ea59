using System.Runtime.CompilerServices;
using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// The products of a dense layer, forward and backward: the same tiled product with operands that lie one way or the other, and with what
/// follows it (bias, gelu, its slope, adding to what is there) done while the results are in registers.
/// </summary>
internal sealed class Linear(GpuDevice device)
{
    private readonly Product<KContiguous, KContiguous, AddBias> _forward = new(device);
    private readonly Product<KContiguous, KContiguous, AddBiasGelu> _geluForward = new(device);
    private readonly Product<KContiguous, KStrided, StoreProduct> _backwardInput = new(device);
    private readonly Product<KStrided, KStrided, AddToGradient> _backwardWeight = new(device);

    /// <summary>y = x · weightᵀ + bias</summary>
    public void Forward(Tensor x, WeightAndBias layer, ArrayView<float> y) => _forward.Launch(
        new(x), new(layer.Weight), new AddBias(layer.Bias.View(), y, layer.Weight.Rows), x.Rows, layer.Weight.Rows, x.Columns);

    /// <summary>y = gelu(u) and, where it is wanted, slope = gelu'(u), u = x · weightᵀ + bias.</summary>
    public void GeluForward(Tensor x, WeightAndBias layer, Tensor y, Tensor slope) => _geluForward.Launch(
        new(x),
        new(layer.Weight),
        new AddBiasGelu(layer.Bias.View(), y.View(), slope.View(), y.Columns),
        x.Rows,
        y.Columns,
        x.Columns);

    /// <summary>dx = dy · weight (∘ slope), or dx += that.</summary>
    /// <param name="dy">[T, N]; where rows lie further apart than they are long, zeros are between, up to a multiple of four.</param>
    /// <param name="weight">[N, K]</param>
    /// <param name="slope">[T, K] or none.</param>
    /// <param name="dx">[T, K]</param>
    /// <param name="accumulate">dx += instead of dx =.</param>
    public void BackwardInput(Operand dy, Tensor weight, Tensor slope, Tensor dx, bool accumulate) => _backwardInput.Launch(
        dy, new(weight), new StoreProduct(new(dx), slope.View(), accumulate), dx.Rows, dx.Columns, weight.Rows);

    /// <summary>The gradient's weight += dyᵀ · x, its bias += column sums of dy.</summary>
    /// <param name="dy">[T, N], as in <see cref="BackwardInput"/>.</param>
    /// <param name="x">[T, K]</param>
    /// <param name="gradient">[N, K] and [N]</param>
    public void BackwardWeight(Operand dy, Tensor x, WeightAndBias gradient)
    {
        if (x.Rows == 0)
            return;
        var epilogue = new AddToGradient(new(gradient.Weight), gradient.Bias.View());
        _backwardWeight.Launch(dy, new(x), epilogue, gradient.Weight.Rows, x.Columns, x.Rows);
    }
}

/// <summary>y = c + bias</summary>
internal readonly struct AddBias(ArrayView<float> bias, ArrayView<float> y, int stride) : IEpilogue
{
    private readonly ArrayView<float> _bias = bias;
    private readonly ArrayView<float> _y = y;
    private readonly int _stride = stride;

    public bool CanBeWide => GpuDevice.IsAligned(_y) && _stride % 4 == 0 && GpuDevice.IsAligned(_bias);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Float4 LoadColumns(in TilePlace place, int column) => Float4.Load(_bias, column, place.N - column, place.Wide);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Float4 LoadAhead(in TilePlace place, int row, int column) => default;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Store(in TilePlace place, int row, int column, in Float4 c, in Float4 ofColumns, in Float4 ahead)
    {
        int count = place.N - column;
        (c + ofColumns).Store(_y, ((long)row * _stride) + column, count, place.Wide);
    }

    public void Finish(in TilePlace place, in Float4 sums, int thread)
    {
    }
}

/// <summary>u = c + bias; y = gelu(u) and, where it is wanted, slope = gelu'(u).</summary>
internal readonly struct AddBiasGelu(ArrayView<float> bias, ArrayView<float> y, ArrayView<float> slope, int stride) : IEpilogue
{
    private readonly ArrayView<float> _bias = bias;
    private readonly ArrayView<float> _y = y;
    private readonly ArrayView<float> _slope = slope;
    private readonly int _stride = stride;

    public bool CanBeWide =>
        GpuDevice.IsAligned(_y) && _stride % 4 == 0 && GpuDevice.IsAligned(_bias) && GpuDevice.IsAligned(_slope);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Float4 LoadColumns(in TilePlace place, int column) => Float4.Load(_bias, column, place.N - column, place.Wide);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Float4 LoadAhead(in TilePlace place, int row, int column) => default;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Store(in TilePlace place, int row, int column, in Float4 c, in Float4 ofColumns, in Float4 ahead)
    {
        int count = place.N - column;
        long first = ((long)row * _stride) + column;
        var u = c + ofColumns;
        var x = new Gelu.Value(u.X);
        var y = new Gelu.Value(u.Y);
        var z = new Gelu.Value(u.Z);
        var w = new Gelu.Value(u.W);
        new Float4(x.Y, y.Y, z.Y, w.Y).Store(_y, first, count, place.Wide);
        if (_slope.Length > 0)
            new Float4(x.Slope, y.Slope, z.Slope, w.Slope).Store(_slope, first, count, place.Wide);
    }

    public void Finish(in TilePlace place, in Float4 sums, int thread)
    {
    }
}

/// <summary>y = c, or c ∘ slope, or y += c.</summary>
internal readonly struct StoreProduct(Operand y, ArrayView<float> slope, bool accumulate) : IEpilogue
{
    private readonly Operand _y = y;
    private readonly ArrayView<float> _slope = slope;
    private readonly int _accumulate = accumulate ? 1 : 0;

    public bool CanBeWide => _y.IsAligned && GpuDevice.IsAligned(_slope);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Float4 LoadColumns(in TilePlace place, int column) => default;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Float4 LoadAhead(in TilePlace place, int row, int column)
    {
        int count = place.N - column;
        long first = ((long)row * _y.Stride) + column;
        if (_accumulate != 0)
            return Float4.Load(_y.Values, first, count, place.Wide);
        return _slope.Length > 0 ? Float4.Load(_slope, first, count, place.Wide) : default;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Store(in TilePlace place, int row, int column, in Float4 c, in Float4 ofColumns, in Float4 ahead)
    {
        var y = c;
        if (_accumulate != 0)
            y += ahead;
        else if (_slope.Length > 0)
            y *= ahead;
        y.Store(_y.Values, ((long)row * _y.Stride) + column, place.N - column, place.Wide);
    }

    public void Finish(in TilePlace place, in Float4 sums, int thread)
    {
    }
}

/// <summary>dWeight += c, and dBias += the sums of a's rows, where a is dyᵀ.</summary>
internal readonly struct AddToGradient(Operand dWeight, ArrayView<float> dBias) : IEpilogue
{
    private readonly Operand _dWeight = dWeight;
    private readonly ArrayView<float> _dBias = dBias;

    public static bool TakesSums => true;

    public bool CanBeWide => _dWeight.IsAligned;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Float4 LoadColumns(in TilePlace place, int column) => default;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Float4 LoadAhead(in TilePlace place, int row, int column) =>
        Float4.Load(_dWeight.Values, ((long)row * _dWeight.Stride) + column, place.N - column, place.Wide);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Store(in TilePlace place, int row, int column, in Float4 c, in Float4 ofColumns, in Float4 ahead) =>
        (c + ahead).Store(_dWeight.Values, ((long)row * _dWeight.Stride) + column, place.N - column, place.Wide);

    /// <summary>Groups with the same rows of a have the same sums, and the first stores them.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Finish(in TilePlace place, in Float4 sums, int thread)
    {
        int row = place.FirstRow + (4 * thread);
        if (place.FirstColumn == 0 && thread < place.BM / 4 && row < place.M)
        {
            int count = place.M - row;
            (sums + Float4.Load(_dBias, row, count, wide: false)).Store(_dBias, row, count, wide: false);
        }
    }
}
