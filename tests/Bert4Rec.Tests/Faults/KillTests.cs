using System.Diagnostics;
using Bert4Rec.Inference;
using Bert4Rec.Serialization;
using Bert4Rec.Tests.Training;
using Xunit.Abstractions;

namespace Bert4Rec.Tests.Faults;

/// <summary>SIGKILL at random moments of every command that writes, and the command again: it ends with an unbroken run's bytes.</summary>
public abstract class KillTests : IDisposable
{
    private readonly ITestOutputHelper _report;

    protected KillTests(ITestOutputHelper report) => _report = report;

    internal SmallShop Shop { get; } = new();

    /// <summary>Where the commands write; the name is in the config of some.</summary>
    protected string Output => Path.Combine(Shop.Folder, "out");

    public void Dispose()
    {
        Shop.Dispose();
        GC.SuppressFinalize(this);
    }

    /// <param name="kills">How many.</param>
    /// <param name="old">Files that lie in the folder before: a killed command leaves each as it was, or whole and new.</param>
    /// <param name="command">The command; it writes into <see cref="Output"/>.</param>
    protected async Task Kill(int kills, string[] old, params string[] command)
    {
        Skip.If(OperatingSystem.IsWindows(), "the library is promised to survive SIGKILL");
        Begin(old);
        var clock = Stopwatch.StartNew();
        Assert.Equal((0, ""), await Campaign.Run(command));
        double seconds = clock.Elapsed.TotalSeconds;
        var whole = Campaign.Files(Output);
        var random = new Random(Campaign.Seed);
        int killed = 0, unbroken = 0, runs = 0;
        while (killed < kills)
        {
            Begin(old);
            for (bool ended = false; !ended;)
            {
                string[] now = runs++ == 0 ? command : Campaign.Again(command, Output);
                using var process = Process.Start(Campaign.Command(now))!;
                // A chain of runs ends with an unbroken one, some after several kills.
                if (killed < kills && random.Next(4) > 0)
                {
                    await Task.Delay(TimeSpan.FromSeconds(seconds * random.NextDouble()));
                    process.Kill();
                }
                (int exit, string error) = await Campaign.End(process);
                Assert.True(exit is 0 or 137, $"seed {Campaign.Seed}, kill {killed}: exit status {exit}: {error}");
                ended = exit == 0;
                if (ended)
                {
                    string? difference = Campaign.Difference(whole, Output);
                    Assert.True(difference is null, $"seed {Campaign.Seed}, kill {killed}: {difference}");
                    unbroken++;
                }
                else
                {
                    killed++;
                    foreach (string name in old)
                    {
                        ReadOnlySpan<byte> left = File.ReadAllBytes(Path.Combine(Output, name));
                        bool isWhole = left.SequenceEqual("old"u8) || left.SequenceEqual(whole[name]);
                        Assert.True(isWhole, $"seed {Campaign.Seed}, kill {killed}: {name} is a part");
                    }
                }
            }
        }
        _report.WriteLine($"{command[0]}: {killed} kills; {unbroken} runs to the end, all with the same bytes (seed {Campaign.Seed})");
    }

    private void Begin(string[] old)
    {
        if (Directory.Exists(Output))
            Directory.Delete(Output, recursive: true);
        if (old.Length == 0)
            return;
        Directory.CreateDirectory(Output);
        foreach (string name in old)
            File.WriteAllText(Path.Combine(Output, name), "old");
    }
}

public sealed class KilledTrainingTests(ITestOutputHelper report) : KillTests(report)
{
    private static readonly int s_kills = Campaign.Cases < 100 ? 1 : Campaign.Cases / 20;

    [SkippableFact]
    public Task Train() => Kill(s_kills, [], Campaign.Train(Shop, Output, "refit=true"));

    [SkippableFact]
    public Task Run() => Kill(s_kills, [], Campaign.Run(Shop, Output));

    [SkippableFact]
    public Task Tune() => Kill(Math.Max(1, s_kills / 2), [], Campaign.Tune(Shop, Output));
}

public sealed class KilledUpdateTests(ITestOutputHelper report) : IDisposable
{
    private static readonly int s_kills = Math.Max(2, Campaign.Cases / 40);
    private readonly SmallShop _shop = new();

