using System.Diagnostics;
using Bert4Rec.Cli;
using Bert4Rec.Cli.Output;
using Bert4Rec.Tests.EventLog;
using Bert4Rec.Tests.Inference;

namespace Bert4Rec.Tests.Cli;

/// <summary>Pipes without a writer, and devices without an end, in the place of every file that a command reads.</summary>
public sealed class EndlessInputTests(TrainedShop shop) : IClassFixture<TrainedShop>, IDisposable
{
    private const string NoWriter = "a pipe that nobody writes to; start its writer first, or give a file";
    private const string NoFile = "a pipe or a device; write what it gives to a file, and name that";

    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(2);

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [SkippableFact]
    public async Task A_pipe_that_nobody_writes_to_is_refused()
    {
        string pipe = Pipe("pipe");
        string[][] commands =
        [
            ["train", "--config", pipe, "--output", $"{_folder.Path}/m"],
            ["recommend", "--model", shop.Model, "--histories", pipe],
            ["analyze", pipe],
            ["clean", pipe, "--output", $"{_folder.Path}/c.csv"],
            ["convert", pipe, "--output", $"{_folder.Path}/d", "--name", "d"],
            ["run", "--output", $"{_folder.Path}/r", "--set", $"event_log={{input: [{pipe}]}}"],
        ];
        await Task.WhenAll(commands.Select(command => AssertRefused($"{pipe}: {NoWriter}", command)));
    }

    [SkippableFact]
    public async Task A_dataset_that_is_a_pipe_is_refused()
    {
        string pipe = Pipe("d.inter");
        string[] train =
            ["train", "--set", $"data_path={_folder.Path}", "--set", "dataset=d", "--output", $"{_folder.Path}/m", "--device", "cpu"];
        await AssertRefused($"{pipe}: {NoWriter}", train);
        using FileStream writer = Writer(pipe);
        await AssertRefused($"{pipe}: {NoFile}", train);
    }

    [SkippableFact]
    public async Task A_file_of_a_model_that_is_a_pipe_or_a_device_is_refused()
    {
        string[] names = ["model.safetensors", "users.txt", "items.tsv", "events.safetensors", "config.yaml"];
        await Task.WhenAll(names.Select(async name =>
        {
            string model = shop.Copy(), path = Path.Combine(model, name);
            File.Delete(path);
            Make("mkfifo", path);
            await AssertRefused($"{path}: {NoWriter}", "recommend", "--model", model, "--history", "");
            File.Delete(path);
            File.CreateSymbolicLink(path, "/dev/zero");
            await AssertRefused($"{path}: {NoFile}", "recommend", "--model", model, "--history", "");
        }));
    }

    [SkippableFact]
    public async Task A_manifest_that_is_a_pipe_or_a_device_is_refused()
    {
        string path = Pipe("manifest.json");
        string[] run = ["run", "--output", _folder.Path, "--set", "dataset=shop"];
        await AssertRefused($"{path}: {NoWriter}", run);
        File.Delete(path);
        File.CreateSymbolicLink(path, "/dev/zero");
        await AssertRefused($"{path}: longer than 64 MB: this is not a manifest of bert4rec run", run);
    }

    [SkippableTheory]
    [InlineData("longer than 4 MB: this is not a config", "train", "--config", "/dev/zero", "--output", "/dev/null/m")]
    [InlineData("/dev/zero:1: the line is longer than 16 MB", "recommend", "--model", "MODEL", "--histories", "/dev/zero")]
    [InlineData("/dev/zero: " + NoFile, "analyze", "/dev/zero")]
    public async Task What_never_ends_is_refused(string message, params string[] arguments)
    {
        Skip.If(OperatingSystem.IsWindows(), "no such devices");
        await AssertRefused(message, [.. arguments.Select(each => each.Replace("MODEL", shop.Model))]);
    }

    [SkippableFact]
    public async Task Configs_and_histories_come_through_a_pipe()
    {
        string pipe = Pipe("pipe");
        Task<CommandLine.Outcome> recommending =
            Task.Run(() => CommandLine.Run("recommend", "--model", shop.Model, "--histories", pipe, "-k", "1"));
        await File.WriteAllTextAsync(pipe, "first\tp1\r\np2 p3").WaitAsync(s_patience);
        CommandLine.Outcome outcome = await recommending.WaitAsync(s_patience);
        Assert.Equal((0, ""), (outcome.ExitCode, outcome.Error));
        Assert.Equal(["history", "first", "2"], outcome.Lines.Select(line => line.Split('\t')[0]));

        Task<CommandLine.Outcome> training = Task.Run(() => CommandLine.Run("train", "--config", pipe, "--output", $"{_folder.Path}/m"));
        await File.WriteAllTextAsync(pipe, "epochs: none\n").WaitAsync(s_patience);
        outcome = await training.WaitAsync(s_patience);
        Assert.Contains($"{pipe}:1: epochs", outcome.Error);
    }

