using Bert4Rec.Kernels;
using MathNet.Numerics.LinearAlgebra;
using Reference = Bert4Rec.Kernels.Reference;

namespace Bert4Rec.Checking;

/// <summary>A kernel at one shape.</summary>
/// <param name="Kernel">Its name on the command line.</param>
/// <param name="Shape">For people.</param>
/// <param name="Operands">Numbers that float32 holds exactly.</param>
/// <param name="Weights">w, of the result's shape: the gradient that the backward starts from.</param>
/// <param name="Formula">The result in double precision, of the operands.</param>
/// <param name="Derivation">
/// The gradients of Σ result ∘ w in double precision, of the operands and w: one for each operand; none for a kernel without backward.
/// </param>
/// <param name="Run">
/// Forward and backward on a device, given the operands and w: the result, and the gradients in the order of the derivation's.
/// </param>
internal sealed record KernelCase(
    string Kernel,
    string Shape,
    Matrix<double>[] Operands,
    Matrix<double> Weights,
    Func<Matrix<double>[], Matrix<double>> Formula,
    Func<Matrix<double>[], Matrix<double>, Matrix<double>[]> Derivation,
    Func<CheckMemory, Tensor[], (Tensor Result, Tensor[] Gradients)> Run);

/// <summary>
/// The cases: sizes that do not divide any tile, sequences of one event and of several, dropout on where there is one.
/// </summary>
internal static class KernelCases
{
    /// <summary>A loss that is made of other kernels: gathered rows and softmax cross-entropy.</summary>
    public const string SampledSoftmaxName = "sampled-softmax";

    private const float Epsilon = 1e-12f;
    private static readonly int[] Offsets = [0, 1, 5, 5 + 9];

    public static IEnumerable<KernelCase> All(Random random)
    {
        yield return Embedding(random);
        yield return GatherRows(random);
        yield return Linear(random, 5, 7, 3);
        yield return Linear(random, 19, 12, 17);
        yield return FeedForward(random);
        yield return Gelu(random);
        yield return Dropout(random);
        yield return LayerNorm(random, 0);
        yield return LayerNorm(random, 0.3f);
        yield return Attention(random, 0, false);
        yield return Attention(random, 0.3f, false);
        yield return Attention(random, 0.3f, true);
        yield return Attention(random, 0.3f, false, causal: true);
        yield return Attention(random, 0.3f, true, causal: true);
        yield return SoftmaxCrossEntropy(random, 9, 23);
        yield return SoftmaxCrossEntropy(random, 1, 1);
        yield return SampledSoftmax(random);
        yield return ClozeMask(random);
        yield return ScoreItems(random);
        yield return TopK(random);
        yield return GradientNorm(random);
        yield return Adam(random, decoupledDecay: false);
        yield return Adam(random, decoupledDecay: true);
        yield return AdamRows(random);
    }

    private static KernelCase Embedding(Random random)
    {
        const int H = 12;
        int[] tokens = [3, 1, 4, 1, 5, 1, 2, 6, 5, 3, 5, 6, 1], positions = [0, 0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7];
        return new(
            "embedding", $"{tokens.Length} tokens, [7, {H}]",
            [Normal(random, 7, H), Normal(random, 8, H)],
            Normal(random, tokens.Length, H),
            x => Reference.Embedding.Forward(tokens, positions, x[0], x[1]),
            (_, w) =>
            {
                var (dItems, dPositions) = Reference.Embedding.Backward(w, tokens, positions, 7, 8);
                return [dItems, dPositions];
            },
            (memory, x) =>
            {
                Indices tokenIds = memory.Put(tokens), positionIds = memory.Put(positions);
                Tensor y = memory.Zeros(tokens.Length, H), dItems = memory.Zeros(7, H), dPositions = memory.Zeros(8, H);
                memory.Kernels.EmbeddingForward(tokenIds, positionIds, x[0], x[1], y);
                memory.Kernels.EmbeddingBackward(tokenIds, positionIds, x[2], dItems, dPositions);
                return (y, [dItems, dPositions]);
            });
    }

