using System.Text;
using Bert4Rec.Distributed;
using Spectre.Console;

namespace Bert4Rec.Cli.Output;

/// <summary>Where a command reads and writes: results to <see cref="Out"/>, progress, warnings and errors to <see cref="Error"/>.</summary>
/// <param name="OutIsTerminal">Somebody watches the output: tables instead of TSV.</param>
/// <param name="ErrorIsTerminal">Somebody watches the errors: progress is drawn in place instead of line by line.</param>
internal sealed record Terminal(TextWriter Out, TextWriter Error, TextReader In, bool OutIsTerminal, bool ErrorIsTerminal)
{
    private static readonly UTF8Encoding s_utf8 = new(encoderShouldEmitUTF8Identifier: false);

    public static Terminal OfProcess()
    {
        if (!MpiGroup.IsLaunched)
        {
            return new(
                Console.IsOutputRedirected ? Writer(Console.OpenStandardOutput()) : Console.Out,
                Console.IsErrorRedirected ? Writer(Console.OpenStandardError()) : Console.Error,
                Console.IsInputRedirected ? new StreamReader(Console.OpenStandardInput(), s_utf8) : Console.In,
                !Console.IsOutputRedirected,
                !Console.IsErrorRedirected);
        }
        // mpirun passes on what it reads from a terminal of its own, whether or not somebody watches: .NET must not greet that.
        Environment.SetEnvironmentVariable("TERM", "dumb");
        return new(
            Writer(Console.OpenStandardOutput()),
            Writer(Console.OpenStandardError()),
            TextReader.Null,
            OutIsTerminal: false,
            ErrorIsTerminal: false);
    }

    /// <summary>What another program reads has the same bytes on every system, whatever the locale or the console's code page.</summary>
    private static TextWriter Writer(Stream stream) =>
        TextWriter.Synchronized(new StreamWriter(stream, s_utf8) { AutoFlush = true, NewLine = "\n" });

    /// <summary>Spectre's view of a writer: plain text of any width where nobody watches.</summary>
    public static IAnsiConsole Draw(TextWriter writer, bool isTerminal)
    {
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings
        {
            Out = new AnsiConsoleOutput(writer),
            Ansi = isTerminal ? AnsiSupport.Detect : AnsiSupport.No,
            ColorSystem = isTerminal ? ColorSystemSupport.Detect : ColorSystemSupport.NoColors,
            Interactive = InteractionSupport.No,
        });
        if (!isTerminal)
            console.Profile.Width = int.MaxValue / 2;
        return console;
    }

    public void Warn(string message) => Error.WriteLine($"warning: {OneLine(message)}");

    /// <summary>Writes to <see cref="Error"/> why the command fails; where nobody can read it, the exit code says that it does.</summary>
    public void Complain(string text)
    {
        try
        {
            Error.Write(text);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
        }
    }

    /// <summary>A path, fit for a command line that is printed.</summary>
    public static string Quote(string path) => path.Contains(' ') ? $"\"{path}\"" : path;

    /// <summary>What a file contained may stand in a message; it must not break the line.</summary>
    public static string OneLine(string message) => message.ReplaceLineEndings(" ");
}
