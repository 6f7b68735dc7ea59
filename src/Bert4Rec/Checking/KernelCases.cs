using Bert4Rec.Kernels;
using Bert4Rec.Serialization;
using MathNet.Numerics.LinearAlgebra;
using Reference = Bert4Rec.Kernels.Reference;

namespace Bert4Rec.Checking;

/// <summary>Where a case comes from; its operands are drawn only when it is its turn.</summary>
/// <param name="Kernel">The kernel's name on the command line.</param>
/// <param name="IsLarge">
/// Larger than the kernels' tiles: too many operands to take central differences by each of them, so that the derivation alone is
/// compared with.
/// </param>
/// <param name="Draw">The case with operands of these random numbers.</param>
internal sealed record CaseSource(string Kernel, bool IsLarge, Func<Random, KernelCase> Draw);

/// <summary>A kernel at one shape.</summary>
/// <param name="Shape">For people.</param>
/// <param name="Operands">Numbers that float32 holds exactly.</param>
/// <param name="Weights">w, of the result's shape: the gradient that the backward starts from.</param>
/// <param name="Formula">The result in double precision, of the operands.</param>
/// <param name="Derivation">
/// The gradients of Σ result ∘ w in double precision, of the operands and w: one for each operand, and then those that the kernels give
/// in a second way; none for a kernel without backward.
/// </param>
/// <param name="Run">Forward and backward on a device, given the operands and w.</param>
internal sealed record KernelCase(
    string Shape,
    Matrix<double>[] Operands,
    Matrix<double> Weights,
    Func<Matrix<double>[], Matrix<double>> Formula,
    Func<Matrix<double>[], Matrix<double>, Matrix<double>[]> Derivation,
    Func<CheckMemory, Tensor[], CaseOutcome> Run);

/// <summary>What a case left on the device.</summary>
/// <param name="Result">What the formula gives.</param>
/// <param name="Gradients">In the order of the derivation's.</param>
/// <param name="OtherErrors">Of what else was written: relative errors, of whole numbers 0 or 1.</param>
internal sealed record CaseOutcome(Tensor Result, Tensor[] Gradients, params double[] OtherErrors);

/// <summary>
/// The cases: sizes that do not divide any tile, sequences of one event and of several, dropout on where there is one. First each kernel's
/// small ones; then larger ones, for the code that begins behind a first tile, block or group.
/// </summary>
internal static class KernelCases
{
    /// <summary>A loss that is made of other kernels: gathered rows and softmax cross-entropy.</summary>
    public const string SampledSoftmaxName = "sampled-softmax";

    private const float Epsilon = 1e-12f;

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

    private static KernelCase Embedding(Random random, int[] tokens, int[] positions, int items, int h)
    {
        int places = positions.Max() + 1;
        return new(
            $"{tokens.Length} tokens, [{items}, {h}]",
            [Normal(random, items, h), Normal(random, places, h)],
            Normal(random, tokens.Length, h),
            x => Reference.Embedding.Forward(tokens, positions, x[0], x[1]),
            (_, w) =>
            {
                var (dItems, dPositions) = Reference.Embedding.Backward(w, tokens, positions, items, places);
                return [dItems, dPositions];
            },
            (memory, x) =>
            {
                Indices tokenIds = memory.Put(tokens), positionIds = memory.Put(positions);
                Tensor y = memory.ToSet(tokens.Length, h), dItems = memory.ToAdd(items, h), dPositions = memory.ToAdd(places, h);
                memory.Kernels.EmbeddingForward(tokenIds, positionIds, x[0], x[1], y);
                memory.Kernels.EmbeddingBackward(tokenIds, positionIds, x[2], dItems, dPositions);
                return new(y, [dItems, dPositions]);
            });
    }

