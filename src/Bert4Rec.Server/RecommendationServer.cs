using System.Net.Sockets;
using System.Reflection;
using Bert4Rec.Inference;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Routing;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.OpenApi;
using BadHttpRequestException = Microsoft.AspNetCore.Http.BadHttpRequestException;

namespace Bert4Rec.Server;

/// <summary>
/// The service: the API and the page over HTTP, of a <see cref="ModelHost"/>. Nothing but its options configures it, no environment
/// variable and no file beside it.
/// </summary>
internal sealed class RecommendationServer : IAsyncDisposable
{
    private readonly ServerOptions _options;
    private readonly Action<string> _log;
    private readonly ApiKeys? _keys;
    private readonly ModelHost _models;
    private readonly ServerMetrics _metrics;
    private readonly Endpoints _endpoints;
    private readonly WebApplication _app;

    private RecommendationServer(ServerOptions options, Action<string> log)
    {
        _options = options;
        _log = log;
        _keys = options.ApiKeyFile is null ? null : new(options.ApiKeyFile);
        _models = new(options, log);
        _metrics = new(_models);
        _endpoints = new(_models, options);
        _app = Build();
    }

    /// <summary>Where it listens, with the port that it got where 0 was asked for.</summary>
    public IEnumerable<string> Urls => _app.Urls;

    /// <summary>Loads the model and begins to listen.</summary>
    /// <param name="log">Told what happens, in a line each, from any thread.</param>
    /// <exception cref="InputException">The model, the keys or an address is not what it should be.</exception>
    /// <exception cref="Kernels.DeviceException">There is no such device.</exception>
    public static async Task<RecommendationServer> Start(ServerOptions options, Action<string> log)
    {
        var server = new RecommendationServer(options, log);
        try
        {
            await server._app.StartAsync();
        }
        catch (Exception e) when (e is IOException or SocketException)
        {
            await server.DisposeAsync();
            throw new InputException($"{string.Join(' ', options.Urls)}: {e.Message}", e);
        }
        Recommender model = server._models.Now.Recommender;
        log($"serving {string.Join(' ', server.Urls)} with model {model.ModelVersion} ({model.ItemCount:N0} items) of {options.Model}");
        if (model.Note is string note)
            log(note);
        return server;
    }

    /// <summary>Withdraws readiness, goes on for the time that others may need to see that, then ends what was begun.</summary>
    public async Task Stop()
    {
        _endpoints.IsDraining = true;
        await Task.Delay(_options.Drain);
        await _app.StopAsync();
    }

    public async ValueTask DisposeAsync()
    {
        await _app.DisposeAsync();
        _metrics.Dispose();
        _models.Dispose();
        _endpoints.Dispose();
    }

