using System.Diagnostics;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Bert4Rec.Cli;
using Bert4Rec.Data.Synthesis;
using Bert4Rec.Serialization;
using Bert4Rec.Tests.Cli;
using Bert4Rec.Tests.Training;

namespace Bert4Rec.Tests.Faults;

/// <summary>What the campaigns of faults share: how long they are, the command as a process, and what "the same result" means.</summary>
internal static class Campaign
{
    private const string Metrics = "metrics.jsonl";

    /// <summary>Damaged folders to try: few by default, $BERT4REC_FAULT_CASES for as many as one has time for.</summary>
    public static int Cases { get; } = int.TryParse(Environment.GetEnvironmentVariable("BERT4REC_FAULT_CASES"), out int cases) ? cases : 40;

    /// <summary>Everything drawn at random in a campaign, of $BERT4REC_FAULT_SEED or another seed each time; failures name it.</summary>
    public static int Seed { get; } =
        int.TryParse(Environment.GetEnvironmentVariable("BERT4REC_FAULT_SEED"), out int seed) ? seed : Random.Shared.Next(1_000_000);

    /// <summary>Whether the commands here are deaf to Ctrl-C: a shell has what it starts in the background ignore it.</summary>
    public static bool IgnoresInterrupt => OperatingSystem.IsLinux()
        && File.ReadLines("/proc/self/status").First(line => line.StartsWith("SigIgn:", StringComparison.Ordinal)) is string line
        && (Convert.ToUInt64(line.Split('\t')[1], 16) & 2) != 0;

    /// <summary>Settings of a model that trains in a moment.</summary>
    public static string[] Settings { get; } = Set(
        "hidden_size=16", "inner_size=24", "n_layers=1", "MAX_ITEM_LIST_LENGTH=8", "train_batch_size=64", "topk=[5,10]", "epochs=6",
        "seed=7");

    /// <summary>A thread, so that two campaigns have a core each.</summary>
    public static string[] Computing { get; } = ["--threads", "1", "--device", "cpu"];

    public static string[] Set(params string[] settings) => [.. settings.SelectMany(setting => new[] { "--set", setting })];

    /// <summary><c>train</c> on a shop's atomic files.</summary>
    public static string[] Train(SmallShop shop, string output, params string[] settings) =>
    [
        "train", "--output", output, .. Set($"data_path={Path.Combine(shop.Folder, "data")}", "dataset=shop"),
        .. Settings, .. Set(settings), .. Computing,
    ];

    /// <summary>What a user types after a run that did not end: it goes on from the checkpoint if there is one.</summary>
    public static string[] Again(string[] command, string output) =>
        command[0] == "train" && File.Exists(Path.Combine(output, "checkpoint.safetensors")) ? Resume(output) : command;

    public static string[] Resume(string output) => ["train", "--resume", output, .. Computing];

    /// <summary><c>tune</c>, within a number of trials.</summary>
    public static string[] Tune(SmallShop shop, string output) =>
        ["tune", .. Train(shop, output)[1..], "--trials", Cases >= 1000 ? "9" : "4"];

    /// <summary><c>run</c> on an event log; it compares both objectives first.</summary>
    public static string[] Run(SmallShop shop, string output) =>
        ["run", "--input", WriteLog(shop), "--output", output, .. Settings, .. Computing];

    /// <summary>Writes an event log and names it.</summary>
    public static string WriteLog(SmallShop shop)
    {
        string folder = Path.Combine(shop.Folder, "log");
        ShopSynthesizer.WriteLog(new() { Users = 200, Items = 50, Interactions = 1200, Seed = 5 }, 2400, folder, "shop");
        return Path.Combine(folder, "shop.csv");
    }

    public static ProcessStartInfo Command(params string[] arguments) =>
        Start("dotnet", [typeof(Application).Assembly.Location, .. arguments]);

    public static ProcessStartInfo Start(string program, params string[] arguments) => new(program, arguments)
    {
        RedirectStandardOutput = true,
        RedirectStandardError = true,
    };

    /// <summary>Runs the command to its end.</summary>
    public static async Task<(int Exit, string Error)> Run(params string[] arguments)
    {
        using var process = Process.Start(Command(arguments))!;
        return await End(process);
    }

    /// <summary>Waits for a process; one that hangs fails the test.</summary>
    public static async Task<(int Exit, string Error)> End(Process process)
    {
        var outcome = await EndWithOutput(process);
        return (outcome.ExitCode, outcome.Error);
    }

    /// <inheritdoc cref="End"/>
    public static async Task<CommandLine.Outcome> EndWithOutput(Process process)
    {
        Task<string> output = process.StandardOutput.ReadToEndAsync(), error = process.StandardError.ReadToEndAsync();
        try
        {
            await process.WaitForExitAsync().WaitAsync(TimeSpan.FromSeconds(120));
        }
        finally
        {
            process.Kill();
        }
        return new(process.ExitCode, await output, await error);
    }

    /// <summary>Every file of a folder by its name; of those that hold times what is left without them.</summary>
    public static SortedDictionary<string, byte[]> Files(string folder)
    {
        var files = new SortedDictionary<string, byte[]>(StringComparer.Ordinal);
        foreach (string path in Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories))
        {
            byte[] content = File.ReadAllBytes(path);
            files[Path.GetRelativePath(folder, path)] = Path.GetFileName(path) switch
            {
                Metrics => WithoutTimes(content),
                TensorBoardWriter.FileName => Encoding.UTF8.GetBytes($"{content.Length} bytes"),
                _ => content,
            };
        }
        return files;
    }

    /// <summary>The first difference of two folders, or null.</summary>
    public static string? Difference(SortedDictionary<string, byte[]> expected, string folder)
    {
        var actual = Files(folder);
        string[] others = [.. expected.Keys.Except(actual.Keys), .. actual.Keys.Except(expected.Keys)];
        if (others.Length > 0)
            return $"only one of both has {string.Join(", ", others)}";
        string? name = expected.Keys.FirstOrDefault(key => !expected[key].AsSpan().SequenceEqual(actual[key]));
        return name is null ? null : $"{name} differs from byte {expected[name].AsSpan().CommonPrefixLength(actual[name])} on";
    }

    public static void Copy(string from, string to)
    {
        foreach (string path in Directory.EnumerateFiles(from, "*", SearchOption.AllDirectories))
        {
            string copy = Path.Combine(to, Path.GetRelativePath(from, path));
            Directory.CreateDirectory(Path.GetDirectoryName(copy)!);
            File.Copy(path, copy);
        }
    }

    /// <summary>Text that is no JSON stays as it is.</summary>
    private static byte[] WithoutTimes(byte[] lines)
    {
        var text = new StringBuilder();
        foreach (string line in Encoding.UTF8.GetString(lines).Split('\n'))
        {
            try
            {
                if (JsonNode.Parse(line) is JsonObject epoch)
                {
                    epoch.Remove("seconds");
                    epoch.Remove("tokens_per_second");
                    text.Append(epoch.ToJsonString()).Append('\n');
                    continue;
                }
            }
            catch (JsonException)
            {
                // Not a line of ours.
            }
            text.Append(line);
        }
        return Encoding.UTF8.GetBytes(text.ToString());
    }
}