    private static KernelCase GatherRows(Random random, int[] rows, int count, int h) => new(
        $"{rows.Length} of [{count}, {h}]",
        [Normal(random, count, h)],
        Normal(random, rows.Length, h),
        x => Reference.Embedding.GatherRowsForward(x[0], rows),
        (x, w) => [Reference.Embedding.GatherRowsBackward(w, rows, x[0].RowCount)],
        (memory, x) =>
        {
            Indices chosen = memory.Put(rows);
            Tensor y = memory.ToSet(rows.Length, h), dx = memory.ToAdd(count, h);
            memory.Kernels.GatherRowsForward(x[0], chosen, y);
            memory.Kernels.GatherRowsBackward(x[1], chosen, dx);
            return new(y, [dx]);
        });

    /// <summary>The gradient of x once set and once added.</summary>
    private static KernelCase Linear(Random random, int rows, int inputs, int outputs) => new(
        $"[{rows}, {inputs}] → {outputs}",
        [Normal(random, rows, inputs), Normal(random, outputs, inputs), Normal(random, 1, outputs)],
        Normal(random, rows, outputs),
        x => Reference.Linear.Forward(x[0], x[1], x[2].Row(0)),
        (x, w) =>
        {
            var (dx, dWeight, dBias) = Reference.Linear.Backward(w, x[0], x[1]);
            return [dx, dWeight, dBias.ToRowMatrix(), dx];
        },
        (memory, x) =>
        {
            Tensor y = memory.ToSet(rows, outputs), dx = memory.ToSet(rows, inputs), dxAdded = memory.ToAdd(rows, inputs);
            Tensor dWeight = memory.ToAdd(outputs, inputs), dBias = memory.ToAdd(1, outputs);
            memory.Kernels.LinearForward(x[0], new(x[1], x[2]), y);
            memory.Kernels.LinearBackwardInput(x[3], x[1], default, dx, accumulate: false);
            memory.Kernels.LinearBackwardInput(x[3], x[1], default, dxAdded, accumulate: true);
            memory.Kernels.LinearBackwardWeight(x[3], x[0], new(dWeight, dBias));
            return new(y, [dx, dWeight, dBias, dxAdded]);
        });

    /// <summary>linear → gelu → linear: the gelu's slope is taken up by the second product's backward.</summary>
    private static KernelCase FeedForward(Random random, int rows, int inputs, int width, int outputs) => new(
        $"[{rows}, {inputs}] → {width}, gelu, → {outputs}",
        [
            Normal(random, rows, inputs), Normal(random, width, inputs), Normal(random, 1, width), Normal(random, outputs, width),
            Normal(random, 1, outputs),
        ],
        Normal(random, rows, outputs),
        x => Reference.Linear.Forward(
            Reference.Gelu.Forward(Reference.Linear.Forward(x[0], x[1], x[2].Row(0))).Y, x[3], x[4].Row(0)),
        (x, w) =>
        {
            var (inner, slope) = Reference.Gelu.Forward(Reference.Linear.Forward(x[0], x[1], x[2].Row(0)));
            var (dInner, dWeight2, dBias2) = Reference.Linear.Backward(w, inner, x[3]);
            var (dx, dWeight1, dBias1) = Reference.Linear.Backward(Reference.Gelu.Backward(dInner, slope), x[0], x[1]);
            return [dx, dWeight1, dBias1.ToRowMatrix(), dWeight2, dBias2.ToRowMatrix()];
        },
        (memory, x) =>
        {
            Tensor inner = memory.ToSet(rows, width), slope = memory.ToSet(rows, width), y = memory.ToSet(rows, outputs);
            Tensor dInner = memory.ToSet(rows, width), dx = memory.ToSet(rows, inputs);
            Tensor dWeight1 = memory.ToAdd(width, inputs), dBias1 = memory.ToAdd(1, width);
            Tensor dWeight2 = memory.ToAdd(outputs, width), dBias2 = memory.ToAdd(1, outputs);
            memory.Kernels.LinearGeluForward(x[0], new(x[1], x[2]), inner, slope);
            memory.Kernels.LinearForward(inner, new(x[3], x[4]), y);
            memory.Kernels.LinearBackwardWeight(x[5], inner, new(dWeight2, dBias2));
            memory.Kernels.LinearBackwardInput(x[5], x[3], slope, dInner, accumulate: false);
            memory.Kernels.LinearBackwardWeight(dInner, x[0], new(dWeight1, dBias1));
            memory.Kernels.LinearBackwardInput(dInner, x[1], default, dx, accumulate: false);
            return new(y, [dx, dWeight1, dBias1, dWeight2, dBias2]);
        });

