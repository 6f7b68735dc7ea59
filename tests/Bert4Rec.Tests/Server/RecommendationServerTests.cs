using System.Net;
using System.Net.Http.Headers;
using System.Text.Json.Nodes;
using Bert4Rec.Inference;

namespace Bert4Rec.Tests.Server;

[Collection(ServerTests.Name)]
public sealed class RecommendationServerTests(ServedShop shop)
{
    private readonly RunningServer _server = shop.Running;

    [Fact]
    public async Task Answers_are_those_of_the_library()
    {
        using var recommender = Recommender.Load(shop.Model, new() { Device = "cpu", Threads = 1 });
        RecommendationRequest[] requests =
        [
            new() { History = ["p1", "p2", "nonsense"], K = 5 },
            new() { History = ["p1", "p2"], K = 40, ExcludeSeen = true, Deny = ["p3"] },
            new() { History = ["p4"], Allow = ["p5", "p6", "p7"], Filters = [new("price") { Minimum = 1, Maximum = 1e6 }] },
            new(),
        ];
        string[] bodies =
        [
            """{"history": ["p1", "p2", "nonsense"], "k": 5}""",
            """{"history": ["p1", "p2"], "k": 40, "exclude_seen": true, "deny": ["p3"]}""",
            """{"history": ["p4"], "allow": ["p5", "p6", "p7"], "filters": [{"field": "price", "min": 1, "max": 1e6}]}""",
            "{}",
        ];
        JsonNode together = await _server.Ask("/v1/recommend", $$"""{"requests": [{{string.Join(", ", bodies)}}]}""");
        for (int i = 0; i < requests.Length; i++)
        {
            RecommendationResult expected = recommender.Recommend(requests[i]);
            JsonNode alone = await _server.Ask("/v1/recommend", bodies[i]);
            Assert.Equal(expected.ModelVersion, (string?)alone["model"]);
            foreach (JsonNode answer in new[] { alone, together["results"]![i]! })
            {
                Assert.Equal(expected.Items.Select(item => item.Token), answer["items"]!.AsArray().Select(item => (string?)item!["item"]));
                Assert.All(
                    expected.Items.Zip(answer["items"]!.AsArray()),
                    pair => Assert.Equal(pair.First.Score, (float)pair.Second!["score"]!, 1e-4f));
                Assert.Equal(expected.UnknownTokens, answer["unknown"]!.AsArray().Select(token => (string)token!));
                Assert.Equal(expected.IsPopularity, (bool)answer["popular"]!);
            }
        }
        Assert.Equal(recommender.ModelVersion, (string?)together["model"]);
        Assert.Equal(
            ["category", "brand", "price"], together["results"]![0]!["items"]![0]!["fields"]!.AsObject().Select(field => field.Key));
    }

    [Fact]
    public async Task A_user_is_known_by_their_history()
    {
        JsonNode history = await _server.Ask("/v1/users/u5/history");
        string tokens = string.Join(", ", history["items"]!.AsArray().Select(item => item!["item"]!.ToJsonString()));
        JsonNode expected = await _server.Ask("/v1/recommend", $$"""{"history": [{{tokens}}], "k": 4, "exclude_seen": true}""");
        JsonNode byPath = await _server.Ask("/v1/users/u5/recommendations?k=4&exclude_seen=true");
        JsonNode byBody = await _server.Ask("/v1/recommend", """{"user": "u5", "k": 4, "exclude_seen": true}""");
        Assert.Equal(4, expected["items"]!.AsArray().Count);
        Assert.Equal(expected.ToJsonString(), byPath.ToJsonString());
        Assert.Equal(expected.ToJsonString(), byBody.ToJsonString());
    }

    [Fact]
    public async Task Items_are_found_and_have_similar_ones()
    {
        JsonNode popular = await _server.Ask("/v1/items?limit=3");
        long[] events = [.. popular["items"]!.AsArray().Select(item => (long)item!["events"]!)];
        Assert.Equal(events.OrderDescending(), events);
        Assert.Equal(3, events.Length);
        JsonNode found = await _server.Ask("/v1/items?q=P17");
        Assert.Equal("p17", (string?)found["items"]![0]!["item"]);
        // The same word again is none more; seventeen different ones are too many.
        JsonNode again = await _server.Ask($"/v1/items?q={string.Join('+', Enumerable.Repeat("P17", 99))}");
        Assert.Equal("p17", (string?)again["items"]![0]!["item"]);
        JsonNode many = await _server.Ask($"/v1/items?q={string.Join('+', Enumerable.Range(0, 17))}");
        Assert.Equal((422, "q"), ((int)many["status"]!, (string?)many["field"]));

        using var recommender = Recommender.Load(shop.Model, new() { Device = "cpu", Threads = 1 });
        JsonNode similar = await _server.Ask("/v1/items/p17/similar?k=3");
        Assert.Equal(
            recommender.Similar("p17", 3).Select(item => item.Token), similar["items"]!.AsArray().Select(item => (string?)item!["item"]));
        JsonNode attention = await _server.Ask("/v1/attention", """{"history": ["p1", "p2", "x"]}""");
        Assert.Equal(["p1", "p2"], attention["events"]!.AsArray().Select(item => (string?)item!["item"]));
        Assert.Equal(2, attention["events"]![0]!["layers"]!.AsArray().Count);
    }

