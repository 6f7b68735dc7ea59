using Bert4Rec.Kernels;
using Bert4Rec.Serialization;
using MathNet.Numerics.LinearAlgebra;
using static Bert4Rec.Checking.CaseOperands;
using Reference = Bert4Rec.Kernels.Reference;

namespace Bert4Rec.Checking;

/// <summary>Cases of scores and of the best of them.</summary>
internal static class RankingCases
{
    /// <summary>
    /// The k best scores; and of the items that come with them the scores in double precision, since nearly equal ones may change places.
    /// The same of a quantized catalogue, row by row, where the device has one.
    /// </summary>
    public static KernelCase TopK(Random random, int rows, int items, int k)
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
    public static KernelCase RankedTopK(Random random, int rows, int items, int k)
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

    public static KernelCase ScoreItems(Random random, int rows, int h, int items, int each)
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
}
