using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Reference;
using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Tests.Kernels;

public class TopKTests
{
    /// <summary>B, H, V, k.</summary>
    public static TheoryData<string, int, int, int, int> Shapes => Backends.Times(
        (1, 8, 2, 1), (5, 8, 2, 10), (5, 128, 61, 1), (37, 20, 61, 100),
        (2, 20, 997, 10), (37, 32, 300, 10), (130, 20, 257, 20), (1, 16, 3000, 20));

    /// <summary>Small integers score exactly in float, whatever the order of the sum, and collide often.</summary>
    [Theory]
    [MemberData(nameof(Shapes))]
    public void Order_ties_exclusions_and_ranks_are_exact(string backend, int rows, int hidden, int items, int k)
    {
        var c = new Case(rows, hidden, items, (random, r, columns) =>
            Matrix<double>.Build.Dense(r, columns, (_, _) => random.Next(-1, 2)));
        var scores = c.Scores();
        var plain = c.Run(backend, k, withExclusions: false);
        var excluding = c.Run(backend, k, withExclusions: true);
        float[] boosts = [.. Enumerable.Range(0, rows).Select(b => (b % 5) - 2)];
        var boosted = c.Run(backend, k, withExclusions: false, boosts);
        var boostedExcluding = c.Run(backend, k, withExclusions: true, boosts);
        for (int b = 0; b < rows; b++)
        {
            var withBoost = scores.Row(b);
            withBoost[c.Targets[b]] += boosts[b];
            Assert.Equal(TopK.Rank(withBoost, c.Targets[b], []), RankOf(boosted.Ranks, b));
            Assert.Equal(TopK.Rank(withBoost, c.Targets[b], c.Excluded(b)), RankOf(boostedExcluding.Ranks, b));
            CheckRow(TopK.Best(scores.Row(b), k, []), scores.Row(b), boosted, b, k);
            CheckRow(TopK.Best(scores.Row(b), k, []), scores.Row(b), plain, b, k);
            CheckRow(TopK.Best(scores.Row(b), k, c.Excluded(b)), scores.Row(b), excluding, b, k);
            Assert.Equal(TopK.Rank(scores.Row(b), c.Targets[b], []), RankOf(plain.Ranks, b));
            Assert.Equal(TopK.Rank(scores.Row(b), c.Targets[b], c.Excluded(b)), RankOf(excluding.Ranks, b));
        }

        static (int, int, int) RankOf(int[] ranks, int row) => (ranks[3 * row], ranks[(3 * row) + 1], ranks[(3 * row) + 2]);
    }

    /// <summary>Scores that float rounds: the order may differ only where scores differ by rounding.</summary>
    [Theory]
    [MemberData(nameof(Shapes))]
    public void Real_scores_rank_as_the_reference_up_to_rounding(string backend, int rows, int hidden, int items, int k)
    {
        var c = new Case(rows, hidden, items, (random, r, columns) => random.Normal(r, columns));
        var scores = c.Scores();
        var actual = c.Run(backend, k, withExclusions: false);
        double rounding = 1e-6 * Math.Sqrt(hidden) * 10;
        for (int b = 0; b < rows; b++)
        {
            int[] expected = TopK.Best(scores.Row(b), k, []);
            int[] best = actual.Items[(b * k)..((b * k) + expected.Length)];
            Assert.Equal(expected.Length, best.Distinct().Count());
            for (int i = 0; i < expected.Length; i++)
            {
                Assert.InRange(scores[b, best[i]] - scores[b, expected[i]], -rounding, rounding);
                Assert.InRange(actual.Scores[(b * k) + i] - scores[b, best[i]], -rounding, rounding);
            }
            int higher = Enumerable.Range(1, items - 1).Count(item => scores[b, item] > scores[b, c.Targets[b]] + rounding);
            int notLower = Enumerable.Range(1, items - 1).Count(item => scores[b, item] > scores[b, c.Targets[b]] - rounding);
            Assert.InRange(actual.Ranks[3 * b], higher, notLower - 1);
        }
    }

