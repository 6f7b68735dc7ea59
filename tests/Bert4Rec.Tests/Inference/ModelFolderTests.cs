using System.Buffers.Binary;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json;
using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Inference;
using Bert4Rec.Model;
using Bert4Rec.Pipeline;
using Bert4Rec.Serialization;
using Bert4Rec.Tests.Cli;
using Bert4Rec.Tests.Training;
using Bert4Rec.Training;

namespace Bert4Rec.Tests.Inference;

/// <summary>A model's folder serves alone and elsewhere, and no file of it can be damaged unseen.</summary>
public sealed class ModelFolderTests(TrainedShop shop) : IClassFixture<TrainedShop>
{
    public static TheoryData<string> Files => ["model.safetensors", "users.txt", "items.tsv", "events.safetensors", "config.yaml"];

    [Theory]
    [MemberData(nameof(Files))]
    public void A_missing_file_is_named(string name)
    {
        string folder = shop.Copy();
        File.Delete(Path.Combine(folder, name));
        Assert.Contains(name, Refusal(folder));
    }

    [Theory]
    [MemberData(nameof(Files))]
    public void A_truncated_file_is_refused_by_name(string name)
    {
        string folder = shop.Copy(), path = Path.Combine(folder, name);
        byte[] bytes = File.ReadAllBytes(path);
        foreach (int length in (int[])[0, 5, bytes.Length / 2, bytes.Length - 1])
        {
            File.WriteAllBytes(path, bytes[..length]);
            Assert.Contains(path, Refusal(folder));
        }
    }

    [Theory]
    [MemberData(nameof(Files))]
    public void An_altered_file_is_refused_by_name(string name)
    {
        string folder = shop.Copy(), path = Path.Combine(folder, name);
        byte[] bytes = File.ReadAllBytes(path);
        var random = new Random(2);
        for (int i = 0; i < 10; i++)
        {
            byte[] altered = [.. bytes];
            altered[random.Next(bytes.Length)] ^= (byte)(1 << random.Next(8));
            File.WriteAllBytes(path, altered);
            Assert.Contains(path, Refusal(folder));
        }
    }

    /// <summary>All of these would load without a complaint, and mean something else.</summary>
    [Fact]
    public void The_files_of_another_run_are_refused()
    {
        string folder = shop.Copy(), items = Path.Combine(folder, "items.tsv");
        string[] lines = File.ReadAllLines(items);
        File.WriteAllLines(items, [lines[0], .. lines[1..].Reverse()]);
        Assert.Contains(items, Refusal(folder));

        folder = shop.Copy();
        string config = Path.Combine(folder, "config.yaml");
        File.WriteAllText(config, File.ReadAllText(config).Replace("n_heads: 2", "n_heads: 4"));
        Assert.Contains(config, Refusal(folder));
    }

    /// <summary>Refused by its length: to read it would take hours.</summary>
    [Fact]
    public void A_huge_file_in_the_place_of_another_is_refused_at_once()
    {
        string folder = shop.Copy(), users = Path.Combine(folder, "users.txt");
        using (FileStream file = File.OpenWrite(users))
            file.SetLength(1L << 40);
        Assert.Contains(users, Refusal(folder));
    }

