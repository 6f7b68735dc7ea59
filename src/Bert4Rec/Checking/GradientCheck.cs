using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Gpu;
using Bert4Rec.Model;
using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Checking;

/// <summary>What the check of a kernel at one shape found.</summary>
/// <param name="Kernel">Its name.</param>
/// <param name="Shape">The shape, and what else matters of the case.</param>
/// <param name="ForwardError">
/// ‖result − formula‖ / ‖formula‖, the formula in double precision: the largest of its results'. Whole numbers are right, 0, or
/// not, 1.
/// </param>
/// <param name="BackwardError">
/// The largest ‖gradient − derivation‖ / ‖derivation‖ of its operands, the derivation in double precision; null where it has no
/// backward.
/// </param>
/// <param name="DifferencesError">
/// The same against central differences of the formula, which know nothing of the derivation; null where it has no backward, and where
/// the shape is too large to take them.
/// </param>
/// <param name="Bound">What none of them may exceed.</param>
public sealed record CheckResult(
    string Kernel, string Shape, double ForwardError, double? BackwardError, double? DifferencesError, double Bound)
{
    /// <summary>NaN does not pass.</summary>
    public bool Passed => ForwardError <= Bound && (BackwardError ?? 0) <= Bound && (DifferencesError ?? 0) <= Bound;
}

/// <summary>
/// Holds every kernel of a device, forward and backward, against the formula and its derivation in double precision and, at small shapes,
/// against the formula's central differences, and then whole small models. The objective is always Σ result ∘ w with random w, so that
/// one backward pass gives a gradient for each operand.
/// </summary>
public static class GradientCheck
{
    /// <summary>
    /// A product in TF32 is off by 10⁻³ at most, for operands of eleven significant bits; in bfloat16, of eight, by 9 · 10⁻³.
    /// </summary>
    private const double Tf32Bound = 5e-3, Bf16Bound = 2e-2;

    /// <summary>
    /// A whole model's gradients, behind a dozen products; those of queries and keys cancel: up to 2 · 10⁻² in TF32, 0.11 in bfloat16.
    /// </summary>
    private const double Tf32ModelBound = 5e-2, Bf16ModelBound = 3e-1;

    /// <summary>Two layers one after the other, and cancelling terms in each.</summary>
    private const double ModelBound = 5e-5;

    /// <summary>
    /// Step of the differences, of fourth order: their error is some 10⁻¹¹ of the gradient, a whole model's some 10⁻⁹.
    /// </summary>
    private const double Step = 2e-4;

    /// <summary>Where a device has none: shapes as on the emulator.</summary>
    private const int FewMultiprocessors = 4, WideGroup = 256;

    /// <summary>What is broken is off by so many bounds, and by a percent at least.</summary>
    private const double BrokenBounds = 5, LeastBroken = 0.01;

    /// <summary>What can be checked, in the order of the model.</summary>
    public static IReadOnlyList<string> Kernels { get; } =
    [
        .. KernelCases.All(FewMultiprocessors, WideGroup).Select(check => check.Kernel).Distinct(),
        .. ModelCase.All.Select(model => model.Name),
    ];

    /// <summary>Kernels that can be broken: all but the models and the sampled softmax, which are made of them.</summary>
    public static IReadOnlyList<string> Breakable { get; } =
        [.. Kernels.Except([KernelCases.SampledSoftmaxName, .. ModelCase.All.Select(model => model.Name)])];

    /// <summary>Checks one kernel or all of them.</summary>
    /// <param name="device">As on the command line.</param>
    /// <param name="kernel">One of <see cref="Kernels"/>, or null for all.</param>
    /// <param name="seed">Of the operands.</param>
    /// <param name="broken">
    /// A kernel whose backward is to be wrong by a percent, or five times the bound where that is more, to see it caught; or null.
    /// </param>
    /// <param name="progress">Told after each check.</param>
    /// <param name="precision">Of products; it decides on the bound.</param>
    /// <exception cref="ArgumentException">There is no such kernel.</exception>
    /// <exception cref="DeviceException">There is no such device.</exception>
    /// <exception cref="InputException">What is broken is in nothing that is checked.</exception>
    public static IReadOnlyList<CheckResult> Run(
        string device, string? kernel, int seed, string? broken, IProgress<ProgressUpdate>? progress, Precision precision = Precision.Full)
    {
        if (kernel is not null && !Kernels.Contains(kernel))
            throw new ArgumentException($"{kernel} is not one of {string.Join(", ", Kernels)}", nameof(kernel));
        if (broken is not null && !Breakable.Contains(broken))
            throw new ArgumentException($"{broken} is not one of {string.Join(", ", Breakable)}", nameof(broken));
        using var devices = new DeviceSet(device, 1, precision);
        return Run(devices.Kernels[0], kernel, seed, broken, progress, precision);
    }

