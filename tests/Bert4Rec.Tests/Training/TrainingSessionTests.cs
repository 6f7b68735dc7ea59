using System.Diagnostics;
using System.Text.Json;
using Bert4Rec.Configuration;
using Bert4Rec.Data.Synthesis;
using Bert4Rec.Evaluation;
using Bert4Rec.Inference;
using Bert4Rec.Serialization;
using Bert4Rec.Training;

namespace Bert4Rec.Tests.Training;

/// <summary>Whole runs on a small made-up shop: what they write, how they stop, and how they go on after being killed.</summary>
public sealed class TrainingSessionTests : IDisposable
{
    private readonly TemporaryFolder _temporary = new();
    private readonly string[] _settings;

    public TrainingSessionTests()
    {
        ShopSynthesizer.Write(new() { Users = 400, Items = 60, Interactions = 2_500 }, Path.Combine(_temporary.Path, "shop"), "shop");
        _settings =
        [
            $"data_path={_temporary.Path}", "dataset=shop", "hidden_size=16", "inner_size=32", "MAX_ITEM_LIST_LENGTH=10", "epochs=6",
            "train_batch_size=64", "learning_rate=0.003",
        ];
    }

    public void Dispose() => _temporary.Dispose();

    [Fact]
    public void A_run_leaves_its_model_its_metrics_and_its_result()
    {
        var result = Train("a");
        string[] lines = File.ReadAllLines(Output("a", "metrics.jsonl"));
        Assert.Equal(6, lines.Length);
        var last = JsonDocument.Parse(lines[5]).RootElement;
        Assert.Equal(6, last.GetProperty("epoch").GetInt32());
        Assert.True(last.GetProperty("tokens_per_second").GetDouble() > 0);
        Assert.True(last.GetProperty("valid").TryGetProperty("mrr@10", out _));
        var json = JsonDocument.Parse(File.ReadAllText(Output("a", "result.json"))).RootElement;
        Assert.Equal(result.Test["recall@10"], json.GetProperty("test").GetProperty("recall@10").GetDouble());
        double best = lines.Max(line => Math.Round(JsonDocument.Parse(line).RootElement.GetProperty("valid").GetProperty("mrr@10").GetDouble(), 4));
        Assert.Equal(best, Math.Round(json.GetProperty("best_valid").GetProperty("mrr@10").GetDouble(), 4));
        Assert.Equal(3, result.Baselines.Count);
        Assert.True(new FileInfo(Output("a", TensorBoardWriter.FileName)).Length > 0);
    }

    [Fact]
    public void The_saved_model_gives_the_same_metrics_again_from_another_place()
    {
        var result = Train("a");
        Directory.Move(Output("a", ""), Output("b", ""));
        Directory.Delete(Path.Combine(_temporary.Path, "shop"), recursive: true);
        var config = RunConfig.Load([Output("b", "config.yaml")], []);
        var again = EvaluationRun.Evaluate(Output("b", ""), config, "test", "cpu", 1, null, CancellationToken.None);
        Assert.Equal(result.Test.OrderBy(metric => metric.Key), again.Metrics.OrderBy(metric => metric.Key));
    }

    [Fact]
    public void Training_stops_when_the_best_is_not_reached_again()
    {
        var result = Train("a", "epochs=80", "stopping_step=0", "learning_rate=0.01");
        Assert.True(result.Epochs < 80);
        Assert.Equal(result.Epochs - 1, result.BestEpoch);
    }

    [Fact]
    public void A_run_stopped_between_epochs_ends_with_the_same_bits()
    {
        Train("whole");
        using var cancellation = new CancellationTokenSource();
        Assert.Throws<OperationCanceledException>(() => TrainingSession.Train(
            Config(), new RunOptions(Output("cut", ""), "cpu", 2, false), null, null, epoch => { if (epoch.Epoch == 3) cancellation.Cancel(); }, cancellation.Token));
        TrainingSession.Train(Config(), new RunOptions(Output("cut", ""), "cpu", 2, true), null, null, null, CancellationToken.None);
        AssertSameEnd("whole", "cut");
    }

    [Fact]
    public void A_run_killed_at_any_point_ends_with_the_same_bits()
    {
        Train("whole", "epochs=12");
        var random = new PhiloxSequence(1, 0, 0);
        int kills = 0;
        for (int tries = 0; ; tries++)
        {
            using var process = Start("killed", resume: tries > 0 && File.Exists(Output("killed", "config.yaml")));
            // Anywhere from the start of the process to the end of its work.
            if (tries < 4 && !process.WaitForExit(400 + (int)random.NextBelow(900)))
            {
                process.Kill();
                kills++;
            }
            process.WaitForExit();
            if (process.ExitCode == 0)
                break;
            Assert.True(tries < 10, "the run never ended");
        }
        Assert.True(kills > 0);
        AssertSameEnd("whole", "killed");
        Assert.Equal(
            Enumerable.Range(1, 12),
            File.ReadLines(Output("killed", "metrics.jsonl")).Select(line => JsonDocument.Parse(line).RootElement.GetProperty("epoch").GetInt32()));
    }

