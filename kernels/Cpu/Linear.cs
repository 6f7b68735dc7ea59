namespace Bert4Rec.Kernels.Cpu;

/// <summary>
/// The linear layer y = x weightᵀ + bias and its backward: three products. Gelu, or its slope on the way back, follows block by block while
/// the block's activations are in the first-level cache.
/// </summary>
internal static unsafe class Linear<V>
    where V : struct, IVector<V>
{
    /// <summary>Rows of a block whose activations stay in the first-level cache between product and gelu.</summary>
    private const int RowBlock = 48;

    /// <summary>Values of a block of x that stays in the first-level cache while all of dyᵀ passes over it.</summary>
    private const int InputBlock = 8192;

    /// <summary>y = x weightᵀ + bias, and gelu and its slope where asked.</summary>
    public static void Forward(Scratch scratch, float* x, float* weight, float* bias, float* y, float* slope, bool gelu, int rows, int n, int k)
    {
        int stride = Product<V>.RoundUp(n);
        var transposed = new Matrix(scratch.Request((long)k * stride), stride);
        Product<V>.Transpose(weight, k, n, k, transposed.Data, stride);
        if (!gelu)
        {
            Product<V>.MultiplyAdd(rows, n, k, new(x, k), transposed, new(bias, 0), new(y, n));
            return;
        }
        for (int row = 0; row < rows; row += RowBlock)
        {
            int block = Math.Min(RowBlock, rows - row);
            long at = (long)row * n;
            Product<V>.MultiplyAdd(block, n, k, new(x + ((long)row * k), k), transposed, new(bias, 0), new(y + at, n));
            Gelu<V>.Forward(y + at, slope == null ? null : slope + at, (long)block * n);
        }
    }

    /// <summary>dx = dy weight (∘ slope), or dx += dy weight.</summary>
    public static void BackwardInput(Scratch scratch, float* dy, float* weight, float* slope, float* dx, bool accumulate, int rows, int n, int k)
    {
        var zeros = new Matrix(Product<V>.Zeros(scratch, k), 0);
        for (int row = 0; row < rows; row += RowBlock)
        {
            int block = Math.Min(RowBlock, rows - row);
            var result = new Matrix(dx + ((long)row * k), k);
            Product<V>.MultiplyAdd(block, k, n, new(dy + ((long)row * n), n), new(weight, k), accumulate ? result : zeros, result);
            if (slope != null)
                Gelu<V>.Backward(result.Data, slope + ((long)row * k), (long)block * k);
        }
    }

    /// <summary>dWeight += dyᵀ x; dBias += column sums of dy.</summary>
    public static void BackwardWeight(float* dy, float* x, float* dWeight, float* dBias, int rows, int n, int k)
    {
        int blockRows = Math.Clamp(InputBlock / k, 32, 128);
        var sum = new Matrix(dWeight, k);
        for (int row = 0; row < rows; row += blockRows)
        {
            int block = Math.Min(blockRows, rows - row);
            var dyBlock = new Matrix(dy + ((long)row * n), n);
            Product<V>.MultiplyAdd(n, k, block, dyBlock.Transposed, new(x + ((long)row * k), k), sum, sum);
            AddColumnSums(dyBlock.Data, dBias, block, n);
        }
    }

    /// <summary>sums[j] += Σᵢ x[i, j]</summary>
    private static void AddColumnSums(float* x, float* sums, int rows, int columns)
    {
        for (int j = 0; j < columns; j += V.Width)
        {
            int lanes = columns - j;
            var sum = V.LoadFirst(sums + j, lanes);
            for (int i = 0; i < rows; i++)
                sum += V.LoadFirst(x + ((long)i * columns) + j, lanes);
            V.StoreFirst(sum, sums + j, lanes);
        }
    }
}
