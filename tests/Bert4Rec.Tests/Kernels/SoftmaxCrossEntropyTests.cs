using System.Collections.Concurrent;
using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Reference;
using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Tests.Kernels;

public class SoftmaxCrossEntropyTests : LayerTests
{
    private const float Scale = 0.37f;

    /// <summary>M, H, V. A catalogue of 2 is padding and one item.</summary>
    public static TheoryData<string, int, int, int> Shapes => Backends.Times(
        (1, 8, 2), (5, 8, 2), (5, 20, 61), (37, 32, 61), (1, 64, 1000), (37, 20, 1000), (130, 128, 257), (130, 8, 1000));

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Forward_matches_the_formula(string backend, int rows, int hidden, int items)
    {
        var c = new Case(rows, hidden, items);
        var results = c.RunOnce(backend);
        var (losses, logSumExp) = SoftmaxCrossEntropy.Forward(c.H, c.Items, c.Bias.Row(0), c.Targets);
        double scale = Math.Sqrt(rows) + logSumExp.L2Norm();
        Numbers.Close("losses", losses.ToColumnMatrix(), results["losses"], 3e-7, scale);
        Numbers.Close("logSumExp", logSumExp.ToColumnMatrix(), results["logSumExp"], 3e-7, scale);
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Backward_matches_the_derivation(string backend, int rows, int hidden, int items)
    {
        var c = new Case(rows, hidden, items);
        var results = c.RunOnce(backend);
        var bias = c.Bias.Row(0);
        var (_, logSumExp) = SoftmaxCrossEntropy.Forward(c.H, c.Items, bias, c.Targets);
        var (dh, dItems, dBias) = SoftmaxCrossEntropy.Backward(Scale, c.H, c.Items, bias, c.Targets, logSumExp);
        Numbers.Close("dh", dh, results["dh"], 1.5e-6);
        Numbers.Close("dItems", c.DItems + dItems, results["dItems"], 8e-7);
        Numbers.Close("dBias", c.DBias.Row(0) + dBias, results["dBias"], 8e-7);
    }

    /// <summary>As in <see cref="LinearTests.Aligned_operands_give_what_others_give"/>; the catalogue ends inside a float4.</summary>
    [Theory]
    [MemberData(nameof(Backends.All), MemberType = typeof(Backends))]
    public void Aligned_operands_give_what_others_give(string backend)
    {
        var c = new Case(70, 20, 301);
        var odd = c.Run(backend);
        foreach (var (name, values) in c.Run(backend, offset: 8))
            Numbers.Close(name, odd[name].ToMatrix(1), values, 2e-6);
    }

    /// <summary>
    /// Two items with scores 0 and s: logSumExp is log(1 + exp s), the loss of either target its softplus. Exposes exp over its whole
    /// range, and scores of ±10,000 do not overflow.
    /// </summary>
    [Theory]
    [MemberData(nameof(Backends.All), MemberType = typeof(Backends))]
    public void Log_sum_exp_is_exact_over_the_range_of_exp(string backend)
    {
        float[] scores = [-1e4f, -104, -100, .. Enumerable.Range(-88 * 64, (176 * 64) + 1).Select(i => i / 64f), 100, 1e4f];
        int[] targets = [.. scores.Select((_, i) => i % 2)];
        var results = Bench.On(backend, bench =>
        {
            Tensor losses = bench.Garbage(scores.Length, 1), logSumExp = bench.Garbage(scores.Length, 1);
            bench.Kernels.SoftmaxCrossEntropyForward(
                bench.Tensor(scores, 1), new(bench.Tensor([0, 1], 1), bench.Tensor([0, 0], 2)), bench.Indices(targets), losses, logSumExp);
            return Results.Of(("losses", losses), ("logSumExp", logSumExp));
        });
        for (int i = 0; i < scores.Length; i++)
        {
            double expected = Math.Max(scores[i], 0) + Math.Log(1 + Math.Exp(-Math.Abs((double)scores[i])));
            double allowed = 3e-7 * Math.Max(1, Math.Abs(scores[i]));
            float logSumExp = results["logSumExp"][i], loss = results["losses"][i];
            Assert.True(Math.Abs(logSumExp - expected) <= allowed, $"log(1 + exp({scores[i]})) = {logSumExp:g9}");
            double expectedLoss = expected - (targets[i] * scores[i]);
            Assert.True(Math.Abs(loss - expectedLoss) <= allowed, $"loss of item {targets[i]} at {scores[i]} = {loss:g9}");
        }
    }

    [Theory]
    [MemberData(nameof(Backends.All), MemberType = typeof(Backends))]
    public void An_empty_mask_set_changes_nothing(string backend)
    {
        var items = new Random(1).Normal(61, 8);
        var bias = new Random(2).Normal(1, 61);
        var results = Bench.On(backend, bench =>
        {
            Tensor h = bench.Garbage(0, 8), losses = bench.Garbage(0, 1), table = bench.Tensor(items), b = bench.Tensor(bias);
            Tensor dItems = bench.Tensor(items), dBias = bench.Tensor(bias);
            bench.Kernels.SoftmaxCrossEntropyForward(h, new(table, b), bench.Indices(), losses, losses);
            bench.Kernels.SoftmaxCrossEntropyBackward(h, new(table, b), bench.Indices(), losses, 1, h, new(dItems, dBias));
            return Results.Of(("dItems", dItems), ("dBias", dBias));
        });
        Assert.Equal(items.ToFloats(), results["dItems"]);
        Assert.Equal(bias.ToFloats(), results["dBias"]);
    }

    protected override IReadOnlyDictionary<string, float[]> Run(string backend) => new Case(37, 20, 257).Run(backend);

    private sealed class Case
    {
        private static readonly ConcurrentDictionary<(string Backend, string Case), Dictionary<string, float[]>> Known = new();

        public readonly Matrix<double> H;
        public readonly Matrix<double> Items;
        public readonly Matrix<double> Bias;
        public readonly int[] Targets;
        public readonly Matrix<double> DItems;
        public readonly Matrix<double> DBias;

        public Case(int rows, int hidden, int items)
        {
            var random = new Random(rows + hidden + items);
            H = random.Normal(rows, hidden);
            Items = random.Normal(items, hidden, 1 / Math.Sqrt(hidden));
            Bias = random.Normal(1, items);
            Targets = random.Integers(rows, 0, items);
            Targets[^1] = items - 1;
            DItems = random.Normal(items, hidden, 0.1);
            DBias = random.Normal(1, items, 0.1);
        }

        public override string ToString() => $"[{H.RowCount}, {H.ColumnCount}, {Items.RowCount}]";

        /// <summary>As <see cref="Run"/>, and known from then on: forward and backward are looked at apart.</summary>
        public Dictionary<string, float[]> RunOnce(string backend) => Known.GetOrAdd((backend, ToString()), _ => Run(backend));

        public Dictionary<string, float[]> Run(string backend, int offset = 7) => Bench.On(backend, bench =>
        {
            int rows = H.RowCount;
            Tensor h = bench.Tensor(H), items = bench.Tensor(Items), bias = bench.Tensor(Bias);
            var targets = bench.Indices(Targets);
            Tensor losses = bench.Garbage(rows, 1), logSumExp = bench.Garbage(rows, 1), dh = bench.Garbage(rows, H.ColumnCount);
            Tensor dItems = bench.Tensor(DItems), dBias = bench.Tensor(DBias);
            bench.Kernels.SoftmaxCrossEntropyForward(h, new(items, bias), targets, losses, logSumExp);
            bench.Kernels.SoftmaxCrossEntropyBackward(h, new(items, bias), targets, logSumExp, Scale, dh, new(dItems, dBias));
            return Results.Of(("losses", losses), ("logSumExp", logSumExp), ("dh", dh), ("dItems", dItems), ("dBias", dBias));
        }, offset);
    }
}
