using System.CommandLine;
using Bert4Rec.Cli.Options;
using Bert4Rec.Cli.Output;
using Bert4Rec.Server;

namespace Bert4Rec.Cli.Commands;

/// <summary><c>serve</c>: the model over HTTP, until a signal comes.</summary>
internal static class ServeCommand
{
    private const int LongestSeconds = 3600;

    public static Command Create(Terminal terminal)
    {
        var defaults = new ServerOptions { Model = "" };
        Option<string> model = CommonOptions.Model();
        model.Description = "Folder that train wrote, or a link to one; a changed model takes the old one's place.";
        var urls = new Option<string>("--urls")
        {
            Description = "Where to listen, separated by ';'; http://*:5000 for all addresses of the machine.",
            HelpName = "URLS",
            DefaultValueFactory = _ => ServerOptions.DefaultUrl,
        };
        urls.Validators.Add(result =>
        {
            if (result.Tokens.Any(token => Split(token.Value).Length == 0))
                result.AddError("--urls: no URL.");
            foreach (string? wrong in result.Tokens.SelectMany(token => Split(token.Value)).Select(ServerOptions.CheckUrl))
            {
                if (wrong is not null)
                    result.AddError($"--urls: {wrong}.");
            }
        });
        var keys = new Option<string>("--api-key-file")
        {
            Description = "A file of keys, one a line; requests then need one: Authorization: Bearer KEY.",
            HelpName = "FILE",
        };
        Option<long> maxBody = CommonOptions.Count("--max-body", "Bytes of a request's body.", 1024, defaults.MaxBody);
        Option<int> maxHistory = CommonOptions.Count("--max-history", "Items of a history.", 1, defaults.MaxHistory);
        Option<int> maxK = CommonOptions.Count("--max-k", "Items of an answer.", 1, defaults.MaxK);
        Option<int> maxRequests = CommonOptions.Count("--max-requests", "Requests at once; those beyond get 503.", 1, defaults.MaxRequests);
        Option<int> timeout = CommonOptions.Count(
            "--timeout", "Seconds that a request may take.", 1, (int)defaults.Timeout.TotalSeconds, LongestSeconds);
        Option<int> drain = CommonOptions.Count(
            "--drain", "Seconds of answering on, not ready any more, after a signal.", 0, (int)defaults.Drain.TotalSeconds, LongestSeconds);
        Option<string> device = CommonOptions.Device();
        Option<int> threads = CommonOptions.Threads();
        var command = new Command("serve", "Answers over HTTP: an API, and a page to try it.")
        {
            model, urls, keys, maxBody, maxHistory, maxK, maxRequests, timeout, drain, device, threads,
        };
        command.SetAction(parsed => Serve(
            defaults with
            {
                Model = parsed.GetRequiredValue(model),
                Urls = Split(parsed.GetRequiredValue(urls)),
                ApiKeyFile = parsed.GetValue(keys),
                MaxBody = parsed.GetValue(maxBody),
                MaxHistory = parsed.GetValue(maxHistory),
                MaxK = parsed.GetValue(maxK),
                MaxRequests = parsed.GetValue(maxRequests),
                Timeout = TimeSpan.FromSeconds(parsed.GetValue(timeout)),
                Drain = TimeSpan.FromSeconds(parsed.GetValue(drain)),
                Device = parsed.GetRequiredValue(device),
                Threads = parsed.GetValue(threads),
                OwnsProcess = true,
            },
            terminal));
        return command;
    }

    private static int Serve(ServerOptions options, Terminal terminal)
    {
        using var interruption = new Interruption(terminal, "stopping when all requests are answered");
        TextWriter log = TextWriter.Synchronized(terminal.Error);
        RecommendationServer server = RecommendationServer.Start(options, log.WriteLine).GetAwaiter().GetResult();
        try
        {
            interruption.Token.WaitHandle.WaitOne();
            server.Stop().GetAwaiter().GetResult();
        }
        finally
        {
            server.DisposeAsync().AsTask().GetAwaiter().GetResult();
        }
        return interruption.ExitCode;
    }

    private static string[] Split(string urls) => urls.Split(';', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
}
