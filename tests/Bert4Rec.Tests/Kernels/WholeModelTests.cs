using System.Collections.Concurrent;
using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Reference;
using Bert4Rec.Model;
using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Tests.Kernels;

/// <summary>
/// The model's loss and the gradient of every element of every parameter against the double-precision model and its central differences: the
/// layers in the right order, dropout included.
/// </summary>
public class WholeModelTests
{
    private const int Items = 11;
    private const int Heads = 2;
    private const float Scale = 0.3f;
    private static readonly int[] Lengths = [1, 4, 2, 6];
    private static readonly int[][] Masked = [[0], [1, 3], [], [0, 2, 5]];
    private static readonly ConcurrentDictionary<(int, float), Dictionary<string, Matrix<double>>> Differences = new();

    public static TheoryData<string, int, float> Cases => Backends.Times((1, 0f), (1, 0.3f), (2, 0f), (2, 0.3f), (3, 0.2f));

    [Theory]
    [MemberData(nameof(Cases))]
    public void Every_gradient_matches_central_differences(string backend, int layers, float dropout)
    {
        var shape = new ModelShape(Items, MaximumLength: 7, HiddenSize: 8, InnerSize: 12, layers, Heads, LayerNormEpsilon: 1e-12f, dropout, dropout);
        var layout = new ParameterLayout(shape);
        var parameters = Parameters(layout);
        var (batch, targets) = Batch();
        var randomness = new ReferenceDropout(dropout, dropout, Seed: 5, Step: 9);
        double Loss(string name, Matrix<double> x) =>
            Scale * new ReferenceModel(new Dictionary<string, Matrix<double>>(parameters) { [name] = x }, Heads, shape.LayerNormEpsilon)
                .Losses(batch, targets, randomness).Sum();
        var expected = Differences.GetOrAdd((layers, dropout), _ => parameters.ToDictionary(
            pair => pair.Key, pair => Numbers.Gradient(x => Loss(pair.Key, x), pair.Value)));

        var (loss, gradients) = Run(backend, layout, parameters, batch, targets);
        double expectedLoss = Loss("output_bias", parameters["output_bias"]) / Scale;
        Assert.InRange(loss / expectedLoss, 1 - 1e-6, 1 + 1e-6);
        foreach (var (name, differences) in expected)
            Numbers.Close(name, differences, gradients[name], 1e-5, differences.Norm() + 0.01);
    }

    private static (double Loss, Dictionary<string, float[]> Gradients) Run(
        string backend, ParameterLayout layout, Dictionary<string, Matrix<double>> parameters, ReferenceBatch batch, int[] targets)
    {
        using var kernels = Backends.Create(backend);
        using var values = kernels.AllocateFloats(layout.Length);
        using var gradients = kernels.AllocateFloats(layout.Length);
        using var loss = kernels.AllocateFloats(1);
        using var model = new Bert4RecModel(kernels, layout, values, gradients, batch.Tokens.Length);
        foreach (var (name, value) in parameters)
            layout.View(values, name).Upload(value.ToFloats());
        DeviceBuffer<int>[] buffers = [.. new[] { batch.Tokens, batch.Positions, batch.Offsets, batch.Rows, batch.RowOffsets, targets }.Select(Upload)];

        model.Forward(
            new ModelInput(Indices.Of(buffers[0]), Indices.Of(buffers[1]), Indices.Of(buffers[2]), Indices.Of(buffers[3]), Indices.Of(buffers[4]), batch.FirstToken, batch.FirstRow),
            new RandomKey(5, 9, 0, 0));
        model.LossAndBackward(Indices.Of(buffers[5]), Scale, Tensor.Of(loss));
        var result = (Tensor.Of(loss).ToArray()[0], parameters.Keys.ToDictionary(name => name, name => layout.View(gradients, name).ToArray()));
        Array.ForEach(buffers, buffer => buffer.Dispose());
        return result;

        DeviceBuffer<int> Upload(int[] integers)
        {
            var buffer = kernels.AllocateInts(integers.Length);
            buffer.Upload(integers);
            return buffer;
        }
    }

    /// <summary>Large enough for every nonlinearity to matter; gains around 1.</summary>
    private static Dictionary<string, Matrix<double>> Parameters(ParameterLayout layout)
    {
        var random = new Random(6);
        return layout.Entries.ToDictionary(entry => entry.Name, entry => entry.Shape.Length == 2
            ? random.Normal(entry.Shape[0], entry.Shape[1], 0.4)
            : random.Normal(1, entry.Shape[0], 0.3, entry.Name.EndsWith("LayerNorm.weight", StringComparison.Ordinal) ? 1 : 0));
    }

    private static (ReferenceBatch Batch, int[] Targets) Batch()
    {
        var random = new Random(7);
        int[] offsets = Numbers.Offsets(Lengths);
        int[] tokens = random.Integers(offsets[^1], 1, Items);
        int[] rows = [.. Masked.SelectMany((positions, b) => positions.Select(position => offsets[b] + position))];
        int[] targets = [.. rows.Select(row => tokens[row])];
        foreach (int row in rows)
            tokens[row] = Items;
        return (new ReferenceBatch(
            tokens, [.. Lengths.SelectMany(length => Enumerable.Range(0, length))], offsets, rows,
            Numbers.Offsets([.. Masked.Select(positions => positions.Length)]), FirstToken: 40, FirstRow: 13), targets);
    }
}