    private WebApplication Build()
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new() { ApplicationName = "bert4rec" });
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.ConfigureEndpointDefaults(endpoint => endpoint.Protocols = HttpProtocols.Http1);
            kestrel.Limits.MaxRequestBodySize = _options.MaxBody;
            kestrel.Limits.MaxConcurrentConnections = _options.MaxConnections;
            kestrel.Limits.RequestHeadersTimeout = _options.Timeout;
        });
        // The signals are the caller's.
        builder.Services.AddSingleton<IHostLifetime, NoLifetime>();
        builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = _options.Timeout + TimeSpan.FromSeconds(1));
        builder.Services.AddRoutingCore();
        builder.Services.Configure<RouteHandlerOptions>(routes => routes.ThrowOnBadRequest = true);
        builder.Services.ConfigureHttpJsonOptions(json =>
        {
            json.SerializerOptions.TypeInfoResolverChain.Insert(0, ServerJson.Default);
            json.SerializerOptions.PropertyNamingPolicy = ServerJson.Default.Options.PropertyNamingPolicy;
            json.SerializerOptions.NumberHandling = ServerJson.Default.Options.NumberHandling;
        });
        builder.Services.AddOpenApi(openApi => openApi.AddDocumentTransformer((document, _, _) =>
        {
            document.Info = new() { Title = "Bert4Rec", Version = "v1" };
            if (_keys is null)
                return Task.CompletedTask;
            const string Scheme = "key";
            document.AddComponent(Scheme, new OpenApiSecurityScheme { Type = SecuritySchemeType.Http, Scheme = "bearer" });
            document.Security = [new() { [new OpenApiSecuritySchemeReference(Scheme, document)] = [] }];
            return Task.CompletedTask;
        }));
        builder.Services.AddOpenTelemetry().WithMetrics(ServerMetrics.Configure);
        builder.Logging.SetMinimumLevel(LogLevel.Warning).AddProvider(new LineLogger(_log));
        // What it says of a failed start is thrown too.
        builder.Logging.AddFilter("Microsoft.Extensions.Hosting", LogLevel.None);
        // It warns of each connection over the limit, and of each that a client broke off in a body.
        builder.Logging.AddFilter("Microsoft.AspNetCore.Server.Kestrel", LogLevel.Error);

        WebApplication app = builder.Build();
        foreach (string url in _options.Urls)
            app.Urls.Add(url);
        app.Use(Guard);
        _endpoints.Map(app);
        PageFiles.Map(app);
        app.MapOpenApi();
        app.MapPrometheusScrapingEndpoint().WithMetadata(new HttpMethodMetadata([HttpMethods.Get, HttpMethods.Head]));
        return app;
    }

    /// <summary>
    /// Stands around every request: asks for the key, limits the time, and answers with a problem wherever there is no other answer.
    /// </summary>
    private async Task Guard(HttpContext context, RequestDelegate next)
    {
        context.Response.Headers.XContentTypeOptions = "nosniff";
        if (_endpoints.IsDraining)
            context.Response.Headers.Connection = "close";
        CancellationToken connection = context.RequestAborted;
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(connection);
        limit.CancelAfter(_options.Timeout);
        context.RequestAborted = limit.Token;
        try
        {
            Endpoint? endpoint = context.GetEndpoint();
            if (_keys is not null && endpoint?.Metadata.GetMetadata<Open>() is null && !_keys.Allow(context.Request))
                throw new ProblemException(StatusCodes.Status401Unauthorized, "show a key: Authorization: Bearer KEY");
            if (endpoint?.Metadata.GetMetadata<MethodInfo>() is MethodInfo handler)
                CheckQuery(context.Request.Query, handler);
            await next(context);
            if (context.Response is { HasStarted: false, StatusCode: >= 400, ContentType: null })
                await Problem.Write(context, context.Response.StatusCode, Routing(context));
        }
        catch (ProblemException e)
        {
            await Problem.Write(context, e.Status, e.Message, e.Field);
        }
        catch (BadHttpRequestException e)
        {
            string detail = e.StatusCode == StatusCodes.Status413PayloadTooLarge
                ? $"the body is larger than {_options.MaxBody} bytes"
                : e.Message;
            await Problem.Write(context, e.StatusCode, detail);
        }
        catch (Exception) when (connection.IsCancellationRequested)
        {
            // Nobody waits for an answer.
        }
        catch (OperationCanceledException) when (limit.IsCancellationRequested)
        {
            await Problem.Write(
                context, StatusCodes.Status504GatewayTimeout, $"not done within {_options.Timeout.TotalSeconds} s; try again later");
        }
        catch (Exception e)
        {
            _log($"error: {context.Request.Method} {context.Request.Path}: {e.GetType().Name}: {e.Message}".ReplaceLineEndings(" "));
            await Problem.Write(context, StatusCodes.Status500InternalServerError, "an error of the server's, which its log tells of");
        }
    }

    /// <summary>What routing says without words.</summary>
    private static string Routing(HttpContext context) => context.Response.StatusCode switch
    {
        StatusCodes.Status404NotFound => "there is nothing at this address; /openapi/v1.json lists what there is",
        StatusCodes.Status405MethodNotAllowed => $"the method must be {context.Response.Headers.Allow}",
        StatusCodes.Status415UnsupportedMediaType => JsonBody.WrongType,
        _ => "the request is not understood",
    };

    /// <summary>Names the parameter that is unknown, or not of its type; it would be ignored, or refused without a name.</summary>
    private static void CheckQuery(IQueryCollection query, MethodInfo handler)
    {
        foreach ((string name, var values) in query)
        {
            ParameterInfo? parameter = handler.GetParameters().FirstOrDefault(
                each => each.GetCustomAttribute<FromQueryAttribute>() is { } query && (query.Name ?? each.Name) == name);
            string? wrong = parameter is null ? "unknown parameter"
                : values.Count > 1 ? "is given twice"
                : parameter.ParameterType == typeof(int?) && !int.TryParse(values, out _) ? "must be a whole number"
                : parameter.ParameterType == typeof(bool?) && !bool.TryParse(values, out _) ? "must be true or false"
                : null;
            if (wrong is not null)
                throw new ProblemException(StatusCodes.Status400BadRequest, $"{name}: {wrong}", name);
        }
    }

    /// <summary>Leaves the process's signals alone.</summary>
    private sealed class NoLifetime : IHostLifetime
    {
        public Task WaitForStartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
