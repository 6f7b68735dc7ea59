using Bert4Rec.Kernels;
using Bert4Rec.Serialization;
using MathNet.Numerics.LinearAlgebra;
using static Bert4Rec.Checking.CaseOperands;
using Reference = Bert4Rec.Kernels.Reference;

namespace Bert4Rec.Checking;

/// <summary>Cases of what layers are made of.</summary>
internal static class LayerCases
{
    private const float Epsilon = 1e-12f;

    public static KernelCase Embedding(Random random, int[] tokens, int[] positions, int items, int h)
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

    public static KernelCase GatherRows(Random random, int[] rows, int count, int h) => new(
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
    public static KernelCase Linear(Random random, int rows, int inputs, int outputs) => new(
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
    public static KernelCase FeedForward(Random random, int rows, int inputs, int width, int outputs) => new(
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
    public static KernelCase Gelu(Random random, int rows, int n) => new(
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

    public static KernelCase Dropout(Random random, int rows, int columns)
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

    public static KernelCase LayerNorm(Random random, int rows, int h, float probability)
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

    public static KernelCase Attention(
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
}
