using System.Collections.Concurrent;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json.Nodes;
using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Inference;
using Bert4Rec.Model;
using Bert4Rec.Server;
using Bert4Rec.Tests.Training;
using Bert4Rec.Training;

namespace Bert4Rec.Tests.Server;

/// <summary>A model of random parameters for the <see cref="SmallShop"/>, and a server of it, for the classes of the collection.</summary>
public sealed class ServedShop : IDisposable
{
    private readonly SmallShop _shop = new();
    private readonly RunConfig _config;
    private readonly InteractionDataset _dataset;

    public ServedShop()
    {
        _config = _shop.Config();
        _dataset = DatasetLoader.Load(_config);
        Model = Write(_shop.NewRun(), seed: 1);
        Running = RunningServer.Start(new() { Model = Model }).GetAwaiter().GetResult();
    }

    /// <summary>The model's folder; tests that change it write their own.</summary>
    public string Model { get; }

    internal RunningServer Running { get; }

    public string NewFolder() => _shop.NewRun();

    /// <summary>Writes a model, another one for another seed.</summary>
    public string Write(string directory, ulong seed, params string[] settings)
    {
        Directory.CreateDirectory(directory);
        RunConfig config = _config.With(settings);
        var layout = new ParameterLayout(TrainerSettings.Of(config, _dataset.ItemCount).Shape);
        ModelFolder.SaveData(directory, config, _dataset);
        // Wide enough that the lists of two seeds differ.
        ModelFolder.SaveModel(directory, config, layout, ParameterInitializer.Draw(layout, 0.5, seed));
        return directory;
    }

    public void Dispose()
    {
        Running.DisposeAsync().AsTask().GetAwaiter().GetResult();
        _shop.Dispose();
    }
}

/// <summary>One model and one server for all of them; they run one after the other.</summary>
[CollectionDefinition(Name)]
public sealed class ServerTests : ICollectionFixture<ServedShop>
{
    public const string Name = "server";
}

/// <summary>A server at a free port, a client of it, and what it logged.</summary>
internal sealed class RunningServer : IAsyncDisposable
{
    private readonly RecommendationServer _server;

    private RunningServer(RecommendationServer server, ConcurrentQueue<string> log)
    {
        _server = server;
        Log = log;
        Url = server.Urls.Single();
        Client = new() { BaseAddress = new(Url), Timeout = TimeSpan.FromSeconds(60) };
    }

    public string Url { get; }

    public HttpClient Client { get; }

    /// <summary>Beginning with the line of the start.</summary>
    public ConcurrentQueue<string> Log { get; }

    /// <param name="options">How it serves; where and on what is the same for all tests.</param>
    /// <param name="drain">Milliseconds for which it answers on once it is stopped.</param>
    public static async Task<RunningServer> Start(ServerOptions options, int drain = 500)
    {
        var log = new ConcurrentQueue<string>();
        options = options with
        {
            Urls = ["http://127.0.0.1:0"],
            Device = "cpu",
            Threads = 1,
            Drain = TimeSpan.FromMilliseconds(drain),
            Poll = TimeSpan.FromMilliseconds(20),
        };
        return new(await RecommendationServer.Start(options, log.Enqueue), log);
    }

    /// <summary>Posts a body as it is.</summary>
    public Task<HttpResponseMessage> Post(string path, string body) =>
        Client.PostAsync(path, new StringContent(body, Encoding.UTF8, "application/json"));

    /// <summary>What a path answers, whatever its status.</summary>
    public async Task<JsonNode> Ask(string path, string? body = null)
    {
        using HttpResponseMessage response = await (body is null ? Client.GetAsync(path) : Post(path, body));
        return (await response.Content.ReadFromJsonAsync<JsonNode>())!;
    }

    /// <summary>Waits for a line of the log with a text.</summary>
    public async Task<string> Logged(string text, int times = 1)
    {
        for (int tries = 0; tries < 3000; tries++)
        {
            string[] lines = [.. Log.Where(line => line.Contains(text, StringComparison.Ordinal))];
            if (lines.Length >= times)
                return lines[times - 1];
            await Task.Delay(10);
        }
        throw new TimeoutException($"no {text} in the log: {string.Join('\n', Log)}");
    }

    public Task Stop() => _server.Stop();

    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        await _server.DisposeAsync();
    }
}
