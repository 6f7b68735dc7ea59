using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Bert4Rec.Data.Synthesis;
using Bert4Rec.Inference;
using Bert4Rec.Pipeline;
using Bert4Rec.Serialization;
using Bert4Rec.Tests.Cli;

namespace Bert4Rec.Tests.Pipeline;

/// <summary>
/// The whole chain on a small shop's event log: what it leaves, what a second run does again, and what a killed one leaves.
/// </summary>
public sealed partial class PipelineRunTests(PipelineRunTests.RunShop shop) : IClassFixture<PipelineRunTests.RunShop>
{
    /// <summary>Files whose bytes depend on the clock.</summary>
    private static readonly string[] s_timed = ["metrics.jsonl", "events.out.tfevents.bert4rec"];

    /// <summary>A log, and a run on it, made once for all the tests.</summary>
    public sealed class RunShop : IDisposable
    {
        public RunShop()
        {
            ShopSynthesizer.WriteLog(new() { Users = 300, Items = 60, Interactions = 1800, Seed = 7 }, 3000, Folder, "shop");
            First = CommandLine.Run(["run", .. Arguments("whole")]);
        }

        public string Folder { get; } = Directory.CreateTempSubdirectory("bert4rec-").FullName;

        public string Log => Path.Combine(Folder, "shop.csv");

        public string Whole => Path.Combine(Folder, "whole");

        internal CommandLine.Outcome First { get; }

        public string[] Arguments(string name, params string[] settings) =>
        [
            "--input", Log, "--output", Path.Combine(Folder, name), "--threads", "2", "--device", "cpu",
            .. new[]
            {
                "hidden_size=16", "inner_size=32", "n_layers=1", "MAX_ITEM_LIST_LENGTH=10", "train_batch_size=64",
                "epochs=4", "topk=[5,10]", "model=BERT4Rec",
            }.Concat(settings).SelectMany(setting => new[] { "--set", setting }),
        ];

        public void Dispose() => Directory.Delete(Folder, recursive: true);
    }

    [Fact]
    public void A_run_leaves_an_analysis_the_data_the_model_and_a_report()
    {
        Assert.Equal(0, shop.First.ExitCode);
        Assert.Empty(shop.First.Complaints);
        Assert.Equal(
            [
                "analysis.html", "analysis.json", "checkpoint.safetensors", "cleaned.csv", "config.yaml", "events.out.tfevents.bert4rec",
                "events.safetensors", "items.tsv", "manifest.json", "metrics.jsonl", "model.safetensors", "refit/checkpoint.safetensors",
                "refit/config.yaml", "refit/events.out.tfevents.bert4rec", "refit/events.safetensors", "refit/items.tsv",
                "refit/metrics.jsonl", "refit/model.safetensors", "refit/users.txt", "report.html", "result.json",
                "shop/shop.inter", "shop/shop.item", "shop/shop.user", "users.txt",
            ],
            Files(shop.Whole));
        Assert.Contains(
            shop.First.Lines, line => line.StartsWith("clean    3,000 rows read, 1,800 kept, 1,200 dropped (", StringComparison.Ordinal));
        Assert.Contains("popularity", shop.First.Out);
        Assert.Equal(0, CommandLine.Run("recommend", "--model", shop.Whole, "--history", "1000001").ExitCode);
        Assert.Equal(0, CommandLine.Run("evaluate", shop.Whole).ExitCode);
    }

    [Fact]
    public void Rows_of_the_manifest_add_up_and_its_checksums_are_the_files()
    {
        JsonElement manifest = JsonDocument.Parse(File.ReadAllText(Path.Combine(shop.Whole, "manifest.json"))).RootElement;
        JsonElement[] steps = [.. manifest.GetProperty("steps").EnumerateArray()];
        Assert.Equal(
            ["analyze", "clean", "convert", "train", "refit", "report"], steps.Select(step => step.GetProperty("name").GetString()));
        foreach (JsonElement step in steps)
        {
            Assert.NotEmpty(step.GetProperty("inputs").EnumerateArray());
            foreach (JsonElement output in step.GetProperty("outputs").EnumerateArray())
            {
                byte[] content = File.ReadAllBytes(Path.Combine(shop.Whole, output.GetProperty("path").GetString()!));
                Assert.Equal(Convert.ToHexStringLower(SHA256.HashData(content)), output.GetProperty("sha256").GetString());
            }
        }
        JsonElement rows = steps[1].GetProperty("rows");
        long dropped = rows.EnumerateObject().Where(row => row.Name.StartsWith("dropped", StringComparison.Ordinal))
            .Sum(row => row.Value.GetInt64());
        Assert.Equal(3000, rows.GetProperty("read").GetInt64());
        Assert.Equal(3000, rows.GetProperty("kept").GetInt64() + dropped);
    }

