using System.Globalization;
using Bert4Rec.Kernels.Gpu;
using Xunit.Abstractions;

namespace Bert4Rec.Tests.Kernels;

/// <summary>What is chosen for products, against what a GPU took for them (products-h200.txt).</summary>
public sealed class TileCostTests(ITestOutputHelper report)
{
    private const int Multiprocessors = 132;

    [Theory]
    [InlineData("fp32", 1.03)]
    [InlineData("tf32", 1.06)]
    public void The_choice_is_among_the_fastest_that_were_measured(string precision, double bound)
    {
        double sum = 0;
        var products = Measured(precision);
        foreach (var ((name, m, n, k), times) in products)
        {
            var small = TileCost.Small.Best(Tiles<SmallTile>(m, n), k, Multiprocessors);
            var large = TileCost.Large.Best(Tiles<LargeTile>(m, n), k, Multiprocessors);
            double chosen = large.Time < small.Time ? TimeOf(times["large"], large.Parts) : TimeOf(times["small"], small.Parts);
            double best = times.Values.SelectMany(tile => tile.Values).Min();
            report.WriteLine($"{name} {m} × {n} × {k}: {chosen / best:F2} (small {small}, large {large})");
            sum += Math.Log(chosen / best);
        }
        double mean = Math.Exp(sum / products.Count);
        report.WriteLine($"{mean:F3} times the best");
        Assert.Equal(34, products.Count);
        Assert.InRange(mean, 1, bound);
    }

    [Fact]
    public void Parts_have_work_and_multiprocessors_few_groups()
    {
        foreach (var cost in new[] { TileCost.Small, TileCost.Large })
        {
            Assert.Equal(1, cost.Best(tiles: 1, k: 127, Multiprocessors).Parts);
            Assert.Equal(1, cost.Best(tiles: 100_000, k: 1 << 20, Multiprocessors).Parts);
            Assert.InRange(cost.Best(tiles: 8, k: 20_000, Multiprocessors).Parts, 8, 8 * Multiprocessors / 8);
            Assert.Equal(1, cost.Best(tiles: 8, k: 64, multiprocessors: 1).Parts);
        }
    }

    private static long Tiles<TTile>(int m, int n)
        where TTile : struct, ITile => (m + TTile.BM - 1) / TTile.BM * (long)((n + TTile.BN - 1) / TTile.BN);

    /// <summary>Between the numbers of parts that were tried, on the line in logarithms.</summary>
    private static double TimeOf(SortedDictionary<int, double> times, int parts)
    {
        int below = times.Keys.Last(tried => tried <= parts), above = times.Keys.FirstOrDefault(tried => tried >= parts, below);
        double share = above == below ? 0 : Math.Log((double)parts / below) / Math.Log((double)above / below);
        return Math.Exp((Math.Log(times[below]) * (1 - share)) + (Math.Log(times[above]) * share));
    }

    /// <summary>By product and tile, microseconds by the number of parts.</summary>
    private static Dictionary<(string Name, int M, int N, int K), Dictionary<string, SortedDictionary<int, double>>> Measured(
        string precision)
    {
        string path = Path.Combine(TestFiles.RepositoryRoot, "tests", "fixtures", "products-h200.txt");
        var products = new Dictionary<(string Name, int M, int N, int K), Dictionary<string, SortedDictionary<int, double>>>();
        var lines = File.ReadLines(path).Select(line => line.Split(' ')).Where(fields => fields[0] == precision).ToList();
        for (int i = 0; i < lines.Count; i++)
        {
            int[] sizes = [.. lines[i][2..5].Select(int.Parse)];
            var key = (lines[i][1], sizes[0], sizes[1], sizes[2]);
            if (!products.TryGetValue(key, out var tiles))
                products[key] = tiles = [];
            tiles[lines[i][5]] = new(lines[i][6..].Select(field => field.Split(':')).ToDictionary(
                pair => int.Parse(pair[0]), pair => double.Parse(pair[1], CultureInfo.InvariantCulture)));
        }
        return products;
    }
}
