using Bert4Rec.Kernels;

namespace Bert4Rec.Tests.Kernels;

/// <summary>The generator against the known answers of Random123, its authors' library (tests/kat_vectors).</summary>
public class PhiloxTests
{
    [Theory]
    [InlineData(0u, 0u, 0u, 0u, 0ul, "6627e8d5 e169c58d bc57ac4c 9b00dbd8")]
    [InlineData(0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffff_fffffffful, "408f276d 41c83b0e a20bc7c6 6d5451fd")]
    [InlineData(0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u, 0x299f31d0_a4093822ul, "d16cfe09 94fdcceb 5001e420 24126ea1")]
    public void Known_answers(uint c0, uint c1, uint c2, uint c3, ulong seed, string expected)
    {
        var (x, y, z, w) = Philox.Block(c0, c1, c2, c3, seed);
        Assert.Equal(expected, $"{x:x8} {y:x8} {z:x8} {w:x8}");
    }

    [Fact]
    public void The_cells_of_a_row_use_each_half_word_of_each_block_once()
    {
        const ulong seed = 0x123456789abcdef;
        var expected = new List<uint>();
        for (uint block = 0; block < 16; block++)
        {
            var (x, y, z, w) = Philox.Block(block, 7, 9, 11, seed);
            foreach (uint word in (uint[])[x, y, z, w])
                expected.AddRange([word & 0xFFFF, word >> 16]);
        }
        var cells = Enumerable.Range(0, 128).Select(column => Philox.Cell(seed, 11, 9, 7, (uint)column)).ToList();
        Assert.Equal(expected.Order(), cells.Order());
        Assert.Equal(Philox.Block(2, 7, 9, 11, seed).Z & 0xFFFF, cells[16 + 2]);
        Assert.Equal(Philox.Block(3, 7, 9, 11, seed).X >> 16, cells[32 + 3]);
        Assert.Equal(Philox.Block(8 + 7, 7, 9, 11, seed).W >> 16, cells[127]);
    }

    [Theory]
    [InlineData(0f, 0u)]
    [InlineData(0.2f, 13107u)]
    [InlineData(0.5f, 32768u)]
    [InlineData(1f, 65536u)]
    public void A_threshold_is_the_nearest_multiple(float probability, uint expected) =>
        Assert.Equal(expected, Philox.Threshold(probability));

    [Theory]
    [InlineData(0f, 0f, 1f)]
    [InlineData(1e-6f, 0f, 1f)]
    [InlineData(0.25f, 0.25f, 4f / 3)]
    [InlineData(0.999999f, 65535f / 65536, 65536f)]
    public void Dropout_keeps_the_mean_of_the_share_that_it_drops(float asked, float dropped, float scale)
    {
        var dropout = new DropoutMask(asked, default);
        Assert.Equal((dropped, scale, dropped == 0), (dropout.Probability, dropout.Scale, dropout.IsNone));
    }

    /// <summary>Whether a cell is dropped says nothing of those beside it, in its block, in its column, and in other streams and
    /// steps.</summary>
    [Theory]
    [InlineData(0, 0, 0, 1)]
    [InlineData(0, 0, 0, 8)]
    [InlineData(0, 0, 0, 24)]
    [InlineData(0, 0, 0, 32)]
    [InlineData(0, 0, 0, 64)]
    [InlineData(0, 0, 1, 0)]
    [InlineData(0, 1, 0, 0)]
    [InlineData(0, 1 << 16, 0, 0)]
    [InlineData(1, 0, 0, 0)]
    public void Cells_are_drawn_independently(uint step, uint stream, uint row, uint column)
    {
        const int rows = 2000, columns = 64;
        uint threshold = Philox.Threshold(0.1f);
        int both = 0;
        for (uint r = 0; r < rows; r++)
        {
            for (uint c = 0; c < columns; c++)
            {
                if (Philox.Cell(2020, 5, 7, r, c) < threshold && Philox.Cell(2020, 5 + step, 7 + stream, r + row, c + column) < threshold)
                    both++;
            }
        }
        double p = threshold / 65536.0, expected = p * p, deviation = Math.Sqrt(expected * (1 - expected) / (rows * columns));
        Assert.InRange(both / (double)(rows * columns), expected - (4 * deviation), expected + (4 * deviation));
    }

    [Fact]
    public void Units_lie_in_0_to_1()
    {
        Assert.Equal(0f, Philox.ToUnit(0));
        Assert.Equal(0.5f, Philox.ToUnit(0x80000000));
        Assert.Equal(1f - (1f / (1 << 24)), Philox.ToUnit(uint.MaxValue));
    }
}
