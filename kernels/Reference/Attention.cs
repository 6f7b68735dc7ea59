using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Kernels.Reference;

// Scaled dot-product attention with several heads (Vaswani et al., "Attention Is All You Need", 2017), from both sides: every query of a
// sequence looks at all keys of that sequence. Sequences are packed one after another, so nothing is ever masked as padding. For one
// sequence and one head of d columns, M the dropout mask:
//
//     S = q kᵀ / √d,  L = log Σ exp(S) of each row,  P = softmax(S) = exp(S − L),  O = (M ∘ P) v
//
// The forward keeps q, k, v, O and L, and no matrix of queries × keys: P is made again from q, k and L, and M is drawn again.
//
// O is a product, and so are S and M ∘ P:
//
//     dv = (M ∘ P)ᵀ dO,   dP = M ∘ (dO vᵀ),   dq = dS k / √d,   dk = dSᵀ q / √d
//
// The softmax of a row couples its elements:  ∂P[j] / ∂S[i] = P[j] (δᵢⱼ − P[i]),  so
//
//     dS = P ∘ (dP − D),   D = Σⱼ P[j] dP[j]
//
// D needs no sum over keys:  Σⱼ P[j] dP[j] = Σⱼ (M ∘ P)[j] (dO · v[j]) = dO · Σⱼ (M ∘ P)[j] v[j] = dO · O.
//
// From left to right (causal), a query sees only the keys up to its own: S is −∞ above the diagonal, so P is 0 there, and dS is too.

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
    /// <param name="causal">A sequence's queries are its newest events, and see no newer key than their own.</param>
    /// <returns>Output [Q, H] and log Σ exp of the scaled scores [Q, heads].</returns>
    public static (Matrix<double> Output, Matrix<double> LogSumExp) Forward(
        Matrix<double> q, Matrix<double> kv, int[] queryOffsets, int[] keyOffsets, int heads, DropoutMask dropout, bool causal = false)
    {
        var output = Matrix<double>.Build.Dense(q.RowCount, q.ColumnCount);
        var logSumExp = Matrix<double>.Build.Dense(q.RowCount, heads);
        foreach (var slice in Slices(queryOffsets, keyOffsets, heads, q.ColumnCount / heads))
        {
            var (qh, kh, vh) = (slice.OfQueries(q), slice.OfKeys(kv), slice.OfValues(kv));
            var scores = (qh.TransposeAndMultiply(kh) / Math.Sqrt(slice.Columns))
                .MapIndexed((i, j, score) => slice.Sees(i, j, causal) ? score : double.NegativeInfinity);
            var lse = SoftmaxCrossEntropy.RowLogSumExp(scores);
            var probabilities = scores.MapIndexed((i, _, score) => Math.Exp(score - lse[i]));
            var mask = Dropout.Mask(slice.Queries, slice.Keys, slice.OfDropout(dropout));

            slice.SetQueries(output, mask.PointwiseMultiply(probabilities) * vh);
            logSumExp.SetSubMatrix(slice.FirstQuery, slice.Head, lse.ToColumnMatrix());
        }
        return (output, logSumExp);
    }

    /// <param name="dOutput">[Q, H]</param>
    /// <param name="q">[Q, H], as in the forward, like those below.</param>
    /// <param name="kv">[T, 2H]</param>
    /// <param name="output">[Q, H]</param>
    /// <param name="logSumExp">[Q, heads]</param>
    /// <param name="queryOffsets">[B+1]</param>
    /// <param name="keyOffsets">[B+1]</param>
    /// <param name="heads">Their number.</param>
    /// <param name="dropout">On the probabilities.</param>
    /// <param name="causal">As in the forward.</param>
    /// <returns>Dq [Q, H] and Dkv [T, 2H].</returns>
    public static (Matrix<double> Dq, Matrix<double> Dkv) Backward(
        Matrix<double> dOutput, Matrix<double> q, Matrix<double> kv, Matrix<double> output, Matrix<double> logSumExp,
        int[] queryOffsets, int[] keyOffsets, int heads, DropoutMask dropout, bool causal = false)
    {
        var dq = Matrix<double>.Build.Dense(q.RowCount, q.ColumnCount);
        var dkv = Matrix<double>.Build.Dense(kv.RowCount, kv.ColumnCount);
        foreach (var slice in Slices(queryOffsets, keyOffsets, heads, q.ColumnCount / heads))
        {
            var (qh, kh, vh, dOh) = (slice.OfQueries(q), slice.OfKeys(kv), slice.OfValues(kv), slice.OfQueries(dOutput));
            double root = Math.Sqrt(slice.Columns);
            var probabilities = (qh.TransposeAndMultiply(kh) / root)
                .MapIndexed((i, j, score) =>
                    slice.Sees(i, j, causal) ? Math.Exp(score - logSumExp[slice.FirstQuery + i, slice.Head]) : 0);
            var mask = Dropout.Mask(slice.Queries, slice.Keys, slice.OfDropout(dropout));

            var dProbabilities = mask.PointwiseMultiply(dOh.TransposeAndMultiply(vh));
            var rowSums = dOh.PointwiseMultiply(slice.OfQueries(output)).RowSums();
            var dScores = probabilities.PointwiseMultiply(dProbabilities.MapIndexed((i, _, value) => value - rowSums[i]));

            slice.SetQueries(dq, dScores * kh / root);
            slice.SetKeys(dkv, dScores.TransposeThisAndMultiply(qh) / root);
            slice.SetValues(dkv, mask.PointwiseMultiply(probabilities).TransposeThisAndMultiply(dOh));
        }
        return (dq, dkv);
    }

    /// <summary>Each head of each sequence that has queries.</summary>
    private static IEnumerable<Slice> Slices(int[] queryOffsets, int[] keyOffsets, int heads, int columns) =>
        from b in Enumerable.Range(0, queryOffsets.Length - 1)
        where queryOffsets[b + 1] > queryOffsets[b]
        from head in Enumerable.Range(0, heads)
        select new Slice(
            queryOffsets[b], queryOffsets[b + 1] - queryOffsets[b], keyOffsets[b], keyOffsets[b + 1] - keyOffsets[b], head, heads, columns);

    /// <summary>One head of one sequence: where it lies in q and kv.</summary>
    private sealed record Slice(int FirstQuery, int Queries, int FirstKey, int Keys, int Head, int Heads, int Columns)
    {
        private int KeyColumn => Head * Columns;

        private int ValueColumn => (Heads + Head) * Columns;

        /// <summary>Whether query i sees key j, both counted in the sequence.</summary>
        public bool Sees(int i, int j, bool causal) => !causal || j <= Keys - Queries + i;

        public Matrix<double> OfQueries(Matrix<double> q) => q.SubMatrix(FirstQuery, Queries, Head * Columns, Columns);

        public Matrix<double> OfKeys(Matrix<double> kv) => kv.SubMatrix(FirstKey, Keys, KeyColumn, Columns);

        public Matrix<double> OfValues(Matrix<double> kv) => kv.SubMatrix(FirstKey, Keys, ValueColumn, Columns);

        public void SetQueries(Matrix<double> q, Matrix<double> value) => q.SetSubMatrix(FirstQuery, Head * Columns, value);

        public void SetKeys(Matrix<double> kv, Matrix<double> value) => kv.SetSubMatrix(FirstKey, KeyColumn, value);

        public void SetValues(Matrix<double> kv, Matrix<double> value) => kv.SetSubMatrix(FirstKey, ValueColumn, value);

        public DropoutMask OfDropout(DropoutMask dropout) => new(dropout.Probability, dropout.Key with
        {
            Stream = dropout.Key.Stream + ((uint)Head << 16),
            FirstRow = dropout.Key.FirstRow + (uint)FirstQuery,
        });
    }
}
