namespace Bert4Rec.Kernels.Cpu;

/// <summary>
/// The linear layer y = x weightᵀ + bias and its backward: three products. Gelu, or its slope on the way back, follows block by block
/// while the block's activations are in the first-level cache.
/// </summary>
internal static unsafe class Linear<V>
    where V : struct, IVector<V>
{
    /// <summary>Rows of a block whose activations stay in the first-level cache between product and gelu.</summary>
    private const int RowBlock = 48;

    /// <summary>Values of a block of x that stays in the first-level cache while all of dyᵀ passes over it.</summary>
    private const int InputBlock = 8192;

    public static void Forward(Scratch scratch, Tensor x, WeightAndBias layer, Tensor y)
    {
        var transposed = Transposed(scratch, layer.Weight);
        Product<V>.MultiplyAdd(x.Rows, y.Columns, x.Columns, new(x), transposed, new(layer.Bias.Pointer(), 0), new(y));
    }

    public static void GeluForward(Scratch scratch, Tensor x, WeightAndBias layer, Tensor y, Tensor slope)
    {
        var transposed = Transposed(scratch, layer.Weight);
        Matrix inputs = new(x), bias = new(layer.Bias.Pointer(), 0), outputs = new(y), slopes = new(slope);
        for (int row = 0; row < x.Rows; row += RowBlock)
        {
            int block = Math.Min(RowBlock, x.Rows - row);
            var u = outputs.FromRow(row);
            Product<V>.MultiplyAdd(block, y.Columns, x.Columns, inputs.FromRow(row), transposed, bias, u);
            Gelu<V>.Forward(u.Data, slope.IsNone ? null : slopes.Row(row), (long)block * y.Columns);
        }
    }

    public static void BackwardInput(Scratch scratch, Tensor dy, Tensor weight, Tensor slope, Tensor dx, bool accumulate)
    {
        Matrix d = new(dy), weights = new(weight), results = new(dx), slopes = new(slope), zeros = Product<V>.Zeros(scratch, dx.Columns);
        for (int row = 0; row < dy.Rows; row += RowBlock)
        {
            int block = Math.Min(RowBlock, dy.Rows - row);
            var result = results.FromRow(row);
            Product<V>.MultiplyAdd(block, dx.Columns, dy.Columns, d.FromRow(row), weights, accumulate ? result : zeros, result);
            if (!slope.IsNone)
                Elementwise<V>.Multiply(result.Data, slopes.Row(row), (long)block * dx.Columns);
        }
    }

    public static void BackwardWeight(Tensor dy, Tensor x, WeightAndBias gradient)
    {
        int blockRows = Math.Clamp(InputBlock / x.Columns, 32, 128);
        Matrix dys = new(dy), inputs = new(x), dWeight = new(gradient.Weight);
        float* dBias = gradient.Bias.Pointer();
        for (int row = 0; row < dy.Rows; row += blockRows)
        {
            int block = Math.Min(blockRows, dy.Rows - row);
            var d = dys.FromRow(row);
            Product<V>.MultiplyAdd(dy.Columns, x.Columns, block, d.Transposed, inputs.FromRow(row), dWeight, dWeight);
            AddColumnSums(d, block, dy.Columns, dBias);
        }
    }

    /// <summary>weightᵀ, whose rows are as long as whole vectors.</summary>
    private static Matrix Transposed(Scratch scratch, Tensor weight)
    {
        int stride = Product<V>.RoundUp(weight.Rows);
        var transposed = new Matrix(scratch.Request((long)weight.Columns * stride), stride);
        Product<V>.Transpose(new(weight), weight.Rows, weight.Columns, transposed);
        return transposed;
    }

    /// <summary>sums[j] += Σᵢ x[i, j], four vectors of columns at once: each would wait for its last addition.</summary>
    private static void AddColumnSums(Matrix x, int rows, int columns, float* sums)
    {
        int j = 0;
        for (; j + (4 * V.Width) <= columns; j += 4 * V.Width)
        {
            float* s = sums + j;
            V sum0 = V.Load(s), sum1 = V.Load(s + V.Width), sum2 = V.Load(s + (2 * V.Width)), sum3 = V.Load(s + (3 * V.Width));
            for (int i = 0; i < rows; i++)
            {
                float* row = x.Row(i) + j;
                sum0 += V.Load(row);
                sum1 += V.Load(row + V.Width);
                sum2 += V.Load(row + (2 * V.Width));
                sum3 += V.Load(row + (3 * V.Width));
            }
            sum0.Store(s);
            sum1.Store(s + V.Width);
            sum2.Store(s + (2 * V.Width));
            sum3.Store(s + (3 * V.Width));
        }
        for (; j < columns; j += V.Width)
        {
            int lanes = columns - j;
            var sum = V.LoadFirst(sums + j, lanes);
            for (int i = 0; i < rows; i++)
                sum += V.LoadFirst(x.Row(i) + j, lanes);
            V.StoreFirst(sum, sums + j, lanes);
        }
    }
}
