using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Gpu;
using Bert4Rec.Kernels.Gpu.Runtime;
using MathNet.Numerics.LinearAlgebra;
using Dropout = Bert4Rec.Kernels.Reference.Dropout;
using LayerNorm = Bert4Rec.Kernels.Reference.LayerNorm;

namespace Bert4Rec.Tests.Kernels;

public class LayerNormTests : LayerTests
{
    private const float Epsilon = 1e-12f;

    /// <summary>T, H, and the dropout probability of a layer norm with a residual, or −1 for one without either.</summary>
    public static TheoryData<string, int, int, float> Cases => Backends.Times(
        (1, 8, -1f), (5, 20, -1f), (130, 64, -1f), (37, 128, -1f), (1, 20, 0f), (5, 8, 0f),
        (37, 32, 0f), (5, 20, 0.3f), (130, 128, 0.2f), (37, 64, 0.5f));

    [Theory]
    [MemberData(nameof(Cases))]
    public void Forward_matches_the_formula(string backend, int rows, int hidden, float dropout)
    {
        var c = new Case(rows, hidden, dropout);
        var results = c.Run(backend);
        var (sum, y, mean, inverseDeviation) = c.Forward();
        Numbers.Close("sum", sum, results["sum"], 1e-7);
        Numbers.Close("y", y, results["y"], 3e-7);
        Numbers.Close("mean", mean.ToRowMatrix(), Every(results["statistics"], 0), 2e-7, sum.Norm() / Math.Sqrt(hidden));
        Numbers.Close("1/σ", inverseDeviation, Every(results["statistics"], 1), 3e-7);
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Backward_matches_the_derivation(string backend, int rows, int hidden, float dropout)
    {
        var c = new Case(rows, hidden, dropout);
        var results = c.Run(backend);
        var (sum, _, mean, inverseDeviation) = c.Forward();
        var (dSum, dGain, dBias) = LayerNorm.Backward(c.Dy, sum, c.Gain.Row(0), mean, inverseDeviation);
        Numbers.Close("dSum", dSum, results["dSum"], 5e-7);
        Numbers.Close("dInput", Dropout.Backward(dSum, c.Mask), results["dInput"], 5e-7);
        Numbers.Close("dGain", c.DGain.Row(0) + dGain, results["dGain"], 5e-7);
        Numbers.Close("dBias", c.DBias.Row(0) + dBias, results["dBias"], 5e-7);
        Assert.Equal(results["dSum"], results["dSumInPlace"]);
    }

    /// <summary>The mean of squares minus the square of the mean would lose the variance here.</summary>
    [Theory]
    [MemberData(nameof(Backends.All), MemberType = typeof(Backends))]
    public void Rows_far_from_zero_keep_their_variance(string backend)
    {
        var c = new Case(5, 64, -1, mean: 300);
        Numbers.Close("y", c.Forward().Y, c.Run(backend)["y"], 5e-5);
    }

    [Theory]
    [MemberData(nameof(Backends.All), MemberType = typeof(Backends))]
    public void No_rows_change_nothing(string backend)
    {
        float[] gradients = Bench.On(backend, bench =>
        {
            Tensor x = bench.Garbage(0, 20), gain = bench.Tensor(new Random(1).Normal(1, 20)), statistics = bench.Garbage(0, 2);
            var gradient = bench.Tensor([.. Enumerable.Repeat(2.5f, 20)], 20);
            bench.Kernels.LayerNormForward(x, default, default, new(gain, gain), Epsilon, x, statistics);
            bench.Kernels.LayerNormBackward(x, x, gain, statistics, default, x, default, new(gradient, gradient));
            return gradient.ToArray();
        });
        Assert.All(gradients, value => Assert.Equal(2.5f, value));
    }

    [Fact]
    public void Warps_agree_with_shared_memory()
    {
        var expected = Run(GpuDevices.Simulator);
        foreach (var (name, values) in Run(Backends.SimulatedWarps))
            Numbers.Close(name, expected[name].ToMatrix(1), values, 1e-6);
    }

    /// <summary>More than the last group reads at a time.</summary>
    [Fact]
    public void The_sums_of_many_groups_are_added_up() => Backward_matches_the_derivation(Backends.ManyMultiprocessors, 1000, 128, 0f);

    protected override IReadOnlyDictionary<string, float[]> Run(string backend) => new Case(37, 20, 0.3f).Run(backend);

    private static float[] Every(float[] pairs, int which) => [.. pairs.Where((_, i) => i % 2 == which)];

    private sealed class Case
    {
        public readonly DropoutMask Mask;
        public readonly Matrix<double> X;
        public readonly Matrix<double>? Residual;
        public readonly Matrix<double> Gain;
        public readonly Matrix<double> Bias;
        public readonly Matrix<double> Dy;
        public readonly Matrix<double> DGain;
        public readonly Matrix<double> DBias;

        public Case(int rows, int hidden, float dropout, double mean = 0.5)
        {
            var random = new Random(rows + hidden);
            Mask = dropout > 0 ? new DropoutMask(dropout, new RandomKey(42, 3, 2001, 1000)) : default;
            X = random.Normal(rows, hidden, 1, mean);
            Residual = dropout >= 0 ? random.Normal(rows, hidden) : null;
            Gain = random.Normal(1, hidden, 0.5, 1);
            Bias = random.Normal(1, hidden);
            Dy = random.Normal(rows, hidden);
            DGain = random.Normal(1, hidden);
            DBias = random.Normal(1, hidden);
        }

        public (Matrix<double> Sum, Matrix<double> Y, Vector<double> Mean, Vector<double> InverseDeviation) Forward()
        {
            var sum = Residual is null ? X : Residual + Dropout.Forward(X, Mask);
            var (y, mean, inverseDeviation) = LayerNorm.Forward(sum, Gain.Row(0), Bias.Row(0), Epsilon);
            return (sum, y, mean, inverseDeviation);
        }

        public Dictionary<string, float[]> Run(string backend) => Bench.On(backend, bench =>
        {
            int rows = X.RowCount, hidden = X.ColumnCount;
            Tensor Branch() => Residual is null ? default : bench.Garbage(rows, hidden);
            Tensor sum = bench.Tensor(X), gain = bench.Tensor(Gain), dy = bench.Tensor(Dy), dySpare = bench.Tensor(Dy);
            Tensor y = bench.Garbage(rows, hidden), statistics = bench.Garbage(rows, 2);
            Tensor dSum = bench.Garbage(rows, hidden), dInput = Branch();
            Tensor dGain = bench.Tensor(DGain), dBias = bench.Tensor(DBias);
            bench.Kernels.LayerNormForward(
                sum, Residual is null ? default : bench.Tensor(Residual), Mask, new(gain, bench.Tensor(Bias)), Epsilon, y, statistics);
            bench.Kernels.LayerNormBackward(
                dy, sum, gain, statistics, Mask, dSum, dInput, new(dGain, dBias));
            bench.Kernels.LayerNormBackward(
                dySpare, sum, gain, statistics, Mask, dySpare, Branch(), new(bench.Tensor(DGain), bench.Tensor(DBias)));
            return Results.Of(
                ("sum", sum), ("y", y), ("statistics", statistics), ("dSum", dSum), ("dSumInPlace", dySpare),
                ("dInput", Residual is null ? dSum : dInput), ("dGain", dGain), ("dBias", dBias));
        });
    }
}
