using System.Diagnostics;
using System.Runtime.Intrinsics;
using System.Text.Json;

namespace Bert4Rec.Tests.Cli;

public class UsageTests
{
    [Theory]
    [InlineData("", "Required command was not provided")]
    [InlineData("trian", "'trian' was not matched. Did you mean")]
    [InlineData("train", "give a --config FILE")]
    [InlineData("train --config a.yaml --device gpu", "'gpu' is not a device")]
    [InlineData("train --config a.yaml --threads 0", "--threads must be a whole number from 1 to 1024, not '0'")]
    [InlineData("train --config a.yaml --threads -1", "--threads must be a whole number from 1 to 1024, not '-1'")]
    [InlineData("analyze a.csv --threads 32767", "--threads must be a whole number from 1 to 1024, not '32767'")]
    [InlineData("train --config a.yaml --threads many", "--threads must be a whole number from 1 to 1024, not 'many'")]
    [InlineData("train --config a.yaml --seed x", "--seed must be a whole number from 0 to 2147483647, not 'x'")]
    [InlineData("train --config a.yaml --threads", "argument missing for option: '--threads'")]
    [InlineData("train --config a.yaml --device", "argument missing for option: '--device'")]
    [InlineData("train --config a.yaml --precision tf32 --device", "argument missing for option: '--device'")]
    [InlineData("train --config a.yaml --device cpu --device cpu", "'--device' expects a single argument but 2 were provided")]
    [InlineData("convert a.csv -o a --name a --min-length 5 --max-length", "argument missing for option: '--max-length'")]
    [InlineData("convert a.csv -o a --name a --min-length x", "--min-length must be a whole number from 1 to 2147483647, not 'x'")]
    [InlineData("convert a.csv -o a --name a --min-length 5 --max-length 4", "--min-length is greater than --max-length")]
    [InlineData("synthesize -o a --rows 5 --format", "argument missing for option: '--format'")]
    [InlineData("synthesize -o a --format csv --rows x", "--rows must be a whole number from 1 to 9223372036854775807, not 'x'")]
    [InlineData("train --config a.yaml --set epochs", "'epochs' after --set is not of the form key=value")]
    [InlineData("train --config a.yaml --set =3", "'=3' after --set is not of the form key=value")]
    [InlineData("train --config a.yaml --epochs 3", "'--epochs'")]
    [InlineData("train --resume a --config a.yaml", "leave --config and --output out")]
    [InlineData("train --resume a --output b", "leave --config and --output out")]
    [InlineData("train --config a.yaml --precision half", "'half' is not a precision; fp32, tf32 and bf16 are")]
    [InlineData("train --config a.yaml --device cpu --precision tf32", "cpu: precision tf32 needs a CUDA device")]
    [InlineData("gradcheck --kernel", "argument missing for option: '--kernel'")]
    [InlineData("gradcheck --break", "argument missing for option: '--break'")]
    [InlineData("gradcheck --kernel gelu --kernel linear", "'--kernel' expects a single argument")]
    [InlineData("gradcheck --break gelu --break linear", "'--break' expects a single argument")]
    [InlineData("gradcheck --precision tf32 --device opencl:1", "opencl:1: precision tf32 needs a CUDA device")]
    [InlineData("train --config a.yaml --precision bf16 --device ilgpu-cpu", "ilgpu-cpu: precision bf16 needs a CUDA device")]
    [InlineData("tune", "give a --config FILE")]
    [InlineData("tune --config a.yaml --budget 30", "--budget must be a time like 90s, 30m or 1.5h, not '30'")]
    [InlineData("tune --config a.yaml --budget 0m", "--budget must be a time like 90s, 30m or 1.5h, not '0m'")]
    [InlineData("tune --config a.yaml --trials 0", "--trials must be a whole number from 1 to 1000, not '0'")]
    [InlineData("tune --config a.yaml --trials 9 --budget 30m", "give one of them")]
    [InlineData("run --config a.yaml --tune soon", "or a number of trials from 1 to 1000, not 'soon'")]
    [InlineData("run --config a.yaml --space b.yaml", "--space is for --tune")]
    [InlineData("evaluate", "MODEL_DIR")]
    [InlineData("evaluate a --split train", "'train'")]
    [InlineData("recommend --history x", "'--model' is required")]
    [InlineData("recommend --model a", "Give one of --history, --user and --histories")]
    [InlineData("recommend --model a --user u --history x", "Give one of --history, --user and --histories")]
    [InlineData("recommend --model a --user u -k 0", "-k must be a whole number from 1 to 2147483647, not '0'")]
    [InlineData("synthesize", "'--output' is required")]
    [InlineData("synthesize --output a --users -1", "--users must be a whole number from 1 to 2147483647, not '-1'")]
    [InlineData("synthesize --output a --name a/b", "not allowed in a file name")]
    [InlineData("convert a.csv -o a --name nul.a", "--name: 'nul.a' is not allowed in a file name on every system")]
    [InlineData("convert a.csv -o a --name c:x", "--name: 'c:x' is not allowed in a file name on every system")]
    [InlineData("convert a.csv -o a --name x.", "--name: 'x.' is not allowed in a file name on every system")]
    [InlineData("synthesize --output a --rows 5", "--rows is for --format csv")]
    [InlineData("synthesize --output a --format xml", "'xml'")]
    public void Wrong_usage_says_what_is_wrong_and_exits_with_2(string args, string expected)
    {
        CommandLine.Outcome outcome = CommandLine.Run(args.Split(' ', StringSplitOptions.RemoveEmptyEntries));

        Assert.Equal(2, outcome.ExitCode);
        Assert.Contains(expected, outcome.Error);
        Assert.True(args.Length == 0 || !outcome.Error.Contains("\n\n"), "blank lines");
        Assert.Empty(outcome.Out);
    }

