using System.Security;
using Xunit.Abstractions;
using Xunit.Sdk;

namespace Bert4Rec.Tests;

/// <summary>
/// Runs tests in a process of its own, where no test host runs: under an emulator of another processor. Arguments: the file for the
/// results, in the part of .trx that .ci/run counts; then words, of which a test's name must have one; then, after "--not", words that it
/// must not have.
/// </summary>
internal static class Program
{
    public static int Main(string[] arguments)
    {
        string[] words = [.. arguments[1..].TakeWhile(word => word != "--not")];
        string[] excluded = [.. arguments[(words.Length + 1)..]];
        var assembly = typeof(Program).Assembly;
        var options = new Options();
        using var found = new Sink<IDiscoveryCompleteMessage>();
        using var framework = new XunitTestFramework(found);
        framework.GetDiscoverer(Reflector.Wrap(assembly)).Find(includeSourceInformation: false, found, options);
        found.Wait();
        ITestCase[] cases =
        [
            .. found.Messages.OfType<ITestCaseDiscoveryMessage>().Select(message => message.TestCase)
                .Where(test => words.Any(test.DisplayName.Contains) && !excluded.Any(test.DisplayName.Contains)),
        ];
        using var run = new Sink<ITestAssemblyFinished>();
        framework.GetExecutor(assembly.GetName()).RunTests(cases, run, options);
        run.Wait();
        File.WriteAllLines(arguments[0], run.Messages.OfType<ITestResultMessage>().Select(result =>
            $"<UnitTestResult testName=\"{SecurityElement.Escape(result.Test.DisplayName)}\" outcome=\"{OutcomeOf(result)}\" />"));
        foreach (var failed in run.Messages.OfType<ITestFailed>())
            Console.WriteLine($"{failed.Test.DisplayName}\n{string.Join('\n', failed.Messages)}\n{failed.StackTraces.FirstOrDefault()}");
        int[] counts = [run.Count<ITestPassed>(), run.Count<ITestFailed>(), run.Count<ITestSkipped>()];
        Console.WriteLine($"{counts[0]} passed, {counts[1]} failed, {counts[2]} skipped");
        return counts[0] > 0 && counts[1] == 0 && run.Count<IErrorMessage>() == 0 ? 0 : 1;
    }

    private static string OutcomeOf(ITestResultMessage result) => result switch
    {
        ITestPassed => "Passed",
        ITestSkipped => "NotExecuted",
        _ => "Failed",
    };

    /// <summary>Gathers what is told, to the last message.</summary>
    private sealed class Sink<TLast> : LongLivedMarshalByRefObject, IMessageSink, IDisposable
    {
        private readonly ManualResetEventSlim _isDone = new();

        public List<IMessageSinkMessage> Messages { get; } = [];

        public int Count<T>() => Messages.OfType<T>().Count();

        public bool OnMessage(IMessageSinkMessage message)
        {
            lock (Messages)
                Messages.Add(message);
            if (message is TLast)
                _isDone.Set();
            return true;
        }

        public void Wait() => _isDone.Wait();

        public void Dispose() => _isDone.Dispose();
    }

    private sealed class Options : ITestFrameworkDiscoveryOptions, ITestFrameworkExecutionOptions
    {
        private readonly Dictionary<string, object?> _values = [];

        public TValue GetValue<TValue>(string name) => _values.TryGetValue(name, out object? value) ? (TValue)value! : default!;

        public void SetValue<TValue>(string name, TValue value) => _values[name] = value;
    }
}
