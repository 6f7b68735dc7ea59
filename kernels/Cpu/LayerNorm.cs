namespace Bert4Rec.Kernels.Cpu;

/// <summary>
/// Dropout, residual and layer norm in one pass over each row, and the way back in another. A row of hidden size is a few vectors that stay
/// in the first-level cache between the passes over it, so memory is touched once.
/// </summary>
internal static unsafe class LayerNorm<S, V>
    where S : struct, ISimd<V>
    where V : struct
{
    public static void Forward(
        Scratch scratch, float* x, float* residual, in DropoutMask dropout, float* gain, float* bias, float epsilon, float* y, float* statistics, int rows, int h)
    {
        float* mask = scratch.Request(DropoutLayer<S, V>.MaskLength(h));
        for (int t = 0; t < rows; t++)
        {
            long at = (long)t * h;
            float* sum = x + at;
            if (residual != null)
                AddResidual(sum, residual + at, dropout, (uint)t, mask, h);

            var total = S.Broadcast(0);
            for (int j = 0; j < h; j += S.Width)
                total = S.Add(total, Simd<S, V>.LoadFirst(sum + j, h - j));
            float mean = S.Sum(total) / h;

            var squares = S.Broadcast(0);
            for (int j = 0; j < h; j += S.Width)
            {
                var centred = Centred(sum, mean, j, h);
                squares = S.MultiplyAdd(centred, centred, squares);
            }
            float inverse = 1f / MathF.Sqrt((S.Sum(squares) / h) + epsilon);

            for (int j = 0; j < h; j += S.Width)
            {
                var normalised = S.Multiply(S.Subtract(S.Load(sum + j), S.Broadcast(mean)), S.Broadcast(inverse));
                Simd<S, V>.StoreFirst(S.MultiplyAdd(normalised, S.Load(gain + j), S.Load(bias + j)), y + at + j, h - j);
            }
            statistics[2 * t] = mean;
            statistics[(2 * t) + 1] = inverse;
        }
    }

    public static void Backward(
        Scratch scratch, float* dy, float* x, float* gain, float* statistics, in DropoutMask dropout, float* dSum, float* dInput, float* dGain, float* dBias, int rows, int h)
    {
        float* mask = scratch.Request(DropoutLayer<S, V>.MaskLength(h));
        for (int t = 0; t < rows; t++)
        {
            long at = (long)t * h;
            float mean = statistics[2 * t];
            var inverse = S.Broadcast(statistics[(2 * t) + 1]);

            var sumG = S.Broadcast(0);
            var sumGx = S.Broadcast(0);
            for (int j = 0; j < h; j += S.Width)
            {
                int lanes = h - j;
                var d = Simd<S, V>.LoadFirst(dy + at + j, lanes);
                var normalised = S.Multiply(Centred(x + at, mean, j, h), inverse);
                var g = S.Multiply(d, S.Load(gain + j));
                sumG = S.Add(sumG, g);
                sumGx = S.MultiplyAdd(g, normalised, sumGx);
                Simd<S, V>.StoreFirst(S.MultiplyAdd(d, normalised, S.Load(dGain + j)), dGain + j, lanes);
                Simd<S, V>.StoreFirst(S.Add(d, S.Load(dBias + j)), dBias + j, lanes);
            }
            var meanG = S.Broadcast(S.Sum(sumG) / h);
            var meanGx = S.Broadcast(S.Sum(sumGx) / h);

            if (dInput != null && !dropout.IsNone)
                Simd<S, V>.DropoutRow(dropout, dropout.Key.FirstRow + (uint)t, mask, h);
            for (int j = 0; j < h; j += S.Width)
            {
                int lanes = h - j;
                var normalised = S.Multiply(Centred(x + at, mean, j, h), inverse);
                var g = S.Multiply(Simd<S, V>.LoadFirst(dy + at + j, lanes), S.Load(gain + j));
                var d = S.Multiply(S.Subtract(S.Subtract(g, meanG), S.Multiply(normalised, meanGx)), inverse);
                Simd<S, V>.StoreFirst(d, dSum + at + j, lanes);
                if (dInput != null)
                    Simd<S, V>.StoreFirst(dropout.IsNone ? d : S.Multiply(d, S.Load(mask + j)), dInput + at + j, lanes);
            }
        }
    }

    private static void AddResidual(float* x, float* residual, in DropoutMask dropout, uint row, float* mask, int h)
    {
        if (dropout.IsNone)
        {
            Embedding<S, V>.AddRows(x, residual, x, h);
            return;
        }
        Simd<S, V>.DropoutRow(dropout, dropout.Key.FirstRow + row, mask, h);
        for (int j = 0; j < h; j += S.Width)
        {
            int lanes = h - j;
            var sum = S.MultiplyAdd(Simd<S, V>.LoadFirst(x + j, lanes), S.Load(mask + j), Simd<S, V>.LoadFirst(residual + j, lanes));
            Simd<S, V>.StoreFirst(sum, x + j, lanes);
        }
    }

    /// <summary>x − mean, zero in lanes past the row.</summary>
    private static V Centred(float* row, float mean, int j, int h)
    {
        var centred = S.Subtract(Simd<S, V>.LoadFirst(row + j, h - j), S.Broadcast(mean));
        return h - j >= S.Width ? centred : S.Select(Simd<S, V>.FirstLanes(h - j), centred, S.Broadcast(0));
    }
}
