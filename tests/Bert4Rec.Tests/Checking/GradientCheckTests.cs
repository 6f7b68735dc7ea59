using Bert4Rec.Checking;
using Bert4Rec.Kernels;
using Bert4Rec.Model;
using Bert4Rec.Tests.Faults;
using Bert4Rec.Tests.Kernels;

namespace Bert4Rec.Tests.Checking;

/// <summary>
/// gradcheck passes on every device, and finds each backward that is one percent off, that sets what it should add to, and that leaves out
/// one of its results.
/// </summary>
public class GradientCheckTests
{
    private static IEnumerable<string> Names => new[] { "cpu" }.Concat(Backends.Gpus);

    public static TheoryData<string> Devices => [.. Names];

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

    /// <summary>A backward that sets (=) what it should add to (+=).</summary>
    [Theory]
    [InlineData("embedding", nameof(KernelSet.EmbeddingBackward), 0)]
    [InlineData("embedding", nameof(KernelSet.EmbeddingBackward), 1)]
    [InlineData("gather-rows", nameof(KernelSet.GatherRowsBackward), 0)]
    [InlineData("linear", nameof(KernelSet.LinearBackwardInput), 0)]
    [InlineData("linear", nameof(KernelSet.LinearBackwardWeight), 0)]
    [InlineData("linear", nameof(KernelSet.LinearBackwardWeight), 1)]
    [InlineData("layer-norm", nameof(KernelSet.LayerNormBackward), 0)]
    [InlineData("layer-norm", nameof(KernelSet.LayerNormBackward), 1)]
    [InlineData("softmax-cross-entropy", nameof(KernelSet.SoftmaxCrossEntropyBackward), 0)]
    [InlineData("softmax-cross-entropy", nameof(KernelSet.SoftmaxCrossEntropyBackward), 1)]
    public void A_gradient_that_is_not_added_is_caught(string kernel, string operation, int result) =>
        IsCaught(kernel, new Planted(operation, result, (after, before) => after - before));

    /// <summary>Moments that stay, and gradients: the operation adds to the parameters and both moments, and sets the gradients.</summary>
    [Theory]
    [InlineData("adam", nameof(KernelSet.Adam), 0)]
    [InlineData("adam", nameof(KernelSet.Adam), 1)]
    [InlineData("adam", nameof(KernelSet.Adam), 2)]
    [InlineData("adam", nameof(KernelSet.Adam), 3)]
    [InlineData("adam-rows", nameof(KernelSet.AdamRows), 0)]
    [InlineData("adam-rows", nameof(KernelSet.AdamRows), 1)]
    [InlineData("adam-rows", nameof(KernelSet.AdamRows), 2)]
    [InlineData("adam-rows", nameof(KernelSet.AdamRows), 3)]
    public void What_stays_as_it_was_is_caught(string kernel, string operation, int result) =>
        IsCaught(kernel, new Planted(operation, result, (_, before) => before));

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

    [Fact]
    public void The_whole_model_shows_what_is_broken_in_it()
    {
        string[] differentiable =
            ["embedding", "gather-rows", "linear", "gelu", "dropout", "layer-norm", "attention", "softmax-cross-entropy"];
        foreach (string kernel in differentiable)
            Assert.Contains(GradientCheck.Run("cpu", "model", 1, kernel, null), result => !result.Passed);
    }

    [Fact]
    public void Sampled_softmax_shows_what_is_broken_in_it()
    {
        foreach (string kernel in new[] { "gather-rows", "softmax-cross-entropy" })
            Assert.Contains(GradientCheck.Run("cpu", "sampled-softmax", 1, kernel, null), result => !result.Passed);
    }

    [Fact]
    public void Not_a_number_does_not_pass() => Assert.False(new CheckResult("x", "", double.NaN, null, null, 1).Passed);

    private static void IsCaught(string kernel, Planted bug)
    {
        using var devices = new DeviceSet("cpu", 1);
        var results = GradientCheck.Observed(devices.Kernels[0], kernel, 1, bug, withLarge: false);
        Assert.Contains(results, result => !result.Passed);
    }

    private sealed class Told(Action<ProgressUpdate> told) : IProgress<ProgressUpdate>
    {
        public void Report(ProgressUpdate value) => told(value);
    }

    /// <summary>Changes a result of an operation, as a mistake would.</summary>
    /// <param name="operation">Which.</param>
    /// <param name="result">Counts what is added to, then what is set.</param>
    /// <param name="change">The result, of what it is and what was there before.</param>
    private sealed class Planted(string operation, int result, Func<float, float, float> change) : IKernelObserver
    {
        private float[] _before = [];

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
