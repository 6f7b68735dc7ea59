using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Reference;

namespace Bert4Rec.Tests.Kernels;

public class ClozeMaskTests
{
    private const int MaskToken = 62;

    private static readonly (int Limit, bool SkipFirst, bool AtLeastOne)[] Rules =
        [(int.MaxValue, false, true), (2, true, false), (0, true, false), (3, false, true)];

    public static TheoryData<string, float, float> Shares => Backends.Times(
        (0.2f, 0f), (0.2f, 0.5f), (0.6f, 0.2f), (0f, 0f), (0f, 1f), (1f, 0f), (0.05f, 0f));

    [Theory]
    [MemberData(nameof(Shares))]
    public void The_mask_is_the_reference_mask(string backend, float maskRatio, float lastOnlyShare)
    {
        foreach (int[] lengths in new int[][] { [1], [5], [130], [1, 1, 2, 50, 37, 1, 50] })
            foreach (var (limit, skipFirst, atLeastOne) in Rules)
            {
                int[] offsets = Numbers.Offsets(lengths);
                int[] tokens = new Random(lengths.Length).Integers(offsets[^1], 1, MaskToken);
                var masking = new ClozeMasking(
                    new RandomKey(9, 8, RandomStreams.ClozeMask, 70), maskRatio, lastOnlyShare, MaskToken, limit, skipFirst, atLeastOne);
                var (maskedTokens, maskedRows, targets, maskedOffsets) = ClozeMask.Draw(tokens, offsets, masking);

                var actual = Draw(backend, tokens, offsets, masking);
                Assert.Equal(maskedRows.Length, actual.Count);
                Assert.Equal(maskedTokens, actual.MaskedTokens);
                Assert.Equal(maskedRows, actual.MaskedRows);
                Assert.Equal(targets, actual.Targets);
                Assert.Equal(maskedOffsets, actual.MaskedOffsets);
            }
    }

    [Fact]
    public void The_shares_of_masked_events_and_of_last_only_sequences_are_as_asked()
    {
        const int sequences = 20_000, length = 10;
        int[] offsets = Numbers.Offsets([.. Enumerable.Repeat(length, sequences)]);
        int[] tokens = [.. Enumerable.Repeat(1, sequences * length)];

        var everywhere = ClozeMask.Draw(tokens, offsets, Masking(0.3f, 0));
        Assert.InRange(everywhere.MaskedRows.Length / (double)tokens.Length, 0.295, 0.305);

        var mixed = ClozeMask.Draw(tokens, offsets, Masking(1, 0.4f));
        var counts = mixed.MaskedOffsets.Zip(mixed.MaskedOffsets.Skip(1), (start, end) => end - start).ToArray();
        Assert.All(counts, count => Assert.True(count is 1 or length));
        Assert.InRange(counts.Count(count => count == 1) / (double)sequences, 0.385, 0.415);
        Assert.All(mixed.MaskedOffsets.Skip(1), end => Assert.Equal(length - 1, mixed.MaskedRows[end - 1] % length));
    }

    [Fact]
    public void The_limit_counts_position_0_before_it_is_skipped()
    {
        int[] tokens = [11, 12, 13];
        var masking = Masking(1, 0) with { CountedLimit = 3, SkipFirst = true };
        var (maskedTokens, maskedRows, targets, maskedOffsets) = ClozeMask.Draw(tokens, [0, 3], masking);
        Assert.Equal([MaskToken, MaskToken, MaskToken], maskedTokens);
        Assert.Equal([1, 2], maskedRows);
        Assert.Equal([12, 13], targets);
        Assert.Equal([0, 2], maskedOffsets);

        Assert.Equal([1, 2], ClozeMask.Draw(tokens, [0, 3], masking with { CountedLimit = 2 }).MaskedRows);
        Assert.Equal([2], ClozeMask.Draw(tokens, [0, 3], masking with { CountedLimit = 1 }).MaskedRows);
    }

    [Fact]
    public void A_sequence_that_drew_nothing_masks_its_last_event_where_asked()
    {
        Assert.Equal([2, 3], ClozeMask.Draw([5, 6, 7, 8], [0, 3, 4], Masking(0, 0) with { AtLeastOne = true }).MaskedRows);
        Assert.Empty(ClozeMask.Draw([5, 6, 7, 8], [0, 3, 4], Masking(0, 0)).MaskedRows);
    }

    private static ClozeMasking Masking(float maskRatio, float lastOnlyShare) => new(
        new RandomKey(1, 1, RandomStreams.ClozeMask, 0), maskRatio, lastOnlyShare, MaskToken, CountedLimit: int.MaxValue, false, false);

    private static (int Count, int[] MaskedTokens, int[] MaskedRows, int[] Targets, int[] MaskedOffsets) Draw(
        string backend, int[] tokens, int[] offsets, ClozeMasking masking) => Bench.On(backend, bench =>
        {
            Indices maskedTokens = bench.GarbageIndices(tokens.Length), maskedRows = bench.GarbageIndices(tokens.Length);
            Indices targets = bench.GarbageIndices(tokens.Length), maskedOffsets = bench.GarbageIndices(offsets.Length);
            int count = bench.Kernels.ClozeMask(
                bench.Indices(tokens), bench.Indices(offsets), masking, maskedTokens, maskedRows, targets, maskedOffsets);
            return (
                count,
                maskedTokens.ToArray(),
                maskedRows.First(count).ToArray(),
                targets.First(count).ToArray(),
                maskedOffsets.ToArray());
        });
}