    /// <summary>A product with the identity leaves gelu alone.</summary>
    private static KernelCase Gelu(Random random, int rows, int n) => new(
        $"[{rows}, {n}]",
        [Normal(random, rows, n)],
        Normal(random, rows, n),
        x => Reference.Gelu.Forward(x[0]).Y,
        (x, w) => [Reference.Gelu.Backward(w, Reference.Gelu.Forward(x[0]).Slope)],
        (memory, x) =>
        {
            Tensor identity = memory.Put(Matrix<double>.Build.DenseIdentity(n)), bias = memory.Zeros(1, n);
            Tensor y = memory.ToSet(rows, n), slope = memory.ToSet(rows, n);
            memory.Kernels.LinearGeluForward(x[0], new(identity, bias), y, slope);
            memory.Kernels.GeluBackward(x[1], slope);
            return new(y, [x[1]]);
        });

    private static KernelCase Dropout(Random random, int rows, int columns)
    {
        var dropout = new DropoutMask(0.4f, new RandomKey(3, 2, 1, 77));
        return new(
            $"[{rows}, {columns}], 0.4",
            [Normal(random, rows, columns)],
            Normal(random, rows, columns),
            x => Reference.Dropout.Forward(x[0], dropout),
            (_, w) => [Reference.Dropout.Backward(w, dropout)],
            (memory, x) =>
            {
                memory.Kernels.Dropout(x[0], dropout);
                memory.Kernels.Dropout(x[1], dropout);
                return new(x[0], [x[1]]);
            });
    }

    private static KernelCase LayerNorm(Random random, int rows, int h, float probability)
    {
        var dropout = probability > 0 ? new DropoutMask(probability, new RandomKey(5, 6, 7, 8)) : default;
        Matrix<double> Sum(Matrix<double>[] x) => x[1] + Reference.Dropout.Forward(x[0], dropout);
        return new(
            $"[{rows}, {h}], residual, dropout {probability}",
            [Normal(random, rows, h), Normal(random, rows, h), Normal(random, 1, h), Normal(random, 1, h)],
            Normal(random, rows, h),
            x => Reference.LayerNorm.Forward(Sum(x), x[2].Row(0), x[3].Row(0), Epsilon).Y,
            (x, w) =>
            {
                var (_, mean, inverseDeviation) = Reference.LayerNorm.Forward(Sum(x), x[2].Row(0), x[3].Row(0), Epsilon);
                var (dSum, dGain, dBias) = Reference.LayerNorm.Backward(w, Sum(x), x[2].Row(0), mean, inverseDeviation);
                return [Reference.Dropout.Backward(dSum, dropout), dSum, dGain.ToRowMatrix(), dBias.ToRowMatrix()];
            },
            (memory, x) =>
            {
                Tensor y = memory.ToSet(rows, h), statistics = memory.ToSet(rows, 2);
                Tensor dSum = memory.ToSet(rows, h), dx = memory.ToSet(rows, h);
                Tensor dGain = memory.ToAdd(1, h), dBias = memory.ToAdd(1, h);
                memory.Kernels.LayerNormForward(x[0], x[1], dropout, new(x[2], x[3]), Epsilon, y, statistics);
                memory.Kernels.LayerNormBackward(x[4], x[0], x[2], statistics, dropout, dSum, dx, new(dGain, dBias));
                return new(y, [dx, dSum, dGain, dBias]);
            });
    }

