using System.Text.Json;
using Bert4Rec.Configuration;
using Bert4Rec.Data.Synthesis;
using Bert4Rec.Pipeline;
using Bert4Rec.Serialization;
using Bert4Rec.Tests.Cli;
using Bert4Rec.Tests.Faults;
using Bert4Rec.Training;

namespace Bert4Rec.Tests.Tuning;

/// <summary><c>tune</c>, <c>run --tune</c> and the choice of the objective in <c>run</c>, from an event log to the report.</summary>
public sealed class TuneCommandTests(TuneCommandTests.LogShop shop) : IClassFixture<TuneCommandTests.LogShop>
{
    /// <summary>An event log.</summary>
    public sealed class LogShop : IDisposable
    {
        private int _runs;

        public LogShop() => ShopSynthesizer.WriteLog(
            new() { Users = 200, Items = 50, Interactions = 1200, Seed = 5 }, 1800, Folder, "shop");

        public string Folder { get; } = Directory.CreateTempSubdirectory("bert4rec-").FullName;

        public string NewRun() => Path.Combine(Folder, $"run{Interlocked.Increment(ref _runs)}");

        public string[] Settings(params string[] more) =>
        [
            $"event_log='{Path.Combine(Folder, "shop.csv")}'", "hidden_size=16", "inner_size=24", "n_layers=1", "MAX_ITEM_LIST_LENGTH=8",
            "topk=[5,10]", "epochs=15", "seed=7", .. more,
        ];

        internal CommandLine.Outcome Run(string command, string output, string[] options, params string[] more) => CommandLine.Run(
            [command, "--output", output, "--threads", "2", "--device", "cpu", .. options, .. Campaign.Set(Settings(more))]);

        public void Dispose() => Directory.Delete(Folder, recursive: true);
    }

    [Fact]
    public void Tune_writes_a_config_that_train_takes_and_a_page()
    {
        string output = shop.NewRun(), space = $"{output}.yaml";
        File.WriteAllText(space, "learning_rate: {log_uniform: [0.0003, 0.003]}\nhidden_dropout_prob: {uniform: [0, 0.5]}\n");
        string[] options = ["--trials", "3", "--space", space];
        CommandLine.Outcome outcome = shop.Run("tune", output, options, "model=BERT4Rec");
        Assert.Equal((0, ""), (outcome.ExitCode, outcome.Error));
        Assert.Contains("trial  epochs  best    valid MRR@10   seconds  settings", outcome.Out);
        Assert.Contains("3 trials; the best is trial ", outcome.Out);
        Assert.Contains("as given", outcome.Out);
        string page = File.ReadAllText(Path.Combine(output, "tune.html"));
        Assert.Contains("<svg", page);
        Assert.Contains("<td>taken</td>", page);
        Assert.Contains("learning_rate", page);

        CommandLine.Outcome again = shop.Run("tune", output, [.. options, "--json"], "model=BERT4Rec");
        JsonElement json = JsonDocument.Parse(Assert.Single(again.Lines)).RootElement;
        Assert.Equal(3, json.GetProperty("trials").GetArrayLength());
        Assert.Equal("MRR@10", json.GetProperty("metric").GetString());
        int chosen = json.GetProperty("chosen").GetInt32();
        Assert.Equal(
            json.GetProperty("value").GetDouble(), json.GetProperty("trials")[chosen].GetProperty("value").GetDouble());

        string tuned = json.GetProperty("tuned").GetString()!, trained = shop.NewRun();
        CommandLine.Outcome train = CommandLine.Run(
            "train", "--config", tuned, "--output", trained, "--threads", "2", "--device", "cpu");
        Assert.Equal((0, ""), (train.ExitCode, train.Error));

        // The trial that was taken is a training to go on with.
        string trial = Path.Combine(output, "trials", $"{chosen:D3}");
        Assert.Equal(0, CommandLine.Run("train", "--resume", trial, "--threads", "2", "--device", "cpu").ExitCode);
        foreach (string name in new[] { "model.safetensors", "result.json" })
            Assert.Equal(File.ReadAllBytes(Path.Combine(trained, name)), File.ReadAllBytes(Path.Combine(trial, name)));
    }

