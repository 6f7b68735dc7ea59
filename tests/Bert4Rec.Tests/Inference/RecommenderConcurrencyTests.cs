using System.Diagnostics.Metrics;
using Bert4Rec.Inference;
using Bert4Rec.Kernels;

namespace Bert4Rec.Tests.Inference;

/// <summary>Many threads at once, who change their minds, while somebody closes the shop.</summary>
public sealed class RecommenderConcurrencyTests(TrainedShop shop) : IClassFixture<TrainedShop>
{
    private const int Items = 40;

    [Theory]
    [InlineData(1, 64, false)]
    [InlineData(2, 64, true)]
    [InlineData(3, 2, true)]
    public async Task Many_threads_get_what_each_gets_alone(int threads, int maximumBatch, bool isBlended)
    {
        string model = shop.Blended(isBlended ? new(1, 100, -1, 2) : BlendWeights.None);
        var requests = Requests(300);
        RecommendationResult[] alone;
        using (var recommender = TrainedShop.Open(model))
            alone = [.. requests.Select(request => recommender.Recommend(request))];

        using var shared = Recommender.Load(model, new() { Device = "cpu", Threads = threads, MaximumBatch = maximumBatch });
        var results = new RecommendationResult[requests.Length];
        var callers = Enumerable.Range(0, 6).Select(caller => Task.Run(async () =>
        {
            for (int i = caller; i < requests.Length; i += 6)
                results[i] = i % 2 == 0 ? shared.Recommend(requests[i]) : await shared.RecommendAsync(requests[i]);
        }));
        var similar = shared.Similar("p1", 5);
        var attended = shared.Attention(["p1", "p2"]);
        var lookers = Enumerable.Range(0, 2).Select(_ => Task.Run(() =>
        {
            for (int i = 0; i < 30; i++)
            {
                Assert.Equal(attended[1].WeightOfLayer, shared.Attention(["p1", "p2"])[1].WeightOfLayer);
                Assert.Equal(similar.Select(each => each.Token), shared.Similar("p1", 5).Select(each => each.Token));
            }
        }));
        await Task.WhenAll([.. callers, .. lookers]);
        AssertSame(alone, results);
        AssertSame(alone, shared.Recommend(requests));
    }

    [Fact]
    public async Task Cancelled_requests_are_not_answered_and_others_are()
    {
        using var recommender = TrainedShop.Open(shop.Model);
        using var cancelled = new CancellationTokenSource();
        cancelled.Cancel();
        var request = new RecommendationRequest { History = ["p1"] };
        Assert.ThrowsAny<OperationCanceledException>(() => recommender.Recommend(request, cancelled.Token));
        Assert.ThrowsAny<OperationCanceledException>(() => recommender.Recommend([request], cancelled.Token));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => recommender.RecommendAsync(request, cancelled.Token));

        var requests = Requests(400);
        var tokens = requests.Select(_ => new CancellationTokenSource()).ToArray();
        var answers = requests.Select((each, i) => recommender.RecommendAsync(each, tokens[i].Token)).ToArray();
        foreach (var token in tokens.Where((_, i) => i % 2 == 1))
            token.Cancel();
        for (int i = 0; i < answers.Length; i++)
        {
            if (i % 2 == 0)
                Assert.Equal(requests[i].K, (await answers[i]).Items.Count);
            else
                Assert.Equal(requests[i].K, await CountOrCancelled(answers[i], requests[i].K));
            tokens[i].Dispose();
        }

