using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Bert4Rec.Cli;
using Bert4Rec.Tests.Faults;

namespace Bert4Rec.Tests.Cli;

/// <summary>A small shop, made, trained on, evaluated and asked, through the command line alone.</summary>
public sealed class EndToEndTests(EndToEndTests.TrainedShop shop) : IClassFixture<EndToEndTests.TrainedShop>
{
    /// <summary>Made once for all the tests.</summary>
    public sealed class TrainedShop : IDisposable
    {
        public TrainedShop()
        {
            Synthesis = CommandLine.Run(
                "synthesize", "--output", Data, "--name", "shop", "--users", "300", "--items", "60",
                "--interactions", "1800", "--seed", "7");
            Training = CommandLine.Run(["train", .. Settings, "--set", "epochs=3", "--output", Model, "--threads", "2", "--device", "cpu"]);
        }

        public string Folder { get; } = Directory.CreateTempSubdirectory("bert4rec-").FullName;

        public string Data => Path.Combine(Folder, "shop");

        public string Model => Path.Combine(Folder, "model");

        /// <summary>A model so small that an epoch takes a moment.</summary>
        public string[] Settings =>
        [
            "--set", $"data_path={Folder}", "--set", "dataset=shop", "--set", "hidden_size=16", "--set", "inner_size=32",
            "--set", "n_layers=1", "--set", "MAX_ITEM_LIST_LENGTH=10", "--set", "train_batch_size=64", "--set", "topk=[5,10]",
        ];

        internal CommandLine.Outcome Synthesis { get; }

        internal CommandLine.Outcome Training { get; }

        public void Dispose() => Directory.Delete(Folder, recursive: true);
    }

    [Fact]
    public void Synthesize_says_what_it_wrote_and_what_can_be_reached()
    {
        Assert.Equal((0, ""), (shop.Synthesis.ExitCode, shop.Synthesis.Error));
        Assert.Contains("300 users, 60 items, 1,800 interactions", shop.Synthesis.Out);
        Assert.Matches(@"Recall@10 0\.\d{4}, NDCG@10 0\.\d{4}", shop.Synthesis.Out);
        Assert.Contains($"bert4rec train --set data_path={shop.Data} --set dataset=shop", shop.Synthesis.Out);
        Assert.Equal(1801, File.ReadLines(Path.Combine(shop.Data, "shop.inter")).Count());
    }

    [Fact]
    public void Train_shows_the_data_each_epoch_and_the_model_beside_the_baselines()
    {
        CommandLine.Outcome outcome = shop.Training;

        Assert.Equal((0, ""), (outcome.ExitCode, outcome.Error));
        Assert.Matches(@"data +shop: 300 users, 60 items, 1,800 interactions\n", outcome.Out);
        Assert.Matches(@"samples +[\d,]+ train, [\d,]+ valid, [\d,]+ test\n", outcome.Out);
        Assert.Matches(@"model +[\d,]+ parameters\n", outcome.Out);
        Assert.Matches(@"device +cpu.*, 2 threads\n", outcome.Out);
        Assert.Contains(outcome.Lines, line => line.StartsWith("epoch", StringComparison.Ordinal) && line.EndsWith("valid MRR@10"));
        Assert.Equal(
            ["1", "2", "3"],
            outcome.Lines.Select(Cells).Where(cells => cells.Length >= 5 && int.TryParse(cells[0], out int _)).Select(cells => cells[0]));
        Assert.Contains(outcome.Lines, line => line.EndsWith('*'));
        string[] table = [.. outcome.Lines.SkipWhile(line => !line.Contains("popularity"))];
        Assert.Contains("model", table[0]);
        Assert.Contains("Markov", table[0]);
        Assert.Equal("recall@10", Cells(table[2])[0]);
        Assert.Equal("ndcg@10", Cells(table[3])[0]);
        Assert.EndsWith("no blend", table[0]);
        Assert.Equal(7, Cells(table[2]).Length);
        Assert.Contains(table, line => line.StartsWith("By ndcg@10, ", StringComparison.Ordinal));
    }