    private static KernelCase Attention(
        Random random, int[] queryOffsets, int[] keyOffsets, int heads, int width, float probability, bool causal = false)
    {
        int h = heads * width, tokens = keyOffsets[^1], queries = queryOffsets[^1];
        int longest = keyOffsets.Zip(keyOffsets.Skip(1), (start, end) => end - start).Max();
        var dropout = probability > 0 ? new DropoutMask(probability, new RandomKey(9, 8, 7, 6)) : default;
        return new(
            $"{queries} queries, {tokens} keys, {Printable.Count(heads, "head")} of {width}, dropout {probability}"
                + (causal ? ", causal" : ""),
            [Normal(random, queries, h), Normal(random, tokens, 2 * h)],
            Normal(random, queries, h),
            x => Reference.Attention.Forward(x[0], x[1], queryOffsets, keyOffsets, heads, dropout, causal).Output,
            (x, w) =>
            {
                var (output, logSumExp) = Reference.Attention.Forward(x[0], x[1], queryOffsets, keyOffsets, heads, dropout, causal);
                var (dq, dkv) = Reference.Attention.Backward(
                    w, x[0], x[1], output, logSumExp, queryOffsets, keyOffsets, heads, dropout, causal);
                return [dq, dkv];
            },
            (memory, x) =>
            {
                var layout = new AttentionLayout(memory.Put(queryOffsets), memory.Put(keyOffsets), heads, longest, causal);
                Tensor y = memory.ToSet(queries, h), logSumExp = memory.ToSet(queries, heads);
                Tensor dq = memory.ToSet(queries, h), dkv = memory.ToSet(tokens, 2 * h);
                memory.Kernels.AttentionForward(x[0], x[1], layout, dropout, y, logSumExp);
                memory.Kernels.AttentionBackward(x[2], x[0], x[1], y, logSumExp, layout, dropout, dq, dkv);
                return new(y, [dq, dkv]);
            });
    }

    private static KernelCase SoftmaxCrossEntropy(Random random, int rows, int items, int h, double size = 1)
    {
        int[] targets = Whole(random, rows, 0, items);
        // The kernel's backward starts from one scale for all rows.
        const float Scale = 0.7f;
        return new(
            $"[{rows}, {h}], {items} items",
            [Normal(random, rows, h, size), Normal(random, items, h, size), Normal(random, 1, items, size)],
            Matrix<double>.Build.Dense(rows, 1, Scale),
            x => Reference.SoftmaxCrossEntropy.Forward(x[0], x[1], x[2].Row(0), targets).Losses.ToColumnMatrix(),
            (x, _) =>
            {
                var (_, logSumExp) = Reference.SoftmaxCrossEntropy.Forward(x[0], x[1], x[2].Row(0), targets);
                var (dh, dItems, dBias) = Reference.SoftmaxCrossEntropy.Backward(Scale, x[0], x[1], x[2].Row(0), targets, logSumExp);
                return [dh, dItems, dBias.ToRowMatrix()];
            },
            (memory, x) =>
            {
                Indices wanted = memory.Put(targets);
                Tensor losses = memory.ToSet(rows, 1), logSumExp = memory.ToSet(rows, 1);
                Tensor dh = memory.ToSet(rows, h), dItems = memory.ToAdd(items, h), dBias = memory.ToAdd(1, items);
                memory.Kernels.SoftmaxCrossEntropyForward(x[0], new(x[1], x[2]), wanted, losses, logSumExp);
                memory.Kernels.SoftmaxCrossEntropyBackward(x[0], new(x[1], x[2]), wanted, logSumExp, Scale, dh, new(dItems, dBias));
                return new(losses, [dh, dItems, dBias]);
            });
    }

