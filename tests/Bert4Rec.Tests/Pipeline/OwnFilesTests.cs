using Bert4Rec.Serialization;
using Bert4Rec.Tests.Cli;
using Bert4Rec.Tests.EventLog;
using Bert4Rec.Tuning;

namespace Bert4Rec.Tests.Pipeline;

/// <summary>What a command writes is never what it reads, and what it removes is its own.</summary>
public sealed class OwnFilesTests : IDisposable
{
    private const string Header = "user_id:token\titem_id:token\ttimestamp:float\n";
    private static readonly string[] _small =
        ["--threads", "1", "--set", "epochs=1", "--set", "objective=next_item", "--set", "hidden_size=8", "--set", "refit=false"];

    private readonly TemporaryFolder _folder = new();

    private string Log => _folder.Write("log.csv", SmallLog.Text([.. Enumerable.Range(0, 40).Select(
        i => SmallLog.Row(time: $"2019-10-0{1 + (i / 10)} 00:00:{i:00} UTC", product: $"{i * i % 7}", user: $"{i % 5}"))]));

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Trials_that_are_somebodys_stay()
    {
        Directory.CreateDirectory(Of("out/trials/000"));
        Directory.CreateDirectory(Of("out/trials/mine"));
        File.WriteAllText(Of("out/trials/000/model.safetensors"), "");
        File.WriteAllText(Of($"out/trials/000/checkpoint.safetensors.{Path.GetRandomFileName()}.tmp"), "left by a run that was killed");
        File.WriteAllText(Of("out/trials/mine/model.safetensors"), "");
        File.WriteAllText(Of("out/trials/notes.txt"), "");

        new TuneFolder(Of("out")).DiscardTrials();

        Assert.False(Directory.Exists(Of("out/trials/000")));
        Assert.True(File.Exists(Of("out/trials/mine/model.safetensors")) && File.Exists(Of("out/trials/notes.txt")));
    }

    [SkippableFact]
    public void An_input_is_not_written_over()
    {
        string log = Log, link = Of("link.csv"), text = File.ReadAllText(log);
        TestFiles.Link(link, log);
        Refused("the output is one of the inputs", "clean", log, "-o", link);
        Refused("the page is one of the inputs", "analyze", log, "--html", log);
        Assert.Equal(text, File.ReadAllText(log));
    }

    /// <summary>What the guard goes by where the system is not asked for a file's number.</summary>
    [SkippableFact]
    public void A_path_is_found_out_behind_links()
    {
        string log = Log, folder = Path.GetDirectoryName(log)!;
        TestFiles.Link(Of("link.csv"), log);
        TestFiles.Link(Of("linked"), folder);
        string resolved = UnixFile.Resolve(log);
        Assert.Equal(resolved, UnixFile.Resolve(Of("link.csv")));
        Assert.Equal(resolved, UnixFile.Resolve(Path.Combine(Of("linked"), "..", Path.GetFileName(Of("linked")), Path.GetFileName(log))));
        Assert.Equal(Path.Combine(UnixFile.Resolve(folder), "none", "x"), UnixFile.Resolve(Path.Combine(Of("linked"), "none", "x")));
    }

    [Fact]
    public void A_log_in_the_folder_of_the_results_is_refused()
    {
        string log = Log;
        Refused("the folder of the log is that of the results", ["run", "--input", _folder.Path, "--output", _folder.Path, .. _small]);
        Refused("the name of a folder of a run's own", ["run", "--input", log, "--output", Of("r"), .. _small, "--set", "dataset=refit"]);
    }

    [Fact]
    public void A_config_is_not_replaced_by_what_was_made_of_it()
    {
        Directory.CreateDirectory(Of("d"));
        File.WriteAllText(Of("d/d.inter"), Interactions("i"));
        string config = _folder.Write("config.yaml", $"data_path: {_folder.Path}\ndataset: d\n");
        Refused("would be written over it", ["train", "--config", config, "--output", _folder.Path, .. _small]);
    }