    [Theory]
    [InlineData(400, "k", """{"k": "x"}""")]
    [InlineData(400, "k", """{"k": 1.5}""")]
    [InlineData(400, "k", """{"k": 99999999999}""")]
    [InlineData(400, "k", """{"k": 1, "k": 2}""")]
    [InlineData(400, "K", """{"K": 1}""")]
    [InlineData(400, "requests[1].colour", """{"requests": [{}, {"colour": 1}]}""")]
    [InlineData(400, "history[1]", """{"history": ["p1", 2]}""")]
    [InlineData(400, "history[0]", """{"history": ["\ud800"]}""")]
    [InlineData(400, "history", """{"history": "p1"}""")]
    [InlineData(400, "requests[0].filters[1].min", """{"requests": [{"filters": [{"field": "price", "min": 1}, {"min": "x"}]}]}""")]
    [InlineData(400, "requests[0].requests", """{"requests": [{"requests": []}]}""")]
    [InlineData(400, null, "{")]
    [InlineData(400, null, "[]")]
    [InlineData(400, null, "null")]
    [InlineData(400, null, "")]
    [InlineData(400, null, "{} {}")]
    [InlineData(422, "k", """{"k": 0}""")]
    [InlineData(422, "k", """{"k": 1001}""")]
    [InlineData(422, "requests[0].k", """{"requests": [{"k": -1}]}""")]
    [InlineData(422, "history[1]", """{"history": ["p1", null]}""")]
    [InlineData(422, "requests[1].deny[0]", """{"requests": [{}, {"deny": [null]}]}""")]
    [InlineData(422, "filters[0].field", """{"filters": [{"field": "size", "min": 1}]}""")]
    [InlineData(422, "filters[0].field", """{"filters": [{"min": 1}]}""")]
    [InlineData(422, "filters[0].min", """{"filters": [{"field": "price", "min": 2, "max": 1}]}""")]
    [InlineData(422, "filters[0].min", """{"filters": [{"field": "category", "min": 2}]}""")]
    [InlineData(422, "filters[0]", """{"filters": [null]}""")]
    [InlineData(422, "requests[0]", """{"requests": [null]}""")]
    [InlineData(422, "requests", """{"k": 3, "requests": []}""")]
    [InlineData(422, "user", """{"user": "u1", "history": []}""")]
    [InlineData(404, "user", """{"user": "nobody"}""")]
    [InlineData(404, "requests[1].user", """{"requests": [{}, {"user": "nobody"}]}""")]
    public async Task What_is_wrong_with_a_body_is_named(int status, string? field, string body)
    {
        using HttpResponseMessage response = await _server.Post("/v1/recommend", body);
        await CheckProblem(response, status, field);
    }

    [Theory]
    [InlineData(404, null, "GET", "/v1/nothing")]
    [InlineData(404, "item", "GET", "/v1/items/nothing/similar")]
    [InlineData(404, "item", "GET", "/v1/items/a%2Fb/similar")]
    [InlineData(404, "user", "GET", "/v1/users/nobody/recommendations")]
    [InlineData(404, "user", "GET", "/v1/users/nobody/history")]
    [InlineData(404, "user", "GET", "/v1/users/no%2Fbody/history/")]
    [InlineData(405, null, "PUT", "/v1/recommend")]
    [InlineData(405, null, "POST", "/v1/items")]
    [InlineData(415, null, "POST", "/v1/recommend")]
    [InlineData(400, "limit", "GET", "/v1/items?limit=many")]
    [InlineData(400, "limit", "GET", "/v1/items?limit=1&limit=2")]
    [InlineData(400, "size", "GET", "/v1/items?size=1")]
    [InlineData(400, "exclude_seen", "GET", "/v1/users/u1/recommendations?exclude_seen=perhaps")]
    [InlineData(422, "k", "GET", "/v1/items/p1/similar?k=0")]
    public async Task What_is_wrong_with_an_address_is_named(int status, string? field, string method, string path)
    {
        using HttpResponseMessage response = await _server.Client.SendAsync(new(new(method), path));
        await CheckProblem(response, status, field);
        Assert.Equal(status == 405, response.Content.Headers.Allow.Count > 0);
    }

