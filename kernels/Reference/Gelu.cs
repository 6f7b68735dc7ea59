using MathNet.Numerics;
using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Kernels.Reference;

// The Gaussian error linear unit (Hendrycks & Gimpel, 2016) in its exact form, by erf: u is kept in proportion to how many normal numbers
// lie below it.
//
//     y = u Φ(u)
//
// with  Φ(u) = (1 + erf(u / √2)) / 2  the distribution function of the normal distribution, and  φ(u) = exp(−u² / 2) / √(2π)  its
// density. Φ' = φ, so the slope is
//
//     gelu'(u) = Φ(u) + u φ(u)
//
// and it is all that the backward needs of u:  du = dy ∘ gelu'(u).  The forward keeps the slope and not u: it has Φ at hand, and the
// backward computes neither erf nor exp.

/// <summary>gelu(u) = u Φ(u), with Φ the distribution function of the normal distribution.</summary>
public static class Gelu
{
    /// <param name="u">Of any shape.</param>
    /// <returns>Y and Slope, of u's shape.</returns>
    public static (Matrix<double> Y, Matrix<double> Slope) Forward(Matrix<double> u) => (u.Map(Value), u.Map(Slope));

    /// <summary>du = dy ∘ slope.</summary>
    public static Matrix<double> Backward(Matrix<double> dy, Matrix<double> slope) => dy.PointwiseMultiply(slope);

    /// <summary>u Φ(u).</summary>
    public static double Value(double u) => u * Distribution(u);

    /// <summary>gelu'(u) = Φ(u) + u φ(u), φ the density of the normal distribution.</summary>
    public static double Slope(double u) => Distribution(u) + (u * Density(u));

    private static double Distribution(double u) => (1 + SpecialFunctions.Erf(u / Math.Sqrt(2))) / 2;

    private static double Density(double u) => Math.Exp(-u * u / 2) / Math.Sqrt(2 * Math.PI);
}
