using System.Collections.Concurrent;
using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Gpu;
using Bert4Rec.Kernels.Gpu.Runtime;
using Bert4Rec.Kernels.Reference;
using MathNet.Numerics.LinearAlgebra;
using Gelu = Bert4Rec.Kernels.Reference.Gelu;
using Linear = Bert4Rec.Kernels.Reference.Linear;

namespace Bert4Rec.Tests.Kernels;

public class LinearTests : LayerTests
{
    /// <summary>T, K, N; of one, groups with large tiles share the sum of the gradient.</summary>
    public static TheoryData<string, int, int, int> Shapes => WithLarge(
        Backends.Times(
            (1, 1, 1), (1, 8, 8), (5, 20, 40), (37, 32, 64), (130, 64, 128), (130, 20, 3), (5, 61, 20), (64, 64, 64), (600, 8, 12)),
        (37, 128, 256),
        (600, 64, 128));

    /// <summary>Of these, one is a long sum that groups share; of one, all products take large tiles.</summary>
    public static TheoryData<string, int, int, int> AlignedShapes =>
        WithLarge(Backends.Times((37, 64, 12), (600, 8, 12)), (260, 24, 68), (196, 196, 196));

    /// <summary>Without the simulator, which would take a minute.</summary>
    private static TheoryData<string, int, int, int> WithLarge(
        TheoryData<string, int, int, int> shapes, params (int Rows, int Inputs, int Outputs)[] large)
    {
        foreach (string backend in Backends.Names.Where(name => name != GpuDevices.Simulator))
            foreach (var (rows, inputs, outputs) in large)
                shapes.Add(backend, rows, inputs, outputs);
        return shapes;
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Linear_forward(string backend, int rows, int inputs, int outputs)
    {
        var c = new Case(rows, inputs, outputs);
        Numbers.Close("y", Linear.Forward(c.X, c.Weight, c.Bias.Row(0)), c.RunOnce(backend)["y"], 5e-7);
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Linear_gelu_forward(string backend, int rows, int inputs, int outputs)
    {
        var c = new Case(rows, inputs, outputs);
        var results = c.RunOnce(backend);
        var u = Linear.Forward(c.X, c.Weight, c.Bias.Row(0));
        Numbers.Close("gelu", Gelu.Forward(u).Y, results["gelu"], 5e-7);
        Numbers.Close("slope", Gelu.Forward(u).Slope, results["slope"], 5e-7);
        Assert.Equal(results["gelu"], results["geluInInference"]);
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Backward_matches_the_derivation(string backend, int rows, int inputs, int outputs)
    {
        var c = new Case(rows, inputs, outputs);
        var results = c.RunOnce(backend);
        var (dx, dWeight, dBias) = Linear.Backward(c.Dy, c.X, c.Weight);
        Numbers.Close("dx", dx, results["dx"], 8e-7);
        Numbers.Close("dx, added", c.Before + dx, results["dxAdded"], 8e-7);
        Numbers.Close("du", Gelu.Backward(dx, Gelu.Forward(c.X).Slope), results["du"], 8e-7);
        Numbers.Close("dWeight", c.DWeight + dWeight, results["dWeight"], 8e-7);
        Numbers.Close("dBias", c.DBias.Row(0) + dBias, results["dBias"], 8e-7);
    }

    /// <summary>More parts of a small tile's sums than the last group reads at a time.</summary>
    [Fact]
    public void Many_parts_of_a_sum_are_added_up()
    {
        const int Rows = 600, Tiles = 2, Multiprocessors = 60, AtATime = 4;
        Assert.InRange(TileCost.Small.Best(Tiles, Rows, Multiprocessors).Parts, AtATime + 1, Rows);
        Backward_matches_the_derivation(Backends.ManyMultiprocessors, Rows, 36, 40);
    }

    /// <summary>CUDA's grids end at 65,535 groups along Y; five million items are 78,125 tiles.</summary>
    [Theory]
    [InlineData(1, 78_125)]
    [InlineData(78_125, 3)]
    [InlineData(20, 30)]
    public void Grids_are_such_as_CUDA_takes(int down, int across)
    {
        var grid = ProductGrid.Of(down, across);
        Assert.InRange(grid.Y, 1, ushort.MaxValue);
        Assert.Equal((down, across), grid.RowsFirst ? (grid.X, grid.Y) : (grid.Y, grid.X));
    }

    /// <summary>Operands at multiples of four floats go another way through a GPU's kernels.</summary>
    [Theory]
    [MemberData(nameof(AlignedShapes))]
    public void Aligned_operands_give_what_others_give(string backend, int rows, int inputs, int outputs)
    {
        var c = new Case(rows, inputs, outputs);
        var odd = c.RunOnce(backend);
        foreach (var (name, values) in c.Run(backend, offset: 8))
            Numbers.Close(name, odd[name].ToMatrix(1), values, 1e-6);
    }

    [Theory]
    [MemberData(nameof(Backends.All), MemberType = typeof(Backends))]
    public void No_rows_change_nothing(string backend)
    {
        var weight = new Random(1).Normal(20, 8);
        var bias = new Random(2).Normal(1, 20);
        var results = Bench.On(backend, bench =>
        {
            Tensor x = bench.Garbage(0, 8), y = bench.Garbage(0, 20), w = bench.Tensor(weight), b = bench.Tensor(bias);
            bench.Kernels.LinearForward(x, new(w, b), y);
            bench.Kernels.LinearGeluForward(x, new(w, b), y, bench.Garbage(0, 20));
            bench.Kernels.LinearBackwardInput(y, w, default, x, accumulate: false);
            bench.Kernels.LinearBackwardWeight(y, x, new(w, b));
            return Results.Of(("weight", w), ("bias", b));
        });
        Assert.Equal(weight.ToFloats(), results["weight"]);
        Assert.Equal(bias.ToFloats(), results["bias"]);
    }

    [Theory]
    [MemberData(nameof(Backends.All), MemberType = typeof(Backends))]
    public void A_missing_bias_is_refused(string backend) => Bench.On(backend, bench =>
    {
        Tensor x = bench.Garbage(2, 4), weight = bench.Garbage(3, 4), y = bench.Garbage(2, 3);
        Assert.Throws<ArgumentException>(() => bench.Kernels.LinearForward(x, new(weight, default), y));
        Assert.Throws<ArgumentException>(() => bench.Kernels.LinearGeluForward(x, new(weight, default), y, default));
        return Results.Of(("y", y));
    });

    protected override IReadOnlyDictionary<string, float[]> Run(string backend) => new Case(130, 64, 37).Run(backend);

    private sealed class Case
    {
        private static readonly ConcurrentDictionary<(string Backend, string Case), Dictionary<string, float[]>> Known = new();

        public readonly Matrix<double> X;
        public readonly Matrix<double> Weight;
        public readonly Matrix<double> Bias;
        public readonly Matrix<double> Dy;
        public readonly Matrix<double> Before;
        public readonly Matrix<double> DWeight;
        public readonly Matrix<double> DBias;

        public Case(int rows, int inputs, int outputs)
        {
            var random = new Random(rows + inputs + outputs);
            X = random.Normal(rows, inputs);
            Weight = random.Normal(outputs, inputs, 1 / Math.Sqrt(inputs));
            Bias = random.Normal(1, outputs);
            Dy = random.Normal(rows, outputs);
            Before = random.Normal(rows, inputs);
            DWeight = random.Normal(outputs, inputs);
            DBias = random.Normal(1, outputs);
        }

        public override string ToString() => $"[{X.RowCount}, {X.ColumnCount}, {Dy.ColumnCount}]";

        /// <summary>As <see cref="Run"/>, and known from then on: every test looks at another result of the same.</summary>
        public Dictionary<string, float[]> RunOnce(string backend) => Known.GetOrAdd((backend, ToString()), _ => Run(backend));

        public Dictionary<string, float[]> Run(string backend, int offset = 7) => Bench.On(backend, bench =>
        {
            int rows = X.RowCount, inputs = X.ColumnCount, outputs = Dy.ColumnCount;
            Tensor x = bench.Tensor(X), weight = bench.Tensor(Weight), bias = bench.Tensor(Bias), dy = bench.Tensor(Dy);
            Tensor y = bench.Garbage(rows, outputs), gelu = bench.Garbage(rows, outputs), slope = bench.Garbage(rows, outputs);
            Tensor geluInInference = bench.Garbage(rows, outputs);
            Tensor dx = bench.Garbage(rows, inputs), dxAdded = bench.Tensor(Before), du = bench.Garbage(rows, inputs);
            Tensor dWeight = bench.Tensor(DWeight), dBias = bench.Tensor(DBias);
            bench.Kernels.LinearForward(x, new(weight, bias), y);
            bench.Kernels.LinearGeluForward(x, new(weight, bias), gelu, slope);
            bench.Kernels.LinearGeluForward(x, new(weight, bias), geluInInference, default);
            bench.Kernels.LinearBackwardInput(dy, weight, default, dx, accumulate: false);
            bench.Kernels.LinearBackwardInput(dy, weight, default, dxAdded, accumulate: true);
            bench.Kernels.LinearBackwardInput(dy, weight, bench.Tensor(X.Map(Gelu.Slope)), du, accumulate: false);
            bench.Kernels.LinearBackwardWeight(dy, x, new(dWeight, dBias));
            return Results.Of(
                ("y", y), ("gelu", gelu), ("slope", slope), ("geluInInference", geluInInference),
                ("dx", dx), ("dxAdded", dxAdded), ("du", du), ("dWeight", dWeight), ("dBias", dBias));
        }, offset);
    }
}