    [Fact]
    public void A_log_of_which_nothing_is_left_says_why()
    {
        string log = _folder.Write("views.csv", SmallLog.Text(SmallLog.Row(type: "view"), SmallLog.Row(brand: "")));
        Refused(
            "no event is left of 2 rows (other event type 1, no brand 1); event_log.events",
            ["run", "--input", log, "--output", Of("r"), .. _small]);
    }

    /// <summary>data_path and dataset find shop/shop.inter first.</summary>
    [Fact]
    public void Another_file_is_not_taken_for_the_input()
    {
        Directory.CreateDirectory(Of("shop"));
        File.WriteAllText(Of("shop/shop.inter"), Interactions("b"));
        string given = _folder.Write("shop.inter", Interactions("a"));
        Refused("would be read instead", ["run", "--input", given, "--output", Of("r"), .. _small]);
    }

    [Fact]
    public void What_convert_wrote_is_known_again()
    {
        string cleaned = Of("cleaned.csv");
        Assert.Equal(0, CommandLine.Run("clean", Log, "-o", cleaned).ExitCode);
        var convert = CommandLine.Run("convert", cleaned, "--output", Of("shop"), "--name", "s");
        Assert.Contains($"try: bert4rec run --input {Of("shop/s.inter")}", convert.Out);

        var run = CommandLine.Run(["run", "--input", Of("shop/s.inter"), "--output", Of("r"), .. _small]);

        Assert.Equal((0, ""), (run.ExitCode, run.Error));
        Assert.Contains("category_code", File.ReadAllText(Of("r/config.yaml")));

        string config = _folder.Write("a.yaml", "load_col: {inter: [user_id, product_id, event_time], item: [product_id, brand]}\n");
        Assert.Equal(
            0, CommandLine.Run(["run", "--config", config, "--input", Of("shop/s.inter"), "--output", Of("r2"), .. _small]).ExitCode);
        Assert.DoesNotContain("category_code", File.ReadAllText(Of("r2/config.yaml")));
    }

    [Fact]
    public void What_the_files_lack_is_said()
    {
        Directory.CreateDirectory(Of("d"));
        File.WriteAllText(Of("d/d.inter"), Interactions("i"));
        File.WriteAllText(Of("d/d.item"), "item_id:token\tcategory:token\ni1\ta\n");
        var run = CommandLine.Run(["run", "--input", Of("d"), "--output", Of("r"), .. _small]);
        Assert.Contains("warning  ", run.Out);
        Assert.Contains("no row for", run.Out);
    }

    [Fact]
    public void A_training_on_nothing_is_refused()
    {
        Directory.CreateDirectory(Of("d"));
        File.WriteAllText(
            Of("d/d.inter"),
            Header + string.Concat(Enumerable.Range(0, 24).Select(i => $"u{i / 3}\ti{i * i % 5}\t{i}\n")));
        Refused(
            "nothing to train on", "train", "--set", $"data_path={_folder.Path}", "--set", "dataset=d", "--set", "recbole_compatible=true",
            "--set", "epochs=1", "--threads", "1", "--output", Of("r"));
        Refused(
            "eval_args.group_by must be user", "train", "--set", $"data_path={_folder.Path}", "--set", "dataset=d", "--set",
            "eval_args={group_by: ~}", "--threads", "1", "--output", Of("r"));
    }

    [Fact]
    public void A_broken_kernel_that_is_not_checked_is_wrong_usage()
    {
        var check = CommandLine.Run("gradcheck", "--device", "cpu", "--kernel", "gelu", "--break", "layer-norm");
        Assert.Equal(2, check.ExitCode);
        Assert.Contains("--break layer-norm would not be seen", check.Error);
    }

    private static string Interactions(string item) =>
        Header + string.Concat(Enumerable.Range(0, 40).Select(i => $"u{i % 8}\t{item}{i * i % 7}\t{i}\n"));

    private string Of(string name) => Path.Combine(_folder.Path, name);

    private static void Refused(string error, params string[] command)
    {
        var outcome = CommandLine.Run(command);
        Assert.Equal(1, outcome.ExitCode);
        Assert.Contains(error, outcome.Error);
    }
}