    /// <summary>Numbers, but none that can be computed with: an empty list, or a perfect metric, would look like an answer.</summary>
    [Theory]
    [InlineData(3e38f)]
    [InlineData(-3e38f)]
    public void Scores_that_are_no_numbers_are_refused(float value)
    {
        string folder = shop.Copy();
        var model = ModelFolder.Load(folder, null);
        Array.Fill(model.Parameters, value);
        ModelFolder.SaveModel(folder, model.Config, model.Layout, model.Parameters);
        string[][] commands =
        [
            ["recommend", "--model", folder, "--history", "p1"],
            ["evaluate", folder],
            ["evaluate", folder, "--set", "eval_args.mode=uni10"],
        ];
        foreach (string[] command in commands)
        {
            CommandLine.Outcome outcome = CommandLine.Run(command);
            Assert.Equal((1, ""), (outcome.ExitCode, outcome.Out));
            Assert.StartsWith("error: the model gives scores that are no finite numbers", outcome.Error);
        }
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.NegativeInfinity)]
    public void A_parameter_that_is_no_number_is_neither_saved_nor_loaded(float value)
    {
        string folder = shop.Copy(), path = Path.Combine(folder, "model.safetensors");
        var model = ModelFolder.Load(folder, null);
        model.Parameters[^1] = value;
        var entry = model.Layout.Entries[^1];
        byte[] before = File.ReadAllBytes(path);
        var failure = Assert.Throws<InputException>(() => ModelFolder.SaveModel(folder, model.Config, model.Layout, model.Parameters));
        Assert.StartsWith($"{path}: {entry.Name} holds {value.ToString(CultureInfo.InvariantCulture)}", failure.Message);
        Assert.Equal(before, File.ReadAllBytes(path));

        string loaded = shop.Copy();
        using (var old = SafeTensors.Read(path))
        {
            SafeTensors.Write(
                Path.Combine(loaded, "model.safetensors"),
                model.Layout.Entries.Select(each =>
                    NamedTensor.Of(each.Name, each.Shape, model.Parameters.AsMemory((int)each.Offset, (int)each.Length))),
                old.Metadata.Where(pair => pair.Key is not ("sha256" or "checksum")).ToDictionary());
        }
        Assert.Contains($"{entry.Name} holds", Refusal(loaded));
    }

    /// <summary>Behind checksums that fit: whoever writes the files anew has those.</summary>
    [Theory]
    [InlineData("user_offsets falls from 3 to 2 at user 2", new[] { 0, 0, 3, 2, 4 }, new[] { 1, 2, 1, 2 })]
    [InlineData("user_offsets falls from 5 to 4 at user 2", new[] { 0, 0, 5, 4, 4 }, new[] { 1, 2, 1, 2 })]
    [InlineData("user_offsets begins with 0, 1 instead of 0, 0", new[] { 0, 1, 2, 3, 4 }, new[] { 1, 2, 1, 2 })]
    [InlineData("user_offsets begins with -1, 0 instead of 0, 0", new[] { -1, 0, 2, 3, 4 }, new[] { 1, 2, 1, 2 })]
    [InlineData("user_offsets ends with 3, but there are 4 items", new[] { 0, 0, 2, 3, 3 }, new[] { 1, 2, 1, 2 })]
    [InlineData("user_offsets ends with 2147483647, but there are 4 items", new[] { 0, 0, 2, 3, int.MaxValue }, new[] { 1, 2, 1, 2 })]
    [InlineData("user_offsets has 4 values, but users.txt makes it 5", new[] { 0, 0, 2, 4 }, new[] { 1, 2, 1, 2 })]
    [InlineData("items[1] is 3, but items.tsv makes the ids 1 to 2", new[] { 0, 0, 2, 3, 4 }, new[] { 1, 3, 1, 2 })]
    [InlineData("items[3] is 0, but items.tsv makes the ids 1 to 2", new[] { 0, 0, 2, 3, 4 }, new[] { 1, 2, 1, 0 })]
    [InlineData("items[0] is -1, but items.tsv makes the ids 1 to 2", new[] { 0, 0, 2, 3, 4 }, new[] { -1, 2, 1, 2 })]
    public void Events_that_are_none_of_the_users_and_items_are_refused(string message, int[] offsets, int[] eventItems)
    {
        using var folder = new TemporaryFolder();
        Vocabulary users = new(), items = new();
        foreach (string token in (string[])["u", "v", "w"])
            users.GetOrAdd(token);
        foreach (string token in (string[])["i", "j"])
            items.GetOrAdd(token);
        var dataset = new InteractionDataset(users, items, offsets, eventItems);
        var layout = new ParameterLayout(TrainerSettings.Of(shop.Config, dataset.ItemCount).Shape);
        ModelFolder.SaveData(folder.Path, shop.Config, dataset);
        // Of all users, whatever the offsets say.
        File.WriteAllText(Path.Combine(folder.Path, "users.txt"), "u\nv\nw\n");
        ModelFolder.SaveModel(folder.Path, shop.Config, layout, ParameterInitializer.Draw(layout, 0.02, 1));
        Assert.StartsWith($"{Path.Combine(folder.Path, "events.safetensors")}: {message};", Refusal(folder.Path));
    }

    /// <summary>Behind a checksum that fits, too: the fields would be those of other items.</summary>
    [Theory]
    [InlineData("p1\t1\np2\t2\np1\t1\np3\t3\n", 4)]
    [InlineData("p1\t1\np2\np3\t3\n", 3)]
    [InlineData("p1\t1\np2\t2\t2\np3\t3\n", 3)]
    public void Rows_that_are_none_of_an_item_are_refused(string rows, int line)
    {
        using var folder = new TemporaryFolder();
        Vocabulary users = new(), items = new();
        users.GetOrAdd("u");
        items.GetOrAdd("p1");
        items.GetOrAdd("p2");
        var dataset = new InteractionDataset(users, items, [0, 0, 2], [1, 2]);
        var layout = new ParameterLayout(TrainerSettings.Of(shop.Config, dataset.ItemCount).Shape);
        ModelFolder.SaveData(folder.Path, shop.Config, dataset);
        string path = Path.Combine(folder.Path, "items.tsv");
        File.WriteAllText(path, $"item_id:token\tprice:float\n{rows}");
        ModelFolder.SaveModel(folder.Path, shop.Config, layout, ParameterInitializer.Draw(layout, 0.02, 1));
        Assert.StartsWith($"{path}:{line}: not 2 values of an item that was not there before", Refusal(folder.Path));
    }

    [Fact]
    public void A_config_of_another_shape_is_refused()
    {
        var config = RunConfig.Load([Path.Combine(shop.Model, "config.yaml")], ["inner_size=48"]);
        string message = Assert.Throws<InputException>(
            () => EvaluationRun.Evaluate(shop.Model, config, "test", "cpu", 1, null, default)).Message;
        Assert.Contains("dense_1.weight is [24, 16]", message);
        Assert.Contains("[48, 16]", message);
    }

    [Fact]
    public void A_folder_without_a_model_says_so()
    {
        using var folder = new TemporaryFolder();
        Assert.Contains($"{folder.Path}: no model.safetensors", Refusal(folder.Path));
    }

    [Fact]
    public void The_folder_alone_serves_elsewhere()
    {
        string moved = shop.Copy();
        File.Delete(Path.Combine(moved, "checkpoint.safetensors"));
        string history = "p1 p2 p3";
        using Recommender here = TrainedShop.Open(shop.Model), there = TrainedShop.Open(moved);
        Assert.Equal(Scores(here, history), Scores(there, history));

        // No data where the config says that it is.
        var config = RunConfig.Load([Path.Combine(moved, "config.yaml")], ["data_path=/nowhere"]);
        var evaluation = EvaluationRun.Evaluate(moved, config, "test", "cpu", 2, null, default);
        Assert.Equal(shop.Result.Test, evaluation.Metrics);
        Assert.Equal(shop.Result.Baselines.Keys, evaluation.Baselines.Keys);
        Assert.All(evaluation.Baselines, baseline => Assert.Equal(shop.Result.Baselines[baseline.Key], baseline.Value));
        Assert.Equal(shop.Result.BestValid, EvaluationRun.Evaluate(moved, config, "valid", "cpu", 2, null, default).Metrics);
    }

    /// <summary>Separators, line breaks and byte order marks are parts of a token like any other character but LF.</summary>
    [Fact]
    public void Tokens_and_fields_come_back_as_they_were()
    {
        string[] tokens =
        [
            "\uFEFFc", "c", "a\tb", "\"", "a\"b\"", " c ", "#d", "e,f", "'g", "ü", "a\rb", "d\r", "d", "\r",
            "\0", "\u0085", "\u2028x", "h\\", "\\",
        ];
        string[] userTokens = ["\uFEFFu", "u", "u\tv", "u\rv", "w\r", "w", "\r", "\u2028"];
        using var folder = new TemporaryFolder();
        Vocabulary users = new(), items = new();
        foreach (string token in userTokens)
            users.GetOrAdd(token);
        foreach (string token in tokens)
            items.GetOrAdd(token);
        var dataset = new InteractionDataset(users, items, [0, .. new int[userTokens.Length], 2], [1, 2])
        {
            ItemFields = new ItemTable(
                [new("na\tme", AtomicType.Token), new("none", AtomicType.Number)], [[null, .. tokens], new string?[tokens.Length + 1]]),
        };
        var settings = TrainerSettings.Of(shop.Config, dataset.ItemCount);
        var layout = new ParameterLayout(settings.Shape);
        ModelFolder.SaveData(folder.Path, shop.Config, dataset);
        ModelFolder.SaveModel(folder.Path, shop.Config, layout, ParameterInitializer.Draw(layout, 0.02, 1));
        var loaded = ModelFolder.Load(folder.Path, null).Dataset;
        Assert.Equal(userTokens, Enumerable.Range(1, userTokens.Length).Select(user => loaded.Users[user]));
        Assert.Equal(tokens, Enumerable.Range(1, tokens.Length).Select(item => loaded.Items[item]));
        Assert.Equal(dataset.ItemFields.Fields, loaded.ItemFields!.Fields);
        Assert.Equal(tokens, Enumerable.Range(1, tokens.Length).Select(item => loaded.ItemFields[item, 0]!));
        Assert.All(Enumerable.Range(1, tokens.Length), item => Assert.Null(loaded.ItemFields[item, 1]));
    }

    /// <summary>As PyTorch's safetensors would save RecBole's state dict: the names and the values, and nothing of ours.</summary>
    [Fact]
    public void A_state_dict_of_RecBole_loads_with_its_config()
    {
        string model = shop.Train("blend=false", "position_order=oldest");
        var ours = ModelFolder.Load(model, null);
        using var folder = new TemporaryFolder();
        folder.Write("config.yaml", File.ReadAllText(Path.Combine(model, "config.yaml")));
        folder.Write("model.safetensors", PlainSafeTensors(ours));

        var theirs = ModelFolder.Load(folder.Path, null);
        Assert.Equal(ours.Parameters, theirs.Parameters);
        Assert.Equal(ours.Dataset.EventItems, theirs.Dataset.EventItems);
        using Recommender one = TrainedShop.Open(model), other = TrainedShop.Open(folder.Path);
        Assert.Equal(Scores(one, "p4 p2"), Scores(other, "p4 p2"));
        Assert.Equal(
            EvaluationRun.Evaluate(model, ours.Config, "test", "cpu", 2, null, default).Metrics,
            EvaluationRun.Evaluate(folder.Path, ours.Config, "test", "cpu", 2, null, default).Metrics);
    }

    /// <summary>Likewise RecBole's SASRec; and whoever names another objective is told, as no shape would say so.</summary>
    [Theory]
    [InlineData("model=SASRec")]
    [InlineData("model=SASRec", "recbole_compatible=true")]
    [InlineData("objective=next_item")]
    public void A_model_of_next_items_is_what_was_trained(params string[] settings)
    {
        using var another = new SmallShop();
        string directory = another.NewRun();
        var config = another.Config([.. settings, "blend=false", "epochs=3", "learning_rate=0.01"]);
        var result = SmallShop.Train(config, directory);
        Assert.True(result.Test["ndcg@10"] > 0);
        Assert.Equal(result.Test, EvaluationRun.Evaluate(directory, config, "test", "cpu", 2, null, default).Metrics);

        var ours = ModelFolder.Load(directory, null);
        Assert.Equal(ours.Dataset.ItemCount, ours.Layout["item_embedding.weight"].Shape[0]);
        using var folder = new TemporaryFolder();
        folder.Write("config.yaml", File.ReadAllText(Path.Combine(directory, "config.yaml")));
        folder.Write("model.safetensors", PlainSafeTensors(ours));
        using Recommender one = TrainedShop.Open(directory), other = TrainedShop.Open(folder.Path);
        Assert.Equal(Scores(one, "p4 p2"), Scores(other, "p4 p2"));
        Assert.Equal(5, one.Recommend(new RecommendationRequest { K = 5 }).Items.Count);

        var cloze = config.With("recbole_compatible=false", "objective=cloze");
        string message = Assert.Throws<InputException>(
            () => EvaluationRun.Evaluate(directory, cloze, "test", "cpu", 1, null, default)).Message;
        Assert.Contains("objective cloze: the model was trained with next_item", message, StringComparison.Ordinal);
    }

    /// <summary>The shapes of the parameters do not tell the order of positions; and RecBole's models have no choice of it.</summary>
    [Fact]
    public void Norms_and_positions_are_those_of_the_training()
    {
        using var another = new SmallShop();
        string directory = another.NewRun();
        var config = another.Config("norm_first=true", "position_order=newest", "epochs=1");
        var result = SmallShop.Train(config, directory);
        Assert.Equal(result.Test, EvaluationRun.Evaluate(directory, config, "test", "cpu", 2, null, default).Metrics);
        Assert.EndsWith("norm_first false: the model was trained with true; leave it as it is", Refused("norm_first=false"));
        Assert.EndsWith("position_order oldest: the model was trained with newest; leave it as it is", Refused("position_order=oldest"));

        using var folder = new TemporaryFolder();
        folder.Write("config.yaml", config.With("norm_first=false").ToYaml());
        folder.Write("model.safetensors", PlainSafeTensors(ModelFolder.Load(shop.Model, null)));
        Assert.EndsWith("position_order newest: the model was trained with oldest; leave it as it is", Refusal(folder.Path));

        string Refused(string setting) => Assert.Throws<InputException>(
            () => EvaluationRun.Evaluate(directory, config.With(setting), "test", "cpu", 1, null, default)).Message;
    }

    [Fact]
    public void A_state_dict_that_lacks_a_tensor_is_refused()
    {
        string model = shop.Train("epochs=1", "position_order=oldest");
        var ours = ModelFolder.Load(model, null);
        using var folder = new TemporaryFolder();
        folder.Write("config.yaml", File.ReadAllText(Path.Combine(model, "config.yaml")));
        string path = folder.Write("model.safetensors", PlainSafeTensors(ours, leftOut: "output_ln.bias"));
        string message = Refusal(folder.Path);
        Assert.Contains(path, message);
        Assert.Contains("output_ln.bias", message);
    }

    private static byte[] PlainSafeTensors(ModelFolder model, string? leftOut = null)
    {
        var header = new Dictionary<string, object>();
        var data = new List<byte>();
        foreach (var entry in model.Layout.Entries.Where(entry => entry.Name != leftOut))
        {
            int start = data.Count;
            data.AddRange(MemoryMarshal.AsBytes(model.Parameters.AsSpan((int)entry.Offset, (int)entry.Length)));
            header[entry.Name] = new { dtype = "F32", shape = entry.Shape, data_offsets = new[] { start, data.Count } };
        }
        byte[] json = JsonSerializer.SerializeToUtf8Bytes(header), length = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(length, json.Length);
        return [.. length, .. json, .. data];
    }

    private static string Refusal(string folder)
    {
        string message = Assert.Throws<InputException>(() => TrainedShop.Open(folder).Dispose()).Message;
        Assert.DoesNotContain('\n', message);
        return message;
    }

    private static IEnumerable<(string, float)> Scores(Recommender recommender, string history) =>
        recommender.Recommend(new RecommendationRequest { History = history.Split(' ') }).Items.Select(item => (item.Token, item.Score));
}
