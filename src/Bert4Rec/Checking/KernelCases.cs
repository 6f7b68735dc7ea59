using static Bert4Rec.Checking.CaseOperands;
using static Bert4Rec.Checking.LayerCases;
using static Bert4Rec.Checking.LossCases;
using static Bert4Rec.Checking.OptimizerCases;
using static Bert4Rec.Checking.RankingCases;

namespace Bert4Rec.Checking;

/// <summary>
/// The cases: sizes that do not divide any tile, sequences of one event and of several, dropout on where there is one. First each kernel's
/// small ones; then larger ones, for the code that begins behind a first tile, block or group.
/// </summary>
internal static class KernelCases
{
    /// <summary>A loss that is made of other kernels: gathered rows and softmax cross-entropy.</summary>
    public const string SampledSoftmaxName = "sampled-softmax";

    /// <summary>Sequences of 1, 4 and 9 events, and as few queries of them as a last layer may have.</summary>
    private static readonly int[] s_offsets = [0, 1, 5, 5 + 9], s_fewQueries = [0, 1, 1, 4];

    /// <summary>Sequences of several tiles of a GPU's 16 keys, and of two blocks of the cpu's 48 queries.</summary>
    private static readonly int[] s_longOffsets = [0, 1, 41, 41 + 70], s_fewOfLong = [0, 1, 1, 1 + 50];

