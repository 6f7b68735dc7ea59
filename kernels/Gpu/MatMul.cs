using System.Runtime.CompilerServices;
using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// The products of a dense layer, forward and backward: the same tiled product with operands that lie one way or the other, and with what
/// follows it (bias, gelu, its slope, adding to what is there) done while the results are in registers. Where a product has few tiles but a
/// long K dimension, as the gradient of a weight has, it is split: groups take parts of it, whose products are then added in a fixed order.
/// </summary>
internal sealed class MatMul(GpuDevice device)
{
    /// <summary>Of the groups that add up columns for a bias gradient: rows, and threads that share a column.</summary>
    private const int RowsOfColumnSum = 256, ThreadsOfColumn = 8;

    private readonly TiledProduct<KContiguous, KContiguous, AddBias> _forward = new(device);
    private readonly TiledProduct<KContiguous, KContiguous, AddBiasGelu> _forwardGelu = new(device);
    private readonly TiledProduct<KContiguous, KStrided, StoreProduct> _backwardInput = new(device);
    private readonly TiledProduct<KStrided, KStrided, StoreProduct> _backwardWeight = new(device);
    private readonly GpuKernel<ColumnSumsArguments> _columnSums = device.Load<ColumnSumsArguments>(ColumnSumsKernel, device.GroupSize);
    private readonly GpuKernel<AddPartsArguments> _addParts = device.Load<AddPartsArguments>(AddPartsKernel, device.GroupSize);

    /// <summary>y = x · weightᵀ + bias</summary>
    public void Forward(
        ArrayView<float> x, ArrayView<float> weight, ArrayView<float> bias, ArrayView<float> y, int rows, int outputs, int inputs) =>
        _forward.Launch(new(x, inputs), new(weight, inputs), new AddBias(bias, y, outputs), rows, outputs, inputs);

    /// <summary>y = gelu(u), slope = gelu'(u), u = x · weightᵀ + bias; no slope into an empty view.</summary>
    public void ForwardGelu(
        ArrayView<float> x, ArrayView<float> weight, ArrayView<float> bias, ArrayView<float> y, ArrayView<float> slope,
        int rows, int outputs, int inputs) =>
        _forwardGelu.Launch(new(x, inputs), new(weight, inputs), new AddBiasGelu(bias, y, slope, outputs), rows, outputs, inputs);

    /// <summary>dx = dy · weight (∘ slope), or dx += that.</summary>
    public void BackwardInput(
        ArrayView<float> dy, ArrayView<float> weight, ArrayView<float> slope, ArrayView<float> dx, bool accumulate,
        int rows, int outputs, int inputs) =>
        BackwardInput(new Operand(dy, outputs), weight, slope, dx, accumulate, rows, outputs, inputs);

    /// <inheritdoc cref="BackwardInput(ArrayView{float}, ArrayView{float}, ArrayView{float}, ArrayView{float}, bool, int, int, int)"/>
    /// <remarks>Rows of dy may lie further apart than they are long; what lies between, up to a multiple of four, is zero.</remarks>
    public void BackwardInput(
        Operand dy, ArrayView<float> weight, ArrayView<float> slope, ArrayView<float> dx, bool accumulate,
        int rows, int outputs, int inputs)
    {
        var dxOperand = new Operand(dx, inputs);
        var weightOperand = new Operand(weight, inputs);
        if (rows == 0)
            return;
        int splits = slope.Length > 0 ? 1 : _backwardInput.Splits(rows, inputs, outputs);
        if (splits == 1)
        {
            _backwardInput.Launch(dy, weightOperand, new StoreProduct(dxOperand, slope, accumulate), rows, inputs, outputs);
            return;
        }
        var parts = device.Parts((long)splits * dx.Length);
        _backwardInput.Launch(dy, weightOperand, StoreProduct.Parts(parts, dxOperand), rows, inputs, outputs, splits);
        AddParts(parts, splits, dx, accumulate);
    }

