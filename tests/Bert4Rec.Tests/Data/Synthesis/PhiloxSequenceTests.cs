using Bert4Rec.Kernels;

namespace Bert4Rec.Tests.Synthesis;

public class PhiloxSequenceTests
{
    [Fact]
    public void Numbers_are_uniform_and_in_range()
    {
        var random = new PhiloxSequence(3, 4, 5);
        const int draws = 100_000;
        var counts = new int[10];
        double sum = 0;
        for (int i = 0; i < draws; i++)
        {
            counts[random.NextBelow(10)]++;
            double unit = random.NextUnit();
            Assert.InRange(unit, 0, 1 - 1e-16);
            sum += unit;
        }

        // Five standard deviations.
        Assert.All(counts, count => Assert.Equal(0.1, (double)count / draws, 5 * Math.Sqrt(0.09 / draws)));
        Assert.Equal(0.5, sum / draws, 5 * Math.Sqrt(1.0 / 12 / draws));
    }

    [Fact]
    public void Seed_stream_and_row_each_make_another_sequence()
    {
        ulong[] first = [Bits(1, 1, 1), Bits(2, 1, 1), Bits(1, 2, 1), Bits(1, 1, 2), Bits(1UL << 32, 1, 1)];
        Assert.Distinct(first);
        Assert.Equal(first[0], Bits(1, 1, 1));

        static ulong Bits(ulong seed, uint stream, uint row) => new PhiloxSequence(seed, stream, row).NextBits();
    }

    [Fact]
    public void Every_order_is_as_likely()
    {
        var random = new PhiloxSequence(1, 1, 1);
        const int draws = 60_000;
        var orders = new Dictionary<string, int>();
        for (int i = 0; i < draws; i++)
        {
            char[] letters = ['a', 'b', 'c'];
            random.Shuffle<char>(letters);
            string order = new(letters);
            orders[order] = orders.GetValueOrDefault(order) + 1;
        }
        Assert.Equal(6, orders.Count);
        Assert.All(orders.Values, count => Assert.Equal(1.0 / 6, (double)count / draws, 5 * Math.Sqrt(5.0 / 36 / draws)));
    }
}
