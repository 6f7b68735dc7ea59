using System.Diagnostics.Metrics;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;

namespace Bert4Rec.Server;

/// <summary>
/// What the server counts of its models; requests, by route and status, and their latency are counted by ASP.NET Core, and the sizes of
/// batches by the library.
/// </summary>
internal sealed class ServerMetrics : IDisposable
{
    private const string Name = "Bert4Rec.Server", Requests = "Microsoft.AspNetCore.Hosting", Batches = "Bert4Rec";

    private readonly Meter _meter = new(Name);

    /// <param name="models">Asked at each scrape.</param>
    public ServerMetrics(ModelHost models)
    {
        _meter.CreateObservableCounter("bert4rec.model.swaps", () => models.Swaps, description: "Models that took another's place.");
        _meter.CreateObservableCounter(
            "bert4rec.model.swaps.refused", () => models.RefusedSwaps, description: "Changed models that could not be loaded.");
        _meter.CreateObservableGauge(
            "bert4rec.model.info",
            () => new Measurement<int>(1, new KeyValuePair<string, object?>("version", models.Now.Recommender.ModelVersion)),
            description: "1, for the version of the model that answers.");
        _meter.CreateObservableGauge("bert4rec.model.items", () => models.Now.Recommender.ItemCount, description: "Items of the model.");
        _meter.CreateObservableGauge(
            "bert4rec.model.loaded", () => models.Now.Loaded.ToUnixTimeMilliseconds() / 1e3, "s", "When the model was loaded, since 1970.");
    }

    public static void Configure(MeterProviderBuilder metrics) => metrics
        .ConfigureResource(resource => resource.Clear().AddService("bert4rec", autoGenerateServiceInstanceId: false))
        .AddMeter(Requests, Batches, Name)
        .AddView("http.server.request.duration", Buckets(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10))
        .AddView("bert4rec.batch.size", Buckets(1, 2, 4, 8, 16, 32, 64))
        .AddPrometheusExporter();

    public void Dispose() => _meter.Dispose();

    private static ExplicitBucketHistogramConfiguration Buckets(params double[] boundaries) => new() { Boundaries = boundaries };
}