    [Fact]
    public void The_report_is_one_page_without_scripts_or_network_that_says_how_good_the_model_is()
    {
        string page = File.ReadAllText(Path.Combine(shop.Whole, "report.html"));
        JsonElement result = JsonDocument.Parse(File.ReadAllText(Path.Combine(shop.Whole, "result.json"))).RootElement;

        Assert.DoesNotContain("<script", page);
        Assert.DoesNotMatch("(src|href)=\"(?!data:|analysis.html)", page);
        Assert.DoesNotMatch("(?<!xmlns(:xlink)?=\")https?://", page);
        string recall = result.GetProperty("test").GetProperty("recall@10").GetDouble().ToString("F4");
        Assert.Contains($"<tr><td>recall@10</td><td>{recall}</td>", page);
        string[] parts = ["popularity", "last item again", "Markov chain", "items shown", "cpu (", "2 threads", "seed", ".NET"];
        foreach (string part in parts)
            Assert.Contains(part, page);
        Assert.Equal(10, CountOf("<h3>Customer "));
        // Each customer's purchase is in the list, or said to stand further down.
        Assert.Equal(10, CountOf("✓ came next") + CountOf("<p>Came next: "));
        string[] ids = [.. Identifier().Matches(page).Select(id => id.Groups[1].Value)];
        Assert.True(ids.Length >= 5);
        Assert.Equal(ids.Length, ids.Distinct().Count());

        int CountOf(string text) => page.Split(text).Length - 1;
    }

