using Bert4Rec.Checking;
using Bert4Rec.Kernels;
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

    [Fact]
    public void Embedding_adds_up_the_rows_of_each_token_but_padding()
    {
        int[] tokens = [3, 1, 0, 1, 5, 1], positions = [0, 1, 0, 1, 2, 3];
        var (items, table, w) = (_random.Normal(7, 5), _random.Normal(4, 5), _random.Normal(6, 5));
        var (dItems, dPositions) = Embedding.Backward(w, tokens, positions, 7, 4);
        Assert.All(dItems.Row(0), value => Assert.Equal(0, value));
        Check(x => Embedding.Forward(tokens, positions, x, table).Dot(w), items, WithRow(dItems, 0, w.Row(2)));
        Check(x => Embedding.Forward(tokens, positions, items, x).Dot(w), table, dPositions);
    }

    [Fact]
    public void Gathered_rows()
    {
        int[] rows = [2, 0, 5];
        var (x, w) = (_random.Normal(6, 4), _random.Normal(3, 4));
        Check(value => Embedding.GatherRowsForward(value, rows).Dot(w), x, Embedding.GatherRowsBackward(w, rows, 6));
    }

    [Fact]
    public void Linear_layer()
    {
        var (x, weight, bias, w) = (_random.Normal(5, 7), _random.Normal(3, 7), _random.Normal(1, 3), _random.Normal(5, 3));
        var (dx, dWeight, dBias) = Linear.Backward(w, x, weight);
        Check(value => Linear.Forward(value, weight, bias.Row(0)).Dot(w), x, dx);
        Check(value => Linear.Forward(x, value, bias.Row(0)).Dot(w), weight, dWeight);
        Check(value => Linear.Forward(x, weight, value.Row(0)).Dot(w), bias, dBias.ToRowMatrix());
    }

    [Fact]
    public void Gelu_slope()
    {
        var (u, w) = (_random.Normal(5, 9, 2), _random.Normal(5, 9));
        Check(value => Gelu.Forward(value).Y.Dot(w), u, Gelu.Backward(w, Gelu.Forward(u).Slope));
    }

    [Fact]
    public void Dropout_mask()
    {
        var mask = new DropoutMask(0.4f, new RandomKey(3, 2, 1, 77));
        var (x, w) = (_random.Normal(6, 9), _random.Normal(6, 9));
        Check(value => Dropout.Forward(value, mask).Dot(w), x, Dropout.Backward(w, mask));
    }

    [Theory]
    [InlineData(1e-12)]
    [InlineData(0.3)]
    public void Layer_norm(double epsilon)
    {
        var (x, gain, bias, w) = (_random.Normal(5, 8, 2, 3), _random.Normal(1, 8), _random.Normal(1, 8), _random.Normal(5, 8));
        Matrix<double> Y(Matrix<double> a, Matrix<double> b, Matrix<double> c) => LayerNorm.Forward(a, b.Row(0), c.Row(0), epsilon).Y;
        var (_, mean, inverseDeviation) = LayerNorm.Forward(x, gain.Row(0), bias.Row(0), epsilon);
        var (dx, dGain, dBias) = LayerNorm.Backward(w, x, gain.Row(0), mean, inverseDeviation);
        Check(value => Y(value, gain, bias).Dot(w), x, dx);
        Check(value => Y(x, value, bias).Dot(w), gain, dGain.ToRowMatrix());
        Check(value => Y(x, gain, value).Dot(w), bias, dBias.ToRowMatrix());
    }

    /// <summary>Sequences of several lengths, one of them without a query.</summary>
    [Theory]
    [InlineData(0f, false)]
    [InlineData(0.3f, false)]
    [InlineData(0.3f, true)]
    public void Attention_of_all_rows_and_of_few(float probability, bool fewQueries)
    {
        const int H = 6, Heads = 2;
        int[] keyOffsets = Numbers.Offsets(1, 4, 3, 6), queryOffsets = fewQueries ? Numbers.Offsets(1, 2, 0, 1) : keyOffsets;
        var mask = new DropoutMask(probability, new RandomKey(9, 8, 7, 6));
        var (q, kv, w) = (_random.Normal(queryOffsets[^1], H), _random.Normal(keyOffsets[^1], 2 * H), _random.Normal(queryOffsets[^1], H));
        double Objective(Matrix<double> queries, Matrix<double> keys) =>
            Attention.Forward(queries, keys, queryOffsets, keyOffsets, Heads, mask).Output.Dot(w);
        var (output, logSumExp) = Attention.Forward(q, kv, queryOffsets, keyOffsets, Heads, mask);
        var (dq, dkv) = Attention.Backward(w, q, kv, output, logSumExp, queryOffsets, keyOffsets, Heads, mask);
        Check(value => Objective(value, kv), q, dq);
        Check(value => Objective(q, value), kv, dkv);
    }

    [Theory]
    [InlineData(9, 23)]
    [InlineData(1, 2)]
    public void Softmax_cross_entropy(int rows, int count)
    {
        const double Scale = 0.7;
        int[] targets = _random.Integers(rows, 0, count);
        var (h, items, bias) = (_random.Normal(rows, 6), _random.Normal(count, 6), _random.Normal(1, count));
        double Objective(Matrix<double> a, Matrix<double> b, Matrix<double> c) =>
            Scale * SoftmaxCrossEntropy.Forward(a, b, c.Row(0), targets).Losses.Sum();
        var (_, logSumExp) = SoftmaxCrossEntropy.Forward(h, items, bias.Row(0), targets);
        var (dh, dItems, dBias) = SoftmaxCrossEntropy.Backward(Scale, h, items, bias.Row(0), targets, logSumExp);
        Check(value => Objective(value, items, bias), h, dh);
        Check(value => Objective(h, value, bias), items, dItems);
        Check(value => Objective(h, items, value), bias, dBias.ToRowMatrix());
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