    [Theory]
    [InlineData("model.safetensors")]
    [InlineData("items.tsv")]
    [InlineData("users.txt")]
    [InlineData("events.safetensors")]
    public void An_altered_or_missing_file_is_refused_by_name(string name)
    {
        Train("a", "epochs=1");
        string path = Output("a", name);
        byte[] bytes = File.ReadAllBytes(path);
        foreach (int at in (int[])[0, bytes.Length / 2, bytes.Length - 1])
        {
            byte[] altered = [.. bytes];
            altered[at] ^= 1;
            Refused(altered);
        }
        Refused(bytes[..^1]);
        File.Delete(path);
        Assert.Contains(name, Assert.Throws<InputException>(() => Recommender.Load(Output("a", ""), "cpu", 1)).Message);

        void Refused(byte[] content)
        {
            File.WriteAllBytes(path, content);
            Assert.Contains(name, Assert.Throws<InputException>(() => Recommender.Load(Output("a", ""), "cpu", 1)).Message);
        }
    }

    [Fact]
    public void A_state_dict_of_RecBole_loads_as_a_model()
    {
        var result = Train("a");
        Directory.CreateDirectory(Output("dict", ""));
        using (var model = SafeTensors.Read(Output("a", "model.safetensors")))
        {
            // The names and values only, as a state dict has them: no config, no vocabularies.
            SafeTensors.Write(
                Output("dict", "model.safetensors"),
                model.Names.Select(name => NamedTensor.Of(name, model.Shape(name), model.ReadFloats(name))).ToList());
        }
        var again = EvaluationRun.Evaluate(Output("dict", ""), Config(), "test", "cpu", 2, null, CancellationToken.None);
        Assert.Equal(result.Test.OrderBy(metric => metric.Key), again.Metrics.OrderBy(metric => metric.Key));

        var wrong = RunConfig.Load([], [.. _settings, "hidden_size=8"]);
        Assert.Contains("item_embedding.weight", Assert.Throws<InputException>(
            () => EvaluationRun.Evaluate(Output("dict", ""), wrong, "test", "cpu", 2, null, CancellationToken.None)).Message);
    }

    [Fact]
    public void Recommendations_know_their_edges()
    {
        Train("a", "epochs=2");
        using var recommender = Recommender.Load(Output("a", ""), "cpu", 1);
        string user = File.ReadLines(Output("a", "users.txt")).First();
        var history = recommender.HistoryOf(user);

        var list = recommender.Recommend([.. history, "no such item"], 5, false, out var unknown);
        Assert.Equal(["no such item"], unknown);
        Assert.Equal(5, list.Count);
        Assert.Equal(list.OrderByDescending(item => item.Score).Select(item => item.Token), list.Select(item => item.Token));
        Assert.Equal(recommender.Recommend(history, 5, false, out _).Select(item => item.Token), list.Select(item => item.Token));

        var unseen = recommender.Recommend(history, 1000, true, out _);
        Assert.Equal(60 - history.Distinct().Count(), unseen.Count);
        Assert.DoesNotContain(unseen, item => history.Contains(item.Token));

        var popular = recommender.Recommend((string[])[], 3, false, out _);
        Assert.Equal(3, popular.Count);
        Assert.True(popular[0].Score >= popular[1].Score && popular[1].Score >= popular[2].Score);

        IReadOnlyList<string>[] many = [history, [], [history[0]], history];
        var lists = recommender.Recommend(many, 4, false, out _);
        for (int i = 0; i < many.Length; i++)
            Assert.Equal(recommender.Recommend(many[i], 4, false, out _).Select(item => item.Token), lists[i].Select(item => item.Token));
        Assert.Throws<InputException>(() => recommender.HistoryOf("nobody"));
    }

    private RunConfig Config(params string[] more) => RunConfig.Load([], [.. _settings, .. more]);

    private TrainingResult Train(string output, params string[] more) =>
        TrainingSession.Train(Config(more), new RunOptions(Output(output, ""), "cpu", 2, false), null, null, null, CancellationToken.None);

    private string Output(string run, string file) => Path.Combine(_temporary.Path, "runs", run, file);

    private void AssertSameEnd(string one, string other)
    {
        foreach (string file in (string[])["model.safetensors", "result.json", "checkpoint.safetensors"])
            Assert.Equal(File.ReadAllBytes(Output(one, file)), File.ReadAllBytes(Output(other, file)));
    }

    private Process Start(string output, bool resume)
    {
        string cli = typeof(global::Bert4Rec.Cli.Application).Assembly.Location;
        string[] arguments = resume
            ? ["train", "--resume", Output(output, "")]
            : ["train", .. _settings.Append("epochs=12").SelectMany(setting => (string[])["--set", setting]), "--output", Output(output, "")];
        var start = new ProcessStartInfo("dotnet", [cli, .. arguments, "--threads", "2", "--device", "cpu"]) { RedirectStandardOutput = true, RedirectStandardError = true };
        var process = Process.Start(start)!;
        process.OutputDataReceived += (_, _) => { };
        process.ErrorDataReceived += (_, _) => { };
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        return process;
    }
}
