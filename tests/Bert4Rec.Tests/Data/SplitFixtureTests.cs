using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Tests.Evaluation;

namespace Bert4Rec.Tests.Data;

/// <summary>The four cases of splits.json, which RecBole made: counts, and a digest over every sample's history and target.</summary>
public sealed class SplitFixtureTests
{
    [SkippableTheory]
    [InlineData("ml-100k leave-one-out")]
    [InlineData("ml-100k ratio 7:1:2", "eval_args.split={RS: [7,1,2]}")]
    [InlineData("ml-100k ratio 0.8:0.1:0.1 max length 20", "eval_args.split={RS: [0.8,0.1,0.1]}", "MAX_ITEM_LIST_LENGTH=20")]
    // Its name leaves out that users were filtered as well: 5 is the number that gives the fixture's counts.
    [InlineData("ml-100k leave-one-out, 10-core items, ratings above 3", "val_interval.rating=(3,inf)", "user_inter_num_interval=[5,inf)",
        "item_inter_num_interval=[10,inf)")]
    public void Splits_are_RecBoles(string name, params string[] overrides)
    {
        string? data = TestFiles.SharedData("ml-100k");
        Skip.If(data is null, "ml-100k is not here");
        using var fixture = JsonDocument.Parse(File.ReadAllText(TestFiles.Fixtures("splits.json")[0]));
        var expected = fixture.RootElement.GetProperty("cases").GetProperty(name);
        var config = RunConfig.Load([], [$"data_path={Path.GetDirectoryName(data)}", "dataset=ml-100k", .. overrides]);

        var dataset = DatasetLoader.Load(config);
        var split = Splitter.Split(dataset, config.EvalArgs);

        Assert.Equal(expected.GetProperty("n_users").GetInt32(), dataset.UserCount);
        Assert.Equal(expected.GetProperty("n_items").GetInt32(), dataset.ItemCount);
        Check("train", [.. split.Train.Samples()]);
        Check("valid", split.Valid);
        Check("test", split.Test);

        void Check(string part, Sample[] samples)
        {
            var figures = expected.GetProperty(part);
            Assert.Equal(figures.GetProperty("samples").GetInt32(), samples.Length);
            Assert.Equal(
                figures.GetProperty("total_history_items").GetInt64(),
                samples.Sum(sample => (long)dataset.History(sample, config.MaximumItemListLength).Length));
            Assert.Equal(figures.GetProperty("sha256").GetString(), Digest(dataset, samples, config.MaximumItemListLength));
        }
    }

    private static string Digest(InteractionDataset dataset, Sample[] samples, int maximumLength)
    {
        string[] lines = [.. samples.Select(sample =>
            $"{dataset.Users[sample.User]}\t"
            + string.Join(' ', dataset.History(sample, maximumLength).ToArray().Select(item => dataset.Items[item]))
            + $"\t{dataset.Items[dataset.Target(sample)]}\n")];
        Array.Sort(lines, StringComparer.Ordinal);
        return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(string.Concat(lines))));
    }
}
