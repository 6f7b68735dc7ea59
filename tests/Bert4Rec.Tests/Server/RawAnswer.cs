using System.Net.Sockets;
using System.Text;

namespace Bert4Rec.Tests.Server;

/// <summary>An answer to bytes that a client of HTTP would not send.</summary>
internal sealed record RawAnswer(int Status, string Head, string Body)
{
    /// <summary>Sends bytes, after some of them with a pause, and reads the answer.</summary>
    public static async Task<RawAnswer> To(string url, ReadOnlyMemory<byte> request, int pauseAt = 0, TimeSpan pause = default)
    {
        using var client = new TcpClient();
        var address = new Uri(url);
        await client.ConnectAsync(address.Host, address.Port);
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        NetworkStream stream = client.GetStream();
        Task<string> reading = Read(stream, limit.Token);
        try
        {
            await stream.WriteAsync(request[..pauseAt], limit.Token);
            await Task.Delay(pause, limit.Token);
            await stream.WriteAsync(request[pauseAt..], limit.Token);
        }
        catch (IOException)
        {
            // It has answered, and does not wait for the rest.
        }
        string[] parts = (await reading).Split("\r\n\r\n", 2);
        return new(parts[0].StartsWith("HTTP/1.1 ", StringComparison.Ordinal) ? int.Parse(parts[0][9..12]) : 0, parts[0], parts[^1]);
    }

    /// <summary>Reads one answer, whole or as far as it comes.</summary>
    private static async Task<string> Read(NetworkStream stream, CancellationToken cancellation)
    {
        using var answer = new MemoryStream();
        byte[] buffer = new byte[4096];
        string text = "";
        try
        {
            for (string end = "\r\n0\r\n\r\n"; !text.EndsWith(end, StringComparison.Ordinal);)
            {
                int read = await stream.ReadAsync(buffer, cancellation);
                if (read == 0)
                    break;
                answer.Write(buffer, 0, read);
                text = Encoding.UTF8.GetString(answer.ToArray());
                // Without a body the head is all there is; of others, the last chunk ends it.
                if (text.Contains("Content-Length: 0\r\n", StringComparison.Ordinal))
                    end = "\r\n\r\n";
            }
        }
        catch (IOException)
        {
            // It was cut off.
        }
        return text;
    }
}
