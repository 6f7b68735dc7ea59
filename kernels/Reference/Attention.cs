using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Kernels.Reference;

// Scaled dot-product attention with several heads (Vaswani et al., "Attention Is All You Need", 2017), from both sides: every query of a
// sequence looks at all keys of that sequence. Sequences are packed one after another, so nothing is ever masked as padding.

/// <summary>output = dropout(softmax(q kᵀ / √d)) v for each sequence and head, d = H / heads.</summary>
public static class Attention
{
    /// <param name="q">[Q, H]</param>
    /// <param name="kv">[T, 2H]: keys, then values.</param>
    /// <param name="queryOffsets">[B+1]: sequence b has the queries queryOffsets[b] to queryOffsets[b+1].</param>
    /// <param name="keyOffsets">[B+1]: the same for keys.</param>
    /// <param name="heads">Head h is columns h·d to (h+1)·d.</param>
    /// <param name="dropout">On the probabilities. The row is the query's, the column the key's place in its sequence; head h draws from
    /// stream + (h &lt;&lt; 16).</param>
    /// <returns>Output [Q, H] and log Σ exp of the scaled scores [Q, heads].</returns>
    public static (Matrix<double> Output, Matrix<double> LogSumExp) Forward(
        Matrix<double> q, Matrix<double> kv, int[] queryOffsets, int[] keyOffsets, int heads, DropoutMask dropout)
    {
        int hidden = q.ColumnCount, d = hidden / heads;
        var output = Matrix<double>.Build.Dense(q.RowCount, hidden);
        var logSumExp = Matrix<double>.Build.Dense(q.RowCount, heads);
        for (int b = 0; b + 1 < queryOffsets.Length; b++)
        {
            int firstQuery = queryOffsets[b], queries = queryOffsets[b + 1] - firstQuery;
            int firstKey = keyOffsets[b], keys = keyOffsets[b + 1] - firstKey;
            if (queries == 0)
                continue;
            for (int head = 0; head < heads; head++)
            {
                var qh = q.SubMatrix(firstQuery, queries, head * d, d);
                var kh = kv.SubMatrix(firstKey, keys, head * d, d);
                var vh = kv.SubMatrix(firstKey, keys, hidden + (head * d), d);

                var scores = qh.TransposeAndMultiply(kh) / Math.Sqrt(d);
                var lse = SoftmaxCrossEntropy.LogSumExp(scores);
                var probabilities = scores.MapIndexed((i, _, score) => Math.Exp(score - lse[i]));
                var mask = Dropout.Draw(queries, keys, OfHead(dropout, head, firstQuery));

                output.SetSubMatrix(firstQuery, head * d, mask.PointwiseMultiply(probabilities) * vh);
                logSumExp.SetSubMatrix(firstQuery, head, lse.ToColumnMatrix());
            }
        }
        return (output, logSumExp);
    }

    private static DropoutMask OfHead(DropoutMask dropout, int head, int firstQuery) => new(dropout.Probability, dropout.Key with
    {
        Stream = dropout.Key.Stream + ((uint)head << 16),
        FirstRow = dropout.Key.FirstRow + (uint)firstQuery,
    });
}
