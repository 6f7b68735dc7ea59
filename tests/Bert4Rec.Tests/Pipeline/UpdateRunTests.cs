using System.Globalization;
using System.Text.Json;
using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Inference;
using Bert4Rec.Model;
using Bert4Rec.Pipeline;
using Bert4Rec.Serialization;
using Bert4Rec.Tests.Cli;
using Bert4Rec.Tests.EventLog;
using Bert4Rec.Training;

namespace Bert4Rec.Tests.Pipeline;

/// <summary>New events into a trained folder, as the command adds them.</summary>
public sealed class UpdateRunTests : IDisposable
{
    private const string Header = "user_id:token\titem_id:token\ttimestamp:float\n";
    private readonly TemporaryFolder _folder = new();

    private string Model => Path.Combine(_folder.Path, "model");

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("full")]
    [InlineData("uni5")]
    public void TheFolderHasTheNewEventsUsersAndItemsAndEvaluatesToTheReportedMetrics(string mode)
    {
        Train(refit: true, $"eval_args.mode={mode}");
        string later = Write("later", "u1\ti3\t100\nu1\tnew\t101\nu99\ti4\t100\nu99\tnew\t101\nu99\ti5\t102\n", "new\tbooks\n");
        var outcome = CommandLine.Run("update", "--model", Model, "--input", later, "--threads", "1", "--epochs", "2", "--json");
        Assert.Equal(0, outcome.ExitCode);
        Assert.Empty(outcome.Complaints);

        string refitConfig = Path.Combine(RefitFolder.Of(Model), "config.yaml");
        var folder = ModelFolder.Load(Model, null);
        var dataset = folder.Dataset;
        Assert.True(dataset.Items.TryGetId("new", out int item));
        Assert.Equal(dataset.ItemCount - 1, item);
        Assert.Equal("books", dataset.ItemFields![item, 0]);
        Assert.Equal(["i1", "i2", "i3", "i4", "i3", "new"], History(dataset, "u1"));
        Assert.Equal(["i4", "new", "i5"], History(dataset, "u99"));
        Assert.Equal(dataset.Checksum(), ModelFolder.Load(RefitFolder.Of(Model), null).Dataset.Checksum());
        Assert.Equal(folder.Config.ToYaml(), RunConfig.Load([Path.Combine(Model, "config.yaml")], []).ToYaml());
        Assert.Equal(4, folder.Config.Epochs);
        // The refit's transitions are counted in all events, so its split holds none back.
        Assert.Equal(TrainingSession.RefitSettings(folder.Config).ToYaml(), RunConfig.Load([refitConfig], []).ToYaml());
        Assert.NotEqual(folder.Config.ToYaml(), RunConfig.Load([refitConfig], []).ToYaml());

        var (_, evaluated, _) = CommandLine.Run("evaluate", Model, "--threads", "1", "--json");
        Assert.Equal(Value(outcome.Out, "after", "ndcg@10"), Value(evaluated, "metrics", "ndcg@10"), 12);
        var (_, recommended, note) = CommandLine.Run("recommend", "--model", Model, "--user", "u99", "--threads", "1");
        Assert.Contains("refit", note);
        Assert.NotEmpty(recommended);
        Assert.False(Directory.Exists(Model + ".update"));
    }

    [Fact]
    public void WhatWasThereBesidesStaysAndNoCheckpointOfTheOldEventsDoes()
    {
        Train(refit: false);
        File.WriteAllText(Path.Combine(Model, "report.html"), "a report");
        string later = Write("later", "u1\ti3\t100\n");
        var outcome = CommandLine.Run("update", "--model", Model, "--input", later, "--threads", "1", "--epochs", "1");
        Assert.Equal(0, outcome.ExitCode);
        Assert.Contains($"{Path.Combine(Model, "report.html")} still shows the model as run left it", outcome.Out);
        Assert.Equal("a report", File.ReadAllText(Path.Combine(Model, "report.html")));
        var (code, _, error) = CommandLine.Run("train", "--resume", Model, "--threads", "1");
        Assert.Equal(1, code);
        Assert.Contains("no checkpoint.safetensors", error);
    }

    /// <summary>The new .item need not say again what the model knows; of what it does not, only those that it lists.</summary>
    [Fact]
    public void NewEventsOfKnownItemsStayWhereOnlyTheNewItemsAreListed()
    {
        Train(refit: false, "filter_inter_by_user_or_item=true");
        int before = ModelFolder.Load(Model, null).Dataset.EventItems.Length;
        string later = Write("later", "u1\ti3\t100\nu1\tnew\t101\nu1\tstray\t102\nu2\ti7\t103\n", "new\tbooks\n");
        var (code, _, error) = CommandLine.Run("update", "--model", Model, "--input", later, "--threads", "1", "--epochs", "1");
        Assert.Equal(0, code);
        Assert.Contains("later.item: no row for 1 item of later.inter; their interactions are dropped", error);
        var dataset = ModelFolder.Load(Model, null).Dataset;
        Assert.Equal(before + 3, dataset.EventItems.Length);
        Assert.Equal(["i1", "i2", "i3", "i4", "i3", "new"], History(dataset, "u1"));
    }

    /// <summary>Filters look at what is known of an item and what its row says anew, a blank standing for what was.</summary>
    [Theory]
    [InlineData(null, 3, "")]
    [InlineData("", 3, "")]
    [InlineData("i3\t\tbooks\n", 3, "")]
    [InlineData("i3\t500\tbooks\n", 2, "val_interval refuses 1 item of later.inter; their interactions are dropped")]
    [InlineData("stray\t5\ttoys\n", 4, "")]
    public void FiltersHoldForWhatIsKnownAndWhatIsNew(string? items, int taken, string warning)
    {
        Write("log", Rows());
        File.WriteAllText(Path.Combine(_folder.Path, "log", "log.item"), "item_id:token\tprice:float\tcategory:token\n" + string.Concat(
            Enumerable.Range(1, 8).Select(i => $"i{i}\t{10 * i}\ttoys\n")));
        Train(refit: false, writes: false, "val_interval={price: '[0,100]'}");
        int before = ModelFolder.Load(Model, null).Dataset.EventItems.Length;
        string later = Write("later", "u1\ti3\t100\nu1\ti7\t101\nu1\tstray\t102\nu2\ti6\t103\n");
        if (items is not null)
            File.WriteAllText(Path.Combine(later, "later.item"), "item_id:token\tprice:float\tcategory:token\n" + items);
        var (code, _, error) = CommandLine.Run("update", "--model", Model, "--input", later, "--threads", "1", "--epochs", "1");
        Assert.True(code == 0, error);
        Assert.Equal(before + taken, ModelFolder.Load(Model, null).Dataset.EventItems.Length);
        Assert.Contains(warning, error);
    }

    [Fact]
    public void AModelWhoseTrainingGoesOnIsNotUpdated()
    {
        Train(refit: false);
        File.Delete(Path.Combine(Model, "result.json"));
        string later = Write("later", "u1\ti3\t100\n");
        var (code, _, error) = CommandLine.Run("update", "--model", Model, "--input", later, "--threads", "1");
        Assert.Equal((1, $"error: the training in {Model} is not done; end it first: bert4rec train --resume {Model}\n"), (code, error));
    }

    [Fact]
    public void TheSameEventsTwiceAreRefused()
    {
        Train(refit: false);
        string later = Write("later", "u1\ti3\t100\n");
        string[] command = ["update", "--model", Model, "--input", later, "--threads", "1", "--epochs", "1"];
        Succeed(command);
        var before = ModelFolder.Load(Model, null);
        var (code, _, error) = CommandLine.Run(command);
        Assert.Equal(1, code);
        Assert.Contains("trained or updated with it before", error);
        Assert.Equal(before.Parameters, ModelFolder.Load(Model, null).Parameters);
    }

    /// <summary>Training on atomic files keeps no checksum of them; the events themselves tell.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void TheEventsThatTheModelWasTrainedOnAreRefused(bool isUpdated)
    {
        Train(refit: false);
        if (isUpdated)
            Succeed("update", "--model", Model, "--input", Write("later", "u1\ti3\t100\n"), "--threads", "1", "--epochs", "1");
        var before = ModelFolder.Load(Model, null);
        var (code, _, error) = CommandLine.Run("update", "--model", Model, "--input", Path.Combine(_folder.Path, "log"), "--threads", "1");
        Assert.Equal(1, code);
        Assert.Contains("events are those that the model was trained on", error);
        Assert.Equal(before.Dataset.Checksum(), ModelFolder.Load(Model, null).Dataset.Checksum());
    }

    [Fact]
    public void AnExportOfEverythingIsRefused()
    {
        Train(refit: false);
        string all = File.ReadAllText(Path.Combine(_folder.Path, "log", "log.inter"))[Header.Length..];
        string later = Write("all", all + "u1\ti3\t100\nu2\ti3\t101\n");
        var (code, _, error) = CommandLine.Run("update", "--model", Model, "--input", later, "--threads", "1");
        Assert.Equal(1, code);
        Assert.Contains("120 of the 122 events are those that the model was trained on", error);
    }

    /// <summary>Of 20 events, 19 samples, 17 train by 8:1:1; of 21 the rule has only 16 do so, and the 17th validate.</summary>
    [Fact]
    public void WhatTheModelWasTrainedOnDoesNotValidateItLater()
    {
        Write("log", string.Concat(Enumerable.Range(1, 30).SelectMany(
            user => Enumerable.Range(0, 20).Select(i => $"u{user}\ti{((user + i - 1) % 8) + 1}\t{i}\n"))));
        Train(refit: false, writes: false, "eval_args.split={RS: [8, 1, 1]}");
        string later = Write("later", string.Concat(Enumerable.Range(1, 30).Select(user => $"u{user}\ti{user % 8 + 1}\t100\n")));
        string[] command = ["update", "--model", Model, "--input", later, "--threads", "1", "--epochs", "1", "--json"];
        var (code, updated, _) = CommandLine.Run(command);
        Assert.Equal(0, code);
        // All users have new events.
        using var result = JsonDocument.Parse(updated);
        Assert.Equal(After("all"), After("of_those"));
        var dataset = ModelFolder.Load(Model, null).Dataset;

        string After(string samples) =>
            result.RootElement.GetProperty("result").GetProperty(samples).GetProperty("after").GetRawText();

        foreach (var (part, samples) in new[] { ("valid", 30), ("test", 60) })
        {
            var (_, evaluated, _) = CommandLine.Run("evaluate", Model, "--threads", "1", "--split", part, "--json");
            using var document = JsonDocument.Parse(evaluated);
            Assert.Equal(samples, document.RootElement.GetProperty("samples").GetInt32());
        }
        Assert.All(
            Splitter.Split(dataset, ModelFolder.Load(Model, null).Config.EvalArgs).Valid,
            sample => Assert.Equal(18, sample.Event - dataset.UserOffsets[sample.User]));
    }

    /// <summary>The same week in other rows, or packed, has another checksum; its events are those that were added all the same.</summary>
    [Fact]
    public void TheSameLogInAnotherFileIsRefused()
    {
        Run(Log("log", 0, 200));
        // Of one time, so that only the log has an order.
        string[] week =
        [
            .. Enumerable.Range(0, 20).Select(i => SmallLog.Row("2019-11-20 00:00:00 UTC", user: $"{i % 10}", product: $"{i % 7}")),
        ];
        string[] other = Log("other", 220, 20);
        Succeed("update", "--model", Model, "--input", _folder.Write("week.csv", SmallLog.Text(week)), "--threads", "1");
        Succeed("update", "--model", Model, "--input", _folder.Write("other.csv", SmallLog.Text(other)), "--threads", "1");
        var before = ModelFolder.Load(Model, null);
        Array.Reverse(week);
        string packed = Path.Combine(_folder.Path, "again.csv.gz");
        File.WriteAllBytes(packed, SmallLog.Gzip(SmallLog.Text(week)));
        foreach (string again in new[] { _folder.Write("again.csv", SmallLog.Text(week)), packed })
        {
            var (code, _, error) = CommandLine.Run("update", "--model", Model, "--input", again, "--threads", "1");
            Assert.Equal(1, code);
            Assert.Contains("another file, but the model was updated with its events before", error);
        }
        Assert.Equal(before.Dataset.Checksum(), ModelFolder.Load(Model, null).Dataset.Checksum());
    }

    /// <summary>A model keeps no times, but that of its newest event.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void EventsThatComeLateAreSaidToComeBehindNewerOnes(bool isLog)
    {
        string First(string name, int day) => isLog
            ? _folder.Write(name + ".csv", SmallLog.Text([SmallLog.Row($"2019-12-0{day} 00:00:00 UTC", user: "1", product: "3")]))
            : Write(name, $"u1\ti3\t{day}00\n");
        if (isLog)
            Run(Log("log", 0, 200));
        else
            Train(refit: false);
        string[] command = ["update", "--model", Model, "--threads", "1", "--epochs", "1", "--input"];
        Assert.DoesNotContain("older", CommandLine.Run([.. command, First("newer", 3)]).Error);
        var (code, _, error) = CommandLine.Run([.. command, First("late", 2)]);
        Assert.Equal(0, code);
        Assert.Contains("1 of 1 new interactions are older than the newest that the model knows", error);
        Assert.DoesNotContain("older", CommandLine.Run([.. command, First("newest", 4)]).Error);
    }

    [Fact]
    public void SwappedColumnsAreRefused()
    {
        Train(refit: false);
        string later = Write("later", "i1\tu1\t100\ni2\tu2\t101\ni3\tu40\t102\n");
        var (code, _, error) = CommandLine.Run("update", "--model", Model, "--input", later, "--threads", "1");
        Assert.Equal(1, code);
        Assert.Contains("are the columns swapped?", error);
        // New customers of new items are nothing odd.
        Succeed("update", "--model", Model, "--input", Write("new", "x1\ty1\t100\nx1\ty2\t101\n"), "--threads", "1", "--epochs", "1");
    }

    [Theory]
    [InlineData("u", "i", "i1 u1,i2 u2,i3 u3", true)]
    [InlineData("u", "i", "u1 i1,u2 u1,i3 u3", false)]
    [InlineData("u", "i", "i1 new", false)]
    [InlineData("u", "i", "x1 y1,x2 y2", false)]
    [InlineData("", "", "50 9,51 10", false)] // new users of new items; 9 and 10 are users too
    public void SwappedColumnsAreToldByWhatIsKnown(string user, string item, string added, bool expected)
    {
        string[][] rows = [.. added.Split(',').Select(row => row.Split(' '))];
        var known = new InteractionDataset(Tokens(user, 40), Tokens(item, 8), [.. Enumerable.Repeat(0, 42)], []);
        var later = new InteractionDataset(
            Vocabulary(rows.Select(row => row[0])), Vocabulary(rows.Select(row => row[1])), [.. Enumerable.Repeat(0, rows.Length + 2)], []);
        Assert.Equal(expected, UpdateRun.AreSwapped(later, known));

        static Vocabulary Tokens(string prefix, int count) => Vocabulary(Enumerable.Range(1, count).Select(i => $"{prefix}{i}"));

        static Vocabulary Vocabulary(IEnumerable<string> tokens)
        {
            var vocabulary = new Vocabulary();
            foreach (string token in tokens)
                vocabulary.GetOrAdd(token);
            return vocabulary;
        }
    }

    /// <summary>A column too many or too few makes all of them new.</summary>
    [Fact]
    public void EventsOfWhichNothingIsKnownAreSaidToBe()
    {
        Train(refit: false);
        string rows = string.Concat(Enumerable.Range(0, 20).Select(i => $"x{i}\ty{i % 3}\t{100 + i}\n"));
        var (code, _, error) = CommandLine.Run(
            "update", "--model", Model, "--input", Write("later", rows), "--threads", "1", "--epochs", "1");
        Assert.True(code == 0, error);
        Assert.Contains("of 3 items in the new events the model knows none; is that the right column?", error);
        Assert.Contains("of 20 users in the new events the model knows none; is that the right column?", error);
    }

    /// <summary>A run takes it and says so, for it can be done again; the whole log would be half known to an updated model.</summary>
    [Fact]
    public void ALogThatWasCutIsNotAdded()
    {
        Run(Log("log", 0, 200));
        string week = SmallLog.Text(Log("week", 200, 20));
        string before = ModelFolder.Load(Model, null).Dataset.Checksum();
        string cut = _folder.Write("week.csv", week[..(week.Length * 3 / 4)]);
        var (code, _, error) = CommandLine.Run(
            "update", "--model", Model, "--input", cut, "--threads", "1", "--set", "event_log.max_bad_rows=1");
        Assert.Equal(1, code);
        Assert.Contains("ends in the middle of a line: it was cut off, or is still being written", error);
        Assert.Equal(before, ModelFolder.Load(Model, null).Dataset.Checksum());
        Succeed("update", "--model", Model, "--input", _folder.Write("week.csv", week), "--threads", "1");
    }

    /// <summary>Most have bought one thing in a week that is there twice; who bought the same twice before may do so again.</summary>
    [Theory]
    [InlineData("i1 i2 i3", "i3", 30, true)]
    [InlineData("i1 i2 i3", "i3", 20, false)]
    [InlineData("i1 i3 i3", "i3", 30, false)]
    [InlineData("i3 i3", "i3", 30, false)]
    public void AWeekOfSingleEventsIsRecognisedWhereAllAreTheLast(string known, string added, int repeat, bool isExport)
    {
        string[] old = [.. Enumerable.Repeat(known, 30), .. Enumerable.Repeat("i4 i5 i6 i7", 70)];
        string[] later = [.. Enumerable.Range(0, 30).Select(user => user < repeat ? added : "i7")];
        Assert.Equal(isExport, UpdateRun.Overlap(Of(later), Of(old)).IsExport);
    }

    [Theory]
    [InlineData("i1 i2 i3", "i4", 0)]
    [InlineData("i1 i2 i3", "i3 i4", 0)]
    [InlineData("i1 i2 i3", "i2 i3 i4", 2)]
    [InlineData("i1 i2 i3", "i1 i2 i3 i3", 3)]
    [InlineData("i1 i2 i3", "i1 i2", 2)]
    [InlineData("i1", "i1 i2", 1)]
    [InlineData("i1 i2", "new i1", 0)]
    public void EventsThatAreKnownAreCounted(string known, string added, int overlap)
    {
        Assert.Equal(overlap, UpdateRun.Overlap(Of([added]), Of([known])).Known);
    }

    /// <summary>Of an export of the last month nearly all is known; a few customers who buy the same again are none.</summary>
    [Theory]
    [InlineData(30, 28, true)]
    [InlineData(30, 20, false)]
    [InlineData(3, 3, false)]
    public void AnExportIsToldFromCustomersWhoBuyTheSameAgain(int users, int repeat, bool isExport)
    {
        string[] known = [.. Enumerable.Range(0, users).Select(_ => "i1 i2 i3 i4 i5 i6 i7 i8")];
        string[] added = [.. Enumerable.Range(0, users).Select(user => user < repeat ? "i7 i8" : "i1 i3")];
        Assert.Equal(isExport, UpdateRun.Overlap(Of(added), Of(known)).IsExport);
    }

    [Theory]
    [InlineData("i1 i2 i3", "i1 i2 i3 i4 i5 i6 i7 i8 i9", true)] // of a longer time than the model's
    [InlineData("i1 i2 i3", "i1", true)] // of its first days
    [InlineData("i1 i1 i1", "i1 i1", false)] // subscribers
    [InlineData("i1 i2 i3", "i3 i1", false)]
    public void AnExportMayBeLongerOrOlder(string known, string added, bool isExport)
    {
        string[] old = [.. Enumerable.Repeat(known, 30), .. Enumerable.Repeat("i4 i5 i6 i7", 10)];
        Assert.Equal(isExport, UpdateRun.Overlap(Of([.. Enumerable.Repeat(added, 30)]), Of(old)).IsExport);
    }

    private static InteractionDataset Of(string[] histories)
    {
        Vocabulary users = new(), items = new();
        var offsets = new List<int> { 0, 0 };
        var events = new List<int>();
        foreach (var (user, history) in histories.Index())
        {
            users.GetOrAdd($"u{user}");
            events.AddRange(history.Split(' ').Select(name => items.GetOrAdd(name)));
            offsets.Add(events.Count);
        }
        return new(users, items, [.. offsets], [.. events]);
    }

    /// <summary>run makes a refit for a model that was trained without, and the config goes on saying so.</summary>
    [Fact]
    public void TheRefitStaysWhateverTheConfigSays()
    {
        Train(refit: false);
        Succeed(
            "run", "--input", Path.Combine(_folder.Path, "log"), "--output", Model, "--threads", "1", "--set", "epochs=2",
            "--set", "objective=cloze", "--set", "hidden_size=8", "--set", "refit=false");
        Succeed(
            "run", "--input", Path.Combine(_folder.Path, "log"), "--output", Model, "--threads", "1", "--set", "epochs=2",
            "--set", "objective=cloze", "--set", "hidden_size=8");
        Assert.True(RefitFolder.State(Model).IsWhole);
        Assert.Contains("refit: false", File.ReadAllText(Path.Combine(Model, "config.yaml")));

        Succeed("train", "--resume", Model, "--threads", "1");
        Assert.True(RefitFolder.IsOfThisModel(Model));
        Succeed("update", "--model", Model, "--input", Write("later", "u1\ti3\t100\n"), "--threads", "1", "--epochs", "1");
        Assert.True(RefitFolder.IsOfThisModel(Model));
    }

    [Fact]
    public void AFolderOfSomebodysIsNotTakenForAnUpdate()
    {
        Train(refit: false);
        string later = Write("later", "u1\ti3\t100\n"), input = Model + ".update";
        Directory.Move(later, input);
        var (code, _, error) = CommandLine.Run("update", "--model", Model, "--input", input, "--threads", "1");
        Assert.Equal(1, code);
        Assert.Contains("an update works in a folder of this name; move what is there (later.inter)", error);
        Assert.True(File.Exists(Path.Combine(input, "later.inter")));
    }

    [Theory]
    [InlineData("dataset=other", "dataset is other, and was log")]
    [InlineData("item_inter_num_interval=[2,inf)", "item_inter_num_interval is [2,inf), and was ~")]
    public void AnEvaluationIsOfTheModelAsItWasTrained(string setting, string error)
    {
        Train(refit: false);
        var outcome = CommandLine.Run("evaluate", Model, "--threads", "1", "--set", setting);
        Assert.Equal(1, outcome.ExitCode);
        Assert.Contains(error, outcome.Error);
    }

    [Fact]
    public void TheSameSettingsWrittenOtherwiseAreTheSame()
    {
        Train(refit: false, "item_inter_num_interval=[1,inf)", "val_interval={timestamp: [0, 9]}");
        Succeed(
            "evaluate", Model, "--threads", "1",
            "--set", "item_inter_num_interval='[1, inf)'", "--set", "val_interval={timestamp: '[0,9]'}",
            "--set", "filter_inter_by_user_or_item=False");
    }

    [Fact]
    public void EventsThatWereTrainedOnAreNoTest()
    {
        Train(refit: false, "eval_args.split={LS: test_only}");
        var outcome = CommandLine.Run(
            "evaluate", Model, "--threads", "1", "--split", "valid", "--set", "eval_args.split={LS: valid_and_test}");
        Assert.Equal(1, outcome.ExitCode);
        Assert.Contains("30 of the 30 samples that it tests on are of events that the model was trained on", outcome.Error);
    }

    [Fact]
    public void AModelsLayersAreAllThere()
    {
        Train(refit: false, "n_layers=2");
        var outcome = CommandLine.Run("evaluate", Model, "--threads", "1", "--set", "n_layers=1");
        Assert.Equal(1, outcome.ExitCode);
        Assert.Contains("trm_encoder.layer.1", outcome.Error);
    }

    [Fact]
    public void OfTwoLogsInAFolderNeitherIsTaken()
    {
        Train(refit: false);
        string later = Write("later", "u1\ti3\t100\n");
        File.Copy(Path.Combine(later, "later.inter"), Path.Combine(later, "another.inter"));
        var (code, _, error) = CommandLine.Run("update", "--model", Model, "--input", later);
        Assert.Equal(1, code);
        Assert.Contains("another.inter and later.inter are in it; name one of them", error);
    }

    [Theory]
    [InlineData("epochs=50")]
    [InlineData("valid_metric=Recall@7")]
    public void SettingsOfTheModelAreNotChanged(string setting)
    {
        Train(refit: false);
        string later = Write("later", "u1\ti3\t100\n");
        var (code, _, error) = CommandLine.Run("update", "--model", Model, "--input", later, "--set", setting);
        Assert.Equal(1, code);
        Assert.Contains($"--set {setting}: the model keeps its settings", error);
    }

    /// <summary>An update has fewer epochs than a training, which may look at its validation part every fifth only.</summary>
    [Fact]
    public void EachEpochOfAnUpdateIsValidated()
    {
        Train(refit: false, "eval_step=4");
        string later = Write("later", "u1\ti3\t100\n");
        string[] command = ["update", "--model", Model, "--input", later, "--threads", "1", "--epochs", "2", "--json"];
        var (code, _, error) = CommandLine.Run(command);
        Assert.True(code == 0, error);
        Assert.Equal(4, ModelFolder.Load(Model, null).Config.EvalStep);
        // Epoch, loss, seconds, tokens a second, and the metric.
        string[][] epochs =
        [
            .. error.Split('\n').Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries))
                .Where(line => line is ["1" or "2", ..]),
        ];
        Assert.Equal(2, epochs.Length);
        Assert.All(epochs, epoch => Assert.True(epoch.Length >= 5, string.Join(' ', epoch)));
    }

    [Fact]
    public void AModelThatNoEpochImprovesStays()
    {
        Train(
            refit: false,
            "epochs=40", "learning_rate=0.01", "hidden_dropout_prob=0.1", "mask_ratio=0.3", "topk=[5]", "valid_metric=NDCG@5",
            "blend=false");
        float[] held = ModelFolder.Load(Model, null).Parameters;
        string config = Path.Combine(Model, "config.yaml");
        var dataset = ModelFolder.Load(Model, null).Dataset.Append(
            new InteractionDataset(VocabularyOf("u1"), VocabularyOf("i3"), [0, 0, 1], [1]));
        int stayed = 0;
        for (int seed = 1; seed <= 8; seed++)
        {
            // With this learning rate an epoch is more likely to be worse than better.
            var result = TrainingSession.Continue(
                RunConfig.Load([config], []).With("learning_rate=0.9", "epochs=2", "refit=false"),
                dataset,
                new(held, new([.. Enumerable.Repeat(true, dataset.UserCount)], 1, 1), seed),
                new RunOptions(Path.Combine(_folder.Path, "next"), "cpu", 1, false),
                null,
                null,
                null,
                default);
            bool isHeld = held.SequenceEqual(ModelFolder.Load(Path.Combine(_folder.Path, "next"), null).Parameters);
            Assert.Equal(result.BestEpoch == 0, isHeld);
            stayed += isHeld ? 1 : 0;
        }
        Assert.InRange(stayed, 1, 8);
    }

    [Fact]
    public void ARunDoesNotTrainOverAnUpdate()
    {
        Train(refit: false);
        string later = Write("later", "u1\ti3\t100\n");
        Succeed("update", "--model", Model, "--input", later, "--threads", "1", "--epochs", "1");
        var (code, _, error) = CommandLine.Run("run", "--input", Path.Combine(_folder.Path, "log"), "--output", Model, "--threads", "1");
        Assert.Equal(1, code);
        Assert.Contains("updated", error);
    }

    [Theory]
    [InlineData("user_id:token\titem_id:token\ttimestamp:float\n", "no rows")]
    [InlineData("user_id:token\titem_id:token\ttimestamp:float\nu1\ti1\n", "later.inter:2")]
    [InlineData("", "later.inter")]
    public void EventsThatCannotBeReadLeaveTheFolderAsItWas(string content, string message)
    {
        Train(refit: false);
        string path = Path.Combine(_folder.Path, "later", "later.inter");
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, content);
        string before = Sha256.OfFile(Path.Combine(Model, "model.safetensors"));
        var (code, _, error) = CommandLine.Run("update", "--model", Model, "--input", path, "--threads", "1");
        Assert.Equal(1, code);
        Assert.Contains(message, error);
        Assert.Equal(before, Sha256.OfFile(Path.Combine(Model, "model.safetensors")));
        Assert.False(Directory.Exists(Model + ".update"));
    }

    [Fact]
    public void ADamagedOrForeignFolderIsRefused()
    {
        Train(refit: true);
        string later = Write("later", "u1\ti3\t100\n");
        var (code, _, error) = CommandLine.Run("update", "--model", RefitFolder.Of(Model), "--input", later, "--threads", "1");
        Assert.Equal(1, code);
        Assert.Contains("updated with its run", error);
        File.AppendAllText(Path.Combine(Model, "users.txt"), "x\n");
        (code, _, error) = CommandLine.Run("update", "--model", Model, "--input", later, "--threads", "1");
        Assert.Equal(1, code);
        Assert.Contains("users.txt", error);
    }

    [Fact]
    public void AReplacedFolderIsTheOldOneOrTheNewOne()
    {
        string old = Path.Combine(_folder.Path, "a"), staged = Path.Combine(_folder.Path, "b");
        Directory.CreateDirectory(Path.Combine(old, "sub"));
        Directory.CreateDirectory(staged);
        File.WriteAllText(Path.Combine(old, "both"), "old");
        File.WriteAllText(Path.Combine(old, "sub", "kept"), "old");
        File.WriteAllText(Path.Combine(staged, "both"), "new");
        File.WriteAllText(Path.Combine(old, "dropped"), "old");
        FolderReplacement.Replace(staged, old, "both", "dropped");
        Assert.False(File.Exists(Path.Combine(old, "dropped")));
        Assert.Equal("new", File.ReadAllText(Path.Combine(old, "both")));
        Assert.Equal("old", File.ReadAllText(Path.Combine(old, "sub", "kept")));
        Assert.False(Directory.Exists(staged));
    }

    [Fact]
    public void AnExchangeThatWasKilledHalfwayIsEnded()
    {
        string target = Path.Combine(_folder.Path, "a"), staged = Path.Combine(_folder.Path, "b");
        Directory.CreateDirectory(target);
        Directory.CreateDirectory(staged);
        File.WriteAllText(Path.Combine(target, ".unfinished"), "");
        File.WriteAllText(Path.Combine(target, "both"), "new");
        File.WriteAllText(Path.Combine(staged, "both"), "old");
        File.WriteAllText(Path.Combine(staged, "kept"), "old");
        File.WriteAllText(Path.Combine(staged, "dropped"), "old");
        FolderReplacement.Finish(staged, target, "dropped");
        Assert.Equal(["both", "kept"], Directory.GetFiles(target).Select(Path.GetFileName).Order());
        Assert.Equal("new", File.ReadAllText(Path.Combine(target, "both")));
        Assert.False(Directory.Exists(staged));
    }

    [Fact]
    public void ANewItemBeginsAsTheMeanOfWhatItResembles()
    {
        var users = new Vocabulary();
        var items = new Vocabulary();
        users.GetOrAdd("u");
        foreach (string token in new[] { "a", "b", "new", "alone" })
            items.GetOrAdd(token);
        // a, new: beside each other once; nobody had "alone".
        var dataset = new InteractionDataset(users, items, [0, 0, 2], [1, 3]);
        var shape = new ModelShape(3, 4, 2, 4, 1, 1, 1e-12f, 0, 0);
        var old = new ParameterLayout(shape);
        var grown = new ParameterLayout(shape with { ItemCount = 5 });
        var parameters = new float[old.Length];
        // Rows of padding, a, b and [mask].
        float[] rows = [0, 0, 4, 8, 2, 2, 7, 7];
        rows.CopyTo(parameters, 0);
        parameters[^1] = 3;
        float[] result = GrownCatalogue.Grow(old, parameters, grown, dataset, Splitter.Split(dataset, RunConfig.Load(
            [], ["eval_args.split={RS: [1, 0, 0]}"]).EvalArgs).Train);
        // The mean of all is (3, 5), and counts as three events.
        Assert.Equal([0, 0, 4, 8, 2, 2, (4 + (3 * 3)) / 4f, (8 + (3 * 5)) / 4f, 3, 5, 7, 7], result[..12]);
        Assert.Equal([0, 0, 3, (0 + (3 * 1.5f)) / 4, 1.5f], result[^5..]);
        // What is held back is not known: with two events more the new item tests.
        dataset = new InteractionDataset(users, items, [0, 0, 4], [1, 2, 1, 3]);
        float[] heldOut = GrownCatalogue.Grow(
            old, parameters, grown, dataset, Splitter.Split(dataset, RunConfig.Load([], []).EvalArgs).Train);
        Assert.Equal([3, 5, 3, 5], heldOut[6..10]);
    }

    [Fact]
    public void ReplayTakesThoseWithNewEventsAlwaysAndAsManyOthersAsItsShare()
    {
        bool[] always = new bool[10_001];
        always.AsSpan(0, 1000).Fill(true);
        var replay = new Replay(always, 0.25, 7);
        int[] counts = [.. Enumerable.Range(1, 2).Select(epoch => Enumerable.Range(1000, 9000).Count(user => replay.Takes(user, epoch)))];
        Assert.All(counts, count => Assert.InRange(count, 2100, 2400));
        Assert.All(Enumerable.Range(1, 999), user => Assert.True(replay.Takes(user, 3)));
        Assert.Contains(Enumerable.Range(1000, 9000), user => replay.Takes(user, 1) != replay.Takes(user, 2));
    }

    private static void Succeed(params string[] command)
    {
        var (code, _, error) = CommandLine.Run(command);
        Assert.True(code == 0, error);
    }

    /// <summary>Rows of a log, one every hour.</summary>
    private static string[] Log(string session, int first, int rows) =>
    [
        .. Enumerable.Range(first, rows).Select(i => SmallLog.Row(
            new DateTime(2019, 10, 1).AddHours(i).ToString("yyyy-MM-dd HH:mm:ss", CultureInfo.InvariantCulture) + " UTC",
            product: $"{i * i % 7}", user: $"{i % 10}", session: $"{session} {i % 10}")),
    ];

    private void Run(string[] rows) => Succeed(
        "run", "--input", _folder.Write("log.csv", SmallLog.Text(rows)), "--output", Model, "--threads", "1", "--set", "epochs=1",
        "--set", "objective=next_item", "--set", "hidden_size=8", "--set", "refit=false");

    private static string Rows() => string.Concat(Enumerable.Range(1, 30).SelectMany(
        user => Enumerable.Range(0, 4).Select(i => $"u{user}\ti{((user + i - 1) % 8) + 1}\t{i}\n")));

    private void Train(bool refit, params string[] more) => Train(refit, writes: true, more);

    private void Train(bool refit, bool writes, params string[] more)
    {
        string items = string.Concat(Enumerable.Range(1, 8).Select(i => $"i{i}\t{(i % 2 == 0 ? "books" : "toys")}\n"));
        string log = writes ? Write("log", Rows(), items) : Path.Combine(_folder.Path, "log");
        string[] settings =
        [
            "data_path=" + log, "dataset=log", "objective=cloze", "epochs=4", "hidden_size=8", "inner_size=16", "n_layers=1", "n_heads=1",
            "MAX_ITEM_LIST_LENGTH=6", "metrics=[NDCG]", "topk=[10]", "valid_metric=NDCG@10", $"refit={(refit ? "true" : "false")}",
        ];
        var (code, _, error) = CommandLine.Run(
            ["train", "--output", Model, "--threads", "1", .. settings.Concat(more).SelectMany(setting => new[] { "--set", setting })]);
        Assert.True(code == 0, error);
    }

    private string Write(string name, string rows, string? items = null)
    {
        string folder = Path.Combine(_folder.Path, name);
        Directory.CreateDirectory(folder);
        File.WriteAllText(Path.Combine(folder, name + ".inter"), Header + rows);
        if (items is not null)
            File.WriteAllText(Path.Combine(folder, name + ".item"), "item_id:token\tcategory:token\n" + items);
        return folder;
    }

    private static Vocabulary VocabularyOf(string token)
    {
        var vocabulary = new Vocabulary();
        vocabulary.GetOrAdd(token);
        return vocabulary;
    }

    private static string[] History(InteractionDataset dataset, string user)
    {
        Assert.True(dataset.Users.TryGetId(user, out int id));
        return [.. dataset.EventItems[dataset.UserOffsets[id]..dataset.UserOffsets[id + 1]].Select(item => dataset.Items[item])];
    }

    /// <summary>The value of a metric in the first object of a name.</summary>
    private static double Value(string json, string name, string metric)
    {
        using var document = JsonDocument.Parse(json);
        return Find(document.RootElement, name)!.Value.GetProperty(metric).GetDouble();
    }

    private static JsonElement? Find(JsonElement element, string name)
    {
        if (element.ValueKind != JsonValueKind.Object)
            return null;
        return element.TryGetProperty(name, out var found)
            ? found
            : element.EnumerateObject().Select(property => Find(property.Value, name)).FirstOrDefault(value => value is not null);
    }
}
