using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Reference;
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
        var expected = Embedding.GatherRows(recbole.Matrix("forward.encoder_output"), paddedRows);
        Numbers.Close("output", expected, model.Predict(all).ToFloats(), 2e-6);
    }

    /// <summary>Every parameter along a random direction, which sees all its elements, and at a few elements.</summary>
    [Theory]
    [MemberData(nameof(RecBoleFiles))]
    public void Gradients_are_RecBoles(string path)
    {
        using var recbole = new RecBoleStep(path);
        var (batch, targets) = recbole.Training();
        var parameters = recbole.State("param");
        var random = new Random(1);
        foreach (string name in recbole.ParameterNames)
        {
            var (at, gradient) = (parameters[name], recbole.Matrix($"grad.{name}"));
            double Loss(Matrix<double> x) => Model(recbole, new(parameters) { [name] = x }).Loss(batch, targets);

            // Softmax ignores what a key's bias adds to all scores of a query: the gradient is zero but for rounding.
            double allowed = name.EndsWith("key.bias", StringComparison.Ordinal) ? 1e-6 : 1e-5 * gradient.Norm();
            var everywhere = random.Normal(at.RowCount, at.ColumnCount);
            Assert.InRange(Numbers.Derivative(Loss, at, everywhere) - gradient.Dot(everywhere), -3 * allowed, 3 * allowed);
            for (int i = 0; i < 2; i++)
            {
                var element = Matrix<double>.Build.Dense(at.RowCount, at.ColumnCount);
                element[random.Next(at.RowCount), random.Next(at.ColumnCount)] = 1;
                Assert.InRange(Numbers.Derivative(Loss, at, element) - gradient.Dot(element), -allowed, allowed);
            }
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
                Adam.Step(value, gradient[row, column], 0, 0, new AdamStep(1, recbole.LearningRate)).Parameter);
            Numbers.Close(name, after - before, (step - before).ToFloats(), 1e-3);
        }
    }

    [Theory]
    [MemberData(nameof(RecBoleFiles))]
    public void Evaluation_scores_are_RecBoles(string path)
    {
        using var recbole = new RecBoleStep(path);
        var difference = Model(recbole, recbole.State($"after{recbole.Steps}")).Scores(recbole.Evaluation()) - recbole.FinalScores;
        Assert.All(difference.Enumerate(), error => Assert.InRange(error, -1e-5, 1e-5));
    }

    /// <summary>Where a batch is cut, the second part goes on drawing the rows of the whole.</summary>
    [Theory]
    [MemberData(nameof(RecBoleFiles))]
    public void Dropout_does_not_see_how_a_batch_is_cut(string path)
    {
        using var recbole = new RecBoleStep(path);
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
