using Bert4Rec.Checking;
using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Reference;
using Bert4Rec.Model;
using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Tests.Kernels;

/// <summary>What the other tests lean on: the double-precision model against RecBole, to the rounding of RecBole's float32.</summary>
public class ReferenceModelTests
{
    public static TheoryData<string> RecBoleFiles => RecBoleStep.Files;

    [Theory]
    [MemberData(nameof(RecBoleFiles))]
    public void Loss_and_output_are_RecBoles(string path)
    {
        using var recbole = new RecBoleStep(path);
        var model = Model(recbole, recbole.State("param"));
        var (batch, targets) = recbole.Training();
        Assert.InRange(model.Loss(batch, targets) / recbole.Losses[0], 1 - 1e-6, 1 + 1e-6);

        var (all, paddedRows) = recbole.AllRows();
        var expected = Embedding.GatherRowsForward(recbole.Matrix("forward.encoder_output"), paddedRows);
        Numbers.Close("output", expected, model.Predict(all).ToFloats(), 1e-5);
    }

    [Theory]
    [MemberData(nameof(RecBoleFiles))]
    public void Gradients_are_RecBoles(string path)
    {
        using var recbole = new RecBoleStep(path);
        var (batch, targets) = recbole.Training();
        var gradients = Model(recbole, recbole.State("param")).Backward(batch, targets, 1.0 / targets.Length);
        double bound = TestFiles.IsOwnFixture(path) ? 1e-5 : 5e-5;
        foreach (string name in recbole.ParameterNames)
        {
            // Softmax ignores what a key's bias adds to all scores of a query: the gradient is zero but for rounding.
            var expected = recbole.Matrix($"grad.{name}");
            string shared = name.Replace("key.bias", "value.bias", StringComparison.Ordinal);
            Numbers.Close(name, expected, gradients[name].ToFloats(), bound, recbole.Matrix($"grad.{shared}").Norm());
        }
    }

    /// <summary>One layer, in which few rows ask; and three, of which two are asked by all.</summary>
    [Theory]
    [InlineData(1, 0f, false)]
    [InlineData(3, 0.3f, false)]
    [InlineData(1, 0.3f, true)]
    [InlineData(3, 0f, true)]
    public void Gradients_match_central_differences(int layers, float probability, bool normFirst)
    {
        const int Items = 7;
        var shape = new ModelShape(Items, 5, 4, 6, layers, 2, 1e-12f, probability, probability, NormFirst: normFirst);
        var random = new Random(layers);
        var parameters = new ParameterLayout(shape).Entries.ToDictionary(entry => entry.Name, entry => entry.Shape.Length == 2
            ? random.Normal(entry.Shape[0], entry.Shape[1], 0.4)
            : random.Normal(1, entry.Shape[0], 0.3, entry.Name.EndsWith("LayerNorm.weight", StringComparison.Ordinal) ? 1 : 0));
        var batch = new ReferenceBatch(
            Tokens: [3, Items, 1, 5, 2, Items, 6, Items],
            Positions: [0, 1, 2, 0, 0, 1, 2, 3],
            Offsets: [0, 3, 4, 8],
            Rows: [1, 5, 7],
            RowOffsets: [0, 1, 1, 3],
            FirstToken: 40,
            FirstRow: 13);
        int[] targets = [4, 2, 6];
        var dropout = new ReferenceDropout(probability, probability, 7, 3);
        var gradients = new ReferenceModel(parameters, 2, 1e-12).Backward(batch, targets, 1.0 / 3, dropout);
        Assert.Equal(parameters.Keys, gradients.Keys);
        foreach (var (name, value) in parameters)
        {
            ReferenceModel With(Matrix<double> x) => new(new Dictionary<string, Matrix<double>>(parameters) { [name] = x }, 2, 1e-12);
            var differences = GradientCheck.Differences(x => With(x).Loss(batch, targets, dropout), value);
            double error = (gradients[name] - differences).Norm();
            Assert.True(error <= 1e-8 * Math.Max(0.01, differences.Norm()), $"{name}: error {error:g3} of {differences.Norm():g3}");
        }
    }

    [Theory]
    [MemberData(nameof(RecBoleFiles))]
    public void A_step_of_Adam_is_RecBoles(string path)
    {
        using var recbole = new RecBoleStep(path);
        foreach (string name in recbole.ParameterNames.Where(name => !name.EndsWith("key.bias", StringComparison.Ordinal)))
        {
            var (before, gradient) = (recbole.Matrix($"param.{name}"), recbole.Matrix($"grad.{name}"));
            var after = recbole.Matrix($"after1.{name}");
            var step = before.MapIndexed((row, column, value) =>
                Adam.Step(value, gradient[row, column], 0, 0, recbole.FirstStep).Parameter);
            // RecBole's parameters are rounded to float32.
            double allowed = (1e-3 * (after - before).Norm()) + (6e-8 * before.Norm());
            Numbers.Close(name, after - before, (step - before).ToFloats(), 1, allowed);
        }
    }

    [Theory]
    [MemberData(nameof(RecBoleFiles))]
    public void Evaluation_scores_are_RecBoles(string path)
    {
        using var recbole = new RecBoleStep(path);
        var difference = Model(recbole, recbole.State($"after{recbole.Steps}")).Scores(recbole.Evaluation()) - recbole.FinalScores;
        // Padding is never recommended: an evaluator may have given it the lowest score there is.
        var (scores, errors) = (recbole.FinalScores.Enumerate().ToArray(), difference.Enumerate().ToArray());
        double bound = 1e-5 * Math.Max(1, scores.Where(score => score > -1e30).Max(Math.Abs));
        Assert.All(errors.Where((_, i) => scores[i] > -1e30), error => Assert.InRange(error, -bound, bound));
    }

    /// <summary>Where a batch is cut, the second part goes on drawing the rows of the whole.</summary>
    [Fact]
    public void Dropout_does_not_see_how_a_batch_is_cut()
    {
        using var recbole = new RecBoleStep(TestFiles.Fixtures("recbole-step.safetensors")[0]);
        var model = Model(recbole, recbole.State("param"));
        var (batch, targets) = recbole.Training();
        var dropout = new ReferenceDropout(0.2f, 0.3f, 7, 3);
        double[] whole = model.Losses(batch, targets, dropout).ToArray();

        int cut = (batch.Offsets.Length - 1) / 2, token = batch.Offsets[cut], row = batch.RowOffsets[cut];
        var first = new ReferenceBatch(
            batch.Tokens[..token], batch.Positions[..token], batch.Offsets[..(cut + 1)], batch.Rows[..row], batch.RowOffsets[..(cut + 1)]);
        var rest = new ReferenceBatch(
            batch.Tokens[token..], batch.Positions[token..], [.. batch.Offsets[cut..].Select(offset => offset - token)],
            [.. batch.Rows[row..].Select(masked => masked - token)], [.. batch.RowOffsets[cut..].Select(offset => offset - row)],
            FirstToken: (uint)token, FirstRow: (uint)row);
        double[] parts = [.. model.Losses(first, targets[..row], dropout), .. model.Losses(rest, targets[row..], dropout)];

        Numbers.Close("losses", Matrix<double>.Build.Dense(whole.Length, 1, whole), Array.ConvertAll(parts, loss => (float)loss), 1e-7);
        Assert.NotEqual(model.Loss(batch, targets), whole.Average(), 1e-3);
    }

    private static ReferenceModel Model(RecBoleStep recbole, Dictionary<string, Matrix<double>> parameters) =>
        new(parameters, recbole.Heads, recbole.LayerNormEpsilon);
}
