using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Reference;
using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Tests.Kernels;

public class AdamTests : LayerTests
{
    private const int Steps = 5;

    /// <summary>A first step goes the learning rate far; with decoupled decay, a share of the parameter more.</summary>
    [Theory]
    [InlineData(false, 1 - 0.1)]
    [InlineData(true, 1 - 0.1 - (0.1 * 0.2 * 1))]
    public void Decoupled_decay_stays_out_of_the_moments(bool decoupled, double expected)
    {
        var step = new AdamStep(1, LearningRate: 0.1f, WeightDecay: 0.2f, DecoupledDecay: decoupled);
        var (parameter, first, second) = Adam.Step(1, 0.5, 0, 0, step);
        double gradient = decoupled ? 0.5 : 0.5 + 0.2;
        Assert.Equal(expected, parameter, 1e-7);
        Assert.Equal(0.1 * gradient, first, 1e-7);
        Assert.Equal(0.001 * gradient * gradient, second, 1e-7);
    }

    /// <summary>Number of parameters, weight decay, gradient scale.</summary>
    public static TheoryData<string, int, float, float> Cases => Backends.Times(
        (1, 0f, 1f), (5, 0.01f, 1f), (37, 0f, 0.25f), (130, 0.1f, 0.5f), (5003, 0.01f, 0.5f));

    [Theory]
    [MemberData(nameof(Cases))]
    public void Several_steps_follow_the_formula(string backend, int length, float weightDecay, float gradientScale) =>
        CheckSteps(backend, length, Step(1, weightDecay), gradientScale);

    [Theory]
    [MemberData(nameof(Cases))]
    public void Several_steps_with_decoupled_decay_follow_the_formula(string backend, int length, float weightDecay, float gradientScale) =>
        CheckSteps(
            backend, length, Step(1, 10 * weightDecay) with { Beta1 = 0.8f, Beta2 = 0.98f, DecoupledDecay = true }, gradientScale);

    private static void CheckSteps(string backend, int length, AdamStep step, float gradientScale)
    {
        var results = Train(backend, length, step, gradientScale);
        double[] start = Start(length);
        double[] parameters = [.. start], first = new double[length], second = new double[length];
        for (int t = 1; t <= Steps; t++)
        {
            float[] gradients = Gradients(length, t);
            for (int i = 0; i < length; i++)
                (parameters[i], first[i], second[i]) = Adam.Step(
                    parameters[i], gradients[i], first[i], second[i], step with { Step = t }, gradientScale);
        }

        // Where a parameter ends up is known to float's rounding of the parameter; how it got there, to 10⁻⁵ of the way.
        double moved = Math.Sqrt(parameters.Zip(start, (end, begin) => (end - begin) * (end - begin)).Sum());
        double rounding = Math.Sqrt(Steps * parameters.Sum(value => value * value)) * 6e-8;
        Numbers.Close("parameters", Column(parameters), results["parameters"], 1, (1e-5 * moved) + rounding);
        Numbers.Close("first moments", Column(first), results["first"], 1e-6);
        Numbers.Close("second moments", Column(second), results["second"], 1e-6);
        Assert.All(results["gradients"], value => Assert.Equal(0f, value));
    }

    [Theory]
    [MemberData(nameof(Backends.All), MemberType = typeof(Backends))]
    public void A_parameter_without_gradient_stays(string backend)
    {
        float[] parameters = Bench.On(backend, bench =>
        {
            Tensor values = bench.Tensor([.. Enumerable.Repeat(0.3f, 37)], 37), gradients = bench.Tensor(new float[37], 37);
            bench.Kernels.Adam(values, gradients, bench.Tensor(new float[37], 37), bench.Tensor(new float[37], 37), default, Step(1, 0));
            return values.ToArray();
        });
        Assert.All(parameters, value => Assert.Equal(0.3f, value));
    }

    /// <summary>The arenas of the model start at an aligned address, where kernels may take several floats at a time.</summary>
    [Theory]
    [MemberData(nameof(Backends.All), MemberType = typeof(Backends))]
    public void Aligned_buffers_step_like_others(string backend)
    {
        const int length = 1003;
        var expected = Train(backend, length, Step(1, 0.01f), 1);
        float[] parameters = Bench.On(backend, bench =>
        {
            using DeviceBuffer<float> values = bench.Kernels.AllocateFloats(length), gradients = bench.Kernels.AllocateFloats(length);
            using DeviceBuffer<float> first = bench.Kernels.AllocateFloats(length), second = bench.Kernels.AllocateFloats(length);
            values.Upload([.. Start(length).Select(value => (float)value)]);
            for (int t = 1; t <= Steps; t++)
            {
                gradients.Upload(Gradients(length, t));
                bench.Kernels.Adam(
                    Tensor.Of(values),
                    Tensor.Of(gradients),
                    Tensor.Of(first),
                    Tensor.Of(second),
                    bench.Tensor([1, 1], 2),
                    Step(t, 0.01f) with { MaximumNorm = 2 });
            }
            Assert.All(Tensor.Of(gradients).ToArray(), value => Assert.Equal(0f, value));
            return Tensor.Of(values).ToArray();
        });
        Numbers.Close("parameters", expected["parameters"].ToMatrix(1), parameters, 1e-7);
    }

