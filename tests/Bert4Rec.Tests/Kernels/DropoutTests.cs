using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Reference;

namespace Bert4Rec.Tests.Kernels;

public class DropoutTests : LayerTests
{
    public static TheoryData<string, int, int, float> Cases => Backends.Times(
        (1, 8, 0.2f), (5, 20, 0.3f), (37, 61, 0.5f), (37, 64, 0.1f), (5, 128, 0.9f), (3, 130, 0.2f), (5, 20, 0f), (130, 1, 0.5f));

    [Theory]
    [MemberData(nameof(Cases))]
    public void The_mask_is_the_reference_mask_cell_by_cell(string backend, int rows, int columns, float probability)
    {
        var dropout = new DropoutMask(probability, new RandomKey(0x9876543210abcdef, 12, 2004, 555));
        var x = new Random(rows).Normal(rows, columns);
        float[] actual = Apply(backend, x.ToFloats(), columns, dropout);
        float[] expected = [.. x.ToFloats().Zip(
            Dropout.Mask(rows, columns, dropout).ToFloats(), (value, factor) => value * factor)];
        Assert.Equal(expected, actual);
    }

    [Fact]
    public void The_share_of_dropped_cells_is_the_probability()
    {
        const int rows = 500, columns = 200;
        foreach (float probability in new[] { 0.1f, 0.5f, 0.8f })
        {
            var mask = Dropout.Mask(rows, columns, new DropoutMask(probability, new RandomKey(1, 2, 3, 4)));
            double dropped = mask.Enumerate().Count(factor => factor == 0) / (double)(rows * columns);
            double deviation = Math.Sqrt(probability * (1 - probability) / (rows * columns));
            Assert.InRange(dropped, probability - (4 * deviation), probability + (4 * deviation));
            Assert.InRange(mask.Enumerate().Average(), 1 - (4 * deviation / (1 - probability)), 1 + (4 * deviation / (1 - probability)));
        }
    }

    /// <summary>A batch cut in two draws the numbers of the whole batch.</summary>
    [Theory]
    [MemberData(nameof(Backends.All), MemberType = typeof(Backends))]
    public void The_first_row_continues_a_batch(string backend)
    {
        float[] ones = [.. Enumerable.Repeat(1f, 10 * 20)];
        var key = new RandomKey(5, 6, 7, 100);
        float[] whole = Apply(backend, ones, 20, new DropoutMask(0.4f, key));
        float[] first = Apply(backend, ones[..(3 * 20)], 20, new DropoutMask(0.4f, key));
        float[] rest = Apply(backend, ones[(3 * 20)..], 20, new DropoutMask(0.4f, key with { FirstRow = 103 }));
        Assert.Equal(whole, first.Concat(rest));
    }

    [Theory]
    [InlineData(-0.1f)]
    [InlineData(1f)]
    [InlineData(float.NaN)]
    public void A_probability_outside_0_to_1_is_refused(float probability) =>
        Assert.Throws<ArgumentOutOfRangeException>(() => new DropoutMask(probability, default));

    protected override IReadOnlyDictionary<string, float[]> Run(string backend) => new Dictionary<string, float[]>
    {
        ["x"] = Apply(backend, new Random(1).Normal(37, 20).ToFloats(), 20, new DropoutMask(0.3f, new RandomKey(1, 2, 3, 4))),
    };

    private static float[] Apply(string backend, float[] x, int columns, DropoutMask dropout) => Bench.On(backend, bench =>
    {
        var tensor = bench.Tensor(x, columns);
        bench.Kernels.Dropout(tensor, dropout);
        return tensor.ToArray();
    });
}