    [Theory]
    [MemberData(nameof(Backends.All), MemberType = typeof(Backends))]
    public void All_items_excluded_leave_nothing(string backend)
    {
        var (items, scores) = Bench.On(backend, bench =>
        {
            var topItems = bench.GarbageIndices(3);
            var topScores = bench.Garbage(1, 3);
            bench.Kernels.TopK(
                bench.Tensor([1, 1], 2),
                new(bench.Tensor(new float[10], 2), bench.Tensor(new float[5], 5)),
                default,
                default,
                new(bench.Indices(0, 4), bench.Indices(1, 2, 3, 4)),
                topItems,
                topScores,
                default);
            return (topItems.ToArray(), topScores.ToArray());
        });
        Assert.Equal([0, 0, 0], items);
        Assert.All(scores, score => Assert.Equal(float.NegativeInfinity, score));
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Candidates_get_the_scores_of_their_items(string backend, int rows, int hidden, int items, int k)
    {
        var c = new Case(rows, hidden, items, (random, r, columns) => random.Normal(r, columns));
        int candidates = 100 + k;
        int[] ids = new Random(5).Integers(rows * candidates, 0, items);
        float[] actual = Bench.On(backend, bench =>
        {
            var scores = bench.Garbage(rows, candidates);
            bench.Kernels.ScoreItems(bench.Tensor(c.H), new(bench.Tensor(c.Items), bench.Tensor(c.Bias)), bench.Indices(ids), scores);
            return scores.ToArray();
        });
        var all = c.Scores();
        Numbers.Close(
            "scores", Matrix<double>.Build.Dense(rows, candidates, (b, i) => all[b, ids[(b * candidates) + i]]), actual, 1e-6);
    }

    [Theory]
    [MemberData(nameof(Backends.All), MemberType = typeof(Backends))]
    public void The_same_call_gives_the_same_bits(string backend)
    {
        var c = new Case(37, 20, 1000, (random, r, columns) => random.Normal(r, columns));
        var (first, second) = (c.Run(backend, 10, withExclusions: true), c.Run(backend, 10, withExclusions: true));
        Assert.Equal(first.Items, second.Items);
        Assert.Equal(first.Scores, second.Scores);
        Assert.Equal(first.Ranks, second.Ranks);
    }

    private static void CheckRow(int[] expected, Vector<double> scores, (int[] Items, float[] Scores, int[] Ranks) actual, int row, int k)
    {
        int missing = k - expected.Length;
        Assert.Equal([.. expected, .. Enumerable.Repeat(0, missing)], actual.Items[(row * k)..((row + 1) * k)]);
        Assert.Equal(
            [.. expected.Select(item => (float)scores[item]), .. Enumerable.Repeat(float.NegativeInfinity, missing)],
            actual.Scores[(row * k)..((row + 1) * k)]);
    }

    private sealed class Case
    {
        public readonly Matrix<double> H;
        public readonly Matrix<double> Items;
        public readonly Matrix<double> Bias;
        public readonly int[] Targets;
        private readonly int[][] _excluded;

        public Case(int rows, int hidden, int items, Func<Random, int, int, Matrix<double>> draw)
        {
            var random = new Random(rows + hidden + items);
            H = draw(random, rows, hidden);
            Items = draw(random, items, hidden);
            Bias = draw(random, 1, items);
            Targets = random.Integers(rows, 1, items);
            _excluded = [.. Enumerable.Range(0, rows).Select(b => Draw(random, items, b))];
        }

        public Matrix<double> Scores() => Linear.Forward(H, Items, Bias.Row(0));

        public int[] Excluded(int row) => _excluded[row];

        public (int[] Items, float[] Scores, int[] Ranks) Run(
            string backend, int k, bool withExclusions, float[]? boosts = null) => Bench.On(backend, bench =>
        {
            int rows = H.RowCount;
            var topItems = bench.GarbageIndices(rows * k);
            var topScores = bench.Garbage(rows, k);
            var ranks = bench.GarbageIndices(3 * rows);
            bench.Kernels.TopK(
                bench.Tensor(H),
                new(bench.Tensor(Items), bench.Tensor(Bias)),
                bench.Indices(Targets),
                boosts is null ? default : bench.Tensor(boosts, boosts.Length),
                withExclusions
                    ? new(
                        bench.Indices(Numbers.Offsets([.. _excluded.Select(row => row.Length)])),
                        bench.Indices([.. _excluded.SelectMany(row => row)]))
                    : default,
                topItems,
                topScores,
                ranks);
            return (topItems.ToArray(), topScores.ToArray(), ranks.ToArray());
        });

        /// <summary>None for some rows, many for others, ascending.</summary>
        private static int[] Draw(Random random, int items, int row) =>
            [.. random.Integers(row % 3 * 10, 1, items).Distinct().Order()];
    }
}
