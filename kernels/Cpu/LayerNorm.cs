using System.Runtime.CompilerServices;

namespace Bert4Rec.Kernels.Cpu;

/// <summary>
/// Dropout, residual and layer norm in one pass over memory, and the backward in another. A row of hidden size is a few vectors that stay
/// in the first-level cache from loop to loop; the forward takes <see cref="RowBlock"/> rows at a time.
/// </summary>
/// <remarks>The two halves of the forward are methods that are not inlined: together they have more values than registers.</remarks>
internal static unsafe class LayerNorm<V>
    where V : struct, IVector<V>
{
    /// <summary>
    /// Rows that are taken together: first all their residuals, then all their norms. Within a row each addition waits for the one before;
    /// the next row's need not, so the processor has both under way.
    /// </summary>
    private const int RowBlock = 8;

    public static void Forward(
        Scratch scratch, Tensor x, Tensor residual, in DropoutMask dropout, WeightAndBias norm, float epsilon, Tensor y, Tensor statistics)
    {
        if (x.Columns % V.Width == 0)
            Forward<AllLanes<V>>(scratch, x, residual, dropout, norm, epsilon, y, statistics);
        else
            Forward<FirstLanes<V>>(scratch, x, residual, dropout, norm, epsilon, y, statistics);
    }

    private static void Forward<L>(
        Scratch scratch, Tensor x, Tensor residual, in DropoutMask dropout, WeightAndBias norm, float epsilon, Tensor y, Tensor statistics)
        where L : ILanes<V>
    {
        int h = x.Columns;
        Matrix sums = new(x), residuals = new(residual), outputs = new(y);
        float* gain = norm.Weight.Pointer(), bias = norm.Bias.Pointer(), statistic = statistics.Pointer();
        float* mask = scratch.Request(Dropout<V>.MaskLength(h));
        for (int first = 0; first < x.Rows; first += RowBlock)
        {
            int end = Math.Min(first + RowBlock, x.Rows);
            for (int t = first; t < end && !residual.IsNone; t++)
                AddResidual<L>(sums.Row(t), residuals.Row(t), dropout, (uint)t, mask, h);
            for (int t = first; t < end; t++)
                Normalise<L>(sums.Row(t), gain, bias, epsilon, outputs.Row(t), statistic + (2 * t), h);
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
        if (x.Columns % V.Width == 0)
            Backward<AllLanes<V>>(scratch, dy, x, weight, statistics, dropout, dSum, dInput, gradient);
        else
            Backward<FirstLanes<V>>(scratch, dy, x, weight, statistics, dropout, dSum, dInput, gradient);
    }

    private static void Backward<L>(
        Scratch scratch,
        Tensor dy,
        Tensor x,
        Tensor weight,
        Tensor statistics,
        in DropoutMask dropout,
        Tensor dSum,
        Tensor dInput,
        WeightAndBias gradient)
        where L : ILanes<V>
    {
        int h = x.Columns;
        Matrix dys = new(dy), sums = new(x), dSums = new(dSum), dInputs = new(dInput);
        float* gain = weight.Pointer(), statistic = statistics.Pointer();
        float* dGain = gradient.Weight.Pointer(), dBias = gradient.Bias.Pointer();
        float* mask = scratch.Request(Dropout<V>.MaskLength(h));
        for (int t = 0; t < x.Rows; t++)
        {
            float* dyRow = dys.Row(t), sum = sums.Row(t);
            float mean = statistic[2 * t];
            V inverse = statistic[(2 * t) + 1];

            V sumG = 0, sumGx = 0;
            for (int j = 0; j < h; j += V.Width)
            {
                int lanes = h - j;
                var dyj = L.Load(dyRow + j, lanes);
                var normalised = Centred<L>(sum, mean, j, h) * inverse;
                var g = dyj * V.Load(gain + j);
                sumG += g;
                sumGx = V.MultiplyAdd(g, normalised, sumGx);
                L.Store(V.MultiplyAdd(dyj, normalised, V.Load(dGain + j)), dGain + j, lanes);
                L.Store(dyj + V.Load(dBias + j), dBias + j, lanes);
            }
            V meanG = V.Sum(sumG) / h, meanGx = V.Sum(sumGx) / h;

            if (!dInput.IsNone && !dropout.IsNone)
                Dropout<V>.DrawRow(dropout, (uint)t, mask, h);
            for (int j = 0; j < h; j += V.Width)
            {
                int lanes = h - j;
                var normalised = Centred<L>(sum, mean, j, h) * inverse;
                var g = L.Load(dyRow + j, lanes) * V.Load(gain + j);
                var ds = (g - meanG - normalised * meanGx) * inverse;
                L.Store(ds, dSums.Row(t) + j, lanes);
                if (!dInput.IsNone)
                    L.Store(dropout.IsNone ? ds : ds * V.Load(mask + j), dInputs.Row(t) + j, lanes);
            }
        }
    }

    /// <summary>
    /// One row: y = gain ∘ (x − mean) / √(variance + ε) + bias; the statistics are the mean and 1 / √(variance + ε).
    /// </summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Normalise<L>(float* x, float* gain, float* bias, float epsilon, float* y, float* statistics, int h)
        where L : ILanes<V>
    {
        V total = 0;
        for (int j = 0; j < h; j += V.Width)
            total += L.Load(x + j, h - j);
        float mean = V.Sum(total) / h;

        V squares = 0;
        for (int j = 0; j < h; j += V.Width)
        {
            var centred = Centred<L>(x, mean, j, h);
            squares = V.MultiplyAdd(centred, centred, squares);
        }
        float inverse = 1f / MathF.Sqrt((V.Sum(squares) / h) + epsilon);

        for (int j = 0; j < h; j += V.Width)
        {
            var normalised = (V.Load(x + j) - mean) * inverse;
            L.Store(V.MultiplyAdd(normalised, V.Load(gain + j), V.Load(bias + j)), y + j, h - j);
        }
        statistics[0] = mean;
        statistics[1] = inverse;
    }

    /// <summary>x = residual + dropout(x)</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void AddResidual<L>(float* x, float* residual, in DropoutMask dropout, uint row, float* mask, int h)
        where L : ILanes<V>
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
            L.Store(V.MultiplyAdd(L.Load(x + j, lanes), V.Load(mask + j), L.Load(residual + j, lanes)), x + j, lanes);
        }
    }

    /// <summary>x − mean, zero in lanes past the row.</summary>
    private static V Centred<L>(float* row, float mean, int j, int h)
        where L : ILanes<V>
    {
        var centred = L.Load(row + j, h - j) - mean;
        return typeof(L) == typeof(AllLanes<V>) ? centred : V.SelectFirst(h - j, centred, 0);
    }
}
