using System.Runtime.CompilerServices;

namespace Bert4Rec.Kernels.Cpu;

/// <summary>
/// Dropout, residual and layer norm in one pass over each row, and the way back in another. A row of hidden size is a few vectors that stay
/// in the first-level cache between the passes over it, so memory is touched once.
/// </summary>
/// <remarks>The two halves of the forward are methods that are not inlined: together they have more values than registers.</remarks>
internal static unsafe class LayerNorm<V>
    where V : struct, IVector<V>
{
    public static void Forward(
        Scratch scratch, Tensor x, Tensor residual, in DropoutMask dropout, WeightAndBias norm, float epsilon, Tensor y, Tensor statistics)
    {
        int h = x.Columns;
        Matrix sums = new(x), residuals = new(residual), outputs = new(y);
        float* gain = norm.Weight.Pointer(), bias = norm.Bias.Pointer(), statistic = statistics.Pointer();
        float* mask = scratch.Request(Dropout<V>.MaskLength(h));
        for (int t = 0; t < x.Rows; t++)
        {
            if (!residual.IsNone)
                AddResidual(sums.Row(t), residuals.Row(t), dropout, (uint)t, mask, h);
            Normalise(sums.Row(t), gain, bias, epsilon, outputs.Row(t), statistic + (2 * t), h);
        }
    }

    public static void Backward(
        Scratch scratch,
        Tensor dy,
        Tensor x,
        Tensor weight,
        Tensor statistics,
        in DropoutMask dropout,
        Tensor dSum,
        Tensor dInput,
        WeightAndBias gradient)
    {
        int h = x.Columns;
        Matrix dys = new(dy), sums = new(x), dSums = new(dSum), dInputs = new(dInput);
        float* gain = weight.Pointer(), statistic = statistics.Pointer();
        float* dGain = gradient.Weight.Pointer(), dBias = gradient.Bias.Pointer();
        float* mask = scratch.Request(Dropout<V>.MaskLength(h));
        for (int t = 0; t < x.Rows; t++)
        {
            float* row = dys.Row(t), sum = sums.Row(t);
            float mean = statistic[2 * t];
            V inverse = statistic[(2 * t) + 1];

            V sumG = 0, sumGx = 0;
            for (int j = 0; j < h; j += V.Width)
            {
                int lanes = h - j;
                var d = V.LoadFirst(row + j, lanes);
                var normalised = Centred(sum, mean, j, h) * inverse;
                var g = d * V.Load(gain + j);
                sumG += g;
                sumGx = V.MultiplyAdd(g, normalised, sumGx);
                V.StoreFirst(V.MultiplyAdd(d, normalised, V.Load(dGain + j)), dGain + j, lanes);
                V.StoreFirst(d + V.Load(dBias + j), dBias + j, lanes);
            }
            V meanG = V.Sum(sumG) / h, meanGx = V.Sum(sumGx) / h;

            if (!dInput.IsNone && !dropout.IsNone)
                Dropout<V>.DrawRow(dropout, (uint)t, mask, h);
            for (int j = 0; j < h; j += V.Width)
            {
                int lanes = h - j;
                var normalised = Centred(sum, mean, j, h) * inverse;
                var g = V.LoadFirst(row + j, lanes) * V.Load(gain + j);
                var d = (g - meanG - normalised * meanGx) * inverse;
                V.StoreFirst(d, dSums.Row(t) + j, lanes);
                if (!dInput.IsNone)
                    V.StoreFirst(dropout.IsNone ? d : d * V.Load(mask + j), dInputs.Row(t) + j, lanes);
            }
        }
    }

    /// <summary>One row: y = gain ∘ (x − mean) / √(variance + ε) + bias; the statistics are the mean and 1 / √(variance + ε).</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Normalise(float* x, float* gain, float* bias, float epsilon, float* y, float* statistics, int h)
    {
        V total = 0;
        for (int j = 0; j < h; j += V.Width)
            total += V.LoadFirst(x + j, h - j);
        float mean = V.Sum(total) / h;

        V squares = 0;
        for (int j = 0; j < h; j += V.Width)
        {
            var centred = Centred(x, mean, j, h);
            squares = V.MultiplyAdd(centred, centred, squares);
        }
        float inverse = 1f / MathF.Sqrt((V.Sum(squares) / h) + epsilon);

        for (int j = 0; j < h; j += V.Width)
        {
            var normalised = (V.Load(x + j) - mean) * inverse;
            V.StoreFirst(V.MultiplyAdd(normalised, V.Load(gain + j), V.Load(bias + j)), y + j, h - j);
        }
        statistics[0] = mean;
        statistics[1] = inverse;
    }

    /// <summary>x = residual + dropout(x)</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void AddResidual(float* x, float* residual, in DropoutMask dropout, uint row, float* mask, int h)
    {
        if (dropout.IsNone)
        {
            Elementwise<V>.Add(x, residual, h);
            return;
        }
        Dropout<V>.DrawRow(dropout, row, mask, h);
        for (int j = 0; j < h; j += V.Width)
        {
            int lanes = h - j;
            V.StoreFirst(V.MultiplyAdd(V.LoadFirst(x + j, lanes), V.Load(mask + j), V.LoadFirst(residual + j, lanes)), x + j, lanes);
        }
    }

    /// <summary>x − mean, zero in lanes past the row.</summary>
    private static V Centred(float* row, float mean, int j, int h)
    {
        var centred = V.LoadFirst(row + j, h - j) - mean;
        return h - j >= V.Width ? centred : V.SelectFirst(h - j, centred, 0);
    }
}