    /// <summary>The same on kernels that are there, of this precision.</summary>
    /// <param name="withLarge">Whether to check the larger shapes too.</param>
    /// <inheritdoc cref="Run(string, string?, int, string?, IProgress{ProgressUpdate}?, Precision)"/>
    internal static IReadOnlyList<CheckResult> Run(
        KernelSet kernels,
        string? kernel,
        int seed,
        string? broken,
        IProgress<ProgressUpdate>? progress,
        Precision precision,
        bool withLarge = true)
    {
        var spoiler = broken is null ? null : new BrokenKernel(broken);
        var results = Observed(kernels, kernel, seed, spoiler, progress, precision, withLarge);
        if (spoiler is { Calls: 0 })
            throw new InputException($"--break {broken} would not be seen: --kernel checks {kernel} alone.") { IsWrongUsage = true };
        return results;
    }

    /// <summary>The same while somebody watches the kernels, or spoils them.</summary>
    internal static IReadOnlyList<CheckResult> Observed(
        KernelSet kernels,
        string? kernel,
        int seed,
        IKernelObserver? observer,
        IProgress<ProgressUpdate>? progress = null,
        Precision precision = Precision.Full,
        bool withLarge = true)
    {
        var all = kernels is GpuKernels gpu
            ? KernelCases.All(gpu.Device.Multiprocessors, gpu.Device.GroupSize)
            : KernelCases.All(FewMultiprocessors, WideGroup);
        CaseSource[] cases = [.. all.Where(check =>
            (kernel is null || check.Kernel == kernel) && (withLarge || !check.IsLarge))];
        ModelCase[] models = [.. ModelCase.All.Where(model => kernel is null || model.Name == kernel)];
        int total = cases.Length + models.Sum(model => model.Checks);
        var results = new List<CheckResult>();
        kernels.Observer = observer;
        try
        {
            foreach (var check in cases)
                Add([Run(kernels, check, seed, BoundOf(check.Kernel))]);
            foreach (var model in models)
                Add(model.Run(kernels, seed, BoundOf(model.Name)));
        }
        finally
        {
            kernels.Observer = null;
        }
        return results;

        void Add(IEnumerable<CheckResult> found)
        {
            foreach (var result in found)
            {
                results.Add(result);
                progress?.Report(new("checking", results.Count, total, "checks"));
            }
        }

        double BoundOf(string name)
        {
            double bound = Bound(name, precision);
            if (observer is BrokenKernel spoiler)
                spoiler.Factor = (float)(1 + Math.Max(LeastBroken, BrokenBounds * bound));
            return bound;
        }
    }

    /// <summary>
    /// What float32, whose rounding is 6 · 10⁻⁸, allows a sound kernel: three to seven times the largest error of sixty seeds on the
    /// cpu, at all its shapes. One percent in a backward is off by 10⁻².
    /// </summary>
    private static double Bound(string kernel, Precision precision) => kernel switch
    {
        "linear" or "gelu" or "softmax-cross-entropy" or KernelCases.SampledSoftmaxName or "top-k"
            when precision != Precision.Full => precision == Precision.Tf32 ? Tf32Bound : Bf16Bound,
        _ when ModelCase.All.Any(model => model.Name == kernel) => precision switch
        {
            Precision.Tf32 => Tf32ModelBound,
            Precision.Bf16 => Bf16ModelBound,
            _ => ModelBound,
        },
        // Whole numbers.
        "cloze-mask" => 0,
        // A rounding or two an element, or sums that keep what they round away.
        "gather-rows" or "dropout" or "gradient-norm" or "adam" or "adam-rows" => 2e-7,
        // Sums along a row, and what an exponential or a root adds.
        "embedding" or "gelu" or "score-items" or "top-k" => 5e-7,
        // Sums over all rows.
        "layer-norm" => 1e-6,
        "linear" or "softmax-cross-entropy" or KernelCases.SampledSoftmaxName => 2e-6,
        // dP − D cancels where one key has nearly all of the probability.
        "attention" => 3e-6,
        _ => throw new ArgumentOutOfRangeException(nameof(kernel), kernel, "no bound stands here for it"),
    };

    private static CheckResult Run(KernelSet kernels, CaseSource source, int seed, double bound)
    {
        var check = source.Draw(new Random(seed));
        using var memory = new CheckMemory(kernels);
        // The last tensor is w.
        var outcome = check.Run(memory, [.. check.Operands.Append(check.Weights).Select(memory.Put)]);
        var expectedResult = check.Formula(check.Operands);
        // A list of another length is wrong, whatever is on it.
        double forward = outcome.Result.Length == (long)expectedResult.RowCount * expectedResult.ColumnCount
            ? RelativeError(expectedResult, outcome.Result.ToArray())
            : double.NaN;
        forward = outcome.OtherErrors.Aggregate(forward, (worst, error) => Worse(worst, error));
        double? backward = null, differences = null;
        foreach (var (i, derived) in check.Derivation(check.Operands, check.Weights).Index())
        {
            double[] gradient = memory.Gained(outcome.Gradients[i]);
            backward = Worse(backward, RelativeError(derived, gradient));
            if (!source.IsLarge && i < check.Operands.Length)
                differences = Worse(differences, RelativeError(Differences(x => Objective(check, i, x), check.Operands[i]), gradient));
        }
        return new(source.Kernel, check.Shape, forward, backward, differences, bound);
    }

