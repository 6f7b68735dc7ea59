namespace Bert4Rec.Kernels.Cpu;

/// <summary>
/// Dropout, residual and layer norm in one pass over each row, and the way back in another. A row of hidden size is a few vectors that stay
/// in the first-level cache between the passes over it, so memory is touched once.
/// </summary>
internal static unsafe class LayerNorm<V>
    where V : struct, IVector<V>
{
    public static void Forward(
        Scratch scratch, float* x, float* residual, in Dropout dropout, float* gain, float* bias, float epsilon, float* y, float* statistics, int rows, int h)
    {
        float* mask = scratch.Request(DropoutLayer<V>.MaskLength(h));
        for (int t = 0; t < rows; t++)
        {
            long at = (long)t * h;
            float* sum = x + at;
            if (residual != null)
                AddResidual(sum, residual + at, dropout, (uint)t, mask, h);

            V total = 0;
            for (int j = 0; j < h; j += V.Width)
                total += V.LoadFirst(sum + j, h - j);
            float mean = V.Sum(total) / h;

            V squares = 0;
            for (int j = 0; j < h; j += V.Width)
            {
                var centred = Centred(sum, mean, j, h);
                squares = V.MultiplyAdd(centred, centred, squares);
            }
            float inverse = 1f / MathF.Sqrt((V.Sum(squares) / h) + epsilon);

            for (int j = 0; j < h; j += V.Width)
            {
                var normalised = (V.Load(sum + j) - mean) * inverse;
                V.StoreFirst(V.MultiplyAdd(normalised, V.Load(gain + j), V.Load(bias + j)), y + at + j, h - j);
            }
            statistics[2 * t] = mean;
            statistics[(2 * t) + 1] = inverse;
        }
    }

    public static void Backward(
        Scratch scratch, float* dy, float* x, float* gain, float* statistics, in Dropout dropout, float* dSum, float* dInput, float* dGain, float* dBias, int rows, int h)
    {
        float* mask = scratch.Request(DropoutLayer<V>.MaskLength(h));
        for (int t = 0; t < rows; t++)
        {
            long at = (long)t * h;
            float mean = statistics[2 * t];
            V inverse = statistics[(2 * t) + 1];

            V sumG = 0, sumGx = 0;
            for (int j = 0; j < h; j += V.Width)
            {
                int lanes = h - j;
                var d = V.LoadFirst(dy + at + j, lanes);
                var normalised = Centred(x + at, mean, j, h) * inverse;
                var g = d * V.Load(gain + j);
                sumG += g;
                sumGx = V.MultiplyAdd(g, normalised, sumGx);
                V.StoreFirst(V.MultiplyAdd(d, normalised, V.Load(dGain + j)), dGain + j, lanes);
                V.StoreFirst(d + V.Load(dBias + j), dBias + j, lanes);
            }
            V meanG = V.Sum(sumG) / h, meanGx = V.Sum(sumGx) / h;

            if (dInput != null && !dropout.IsNone)
                DropoutLayer<V>.DrawRow(dropout, (uint)t, mask, h);
            for (int j = 0; j < h; j += V.Width)
            {
                int lanes = h - j;
                var normalised = Centred(x + at, mean, j, h) * inverse;
                var g = V.LoadFirst(dy + at + j, lanes) * V.Load(gain + j);
                var d = (g - meanG - normalised * meanGx) * inverse;
                V.StoreFirst(d, dSum + at + j, lanes);
                if (dInput != null)
                    V.StoreFirst(dropout.IsNone ? d : d * V.Load(mask + j), dInput + at + j, lanes);
            }
        }
    }

    private static void AddResidual(float* x, float* residual, in Dropout dropout, uint row, float* mask, int h)
    {
        if (dropout.IsNone)
        {
            Embedding<V>.AddRows(x, residual, x, h);
            return;
        }
        DropoutLayer<V>.DrawRow(dropout, row, mask, h);
        for (int j = 0; j < h; j += V.Width)
        {
            int lanes = h - j;
            var sum = V.MultiplyAdd(V.LoadFirst(x + j, lanes), V.Load(mask + j), V.LoadFirst(residual + j, lanes));
            V.StoreFirst(sum, x + j, lanes);
        }
    }

    /// <summary>x − mean, zero in lanes past the row.</summary>
    private static V Centred(float* row, float mean, int j, int h)
    {
        var centred = V.LoadFirst(row + j, h - j) - mean;
        return h - j >= V.Width ? centred : V.SelectFirst(h - j, centred, 0);
    }
}
