using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Reference;
using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Tests.Kernels;

/// <summary>The operations that no layer owns: Fill, Add, AddSum, Norm, GatherRows.</summary>
public class ElementwiseTests : LayerTests
{
    public static TheoryData<string, int, int> Shapes => Backends.Times((1, 1), (1, 5), (5, 20), (37, 61), (130, 128));

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Sums_fills_and_additions(string backend, int rows, int columns)
    {
        var random = new Random(rows);
        var (x, y) = (random.Normal(rows, columns), random.Normal(rows, columns));
        var results = RunOn(backend, x, y);
        Assert.All(results["fill"], value => Assert.Equal(0.7f, value));
        Assert.Equal([.. x.ToFloats().Zip(y.ToFloats(), (left, right) => left + right)], results["add"]);
        double size = x.Enumerate().Sum(Math.Abs);
        Assert.InRange(results["sum"][0], 3 + x.Enumerate().Sum() - (1e-6 * (size + 3)), 3 + x.Enumerate().Sum() + (1e-6 * (size + 3)));
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Norms(string backend, int rows, int columns)
    {
        var x = new Random(rows).Normal(rows, columns);
        double expected = x.Norm();
        Assert.InRange(Norm(backend, x.ToFloats()), expected * (1 - 1e-6), expected * (1 + 1e-6));
    }

    /// <summary>Squares of 10³⁰ overflow float, and a million small ones vanish in it.</summary>
    [Theory]
    [MemberData(nameof(Backends.All), MemberType = typeof(Backends))]
    public void A_norm_neither_overflows_nor_loses_small_terms(string backend)
    {
        double large = Math.Sqrt(3) * 1e30f;
        Assert.InRange(Norm(backend, [1e30f, 1e30f, 0, 1e30f]), large * (1 - 1e-6), large * (1 + 1e-6));
        float[] one = [4096, .. Enumerable.Repeat(1f, 1_000_000)];
        double many = Math.Sqrt((4096.0 * 4096) + 1_000_000);
        Assert.InRange(Norm(backend, one), many * (1 - 1e-6), many * (1 + 1e-6));
        float[] mixed = [.. Enumerable.Range(0, 1000).Select(i => i % 10 == 0 ? 2e6f : 9e5f)];
        double both = Math.Sqrt(mixed.Sum(value => (double)value * value));
        Assert.InRange(Norm(backend, mixed), both * (1 - 1e-6), both * (1 + 1e-6));
        Assert.InRange(Norm(backend, [3e-22f, 4e-22f]), 5e-22 * (1 - 1e-6), 5e-22 * (1 + 1e-6));
        Assert.Equal(0f, Norm(backend, new float[100]));
        Assert.False(float.IsFinite(Norm(backend, [1, float.NaN, 2])));
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Gathered_rows_and_their_backward(string backend, int rows, int columns)
    {
        var random = new Random(rows);
        var (x, before) = (random.Normal(rows, columns), random.Normal(rows, columns));
        foreach (int[] chosen in new int[][] { [], [0], [rows - 1], [.. Enumerable.Range(0, rows).Where(row => row % 3 == 1)] })
        {
            var dy = random.Normal(chosen.Length, columns);
            var results = Bench.On(backend, bench =>
            {
                Tensor y = bench.Garbage(chosen.Length, columns), dx = bench.Tensor(before);
                var indices = bench.Indices(chosen);
                bench.Kernels.GatherRowsForward(bench.Tensor(x), indices, y);
                bench.Kernels.GatherRowsBackward(bench.Tensor(dy), indices, dx);
                return Results.Of(("y", y), ("dx", dx));
            });
            Assert.Equal(Embedding.GatherRowsForward(x, chosen).ToFloats(), results["y"]);
            Assert.Equal((before + Embedding.GatherRowsBackward(dy, chosen, rows)).ToFloats(), results["dx"]);
        }
    }

    [Theory]
    [MemberData(nameof(Backends.All), MemberType = typeof(Backends))]
    public void New_memory_is_zero_and_keeps_what_is_uploaded(string backend)
    {
        using var kernels = Backends.Create(backend);
        using var floats = kernels.AllocateFloats(1000);
        using var ints = kernels.AllocateInts(1000);
        Assert.All(Tensor.Of(floats).ToArray(), value => Assert.Equal(0f, value));
        Assert.All(Indices.Of(ints).ToArray(), value => Assert.Equal(0, value));
        floats.Upload([1, 2, 3], 10);
        float[] read = new float[5];
        floats.Download(read, 9);
        Assert.Equal([0, 1, 2, 3, 0], read);
        Assert.Throws<ArgumentOutOfRangeException>(() => floats.Upload([1, 2], 999));
        Assert.Throws<ArgumentOutOfRangeException>(() => floats.Download(new float[1], -1));
        Assert.NotEmpty(kernels.Name);
    }

    /// <summary>A GPU may still read the memory when the next values are there.</summary>
    [Theory]
    [MemberData(nameof(Backends.All), MemberType = typeof(Backends))]
    public void An_upload_waits_for_the_operations_before_it(string backend)
    {
        const int Rows = 20_000, Columns = 64;
        var (zeros, ones) = Bench.On(backend, bench =>
        {
            Tensor x = bench.Tensor([.. Enumerable.Range(0, 2 * Columns).Select(i => (float)(i / Columns))], Columns);
            Tensor first = bench.Garbage(Rows, Columns), second = bench.Garbage(Rows, Columns);
            Indices rows = bench.Indices(new int[Rows]);
            bench.Kernels.GatherRowsForward(x, rows, first);
            rows.Upload([.. Enumerable.Repeat(1, Rows)]);
            bench.Kernels.GatherRowsForward(x, rows, second);
            x.Upload(new float[2 * Columns]);
            return (first.ToArray(), second.ToArray());
        });
        // Of a million, the first that is wrong will do.
        Assert.Equal(-1, Array.FindIndex(zeros, value => value != 0));
        Assert.Equal(-1, Array.FindIndex(ones, value => value != 1));
    }

    private static float Norm(string backend, float[] x) => Bench.On(backend, bench =>
    {
        var result = bench.Garbage(1, 1);
        bench.Kernels.GradientNorm(bench.Tensor(x, x.Length), result);
        return result.ToArray()[0];
    });

    protected override IReadOnlyDictionary<string, float[]> Run(string backend)
    {
        var random = new Random(1);
        return RunOn(backend, random.Normal(37, 61), random.Normal(37, 61));
    }

    private static Dictionary<string, float[]> RunOn(
        string backend, Matrix<double> x, Matrix<double> y) => Bench.On(backend, bench =>
    {
        Tensor fill = bench.Garbage(x.RowCount, x.ColumnCount), add = bench.Tensor(x), sum = bench.Tensor([3], 1);
        bench.Kernels.Fill(fill, 0.7f);
        bench.Kernels.Add(add, bench.Tensor(y));
        bench.Kernels.AddSum(bench.Tensor(x), sum);
        return Results.Of(("fill", fill), ("add", add), ("sum", sum));
    });
}