    [Fact]
    public async Task Limits_are_kept()
    {
        await using RunningServer server = await RunningServer.Start(
            new() { Model = shop.Model, MaxBody = 2000, MaxHistory = 3, MaxK = 5, MaxRequests = 2, Timeout = TimeSpan.FromSeconds(3) });
        await Check(413, null, $$"""{"history": ["{{new string('x', 3000)}}"]}""");
        await Check(422, "history", """{"history": ["a", "b", "c", "d"]}""");
        await Check(422, "k", """{"k": 6}""");
        using HttpResponseMessage some = await server.Client.GetAsync("/v1/items?q=p");
        Assert.Equal(HttpStatusCode.OK, some.StatusCode);
        await Check(422, "requests", """{"requests": [{}, {}, {}]}""");
        // A body that does not come.
        RawAnswer late = await RawAnswer.To(
            server.Url,
            "POST /v1/recommend HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{\"k\""u8.ToArray());
        Assert.Equal(408, late.Status);
        Assert.Contains("did not arrive in time", late.Body);
        Assert.True(server.Log.Count == 1, string.Join("\n", server.Log));

        async Task Check(int status, string? field, string body)
        {
            using HttpResponseMessage response = await server.Post("/v1/recommend", body);
            await CheckProblem(response, status, field);
        }
    }

    [Fact]
    public async Task More_requests_than_the_server_takes_get_503_and_then_it_goes_on()
    {
        await using RunningServer server = await RunningServer.Start(new() { Model = shop.Model, MaxRequests = 8 });
        string many = $$"""{"requests": [{{string.Join(", ", Enumerable.Repeat("""{"history": ["p1"], "k": 40}""", 8))}}]}""";
        int refused = 0, answered = 0;
        for (int round = 0; refused == 0 && round < 100; round++)
        {
            HttpResponseMessage[] responses =
                await Task.WhenAll(Enumerable.Range(0, 50).Select(_ => server.Post("/v1/recommend", many)));
            foreach (HttpResponseMessage response in responses)
            {
                if (response.StatusCode == HttpStatusCode.OK)
                {
                    answered++;
                    response.Dispose();
                    continue;
                }
                refused++;
                Assert.NotNull(response.Headers.RetryAfter);
                await CheckProblem(response, 503, null);
                response.Dispose();
            }
        }
        Assert.True(refused > 0 && answered > 0, $"{refused} refused, {answered} answered");
        using HttpResponseMessage after = await server.Post("/v1/recommend", many);
        Assert.Equal(HttpStatusCode.OK, after.StatusCode);
        Assert.True(server.Log.Count == 1, string.Join("\n", server.Log));
    }

    [Fact]
    public async Task What_takes_too_long_is_given_up_with_504()
    {
        await using RunningServer server = await RunningServer.Start(new() { Model = shop.Model, Timeout = TimeSpan.FromMilliseconds(1) });
        bool isGivenUp = false;
        for (int round = 0; !isGivenUp && round < 100; round++)
        {
            HttpResponseMessage[] responses = await Task.WhenAll(
                Enumerable.Range(0, 50).Select(_ => server.Client.GetAsync("/v1/users/u1/recommendations?k=40")));
            foreach (HttpResponseMessage response in responses)
            {
                if (response.StatusCode != HttpStatusCode.OK)
                {
                    isGivenUp = true;
                    await CheckProblem(response, 504, null);
                }
                response.Dispose();
            }
        }
        Assert.True(isGivenUp);
        Assert.True(server.Log.Count == 1, string.Join("\n", server.Log));
    }

    [Fact]
    public async Task Who_has_no_key_gets_401()
    {
        using var folder = new TemporaryFolder();
        string keys = folder.Write("keys", "# of the shop\n0123456789abcdef\r\n\nfedcba9876543210\n");
        await using RunningServer server = await RunningServer.Start(new() { Model = shop.Model, ApiKeyFile = keys });
        foreach ((string? key, int status) in new[]
        {
            (null, 401), ("", 401), ("0123456789abcde", 401), ("0123456789abcdef0", 401), ("# of the shop", 401),
            ("0123456789abcdef", 200), ("fedcba9876543210", 200),
        })
        {
            foreach (string path in new[] { "/v1/items", "/metrics", "/openapi/v1.json" })
            {
                using var request = new HttpRequestMessage(HttpMethod.Get, path);
                request.Headers.Authorization = key is null ? null : new AuthenticationHeaderValue("Bearer", key);
                using HttpResponseMessage response = await server.Client.SendAsync(request);
                Assert.Equal(status, (int)response.StatusCode);
            }
        }
        foreach (string path in new[] { "/", "/page.js", "/healthz/live", "/healthz/ready" })
            Assert.Equal(HttpStatusCode.OK, (await server.Client.GetAsync(path)).StatusCode);

        foreach ((string text, string message) in new[] { ("\n", "no key"), ("0123456789abcdef\nshort\n", "keys:2: a key has") })
        {
            folder.Write("keys", text);
            var failure = await Assert.ThrowsAsync<InputException>(
                () => RunningServer.Start(new() { Model = shop.Model, ApiKeyFile = keys }));
            Assert.Contains(message, failure.Message);
        }
    }