    /// <summary>
    /// The loss of candidates whose scores are corrected, and its gradient in the whole catalogue: that of the other items is 0.
    /// </summary>
    private static KernelCase SampledSoftmax(Random random, int rows, int h, int items, int[] candidates)
    {
        const float Scale = 0.7f;
        int count = candidates.Length;
        int[] targets = Whole(random, rows, 0, count);
        var corrections = Normal(random, count, 1);
        Matrix<double> Gathered(Matrix<double> x) => Reference.Embedding.GatherRowsForward(x, candidates);
        Vector<double> Bias(Matrix<double> x) => (Gathered(x) + corrections).Column(0);
        return new(
            $"[{rows}, {h}], {count} of {items} items",
            [Normal(random, rows, h), Normal(random, items, h), Normal(random, items, 1)],
            Matrix<double>.Build.Dense(rows, 1, Scale),
            x => Reference.SoftmaxCrossEntropy.Forward(x[0], Gathered(x[1]), Bias(x[2]), targets).Losses.ToColumnMatrix(),
            (x, _) =>
            {
                var (gathered, bias) = (Gathered(x[1]), Bias(x[2]));
                var (_, logSumExp) = Reference.SoftmaxCrossEntropy.Forward(x[0], gathered, bias, targets);
                var (dh, dItems, dBias) = Reference.SoftmaxCrossEntropy.Backward(Scale, x[0], gathered, bias, targets, logSumExp);
                return
                [
                    dh,
                    Reference.Embedding.GatherRowsBackward(dItems, candidates, items),
                    Reference.Embedding.GatherRowsBackward(dBias.ToColumnMatrix(), candidates, items),
                ];
            },
            (memory, x) =>
            {
                Indices chosen = memory.Put(candidates), wanted = memory.Put(targets);
                var catalogue = new WeightAndBias(memory.ToSet(count, h), memory.ToSet(count, 1));
                // Added to by the one kernel, and read by the next.
                var gradient = new WeightAndBias(memory.Zeros(count, h), memory.Zeros(count, 1));
                Tensor losses = memory.ToSet(rows, 1), logSumExp = memory.ToSet(rows, 1);
                Tensor dh = memory.ToSet(rows, h), dItems = memory.ToAdd(items, h), dBias = memory.ToAdd(items, 1);
                memory.Kernels.GatherRowsForward(x[1], chosen, catalogue.Weight);
                memory.Kernels.GatherRowsForward(x[2], chosen, catalogue.Bias);
                memory.Kernels.Add(catalogue.Bias, memory.Put(corrections));
                memory.Kernels.SoftmaxCrossEntropyForward(x[0], catalogue, wanted, losses, logSumExp);
                memory.Kernels.SoftmaxCrossEntropyBackward(x[0], catalogue, wanted, logSumExp, Scale, dh, gradient);
                memory.Kernels.GatherRowsBackward(gradient.Weight, chosen, dItems);
                memory.Kernels.GatherRowsBackward(gradient.Bias, chosen, dBias);
                return new(losses, [dh, dItems, dBias]);
            });
    }

    /// <summary>The masked tokens, then the targets, and where these stand: whole numbers, and so exact.</summary>
    private static KernelCase ClozeMask(Random random, int[] offsets, ClozeMasking how)
    {
        const int MaskToken = 99;
        int[] tokens = Whole(random, offsets[^1], 1, MaskToken);
        var masking = how with { Key = new(1, 2, 3, 4), MaskToken = MaskToken };
        var (maskedTokens, maskedRows, targets, maskedOffsets) = Reference.ClozeMask.Draw(tokens, offsets, masking);
        Matrix<double> Row(int[] first, int[] second) => Matrix<double>.Build.Dense(1, first.Length + second.Length, [.. first, .. second]);
        var expected = Row(maskedTokens, targets);
        return new(
            $"{tokens.Length} tokens{(masking.SkipFirst ? $", {masking.CountedLimit} counted, the first not" : "")}",
            [],
            expected,
            _ => expected,
            NoBackward,
            (memory, _) =>
            {
                Indices masked = memory.Put(tokens), rows = memory.Put(tokens), found = memory.Put(tokens), places = memory.Put(offsets);
                int count = memory.Kernels.ClozeMask(memory.Put(tokens), memory.Put(offsets), masking, masked, rows, found, places);
                return new(
                    memory.Put(Row(masked.ToArray(), found.First(count).ToArray())),
                    [],
                    Exact(maskedRows, rows.First(count)),
                    Exact(maskedOffsets, places));
            });
    }