    [Theory]
    [InlineData("--output", "train", "--set", "dataset=a", "-o", "")]
    [InlineData("--output", "run", "--set", "dataset=a", "-o", "")]
    [InlineData("--output", "clean", "a.csv", "-o", "")]
    [InlineData("--output", "synthesize", "-o", "")]
    [InlineData("--name", "convert", "a.csv", "-o", "a", "--name", "")]
    [InlineData("--config", "train", "--config", "")]
    [InlineData("--input", "run", "-i", "")]
    [InlineData("--model", "recommend", "-m", "", "--history", "")]
    [InlineData("--html", "analyze", "a.csv", "--html", "")]
    [InlineData("MODEL_DIR", "evaluate", "")]
    [InlineData("INPUT", "analyze", "")]
    public void An_empty_path_or_name_is_wrong_usage(string option, params string[] args)
    {
        CommandLine.Outcome outcome = CommandLine.Run(args);

        Assert.Equal(2, outcome.ExitCode);
        Assert.StartsWith($"{option} must not be empty.\n", outcome.Error);
    }

    /// <summary>Read by a recursive parser, each of these ended the process, or filled its memory.</summary>
    [Fact]
    public void Yaml_without_bounds_is_wrong_usage_at_once()
    {
        using var folder = new TemporaryFolder();
        const int Depth = 100_000;
        string lists = new string('[', Depth) + new string(']', Depth), sequences = string.Concat(Enumerable.Repeat("- ", Depth)) + "x";
        string bomb = "a0: &a0 x\n" + string.Concat(Enumerable.Range(1, 8).Select(i =>
            $"a{i}: &a{i} [{string.Join(", ", Enumerable.Repeat($"*a{i - 1}", 9))}]\n"));
        string file = folder.Write("a.yaml", $"epochs: 1\ntopk: {lists}\n");
        Refuses($"{file}:2: lists and mappings are nested more than 32 deep", "train", "--config", file);
        file = folder.Write("b.yaml", sequences);
        Refuses($"{file}:1: lists and mappings are nested more than 32 deep", "train", "--config", file);
        file = folder.Write("c.yaml", bomb);
        Refuses($"{file}:6: the aliases up to here stand for more than 100000 nodes", "train", "--config", file);
        Refuses("…: lists and mappings are nested more than 32 deep", "train", "--set", $"topk={lists}");
        Refuses($"…: a key has at most 32 parts, not {Depth}", "train", "--set", $"{string.Join('.', Enumerable.Repeat("a", Depth))}=1");

        static void Refuses(string message, params string[] args)
        {
            var clock = Stopwatch.StartNew();
            CommandLine.Outcome outcome = CommandLine.Run(args);
            Assert.Equal(2, outcome.ExitCode);
            Assert.Contains(message, outcome.Error);
            Assert.InRange(outcome.Error.Length, 1, 1000);
            Assert.InRange(clock.Elapsed.TotalSeconds, 0, 20);
        }
    }

    [Theory]
    [InlineData("cuda:99", "CUDA|there are")]
    [InlineData("opencl:99", "OpenCL|there are")]
    public void A_device_that_is_not_there_is_one_line_and_1(string device, string says)
    {
        CommandLine.Outcome outcome = CommandLine.Run("gradcheck", "--device", device);

        Assert.Equal(1, outcome.ExitCode);
        Assert.Matches($"^error: {device}: .*({says}).*\n$", outcome.Error);
        Assert.Empty(outcome.Out);
    }

    [Theory]
    [InlineData("train", "--config", "no-such.yaml")]
    [InlineData("evaluate", "no-such-model")]
    [InlineData("recommend", "--model", "no-such-model", "--history", "a b")]
    [InlineData("train", "--resume", "no-such-run")]
    public void A_missing_file_is_one_line_and_1(params string[] args)
    {
        CommandLine.Outcome outcome = CommandLine.Run(args);

        Assert.Equal(1, outcome.ExitCode);
        Assert.Matches("^error: .*no-such.*\n$", outcome.Error);
        Assert.Empty(outcome.Out);
    }

    [Theory]
    [InlineData("--help")]
    [InlineData("train", "--help")]
    [InlineData("recommend", "-h")]
    [InlineData("--version")]
    public void Help_and_version_go_to_standard_output(params string[] args)
    {
        CommandLine.Outcome outcome = CommandLine.Run(args);

        Assert.Equal(0, outcome.ExitCode);
        Assert.NotEmpty(outcome.Out);
        Assert.Empty(outcome.Error);
    }

    [Fact]
    public void Devices_lists_the_cpu()
    {
        int bits = Vector512.IsHardwareAccelerated ? 512 : Vector256.IsHardwareAccelerated ? 256 : 128;

        string table = CommandLine.Run("devices").Out;
        JsonElement cpu = JsonDocument.Parse(CommandLine.Run("devices", "--json").Out).RootElement[0];

        Assert.Matches($"cpu +.+ {bits}-bit vectors, {Environment.ProcessorCount} threads", table);
        Assert.Equal("cpu", cpu.GetProperty("device").GetString());
        Assert.Equal(bits, cpu.GetProperty("vector_bits").GetInt32());
        Assert.Equal(Environment.ProcessorCount, cpu.GetProperty("threads").GetInt32());
        Assert.NotEmpty(cpu.GetProperty("name").GetString()!);
    }
}