    [Fact]
    public async Task Readiness_goes_first_and_what_was_begun_ends()
    {
        await using RunningServer server = await RunningServer.Start(new() { Model = shop.Model }, drain: 3000);
        Assert.Equal("ready", (string?)(await server.Ask("/healthz/ready"))["status"]);
        Task<HttpResponseMessage>[] begun = [.. Enumerable.Range(0, 20).Select(_ => server.Post("/v1/recommend", """{"user": "u1"}"""))];
        Task stop = server.Stop();
        Assert.Equal(503, (int?)(await server.Ask("/healthz/ready"))["status"]);
        foreach (HttpResponseMessage response in await Task.WhenAll(begun))
            Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        await stop;
        await Assert.ThrowsAsync<HttpRequestException>(() => server.Client.GetAsync("/healthz/live"));
    }

    [Fact]
    public async Task Metrics_have_requests_batches_and_the_model()
    {
        await _server.Ask("/v1/recommend", """{"history": ["p1"]}""");
        await _server.Ask("/v1/recommend", """{"k": 0}""");
        await Task.Delay(400); // A scrape is kept for 300 ms.
        string metrics = await _server.Client.GetStringAsync("/metrics");
        string version = (string)(await _server.Ask("/healthz/live"))["model"]!;
        foreach (string pattern in new[]
        {
            "http_server_request_duration_seconds_count{.*http_response_status_code=\"200\",http_route=\"/v1/recommend\".*} [1-9]",
            "http_server_request_duration_seconds_count{.*http_response_status_code=\"422\",http_route=\"/v1/recommend\".*} [1-9]",
            "bert4rec_batch_size_count{.*} [1-9]",
            $"bert4rec_model_info{{.*version=\"{version}\"}} 1",
            "bert4rec_model_swaps_total{.*} 0",
            "bert4rec_model_swaps_refused_total{.*} 0",
        })
            Assert.Matches(pattern, metrics);
    }

    [Fact]
    public async Task The_description_has_every_address()
    {
        JsonNode description = await _server.Ask("/openapi/v1.json");
        Assert.Equal(
            [
                "/healthz/live", "/healthz/ready", "/v1/attention", "/v1/items", "/v1/items/{item}/similar", "/v1/recommend",
                "/v1/users/{user}/history", "/v1/users/{user}/recommendations",
            ],
            description["paths"]!.AsObject().Select(path => path.Key).Order(StringComparer.Ordinal));
        Assert.Equal(
            ["allow", "deny", "exclude_seen", "filters", "history", "k", "requests", "user"],
            description["components"]!["schemas"]!["RecommendBody"]!["properties"]!.AsObject().Select(each => each.Key).Order());
    }

    [Theory]
    [InlineData("http://127.0.0.1:5000", true)]
    [InlineData("http://[::1]:5000", true)]
    [InlineData("http://localhost:5000", true)]
    [InlineData("http://*:5000", true)]
    [InlineData("http://0.0.0.0:80/", true)]
    [InlineData("https://127.0.0.1:5000", false)]
    [InlineData("http://shop.example:5000", false)]
    [InlineData("http://localhost:0", false)]
    [InlineData("http://127.0.0.1:5000/shop", false)]
    [InlineData("127.0.0.1:5000", false)]
    [InlineData("http://127.0.0.1:99999", false)]
    public void An_address_that_would_mean_something_else_is_refused(string url, bool isRight) =>
        Assert.Equal(isRight, Bert4Rec.Server.ServerOptions.CheckUrl(url) is null);

    internal static async Task CheckProblem(HttpResponseMessage response, int status, string? field)
    {
        string text = await response.Content.ReadAsStringAsync();
        Assert.True(status == (int)response.StatusCode, $"{(int)response.StatusCode} {text}");
        Assert.Equal("application/problem+json", response.Content.Headers.ContentType?.MediaType);
        JsonNode problem = JsonNode.Parse(text)!;
        Assert.Equal(status, (int)problem["status"]!);
        Assert.Equal(field, (string?)problem["field"]);
        Assert.NotEmpty((string)problem["title"]!);
        Assert.StartsWith(field ?? "", (string)problem["detail"]!);
    }
}
