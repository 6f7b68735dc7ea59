using System.Diagnostics;
using System.Text.Json.Nodes;
using Bert4Rec.Inference;
using Bert4Rec.Server;

namespace Bert4Rec.Tests.Server;

/// <summary>A changed model takes the old one's place between two requests; what is no whole model does not.</summary>
[Collection(ServerTests.Name)]
public sealed class ModelSwapTests(ServedShop shop)
{
    private const string Body = """{"history": ["p1", "p2"], "k": 40}""";

    public static TheoryData<string> Files => [.. ModelFolder.FileNames];

    /// <summary>The name of each model comes with its own items, whenever it is asked.</summary>
    [SkippableFact]
    public async Task No_request_fails_while_a_link_is_switched()
    {
        Skip.IfNot(OperatingSystem.IsLinux(), "mv -T, which puts one link in the place of another, is GNU's");
        string[] folders = [.. Enumerable.Range(1, 4).Select(seed => shop.Write(shop.NewFolder(), (ulong)seed))];
        var expected = folders.Select(List).ToDictionary(answer => answer.Version, answer => answer.Items);
        Assert.Equal(folders.Length, expected.Values.Distinct().Count());
        string link = shop.NewFolder();
        Directory.CreateSymbolicLink(link, folders[0]);
        await using RunningServer server = await RunningServer.Start(new() { Model = link });
        using var stop = new CancellationTokenSource();
        Task<int>[] asking = [.. Enumerable.Range(0, 4).Select(_ => Task.Run(async () =>
        {
            int answers = 0;
            for (; !stop.IsCancellationRequested; answers++)
            {
                JsonNode answer = await server.Ask("/v1/recommend", Body);
                Assert.Equal(expected[(string)answer["model"]!], Tokens(answer));
            }
            return answers;
        }))];
        for (int i = 1; i < folders.Length; i++)
        {
            string next = shop.NewFolder();
            Directory.CreateSymbolicLink(next, folders[i]);
            using Process mv = Process.Start("mv", ["-T", next, link]);
            await mv.WaitForExitAsync();
            await server.Logged("takes the place of", times: i);
            Assert.Equal(List(folders[i]).Version, await Version(server));
        }
        await stop.CancelAsync();
        Assert.All(await Task.WhenAll(asking), answers => Assert.NotEqual(0, answers));
        Assert.Equal(folders.Length, server.Log.Count);
    }

    [Theory]
    [MemberData(nameof(Files))]
    public async Task A_damaged_model_is_refused_and_the_old_one_goes_on(string name)
    {
        string folder = shop.Write(shop.NewFolder(), seed: 1), path = Path.Combine(folder, name), other = shop.Write(shop.NewFolder(), 2);
        await using RunningServer server = await RunningServer.Start(new() { Model = folder });
        string version = await Version(server);
        byte[] whole = File.ReadAllBytes(path), flipped = [.. whole];
        flipped[whole.Length / 2] ^= 1;
        (int refusals, string? line) = (0, null);
        foreach (byte[]? damaged in (byte[]?[])[whole[..^1], [], flipped, null])
        {
            if (damaged is null)
                File.Delete(path);
            else
                File.WriteAllBytes(path, damaged);
            line = await server.Logged("refused", ++refusals);
            Assert.Contains(damaged is null && name == "model.safetensors" ? folder : path, line);
            Assert.Equal(version, await Version(server));
            Assert.Equal(List(other).Items.Length, Tokens(await server.Ask("/v1/recommend", Body)).Length);
        }
        // The old one again is no new one; nothing is said of it.
        File.WriteAllBytes(path, whole);
        await Task.Delay(200);
        Assert.Equal(1 + refusals, server.Log.Count);
        Copy(other, folder);
        await server.Logged("takes the place of");
        Assert.Equal(List(other).Version, await Version(server));
    }

    /// <summary>File by file, and each in two halves: what is not whole is not tried, or refused; the last byte makes it a model.</summary>
    [Fact]
    public async Task A_model_that_is_copied_slowly_is_taken_when_it_is_whole()
    {
        string folder = shop.Write(shop.NewFolder(), seed: 1), other = shop.Write(shop.NewFolder(), 2);
        await using RunningServer server = await RunningServer.Start(new() { Model = folder });
        string version = await Version(server);
        foreach (string name in ModelFolder.FileNames)
        {
            byte[] whole = File.ReadAllBytes(Path.Combine(other, name));
            await using FileStream copy = Overwrite(Path.Combine(folder, name));
            await copy.WriteAsync(whole.AsMemory(0, whole.Length / 2));
            await copy.FlushAsync();
            await Task.Delay(60);
            Assert.Equal(version, await Version(server));
            await copy.WriteAsync(whole.AsMemory(whole.Length / 2));
        }
        await server.Logged("takes the place of");
        Assert.Equal(List(other).Version, await Version(server));
    }

