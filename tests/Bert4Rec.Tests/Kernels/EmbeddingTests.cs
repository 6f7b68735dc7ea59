using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Reference;
using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Tests.Kernels;

public class EmbeddingTests : LayerTests
{
    private const int Items = 12;
    private const int Length = 50;

    public static TheoryData<string, int, int> Shapes => Backends.Times(
        (1, 8), (5, 20), (37, 32), (130, 64), (37, 128), (130, 1), (3000, 3));

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Forward_is_the_sum_of_two_lookups(string backend, int tokens, int hidden)
    {
        var c = new Case(tokens, hidden);
        Numbers.Close("x", Embedding.Forward(c.Tokens, c.Positions, c.ItemTable, c.PositionTable), c.Run(backend)["x"], 1e-7);
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Backward_adds_to_the_rows_that_were_looked_up(string backend, int tokens, int hidden)
    {
        var c = new Case(tokens, hidden);
        var results = c.Run(backend);
        Assert.Equal(c.DItems.Row(0), results["dItems"].ToMatrix(hidden).Row(0));
        var (dItems, dPositions) = Embedding.Backward(c.Dx, c.Tokens, c.Positions, c.ItemTable.RowCount, c.PositionTable.RowCount);
        Numbers.Close("dItems", c.DItems + dItems, results["dItems"], 5e-7);
        Numbers.Close("dPositions", c.DPositions + dPositions, results["dPositions"], 5e-7);
    }

    /// <summary>
    /// Batch after batch in the same memory, one of which is begun twice, and one begun and never ended: the next has the same tokens'
    /// memory, with other tokens.
    /// </summary>
    [Theory]
    [MemberData(nameof(Backends.All), MemberType = typeof(Backends))]
    public void A_backward_that_was_begun_has_the_same_bits(string backend)
    {
        const int Hidden = 3, Longest = 5000;
        int[] batches = [37, 300, Longest, 40, Longest - 1];
        Assert.Equal(Backward(isBegun: false), Backward(isBegun: true));

        List<float[]> Backward(bool isBegun) => Bench.On(backend, bench =>
        {
            Indices allTokens = bench.Indices(new int[Longest]), allPositions = bench.Indices(new int[Longest]);
            var results = new List<float[]>();
            for (int i = 0; i < batches.Length; i++)
            {
                var c = new Case(batches[i], Hidden);
                Indices tokens = allTokens.First(batches[i]), positions = allPositions.First(batches[i]);
                Tensor dItems = bench.Tensor(c.DItems), dPositions = bench.Tensor(c.DPositions);
                if (i == 3)
                    Begin(new int[batches[i]], new int[batches[i]], times: 1);
                Begin(c.Tokens, c.Positions, times: i == 3 ? 0 : i == 1 ? 2 : 1);
                bench.Kernels.EmbeddingBackward(tokens, positions, bench.Tensor(c.Dx), dItems, dPositions);
                results.AddRange(Results.Of(("dItems", dItems), ("dPositions", dPositions)).Values);

                void Begin(int[] newTokens, int[] newPositions, int times)
                {
                    tokens.Upload(newTokens);
                    positions.Upload(newPositions);
                    var x = bench.Garbage(c.Tokens.Length, Hidden);
                    bench.Kernels.EmbeddingForward(tokens, positions, bench.Tensor(c.ItemTable), bench.Tensor(c.PositionTable), x);
                    for (; isBegun && times > 0; times--)
                        bench.Kernels.BeginEmbeddingBackward(tokens, positions, dItems, dPositions);
                }
            }
            return results;
        });
    }

    protected override IReadOnlyDictionary<string, float[]> Run(string backend) => new Case(130, 20).Run(backend);

    private sealed class Case
    {
        public readonly int[] Tokens;
        public readonly int[] Positions;
        public readonly Matrix<double> ItemTable;
        public readonly Matrix<double> PositionTable;
        public readonly Matrix<double> Dx;
        public readonly Matrix<double> DItems;
        public readonly Matrix<double> DPositions;

        public Case(int tokens, int hidden)
        {
            var random = new Random(tokens + hidden);
            Tokens = random.Integers(tokens, 0, Items + 1);
            Tokens[^1] = 0;
            Tokens[0] = Items;
            Positions = [.. Enumerable.Range(0, tokens).Select(t => t % Length)];
            ItemTable = random.Normal(Items + 1, hidden);
            PositionTable = random.Normal(Length, hidden);
            Dx = random.Normal(tokens, hidden);
            DItems = random.Normal(Items + 1, hidden);
            DPositions = random.Normal(Length, hidden);
        }

        public Dictionary<string, float[]> Run(string backend) => Bench.On(backend, bench =>
        {
            Indices tokens = bench.Indices(Tokens), positions = bench.Indices(Positions);
            var x = bench.Garbage(Tokens.Length, ItemTable.ColumnCount);
            Tensor dItems = bench.Tensor(DItems), dPositions = bench.Tensor(DPositions);
            bench.Kernels.EmbeddingForward(tokens, positions, bench.Tensor(ItemTable), bench.Tensor(PositionTable), x);
            bench.Kernels.EmbeddingBackward(tokens, positions, bench.Tensor(Dx), dItems, dPositions);
            return Results.Of(("x", x), ("dItems", dItems), ("dPositions", dPositions));
        });
    }
}
