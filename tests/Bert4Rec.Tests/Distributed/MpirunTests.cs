using System.Diagnostics;
using Bert4Rec.Cli;
using Bert4Rec.Configuration;
using Bert4Rec.Tests.Cli;
using Bert4Rec.Tests.Faults;
using Bert4Rec.Tests.Training;
using Xunit.Abstractions;

namespace Bert4Rec.Tests.Distributed;

/// <summary>The command under the mpirun of Open MPI and of MPICH, where they are installed.</summary>
public sealed class MpirunTests(SmallShop shop, ITestOutputHelper report) : IClassFixture<SmallShop>
{
    public const string OpenMpi = "mpirun.openmpi", Mpich = "mpirun.mpich";

    [SkippableTheory]
    [InlineData(OpenMpi)]
    [InlineData(Mpich)]
    public async Task Two_ranks_leave_the_bytes_of_two_threads(string mpirun)
    {
        string alone = shop.NewRun(), ranks = shop.NewRun();
        string[] command = Campaign.Train(shop, ranks, "refit=true");
        using var process = Start(mpirun, 2, command);
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        await EndWell(process);
        SmallShop.Train(RunConfig.Load([], Settings(command)), alone);
        Assert.Null(Campaign.Difference(Campaign.Files(alone), ranks));
        string[] lines = (await output).Split('\n');
        Assert.Single(lines, line => line.StartsWith("device", StringComparison.Ordinal) && line.EndsWith("2 ranks of 1 thread"));
        Assert.Single(lines, line => line.StartsWith("best epoch", StringComparison.Ordinal));
    }

    /// <summary>The input is missing, the command is for one process: rank 0 alone says so, and the job ends with its exit code.</summary>
    [SkippableTheory]
    [InlineData(OpenMpi, 1, "error: ", "train", "--set", "dataset=nowhere", "--set", "data_path=nowhere")]
    [InlineData(
        Mpich, 2, "error: bert4rec devices is for one process, and mpirun started 2; run, train and tune share their work", "devices")]
    public async Task What_cannot_be_done_is_said_once(string mpirun, int exitCode, string sentence, params string[] command)
    {
        using var process = Start(mpirun, 2, command);
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        var (exit, error) = await End(process);
        Assert.Equal(exitCode, exit);
        Assert.Single(error.Split('\n'), line => line.StartsWith(sentence, StringComparison.Ordinal));
        Assert.DoesNotContain("   at ", error);
        Assert.DoesNotMatch("[A-Za-z]{3}|\\x1b", (await output).Split("====")[0]);
    }

    [SkippableTheory]
    [InlineData("OMPI_COMM_WORLD_SIZE", "openmpi-bin")]
    [InlineData("PMI_SIZE", "mpich")]
    public async Task Without_the_launchers_library_a_sentence_names_its_package(string variable, string package)
    {
        Skip.If(OperatingSystem.IsWindows(), "there is no such package");
        // Where the library is installed it takes the process for the only one, as that of another MPI does.
        var start = Campaign.Command("devices");
        start.Environment[variable] = "2";
        using var process = Process.Start(start)!;
        var (exit, error) = await Campaign.End(process);
        Assert.Equal(1, exit);
        Assert.Contains("error: ", error);
        Assert.Contains($"(Debian: apt-get install {package}", error);
    }

