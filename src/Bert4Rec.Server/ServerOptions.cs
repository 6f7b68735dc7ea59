using System.Net;

namespace Bert4Rec.Server;

/// <summary>What is served, where, and within which limits.</summary>
internal sealed record ServerOptions
{
    public const string DefaultUrl = "http://127.0.0.1:5000";

    /// <summary>Folder that train wrote, or a link to one, which is looked at again and again.</summary>
    public required string Model { get; init; }

    /// <summary>Addresses to listen at, as <see cref="CheckUrl"/> takes them.</summary>
    public IReadOnlyList<string> Urls { get; init; } = [DefaultUrl];

    public string Device { get; init; } = "auto";

    /// <summary>Threads of the cpu that rank at the same time; 0 for one a core.</summary>
    public int Threads { get; init; }

    /// <summary>A file of keys, one a line, of which every request must show one; null for none.</summary>
    public string? ApiKeyFile { get; init; }

    /// <summary>Bytes of a request's body.</summary>
    public long MaxBody { get; init; } = 256 << 10;

    /// <summary>Items of a request's history.</summary>
    public int MaxHistory { get; init; } = 1000;

    /// <summary>Items that a request may ask for.</summary>
    public int MaxK { get; init; } = 1000;

    /// <summary>Requests that are computed or wait for it, each of a list counted.</summary>
    public int MaxRequests { get; init; } = 256;

    /// <summary>Connections that are open at once; further ones are closed.</summary>
    public int MaxConnections => Math.Max(1024, 4 * MaxRequests);

    /// <summary>What a request may take, its body's arrival and its wait included.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>How long requests are still taken after readiness is withdrawn.</summary>
    public TimeSpan Drain { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>How often the model's folder is looked at.</summary>
    public TimeSpan Poll { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>Whether the process is the server's alone, so that its heaps may be kept small.</summary>
    public bool OwnsProcess { get; init; }

    /// <summary>What is wrong with an address; null for nothing.</summary>
    public static string? CheckUrl(string url)
    {
        // A name would be taken for all addresses of the machine.
        bool isWhole = Uri.TryCreate(url.Replace("//*", "//[::]").Replace("//+", "//[::]"), UriKind.Absolute, out Uri? uri)
            && uri.Scheme == Uri.UriSchemeHttp && uri.PathAndQuery == "/" && uri.UserInfo.Length == 0 && uri.Fragment.Length == 0
            && (uri.Host == "localhost" || IPAddress.TryParse(uri.Host.Trim('[', ']'), out _));
        if (!isWhole)
            return $"'{url}' is not of the form http://ADDRESS:PORT, with an IP address, localhost, or * for all addresses";
        return uri!.Host == "localhost" && uri.Port == 0 ? $"'{url}': give port 0 with 127.0.0.1" : null;
    }
}