        static async Task<int> CountOrCancelled(Task<RecommendationResult> answer, int ifCancelled)
        {
            try
            {
                return (await answer).Items.Count;
            }
            catch (OperationCanceledException)
            {
                return ifCancelled;
            }
        }
    }

    /// <summary>What was asked before is answered; what is asked after is refused.</summary>
    [Fact]
    public async Task Disposal_waits_for_what_was_asked()
    {
        var requests = Requests(500);
        var recommender = Recommender.Load(shop.Model, new() { Device = "cpu", Threads = 2, MaximumBatch = 8 });
        var answers = requests.Select(request => recommender.RecommendAsync(request)).ToArray();
        var callers = Enumerable.Range(0, 3).Select(_ => Task.Run(() =>
        {
            int done = 0;
            try
            {
                for (; ; done++)
                    Assert.Equal(10, recommender.Recommend(new RecommendationRequest { History = ["p1", "p2"] }).Items.Count);
            }
            catch (ObjectDisposedException)
            {
                return done;
            }
        })).ToArray();
        await answers[0];
        await Task.WhenAll(Task.Run(recommender.Dispose), Task.Run(recommender.Dispose));
        Assert.All(answers, answer => Assert.True(answer.IsCompletedSuccessfully || answer.Wait(TimeSpan.FromSeconds(10))));
        Assert.All(answers.Zip(requests), pair => Assert.Equal(pair.Second.K, pair.First.Result.Items.Count));
        await Task.WhenAll(callers);
        Assert.Throws<ObjectDisposedException>(() => recommender.Recommend(requests[0]));
        Assert.Throws<ObjectDisposedException>(() => recommender.Attention(["p1"]));
        await Assert.ThrowsAsync<ObjectDisposedException>(() => recommender.RecommendAsync(requests[0]));
    }

    [Fact]
    public async Task What_waits_together_goes_through_the_model_together()
    {
        var sizes = new List<int>();
        using var listener = new MeterListener();
        listener.InstrumentPublished = (instrument, listening) =>
        {
            if (instrument is { Name: "bert4rec.batch.size", Meter.Name: "Bert4Rec" })
                listening.EnableMeasurementEvents(instrument);
        };
        listener.SetMeasurementEventCallback<int>((_, size, _, _) =>
        {
            lock (sizes)
                sizes.Add(size);
        });
        listener.Start();
        using var recommender = Recommender.Load(shop.Model, new() { Device = "cpu", Threads = 1, MaximumBatch = 16 });
        var requests = Requests(160);
        recommender.Recommend(requests);
        await Task.WhenAll(requests.Select(request => recommender.RecommendAsync(request)));
        lock (sizes)
        {
            // Other tests may be at work meanwhile.
            Assert.True(sizes.Count(size => size == 16) >= 10);
            Assert.True(sizes.Sum() >= 320);
        }
    }

    /// <summary>A GPU is asked by one thread alone, whoever calls.</summary>
    [Fact]
    public async Task A_gpu_gives_what_the_cpu_gives()
    {
        string model = shop.Blended(new(1, 100, -1, 2));
        RecommendationRequest[] requests =
        [
            new() { History = ["p1", "p2", "p3"], K = 5, ExcludeSeen = true },
            new() { History = ["p9"], K = 3, Allow = ["p1", "p2"] },
        ];
        using Recommender cpu = TrainedShop.Open(model), gpu = Recommender.Load(model, new() { Device = "ilgpu-cpu" });
        var results = await Task.WhenAll(requests.Select(request => Task.Run(() => gpu.Recommend(request))));
        AssertSame([.. requests.Select(request => cpu.Recommend(request))], results);
        Assert.Equal(cpu.Similar("p1", 3).Select(item => item.Token), gpu.Similar("p1", 3).Select(item => item.Token));
        Assert.Equal(cpu.Attention(["p1", "p2"])[0].WeightOfLayer[0], gpu.Attention(["p1", "p2"])[0].WeightOfLayer[0], 1e-5f);
    }

    [Fact]
    public void A_device_that_is_not_there_is_refused()
    {
        Assert.Throws<DeviceException>(() => Recommender.Load(shop.Model, new() { Device = "cuda:99" }));
        Assert.Throws<ArgumentException>(() => Recommender.Load(shop.Model, new() { Device = "cpu", Threads = -1 }));
        Assert.Throws<ArgumentException>(() => Recommender.Load(shop.Model, new() { MaximumBatch = 0 }));
    }

    /// <summary>Of all kinds; none without a known item, none whose list could be short.</summary>
    private static RecommendationRequest[] Requests(int count)
    {
        var random = new Random(count);
        return
        [
            .. Enumerable.Range(0, count).Select(i => new RecommendationRequest
            {
                History = [.. Enumerable.Range(0, random.Next(1, 12)).Select(_ => $"p{random.Next(1, Items + 1)}")],
                K = random.Next(1, 9),
                ExcludeSeen = i % 3 == 0,
                Deny = i % 5 == 0 ? ["p1", "p2", "p3"] : null,
                Allow = i % 7 == 0 ? [.. Enumerable.Range(1, 19 + (i % 2 * 10)).Select(item => $"p{item}")] : null,
            }),
        ];
    }

    private static void AssertSame(RecommendationResult[] expected, IReadOnlyList<RecommendationResult> actual)
    {
        for (int i = 0; i < expected.Length; i++)
        {
            Assert.Equal(expected[i].Items.Select(item => item.Token), actual[i].Items.Select(item => item.Token));
            Assert.All(expected[i].Items.Zip(actual[i].Items), pair => Assert.Equal(pair.First.Score, pair.Second.Score, 1e-4f));
        }
    }
}
