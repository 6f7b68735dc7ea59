using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Reference;
using Bert4Rec.Model;
using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Checking;

/// <summary>A whole small model: its loss, and the gradient of every element of every parameter, dropout on.</summary>
internal static class ModelCase
{
    public const string Name = "model";

    private const int Items = 9, Heads = 2;
    private const float Scale = 0.3f, Probability = 0.2f;
    private static readonly ModelShape Shape = new(
        Items, MaximumLength: 6, HiddenSize: 8, InnerSize: 12, Layers: 2, Heads, LayerNormEpsilon: 1e-12f, Probability, Probability);

    public static IEnumerable<CheckResult> Run(KernelSet kernels, int seed, double bound)
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
        var batch = new ReferenceBatch(
            Tokens: [3, Items, 1, 5, 2, Items, 7, Items, 1],
            Positions: [0, 1, 2, 0, 0, 1, 2, 3, 4],
            Offsets: [0, 3, 4, 9],
            Rows: [1, 5, 7],
            RowOffsets: [0, 1, 1, 3],
            FirstToken: 40,
            FirstRow: 13);
        int[] targets = [4, 8, 6];
        var dropout = new ReferenceDropout(Probability, Probability, (ulong)seed, 1);
        ReferenceModel Reference(string name, Matrix<double> x) =>
            new(new Dictionary<string, Matrix<double>>(parameters) { [name] = x }, Heads, Shape.LayerNormEpsilon);

        var (loss, gradients) = Run(kernels, layout, parameters, batch, targets, seed);
        var reference = new ReferenceModel(parameters, Heads, Shape.LayerNormEpsilon);
        double forward = Math.Abs((loss / reference.Losses(batch, targets, dropout).Sum()) - 1);
        var derived = reference.Backward(batch, targets, Scale, dropout);
        // The gradient of the keys' bias is 0: softmax ignores what all scores share. Its rounding is held against the others' size.
        double floor = 0.01 * derived.Values.Max(gradient => gradient.FrobeniusNorm());
        foreach (var (name, gradient) in gradients)
        {
            var differences = GradientCheck.Differences(
                x => Scale * Reference(name, x).Losses(batch, targets, dropout).Sum(), parameters[name]);
            yield return new(
                Name, name, forward, GradientCheck.RelativeError(derived[name], gradient, floor),
                GradientCheck.RelativeError(differences, gradient, floor), bound);
        }
    }

    private static (double Loss, Dictionary<string, float[]> Gradients) Run(
        KernelSet kernels, ParameterLayout layout, Dictionary<string, Matrix<double>> parameters, ReferenceBatch batch, int[] targets,
        int seed)
    {
        using var memory = new CheckMemory(kernels);
        using var parameterBuffer = kernels.AllocateFloats(layout.Length);
        using var gradientBuffer = kernels.AllocateFloats(layout.Length);
        using var model = new Bert4RecModel(kernels, layout, parameterBuffer, gradientBuffer, batch.Tokens.Length);
        foreach (var (name, value) in parameters)
            layout.View(parameterBuffer, name).Upload([.. value.ToRowMajorArray().Select(element => (float)element)]);
        var input = new ModelInput(
            memory.Put(batch.Tokens), memory.Put(batch.Positions), memory.Put(batch.Offsets),
            memory.Put(batch.Rows), memory.Put(batch.RowOffsets), batch.FirstToken, batch.FirstRow);
        var loss = memory.Zeros(1, 1);
        model.Forward(input, new RandomKey((ulong)seed, 1, 0, 0));
        model.LossAndBackward(memory.Put(targets), Scale, loss);
        return (loss.ToArray()[0], parameters.Keys.ToDictionary(name => name, name => layout.View(gradientBuffer, name).ToArray()));
    }
}