    /// <summary>The gradient of f at x, element by element.</summary>
    internal static Matrix<double> Differences(Func<Matrix<double>, double> f, Matrix<double> x) =>
        Matrix<double>.Build.Dense(x.RowCount, x.ColumnCount, (row, column) =>
        {
            double At(double steps)
            {
                var moved = x.Clone();
                moved[row, column] += steps * Step;
                return f(moved);
            }
            return ((8 * (At(1) - At(-1))) - (At(2) - At(-2))) / (12 * Step);
        });

    /// <param name="expected">In double precision.</param>
    /// <param name="actual">Row by row.</param>
    /// <param name="floor">The norm that an error is relative to, at least: where the expected values all but cancel.</param>
    internal static double RelativeError(Matrix<double> expected, float[] actual, double floor = 0) =>
        RelativeError(expected, [.. actual.Select(value => (double)value)], floor);

    /// <inheritdoc cref="RelativeError(Matrix{double}, float[], double)"/>
    private static double RelativeError(Matrix<double> expected, double[] actual, double floor = 0)
    {
        double error = 0, norm = 0;
        for (int i = 0; i < actual.Length; i++)
        {
            double value = expected[i / expected.ColumnCount, i % expected.ColumnCount];
            // Infinity, which is no score, is equal or wrong.
            if (double.IsInfinity(value) && actual[i] == value)
                continue;
            error += (actual[i] - value) * (actual[i] - value);
            norm += value * value;
        }
        return error == 0 ? 0 : Math.Sqrt(error) / Math.Max(floor, Math.Sqrt(norm));
    }

    /// <summary>The larger of two errors; NaN is the worst.</summary>
    private static double Worse(double? a, double b) => a is double other ? Math.Max(other, b) : b;

    internal static double Objective(KernelCase check, int operand, Matrix<double> x)
    {
        Matrix<double>[] operands = [.. check.Operands];
        operands[operand] = x;
        return check.Formula(operands).PointwiseMultiply(check.Weights).ColumnSums().Sum();
    }
}

/// <summary>Memory of one check on one device.</summary>
internal sealed class CheckMemory(KernelSet kernels) : IDisposable
{
    private readonly List<IDisposable> _buffers = [];
    private readonly Dictionary<Tensor, float[]> _before = [];
    private readonly Random _random = new(1);

    public KernelSet Kernels { get; } = kernels;

    /// <summary>All there is of floats.</summary>
    public IEnumerable<DeviceBuffer<float>> Floats => _buffers.OfType<DeviceBuffer<float>>();

    public Tensor Put(Matrix<double> values) => Upload(values, Zeros(values.RowCount, values.ColumnCount));

    /// <summary>One float behind a multiple of 16 bytes.</summary>
    public Tensor PutUnaligned(Matrix<double> values)
    {
        var all = Zeros(1, (values.RowCount * values.ColumnCount) + 1);
        return Upload(values, new(all.Buffer, 1, values.RowCount, values.ColumnCount));
    }

    public Tensor Zeros(int rows, int columns)
    {
        var buffer = Kernels.AllocateFloats((long)rows * columns);
        _buffers.Add(buffer);
        return new(buffer, 0, rows, columns);
    }

    /// <summary>What a kernel is to set (=): until then, NaN.</summary>
    public Tensor ToSet(int rows, int columns)
    {
        var tensor = Zeros(rows, columns);
        tensor.Upload([.. Enumerable.Repeat(float.NaN, rows * columns)]);
        return tensor;
    }

    /// <summary>What a kernel is to add to (+=): random numbers, which <see cref="Gained"/> takes away again.</summary>
    public Tensor ToAdd(int rows, int columns)
    {
        var tensor = Zeros(rows, columns);
        float[] before = [.. Enumerable.Range(0, rows * columns).Select(_ => (float)((2 * _random.NextDouble()) - 1))];
        tensor.Upload(before);
        _before.Add(tensor, before);
        return tensor;
    }

    /// <summary>What was set, or what was added, row by row.</summary>
    public double[] Gained(Tensor tensor) => _before.TryGetValue(tensor, out float[]? before)
        ? [.. tensor.ToArray().Zip(before, (value, start) => (double)value - start)]
        : [.. tensor.ToArray().Select(value => (double)value)];

    public Indices Put(params int[] values)
    {
        var buffer = Kernels.AllocateInts(values.Length);
        _buffers.Add(buffer);
        buffer.Upload(values);
        return Indices.Of(buffer);
    }

    public void Dispose() => _buffers.ForEach(buffer => buffer.Dispose());

    private static Tensor Upload(Matrix<double> values, Tensor tensor)
    {
        tensor.Upload([.. values.ToRowMajorArray().Select(value => (float)value)]);
        return tensor;
    }
}
