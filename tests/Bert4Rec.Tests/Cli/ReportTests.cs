using Bert4Rec.Cli.Output;

namespace Bert4Rec.Tests.Cli;

public class ReportTests
{
    private static readonly Dictionary<string, double> Model = new() { ["recall@5"] = 0.1, ["recall@10"] = 0.25, ["ndcg@10"] = 0.125 };

    private static readonly Dictionary<string, double> Errors = new() { ["recall@10"] = 0.003 };

    private static readonly Dictionary<string, IReadOnlyDictionary<string, double>> Baselines = new()
    {
        ["popularity"] = new Dictionary<string, double> { ["recall@5"] = 0.01, ["recall@10"] = 0.02, ["ndcg@10"] = double.NaN },
        ["[markov]"] = new Dictionary<string, double> { ["recall@5"] = 0.03, ["recall@10"] = 0.04, ["ndcg@10"] = 0.05 },
    };

    [Fact]
    public void The_table_sets_the_model_beside_the_baselines_and_begins_with_what_papers_compare()
    {
        using var writer = new StringWriter { NewLine = "\n" };
        Report.WriteMetrics(new(writer, TextWriter.Null, TextReader.Null, false, false), Model, Errors, Baselines, decimals: 4);

        Assert.DoesNotContain(" \n", writer.ToString());
        string[][] rows =
        [
            .. writer.ToString().Split('\n')
                .Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
                .Where(cells => cells.Length > 1),
        ];
        Assert.Equal(
            [
                ["model", "±", "error", "popularity", "[markov]"],
                ["recall@10", "0.2500", "0.0030", "0.0200", "0.0400"],
                ["ndcg@10", "0.1250", "NaN", "0.0500"],
                ["recall@5", "0.1000", "0.0100", "0.0300"],
            ],
            rows);
    }

    [Fact]
    public void Json_is_one_line_in_snake_case_and_knows_NaN()
    {
        using var writer = new StringWriter { NewLine = "\n" };
        Report.WriteJson(writer, new { BestEpoch = 3, name = "schön \"x\"\n", Value = double.NaN, Metrics = Model });

        Assert.Equal(
            """{"best_epoch":3,"name":"schön \"x\"\n","value":"NaN","metrics":{"recall@5":0.1,"recall@10":0.25,"ndcg@10":0.125}}""" + "\n",
            writer.ToString());
    }
}
