using Bert4Rec.Kernels;
using MathNet.Numerics.LinearAlgebra;
using static Bert4Rec.Checking.CaseOperands;
using Reference = Bert4Rec.Kernels.Reference;

namespace Bert4Rec.Checking;

/// <summary>Cases of the losses, and of the masks that they are asked at.</summary>
internal static class LossCases
{
    public static KernelCase SoftmaxCrossEntropy(Random random, int rows, int items, int h, double size = 1)
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
    public static KernelCase SampledSoftmax(Random random, int rows, int h, int items, int[] candidates)
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
    public static KernelCase ClozeMask(Random random, int[] offsets, ClozeMasking how)
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
}
