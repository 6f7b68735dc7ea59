using Bert4Rec.Kernels.Reference;

namespace Bert4Rec.Tests.Kernels;

public class GeluTests : LayerTests
{
    /// <summary>erf, and exp inside the slope, wherever their approximations change form: every 2⁻¹⁰ from −20 to 20.</summary>
    [Theory]
    [MemberData(nameof(Backends.All), MemberType = typeof(Backends))]
    public void Gelu_and_its_slope_are_exact_to_float_over_a_dense_range(string backend)
    {
        float[] u = [.. Enumerable.Range(-20 * 1024, (40 * 1024) + 1).Select(i => i / 1024f)];
        var (gelu, slope) = At(backend, u);
        for (int i = 0; i < u.Length; i++)
        {
            double allowed = 3e-7 * Math.Max(1, Math.Abs(u[i]));
            Assert.True(Math.Abs(gelu[i] - Gelu.Value(u[i])) <= allowed, $"gelu({u[i]}) = {gelu[i]:g9}, not {Gelu.Value(u[i]):g9}");
            Assert.True(Math.Abs(slope[i] - Gelu.Slope(u[i])) <= 4e-7, $"gelu'({u[i]}) = {slope[i]:g9}, not {Gelu.Slope(u[i]):g9}");
        }
    }

    [Theory]
    [MemberData(nameof(Backends.All), MemberType = typeof(Backends))]
    public void Far_out_gelu_is_the_identity_or_zero(string backend)
    {
        float[] u = [0, 1e-30f, 50, 1e4f, 1e15f, -50, -1e4f, -1e15f];
        var (gelu, slope) = At(backend, u);
        for (int i = 0; i < u.Length; i++)
        {
            // An exp that stops at the smallest normal float, 1.2e-38, is near enough to zero.
            double allowed = (2e-7 * Math.Abs(Gelu.Value(u[i]))) + (2e-38 * Math.Abs(u[i]));
            Assert.InRange(gelu[i] - Gelu.Value(u[i]), -allowed, allowed);
            Assert.InRange(slope[i] - Gelu.Slope(u[i]), -2e-7, 2e-7);
        }
    }

    [Theory]
    [MemberData(nameof(Backends.All), MemberType = typeof(Backends))]
    public void Backward_multiplies_by_the_slope(string backend)
    {
        var random = new Random(3);
        foreach (int rows in new[] { 1, 5, 37 })
        {
            var (dy, slope) = (random.Normal(rows, 20), random.Normal(rows, 20));
            float[] product = Bench.On(backend, bench =>
            {
                var tensor = bench.Tensor(dy);
                bench.Kernels.GeluBackward(tensor, bench.Tensor(slope));
                return tensor.ToArray();
            });
            Numbers.Close("dy ∘ slope", Gelu.Backward(dy, slope), product, 1e-7);
        }
    }

    protected override IReadOnlyDictionary<string, float[]> Run(string backend)
    {
        var (gelu, slope) = At(backend, new Random(4).Normal(1, 1000, 2).ToFloats());
        return new Dictionary<string, float[]> { ["gelu"] = gelu, ["slope"] = slope };
    }

    /// <summary>A product with the 1 × 1 identity leaves nothing but the gelu.</summary>
    private static (float[] Gelu, float[] Slope) At(string backend, float[] u) => Bench.On(backend, bench =>
    {
        var (y, slope) = (bench.Garbage(u.Length, 1), bench.Garbage(u.Length, 1));
        bench.Kernels.LinearGeluForward(bench.Tensor(u, 1), new(bench.Tensor([1], 1), bench.Tensor([0], 1)), y, slope);
        return (y.ToArray(), slope.ToArray());
    });
}