    private static KernelCase GatherRows(Random random)
    {
        int[] rows = [1, 2, 5, 10];
        return new(
            "gather-rows", "4 of [11, 9]",
            [Normal(random, 11, 9)],
            Normal(random, 4, 9),
            x => Reference.Embedding.GatherRowsForward(x[0], rows),
            (x, w) => [Reference.Embedding.GatherRowsBackward(w, rows, x[0].RowCount)],
            (memory, x) =>
            {
                Indices chosen = memory.Put(rows);
                Tensor y = memory.Zeros(4, 9), dx = memory.Zeros(11, 9);
                memory.Kernels.GatherRowsForward(x[0], chosen, y);
                memory.Kernels.GatherRowsBackward(x[1], chosen, dx);
                return (y, [dx]);
            });
    }

    private static KernelCase Linear(Random random, int rows, int inputs, int outputs) => new(
        "linear", $"[{rows}, {inputs}] → {outputs}",
        [Normal(random, rows, inputs), Normal(random, outputs, inputs), Normal(random, 1, outputs)],
        Normal(random, rows, outputs),
        x => Reference.Linear.Forward(x[0], x[1], x[2].Row(0)),
        (x, w) =>
        {
            var (dx, dWeight, dBias) = Reference.Linear.Backward(w, x[0], x[1]);
            return [dx, dWeight, dBias.ToRowMatrix()];
        },
        (memory, x) =>
        {
            Tensor y = memory.Zeros(rows, outputs), dx = memory.Zeros(rows, inputs);
            Tensor dWeight = memory.Zeros(outputs, inputs), dBias = memory.Zeros(1, outputs);
            memory.Kernels.LinearForward(x[0], new(x[1], x[2]), y);
            memory.Kernels.LinearBackwardInput(x[3], x[1], default, dx, false);
            memory.Kernels.LinearBackwardWeight(x[3], x[0], new(dWeight, dBias));
            return (y, [dx, dWeight, dBias]);
        });

