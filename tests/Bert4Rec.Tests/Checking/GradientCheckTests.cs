using Bert4Rec.Checking;
using Bert4Rec.Tests.Kernels;

namespace Bert4Rec.Tests.Checking;

/// <summary>gradcheck passes on every device, and finds each backward that is one percent off.</summary>
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

    [Theory]
    [MemberData(nameof(Devices))]
    public void Every_kernel_passes(string device)
    {
        var results = GradientCheck.Run(device, null, 1, null, null);
        Assert.Equal(GradientCheck.Kernels, results.Select(result => result.Kernel).Distinct());
        Assert.All(results, result => Assert.True(result.Passed, result.ToString()));
    }

    [Theory]
    [MemberData(nameof(Broken))]
    public void A_broken_kernel_is_caught(string device, string kernel)
    {
        var results = GradientCheck.Run(device, kernel, 1, kernel, null);
        Assert.Contains(results, result => !result.Passed);
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
}