    [Fact]
    public void Train_as_json_writes_one_line_and_nothing_else()
    {
        string model = Path.Combine(shop.Folder, "json");
        CommandLine.Outcome outcome = CommandLine.Run(["train", .. shop.Settings, "--set", "epochs=1", "--output", model, "--json"]);

        Assert.Equal(0, outcome.ExitCode);
        JsonElement json = JsonDocument.Parse(Assert.Single(outcome.Lines)).RootElement;
        Assert.Equal(model, json.GetProperty("output").GetString());
        JsonElement result = json.GetProperty("result");
        Assert.Equal(1, result.GetProperty("epochs").GetInt32());
        Assert.InRange(result.GetProperty("test").GetProperty("recall@10").GetDouble(), 0, 1);
        Assert.Equal(
            ["popularity", "last item again", "Markov chain", "no blend"],
            result.GetProperty("baselines").EnumerateObject().Select(baseline => baseline.Name));
        JsonElement blend = result.GetProperty("blend");
        Assert.True(blend.GetProperty("with").GetDouble() > blend.GetProperty("without").GetDouble());
    }

    [Fact]
    public void Evaluate_repeats_the_test_metrics_of_training()
    {
        CommandLine.Outcome outcome = CommandLine.Run("evaluate", shop.Model);

        Assert.Equal((0, ""), (outcome.ExitCode, outcome.Error));
        Assert.Equal(Row(shop.Training, "recall@10"), Row(outcome, "recall@10"));
        Assert.Equal(Row(shop.Training, "ndcg@5"), Row(outcome, "ndcg@5"));
    }

    [Fact]
    public void Evaluate_takes_another_part_and_other_metrics()
    {
        CommandLine.Outcome outcome = CommandLine.Run(
            "evaluate", shop.Model, "--split", "valid", "--set", "topk=[3]", "--set", "metrics=[Hit,GAUC]", "--json");

        JsonElement json = JsonDocument.Parse(outcome.Out).RootElement;
        Assert.Equal("valid", json.GetProperty("split").GetString());
        Assert.Equal(["hit@3", "gauc"], json.GetProperty("metrics").EnumerateObject().Select(metric => metric.Name));
    }

    [Fact]
    public void Evaluate_names_a_ranking_without_seen_items()
    {
        const string LeftOut = "seen items left out";
        CommandLine.Outcome all = CommandLine.Run("evaluate", shop.Model);
        CommandLine.Outcome unseen = CommandLine.Run("evaluate", shop.Model, "--set", "exclude_seen=true");
        JsonElement json = JsonDocument.Parse(
            CommandLine.Run("evaluate", shop.Model, "--set", "exclude_seen=true", "--json").Out).RootElement;

        Assert.DoesNotContain(LeftOut, all.Out);
        Assert.Matches($@"^[\d,]+ test samples, .*, {LeftOut}:\n", unseen.Out);
        Assert.NotEqual(Row(all, "recall@10"), Row(unseen, "recall@10"));
        Assert.True(json.GetProperty("exclude_seen").GetBoolean());
        double recall = json.GetProperty("metrics").GetProperty("recall@10").GetDouble();
        Assert.Equal(Row(unseen, "recall@10")[1], recall.ToString("F4", CultureInfo.InvariantCulture));
        // Then the last item again is never right: what remains of that rule is popularity.
        Assert.Equal(Row(unseen, "recall@10")[3], Row(unseen, "recall@10")[4]);
    }

    [Theory]
    [InlineData("n_heads=4", "n_heads 4: the model was trained with 2")]
    [InlineData("layer_norm_eps=0.1", "layer_norm_eps 0.1: the model was trained with 1e-12")]
    public void Evaluate_does_not_make_another_model_of_the_parameters(string setting, string message)
    {
        CommandLine.Outcome outcome = CommandLine.Run("evaluate", shop.Model, "--set", setting);

        Assert.Equal(1, outcome.ExitCode);
        Assert.Contains(message, outcome.Error, StringComparison.OrdinalIgnoreCase);
    }