    /// <summary>
    /// Any rank, the first one too, at a random moment: the job ends, and the command again ends with an unbroken one's bytes.
    /// </summary>
    [SkippableTheory]
    [InlineData(OpenMpi)]
    [InlineData(Mpich)]
    public async Task A_killed_rank_ends_the_job_and_it_goes_on(string mpirun)
    {
        int kills = Campaign.Cases / 100;
        Skip.If(kills == 0, "BERT4REC_FAULT_CASES=1000 kills ten");
        string whole = shop.NewRun(), broken = shop.NewRun();
        string[] more = ["epochs=100"];
        var clock = Stopwatch.StartNew();
        using (var process = Start(mpirun, 2, Campaign.Train(shop, whole, more)))
            await EndWell(process);
        double seconds = clock.Elapsed.TotalSeconds, slowest = 0;
        var expected = Campaign.Files(whole);
        var random = new Random(Campaign.Seed);
        string[] command = Campaign.Train(shop, broken, more);
        int killed = 0, resumed = 0;
        for (bool ended = false; !ended;)
        {
            string[] now = Campaign.Again(command, broken);
            resumed += now == command ? 0 : 1;
            using var process = Start(mpirun, 2, now);
            Task<string> output = process.StandardOutput.ReadToEndAsync();
            bool kill = killed < kills;
            if (kill)
            {
                await Task.Delay(TimeSpan.FromSeconds(0.1 + (seconds * random.NextDouble() * 0.9)));
                Process[] ranks = Ranks(process);
                kill = ranks.Length > 0 && !process.HasExited;
                if (kill)
                    ranks[random.Next(ranks.Length)].Kill();
                killed += kill ? 1 : 0;
            }
            clock.Restart();
            var (exit, error) = await End(process);
            if (kill)
                slowest = Math.Max(slowest, clock.Elapsed.TotalSeconds);
            string what = $"seed {Campaign.Seed}, kill {killed}: exit {exit}: {error}";
            Assert.True(exit == 0 || kill, what);
            Assert.True(!kill || slowest < 20, what);
            // MPICH's mpirun has its sentence on standard output.
            Assert.True(exit == 0 || error.Length > 0 || (await output).Contains("Killed (signal 9)"), what);
            ended = exit == 0 && killed == kills;
            if (exit == 0)
            {
                Assert.Null(Campaign.Difference(expected, broken));
                if (!ended)
                    Directory.Delete(broken, recursive: true);
            }
        }
        report.WriteLine(
            $"{mpirun}: {killed} ranks killed, {resumed} runs went on from a checkpoint, the same bytes in the end; a killed job "
            + $"took {slowest:F1} s at most to end (seed {Campaign.Seed})");
    }

    private static string[] Settings(string[] command) =>
        [.. command.Zip(command.Skip(1)).Where(pair => pair.First == "--set").Select(pair => pair.Second)];

    private static Process Start(string mpirun, int ranks, params string[] command)
    {
        string[] folders = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator);
        Skip.If(!folders.Any(folder => File.Exists(Path.Combine(folder, mpirun))), $"there is no {mpirun}");
        string[] options = mpirun == OpenMpi ? ["--allow-run-as-root", "--oversubscribe"] : [];
        return Process.Start(Campaign.Start(
            mpirun, [.. options, "-n", $"{ranks}", "dotnet", typeof(Application).Assembly.Location, .. command]))!;
    }

    /// <summary>As <see cref="Campaign.End"/>, but for the output, which is the caller's.</summary>
    /// <summary>A busy machine shows progress.</summary>
    private static async Task EndWell(Process process)
    {
        var (exit, error) = await End(process);
        Assert.True(exit == 0 && new CommandLine.Outcome(exit, "", error).Complaints.Length == 0, error);
    }

    private static async Task<(int Exit, string Error)> End(Process process)
    {
        Task<string> error = process.StandardError.ReadToEndAsync();
        await process.WaitForExitAsync().WaitAsync(TimeSpan.FromSeconds(60));
        return (process.ExitCode, await error);
    }

    /// <summary>The command's processes below mpirun, whose helpers may stand between.</summary>
    private static Process[] Ranks(Process process) =>
    [
        .. from status in Directory.EnumerateDirectories("/proc").Select(folder => Path.GetFileName(folder))
           where int.TryParse(status, out int id) && IsBelow(id, process.Id) && IsRank(id)
           select Process.GetProcessById(int.Parse(status)),
    ];

    private static bool IsRank(int id) => Read(id, "cmdline").StartsWith("dotnet\0", StringComparison.Ordinal);

    private static bool IsBelow(int id, int ancestor)
    {
        while (id > 1 && id != ancestor)
        {
            // "4711 (a name) S PARENT …"
            string stat = Read(id, "stat");
            id = stat.Length == 0 ? 0 : int.Parse(stat[(stat.LastIndexOf(')') + 1)..].Split(' ')[2]);
        }
        return id == ancestor;
    }

    private static string Read(int id, string name)
    {
        try
        {
            return File.ReadAllText($"/proc/{id}/{name}");
        }
        catch (IOException)
        {
            return "";
        }
    }
}
