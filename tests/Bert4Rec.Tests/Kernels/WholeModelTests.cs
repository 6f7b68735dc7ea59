using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Reference;
using Bert4Rec.Model;
using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Tests.Kernels;

/// <summary>
/// The model's loss and the gradient of every parameter against the double-precision model: the layers in the right order, dropout
/// included.
/// </summary>
public class WholeModelTests
{
    private const int Items = 11;
    private const int Heads = 2;
    private const float Scale = 0.3f;
    private const ulong Seed = 5;
    private const uint Step = 9;
    private static readonly int[] Lengths = [1, 4, 2, 6];
    private static readonly int[][] Masked = [[0], [1, 3], [], [0, 2, 5]];

    /// <summary>What asks: masked events, all events for the next one, or each sequence's last alone.</summary>
    public enum Asking
    {
        Masked,
        All,
        Last,
    }

    /// <summary>Layers, dropout, what asks.</summary>
    public static TheoryData<string, int, float, Asking> Cases => Backends.Times(
        (1, 0f, Asking.Masked), (1, 0.3f, Asking.Masked), (2, 0f, Asking.Masked), (2, 0.3f, Asking.Masked), (3, 0.2f, Asking.Masked),
        (1, 0.3f, Asking.All), (2, 0f, Asking.All), (2, 0.2f, Asking.Last));

    [Theory]
    [MemberData(nameof(Cases))]
    public void Every_gradient_matches_the_reference(string backend, int layers, float dropout, Asking asking) =>
        CheckGradients(backend, Shape(layers, dropout, asking), asking);

    [Theory]
    [MemberData(nameof(Cases))]
    public void So_it_does_with_norms_first_and_positions_from_the_newest(string backend, int layers, float dropout, Asking asking) =>
        CheckGradients(backend, Shape(layers, dropout, asking) with { NormFirst = true, NewestFirst = true }, asking);

    private static ModelShape Shape(int layers, float dropout, Asking asking) => new(
        Items, MaximumLength: 7, HiddenSize: 8, InnerSize: 12, layers, Heads, LayerNormEpsilon: 1e-12f, dropout, dropout,
        Causal: asking != Asking.Masked, OutputHead: asking != Asking.All);

    private static void CheckGradients(string backend, ModelShape shape, Asking asking)
    {
        float dropout = shape.HiddenDropout;
        var layout = new ParameterLayout(shape);
        var parameters = Parameters(layout);
        var (batch, targets) = Batch(asking, shape.NewestFirst);
        var randomness = new ReferenceDropout(dropout, dropout, Seed, Step);
        var reference = new ReferenceModel(parameters, Heads, shape.LayerNormEpsilon, shape.Causal);
        var expected = reference.Backward(batch, targets, Scale, randomness);
        var (loss, gradients) = Run(backend, layout, parameters, batch, targets, all: asking == Asking.All);
        double expectedLoss = reference.Losses(batch, targets, randomness).Sum();
        Assert.InRange(loss / expectedLoss, 1 - 1e-6, 1 + 1e-6);
        // Softmax ignores what all scores share: the gradient of the keys' bias is 0, and its rounding is held against the queries'.
        foreach (var (name, gradient) in expected)
        {
            double scale = expected[name.Replace("key.bias", "query.bias", StringComparison.Ordinal)].Norm();
            Numbers.Close(name, gradient, gradients[name], 1e-5, scale);
        }
    }

    private static (double Loss, Dictionary<string, float[]> Gradients) Run(
        string backend, ParameterLayout layout, Dictionary<string, Matrix<double>> parameters, ReferenceBatch batch, int[] targets,
        bool all) =>
        Bench.On(backend, bench =>
        {
            using var parameterBuffer = bench.Kernels.AllocateFloats(layout.Length);
            using var gradientBuffer = bench.Kernels.AllocateFloats(layout.Length);
            using var model = new Bert4RecModel(bench.Kernels, layout, parameterBuffer, gradientBuffer, batch.Tokens.Length);
            foreach (var (name, value) in parameters)
                layout.View(parameterBuffer, name).Upload(value.ToFloats());
            var input = new ModelInput(
                bench.Indices(batch.Tokens), bench.Indices(batch.Positions), bench.Indices(batch.Offsets),
                all ? default : bench.Indices(batch.Rows), all ? default : bench.Indices(batch.RowOffsets), batch.FirstToken,
                batch.FirstRow);
            var loss = bench.Tensor([0], 1);

            model.Forward(input, new RandomKey(Seed, Step, 0, 0));
            model.LossAndBackward(bench.Indices(targets), Scale, loss);
            return (loss.ToArray()[0], parameters.Keys.ToDictionary(name => name, name => layout.View(gradientBuffer, name).ToArray()));
        });

    /// <summary>Large enough for every nonlinearity to matter; gains around 1.</summary>
    private static Dictionary<string, Matrix<double>> Parameters(ParameterLayout layout)
    {
        var random = new Random(6);
        return layout.Entries.ToDictionary(entry => entry.Name, entry => entry.Shape.Length == 2
            ? random.Normal(entry.Shape[0], entry.Shape[1], 0.4)
            : random.Normal(1, entry.Shape[0], 0.3, entry.Name.EndsWith("LayerNorm.weight", StringComparison.Ordinal) ? 1 : 0));
    }

    private static (ReferenceBatch Batch, int[] Targets) Batch(Asking asking, bool newestFirst)
    {
        var random = new Random(7);
        int[] offsets = Numbers.Offsets(Lengths);
        int[] tokens = random.Integers(offsets[^1], 1, Items);
        int[][] asked = asking switch
        {
            Asking.All => [.. Lengths.Select(length => Enumerable.Range(0, length).ToArray())],
            Asking.Last => [.. Lengths.Select(length => new[] { length - 1 })],
            _ => Masked,
        };
        int[] rows = [.. asked.SelectMany((positions, b) => positions.Select(position => offsets[b] + position))];
        int[] targets = asking == Asking.Masked ? [.. rows.Select(row => tokens[row])] : random.Integers(rows.Length, 1, Items);
        if (asking == Asking.Masked)
        {
            foreach (int row in rows)
                tokens[row] = Items;
        }
        var fromOldest = Lengths.Select(length => Enumerable.Range(0, length));
        return (new ReferenceBatch(
            tokens, [.. fromOldest.SelectMany(positions => newestFirst ? positions.Reverse() : positions)], offsets, rows,
            Numbers.Offsets([.. asked.Select(positions => positions.Length)]), FirstToken: 40,
            // Where all rows ask, they are numbered as tokens.
            FirstRow: asking == Asking.All ? 40u : 13u), targets);
    }
}