    /// <summary>Rows of the table, columns, and how many of the rows have a gradient.</summary>
    public static TheoryData<string, int, int, int> Tables => Backends.Times((1, 1, 1), (9, 1, 4), (11, 5, 3), (70, 64, 40), (30, 300, 7));

    [Theory]
    [MemberData(nameof(Tables))]
    public void Rows_of_a_table_step_by_the_formula_and_the_others_stay(string backend, int items, int columns, int count)
    {
        var random = new Random(items);
        int[] rows = [.. Enumerable.Range(0, items)];
        random.Shuffle(rows);
        rows = rows[..count];
        Matrix<double> start = random.Normal(items, columns), gradients = random.Normal(count, columns);
        Matrix<double> first = random.Normal(items, columns), second = random.Normal(items, columns).PointwiseAbs();
        var step = Step(3, 0.01f) with { MaximumNorm = 2, DecoupledDecay = true };
        var expected = Adam.StepRows(start, rows, gradients, first, second, step, Adam.Clip(5, 2));
        var results = Bench.On(backend, bench =>
        {
            Tensor p = bench.Tensor(start), g = bench.Tensor(gradients), m = bench.Tensor(first), v = bench.Tensor(second);
            bench.Kernels.AdamRows(p, bench.Indices(rows), g, m, v, bench.Tensor([3, 4], 2), step);
            return Results.Of(("parameters", p), ("gradients", g), ("first", m), ("second", v));
        });

        Numbers.Close("parameters", expected.Parameters, results["parameters"], 2e-7);
        Numbers.Close("first moments", expected.FirstMoments, results["first"], 2e-7);
        Numbers.Close("second moments", expected.SecondMoments, results["second"], 2e-7);
        Assert.All(results["gradients"], value => Assert.Equal(0f, value));
        float[] before = start.ToFloats();
        foreach (int row in Enumerable.Range(0, items).Except(rows))
            Assert.Equal(before[(row * columns)..((row + 1) * columns)], results["parameters"][(row * columns)..((row + 1) * columns)]);
    }

    protected override IReadOnlyDictionary<string, float[]> Run(string backend) => Train(backend, 1003, Step(1, 0.01f), 0.5f);

    private static Dictionary<string, float[]> Train(string backend, int length, AdamStep step, float scale) => Bench.On(backend, bench =>
    {
        var parameters = bench.Tensor([.. Start(length).Select(value => (float)value)], length);
        Tensor first = bench.Tensor(new float[length], length), second = bench.Tensor(new float[length], length);
        var gradients = bench.Garbage(1, length);
        // Two parts of a norm that is clipped to a share of it; or nothing to clip by.
        float part = MathF.Sqrt(2) / scale;
        var norms = scale == 1 ? default : bench.Tensor([part, part], 2);
        for (int t = 1; t <= Steps; t++)
        {
            gradients.Upload(Gradients(length, t));
            bench.Kernels.Adam(
                parameters, gradients, first, second, norms,
                step with { Step = t, MaximumNorm = scale == 1 ? float.PositiveInfinity : 2 });
        }
        return Results.Of(("parameters", parameters), ("first", first), ("second", second), ("gradients", gradients));
    });

    private static AdamStep Step(int t, float weightDecay) => new(t, LearningRate: 1e-2f, WeightDecay: weightDecay);

    private static double[] Start(int length) => new Random(length).Normal(length, 1).ToColumnMajorArray();

    /// <summary>Gradients of very different sizes, as those of embeddings and of biases are.</summary>
    private static float[] Gradients(int length, int t)
    {
        var random = new Random((1000 * t) + length);
        return [.. random.Normal(length, 1).ToFloats().Select(value => value * MathF.Pow(10, -random.Next(5)))];
    }

    private static Matrix<double> Column(double[] values) => Matrix<double>.Build.Dense(values.Length, 1, values);
}
