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
    public void The_cells_of_a_row_use_each_word_of_each_block_once()
    {
        const ulong seed = 0x123456789abcdef;
        var expected = new List<uint>();
        for (uint block = 0; block < 32; block++)
        {
            var (x, y, z, w) = Philox.Block(block, 7, 9, 11, seed);
            expected.AddRange([x, y, z, w]);
        }
        var cells = Enumerable.Range(0, 128).Select(column => Philox.Cell(seed, 11, 9, 7, (uint)column)).ToList();
        Assert.Equal(expected.Order(), cells.Order());
        Assert.Equal(Philox.Block(2, 7, 9, 11, seed).Z, cells[32 + 2]);
        Assert.Equal(Philox.Block(16 + 15, 7, 9, 11, seed).W, cells[127]);
    }

    [Fact]
    public void Units_lie_in_0_to_1()
    {
        Assert.Equal(0f, Philox.ToUnit(0));
        Assert.Equal(0.5f, Philox.ToUnit(0x80000000));
        Assert.Equal(1f - (1f / (1 << 24)), Philox.ToUnit(uint.MaxValue));
    }
}
