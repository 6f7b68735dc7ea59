using Bert4Rec.Cli;
using Bert4Rec.Cli.Output;

namespace Bert4Rec.Tests.Cli;

/// <summary>Runs the command in this process, its output caught.</summary>
internal static class CommandLine
{
    public sealed record Outcome(int ExitCode, string Out, string Error)
    {
        public string[] Lines => Out.Split('\n', StringSplitOptions.RemoveEmptyEntries);

        /// <summary>Warnings and errors: what takes two seconds on a busy machine shows its progress among them.</summary>
        public string[] Complaints =>
        [
            .. Error.Split('\n').Where(
                line => line.StartsWith("warning", StringComparison.Ordinal) || line.StartsWith("error", StringComparison.Ordinal)),
        ];
    }

    public static Outcome Run(params string[] args) => RunWithInput("", args);

    public static Outcome RunWithInput(string input, params string[] args)
    {
        using var output = new StringWriter { NewLine = "\n" };
        using var error = new StringWriter { NewLine = "\n" };
        var terminal = new Terminal(output, error, new StringReader(input), OutIsTerminal: false, ErrorIsTerminal: false);
        int exitCode = Application.Run(args, terminal);
        return new Outcome(exitCode, output.ToString(), error.ToString());
    }
}