    /// <summary>dWeight += dyᵀ · x, dBias += column sums of dy.</summary>
    public void BackwardWeight(
        ArrayView<float> dy, ArrayView<float> x, ArrayView<float> dWeight, ArrayView<float> dBias, int rows, int outputs, int inputs) =>
        BackwardWeight(new Operand(dy, outputs), x, dWeight, dBias, rows, outputs, inputs);

    /// <inheritdoc cref="BackwardWeight(ArrayView{float}, ArrayView{float}, ArrayView{float}, ArrayView{float}, int, int, int)"/>
    public void BackwardWeight(
        Operand dy, ArrayView<float> x, ArrayView<float> dWeight, ArrayView<float> dBias, int rows, int outputs, int inputs)
    {
        if (rows == 0)
            return;
        var xOperand = new Operand(x, inputs);
        var weightOperand = new Operand(dWeight, inputs);
        int splits = _backwardWeight.Splits(outputs, inputs, rows);
        if (splits == 1)
        {
            _backwardWeight.Launch(dy, xOperand, new StoreProduct(weightOperand, default, accumulate: true), outputs, inputs, rows);
        }
        else
        {
            var parts = device.Parts(splits * dWeight.Length);
            _backwardWeight.Launch(dy, xOperand, StoreProduct.Parts(parts, weightOperand), outputs, inputs, rows, splits);
            AddParts(parts, splits, dWeight, accumulate: true);
        }
        if (dBias.Length > 0)
            ColumnSums(dy, dBias, rows);
    }

    private void ColumnSums(Operand dy, ArrayView<float> dBias, int rows)
    {
        int columns = (int)dBias.Length, parts = (rows + RowsOfColumnSum - 1) / RowsOfColumnSum;
        var sums = device.Parts((long)parts * columns);
        int columnsOfGroup = device.GroupSize / ThreadsOfColumn;
        _columnSums.Launch(new Index2D((columns + columnsOfGroup - 1) / columnsOfGroup, parts), new(dy, sums, rows, columns));
        AddParts(sums, parts, dBias, accumulate: true);
    }

    private void AddParts(ArrayView<float> parts, int count, ArrayView<float> target, bool accumulate) =>
        _addParts.Launch(device.GroupsFor(target.Length), new(parts, count, target, accumulate ? 1 : 0));

    private static void ColumnSumsKernel(ColumnSumsArguments a)
    {
        var shared = SharedMemory.Allocate<float>(GpuDevice.LargestGroup);
        int columnsOfGroup = Group.DimX / ThreadsOfColumn, lane = Group.IdxX / columnsOfGroup;
        int column = (Grid.IdxX * columnsOfGroup) + (Group.IdxX % columnsOfGroup);
        int first = Grid.IdxY * RowsOfColumnSum, end = column < a.Columns ? IntrinsicMath.Min(a.Rows, first + RowsOfColumnSum) : 0;
        float sum = 0;
        for (int row = first + lane; row < end; row += ThreadsOfColumn)
            sum += a.Dy.Values[((long)row * a.Dy.Stride) + column];
        shared[Group.IdxX] = sum;
        Group.Barrier();
        if (lane != 0 || column >= a.Columns)
            return;
        for (int other = 1; other < ThreadsOfColumn; other++)
            sum += shared[(other * columnsOfGroup) + Group.IdxX];
        a.Sums[((long)Grid.IdxY * a.Columns) + column] = sum;
    }

    private static void AddPartsKernel(AddPartsArguments a)
    {
        for (long i = Grid.GlobalLinearIndex; i < a.Target.Length; i += (long)Grid.DimX * Group.DimX)
        {
            float sum = 0;
            int part = 0;
            // Four loads under way at a time.
            for (long at = i; part + 3 < a.Count; part += 4, at += 4 * a.Target.Length)
            {
                float first = a.Parts[at], second = a.Parts[at + a.Target.Length];
                float third = a.Parts[at + (2 * a.Target.Length)], fourth = a.Parts[at + (3 * a.Target.Length)];
                sum += first + second + (third + fourth);
            }
            for (; part < a.Count; part++)
                sum += a.Parts[(part * a.Target.Length) + i];
            a.Target[i] = a.Accumulate != 0 ? a.Target[i] + sum : sum;
        }
    }