    [Fact]
    public async Task A_model_whose_training_is_not_done_is_waited_for()
    {
        string folder = shop.Write(shop.NewFolder(), seed: 1), other = shop.Write(shop.NewFolder(), 2);
        await using RunningServer server = await RunningServer.Start(new() { Model = folder });
        File.WriteAllText(Path.Combine(folder, "checkpoint.safetensors"), "");
        Copy(other, folder);
        await server.Logged("waiting: the training in");
        File.WriteAllText(Path.Combine(folder, "result.json"), "{}");
        await server.Logged("takes the place of");
        Assert.Equal(3, server.Log.Count);
    }

    /// <summary>As a tool leaves it that gives all files of a release one time.</summary>
    [Fact]
    public async Task A_model_of_the_same_size_and_time_is_taken_too()
    {
        string folder = shop.Write(shop.NewFolder(), seed: 1), other = shop.Write(shop.NewFolder(), 2);
        foreach (string path in Directory.GetFiles(folder).Concat(Directory.GetFiles(other)))
            File.SetLastWriteTimeUtc(path, DateTime.UnixEpoch);
        string version = List(other).Version;
        await using RunningServer server = await RunningServer.Start(new() { Model = folder });
        Directory.Move(folder, shop.NewFolder());
        Directory.Move(other, folder);
        await server.Logged("takes the place of");
        Assert.Equal(version, await Version(server));
    }

    /// <summary>What a copy under way shows first, or cp without -r leaves.</summary>
    [Fact]
    public async Task A_model_without_its_refit_is_refused()
    {
        string folder = shop.Write(shop.NewFolder(), seed: 1), other = shop.Write(shop.NewFolder(), 2, "refit=true");
        await using RunningServer server = await RunningServer.Start(new() { Model = folder });
        string version = await Version(server);
        Copy(other, folder);
        Assert.Contains($"{Path.Combine(folder, "refit")} is missing", await server.Logged("refused"));
        Assert.Equal(version, await Version(server));
    }

    [Fact]
    public async Task The_old_model_is_closed_when_its_last_request_has_ended()
    {
        string folder = shop.Write(shop.NewFolder(), seed: 1), other = shop.Write(shop.NewFolder(), 2);
        var swapped = new TaskCompletionSource<string>();
        using var host = new ModelHost(
            new() { Model = folder, Device = "cpu", Threads = 1, Poll = TimeSpan.FromMilliseconds(20) }, swapped.SetResult);
        ServedModel first = host.Hold(), second = host.Hold();
        Copy(other, folder);
        Assert.Contains("takes the place of", await swapped.Task.WaitAsync(TimeSpan.FromSeconds(30)));
        using (ServedModel now = host.Hold())
            Assert.Equal(List(other).Version, now.Recommender.ModelVersion);
        first.Dispose();
        var request = new RecommendationRequest { History = ["p1"] };
        Assert.Equal(first.Recommender.ModelVersion, second.Recommender.Recommend(request).ModelVersion);
        second.Dispose();
        Assert.Throws<ObjectDisposedException>(() => second.Recommender.Recommend(request));
        Assert.False(first.TryHold());
    }

    private static (string Version, string Items) List(string folder)
    {
        using var recommender = Recommender.Load(folder, new() { Device = "cpu", Threads = 1 });
        var result = recommender.Recommend(new RecommendationRequest { History = ["p1", "p2"], K = 40 });
        return (result.ModelVersion, string.Join(' ', result.Items.Select(item => item.Token)));
    }

    private static string Tokens(JsonNode answer) => string.Join(' ', answer["items"]!.AsArray().Select(item => (string)item!["item"]!));

    private static async Task<string> Version(RunningServer server) => (string)(await server.Ask("/healthz/ready"))["model"]!;

    private static void Copy(string from, string to)
    {
        foreach (string file in Directory.GetFiles(from))
        {
            using FileStream copy = Overwrite(Path.Combine(to, Path.GetFileName(file)));
            copy.Write(File.ReadAllBytes(file));
        }
    }

    /// <summary>As cp does, which no reader holds up.</summary>
    private static FileStream Overwrite(string path) => new(path, FileMode.Create, FileAccess.Write, FileShare.ReadWrite);
}
