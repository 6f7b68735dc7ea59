using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Kernels.Reference;

// Layer normalisation (Ba, Kiros & Hinton, 2016): every row x is brought to mean 0 and variance 1, then scaled and shifted by learnt
// amounts.
//
//     μ = mean(x),  r = 1 / √(mean((x − μ)²) + ε),  x̂ = (x − μ) r,  y = gain ∘ x̂ + bias
//
// The forward keeps x, and of each row μ and r: x̂ follows from them.
//
// Gain and bias serve all rows, so their gradients are sums over rows:  dgain = Σ dy ∘ x̂,  dbias = Σ dy.
// The gradient that arrives at x̂ is  g = gain ∘ dy.  An element xⱼ reaches x̂ in three ways:
//
//     by itself       r gⱼ
//     by the mean     ∂μ/∂xⱼ = 1/H, and every x̂ᵢ falls by r with it:  − r mean(g)
//     by r            ∂r/∂xⱼ = − r² x̂ⱼ / H, and every x̂ᵢ = (xᵢ − μ) r changes with it:  − r x̂ⱼ mean(g ∘ x̂)
//
// (That μ stands in the variance too changes nothing: Σ (xᵢ − μ) = 0.)
// Together:  dx = r (g − mean(g) − x̂ ∘ mean(g ∘ x̂)).

/// <summary>y = gain ∘ (x − mean) / √(variance + ε) + bias, row by row.</summary>
public static class LayerNorm
{
    /// <param name="x">[T, H]</param>
    /// <param name="gain">[H]</param>
    /// <param name="bias">[H]</param>
    /// <param name="epsilon">ε, which keeps a row of equal numbers from dividing by 0.</param>
    /// <returns>Y [T, H]; Mean and InverseDeviation [T], the μ and r of each row.</returns>
    public static (Matrix<double> Y, Vector<double> Mean, Vector<double> InverseDeviation) Forward(
        Matrix<double> x, Vector<double> gain, Vector<double> bias, double epsilon)
    {
        var mean = RowMeans(x);
        var centred = x.MapIndexed((t, _, value) => value - mean[t]);
        var variance = RowMeans(centred.PointwiseMultiply(centred));
        var inverseDeviation = (variance + epsilon).PointwisePower(-0.5);
        var normalised = Normalised(x, mean, inverseDeviation);
        return (normalised.MapIndexed((_, column, value) => (gain[column] * value) + bias[column]), mean, inverseDeviation);
    }

    /// <param name="dy">[T, H]</param>
    /// <param name="x">[T, H], as in the forward, like those below.</param>
    /// <param name="gain">[H]</param>
    /// <param name="mean">[T]</param>
    /// <param name="inverseDeviation">[T]</param>
    /// <returns>Dx [T, H], DGain [H] and DBias [H].</returns>
    public static (Matrix<double> Dx, Vector<double> DGain, Vector<double> DBias) Backward(
        Matrix<double> dy, Matrix<double> x, Vector<double> gain, Vector<double> mean, Vector<double> inverseDeviation)
    {
        var normalised = Normalised(x, mean, inverseDeviation);
        var g = dy.MapIndexed((_, column, value) => gain[column] * value);
        var meanG = RowMeans(g);
        var meanGx = RowMeans(g.PointwiseMultiply(normalised));
        var dx = g.MapIndexed((t, column, value) =>
            (value - meanG[t] - (normalised[t, column] * meanGx[t])) * inverseDeviation[t]);
        return (dx, dy.PointwiseMultiply(normalised).ColumnSums(), dy.ColumnSums());
    }

    /// <summary>x̂ [T, H].</summary>
    private static Matrix<double> Normalised(Matrix<double> x, Vector<double> mean, Vector<double> inverseDeviation) =>
        x.MapIndexed((t, _, value) => (value - mean[t]) * inverseDeviation[t]);

    private static Vector<double> RowMeans(Matrix<double> x) => x.RowSums() / x.ColumnCount;
}
