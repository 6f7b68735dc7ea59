using System.Text;
using System.Text.Json;
using Bert4Rec.Configuration;
using Bert4Rec.Inference;
using Bert4Rec.Serialization;
using Bert4Rec.Tests.Cli;
using Bert4Rec.Training;

namespace Bert4Rec.Tests.Training;

/// <summary>Whole runs: what they write, when they stop, and that one that was stopped ends as if it had not been.</summary>
public sealed class TrainingSessionTests(SmallShop shop) : IClassFixture<SmallShop>
{
    private static readonly string[] Compared =
        ["model.safetensors", "checkpoint.safetensors", "result.json", "config.yaml", "users.txt", "items.tsv", "events.safetensors"];

    [Fact]
    public void A_run_leaves_its_model_its_records_and_no_temporary_files()
    {
        string directory = shop.NewRun();
        List<EpochReport> epochs = [];
        var result = SmallShop.Train(shop.Config(), directory, onEpoch: epochs.Add);

        Assert.Equal(
            [
                "checkpoint.safetensors", "config.yaml", "events.out.tfevents.bert4rec", "events.safetensors", "items.tsv", "metrics.jsonl",
                "model.safetensors", "result.json", "users.txt",
            ],
            Directory.GetFileSystemEntries(directory).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        Assert.Equal([1, 2, 3, 4], epochs.Select(epoch => epoch.Epoch));
        Assert.Equal(4, result.Epochs);

        JsonElement[] lines = Lines(directory);
        Assert.Equal(epochs.Count, lines.Length);
        foreach (var (line, epoch) in lines.Zip(epochs))
        {
            Assert.Equal(epoch.Epoch, line.GetProperty("epoch").GetInt32());
            Assert.Equal(epoch.Loss, line.GetProperty("loss").GetDouble());
            Assert.True(line.GetProperty("seconds").GetDouble() > 0);
            Assert.True(line.GetProperty("tokens_per_second").GetDouble() > 0);
            Assert.Equal(epoch.Valid!["mrr@10"], line.GetProperty("valid").GetProperty("mrr@10").GetDouble());
            Assert.Equal(epoch.IsBest, line.GetProperty("is_best").GetBoolean());
        }

        JsonElement json = JsonDocument.Parse(File.ReadAllText(Path.Combine(directory, "result.json"))).RootElement;
        Assert.Equal(result.Epochs, json.GetProperty("epochs").GetInt32());
        Assert.Equal(result.BestEpoch, json.GetProperty("best_epoch").GetInt32());
        Assert.Equal(result.Parameters, json.GetProperty("parameters").GetInt64());
        Assert.Equal(result.BestValid["mrr@10"], json.GetProperty("best_valid").GetProperty("mrr@10").GetDouble());
        Assert.Equal(result.Test["recall@10"], json.GetProperty("test").GetProperty("recall@10").GetDouble());
        Assert.Equal(result.Baselines.Keys, json.GetProperty("baselines").EnumerateObject().Select(baseline => baseline.Name));
        Assert.Equal(["popularity", "last item again", "Markov chain", "no blend"], result.Baselines.Keys);
        Assert.Equal(result.TestErrors["recall@10"], json.GetProperty("test_errors").GetProperty("recall@10").GetDouble());
        foreach (var (name, comparison) in result.Comparisons)
            Assert.Equal(comparison.P, json.GetProperty("comparisons").GetProperty(name).GetProperty("p").GetDouble());
        Assert.Equal(result.Baselines.Keys, result.Comparisons.Keys);
        Assert.Contains("train/loss", Encoding.ASCII.GetString(File.ReadAllBytes(Path.Combine(directory, TensorBoardWriter.FileName))));
    }

    [Fact]
    public void The_best_epoch_is_the_last_to_reach_the_best_value_and_its_model_is_kept()
    {
        string directory = shop.NewRun(), upToBest = shop.NewRun();
        List<EpochReport> epochs = [];
        var result = SmallShop.Train(shop.Config("epochs=8", "learning_rate=0.02", "blend=false"), directory, onEpoch: epochs.Add);

        double[] values = [.. epochs.Select(epoch => Math.Round(epoch.Valid!["mrr@10"], 4))];
        Assert.Equal(Array.LastIndexOf(values, values.Max()) + 1, result.BestEpoch);
        Assert.Equal(epochs[result.BestEpoch - 1].Valid, result.BestValid);
        for (int i = 0; i < values.Length; i++)
            Assert.Equal(values[i] == values[..(i + 1)].Max(), epochs[i].IsBest);

        SmallShop.Train(shop.Config($"epochs={result.BestEpoch}", "learning_rate=0.02"), upToBest);
        using SafeTensorsFile kept = SafeTensors.Read(Path.Combine(directory, "model.safetensors")),
            best = SafeTensors.Read(Path.Combine(upToBest, "model.safetensors"));
        Assert.NotEmpty(kept.Names);
        Assert.All(kept.Names, name => Assert.Equal(best.ReadFloats(name), kept.ReadFloats(name)));
    }

    [Fact]
    public void It_stops_when_the_best_has_not_been_reached_for_more_than_stopping_step_validations()
    {
        // Smaller is better, of a metric that training raises: the first validation stays the best.
        string directory = shop.NewRun();
        List<EpochReport> epochs = [];
        var config = shop.Config(
            "epochs=60", "eval_step=2", "stopping_step=2", "valid_metric_bigger=false", "learning_rate=0.01", "metric_decimal_place=15");
        var result = SmallShop.Train(config, directory, onEpoch: epochs.Add);

        Assert.All(epochs, epoch => Assert.Equal(epoch.Epoch % 2 == 0, epoch.Valid is not null));
        int[] best = [.. epochs.Where(epoch => epoch.IsBest).Select(epoch => epoch.Epoch)];
        Assert.Equal(best[^1], result.BestEpoch);
        Assert.Equal(best[^1] + (2 * 3), result.Epochs);
        Assert.InRange(result.Epochs, 8, 58);
    }

    [Fact]
    public void Without_a_validation_part_the_last_parameters_are_the_model()
    {
        string directory = shop.NewRun();
        var result = SmallShop.Train(shop.Config("eval_args={split: {LS: test_only}}", "epochs=2", "average_decay=0"), directory);
        Assert.Equal((2, 2), (result.Epochs, result.BestEpoch));
        Assert.Empty(result.BestValid);
        Assert.NotEmpty(result.Test);
        using SafeTensorsFile model = SafeTensors.Read(Path.Combine(directory, "model.safetensors")),
            checkpoint = SafeTensors.Read(Path.Combine(directory, "checkpoint.safetensors"));
        float[] last = checkpoint.ReadFloats("parameters"), items = model.ReadFloats("item_embedding.weight");
        Assert.Equal(last[..items.Length], items);
    }

    [Fact]
    public void The_model_is_the_mean_of_the_epochs_parameters()
    {
        float[][] models = [.. ((string[])["1", "2", "3"]).Select(epochs => Parameters("average_decay=0", $"epochs={epochs}"))];
        // The second epoch weighs 4/5 against the first; the third would weigh 4/6 against both, but a decay of 0.25 makes it 3/4.
        float[] mean = Parameters("average_decay=0.25", "epochs=3");
        for (int i = 0; i < mean.Length; i++)
            Assert.Equal((0.05 * models[0][i]) + (0.2 * models[1][i]) + (0.75 * models[2][i]), mean[i], 1e-6);

        float[] Parameters(params string[] settings)
        {
            string directory = shop.NewRun();
            SmallShop.Train(shop.Config(["eval_args={split: {LS: test_only}}", .. settings]), directory);
            using var model = SafeTensors.Read(Path.Combine(directory, "model.safetensors"));
            return model.ReadFloats("output_ffn.weight");
        }
    }

    [Theory]
    [InlineData("recbole_compatible=false")]
    [InlineData("recbole_compatible=true")]
    [InlineData("objective=next_item")]
    [InlineData("recbole_compatible=true", "model=SASRec")]
    [InlineData("norm_first=true", "position_order=newest", "initializer=xavier", "lr_schedule=linear")]
    [InlineData(
        "objective=next_item", "norm_first=true", "lr_schedule=cosine", "warmup_ratio=0.3", "learner=adamw", "weight_decay=0.1",
        "adam_beta1=0.8", "adam_beta2=0.98")]
    [InlineData("softmax_samples=5", "train_batch_size=4", "clip_grad_norm=1", "weight_decay=0.01")]
    public void A_cancelled_run_ends_with_the_same_bytes_when_resumed(params string[] settings)
    {
        var config = shop.Config([.. settings, "epochs=5"]);
        string whole = shop.NewRun(), cut = shop.NewRun();
        SmallShop.Train(config, whole);
        for (int stop = 1; stop <= 4; stop += 2)
        {
            using var cancellation = new CancellationTokenSource();
            Assert.ThrowsAny<OperationCanceledException>(() => SmallShop.Train(config, cut, resume: stop > 1, onEpoch: epoch =>
            {
                if (epoch.Epoch == stop)
                    cancellation.Cancel();
            }, cancellation.Token));
            Assert.False(File.Exists(Path.Combine(cut, "result.json")));
        }
        SmallShop.Train(config, cut, resume: true);

        AssertSame(whole, cut);
        Assert.Equal(
            Lines(whole).Select(line => (line.GetProperty("epoch").GetInt32(), line.GetProperty("loss").GetDouble())),
            Lines(cut).Select(line => (line.GetProperty("epoch").GetInt32(), line.GetProperty("loss").GetDouble())));
        Assert.Equal(BoardLength(whole), BoardLength(cut));
    }

    [Fact]
    public void A_finished_run_is_not_trained_again()
    {
        string directory = shop.NewRun();
        var config = shop.Config("epochs=2");
        var first = SmallShop.Train(config, directory);
        List<EpochReport> epochs = [];
        var second = SmallShop.Train(config, directory, resume: true, onEpoch: epochs.Add);
        Assert.Empty(epochs);
        Assert.Equal(first.Test, second.Test);
        Assert.Equal(first.BestEpoch, second.BestEpoch);
    }

    [Fact]
    public void More_epochs_and_more_patience_go_on_from_where_a_run_ended()
    {
        string whole = shop.NewRun(), parts = shop.NewRun();
        string[] eager = ["stopping_step=0", "valid_metric_bigger=false", "metric_decimal_place=15", "learning_rate=0.01"];
        var stopped = SmallShop.Train(shop.Config([.. eager, "epochs=60"]), parts);
        Assert.InRange(stopped.Epochs, 2, 59);
        int epochs = stopped.Epochs + 2;
        var patient = shop.Config([.. eager, "stopping_step=100", $"epochs={epochs}"]);
        Assert.Equal(epochs, SmallShop.Train(patient, parts, resume: true).Epochs);
        SmallShop.Train(patient, whole);
        foreach (var (expected, actual) in TrainingFolder.ResultFiles(whole).Zip(TrainingFolder.ResultFiles(parts)))
            Assert.Equal(File.ReadAllBytes(expected), File.ReadAllBytes(actual));
        Assert.Equal(100, ModelFolder.Load(parts, null).Config.StoppingStep);
    }

    /// <summary>The settings change and the model does not: both are still of one run.</summary>
    [Fact]
    public void A_finished_run_that_is_resumed_with_other_settings_can_be_loaded()
    {
        string directory = shop.NewRun();
        SmallShop.Train(shop.Config("epochs=2"), directory);
        SmallShop.Train(shop.Config("epochs=2", "topk=[3]"), directory, resume: true);
        Assert.Equal([3], ModelFolder.Load(directory, null).Config.TopK);
    }

    [Fact]
    public void A_damaged_checkpoint_is_refused_by_name()
    {
        string directory = shop.NewRun();
        var config = shop.Config("epochs=1");
        SmallShop.Train(config, directory);
        string path = Path.Combine(directory, "checkpoint.safetensors");
        byte[] bytes = File.ReadAllBytes(path);

        bytes[^100] ^= 1;
        File.WriteAllBytes(path, bytes);
        Assert.StartsWith(path, Assert.Throws<InputException>(() => SmallShop.Train(config, directory, resume: true)).Message);
        File.WriteAllBytes(path, bytes[..^100]);
        Assert.StartsWith(path, Assert.Throws<InputException>(() => SmallShop.Train(config, directory, resume: true)).Message);
    }

    /// <summary>Its rates are those of as many epochs, from there on.</summary>
    [Fact]
    public void More_epochs_stretch_the_schedule_that_is_still_to_come_and_the_user_is_told()
    {
        string directory = shop.NewRun(), constant = shop.NewRun();
        string[] settings = ["lr_schedule=linear", "average_decay=0", "eval_args={split: {LS: test_only}}"];
        SmallShop.Train(shop.Config([.. settings, "epochs=2"]), directory);
        var config = TrainingSession.ReadConfig(directory, ["epochs=4"], out var warnings);
        Assert.Equal(
            ["epochs is 4, and was 2: from here on, the learning rate is what lr_schedule linear makes of 4 epochs; "
            + "before, it was what it makes of 2"],
            warnings);
        SmallShop.Train(config, directory, resume: true);
        Assert.Equal(4, Lines(directory).Length);

        // What an epoch does depends on the schedule, or nothing of this has a meaning.
        SmallShop.Train(shop.Config([.. settings, "epochs=4"]), constant);
        Assert.NotEqual(Lines(constant)[1].GetProperty("loss").GetDouble(), Lines(directory)[1].GetProperty("loss").GetDouble());

        TrainingSession.ReadConfig(directory, ["epochs=4", "topk=[3]"], out warnings);
        Assert.Empty(warnings);
        TrainingSession.ReadConfig(directory, ["epochs=8", "lr_schedule=constant"], out warnings);
        Assert.Empty(warnings);
    }

    [Theory]
    [InlineData("norm_first=true", "norm_first was false when it was saved and is now true")]
    [InlineData("position_order=newest", "position_order was oldest when it was saved and is now newest")]
    [InlineData("initializer=xavier", "initializer was normal when it was saved and is now xavier")]
    [InlineData("valid_metric=Recall@5", "valid_metric was mrr@10 when it was saved and is now recall@5")]
    [InlineData("exclude_seen=true", "exclude_seen was false when it was saved and is now true")]
    [InlineData("eval_args.mode=uni5", "eval_args.mode was ")]
    public void What_the_parameters_mean_does_not_change_on_the_way(string setting, string message)
    {
        string directory = shop.NewRun();
        SmallShop.Train(shop.Config("epochs=1"), directory);
        var failure = Assert.Throws<InputException>(() => SmallShop.Train(shop.Config(setting), directory, resume: true));
        Assert.Contains(message, failure.Message, StringComparison.Ordinal);
    }

    /// <summary>With no item but one GAUC divides 0 by 0.</summary>
    [Fact]
    public void A_metric_that_is_no_number_ends_no_run()
    {
        string data = Path.Combine(shop.NewRun(), "one"), directory = shop.NewRun();
        Directory.CreateDirectory(data);
        string rows = string.Concat(Enumerable.Range(0, 20).Select(i => $"u{i % 4}\tonly\t{i}\n"));
        File.WriteAllText(Path.Combine(data, "one.inter"), "user_id:token\titem_id:token\ttimestamp:float\n" + rows);
        var config = shop.Config(
            $"data_path={Path.GetDirectoryName(data)}", "dataset=one", "load_col=~", "metrics=[GAUC]", "valid_metric=GAUC", "epochs=2");
        Assert.Equal(2, SmallShop.Train(config, directory).Epochs);
        Assert.Equal(2, Lines(directory).Length);
    }

    [Fact]
    public void A_checkpoint_of_another_model_is_refused()
    {
        string directory = shop.NewRun();
        SmallShop.Train(shop.Config("epochs=1"), directory);
        var failure = Assert.Throws<InputException>(() => SmallShop.Train(shop.Config("hidden_size=32"), directory, resume: true));
        Assert.Contains("checkpoint.safetensors", failure.Message);
    }

    /// <summary>A new run into an old folder does not go on with the old one, nor leave a model that is not its own.</summary>
    [Fact]
    public void A_run_from_the_beginning_ignores_what_lies_in_its_folder()
    {
        string whole = shop.NewRun(), reused = shop.NewRun();
        SmallShop.Train(shop.Config("seed=99", "epochs=6"), reused);
        SmallShop.Train(shop.Config(), reused);
        SmallShop.Train(shop.Config(), whole);
        AssertSame(whole, reused);
        Assert.Equal(4, Lines(reused).Length);
    }

    /// <summary>The checkpoint is the run; config.yaml and the companions are written anew from it.</summary>
    [Theory]
    [InlineData("config.yaml", "learning_rate: 0.001", "learning_rate: 0.5")]
    [InlineData("config.yaml", "seed: 7", "")]
    [InlineData("users.txt", "u1\n", "")]
    [InlineData("items.tsv", "\n", "\n\n")]
    public void A_resumed_run_does_not_trust_what_lies_beside_its_checkpoint(string name, string old, string altered)
    {
        string whole = shop.NewRun(), resumed = shop.NewRun();
        SmallShop.Train(shop.Config("epochs=2"), resumed);
        SmallShop.Train(shop.Config("epochs=2"), whole);
        string path = Path.Combine(resumed, name), text = File.ReadAllText(path);
        Assert.Contains(old, text);
        File.WriteAllText(path, text.Replace(old, altered));

        CommandLine.Outcome outcome = CommandLine.Run("train", "--resume", resumed, "--threads", "2", "--device", "cpu");

        Assert.Equal(0, outcome.ExitCode);
        if (name == "config.yaml")
            Assert.StartsWith($"warning: {path}: not the settings that", outcome.Error);
        else
            Assert.Empty(outcome.Complaints);
        AssertSame(whole, resumed);
    }

    /// <summary>One step and no loss after it: only the validation can tell.</summary>
    [Fact]
    public void A_model_that_left_the_numbers_stops_the_run()
    {
        string directory = shop.NewRun();
        var config = shop.Config("epochs=1", "train_batch_size=100000", "learning_rate=1e20", "average_decay=0");
        Assert.Contains("no finite numbers", Assert.Throws<InputException>(() => SmallShop.Train(config, directory)).Message);
        Assert.False(File.Exists(Path.Combine(directory, "model.safetensors")));
    }

    [Fact]
    public void A_run_without_a_checkpoint_cannot_be_resumed()
    {
        string directory = shop.NewRun();
        SmallShop.Train(shop.Config("epochs=1"), directory);
        File.Delete(Path.Combine(directory, "checkpoint.safetensors"));
        CommandLine.Outcome outcome = CommandLine.Run("train", "--resume", directory);
        Assert.Equal(1, outcome.ExitCode);
        Assert.StartsWith($"error: {directory}: no checkpoint.safetensors in it", outcome.Error);
    }

    /// <summary>Settings that a run was resumed with are those of the next resumption too, even before any epoch of it was whole.</summary>
    [Fact]
    public void A_checkpoint_takes_the_settings_that_a_run_is_resumed_with()
    {
        string directory = shop.NewRun();
        SmallShop.Train(shop.Config("epochs=1"), directory);
        using var cancellation = new CancellationTokenSource();
        cancellation.Cancel();
        Assert.ThrowsAny<OperationCanceledException>(
            () => SmallShop.Train(shop.Config("epochs=3"), directory, resume: true, cancellation: cancellation.Token));
        Assert.Equal(3, TrainingSession.ReadConfig(directory, [], out var warnings).Epochs);
        Assert.Empty(warnings);
    }

    [Theory]
    [InlineData("\"loss\":", "\"loss\":1")]
    [InlineData("{\"epoch\":2", "{\"epoch\":")]
    [InlineData("{\"epoch\":1", "{\"epoch\":9")]
    public void Altered_epochs_are_refused_by_name(string old, string altered)
    {
        string directory = shop.NewRun();
        SmallShop.Train(shop.Config("epochs=3"), directory);
        string path = Path.Combine(directory, "metrics.jsonl"), text = File.ReadAllText(path);
        Assert.Contains(old, text);
        File.WriteAllText(path, text.Replace(old, altered));
        var failure = Assert.Throws<InputException>(() => SmallShop.Train(shop.Config("epochs=3"), directory, resume: true));
        Assert.StartsWith(path, failure.Message);
        Assert.StartsWith(path, Assert.Throws<InputException>(() => MetricsLog.Read(directory)).Message);
        File.Delete(path);
        SmallShop.Train(shop.Config("epochs=4"), directory, resume: true);
        Assert.Equal([4], MetricsLog.Read(directory).Select(epoch => epoch.Epoch));
    }

    [Fact]
    public void Damaged_events_are_written_anew_from_the_epochs()
    {
        string directory = shop.NewRun();
        SmallShop.Train(shop.Config("epochs=3"), directory);
        string path = Path.Combine(directory, TensorBoardWriter.FileName);
        byte[] events = File.ReadAllBytes(path);
        long length = events.Length;
        events[length / 2] ^= 1;
        File.WriteAllBytes(path, events);
        SmallShop.Train(shop.Config("epochs=3"), directory, resume: true);
        Assert.Equal(length, BoardLength(directory));
    }

    private static void AssertSame(string expected, string actual)
    {
        foreach (string name in Compared)
        {
            Assert.True(
                File.ReadAllBytes(Path.Combine(expected, name)).AsSpan().SequenceEqual(File.ReadAllBytes(Path.Combine(actual, name))),
                $"{name} differs");
        }
    }

    private static JsonElement[] Lines(string directory) =>
        [.. File.ReadLines(Path.Combine(directory, "metrics.jsonl")).Select(line => JsonDocument.Parse(line).RootElement)];

    /// <summary>Its events have their times, but no other difference.</summary>
    private static long BoardLength(string directory) => new FileInfo(Path.Combine(directory, TensorBoardWriter.FileName)).Length;
}