    [Fact]
    public void The_same_command_again_does_nothing()
    {
        Copy(shop.Whole, "again");
        var before = Times("again");
        CommandLine.Outcome again = CommandLine.Run(["run", .. shop.Arguments("again")]);

        Assert.Equal(0, again.ExitCode);
        Assert.Equal(6, again.Lines.Count(line => line.Contains(" unchanged")));
        Assert.Equal(before, Times("again"));
        Assert.Contains(again.Lines, line => line.TrimStart().StartsWith("recall@10", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("epochs=5", "train refit report")]
    [InlineData("event_log.max_length=20", "convert train refit report")]
    [InlineData("event_log.keep_nulls=[brand]", "clean convert train refit report")]
    [InlineData("event_log.events=[cart, purchase]", "clean convert train refit report")]
    [InlineData("event_log.max_bad_rows=0.5", "analyze clean convert")]
    [InlineData("refit=false", "report")]
    [InlineData("exclude_seen=true", "train refit report")]
    public void Another_setting_does_again_what_depends_on_it(string setting, string steps)
    {
        string name = $"changed {setting.GetHashCode()}";
        Copy(shop.Whole, name);
        CommandLine.Outcome outcome = CommandLine.Run(["run", .. shop.Arguments(name, setting), "--json"]);

        Assert.Equal(0, outcome.ExitCode);
        JsonElement json = JsonDocument.Parse(Assert.Single(outcome.Lines)).RootElement;
        Assert.Equal(
            steps,
            string.Join(' ', json.GetProperty("steps").EnumerateArray().Where(step => step.GetProperty("ran").GetBoolean())
                .Select(step => step.GetProperty("name").GetString())));
        Assert.InRange(json.GetProperty("result").GetProperty("test").GetProperty("recall@10").GetDouble(), 0, 1);
        Assert.True(json.GetProperty("result").GetProperty("seconds").GetDouble() > 0);
        // A refit is missed only where the last run made one.
        string folder = Path.Combine(shop.Folder, name), refit = Path.Combine(folder, "refit");
        if (Directory.Exists(refit))
            Directory.Delete(refit, recursive: true);
        using var recommender = Recommender.Load(folder);
        Assert.Equal(setting != "refit=false", recommender.Note?.Contains($"{refit} is missing") ?? false);
    }

    /// <summary>As after an update of the program that reads logs or draws the page in another way.</summary>
    [Theory]
    [InlineData("analyze")]
    [InlineData("clean")]
    [InlineData("report")]
    public void What_another_revision_made_is_made_again(string name)
    {
        string copy = $"revised {name}", folder = Path.Combine(shop.Folder, copy);
        Copy(shop.Whole, copy);
        RunManifest manifest = RunManifest.Load(folder, null);
        ManifestStep step = manifest[name]!;
        var options = new Dictionary<string, string>(step.Options);
        Assert.True(options.ContainsKey("revision"));
        options["revision"] = "0";
        manifest.Finish(step with { Options = options }, step.Outputs!.Select(file => Path.Combine(folder, file.Path)), default);
        CommandLine.Outcome outcome = CommandLine.Run(["run", .. shop.Arguments(copy)]);

        Assert.Equal(0, outcome.ExitCode);
        Assert.Equal(5, outcome.Lines.Count(line => line.Contains(" unchanged")));
        Assert.DoesNotContain(outcome.Lines, line => line.StartsWith(name, StringComparison.Ordinal) && line.Contains("unchanged"));
        AssertSame(shop.Whole, Path.Combine(shop.Folder, copy));
    }

    [Theory]
    [InlineData("cleaned.csv", "clean")]
    [InlineData("shop/shop.inter", "convert")]
    [InlineData("report.html", "report")]
    public void An_altered_or_missing_file_is_made_again(string file, string step)
    {
        foreach (bool remove in new[] { false, true })
        {
            string copy = $"altered {step} {remove}";
            Copy(shop.Whole, copy);
            string path = Path.Combine(shop.Folder, copy, file);
            if (remove)
                File.Delete(path);
            else
                File.AppendAllText(path, "\n");
            CommandLine.Outcome outcome = CommandLine.Run(["run", .. shop.Arguments(copy)]);

            Assert.Equal(0, outcome.ExitCode);
            Assert.Equal(5, outcome.Lines.Count(line => line.Contains(" unchanged")));
            Assert.DoesNotContain(outcome.Lines, line => line.StartsWith(step, StringComparison.Ordinal) && line.Contains("unchanged"));
            AssertSame(shop.Whole, Path.Combine(shop.Folder, copy));
        }
    }

    [Theory]
    [InlineData("model.safetensors")]
    [InlineData("items.tsv")]
    public void A_refit_with_an_altered_file_is_made_again(string file)
    {
        string name = $"altered refit {file}", folder = Path.Combine(shop.Folder, name);
        Copy(shop.Whole, name);
        File.AppendAllText(Path.Combine(folder, "refit", file), "\n");
        CommandLine.Outcome outcome = CommandLine.Run(["run", .. shop.Arguments(name)]);

        Assert.Equal((0, ""), (outcome.ExitCode, outcome.Error));
        Assert.Equal(5, outcome.Lines.Count(line => line.Contains(" unchanged")));
        AssertSameModel(Path.Combine(shop.Whole, "refit"), Path.Combine(folder, "refit"));
    }

    [Fact]
    public void The_refit_comes_and_goes_with_its_setting()
    {
        Copy(shop.Whole, "refit");
        string folder = Path.Combine(shop.Folder, "refit"), refit = Path.Combine(folder, "refit");
        string page = Path.Combine(folder, "report.html");
        const string Said = "was trained anew on all 1,800 events";
        Assert.Contains(Said, File.ReadAllText(page));
        Assert.Contains($"{Path.Combine(shop.Whole, "refit")} was trained anew on all events, and recommends\n", shop.First.Out);
        Assert.Matches(@"\nrefit    \d epochs on all 1,800 events\n", shop.First.Out);

        CommandLine.Outcome without = CommandLine.Run(["run", .. shop.Arguments("refit", "refit=false")]);
        Assert.Equal((0, ""), (without.ExitCode, without.Error));
        Assert.DoesNotContain(without.Lines, line => line.StartsWith("refit ", StringComparison.Ordinal) || line.Contains("trained anew"));
        Assert.False(Directory.Exists(refit));
        Assert.DoesNotContain(Said, File.ReadAllText(page));

        CommandLine.Outcome again = CommandLine.Run(["run", .. shop.Arguments("refit")]);
        Assert.Equal((0, ""), (again.ExitCode, again.Error));
        Assert.Contains(again.Lines, line => line == "train    unchanged");
        AssertSameModel(Path.Combine(shop.Whole, "refit"), refit);
        Assert.Equal(File.ReadAllBytes(Path.Combine(shop.Whole, "report.html")), File.ReadAllBytes(page));
        // Its record has its place again, too.
        Assert.Equal(StepNames(shop.Whole), StepNames(folder));

        static IEnumerable<string?> StepNames(string folder) =>
            JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "manifest.json"))).RootElement.GetProperty("steps").EnumerateArray()
                .Select(step => step.GetProperty("name").GetString());
    }

    [Fact]
    public void RecBoles_way_has_no_refit_unless_it_is_asked_for()
    {
        Assert.Equal(0, CommandLine.Run(["run", .. shop.Arguments("recbole", "recbole_compatible=true", "epochs=1")]).ExitCode);
        Assert.False(Directory.Exists(Path.Combine(shop.Folder, "recbole", "refit")));
        string[] asked = shop.Arguments("recbole", "recbole_compatible=true", "epochs=1", "refit=true");
        Assert.Equal(0, CommandLine.Run(["run", .. asked]).ExitCode);
        Assert.True(File.Exists(Path.Combine(shop.Folder, "recbole", "refit", "model.safetensors")));
    }

    [Fact]
    public void A_ranking_without_seen_items_is_named_everywhere()
    {
        const string LeftOut = "seen items left out";
        CommandLine.Outcome outcome = CommandLine.Run(["run", .. shop.Arguments("unseen", "exclude_seen=true")]);
        string folder = Path.Combine(shop.Folder, "unseen");
        Assert.Contains(outcome.Lines, line => line.EndsWith($"on the test part, {LeftOut}:", StringComparison.Ordinal));
        Assert.Contains(LeftOut, File.ReadAllText(Path.Combine(folder, "report.html")));
        Assert.True(Result(folder).GetProperty("exclude_seen").GetBoolean());
        Assert.DoesNotContain(LeftOut, shop.First.Out);
        Assert.DoesNotContain(LeftOut, File.ReadAllText(Path.Combine(shop.Whole, "report.html")));
        Assert.False(Result(shop.Whole).GetProperty("exclude_seen").GetBoolean());

        static JsonElement Result(string folder) => JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "result.json"))).RootElement;
    }

    [Fact]
    public void Atomic_files_are_another_place_to_start_from()
    {
        foreach (string input in new[] { Path.Combine(shop.Whole, "shop", "shop.inter"), Path.Combine(shop.Whole, "shop") })
        {
            string output = Path.Combine(shop.Folder, "atomic");
            CommandLine.Outcome outcome = CommandLine.Run(
                ["run", .. shop.Arguments("atomic", "ITEM_ID_FIELD=product_id", "TIME_FIELD=event_time")[2..], "--input", input]);

            Assert.Equal((0, ""), (outcome.ExitCode, outcome.Error));
            Assert.DoesNotContain("clean", outcome.Out);
            Assert.Contains("report.html", Files(output));
            Assert.DoesNotContain("analysis.html", Files(output));
            Assert.DoesNotContain("analysis.html", File.ReadAllText(Path.Combine(output, "report.html")));
        }
    }

    [Fact]
    public void Train_takes_an_event_log_too()
    {
        string output = Path.Combine(shop.Folder, "train");
        string[] arguments = [.. shop.Arguments("train", $"event_log='{shop.Log}'")[2..]];
        CommandLine.Outcome outcome = CommandLine.Run(["train", .. arguments]);

        Assert.Equal((0, ""), (outcome.ExitCode, outcome.Error));
        foreach (string name in new[] { "result.json", "cleaned.csv" })
            Assert.Equal(File.ReadAllBytes(Path.Combine(shop.Whole, name)), File.ReadAllBytes(Path.Combine(output, name)));
    }

    [Fact]
    public void A_manifest_that_is_none_is_named()
    {
        Directory.CreateDirectory(Path.Combine(shop.Folder, "damaged"));
        string manifest = Path.Combine(shop.Folder, "damaged", "manifest.json");
        const string Whole = """{"version":"1","steps":[{"name":"train","inputs":[FILES],"options":{},"rows":{},"facts":{}}]}""";
        string[] texts =
        [
            "", "{", "{}", "[]", "null", "{\"steps\": 3}", """{"version":"1","steps":null}""", """{"version":"1","steps":[null]}""",
            """{"version":"1","steps":[{}]}""", Whole.Replace("FILES", "null"), Whole.Replace("FILES", "{}"),
            Whole.Replace("[FILES]", "null"),
            Whole.Replace("FILES", "").Replace("\"options\":{}", "\"options\":{\"a\":null}"),
        ];
        foreach (string text in texts)
        {
            File.WriteAllText(manifest, text);
            CommandLine.Outcome outcome = CommandLine.Run(["run", .. shop.Arguments("damaged")]);
            Assert.Equal(1, outcome.ExitCode);
            Assert.Matches(
                $"^error: {Regex.Escape(manifest)}(:[0-9]+)?: not a manifest of bert4rec run; remove it to do everything again\n$",
            outcome.Error);
        }
    }

    /// <summary>No step is made of metrics.jsonl, which holds times; the report, made again, reads it.</summary>
    [Fact]
    public void A_damaged_line_of_the_epochs_is_named()
    {
        Copy(shop.Whole, "epochs");
        string metrics = Path.Combine(shop.Folder, "epochs", "metrics.jsonl");
        string[] lines = File.ReadAllLines(metrics);
        File.Delete(Path.Combine(shop.Folder, "epochs", "report.html"));
        foreach (string line in new[] { "", "{", "null", "{}", "{\"epoch\":2}", "\0\0\0", lines[0], lines[1][..^5] })
        {
            File.WriteAllLines(metrics, [lines[0], line, .. lines[2..]]);
            CommandLine.Outcome damaged = CommandLine.Run(["run", .. shop.Arguments("epochs")]);
            Assert.Equal(
                (1, $"error: {metrics}:2: not the line of a next epoch; restore the file, or remove it to go on without those epochs\n"),
                (damaged.ExitCode, damaged.Error));
        }

        File.Delete(metrics);
        CommandLine.Outcome outcome = CommandLine.Run(["run", .. shop.Arguments("epochs")]);
        Assert.Equal((0, ""), (outcome.ExitCode, outcome.Error));
    }

    [Theory]
    [InlineData("event_log.events=view,sale",
        "event_log.events must be all, or some of view, remove_from_cart, cart, purchase, not 'view,sale'")]
    [InlineData(
        "event_log.keep_nulls=[user_id]",
        "event_log.keep_nulls must be all, or some of category_id, category_code, brand, price, user_session, not 'user_id'")]
    [InlineData("event_log.group_by=item", "event_log.group_by must be user or session, not 'item'")]
    [InlineData("event_log.max_bad_rows=2", "event_log.max_bad_rows must be a share like 0.001, not '2'")]
    [InlineData(
        "event_log.maximum=2",
        "a key of event_log must be input or columns or event_names or separator or header or quotes or events or keep_nulls or "
            + "max_bad_rows or group_by or min_length or max_length, not 'maximum'")]
    public void A_wrong_setting_of_the_log_is_named(string setting, string message)
    {
        CommandLine.Outcome outcome = CommandLine.Run(["run", .. shop.Arguments("wrong", setting)]);
        Assert.Equal((1, $"error: --set {setting}: {message}\n"), (outcome.ExitCode, outcome.Error));
    }

    [Fact]
    public void A_missing_log_is_named_and_nothing_is_left()
    {
        string output = Path.Combine(shop.Folder, "nothing");
        CommandLine.Outcome outcome = CommandLine.Run("run", "--input", Path.Combine(shop.Folder, "none.csv"), "--output", output);
        Assert.Equal(1, outcome.ExitCode);
        Assert.Matches("^error: .*none.csv.*\n$", outcome.Error);
        Assert.False(Directory.Exists(output));
    }

    /// <summary>The rows that it speaks of stand in the report; and what says nothing else would stay in the file.</summary>
    [Theory]
    [InlineData("\"kept\": 1800", "\"kept\": 1900")]
    [InlineData("\"kept\": 1800", "\"kept\": 1800, \"kept\": 1800")]
    [InlineData("\"kept\": 1800", "\"kept\":  1800")]
    public void An_altered_manifest_is_refused(string written, string altered)
    {
        string name = $"altered{altered.Length}";
        Copy(shop.Whole, name);
        string path = Path.Combine(shop.Folder, name, "manifest.json"), text = File.ReadAllText(path);
        Assert.Contains(written, text);
        File.WriteAllText(path, text.Replace(written, altered));
        CommandLine.Outcome outcome = CommandLine.Run(["run", .. shop.Arguments(name)]);
        Assert.Equal(1, outcome.ExitCode);
        Assert.StartsWith($"error: {path}: not as bert4rec run wrote it", outcome.Error);
    }

    /// <summary>A checkpoint of the same data and shape, trained at another rate.</summary>
    [Fact]
    public void A_checkpoint_of_another_run_is_not_gone_on_with()
    {
        Assert.Equal(0, CommandLine.Run(["run", .. shop.Arguments("rate", "learning_rate=0.1")]).ExitCode);
        string folder = Path.Combine(shop.Folder, "whole in parts");
        string[] command = ["run", .. shop.Arguments("whole in parts")];
        Assert.Equal(0, CommandLine.Run(command).ExitCode);
        RunManifest begun = RunManifest.Load(folder, null);
        begun.Begin(begun["train"]!);
        string other = Path.Combine(shop.Folder, "rate", "checkpoint.safetensors");
        File.Copy(other, Path.Combine(folder, "checkpoint.safetensors"), overwrite: true);
        byte[] model = File.ReadAllBytes(Path.Combine(folder, "model.safetensors"));
        File.Delete(Path.Combine(folder, "metrics.jsonl"));
        Assert.Equal(0, CommandLine.Run(command).ExitCode);
        Assert.Equal(model, File.ReadAllBytes(Path.Combine(folder, "model.safetensors")));
    }

    private static void AssertSame(string expected, string actual)
    {
        Assert.Equal(Files(expected), Files(actual));
        foreach (string name in Files(expected).Where(name => !s_timed.Contains(Path.GetFileName(name))))
        {
            byte[] first = File.ReadAllBytes(Path.Combine(expected, name)), second = File.ReadAllBytes(Path.Combine(actual, name));
            int at = first.AsSpan().CommonPrefixLength(second);
            Assert.True(
                first.AsSpan().SequenceEqual(second), $"{name} differs from byte {at} on: {Around(first, at)} and {Around(second, at)}");
        }
    }

    /// <summary>Of runs in two folders, whose names stand in their configs.</summary>
    private static void AssertSameModel(string expected, string actual)
    {
        using SafeTensorsFile first = SafeTensors.Read(Path.Combine(expected, "model.safetensors")),
            second = SafeTensors.Read(Path.Combine(actual, "model.safetensors"));
        Assert.NotEmpty(first.Names);
        Assert.All(first.Names, name => Assert.Equal(first.ReadFloats(name), second.ReadFloats(name)));
        Assert.Equal(File.ReadAllBytes(Path.Combine(expected, "items.tsv")), File.ReadAllBytes(Path.Combine(actual, "items.tsv")));
    }

    private static string Around(byte[] content, int at) =>
        Encoding.UTF8.GetString(content.AsSpan(Math.Max(0, at - 40)..Math.Min(content.Length, at + 40)));

    private static string[] Files(string folder) =>
    [
        .. Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories)
            .Select(path => Path.GetRelativePath(folder, path).Replace('\\', '/')).Order(StringComparer.Ordinal),
    ];

    private (string, DateTime)[] Times(string name)
    {
        string folder = Path.Combine(shop.Folder, name);
        return [.. Files(folder).Select(file => (file, File.GetLastWriteTimeUtc(Path.Combine(folder, file))))];
    }

    private void Copy(string from, string name)
    {
        foreach (string file in Files(from))
        {
            string copy = Path.Combine(shop.Folder, name, file);
            Directory.CreateDirectory(Path.GetDirectoryName(copy)!);
            File.Copy(Path.Combine(from, file), copy);
        }
    }

    [GeneratedRegex(" id=\"([^\"]*)\"")]
    private static partial Regex Identifier();
}
