using System.Diagnostics;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Xunit.Abstractions;

namespace Bert4Rec.Tests.Server;

/// <summary>Requests that nobody should send: each gets a 4xx with a reason, none troubles the server.</summary>
[Collection(ServerTests.Name)]
public sealed class MalformedRequestTests(ServedShop shop, ITestOutputHelper report)
{
    private const string Json = "Content-Type: application/json\r\n";

    private const string Good = """
        {"requests": [{"history": ["p1", "p2"], "k": 3, "exclude_seen": true, "allow": ["p1", "p3"], "deny": ["p2"],
        "filters": [{"field": "price", "min": 1, "max": 1e6}, {"field": "category", "any_of": ["a"]}]}, {"user": "u1"}]}
        """;

    /// <summary>Requests to try: few by default, $BERT4REC_HTTP_CASES for as many as one has time for.</summary>
    private static readonly int s_cases =
        int.TryParse(Environment.GetEnvironmentVariable("BERT4REC_HTTP_CASES"), out int cases) ? cases : 300;

    private static readonly (string Name, Func<Random, Case> Make)[] s_kinds =
    [
        ("damaged JSON", random => Post(Fuzz.Damage(Encoding.UTF8.GetBytes(Good), random))),
        ("a wrong type", random => Post(Replace(random, "null", "true", "\"x\"", "-1", "[[1]]", "{\"a\": 1}", "1e400", "[\"p1\", 7]"))),
        ("an unknown or doubled member", random => Post(Encoding.UTF8.GetBytes(
            $$"""{"{{Pick(random, "K", "x", "\\u0000", "k ", "größe", "")}}": 1, "k": 1, "k": {{random.Next(9)}}}"""))),
        ("a huge array", random => Post(Encoding.UTF8.GetBytes(
            $$"""{"{{Pick(random, "history", "allow", "requests")}}": [{{Repeat("{},", random.Next(300, 150_000))}}{}]}"""))),
        ("deep nesting", random => Post(Encoding.UTF8.GetBytes(
            "{\"history\": " + Repeat(Pick(random, "[", "{\"a\": "), random.Next(17, 20_000))))),
        ("text that is no Unicode", random => Post(Encoding.Latin1.GetBytes(
            "{\"history\": [\""
            + Pick(random, "\\ud800", "\\udc00x", "\u00ff\u00fe", "\u00c0\u0080", "\u00ed\u00a0\u0080", "\\u12")
            + "\"]}"))),
        ("another encoding", random => Post(
            [.. Encoding.Unicode.GetPreamble()[..random.Next(3)], .. Pick(random, Encoding.Unicode, Encoding.UTF32).GetBytes(Good)])),
        ("a NUL", random => Post(Encoding.Latin1.GetBytes(Good.Insert(random.Next(1, Good.Length), "\0")))),
        ("a wrong Content-Type", random => Post(
            Encoding.UTF8.GetBytes(Good),
            Pick(random, "", "Content-Type: text/plain\r\n", "Content-Type: application/json; charset=utf-16\r\n", "Content-Type: ,\r\n",
                Json + "Content-Encoding: gzip\r\n", "Content-Type: multipart/form-data; boundary=a\r\n"))),
        ("a wrong method", random => new(Ascii(
            $"{Pick(random, "PUT", "DELETE", "PATCH", "GET", "TRACE", "BREW", "post")} /v1/recommend HTTP/1.1\r\nHost: a\r\n\r\n"))),
        ("a wrong method of the metrics", random => new(Ascii(
            $"{Pick(random, "PUT", "DELETE", "POST")} /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"))),
        ("a wrong address", random => new(Ascii(
            $"GET /v1/{Pick(random, "../v2", "items?k=1", "items?limit=%00", "items/%ff/similar", "users/../x", "items?limit=0")} "
            + "HTTP/1.1\r\nHost: a\r\n\r\n"))),
        ("a wrong head", random => new(Ascii(Pick(
            random,
            "GET / HTTP/9.9\r\n\r\n", "GET  / HTTP/1.1\r\n\r\n", "\0\0\0\r\n\r\n", "x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n",
            "GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\n\r\n",
            $"GET / HTTP/1.1\r\nHost: a\r\nX: {new string('x', random.Next(33_000, 200_000))}\r\n\r\n",
            $"GET /{new string('x', random.Next(9_000, 100_000))} HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /v1/recommend HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
            $"POST /v1/recommend HTTP/1.1\r\nHost: a\r\n{Json}Content-Length: 999999999999\r\n\r\n{{",
            $"POST /v1/recommend HTTP/1.1\r\nHost: a\r\n{Json}Transfer-Encoding: chunked\r\n\r\nzz\r\n{{}}\r\n0\r\n\r\n",
            $"POST /v1/recommend HTTP/1.1\r\nHost: a\r\n{Json}Transfer-Encoding: chunked\r\n\r\n{new string('f', 16)}\r\n{{}}\r\n",
            $"GET / HTTP/1.1\r\nHost: a\r\n{Repeat("X: 1\r\n", 200)}\r\n")))),
        ("a slow body", random => Post(Encoding.UTF8.GetBytes(Good)) with { Pauses = true }),
    ];

    /// <param name="Bytes">What is sent.</param>
    /// <param name="Body">What of it is to be JSON; empty where that is not the question.</param>
    private sealed record Case(byte[] Bytes, byte[] Body)
    {
        public Case(byte[] bytes)
            : this(bytes, [])
        {
        }

