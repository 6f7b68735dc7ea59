using Bert4Rec.Checking;
using Bert4Rec.Kernels.Reference;
using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Tests.Kernels;

/// <summary>
/// What the kernels' backward passes are held against: the derivations of Reference, against differences of its forward. The objective is
/// Σ result ∘ w with random w.
/// </summary>
public class ReferenceBackwardTests
{
    /// <summary>Differences of fourth order are off by some 10⁻¹⁰.</summary>
    private const double Tolerance = 1e-9;

    private readonly Random _random = new(3);

    public static TheoryData<string> Kernels => [.. GradientCheck.Breakable];

    /// <summary>Of every case of gradcheck that is small enough for differences; kernels without a backward have none.</summary>
    [Theory]
    [MemberData(nameof(Kernels))]
    public void A_derivation_is_the_derivative_of_its_formula(string kernel)
    {
        var sources = KernelCases.All(4, 256).Where(source => source.Kernel == kernel && !source.IsLarge).ToArray();
        Assert.NotEmpty(sources);
        foreach (var source in sources)
        {
            var check = source.Draw(_random);
            foreach (var (i, gradient) in check.Derivation(check.Operands, check.Weights).Take(check.Operands.Length).Index())
                Check(value => GradientCheck.Objective(check, i, value), check.Operands[i], gradient);
        }
    }

    [Fact]
    public void The_embedding_of_padding_has_no_gradient()
    {
        int[] tokens = [3, 1, 0, 1, 5, 1], positions = [0, 1, 0, 1, 2, 3];
        var (items, table, w) = (_random.Normal(7, 5), _random.Normal(4, 5), _random.Normal(6, 5));
        var (dItems, dPositions) = Embedding.Backward(w, tokens, positions, 7, 4);
        Assert.All(dItems.Row(0), value => Assert.Equal(0, value));
        Check(x => Embedding.Forward(tokens, positions, x, table).Dot(w), items, WithRow(dItems, 0, w.Row(2)));
        Check(x => Embedding.Forward(tokens, positions, items, x).Dot(w), table, dPositions);
    }

    /// <summary>In gradcheck it is too small to matter.</summary>
    [Fact]
    public void The_epsilon_of_a_layer_norm_has_its_part_in_the_gradient()
    {
        const double Epsilon = 0.3;
        var (x, w) = (_random.Normal(5, 8, 2, 3), _random.Normal(5, 8));
        var (gain, bias) = (_random.Normal(1, 8).Row(0), _random.Normal(1, 8).Row(0));
        var (_, mean, inverseDeviation) = LayerNorm.Forward(x, gain, bias, Epsilon);
        Check(
            value => LayerNorm.Forward(value, gain, bias, Epsilon).Y.Dot(w), x,
            LayerNorm.Backward(w, x, gain, mean, inverseDeviation).Dx);
    }

    private static void Check(Func<Matrix<double>, double> f, Matrix<double> x, Matrix<double> gradient)
    {
        double error = (gradient - GradientCheck.Differences(f, x)).Norm();
        Assert.True(error <= Tolerance * gradient.Norm(), $"error {error:g3} of {gradient.Norm():g3}");
    }

    private static Matrix<double> WithRow(Matrix<double> matrix, int row, Vector<double> values)
    {
        var result = matrix.Clone();
        result.SetRow(row, values);
        return result;
    }
}
