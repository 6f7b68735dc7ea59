using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Reference;
using Bert4Rec.Model;
using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Checking;

/// <summary>A whole small model: its loss, and the gradient of every element of every parameter, dropout on.</summary>
/// <param name="Name">What kind of model.</param>
/// <param name="Batch">What it is asked.</param>
/// <param name="Targets">[M]</param>
internal sealed record ModelCase(string Name, ModelShape Shape, ReferenceBatch Batch, int[] Targets)
{
    private const int Items = 9, Heads = 2;
    private const float Scale = 0.3f, Probability = 0.2f;

    private static readonly ModelShape s_shape = new(
        Items, MaximumLength: 6, HiddenSize: 8, InnerSize: 12, Layers: 2, Heads, LayerNormEpsilon: 1e-12f, Probability, Probability);

    private static readonly ReferenceBatch s_cloze = new(
        Tokens: [3, Items, 1, 5, 2, Items, 7, Items, 1],
        Positions: [0, 1, 2, 0, 0, 1, 2, 3, 4],
        Offsets: [0, 3, 4, 9],
        Rows: [1, 5, 7],
        RowOffsets: [0, 1, 1, 3],
        FirstToken: 40,
        FirstRow: 13);

    /// <summary>Every event predicts the next; positions are counted from the newest.</summary>
    private static readonly ReferenceBatch s_nextItem = new(
        Tokens: [3, 8, 1, 5, 2, 7],
        Positions: [2, 1, 0, 2, 1, 0],
        Offsets: [0, 3, 6],
        Rows: [0, 1, 2, 3, 4, 5],
        RowOffsets: [0, 3, 6],
        FirstToken: 40,
        FirstRow: 40);

    /// <summary>
    /// As BERT4Rec has it; from left to right without an output head, as SASRec has it; and both with layer norm before the sublayers.
    /// </summary>
    public static IReadOnlyList<ModelCase> All { get; } =
    [
        new("model", s_shape, s_cloze, [4, 8, 6]),
        new("model-next-item", NextItem(normFirst: false), s_nextItem, [8, 1, 4, 2, 7, 7]),
        new("model-norm-first", s_shape with { NormFirst = true }, s_cloze, [4, 8, 6]),
        new("model-next-item-norm-first", NextItem(normFirst: true), s_nextItem, [8, 1, 4, 2, 7, 7]),
    ];

    private static ModelShape NextItem(bool normFirst) => s_shape with
    {
        MaximumLength = 3,
        HiddenSize = 6,
        InnerSize = 4,
        Causal = true,
        OutputHead = false,
        NormFirst = normFirst,
        NewestFirst = true,
    };

    /// <summary>How many results it has: one a parameter.</summary>
    public int Checks => new ParameterLayout(Shape).Entries.Count;

    private bool AllAsk => Batch.Rows.Length == Batch.Tokens.Length;

    public IEnumerable<CheckResult> Run(KernelSet kernels, int seed, double bound)
    {
        var random = new Random(seed);
        var layout = new ParameterLayout(Shape);
        // Large enough for every nonlinearity to matter; gains around 1.
        var parameters = layout.Entries.ToDictionary(entry => entry.Name, entry =>
        {
            double mean = entry.Name.EndsWith("LayerNorm.weight", StringComparison.Ordinal) ? 1 : 0;
            int rows = entry.Shape.Length == 2 ? entry.Shape[0] : 1;
            return Matrix<double>.Build.Dense(
                rows, entry.Shape[^1], (_, _) => (float)MathNet.Numerics.Distributions.Normal.Sample(random, mean, 0.4));
        });
        var dropout = new ReferenceDropout(Probability, Probability, (ulong)seed, 1);
        ReferenceModel Reference(string name, Matrix<double> x) =>
            new(new Dictionary<string, Matrix<double>>(parameters) { [name] = x }, Heads, Shape.LayerNormEpsilon, Shape.Causal);

        var (loss, gradients) = Run(kernels, layout, parameters, seed);
        var reference = new ReferenceModel(parameters, Heads, Shape.LayerNormEpsilon, Shape.Causal);
        double forward = Math.Abs((loss / reference.Losses(Batch, Targets, dropout).Sum()) - 1);
        var derived = reference.Backward(Batch, Targets, Scale, dropout);
        // The gradient of the keys' bias is 0: softmax ignores what all scores share. Its rounding is held against the others' size.
        double floor = 0.01 * derived.Values.Max(gradient => gradient.FrobeniusNorm());
        foreach (var (name, gradient) in gradients)
        {
            var differences = GradientCheck.Differences(
                x => Scale * Reference(name, x).Losses(Batch, Targets, dropout).Sum(), parameters[name]);
            yield return new(
                Name, name, forward, GradientCheck.RelativeError(derived[name], gradient, floor),
                GradientCheck.RelativeError(differences, gradient, floor), bound);
        }
    }

    private (double Loss, Dictionary<string, float[]> Gradients) Run(
        KernelSet kernels, ParameterLayout layout, Dictionary<string, Matrix<double>> parameters, int seed)
    {
        using var memory = new CheckMemory(kernels);
        using var parameterBuffer = kernels.AllocateFloats(layout.Length);
        using var gradientBuffer = kernels.AllocateFloats(layout.Length);
        using var model = new Bert4RecModel(kernels, layout, parameterBuffer, gradientBuffer, Batch.Tokens.Length);
        foreach (var (name, value) in parameters)
            layout.View(parameterBuffer, name).Upload([.. value.ToRowMajorArray().Select(element => (float)element)]);
        var input = new ModelInput(
            memory.Put(Batch.Tokens), memory.Put(Batch.Positions), memory.Put(Batch.Offsets),
            AllAsk ? default : memory.Put(Batch.Rows), AllAsk ? default : memory.Put(Batch.RowOffsets), Batch.FirstToken, Batch.FirstRow);
        var loss = memory.Zeros(1, 1);
        // Twice, as two micro-batches of a step: losses and gradients are added.
        for (int pass = 0; pass < 2; pass++)
        {
            model.Forward(input, new RandomKey((ulong)seed, 1, 0, 0));
            model.LossAndBackward(memory.Put(Targets), Scale, loss);
        }
        return (loss.ToArray()[0] / 2, parameters.Keys.ToDictionary(name => name, Half));

        float[] Half(string name) => Array.ConvertAll(layout.View(gradientBuffer, name).ToArray(), value => value / 2);
    }
}
