using Bert4Rec.Kernels;
using Bert4Rec.Model;
using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Checking;

/// <summary>What the check of a kernel at one shape found.</summary>
/// <param name="Kernel">Its name.</param>
/// <param name="Shape">The shape, and what else matters of the case.</param>
/// <param name="ForwardError">‖result − formula‖ / ‖formula‖, the formula in double precision.</param>
/// <param name="BackwardError">
/// The largest ‖gradient − differences‖ / ‖differences‖ of its operands, by central differences of the formula; null where it has no backward.
/// </param>
/// <param name="Bound">What neither may exceed.</param>
public sealed record CheckResult(string Kernel, string Shape, double ForwardError, double? BackwardError, double Bound)
{
    /// <summary>NaN does not pass.</summary>
    public bool Passed => ForwardError <= Bound && (BackwardError ?? 0) <= Bound;
}

/// <summary>
/// Holds every kernel of a device, forward and backward, against the double-precision formula and its central differences, and then a whole
/// small model. The objective is always Σ result ∘ w with random w, so that one backward pass gives a gradient for each operand.
/// </summary>
public static class GradientCheck
{
    /// <summary>
    /// Float32 sums of some hundred products are off by 10⁻⁷ to 10⁻⁶; a backward that is wrong by one percent is off by 10⁻².
    /// </summary>
    private const double Bound = 1e-5;

    /// <summary>
    /// Operands in TF32 have eleven significant bits, so a product of two is off by 10⁻³ at most, and a whole model's gradients, behind a dozen
    /// products, by a little more.
    /// </summary>
    private const double Tf32Bound = 5e-3;

    /// <summary>Step of the differences, of fourth order: their error is some 10⁻¹⁰.</summary>
    private const double Step = 1e-3;

    /// <summary>Kernels that can be broken: all but the model, which is made of them.</summary>
    public static IReadOnlyList<string> Breakable { get; } = [.. KernelCases.All(new Random(0)).Select(check => check.Kernel).Distinct()];

    /// <summary>What can be checked, in the order of the model.</summary>
    public static IReadOnlyList<string> Kernels { get; } = [.. Breakable, ModelCase.Name];

    /// <summary>Checks one kernel or all of them.</summary>
    /// <param name="device">As on the command line.</param>
    /// <param name="kernel">One of <see cref="Kernels"/>, or null for all.</param>
    /// <param name="seed">Of the operands.</param>
    /// <param name="broken">A kernel whose backward is to be wrong by a factor of 1.01, to see it caught; or null.</param>
    /// <param name="progress">Told after each check.</param>
    /// <param name="precision">Of products; it decides on the bound.</param>
    /// <exception cref="DeviceException">There is no such device.</exception>
    public static IReadOnlyList<CheckResult> Run(
        string device, string? kernel, int seed, string? broken, IProgress<ProgressUpdate>? progress, Precision precision = Precision.Full)
    {
        using var devices = new DeviceSet(device, 1, precision);
        return Run(devices.Kernels[0], kernel, seed, broken, progress, precision);
    }

    /// <inheritdoc cref="Run(string, string?, int, string?, IProgress{ProgressUpdate}?, Precision)"/>
    internal static IReadOnlyList<CheckResult> Run(
        KernelSet kernels, string? kernel, int seed, string? broken, IProgress<ProgressUpdate>? progress, Precision precision)
    {
        double bound = precision == Precision.Full ? Bound : Tf32Bound;
        KernelCase[] cases = [.. KernelCases.All(new Random(seed)).Where(check => kernel is null || check.Kernel == kernel)];
        bool withModel = kernel is null or ModelCase.Name;
        var results = new List<CheckResult>();
        kernels.Observer = broken is null ? null : new BrokenKernel(broken);
        try
        {
            foreach (var check in cases)
            {
                results.Add(Run(kernels, check, bound));
                progress?.Report(new("checking", results.Count, cases.Length + (withModel ? 1 : 0), "checks"));
            }
            if (withModel)
                results.AddRange(ModelCase.Run(kernels, seed, bound));
        }
        finally
        {
            kernels.Observer = null;
        }
        return results;
    }

    private static CheckResult Run(KernelSet kernels, KernelCase check, double bound)
    {
        using var memory = new CheckMemory(kernels);
        // The last tensor is w.
        var (result, gradients) = check.Run(memory, [.. check.Operands.Append(check.Weights).Select(memory.Put)]);
        var expectedResult = check.Formula(check.Operands);
        // A list of another length is wrong, whatever is on it.
        double forward = result.Length == (long)expectedResult.RowCount * expectedResult.ColumnCount
            ? RelativeError(expectedResult, result.ToArray())
            : double.NaN;
        double? backward = null;
        for (int i = 0; i < gradients.Length; i++)
        {
            if (gradients[i].IsNone)
                continue;
            var expected = Differences(x => Objective(check, i, x), check.Operands[i]);
            backward = Worse(backward, RelativeError(expected, gradients[i].ToArray()));
        }
        return new(check.Kernel, check.Shape, forward, backward, bound);
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
    internal static double RelativeError(Matrix<double> expected, float[] actual, double floor = 0)
    {
        double error = 0, norm = 0;
        for (int i = 0; i < actual.Length; i++)
        {
            double value = expected[i / expected.ColumnCount, i % expected.ColumnCount];
            error += (actual[i] - value) * (actual[i] - value);
            norm += value * value;
        }
        return error == 0 ? 0 : Math.Sqrt(error) / Math.Max(floor, Math.Sqrt(norm));
    }

    /// <summary>The larger of two errors; NaN is the worst.</summary>
    internal static double Worse(double? a, double b) => a is double other ? Math.Max(other, b) : b;

    private static double Objective(KernelCase check, int operand, Matrix<double> x)
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

    public KernelSet Kernels { get; } = kernels;

    public Tensor Put(Matrix<double> values)
    {
        var tensor = Zeros(values.RowCount, values.ColumnCount);
        tensor.Upload([.. values.ToRowMajorArray().Select(value => (float)value)]);
        return tensor;
    }

    public Tensor Zeros(int rows, int columns)
    {
        var buffer = Kernels.AllocateFloats((long)rows * columns);
        _buffers.Add(buffer);
        return new(buffer, 0, rows, columns);
    }

    public Indices Put(params int[] values)
    {
        var buffer = Kernels.AllocateInts(values.Length);
        _buffers.Add(buffer);
        buffer.Upload(values);
        return Indices.Of(buffer);
    }

    public void Dispose() => _buffers.ForEach(buffer => buffer.Dispose());
}
