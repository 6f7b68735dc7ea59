using System.Reflection;
using Bert4Rec.Checking;
using Bert4Rec.Kernels;
using Bert4Rec.Model;
using Bert4Rec.Tests.Faults;
using Bert4Rec.Tests.Kernels;

namespace Bert4Rec.Tests.Checking;

/// <summary>
/// gradcheck passes on every device, and finds each backward that is one percent off, that sets what it should add to, and that leaves out
/// one of its results; and no operation is left unchecked.
/// </summary>
public class GradientCheckTests
{
    private const string Core = "Core";

    private static IEnumerable<string> Names => new[] { "cpu" }.Concat(Backends.Gpus);

    public static TheoryData<string> Devices => [.. Names];

    public static TheoryData<string> Breakable => [.. GradientCheck.Breakable];

    public static TheoryData<string, string> Broken()
    {
        var data = new TheoryData<string, string>();
        foreach (string device in Names)
            foreach (string kernel in GradientCheck.Breakable)
                data.Add(device, kernel);
        return data;
    }

    [Fact]
    public void What_is_no_kernel_is_refused()
    {
        Assert.Equal("kernel", Assert.Throws<ArgumentException>(() => GradientCheck.Run("cpu", "nope", 1, null, null)).ParamName);
        Assert.Equal("broken", Assert.Throws<ArgumentException>(() => GradientCheck.Run("cpu", null, 1, "nope", null)).ParamName);
    }

    /// <summary>On simulated devices the large shapes, which take their time there, when campaigns are asked for.</summary>
    [Theory]
    [MemberData(nameof(Devices))]
    public void Every_kernel_passes(string device)
    {
        using var devices = new DeviceSet(device, 1);
        bool withLarge = device == "cpu" || Campaign.Cases >= 1000;
        var results = GradientCheck.Run(devices.Kernels[0], null, 1, null, null, Precision.Full, withLarge);
        Assert.Equal(GradientCheck.Kernels, results.Select(result => result.Kernel).Distinct());
        Assert.All(results, result => Assert.True(result.Passed, result.ToString()));
    }

    /// <summary>At the small shapes, which are enough for that.</summary>
    [Theory]
    [MemberData(nameof(Broken))]
    public void A_broken_kernel_is_caught(string device, string kernel)
    {
        using var devices = new DeviceSet(device, 1);
        var results = GradientCheck.Run(devices.Kernels[0], kernel, 1, kernel, null, Precision.Full, withLarge: false);
        Assert.Contains(results, result => !result.Passed);
    }

    [Theory]
    [InlineData("gelu", "layer-norm")]
    [InlineData("model-next-item", "gelu")]
    public void What_is_broken_must_be_called(string kernel, string broken)
    {
        var error = Assert.Throws<InputException>(() => GradientCheck.Run("cpu", kernel, 1, broken, null));
        Assert.StartsWith($"--break {broken} would not be seen", error.Message, StringComparison.Ordinal);
        Assert.True(error.IsWrongUsage);
    }

    /// <summary>
    /// Of every operation that the kernel's check calls: a result that stays as it was, and one that is set (=) where it should be added to
    /// (+=).
    /// </summary>
    [Theory]
    [MemberData(nameof(Breakable))]
    public void A_result_that_is_left_out_or_not_added_is_caught(string kernel)
    {
        var calls = Watched(kernel);
        string operations = string.Join(", ", calls.Keys);
        Assert.True(
            calls.Keys.Any(operation => BrokenKernel.NameOf(operation) == kernel),
            $"{kernel} can be broken only if an operation is called so: BrokenKernel makes its name from one of {operations}");
        foreach (var (operation, (added, set)) in calls)
        {
            for (int result = 0; result < added + set; result++)
                IsCaught(kernel, new Planted(operation, result, (_, before) => before));
            for (int result = 0; result < added; result++)
                IsCaught(kernel, new Planted(operation, result, (after, before) => after - before));
        }
    }

    /// <summary>
    /// It tells Begin of all that it writes, or it cannot be spoiled there. Forwards never are, and leave out what is small.
    /// </summary>
    [Theory]
    [MemberData(nameof(Breakable))]
    public void An_operation_says_what_it_writes(string kernel)
    {
        using var devices = new DeviceSet("cpu", 1);
        foreach (var source in KernelCases.All(4, 256).Where(source => source.Kernel == kernel && !source.IsLarge))
        {
            var check = source.Draw(new Random(1));
            using var memory = new CheckMemory(devices.Kernels[0]);
            Tensor[] operands = [.. check.Operands.Append(check.Weights).Select(memory.Put)];
            devices.Kernels[0].Observer = new Writes(memory);
            check.Run(memory, operands);
            devices.Kernels[0].Observer = null;
        }
    }

    /// <summary>What no check calls may be wrong unseen.</summary>
    [Fact]
    public void Every_operation_is_checked()
    {
        string[] operations =
        [
            .. typeof(KernelSet).GetMethods(BindingFlags.Instance | BindingFlags.NonPublic)
                .Where(method => method.IsAbstract && method.Name.EndsWith(Core, StringComparison.Ordinal))
                .Select(method => method.Name[..^Core.Length]),
        ];
        Assert.NotEmpty(operations);
        string[] missing = [.. operations.Except(Watched(null).Keys)];
        Assert.True(missing.Length == 0, $"no case of KernelCases calls {string.Join(", ", missing)}");
    }