    [Theory]
    [InlineData("average_decay=~")]
    [InlineData("average_decay=0", "objective=auto")]
    public void Run_takes_the_better_objective_and_ends_as_if_it_had_been_named(params string[] settings)
    {
        string open = shop.NewRun(), named = shop.NewRun();
        CommandLine.Outcome outcome = shop.Run("run", open, [], settings);
        Assert.Equal((0, ""), (outcome.ExitCode, outcome.Error));
        string line = Assert.Single(outcome.Lines, line => line.StartsWith("compare  ", StringComparison.Ordinal));
        Assert.Matches(
            @"^compare  cloze: MRR@10 0\.\d{4} at epoch \d+ of 15; next_item: MRR@10 0\.\d{4} at epoch \d+ of 15; (cloze|next_item) is "
                + "taken$",
            line);
        string objective = line.Split(' ')[^3];
        // Its epochs are the comparison's: of a log this small, all of them.
        Assert.DoesNotContain(outcome.Lines, shown => shown.StartsWith("   15 ", StringComparison.Ordinal));

        Assert.Equal(0, shop.Run("run", named, [], [.. settings.Take(1), $"objective={objective}"]).ExitCode);
        foreach (string path in TrainingFolder.ResultFiles(named).Append(Path.Combine(named, "checkpoint.safetensors")))
        {
            // The one names its own folder.
            if (Path.GetFileName(path) is "config.yaml" or "model.safetensors" or "checkpoint.safetensors")
                continue;
            Assert.Equal(File.ReadAllBytes(path), File.ReadAllBytes(Path.Combine(open, Path.GetFileName(path))));
        }
        Assert.Equal(
            Campaign.Files(named).Keys.Append("trials.jsonl").Order(StringComparer.Ordinal), Campaign.Files(open).Keys);
        Assert.Equal(Campaign.Files(named)["metrics.jsonl"], Campaign.Files(open)["metrics.jsonl"]);
        var trained = RunConfig.Load([Path.Combine(open, "config.yaml")], []);
        Assert.Equal(objective == "cloze" ? Objective.Cloze : Objective.NextItem, trained.Objective);
        string page = File.ReadAllText(Path.Combine(open, "report.html"));
        Assert.Contains("How the objective was chosen", page);
        Assert.Contains($"{objective} is taken", page);
        Assert.Contains($"{objective} is taken", File.ReadAllText(Path.Combine(open, "manifest.json")));

        CommandLine.Outcome again = shop.Run("run", open, [], settings);
        Assert.Equal(7, again.Lines.Count(shown => shown.Contains(" unchanged")));
        Assert.Contains($"compare  unchanged: {line["compare  ".Length..]}", again.Lines);
    }

    [Fact]
    public void Run_tunes_first_and_trains_with_what_was_chosen()
    {
        string output = shop.NewRun();
        string[] options = ["--tune", "4"];
        CommandLine.Outcome outcome = shop.Run("run", output, [.. options, "--json"]);
        Assert.Equal(0, outcome.ExitCode);
        JsonElement json = JsonDocument.Parse(Assert.Single(outcome.Lines)).RootElement;
        Assert.Equal(
            ["analyze", "clean", "convert", "tune", "train", "refit", "report"],
            json.GetProperty("steps").EnumerateArray().Select(step => step.GetProperty("name").GetString()));
        Assert.Contains("4 trials; the best is trial ", json.GetProperty("steps")[3].GetProperty("note").GetString());
        string[] files = [.. Campaign.Files(output).Keys];
        Assert.Contains("tuned.yaml", files);
        Assert.Contains("trials.jsonl", files);
        Assert.DoesNotContain(files, file => file.StartsWith("trials/", StringComparison.Ordinal));
        Assert.Equal(File.ReadAllText(Path.Combine(output, "tuned.yaml")), File.ReadAllText(Path.Combine(output, "config.yaml")));
        string page = File.ReadAllText(Path.Combine(output, "report.html"));
        Assert.Contains("How the settings were chosen", page);
        Assert.Contains("objective", page);

        CommandLine.Outcome again = shop.Run("run", output, options);
        Assert.Equal(7, again.Lines.Count(line => line.Contains(" unchanged")));

        // A damaged journal is made again, with the same choice.
        string journal = Path.Combine(output, "trials.jsonl");
        byte[] before = File.ReadAllBytes(journal);
        File.AppendAllText(journal, "\n");
        CommandLine.Outcome repaired = shop.Run("run", output, options);
        Assert.Equal(6, repaired.Lines.Count(line => line.Contains(" unchanged")));
        Assert.Equal(before, File.ReadAllBytes(journal));

        // Another budget: the tuning is done again, from its beginning.
        CommandLine.Outcome more = shop.Run("run", output, ["--tune", "5"]);
        Assert.Equal(0, more.ExitCode);
        Assert.Contains(more.Lines, line => line.StartsWith("tune     5 trials;", StringComparison.Ordinal));

        // None: what is left of it would not be of the model.
        Assert.Equal(0, shop.Run("run", output, [], "objective=cloze", "epochs=1", "refit=false").ExitCode);
        Assert.Empty(Campaign.Files(output).Keys.Intersect(["tuned.yaml", "trials.jsonl"]));
    }

