using MathNet.Numerics;
using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Kernels.Reference;

// The Gaussian error linear unit (Hendrycks & Gimpel, 2016) in its exact form, by erf: u is kept in proportion to how many normal numbers
// lie below it.

/// <summary>gelu(u) = u Φ(u), with Φ the distribution function and φ the density of the normal distribution.</summary>
public static class Gelu
{
    public static Matrix<double> Forward(Matrix<double> u) => u.Map(Value);

    public static double Value(double u) => u * Distribution(u);

    /// <summary>gelu'(u) = Φ(u) + u φ(u).</summary>
    public static double Slope(double u) => Distribution(u) + (u * Density(u));

    private static double Distribution(double u) => (1 + SpecialFunctions.Erf(u / Math.Sqrt(2))) / 2;

    private static double Density(double u) => Math.Exp(-u * u / 2) / Math.Sqrt(2 * Math.PI);
}