    public void Dispose() => _shop.Dispose();

    /// <summary>A killed update leaves the old model or the new one; done again, it ends with an unbroken one's bytes.</summary>
    [SkippableFact]
    public async Task Update()
    {
        Skip.If(OperatingSystem.IsWindows(), "the library is promised to survive SIGKILL");
        string trained = Path.Combine(_shop.Folder, "trained"), output = Path.Combine(_shop.Folder, "out");
        string later = Path.Combine(_shop.Folder, "later.inter");
        File.WriteAllText(
            later,
            "user_id:token\titem_id:token\ttimestamp:float\nu1\tadded\t1999999999\nnobody\tadded\t1999999998\nnobody\tother\t1999999999\n");
        Assert.Equal((0, ""), await Campaign.Run(Campaign.Train(_shop, trained, "refit=true")));
        File.WriteAllText(Path.Combine(trained, "report.html"), "a report");
        string[] update = ["update", "--model", output, "--input", later, "--threads", "1"];
        Begin();
        var clock = Stopwatch.StartNew();
        Assert.Equal((0, ""), await Campaign.Run(update));
        double seconds = clock.Elapsed.TotalSeconds;
        var whole = Campaign.Files(output);
        string old = Sha256.OfFile(Path.Combine(trained, "model.safetensors"));
        var random = new Random(Campaign.Seed);
        for (int kill = 0; kill < s_kills; kill++)
        {
            Begin();
            using (var process = Process.Start(Campaign.Command(update))!)
            {
                await Task.Delay(TimeSpan.FromSeconds(seconds * random.NextDouble()));
                process.Kill();
                await Campaign.End(process);
            }
            Assert.NotNull(RefitFolder.LoadDelivered(output, out _));
            bool isOld = Sha256.OfFile(Path.Combine(output, "model.safetensors")) == old;
            var (exit, error) = await Campaign.Run(update);
            // Between the exchange of the folders and the end, what the old one has besides moves along: the next command ends that, and
            // refuses events that the model has.
            Assert.True(
                isOld ? (exit, error) == (0, "") : exit == 1 && error.Contains("before"),
                $"seed {Campaign.Seed}, kill {kill}: {error}");
            string? difference = Campaign.Difference(whole, output);
            Assert.True(difference is null, $"seed {Campaign.Seed}, kill {kill}: {difference}");
        }
        report.WriteLine($"update: {s_kills} kills, the old model or the new one after each (seed {Campaign.Seed})");

        void Begin()
        {
            foreach (string folder in new[] { output, output + ".update" }.Where(Directory.Exists))
                Directory.Delete(folder, recursive: true);
            Directory.CreateDirectory(Path.Combine(output, RefitFolder.Name));
            foreach (string file in Directory.EnumerateFiles(trained, "*", SearchOption.AllDirectories))
                File.Copy(file, Path.Combine(output, Path.GetRelativePath(trained, file)));
        }
    }
}

public sealed class KilledPreparationTests(ITestOutputHelper report) : KillTests(report)
{
    private static readonly int s_kills = Math.Max(1, Campaign.Cases / 40);

    [SkippableFact]
    public Task Clean() =>
        Kill(s_kills, ["c.csv"], "clean", Campaign.WriteLog(Shop), "--output", Path.Combine(Output, "c.csv"), "--threads", "1");

    [SkippableFact]
    public async Task Convert()
    {
        string cleaned = Path.Combine(Shop.Folder, "cleaned.csv");
        Assert.Equal((0, ""), await Campaign.Run("clean", Campaign.WriteLog(Shop), "--output", cleaned));
        await Kill(s_kills, ["d.inter", "d.user", "d.item"], "convert", cleaned, "--output", Output, "--name", "d", "--threads", "1");
    }

    [SkippableFact]
    public Task Analyze() =>
        Kill(s_kills, ["a.html"], "analyze", Campaign.WriteLog(Shop), "--html", Path.Combine(Output, "a.html"), "--threads", "1");

    [SkippableFact]
    public Task Synthesize()
    {
        string[] size = ["--users", "2000", "--items", "300", "--interactions", "20000"];
        return Kill(s_kills, ["s.inter"], ["synthesize", .. size, "--output", Output, "--name", "s"]);
    }
}
