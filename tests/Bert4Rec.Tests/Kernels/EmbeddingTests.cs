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