    [Theory]
    [InlineData("")]
    [InlineData("--tune 4")]
    public void A_run_refuses_the_folder_of_a_tuning(string options)
    {
        string output = shop.NewRun();
        Directory.CreateDirectory(output);
        string[] files = [.. new[] { "trials.jsonl", "tuned.yaml", "tune.html" }.Select(name => Path.Combine(output, name))];
        foreach (string file in files)
            File.WriteAllText(file, "");
        CommandLine.Outcome outcome = shop.Run(
            "run", output, options.Split(' ', StringSplitOptions.RemoveEmptyEntries), "objective=cloze");
        Assert.Equal(
            (
                1,
                $"error: {files[0]}: the trials of bert4rec tune, which a run would not keep; give another --output, or remove the "
                    + "file\n"),
            (outcome.ExitCode, outcome.Error));
        Assert.All(files, file => Assert.True(File.Exists(file)));
    }

    /// <summary>Within the comparison, which trains to the end, and within the refit.</summary>
    [Theory]
    [InlineData("cloze, epoch 3")]
    [InlineData("next_item, epoch 5")]
    [InlineData("refit, epoch 1")]
    public void A_run_that_was_stopped_goes_on_to_the_same_bytes(string at)
    {
        string output = shop.NewRun(), whole = $"{output} whole";
        Run(null);
        Directory.Move(output, whole);
        Assert.Throws<OperationCanceledException>(() => Run(at));
        Assert.False(File.Exists(Path.Combine(output, "report.html")));
        Run(null);
        Assert.Null(Campaign.Difference(Campaign.Files(whole), output));

        void Run(string? stop)
        {
            using var cancellation = new CancellationTokenSource();
            var progress = new Watcher(activity =>
            {
                if (activity == stop)
                    cancellation.Cancel();
            });
            Directory.CreateDirectory(output);
            new PipelineRun(
                RunConfig.Load([], shop.Settings("refit=true")), new(output, "cpu", 2, true), new(), progress, cancellation.Token).Run();
        }
    }

    [Theory]
    [InlineData("train")]
    [InlineData("evaluate")]
    public void Elsewhere_an_objective_that_is_open_is_refused(string command)
    {
        string output = shop.NewRun();
        string[] options = ["--set", "objective=auto"];
        if (command == "evaluate")
        {
            Assert.Equal(0, shop.Run("train", output, [], "epochs=1").ExitCode);
            options = [output, .. options];
        }
        else
        {
            options = ["--set", "dataset=a", "--output", output, .. options];
        }
        CommandLine.Outcome outcome = CommandLine.Run([command, .. options]);
        Assert.Equal(
            (
                1,
                "error: --set objective=auto: objective auto compares both objectives, which only run and tune do; "
                    + "name cloze or next_item\n"),
            (outcome.ExitCode, outcome.Error));
    }

    [Fact]
    public void A_second_tuning_in_the_folder_is_refused_while_the_first_is_there()
    {
        string output = shop.NewRun();
        using (FolderLock.Take(output))
        {
            CommandLine.Outcome outcome = shop.Run("tune", output, ["--trials", "1"]);
            Assert.Equal(1, outcome.ExitCode);
            Assert.StartsWith($"error: {output}: another run is writing there", outcome.Error);
        }
    }

    private sealed class Watcher(Action<string> onActivity) : IProgress<ProgressUpdate>
    {
        public void Report(ProgressUpdate value) => onActivity(value.Activity);
    }
}