        /// <summary>The last byte is sent too late.</summary>
        public bool Pauses { get; init; }
    }

    [Fact]
    public async Task Each_gets_a_reason_and_none_is_an_error_of_the_servers()
    {
        var timeout = TimeSpan.FromSeconds(1);
        await using RunningServer server = await RunningServer.Start(new() { Model = shop.Model, Timeout = timeout });
        double before = await Milliseconds(server);
        int seed = Random.Shared.Next(1_000_000);
        var clock = Stopwatch.StartNew();
        var statuses = new int[600];
        await Parallel.ForAsync(0, s_cases, new ParallelOptions { MaxDegreeOfParallelism = 8 }, async (i, _) =>
        {
            var random = new Random(seed + i);
            // The slow ones take their time; there are few of them.
            int kind = i % 100 == 0 ? s_kinds.Length - 1 : random.Next(s_kinds.Length - 1);
            Case sent = s_kinds[kind].Make(random);
            string what = $"seed {seed}, case {i}, {s_kinds[kind].Name}";
            RawAnswer answer = await RawAnswer.To(
                server.Url, sent.Bytes, sent.Pauses ? sent.Bytes.Length - 1 : 0, sent.Pauses ? 2 * timeout : default);
            Interlocked.Increment(ref statuses[answer.Status]);
            // Damage may leave JSON as good as it was.
            if (answer.Status == 200 && IsJson(sent.Body))
                return;
            // There is no 4xx for another version of HTTP.
            Assert.True(answer.Status is (>= 400 and < 500) or 505, $"{what}: {answer.Head}");
            if (answer.Body.Length == 0)
                Assert.True(answer.Status is 400 or 405 or 408 or 411 or 414 or 431 or 505, $"{what}: no reason: {answer.Head}");
            else
                Assert.Contains("application/problem+json", answer.Head);
        });
        double seconds = clock.Elapsed.TotalSeconds, after = await Milliseconds(server);
        // Other tests may be at work.
        for (int again = 0; again < 20 && after > (3 * before) + 2; again++)
            after = await Milliseconds(server);
        var counts = statuses.Index().Where(status => status.Item > 0).Select(status => $"{status.Index}: {status.Item:N0}");
        report.WriteLine($"{s_cases:N0} requests in {seconds:F0} s, seed {seed}: {string.Join(", ", counts)}");
        report.WriteLine($"a good request took {before:F2} ms before, {after:F2} ms after");
        Assert.True(server.Log.Count == 1, string.Join("\n", server.Log));
        Assert.InRange(after, 0, (3 * before) + 2);
    }

    /// <summary>As phones do that lose their network.</summary>
    [Theory]
    [InlineData("Content-Length: 290\r\n\r\n{\"hist")]
    [InlineData("Transfer-Encoding: chunked\r\n\r\n5\r\n{\"a")]
    public async Task A_client_that_hangs_up_in_a_body_is_no_error_of_the_servers(string rest)
    {
        await using RunningServer server = await RunningServer.Start(new() { Model = shop.Model });
        var url = new Uri(server.Url);
        for (int i = 0; i < 20; i++)
        {
            using var client = new TcpClient { LingerState = new(true, 0) };
            await client.ConnectAsync(url.Host, url.Port);
            await client.GetStream().WriteAsync(Ascii($"POST /v1/recommend HTTP/1.1\r\nHost: a\r\n{Json}{rest}"));
            await Task.Delay(10);
        }
        await Milliseconds(server);
        Assert.True(server.Log.Count == 1, string.Join("\n", server.Log));
        Assert.DoesNotContain("http_response_status_code=\"500\"", await server.Client.GetStringAsync("/metrics"));
    }

    private static bool IsJson(byte[] body)
    {
        try
        {
            using var _ = JsonDocument.Parse(body);
            return true;
        }
        catch (JsonException)
        {
            return false;
        }
    }

    /// <summary>What a good request takes, the median of some.</summary>
    private static async Task<double> Milliseconds(RunningServer server)
    {
        var times = new List<double>();
        for (int i = 0; i < 101; i++)
        {
            long start = Stopwatch.GetTimestamp();
            using HttpResponseMessage response = await server.Post("/v1/recommend", """{"history": ["p1", "p2"]}""");
            Assert.True(response.IsSuccessStatusCode);
            times.Add(Stopwatch.GetElapsedTime(start).TotalMilliseconds);
        }
        return times.Order().ElementAt(times.Count / 2);
    }

    private static T Pick<T>(Random random, params T[] all) => all[random.Next(all.Length)];

    private static string Repeat(string text, int times) => string.Concat(Enumerable.Repeat(text, times));

    private static byte[] Ascii(string text) => Encoding.ASCII.GetBytes(text);

    private static Case Post(byte[] body, string type = Json) => new(
        [
            .. Ascii($"POST /v1/recommend HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{type}Content-Length: {body.Length}\r\n\r\n"),
            .. body,
        ],
        body);

    /// <summary>The good body, with one of its values in another's place.</summary>
    private static byte[] Replace(Random random, params string[] values)
    {
        string[] parts = Good.Split(": ");
        int at = random.Next(1, parts.Length);
        int end = parts[at].IndexOfAny([',', '}', ']']);
        parts[at] = Pick(random, values) + parts[at][Math.Max(0, end)..];
        return Encoding.UTF8.GetBytes(string.Join(": ", parts));
    }
}