    [Fact]
    public void Recommend_lists_items_best_first_with_their_fields()
    {
        CommandLine.Outcome outcome = CommandLine.Run("recommend", "--model", shop.Model, "--history", "p1 p2 p3", "-k", "5");

        Assert.Equal((0, ""), (outcome.ExitCode, outcome.Error));
        Assert.Equal("item\tscore\tcategory\tbrand\tprice", outcome.Lines[0]);
        string[][] rows = [.. outcome.Lines.Skip(1).Select(line => line.Split('\t'))];
        Assert.Equal(5, rows.Select(row => row[0]).Distinct().Count());
        Assert.All(rows, row => Assert.Equal(5, row.Length));
        double[] scores = [.. rows.Select(row => double.Parse(row[1], CultureInfo.InvariantCulture))];
        Assert.Equal(scores.OrderDescending(), scores);
    }

    [Fact]
    public void Recommend_leaves_seen_items_out_if_asked()
    {
        CommandLine.Outcome outcome = CommandLine.Run(
            "recommend", "--model", shop.Model, "--history", "p1 p2 p3", "-k", "100", "--exclude-seen");

        string[] items = [.. outcome.Lines.Skip(1).Select(line => line.Split('\t')[0])];
        Assert.Equal(57, items.Length);
        Assert.DoesNotContain("p2", items);
    }

    [Fact]
    public void Recommend_names_unknown_tokens_and_says_when_it_falls_back_on_popularity()
    {
        CommandLine.Outcome some = CommandLine.Run("recommend", "--model", shop.Model, "--history", "p1 nonsense p2");
        CommandLine.Outcome none = CommandLine.Run("recommend", "--model", shop.Model, "--history", "nonsense");
        CommandLine.Outcome empty = CommandLine.Run("recommend", "--model", shop.Model, "--history", "");

        Assert.Equal("warning: left out of the history, unknown to the model: nonsense\n", some.Error);
        Assert.Equal(some.Out, CommandLine.Run("recommend", "--model", shop.Model, "--history", "p1 p2").Out);
        Assert.Contains("the most popular items", none.Error);
        Assert.Equal("warning: the history is empty: these are the most popular items\n", empty.Error);
        Assert.Equal(empty.Out, none.Out);
        string popular = File.ReadLines(Path.Combine(shop.Data, "shop.inter")).Skip(1).CountBy(line => line.Split('\t')[1])
            .MaxBy(item => item.Value).Key;
        Assert.Matches($"^{popular}\t\\d+\t", empty.Lines[1]);
    }

    [Fact]
    public void Recommend_knows_the_users_of_the_training_data()
    {
        string[] events = [.. File.ReadLines(Path.Combine(shop.Data, "shop.inter")).Skip(1)];
        string user = events[0].Split('\t')[0];
        string history = string.Join(' ', events.Select(line => line.Split('\t')).Where(cells => cells[0] == user)
            .OrderBy(cells => double.Parse(cells[2], CultureInfo.InvariantCulture)).Select(cells => cells[1]));

        CommandLine.Outcome known = CommandLine.Run("recommend", "--model", shop.Model, "--user", user);
        CommandLine.Outcome unknown = CommandLine.Run("recommend", "--model", shop.Model, "--user", "nobody");

        Assert.Equal(
            CommandLine.Run("recommend", "--model", shop.Model, "--history", history).Lines.Skip(1),
            known.Lines.Skip(1).Select(line => line[(user.Length + 1)..]));
        Assert.Equal(1, unknown.ExitCode);
        Assert.Matches("^error: .*nobody.*\n$", unknown.Error);
    }

