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
    public void A_backward_that_was_begun_adds_what_it_would_have_added(string backend)
    {
        const int Hidden = 3, Longest = 5000;
        foreach (var (rows, results) in Bench.On(backend, bench =>
        {
            Indices tokens = bench.Indices(new int[Longest]), positions = bench.Indices(new int[Longest]);
            int[] batches = [37, 300, Longest, 40, Longest - 1];
            return batches.Select((rows, i) => (rows, Begin(bench, tokens.First(rows), positions.First(rows), i))).ToArray();
        }))
        {
            var c = new Case(rows, Hidden);
            var (dItems, dPositions) = Embedding.Backward(c.Dx, c.Tokens, c.Positions, c.ItemTable.RowCount, c.PositionTable.RowCount);
            Numbers.Close($"dItems of {rows}", c.DItems + dItems, results["dItems"], 5e-7);
            Numbers.Close($"dPositions of {rows}", c.DPositions + dPositions, results["dPositions"], 5e-7);
        }

        static Dictionary<string, float[]> Begin(Bench bench, Indices tokens, Indices positions, int number)
        {
            var c = new Case(tokens.Length, Hidden);
            Tensor dItems = bench.Tensor(c.DItems), dPositions = bench.Tensor(c.DPositions);
            Tensor items = bench.Tensor(c.ItemTable), positionTable = bench.Tensor(c.PositionTable), x = bench.Garbage(tokens.Length, Hidden);
            if (number == 3)
            {
                tokens.Upload(new int[tokens.Length]);
                positions.Upload(new int[tokens.Length]);
                bench.Kernels.EmbeddingForward(tokens, positions, items, positionTable, x);
                bench.Kernels.BeginEmbeddingBackward(tokens, positions, dItems, dPositions);
            }
            tokens.Upload(c.Tokens);
            positions.Upload(c.Positions);
            bench.Kernels.EmbeddingForward(tokens, positions, items, positionTable, x);
            for (int times = number == 3 ? 0 : number == 1 ? 2 : 1; times > 0; times--)
                bench.Kernels.BeginEmbeddingBackward(tokens, positions, dItems, dPositions);
            bench.Kernels.EmbeddingBackward(tokens, positions, bench.Tensor(c.Dx), dItems, dPositions);
            return Results.Of(("dItems", dItems), ("dPositions", dPositions));
        }
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