    internal readonly record struct ColumnSumsArguments(Operand Dy, ArrayView<float> Sums, int Rows, int Columns);

    internal readonly record struct AddPartsArguments(ArrayView<float> Parts, int Count, ArrayView<float> Target, int Accumulate);
}

/// <summary>y = c + bias</summary>
internal readonly struct AddBias(ArrayView<float> bias, ArrayView<float> y, int stride) : IEpilogue
{
    private readonly ArrayView<float> _bias = bias;
    private readonly ArrayView<float> _y = y;
    private readonly int _stride = stride;

    public static int SharedFloats<TTile>()
        where TTile : struct, ITile => 0;

    public bool CanBeWide => GpuDevice.IsAligned(_y) && _stride % 4 == 0 && GpuDevice.IsAligned(_bias);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Store(in TilePlace place, int row, int column, in Float4 c)
    {
        int count = place.N - column;
        (c + Float4.Load(_bias, column, count, place.Wide)).Store(_y, ((long)row * _stride) + column, count, place.Wide);
    }

    public void Finish(in TilePlace place)
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

    public static int SharedFloats<TTile>()
        where TTile : struct, ITile => 0;

    public bool CanBeWide =>
        GpuDevice.IsAligned(_y) && _stride % 4 == 0 && GpuDevice.IsAligned(_bias) && GpuDevice.IsAligned(_slope);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Store(in TilePlace place, int row, int column, in Float4 c)
    {
        int count = place.N - column;
        long first = ((long)row * _stride) + column;
        var u = c + Float4.Load(_bias, column, count, place.Wide);
        var x = new Gelu.Value(u.X);
        var y = new Gelu.Value(u.Y);
        var z = new Gelu.Value(u.Z);
        var w = new Gelu.Value(u.W);
        new Float4(x.Y, y.Y, z.Y, w.Y).Store(_y, first, count, place.Wide);
        if (_slope.Length > 0)
            new Float4(x.Slope, y.Slope, z.Slope, w.Slope).Store(_slope, first, count, place.Wide);
    }

    public void Finish(in TilePlace place)
    {
    }
}

/// <summary>y = c, or c ∘ slope, or y += c; the parts of a split K dimension one after another.</summary>
internal readonly struct StoreProduct : IEpilogue
{
    private readonly Operand _y;
    private readonly ArrayView<float> _slope;
    private readonly int _accumulate;
    private readonly long _partLength;

    public StoreProduct(Operand y, ArrayView<float> slope, bool accumulate)
    {
        _y = y;
        _slope = slope;
        _accumulate = accumulate ? 1 : 0;
        _partLength = 0;
    }

    private StoreProduct(ArrayView<float> parts, Operand y)
    {
        _y = new(parts, y.Stride);
        _slope = default;
        _accumulate = 0;
        _partLength = y.Values.Length;
    }

    /// <summary>Parts that are shaped as y.</summary>
    public static StoreProduct Parts(ArrayView<float> parts, Operand y) => new(parts, y);

    public static int SharedFloats<TTile>()
        where TTile : struct, ITile => 0;

    public bool CanBeWide => _y.IsAligned && GpuDevice.IsAligned(_slope);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Store(in TilePlace place, int row, int column, in Float4 c)
    {
        int count = place.N - column;
        long first = (place.Split * _partLength) + ((long)row * _y.Stride) + column;
        var y = c;
        if (_accumulate != 0)
            y += Float4.Load(_y.Values, first, count, place.Wide);
        else if (_slope.Length > 0)
            y *= Float4.Load(_slope, first, count, place.Wide);
        y.Store(_y.Values, first, count, place.Wide);
    }

    public void Finish(in TilePlace place)
    {
    }
}