    /// <summary>linear → gelu → linear: the gelu's slope is taken up by the second product's backward.</summary>
    private static KernelCase FeedForward(Random random) => new(
        "linear", "[6, 5] → 11, gelu, → 4",
        [Normal(random, 6, 5), Normal(random, 11, 5), Normal(random, 1, 11), Normal(random, 4, 11), Normal(random, 1, 4)],
        Normal(random, 6, 4),
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
            Tensor inner = memory.Zeros(6, 11), slope = memory.Zeros(6, 11), y = memory.Zeros(6, 4), dInner = memory.Zeros(6, 11);
            Tensor dx = memory.Zeros(6, 5), dWeight1 = memory.Zeros(11, 5), dBias1 = memory.Zeros(1, 11);
            Tensor dWeight2 = memory.Zeros(4, 11), dBias2 = memory.Zeros(1, 4);
            memory.Kernels.LinearGeluForward(x[0], new(x[1], x[2]), inner, slope);
            memory.Kernels.LinearForward(inner, new(x[3], x[4]), y);
            memory.Kernels.LinearBackwardWeight(x[5], inner, new(dWeight2, dBias2));
            memory.Kernels.LinearBackwardInput(x[5], x[3], slope, dInner, false);
            memory.Kernels.LinearBackwardWeight(dInner, x[0], new(dWeight1, dBias1));
            memory.Kernels.LinearBackwardInput(dInner, x[1], default, dx, false);
            return (y, [dx, dWeight1, dBias1, dWeight2, dBias2]);
        });

    /// <summary>A product with the identity leaves gelu alone.</summary>
    private static KernelCase Gelu(Random random)
    {
        const int N = 13;
        return new(
            "gelu", $"[7, {N}]",
            [Normal(random, 7, N)],
            Normal(random, 7, N),
            x => Reference.Gelu.Forward(x[0]).Y,
            (x, w) => [Reference.Gelu.Backward(w, Reference.Gelu.Forward(x[0]).Slope)],
            (memory, x) =>
            {
                Tensor identity = memory.Put(Matrix<double>.Build.DenseIdentity(N)), bias = memory.Zeros(1, N);
                Tensor y = memory.Zeros(7, N), slope = memory.Zeros(7, N);
                memory.Kernels.LinearGeluForward(x[0], new(identity, bias), y, slope);
                memory.Kernels.GeluBackward(x[1], slope);
                return (y, [x[1]]);
            });
    }

    private static KernelCase Dropout(Random random)
    {
        var dropout = new DropoutMask(0.4f, new RandomKey(3, 2, 1, 77));
        return new(
            "dropout", "[6, 70], 0.4",
            [Normal(random, 6, 70)],
            Normal(random, 6, 70),
            x => Reference.Dropout.Forward(x[0], dropout),
            (_, w) => [Reference.Dropout.Backward(w, dropout)],
            (memory, x) =>
            {
                memory.Kernels.Dropout(x[0], dropout);
                memory.Kernels.Dropout(x[1], dropout);
                return (x[0], [x[1]]);
            });
    }

    private static KernelCase LayerNorm(Random random, float probability)
    {
        const int Rows = 7, H = 20;
        var dropout = probability > 0 ? new DropoutMask(probability, new RandomKey(5, 6, 7, 8)) : default;
        Matrix<double> Sum(Matrix<double>[] x) => x[1] + Reference.Dropout.Forward(x[0], dropout);
        return new(
            "layer-norm", $"[{Rows}, {H}], residual, dropout {probability}",
            [Normal(random, Rows, H), Normal(random, Rows, H), Normal(random, 1, H), Normal(random, 1, H)],
            Normal(random, Rows, H),
            x => Reference.LayerNorm.Forward(Sum(x), x[2].Row(0), x[3].Row(0), Epsilon).Y,
            (x, w) =>
            {
                var (_, mean, inverseDeviation) = Reference.LayerNorm.Forward(Sum(x), x[2].Row(0), x[3].Row(0), Epsilon);
                var (dSum, dGain, dBias) = Reference.LayerNorm.Backward(w, Sum(x), x[2].Row(0), mean, inverseDeviation);
                return [Reference.Dropout.Backward(dSum, dropout), dSum, dGain.ToRowMatrix(), dBias.ToRowMatrix()];
            },
            (memory, x) =>
            {
                Tensor y = memory.Zeros(Rows, H), statistics = memory.Zeros(Rows, 2);
                Tensor dSum = memory.Zeros(Rows, H), dx = memory.Zeros(Rows, H);
                Tensor dGain = memory.Zeros(1, H), dBias = memory.Zeros(1, H);
                memory.Kernels.LayerNormForward(x[0], x[1], dropout, new(x[2], x[3]), Epsilon, y, statistics);
                memory.Kernels.LayerNormBackward(x[4], x[0], x[2], statistics, dropout, dSum, dx, new(dGain, dBias));
                return (y, [dx, dSum, dGain, dBias]);
            });
    }

    private static KernelCase Attention(Random random, float probability, bool fewQueries, bool causal = false)
    {
        const int H = 12, Heads = 2;
        int tokens = Offsets[^1];
        int[] queryOffsets = fewQueries ? [0, 1, 1, 4] : Offsets;
        int queries = queryOffsets[^1];
        var dropout = probability > 0 ? new DropoutMask(probability, new RandomKey(9, 8, 7, 6)) : default;
        return new(
            "attention",
            $"{queries} queries, {tokens} keys, {Heads} heads of {H / Heads}, dropout {probability}{(causal ? ", causal" : "")}",
            [Normal(random, queries, H), Normal(random, tokens, 2 * H)],
            Normal(random, queries, H),
            x => Reference.Attention.Forward(x[0], x[1], queryOffsets, Offsets, Heads, dropout, causal).Output,
            (x, w) =>
            {
                var (output, logSumExp) = Reference.Attention.Forward(x[0], x[1], queryOffsets, Offsets, Heads, dropout, causal);
                var (dq, dkv) = Reference.Attention.Backward(
                    w, x[0], x[1], output, logSumExp, queryOffsets, Offsets, Heads, dropout, causal);
                return [dq, dkv];
            },
            (memory, x) =>
            {
                var layout = new AttentionLayout(memory.Put(queryOffsets), memory.Put(Offsets), Heads, 9, causal);
                Tensor y = memory.Zeros(queries, H), logSumExp = memory.Zeros(queries, Heads);
                Tensor dq = memory.Zeros(queries, H), dkv = memory.Zeros(tokens, 2 * H);
                memory.Kernels.AttentionForward(x[0], x[1], layout, dropout, y, logSumExp);
                memory.Kernels.AttentionBackward(x[2], x[0], x[1], y, logSumExp, layout, dropout, dq, dkv);
                return (y, [dq, dkv]);
            });
    }

    private static KernelCase SoftmaxCrossEntropy(Random random, int rows, int items)
    {
        const int H = 12;
        int[] targets = [.. Enumerable.Range(0, rows).Select(_ => random.Next(items))];
        // The kernel's backward starts from one scale for all rows.
        const float Scale = 0.7f;
        return new(
            "softmax-cross-entropy", $"[{rows}, {H}], {items} items",
            [Normal(random, rows, H), Normal(random, items, H), Normal(random, 1, items)],
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
                Tensor losses = memory.Zeros(rows, 1), logSumExp = memory.Zeros(rows, 1);
                Tensor dh = memory.Zeros(rows, H), dItems = memory.Zeros(items, H), dBias = memory.Zeros(1, items);
                memory.Kernels.SoftmaxCrossEntropyForward(x[0], new(x[1], x[2]), wanted, losses, logSumExp);
                memory.Kernels.SoftmaxCrossEntropyBackward(x[0], new(x[1], x[2]), wanted, logSumExp, Scale, dh, new(dItems, dBias));
                return (losses, [dh, dItems, dBias]);
            });
    }

    /// <summary>
    /// The loss of candidates whose scores are corrected, and its gradient in the whole catalogue: that of the other items is 0.
    /// </summary>
    private static KernelCase SampledSoftmax(Random random)
    {
        const int Rows = 9, H = 12, Items = 23;
        const float Scale = 0.7f;
        int[] candidates = [0, 17, 4, 9, 3, 22, 11, 8];
        int[] targets = [.. Enumerable.Range(0, Rows).Select(_ => random.Next(candidates.Length))];
        var corrections = Normal(random, candidates.Length, 1);
        Matrix<double> Gathered(Matrix<double> x) => Reference.Embedding.GatherRowsForward(x, candidates);
        Vector<double> Bias(Matrix<double> x) => (Gathered(x) + corrections).Column(0);
        return new(
            SampledSoftmaxName, $"[{Rows}, {H}], {candidates.Length} of {Items} items",
            [Normal(random, Rows, H), Normal(random, Items, H), Normal(random, Items, 1)],
            Matrix<double>.Build.Dense(Rows, 1, Scale),
            x => Reference.SoftmaxCrossEntropy.Forward(x[0], Gathered(x[1]), Bias(x[2]), targets).Losses.ToColumnMatrix(),
            (x, _) =>
            {
                var (items, bias) = (Gathered(x[1]), Bias(x[2]));
                var (_, logSumExp) = Reference.SoftmaxCrossEntropy.Forward(x[0], items, bias, targets);
                var (dh, dItems, dBias) = Reference.SoftmaxCrossEntropy.Backward(Scale, x[0], items, bias, targets, logSumExp);
                return
                [
                    dh,
                    Reference.Embedding.GatherRowsBackward(dItems, candidates, Items),
                    Reference.Embedding.GatherRowsBackward(dBias.ToColumnMatrix(), candidates, Items),
                ];
            },
            (memory, x) =>
            {
                int count = candidates.Length;
                Indices rows = memory.Put(candidates), wanted = memory.Put(targets);
                var catalogue = new WeightAndBias(memory.Zeros(count, H), memory.Zeros(count, 1));
                var gradient = new WeightAndBias(memory.Zeros(count, H), memory.Zeros(count, 1));
                Tensor losses = memory.Zeros(Rows, 1), logSumExp = memory.Zeros(Rows, 1);
                Tensor dh = memory.Zeros(Rows, H), dItems = memory.Zeros(Items, H), dBias = memory.Zeros(Items, 1);
                memory.Kernels.GatherRowsForward(x[1], rows, catalogue.Weight);
                memory.Kernels.GatherRowsForward(x[2], rows, catalogue.Bias);
                memory.Kernels.Add(catalogue.Bias, memory.Put(corrections));
                memory.Kernels.SoftmaxCrossEntropyForward(x[0], catalogue, wanted, losses, logSumExp);
                memory.Kernels.SoftmaxCrossEntropyBackward(x[0], catalogue, wanted, logSumExp, Scale, dh, gradient);
                memory.Kernels.GatherRowsBackward(gradient.Weight, rows, dItems);
                memory.Kernels.GatherRowsBackward(gradient.Bias, rows, dBias);
                return (losses, [dh, dItems, dBias]);
            });
    }

    /// <summary>The masked tokens, then the targets: whole numbers, and so exact.</summary>
    private static KernelCase ClozeMask(Random random)
    {
        const int MaskToken = 99;
        int[] tokens = [.. Enumerable.Range(0, Offsets[^1]).Select(_ => random.Next(1, MaskToken))];
        var masking = new ClozeMasking(new RandomKey(1, 2, 3, 4), 0.4f, 0.3f, MaskToken, int.MaxValue, SkipFirst: false, AtLeastOne: true);
        var (maskedTokens, _, targets, _) = Reference.ClozeMask.Draw(tokens, Offsets, masking);
        Matrix<double> Row(int[] first, int[] second) => Matrix<double>.Build.Dense(1, first.Length + second.Length, [.. first, .. second]);
        var expected = Row(maskedTokens, targets);
        return new(
            "cloze-mask", $"{tokens.Length} tokens",
            [],
            expected,
            _ => expected,
            NoBackward,
            (memory, _) =>
            {
                Indices masked = memory.Put(tokens), rows = memory.Put(tokens), found = memory.Put(tokens), places = memory.Put(Offsets);
                int count = memory.Kernels.ClozeMask(memory.Put(tokens), memory.Put(Offsets), masking, masked, rows, found, places);
                return (memory.Put(Row(masked.ToArray(), found.First(count).ToArray())), []);
            });
    }

    private static KernelCase TopK(Random random)
    {
        const int K = 4, Items = 23;
        return new(
            "top-k", $"{K} of {Items} items for 3 rows",
            [Normal(random, 3, 10), Normal(random, Items, 10), Normal(random, 1, Items)],
            Normal(random, 3, K),
            x =>
            {
                var scores = Reference.Linear.Forward(x[0], x[1], x[2].Row(0));
                return Matrix<double>.Build.Dense(3, K, (row, i) => scores[row, Reference.TopK.Best(scores.Row(row), K, [])[i]]);
            },
            NoBackward,
            (memory, x) =>
            {
                Tensor scores = memory.Zeros(3, K);
                memory.Kernels.TopK(x[0], new(x[1], x[2]), default, default, default, memory.Put(new int[3 * K]), scores, default);
                return (scores, []);
            });
    }

    private static KernelCase ScoreItems(Random random)
    {
        int[] candidates = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8];
        return new(
            "score-items", "[4, 10], 3 candidates each",
            [Normal(random, 4, 10), Normal(random, 10, 10), Normal(random, 1, 10)],
            Normal(random, 4, 3),
            x => Reference.TopK.ScoreItems(x[0], x[1], x[2].Row(0), candidates),
            NoBackward,
            (memory, x) =>
            {
                Tensor scores = memory.Zeros(4, 3);
                memory.Kernels.ScoreItems(x[0], new(x[1], x[2]), memory.Put(candidates), scores);
                return (scores, []);
            });
    }

    private static KernelCase GradientNorm(Random random) => new(
        "gradient-norm", "[1, 1003]",
        [Normal(random, 1, 1003)],
        Normal(random, 1, 1),
        x => Matrix<double>.Build.Dense(1, 1, Reference.Adam.GradientNorm(x[0].Enumerate())),
        NoBackward,
        (memory, x) =>
        {
            Tensor result = memory.Zeros(1, 1);
            memory.Kernels.GradientNorm(x[0], result);
            return (result, []);
        });

    private static KernelCase Adam(Random random, bool decoupledDecay)
    {
        const int N = 37;
        var step = new AdamStep(3, 0.1f, WeightDecay: decoupledDecay ? 0.3f : 0.01f, MaximumNorm: 2, DecoupledDecay: decoupledDecay);
        return new(
            "adam", $"{N} parameters, {(decoupledDecay ? "decoupled decay" : "decay")}, clipping",
            [Normal(random, 1, N), Normal(random, 1, N), Normal(random, 1, N), Normal(random, 1, N).PointwiseAbs()],
            Normal(random, 1, N),
            x =>
            {
                double clip = Reference.Adam.Clip(Reference.Adam.GradientNorm(x[1].Enumerate()), step.MaximumNorm);
                return Matrix<double>.Build.Dense(1, N, (_, i) =>
                    Reference.Adam.Step(x[0][0, i], x[1][0, i], x[2][0, i], x[3][0, i], step, clip).Parameter);
            },
            NoBackward,
            (memory, x) =>
            {
                Tensor norm = memory.Zeros(1, 1);
                memory.Kernels.GradientNorm(x[1], norm);
                memory.Kernels.Adam(x[0], x[1], x[2], x[3], norm, step);
                return (x[0], []);
            });
    }

    private static KernelCase AdamRows(Random random)
    {
        const int Items = 11, H = 9;
        int[] rows = [7, 2, 10, 0];
        var step = new AdamStep(3, 0.1f, WeightDecay: 0.01f, MaximumNorm: 2);
        return new(
            "adam-rows", $"{rows.Length} of [{Items}, {H}], decay, clipping",
            [Normal(random, Items, H), Normal(random, rows.Length, H), Normal(random, Items, H), Normal(random, Items, H).PointwiseAbs()],
            Normal(random, Items, H),
            x =>
            {
                double clip = Reference.Adam.Clip(Reference.Adam.GradientNorm(x[1].Enumerate()), step.MaximumNorm);
                return Reference.Adam.StepRows(x[0], rows, x[1], x[2], x[3], step, clip).Parameters;
            },
            NoBackward,
            (memory, x) =>
            {
                Tensor norm = memory.Zeros(1, 1);
                memory.Kernels.GradientNorm(x[1], norm);
                memory.Kernels.AdamRows(x[0], memory.Put(rows), x[1], x[2], x[3], norm, step);
                return (x[0], []);
            });
    }

    private static Matrix<double>[] NoBackward(Matrix<double>[] operands, Matrix<double> w) => [];

    private static Matrix<double> Normal(Random random, int rows, int columns) =>
        Matrix<double>.Build.Dense(rows, columns, (_, _) => (float)MathNet.Numerics.Distributions.Normal.Sample(random, 0, 1));
}
