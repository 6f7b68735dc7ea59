using Microsoft.Extensions.Logging;

namespace Bert4Rec.Server;

/// <summary>What ASP.NET Core warns of, a line each.</summary>
internal sealed class LineLogger(Action<string> log) : ILoggerProvider, ILogger
{
    public ILogger CreateLogger(string categoryName) => this;

    public bool IsEnabled(LogLevel logLevel) => logLevel is >= LogLevel.Warning and < LogLevel.None;

    public void Log<TState>(
        LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        // Not everybody asks first.
        if (!IsEnabled(logLevel))
            return;
        string message = formatter(state, exception) + (exception is null ? "" : $": {exception.Message}");
        log($"{(logLevel == LogLevel.Warning ? "warning" : "error")}: {message.ReplaceLineEndings(" ")}");
    }

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public void Dispose()
    {
        // There is nothing to close.
    }
}