    /// <summary>
    /// The k best scores; and of the items that come with them the scores in double precision, since nearly equal ones may change places.
    /// The same of a quantized catalogue, row by row, where the device has one.
    /// </summary>
    private static KernelCase TopK(Random random, int rows, int items, int k)
    {
        const int H = 10;
        Matrix<double> Scores(Matrix<double>[] x) => Reference.Linear.Forward(x[0], x[1], x[2].Row(0));
        Matrix<double> Best(Matrix<double> scores) => Matrix<double>.Build.DenseOfRowArrays(scores.EnumerateRows().Select(row =>
            Reference.TopK.Best(row, k, []).Select(item => row[item]).ToArray()));
        Matrix<double>[] operands = [Normal(random, rows, H), Normal(random, items, H), Normal(random, 1, items)];
        return new(
            $"{k} of {items} items for {Printable.Count(rows, "row")}",
            operands,
            Normal(random, rows, k),
            x => Best(Scores(x)),
            NoBackward,
            (memory, x) =>
            {
                var exact = Scores(operands);
                var expected = Best(exact);
                Tensor scores = memory.ToSet(rows, k);
                var ids = memory.Put(new int[rows * k]);
                memory.Kernels.TopK(x[0], new(x[1], x[2]), default, default, default, ids, scores, default);
                double ofItems = GradientCheck.RelativeError(expected, ScoresOf(exact, ids.ToArray(), k));
                using var quantized = memory.Kernels.QuantizeCatalogue(new(x[1], x[2]));
                if (quantized is null || k > items / 8)
                    return new(scores, [], ofItems);
                int[] found = new int[rows * k];
                float[] foundScores = new float[rows * k];
                bool isGiven = true;
                for (int row = 0; row < rows; row++)
                {
                    isGiven &= quantized.TryTopK(
                        x[0].SliceRows(row, 1), [], found.AsSpan(row * k, k), foundScores.AsSpan(row * k, k));
                }
                return new(
                    scores,
                    [],
                    ofItems,
                    isGiven ? GradientCheck.RelativeError(expected, foundScores) : double.NaN,
                    GradientCheck.RelativeError(expected, ScoresOf(exact, found, k)));
            });
    }

    /// <summary>
    /// Small whole numbers, which every precision scores exactly, with many ties: the items, the ranks of targets, and excluded items.
    /// </summary>
    private static KernelCase RankedTopK(Random random, int rows, int items, int k)
    {
        const int H = 6;
        int[] targets = Whole(random, rows, 1, items);
        // Of the last row nearly all, so that there are fewer than k.
        int[][] excluded = [.. Enumerable.Range(0, rows).Select(row => Enumerable.Range(1, items - 1)
            .Where(item => row == rows - 1 ? item % (items / 2) != 0 : (item + row) % 5 == 0).ToArray())];
        int[] offsets = [0, .. Enumerable.Range(1, rows).Select(end => excluded.Take(end).Sum(row => row.Length))];
        var boosts = WholeMatrix(random, 1, rows);
        Matrix<double>[] operands = [WholeMatrix(random, rows, H), WholeMatrix(random, items, H), WholeMatrix(random, 1, items)];
        var exact = Reference.Linear.Forward(operands[0], operands[1], operands[2].Row(0));
        int[][] best = [.. Enumerable.Range(0, rows).Select(row => Reference.TopK.Best(exact.Row(row), k, excluded[row]))];
        var expected = Matrix<double>.Build.Dense(
            rows, k, (row, i) => i < best[row].Length ? exact[row, best[row][i]] : double.NegativeInfinity);
        int[] expectedIds = [.. best.SelectMany(ids => ids.Concat(new int[k - ids.Length]))];
        int[] expectedRanks = [.. Enumerable.Range(0, rows).SelectMany(row =>
        {
            var scores = exact.Row(row);
            scores[targets[row]] += boosts[0, row];
            var (higher, equal, lower) = Reference.TopK.Rank(scores, targets[row], excluded[row]);
            return new[] { higher, equal, lower };
        })];
        return new(
            $"{k} of {items} items for {Printable.Count(rows, "row")}, ranks, whole numbers",
            operands,
            WholeMatrix(random, rows, k),
            _ => expected,
            NoBackward,
            (memory, x) =>
            {
                Tensor scores = memory.ToSet(rows, k);
                Indices ids = memory.Put(new int[rows * k]), ranks = memory.Put(new int[rows * 3]);
                memory.Kernels.TopK(
                    x[0],
                    new(x[1], x[2]),
                    memory.Put(targets),
                    memory.Put(boosts),
                    new(memory.Put(offsets), memory.Put([.. excluded.SelectMany(row => row)])),
                    ids,
                    scores,
                    ranks);
                return new(scores, [], Exact(expectedIds, ids), Exact(expectedRanks, ranks));
            });
    }