    [Fact]
    public void Recommend_reads_many_histories()
    {
        const string Histories = "anna\tp1 p2\nben\t\n\np3 nonsense\n";
        CommandLine.Outcome tsv = CommandLine.RunWithInput(Histories, "recommend", "--model", shop.Model, "--histories", "-", "-k", "2");
        CommandLine.Outcome json = CommandLine.RunWithInput(
            Histories, "recommend", "--model", shop.Model, "--histories", "-", "-k", "2", "--json");

        Assert.Equal(
            ["history", "anna", "anna", "ben", "ben", "3", "3", "4", "4"],
            tsv.Lines.Select(line => line.Split('\t')[0]));
        string[] single = CommandLine.Run("recommend", "--model", shop.Model, "--history", "p1 p2", "-k", "2").Lines;
        Assert.Equal(single.Skip(1).Select(line => "anna\t" + line), tsv.Lines[1..3]);
        Assert.Contains("the history of 4, unknown to the model: nonsense", tsv.Error);

        JsonElement[] lists = [.. json.Lines.Select(line => JsonDocument.Parse(line).RootElement)];
        Assert.Equal(["anna", "ben", "3", "4"], lists.Select(list => list.GetProperty("id").GetString()));
        Assert.Equal([false, true, true, false], lists.Select(list => list.GetProperty("popular").GetBoolean()));
        Assert.Equal("nonsense", lists[3].GetProperty("unknown")[0].GetString());
        JsonElement first = lists[0].GetProperty("items")[0];
        Assert.Equal(tsv.Lines[1].Split('\t')[1], first.GetProperty("token").GetString());
        Assert.True(first.GetProperty("fields").TryGetProperty("brand", out _));
    }

    [Fact]
    public void A_line_that_is_no_history_is_named()
    {
        CommandLine.Outcome outcome = CommandLine.RunWithInput(
            "a\tp1\nb\tp1\tp2\n", "recommend", "--model", shop.Model, "--histories", "-");

        Assert.Equal(1, outcome.ExitCode);
        Assert.StartsWith("error: -:2: more than one TAB", outcome.Error);
    }

    [SkippableFact]
    public async Task Ctrl_C_stops_after_the_step_and_the_run_can_be_resumed()
    {
        Skip.If(OperatingSystem.IsWindows(), "signals are sent with kill");
        Skip.If(Campaign.IgnoresInterrupt, "SIGINT is ignored here, as in a job in the background");
        string model = Path.Combine(shop.Folder, "interrupted");
        using var process = Process.Start(new ProcessStartInfo
        {
            FileName = "dotnet",
            ArgumentList =
            {
                typeof(Application).Assembly.Location,
                "train", "--output", model, "--set", "epochs=100000", "--set", "stopping_step=100000",
            },
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        }.With(shop.Settings))!;
        try
        {
            using var timeout = new CancellationTokenSource(TimeSpan.FromSeconds(60));
            string? line = "";
            while (line is not null && !line.TrimStart().StartsWith("2 ", StringComparison.Ordinal))
                line = await process.StandardOutput.ReadLineAsync(timeout.Token);
            Assert.NotNull(line);
            Process.Start("kill", ["-INT", process.Id.ToString()]).WaitForExit();
            Task<string> error = process.StandardError.ReadToEndAsync(timeout.Token);
            _ = process.StandardOutput.ReadToEndAsync(timeout.Token);
            await process.WaitForExitAsync(timeout.Token);

            Assert.Equal(130, process.ExitCode);
            Assert.Contains($"bert4rec train --resume {model}", await error);
        }
        finally
        {
            process.Kill();
        }

        // Fewer epochs than are done already: nothing is left to train, so it goes straight to the test.
        CommandLine.Outcome resumed = CommandLine.Run("train", "--resume", model, "--set", "epochs=2");
        Assert.Equal((0, ""), (resumed.ExitCode, resumed.Error));
        Assert.Contains("popularity", resumed.Out);
    }

    private static string[] Cells(string line) => line.Split(' ', StringSplitOptions.RemoveEmptyEntries);

    private static string[] Row(CommandLine.Outcome outcome, string metric) =>
        Assert.Single(outcome.Lines.Select(Cells), cells => cells.Length > 0 && cells[0] == metric);
}

file static class ProcessStartInfoExtensions
{
    public static ProcessStartInfo With(this ProcessStartInfo start, string[] arguments)
    {
        foreach (string argument in arguments)
            start.ArgumentList.Add(argument);
        return start;
    }
}
