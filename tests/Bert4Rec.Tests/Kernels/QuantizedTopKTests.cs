using Bert4Rec.Kernels;
using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Tests.Kernels;

public class QuantizedTopKTests
{
    /// <summary>Vector bits, H, V, k.</summary>
    public static TheoryData<int, int, int, int> Shapes
    {
        get
        {
            var data = new TheoryData<int, int, int, int>();
            (int, int, int)[] shapes = [(20, 9, 1), (1, 300, 3), (8, 1000, 10), (64, 997, 100), (100, 5000, 10), (128, 5000, 20)];
            foreach (int bits in new[] { 512, 256, 128 })
            {
                foreach (var (hidden, items, k) in shapes)
                    data.Add(bits, hidden, items, k);
            }
            return data;
        }
    }

    /// <summary>Rows of every size, so that the copy of a large one is further off than the scores of small ones are apart.</summary>
    [Theory]
    [MemberData(nameof(Shapes))]
    public void Gives_the_items_and_scores_of_TopK(int bits, int hidden, int items, int k)
    {
        var random = new Random(hidden + items);
        for (int trial = 0; trial < 20; trial++)
        {
            var table = random.Normal(items, hidden);
            for (int item = 0; item < items; item++)
                table.SetRow(item, table.Row(item) * Math.Pow(10, (random.NextDouble() * trial % 5) - 2));
            int[] excluded = [.. random.Integers(trial % 3 * (trial % 2 == 0 ? 4 : items / 3), 1, items).Distinct().Order()];
            Compare(bits, k, random.Normal(1, hidden), table, random.Normal(1, items), excluded);
        }
    }

    /// <summary>
    /// Integers score exactly in both; their many ties rank by id, and what is tied with the last place must be looked at.
    /// </summary>
    [Theory]
    [MemberData(nameof(Shapes))]
    public void Ties_rank_by_lower_id(int bits, int hidden, int items, int k)
    {
        var random = new Random(hidden + items);
        Matrix<double> Draw(int rows, int columns) => Matrix<double>.Build.Dense(rows, columns, (_, _) => random.Next(-1, 2));
        for (int trial = 0; trial < 5; trial++)
        {
            int[] excluded = [.. random.Integers(trial * 3, 1, items).Distinct().Order()];
            Compare(bits, k, Draw(1, hidden), Draw(items, hidden), Draw(1, items), excluded);
        }
    }

    /// <summary>
    /// bfloat16 has 1 and 1 + 2⁻⁷ and nothing between: the best items are rounded down and all others up, so that the copy puts them
    /// last.
    /// </summary>
    [Theory]
    [InlineData(512)]
    [InlineData(256)]
    [InlineData(128)]
    public void The_best_items_are_found_where_the_copy_ranks_them_last(int bits)
    {
        double middle = 1 + Math.Pow(2, -8), little = Math.Pow(2, -12);
        bool IsBest(int item) => item % 100 == 7;
        Compare(
            bits,
            10,
            Matrix<double>.Build.Dense(1, 64, 1),
            Matrix<double>.Build.Dense(1000, 64, (item, _) => IsBest(item) ? middle - little : middle + little),
            Matrix<double>.Build.Dense(1, 1000, (_, item) => IsBest(item) ? 64 * 3 * little : 0),
            []);
    }

    [Fact]
    public void Refuses_a_row_that_is_not_finite() => Bench.On("cpu-512", bench =>
    {
        using var quantized = bench.Kernels.QuantizeCatalogue(new(bench.Tensor(new float[8000], 8), bench.Tensor(new float[1000], 1000)))!;
        Assert.False(quantized.TryTopK(bench.Tensor([float.NaN, 1, 1, 1, 1, 1, 1, 1], 8), [], new int[3], new float[3]));
        return true;
    });

    private static void Compare(int bits, int k, Matrix<double> h, Matrix<double> table, Matrix<double> bias, int[] excluded) =>
        Bench.On($"cpu-{bits}", bench =>
        {
            Tensor row = bench.Tensor(h), items = bench.Tensor(table), itemBias = bench.Tensor(bias);
            var topItems = bench.GarbageIndices(k);
            var topScores = bench.Garbage(1, k);
            bench.Kernels.TopK(
                row,
                new(items, itemBias),
                default,
                default,
                new(bench.Indices(0, excluded.Length), bench.Indices([.. excluded, 0])),
                topItems,
                topScores,
                default);
            var found = new int[k];
            var scores = new float[k];
            using var quantized = bench.Kernels.QuantizeCatalogue(new(items, itemBias))!;
            bool isOfUse = quantized.TryTopK(row, excluded, found, scores);
            Assert.Equal(k <= table.RowCount / 8, isOfUse);
            if (isOfUse)
            {
                Assert.Equal(topItems.ToArray(), found);
                // The terms of a sum may be far larger than it.
                double scale = h.Norm() * Math.Sqrt(found.Sum(item => Math.Pow(table.Row(item).L2Norm(), 2)));
                Numbers.Close("scores", Matrix<double>.Build.Dense(1, k, (_, i) => topScores.ToArray()[i]), scores, 1e-6, scale);
            }
            return true;
        });
}