    private static KernelCase ScoreItems(Random random, int rows, int h, int items, int each)
    {
        int[] candidates = Whole(random, rows * each, 0, items);
        return new(
            $"[{rows}, {h}], {each} candidates each",
            [Normal(random, rows, h), Normal(random, items, h), Normal(random, 1, items)],
            Normal(random, rows, each),
            x => Reference.TopK.ScoreItems(x[0], x[1], x[2].Row(0), candidates),
            NoBackward,
            (memory, x) =>
            {
                Tensor scores = memory.ToSet(rows, each);
                memory.Kernels.ScoreItems(x[0], new(x[1], x[2]), memory.Put(candidates), scores);
                return new(scores, []);
            });
    }

    /// <param name="random">For the operands.</param>
    /// <param name="n">Numbers.</param>
    /// <param name="largest">Size of every seventh of them; the others' is 1.</param>
    private static KernelCase GradientNorm(Random random, int n, double largest) => new(
        $"[1, {n}]{(largest > 1 ? $", up to {largest:0e+0}" : "")}",
        [Normal(random, 1, n).MapIndexed((_, i, value) => (double)(float)(i % 7 == 0 ? largest * value : value))],
        Normal(random, 1, 1),
        x => Matrix<double>.Build.Dense(1, 1, Reference.Adam.GradientNorm(x[0].Enumerate())),
        NoBackward,
        (memory, x) =>
        {
            Tensor result = memory.ToSet(1, 1);
            memory.Kernels.GradientNorm(x[0], result);
            return new(result, []);
        });

    /// <summary>The parameters, the two moments, and the gradient, which is to be zero.</summary>
    private static KernelCase Adam(Random random, int n, bool decoupledDecay, bool unaligned = false)
    {
        var step = new AdamStep(3, 0.1f, WeightDecay: decoupledDecay ? 0.3f : 0.01f, MaximumNorm: 2, DecoupledDecay: decoupledDecay);
        Matrix<double>[] operands =
            [Normal(random, 1, n), Normal(random, 1, n), Normal(random, 1, n), Normal(random, 1, n).PointwiseAbs()];
        (double Parameter, double First, double Second)[] After(Matrix<double>[] x)
        {
            double clip = Reference.Adam.Clip(Reference.Adam.GradientNorm(x[1].Enumerate()), step.MaximumNorm);
            return [.. Enumerable.Range(0, n).Select(i => Reference.Adam.Step(x[0][0, i], x[1][0, i], x[2][0, i], x[3][0, i], step, clip))];
        }
        return new(
            $"{n} parameters, {(decoupledDecay ? "decoupled decay" : "decay")}, clipping{(unaligned ? ", unaligned" : "")}",
            operands,
            Normal(random, 1, n),
            x => Row(After(x).Select(after => after.Parameter)),
            NoBackward,
            (memory, x) =>
            {
                Tensor[] at = unaligned ? [.. operands.Select(memory.PutUnaligned)] : x;
                var after = After(operands);
                Tensor norm = memory.ToSet(1, 1);
                memory.Kernels.GradientNorm(at[1], norm);
                memory.Kernels.Adam(at[0], at[1], at[2], at[3], norm, step);
                return new(
                    at[0],
                    [],
                    GradientCheck.RelativeError(Row(after.Select(values => values.First)), at[2].ToArray()),
                    GradientCheck.RelativeError(Row(after.Select(values => values.Second)), at[3].ToArray()),
                    IsZero(at[1]));
            });

        static Matrix<double> Row(IEnumerable<double> values) => Matrix<double>.Build.DenseOfRows([values]);
    }