    /// <summary>The larger shapes are compared with the derivation alone, and every kernel has one.</summary>
    [Fact]
    public void Larger_shapes_have_no_differences()
    {
        using var devices = new DeviceSet("cpu", 1);
        var small = GradientCheck.Run(devices.Kernels[0], "linear", 1, null, null, Precision.Full, withLarge: false);
        var all = GradientCheck.Run(devices.Kernels[0], "linear", 1, null, null, Precision.Full);
        Assert.Equal(small, all.Where(result => result.DifferencesError is not null));
        Assert.All(all, result => Assert.NotNull(result.BackwardError));
        Assert.Equal(
            GradientCheck.Kernels.Where(kernel => !kernel.StartsWith("model", StringComparison.Ordinal)),
            KernelCases.All(4, 256).Where(check => check.IsLarge).Select(check => check.Kernel).Distinct());
    }

    [Fact]
    public void Progress_counts_what_is_reported()
    {
        var told = new List<ProgressUpdate>();
        var results = GradientCheck.Run("cpu", "model-next-item", 1, null, new Told(told.Add));
        Assert.Equal(Enumerable.Range(1, results.Count).Select(done => (long)done), told.Select(update => update.Done));
        Assert.All(told, update => Assert.Equal(results.Count, update.Total));
    }

    [Theory]
    [InlineData("model")]
    [InlineData(KernelCases.SampledSoftmaxName)]
    public void What_is_made_of_kernels_shows_what_is_broken_in_it(string whole)
    {
        var names = Watched(whole).Keys.Select(BrokenKernel.NameOf).ToHashSet();
        string[] kernels = [.. GradientCheck.Breakable.Where(names.Contains)];
        Assert.NotEmpty(kernels);
        foreach (string kernel in kernels)
            Assert.Contains(GradientCheck.Run("cpu", whole, 1, kernel, null), result => !result.Passed);
    }

    [Fact]
    public void Not_a_number_does_not_pass() => Assert.False(new CheckResult("x", "", double.NaN, null, null, 1).Passed);

    private static void IsCaught(string kernel, Planted bug)
    {
        using var devices = new DeviceSet("cpu", 1);
        var results = GradientCheck.Observed(devices.Kernels[0], kernel, 1, bug, withLarge: false);
        Assert.True(results.Any(result => !result.Passed), $"the check of {kernel} does not see {bug}");
    }

    /// <summary>The operations that a check calls, or all checks do, and how many results each adds to and sets.</summary>
    private static Dictionary<string, (int Added, int Set)> Watched(string? kernel)
    {
        using var devices = new DeviceSet("cpu", 1);
        var watch = new Watch();
        GradientCheck.Observed(devices.Kernels[0], kernel, 1, watch, withLarge: false);
        return watch.Calls;
    }

    private sealed class Watch : IKernelObserver
    {
        public Dictionary<string, (int Added, int Set)> Calls { get; } = [];

        public void Before(in KernelCall call) => Calls[call.Operation] = (call.Added.Length, call.Set.Length);

        public void After(in KernelCall call)
        {
        }
    }

    private sealed class Told(Action<ProgressUpdate> told) : IProgress<ProgressUpdate>
    {
        public void Report(ProgressUpdate value) => told(value);
    }

    /// <summary>Compares all memory before and after a call.</summary>
    private sealed class Writes(CheckMemory memory) : IKernelObserver
    {
        private float[][] _before = [];

        public void Before(in KernelCall call) => _before = Read();

        public void After(in KernelCall call)
        {
            if (call.Operation.Contains("Forward", StringComparison.Ordinal))
                return;
            var buffers = memory.Floats.ToArray();
            Tensor[] said = [.. call.Set, .. call.Added];
            foreach (var (i, values) in Read().Index())
            {
                var known = said.Where(tensor => tensor.Buffer == buffers[i]).ToArray();
                bool isSaid = values.Index().All(now =>
                    now.Item.Equals(_before[i][now.Index])
                    || known.Any(tensor => now.Index >= tensor.Offset && now.Index < tensor.Offset + tensor.Length));
                Assert.True(isSaid, $"{call.Operation} writes {values.Length} floats that it does not tell Begin of");
            }
        }

        private float[][] Read() => [.. memory.Floats.Select(buffer => Tensor.Of(buffer).ToArray())];
    }

    /// <summary>Changes a result of an operation, as a mistake would.</summary>
    /// <param name="operation">Which.</param>
    /// <param name="result">Counts what is added to, then what is set.</param>
    /// <param name="change">The result, of what it is and what was there before.</param>
    private sealed class Planted(string operation, int result, Func<float, float, float> change) : IKernelObserver
    {
        private float[] _before = [];

        public override string ToString() => $"what is wrong with result {result} of {operation}";

        public void Before(in KernelCall call)
        {
            if (call.Operation == operation && !Result(call).IsNone)
                _before = Result(call).ToArray();
        }

        public void After(in KernelCall call)
        {
            if (call.Operation == operation && !Result(call).IsNone)
                Result(call).Upload([.. Result(call).ToArray().Zip(_before, change)]);
        }

        private Tensor Result(in KernelCall call) =>
            result < call.Added.Length ? call.Added[result] : call.Set[result - call.Added.Length];
    }
}