    /// <param name="multiprocessors">Of the device: products become so large that they fill it.</param>
    /// <param name="groupSize">Threads of its groups, on which the larger sizes depend: ILGPU's simulator has 16, and is slow.</param>
    public static IReadOnlyList<CaseSource> All(int multiprocessors, int groupSize)
    {
        // As many large tiles of 128 × 64 as multiprocessors, where there are such tiles.
        bool isWide = groupSize >= 128;
        var (down, across) = isWide ? (128 * Math.Max(1, multiprocessors / 4), 256) : (72, 40);
        var (rows, items) = isWide ? (140, 300) : (45, 100);
        int tokens = 20 * groupSize;
        return
        [
            Small("embedding", random => Embedding(
                random, [3, 1, 4, 1, 5, 1, 2, 6, 5, 3, 5, 6, 1], [0, 0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7], 7, 12)),
            // Padding among them; a group sorts 16 a thread, so that more than one does, and there are several levels of sums.
            Large("embedding", random => Embedding(
                random, Whole(random, tokens, 0, 300), [.. Enumerable.Range(0, tokens).Select(t => t % 70)], 300, 6)),
            Small("gather-rows", random => GatherRows(random, [1, 2, 5, 10], 11, 9)),
            Large("gather-rows", random => GatherRows(random, [.. Enumerable.Range(0, 150).Select(m => 1 + (3 * m))], 500, 33)),
            Small("linear", random => Linear(random, 5, 7, 3)),
            Small("linear", random => Linear(random, 19, 12, 17)),
            Small("linear", random => FeedForward(random, 6, 5, 11, 4)),
            Large("linear", random => Linear(random, 2 * rows, 70, 130)),
            // Sums that several groups share.
            Large("linear", random => Linear(random, 20, 300, 12)),
            Large("linear", random => Linear(random, 300, 20, 12)),
            // The result, the gradient of x and that of the weight in turn fill the device.
            Large("linear", random => Linear(random, down, 16, across)),
            Large("linear", random => Linear(random, down, across, 16)),
            Large("linear", random => Linear(random, 16, across, down)),
            Large("linear", random => FeedForward(random, rows, 36, 72, 40)),
            Small("gelu", random => Gelu(random, 7, 13)),
            Large("gelu", random => Gelu(random, 70, 67)),
            Small("dropout", random => Dropout(random, 6, 70)),
            Large("dropout", random => Dropout(random, 41, 333)),
            Small("layer-norm", random => LayerNorm(random, 7, 20, 0)),
            Small("layer-norm", random => LayerNorm(random, 7, 20, 0.3f)),
            // Whole vectors and several groups, each with several rows; then rows of more than four numbers a thread.
            Large("layer-norm", random => LayerNorm(random, rows, 64, 0.3f)),
            Large("layer-norm", random => LayerNorm(random, 9, (4 * groupSize) + 76, 0.3f)),
            Small("attention", random => Attention(random, s_offsets, s_offsets, 2, 6, 0)),
            Small("attention", random => Attention(random, s_offsets, s_offsets, 2, 6, 0.3f)),
            Small("attention", random => Attention(random, s_fewQueries, s_offsets, 2, 6, 0.3f)),
            Small("attention", random => Attention(random, s_offsets, s_offsets, 2, 6, 0.3f, causal: true)),
            Small("attention", random => Attention(random, s_fewQueries, s_offsets, 2, 6, 0.3f, causal: true)),
            // Widths for each of a GPU's kernels, and those that are no multiple of four.
            Large("attention", random => Attention(random, s_longOffsets, s_longOffsets, 2, 32, 0.3f)),
            Large("attention", random => Attention(random, s_longOffsets, s_longOffsets, 1, 64, 0.3f, causal: true)),
            Large("attention", random => Attention(random, s_fewOfLong, s_longOffsets, 1, 128, 0)),
            Large("attention", random => Attention(random, s_fewOfLong, s_longOffsets, 1, 31, 0.3f, causal: true)),
            Large("attention", random => Attention(random, [0, 17, 22], [0, 17, 37], 1, 50, 0.3f)),
            Large("attention", random => Attention(random, [0, 17, 22], [0, 17, 37], 1, 99, 0.3f, causal: true)),
            Small("softmax-cross-entropy", random => SoftmaxCrossEntropy(random, 9, 23, 12)),
            // Scores that are near each other: of a loss near 0 rounding leaves little.
            Small("softmax-cross-entropy", random => SoftmaxCrossEntropy(random, 1, 2, 12, 0.3)),
            Large("softmax-cross-entropy", random => SoftmaxCrossEntropy(random, rows, items, 20)),
            Small(SampledSoftmaxName, random => SampledSoftmax(random, 9, 12, 23, [0, 17, 4, 9, 3, 22, 11, 8])),
            Large(SampledSoftmaxName, random => SampledSoftmax(
                random, 70, 16, 400, [.. Enumerable.Range(0, 90).Select(c => c * 7 % 400)])),
            Small("cloze-mask", random => ClozeMask(
                random, s_offsets, new(default, 0.4f, 0.3f, 0, int.MaxValue, SkipFirst: false, AtLeastOne: true))),
            // Sequences without an event or without a hidden one among them.
            Large("cloze-mask", random => ClozeMask(
                random,
                [.. Enumerable.Range(0, 60).Select(b => (b * b / 2) + (b % 3))],
                new(default, 0.2f, 0.3f, 0, CountedLimit: 3, SkipFirst: true, AtLeastOne: false))),
            Small("score-items", random => ScoreItems(random, 4, 10, 10, 3)),
            Large("score-items", random => ScoreItems(random, 30, 67, 200, 19)),
            Small("top-k", random => TopK(random, 3, 23, 4)),
            Small("top-k", random => RankedTopK(random, 3, 23, 4)),
            Large("top-k", random => TopK(random, 35, items, 7)),
            Large("top-k", random => RankedTopK(random, 35, items, 20)),
            Small("gradient-norm", random => GradientNorm(random, 1003, 1)),
            Large("gradient-norm", random => GradientNorm(random, 5003, 1e25)),
            Small("adam", random => Adam(random, 37, decoupledDecay: false)),
            Small("adam", random => Adam(random, 37, decoupledDecay: true)),
            Large("adam", random => Adam(random, 5003, decoupledDecay: false)),
            Large("adam", random => Adam(random, 1203, decoupledDecay: true, unaligned: true)),
            Small("adam-rows", random => AdamRows(random, [7, 2, 10, 0], 11, 9)),
            Large("adam-rows", random => AdamRows(random, [.. Enumerable.Range(0, 90).Select(m => m * 7 % 200)], 200, 33)),
        ];

        static CaseSource Small(string kernel, Func<Random, KernelCase> draw) => new(kernel, false, draw);

        static CaseSource Large(string kernel, Func<Random, KernelCase> draw) => new(kernel, true, draw);
    }
}