    /// <inheritdoc cref="Adam"/>
    private static KernelCase AdamRows(Random random, int[] rows, int items, int h)
    {
        var step = new AdamStep(3, 0.1f, WeightDecay: 0.01f, MaximumNorm: 2);
        Matrix<double>[] operands =
        [
            Normal(random, items, h), Normal(random, rows.Length, h), Normal(random, items, h), Normal(random, items, h).PointwiseAbs(),
        ];
        (Matrix<double> Parameters, Matrix<double> First, Matrix<double> Second) After(Matrix<double>[] x)
        {
            double clip = Reference.Adam.Clip(Reference.Adam.GradientNorm(x[1].Enumerate()), step.MaximumNorm);
            return Reference.Adam.StepRows(x[0], rows, x[1], x[2], x[3], step, clip);
        }
        return new(
            $"{rows.Length} of [{items}, {h}], decay, clipping",
            operands,
            Normal(random, items, h),
            x => After(x).Parameters,
            NoBackward,
            (memory, x) =>
            {
                var (_, first, second) = After(operands);
                Tensor norm = memory.ToSet(1, 1);
                memory.Kernels.GradientNorm(x[1], norm);
                memory.Kernels.AdamRows(x[0], memory.Put(rows), x[1], x[2], x[3], norm, step);
                return new(
                    x[0],
                    [],
                    GradientCheck.RelativeError(first, x[2].ToArray()),
                    GradientCheck.RelativeError(second, x[3].ToArray()),
                    IsZero(x[1]));
            });
    }

    private static Matrix<double>[] NoBackward(Matrix<double>[] operands, Matrix<double> w) => [];

    /// <summary>0 where these are the numbers, else 1, which no bound allows.</summary>
    private static double Exact(int[] expected, Indices actual) => expected.AsSpan().SequenceEqual(actual.ToArray()) ? 0 : 1;

    /// <inheritdoc cref="Exact"/>
    private static double IsZero(Tensor actual) => actual.ToArray().All(value => value == 0) ? 0 : 1;

    /// <summary>What the items score, [rows, k]; NaN for padding, for what is no item, and for one that its row had before.</summary>
    private static float[] ScoresOf(Matrix<double> scores, int[] items, int k) => [.. items.Select((item, i) =>
        item > 0 && item < scores.ColumnCount && !items.AsSpan(i / k * k, i % k).Contains(item) ? (float)scores[i / k, item] : float.NaN)];

    private static Matrix<double> Normal(Random random, int rows, int columns, double size = 1) =>
        Matrix<double>.Build.Dense(rows, columns, (_, _) => (float)MathNet.Numerics.Distributions.Normal.Sample(random, 0, size));

    /// <summary>Whole numbers from the first to before the second.</summary>
    private static int[] Whole(Random random, int count, int from, int to) =>
        [.. Enumerable.Range(0, count).Select(_ => random.Next(from, to))];

    /// <summary>Whole numbers from −2 to 2.</summary>
    private static Matrix<double> WholeMatrix(Random random, int rows, int columns) =>
        Matrix<double>.Build.Dense(rows, columns, (_, _) => random.Next(-2, 3));
}
