using System.ComponentModel;
using System.Diagnostics;
using System.Net;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json.Nodes;
using Bert4Rec.Tests.Cli;
using Bert4Rec.Tests.Faults;
using Bert4Rec.Tests.Training;
using ILGPU.Runtime.Cuda;
using Xunit.Abstractions;

namespace Bert4Rec.Tests.Tools;

/// <summary>
/// --device cuda, by ILGPU's own way to a CUDA device, where the driver is the stand-in: the library, which is built here and is called
/// libcuda.so.1 and nothing else, the emulator behind it, and the command in a process of its own.
/// </summary>
public sealed class CudaStandInTests(CudaStandIn driver, SmallShop shop, ITestOutputHelper report)
    : IClassFixture<CudaStandIn>, IClassFixture<SmallShop>
{
    /// <summary>Faults to try, and with any the long tests: none by default, else $BERT4REC_STAND_IN_CASES.</summary>
    private static readonly int s_cases =
        int.TryParse(Environment.GetEnvironmentVariable("BERT4REC_STAND_IN_CASES"), out int cases) ? cases : 0;

    [SkippableFact]
    public void The_library_has_all_that_ilgpu_calls()
    {
        string symbols = Encoding.Latin1.GetString(File.ReadAllBytes(driver.Library));
        string[] called =
        [
            .. typeof(CudaAPI).GetMethods(BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic)
                .Select(method => method.Name).Where(name => name.StartsWith("cu", StringComparison.Ordinal)),
        ];
        Assert.InRange(called.Length, 40, 100);
        Assert.All(called, name => Assert.Contains($"\0{name}\0", symbols, StringComparison.Ordinal));
    }

    [SkippableFact]
    public async Task Devices_lists_them_by_way_of_a_library_that_only_the_driver_installs()
    {
        var outcome = await driver.Run("devices=2,capability=86", "devices", "--json");
        Assert.Equal(0, outcome.ExitCode);
        var devices = JsonNode.Parse(outcome.Out)!.AsArray().Where(device => (string)device!["device"]! is "cuda:0" or "cuda:1");
        Assert.Equal(["stand-in 0 8.6", "stand-in 1 8.6"], devices.Select(device => $"{device!["name"]} {device["compute_capability"]}"));
    }

    [SkippableTheory]
    [InlineData("devices=2,capability=75", "cuda:1", "layer-norm")]
    [InlineData("", "cuda", null)]
    [InlineData("capability=90", "cuda", null, "--precision", "tf32")]
    [InlineData("capability=80", "cuda", null, "--precision", "bf16")]
    public async Task Gradcheck_passes(string settings, string device, string? kernel, params string[] more)
    {
        Skip.If(kernel is null && s_cases == 0, "it takes ten seconds; set BERT4REC_STAND_IN_CASES=1");
        string[] one = kernel is null ? [] : ["--kernel", kernel];
        var outcome = await driver.Run(settings, ["gradcheck", "--device", device, .. one, .. more]);
        Assert.Equal(0, outcome.ExitCode);
        Assert.Matches(@"all \d+ checks passed$", outcome.Lines[^1]);
    }

    [SkippableTheory]
    [InlineData("devices=0", "error: cuda: no CUDA device: its library is there, but reports no device. Install")]
    [InlineData("driver=10000", "error: cuda: no CUDA device: its library is there, but reports no device. Install")]
    [InlineData("memory=1000000", "error: cuda:0 (stand-in 0): out of memory: wanted 16,777,216 bytes beside 0; try a smaller")]
    [InlineData("module=1", "error: cuda:0 (stand-in 0): the device refuses a kernel: a PTX JIT compilation failed; try another --device")]
    [InlineData("refuse=2", "error: cuda:0 (stand-in 0): the device failed: too many resources requested for launch; try again")]
    public async Task What_the_driver_refuses_is_a_sentence(string settings, string sentence)
    {
        var outcome = await driver.Run(settings, "gradcheck", "--device", "cuda", "--kernel", "embedding");
        Assert.Equal(1, outcome.ExitCode);
        Assert.StartsWith(sentence, Assert.Single(outcome.Complaints));
    }

    [SkippableTheory]
    [InlineData("alloc=12", "out of memory: wanted ")]
    [InlineData("launch=20", "the device failed: unspecified launch failure; try again")]
    public async Task A_training_that_fails_says_why_and_leaves_nothing_half_written(string settings, string sentence) =>
        Assert.Contains(sentence, await Fail(settings), StringComparison.Ordinal);

    /// <summary>What a server does with an error of its device: out of memory and a launch that was not taken cost one request.</summary>
    [SkippableTheory]
    [InlineData("alloc=8", false)]
    [InlineData("refuse=30", false)]
    [InlineData("launch=30", true)]
    public async Task A_server_goes_on_where_it_can_and_says_where_it_cannot(string settings, bool isLost)
    {
        Skip.If(settings != "launch=30" && s_cases == 0, "one of three by default; set BERT4REC_STAND_IN_CASES=1");
        string model = shop.NewRun();
        Assert.Equal(0, CommandLine.Run([.. Campaign.Train(shop, model, "epochs=1")]).ExitCode);
        using var process = driver.Start(
            settings, "serve", "--model", model, "--device", "cuda", "--urls", "http://127.0.0.1:0", "--drain", "0");
        try
        {
            string line = (await process.StandardError.ReadLineAsync())!;
            Assert.StartsWith("serving ", line, StringComparison.Ordinal);
            using var client = new HttpClient { BaseAddress = new(line.Split(' ')[1]) };
            var answers = new List<HttpStatusCode>();
            // More and more work memory, until the error comes, and then less.
            for (int requests = 1; requests <= 32 && !answers.Contains(HttpStatusCode.InternalServerError); requests++)
                answers.Add(await Recommend(client, requests));
            Assert.Contains(HttpStatusCode.InternalServerError, answers);
            for (int requests = 4; requests > 0; requests--)
                Assert.Equal(isLost ? HttpStatusCode.InternalServerError : HttpStatusCode.OK, await Recommend(client, requests));

            var ready = await client.GetAsync("/healthz/ready");
            Assert.Equal(isLost ? HttpStatusCode.ServiceUnavailable : HttpStatusCode.OK, ready.StatusCode);
            if (isLost)
                Assert.Contains("the device failed", await ready.Content.ReadAsStringAsync(), StringComparison.Ordinal);
            using (var kill = Process.Start("kill", [process.Id.ToString()]))
                await kill.WaitForExitAsync();
            await process.WaitForExitAsync().WaitAsync(TimeSpan.FromSeconds(30));
            const int Terminated = 128 + 15;
            Assert.Equal(Terminated, process.ExitCode);
        }
        finally
        {
            process.Kill();
        }

        static async Task<HttpStatusCode> Recommend(HttpClient client, int count)
        {
            string requests = string.Join(',', Enumerable.Repeat("{\"history\":[\"p1\",\"p2\"],\"k\":5}", count));
            using var content = new StringContent($"{{\"requests\":[{requests}]}}", Encoding.UTF8, "application/json");
            return (await client.PostAsync("/v1/recommend", content)).StatusCode;
        }
    }

    /// <summary>Each may also come too late to do anything.</summary>
    [SkippableFact]
    public async Task A_training_that_fails_anywhere_does_so()
    {
        Skip.If(s_cases == 0, "each takes two seconds; set BERT4REC_STAND_IN_CASES to how many to try");
        var random = new Random(Campaign.Seed);
        string[] failures = new string[s_cases];
        await Parallel.ForEachAsync(Enumerable.Range(0, s_cases), async (i, _) =>
        {
            string settings;
            lock (random)
                settings = (i % 4) switch
                {
                    0 => $"alloc={random.Next(1, 30)}",
                    1 => $"module={random.Next(1, 30)}",
                    2 => $"refuse={random.Next(1, 250)}",
                    _ => $"launch={random.Next(1, 250)}",
                };
            failures[i] = $"{settings}: {await Fail(settings, mayEnd: true)}";
        });
        report.WriteLine($"seed {Campaign.Seed}\n{string.Join('\n', failures)}");
        Assert.Contains(failures, failure => !failure.EndsWith(": ", StringComparison.Ordinal));
    }

    /// <summary>With as many multiprocessors as the emulator says it has, sums have the same parts.</summary>
    [SkippableFact]
    public async Task A_training_has_the_bytes_of_the_emulator()
    {
        Skip.If(s_cases == 0, "it takes ten seconds; set BERT4REC_STAND_IN_CASES=1");
        string[] outputs = [shop.NewRun(), shop.NewRun()];
        foreach (var (device, output) in new[] { "cuda", "ptx" }.Zip(outputs))
        {
            string[] command = [.. Campaign.Train(shop, output, "epochs=2")[..^2], "--device", device];
            var outcome = await driver.Run("multiprocessors=4", command);
            Assert.True(outcome.ExitCode == 0, outcome.Error);
        }
        Assert.Null(Campaign.Difference(Campaign.Files(outputs[0]), outputs[1]));
    }

    /// <summary>Of the customers with most purchases.</summary>
    [SkippableFact]
    public async Task The_sample_has_the_losses_of_the_cpu()
    {
        Skip.If(s_cases == 0, "it takes ten seconds; set BERT4REC_STAND_IN_CASES=1");
        string log = Path.Combine(TestFiles.RepositoryRoot, "data", "sample", "events.csv.gz");
        var losses = new List<double[]>();
        foreach (string device in new[] { "cuda", "cpu" })
        {
            string output = shop.NewRun();
            var outcome = await driver.Run(
                "",
                [
                    "run", "--config", Path.Combine(TestFiles.RepositoryRoot, "configs", "sample.yaml"), "--output", output,
                    "--device", device, .. Campaign.Set(
                        $"event_log.input='{log}'", "user_inter_num_interval='[50,inf)'", "model=BERT4Rec", "hidden_size=16",
                        "inner_size=24", "n_layers=1", "MAX_ITEM_LIST_LENGTH=8", "train_batch_size=64", "epochs=2", "refit=false"),
                ]);
            Assert.True(outcome.ExitCode == 0, outcome.Error);
            string[] epochs = File.ReadAllLines(Path.Combine(output, "metrics.jsonl"));
            losses.Add([.. epochs.Select(line => (double)JsonNode.Parse(line)!["loss"]!)]);
        }
        Assert.Equal(2, losses[1].Length);
        Assert.All(losses[0].Zip(losses[1]), pair => Assert.InRange(pair.First / pair.Second, 1 - 1e-4, 1 + 1e-4));
    }

    /// <summary>Trains with a fault.</summary>
    /// <returns>The sentence; nothing where it came to its end.</returns>
    private async Task<string> Fail(string settings, bool mayEnd = false)
    {
        string output = shop.NewRun();
        var outcome = await driver.Run(settings, [.. Campaign.Train(shop, output, "epochs=1")[..^2], "--device", "cuda"]);
        if (mayEnd && outcome.ExitCode == 0)
            return "";
        Assert.True(outcome.ExitCode == 1, $"{settings}: exit {outcome.ExitCode}: {outcome.Error}");
        string sentence = Assert.Single(outcome.Complaints);
        Assert.StartsWith("error: cuda:0 (stand-in 0): ", sentence, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", outcome.Error, StringComparison.Ordinal);
        if (Directory.Exists(output))
        {
            Assert.Empty(Directory.GetFiles(output, "*.tmp"));
            Assert.False(File.Exists(Path.Combine(output, "result.json")), settings);
        }
        return sentence;
    }
}

/// <summary>The driver, built in a folder of its own, and processes that find it.</summary>
public sealed class CudaStandIn : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly string _library;
    private readonly string? _missing;

    public CudaStandIn()
    {
        _library = Path.Combine(_folder.Path, "libcuda.so.1");
        if (!OperatingSystem.IsLinux() || RuntimeInformation.ProcessArchitecture != Architecture.X64)
        {
            _missing = "the stand-in for NVIDIA's driver is for Linux on x64";
            return;
        }
        string source = Path.Combine(TestFiles.RepositoryRoot, "tools", "Bert4Rec.Tools", "CudaStandIn", "libcuda.c");
        try
        {
            using var compiler = Process.Start("gcc", ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", _library, source]);
            compiler.WaitForExit();
            Assert.Equal(0, compiler.ExitCode);
            // Where NVIDIA's driver is, that would be found by its other name. A link: two files would be two drivers.
            if (NativeLibrary.TryLoad("libcuda.so", out nint driver))
            {
                NativeLibrary.Free(driver);
                File.CreateSymbolicLink(Path.ChangeExtension(_library, null), _library);
            }
        }
        catch (Win32Exception)
        {
            _missing = "there is no gcc to build the stand-in for NVIDIA's driver";
        }
    }

    /// <exception cref="SkipException">It cannot be built here.</exception>
    public string Library
    {
        get
        {
            Skip.If(_missing is not null, _missing);
            return _library;
        }
    }

    /// <summary>Runs the command.</summary>
    /// <param name="settings">Of the driver, as libcuda.c says.</param>
    /// <param name="arguments">Of the command.</param>
    internal async Task<CommandLine.Outcome> Run(string settings, params string[] arguments)
    {
        using var process = Start(settings, arguments);
        return await Campaign.EndWithOutput(process);
    }

    /// <summary>Starts the command.</summary>
    /// <inheritdoc cref="Run"/>
    internal Process Start(string settings, params string[] arguments)
    {
        var start = Campaign.Command(arguments);
        start.Environment["LD_LIBRARY_PATH"] = Path.GetDirectoryName(Library);
        start.Environment["DOTNET_STARTUP_HOOKS"] = typeof(StartupHook).Assembly.Location;
        start.Environment["BERT4REC_STAND_IN"] = settings;
        return Process.Start(start)!;
    }

    public void Dispose() => _folder.Dispose();
}