    [Fact]
    public void Histories_are_the_lines_up_to_each_LF()
    {
        string path = _folder.Write("histories", "a\tp1\r\n\nb\tp1\rp2\nc\tp2\r");
        CommandLine.Outcome outcome = CommandLine.Run("recommend", "--model", shop.Model, "--histories", path, "-k", "1");
        Assert.Equal(["history", "a", "2", "b", "c"], outcome.Lines.Select(line => line.Split('\t')[0]));
        Assert.Contains("unknown to the model: p1 p2", outcome.Error);
    }

    [Fact]
    public async Task A_history_that_is_too_long_is_refused_with_its_line()
    {
        string path = _folder.Write("histories", "p1\n" + new string('x', (1 << 24) + 1));
        await AssertRefused($"{path}:2: the line is longer than 16 MB", "recommend", "--model", shop.Model, "--histories", path);
    }

    [Fact]
    public void An_analysis_shows_the_beginning_of_a_line_that_is_too_long()
    {
        string path = _folder.Write("a.csv", SmallLog.Text(new string('x', 40 << 20), SmallLog.Row()));
        CommandLine.Outcome outcome = CommandLine.Run("analyze", path, "--max-bad-rows", "1");
        Assert.Equal(0, outcome.ExitCode);
    }

    [SkippableFact]
    public void A_signal_ends_a_process_that_waits_for_a_silent_pipe()
    {
        string pipe = Pipe("pipe");
        using FileStream writer = Writer(pipe);
        using Process process = Start("train", "--config", pipe, "--output", $"{_folder.Path}/m");
        Assert.False(process.WaitForExit(TimeSpan.FromSeconds(3)));
        Make("kill", "-TERM", $"{process.Id}");
        Assert.True(process.WaitForExit(s_patience));
        Assert.Equal(143, process.ExitCode);
    }

    /// <summary>Reading a dataset does not look for the first signal; the second one does not ask it to.</summary>
    [SkippableFact]
    public void The_second_signal_ends_a_process_at_once()
    {
        // More rows than are read before the test is over, none of which stays.
        byte[] rows = SmallLog.Gzip(string.Concat(Enumerable.Repeat("u\ta\t1\n", 1 << 17)));
        _folder.Write(
            "d.inter.gz",
            [
                .. SmallLog.Gzip("user_id:token\titem_id:token\ttimestamp:float\n"),
                .. Enumerable.Repeat(rows, 10_000).SelectMany(each => each),
            ]);
        using Process process = Start(
            "train", "--set", $"data_path={_folder.Path}", "--set", "dataset=d", "--set", "val_interval.timestamp='[2,3]'",
            "--output", $"{_folder.Path}/m", "--device", "cpu");
        AwaitLine("reading d.inter.gz");
        Make("kill", "-TERM", $"{process.Id}");
        AwaitLine("once more stops at once");
        Make("kill", "-TERM", $"{process.Id}");
        Assert.True(process.WaitForExit(s_patience));
        Assert.Equal(143, process.ExitCode);

        void AwaitLine(string part)
        {
            string? line;
            do
                line = process.StandardError.ReadLine();
            while (line?.Contains(part) == false);
            Assert.NotNull(line);
        }
    }

    private static async Task AssertRefused(string message, params string[] arguments)
    {
        CommandLine.Outcome outcome = await Task.Run(() => CommandLine.Run(arguments)).WaitAsync(s_patience);
        Assert.Equal(ExitCodes.Failed, outcome.ExitCode);
        Assert.StartsWith("error: ", outcome.Error);
        Assert.Contains(message, outcome.Error);
        Assert.Single(outcome.Error.TrimEnd().Split('\n'));
    }

    private string Pipe(string name)
    {
        string path = Path.Combine(_folder.Path, name);
        Make("mkfifo", path);
        return path;
    }

    /// <summary>Opened for reading as well, so that it does not wait for a reader.</summary>
    private static FileStream Writer(string pipe) => new(pipe, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, bufferSize: 0);

    private static void Make(string command, params string[] arguments)
    {
        Skip.If(OperatingSystem.IsWindows(), "no named pipes in folders, and no signals");
        using Process process = Process.Start(command, arguments);
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
    }

    private static Process Start(params string[] arguments) => Process.Start(new ProcessStartInfo(
        Environment.ProcessPath!, [typeof(Application).Assembly.Location, .. arguments])
    {
        RedirectStandardOutput = true,
        RedirectStandardError = true,
    })!;
}
