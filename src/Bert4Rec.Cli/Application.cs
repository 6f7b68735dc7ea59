using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using Bert4Rec.Cli.Commands;
using Bert4Rec.Cli.Options;
using Bert4Rec.Cli.Output;
using Bert4Rec.Kernels;

namespace Bert4Rec.Cli;

/// <summary>
/// The command <c>bert4rec</c>: parses, hands over to a subcommand, and turns what goes wrong into one line and an exit code.
/// </summary>
internal static class Application
{
    private const string TraceVariable = "BERT4REC_TRACE";

    public static int Run(string[] args, Terminal terminal)
    {
        // Not a RootCommand: that one would go by the file's name, Bert4Rec.Cli.
        var root = new Command("bert4rec", "Trains BERT4Rec on purchase histories and recommends what comes next.")
        {
            RunCommand.Create(terminal),
            TrainCommand.Create(terminal),
            TuneCommand.Create(terminal),
            EvaluateCommand.Create(terminal),
            UpdateCommand.Create(terminal),
            RecommendCommand.Create(terminal),
            ExportCommand.Create(terminal),
            ServeCommand.Create(terminal),
            AnalyzeCommand.Create(terminal),
            CleanCommand.Create(terminal),
            ConvertCommand.Create(terminal),
            SynthesizeCommand.Create(terminal),
            GradientCheckCommand.Create(terminal),
            DevicesCommand.Create(terminal),
            new HelpOption(),
            new VersionOption(),
        };
        foreach (Command command in root.Subcommands)
            CommonOptions.RefuseEmpty(command, mayBeEmpty: "--history");
        // A token may begin with '@'; it is no file of further arguments.
        ParseResult parsed = root.Parse(args, new ParserConfiguration { ResponseFileTokenReplacer = null });
        if (parsed.Action is ParseErrorAction usage)
        {
            usage.ShowHelp = args.Length == 0;
            using var text = new StringWriter();
            parsed.Invoke(new InvocationConfiguration { Output = text, Error = text });
            if (usage.ShowHelp)
            {
                terminal.Error.Write(text);
                return ExitCodes.WrongUsage;
            }
            foreach (string line in text.ToString().ReplaceLineEndings("\n").Split('\n').Where(line => line.Length > 0))
                terminal.Error.WriteLine(line);
            terminal.Error.WriteLine($"see: {CommandPath(parsed)} --help");
            return ExitCodes.WrongUsage;
        }
        try
        {
            return parsed.Invoke(new InvocationConfiguration
            {
                Output = terminal.Out,
                Error = terminal.Error,
                EnableDefaultExceptionHandler = false,
                ProcessTerminationTimeout = null,
            });
        }
        catch (Exception e)
        {
            return Explain(Unwrap(e), terminal);
        }
    }

    /// <summary>What went wrong, as one line: what the user can act on as it is, anything else with its type, to be reported.</summary>
    private static int Explain(Exception e, Terminal terminal)
    {
        string message = e switch
        {
            InputException or DeviceException or IOException or UnauthorizedAccessException => e.Message,
            OutOfMemoryException => "out of memory; try less of it: a smaller train_batch_size or model, or fewer --threads",
            _ => $"this should not happen: {e.GetType().Name}: {e.Message} ({TraceVariable}=1 shows where)",
        };
        terminal.Error.WriteLine($"error: {Terminal.OneLine(message)}");
        if (Environment.GetEnvironmentVariable(TraceVariable) == "1")
            terminal.Error.WriteLine(e.StackTrace);
        return e is InputException { IsWrongUsage: true } ? ExitCodes.WrongUsage : ExitCodes.Failed;
    }

    /// <summary>The first of the exceptions that came out of several threads.</summary>
    private static Exception Unwrap(Exception e) => e is AggregateException aggregate ? aggregate.Flatten().InnerExceptions[0] : e;

    private static string CommandPath(ParseResult parsed) => parsed.CommandResult.Command == parsed.RootCommandResult.Command
        ? "bert4rec"
        : $"bert4rec {parsed.CommandResult.Command.Name}";
}
