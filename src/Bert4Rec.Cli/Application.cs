using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using System.Runtime.InteropServices;
using Bert4Rec.Cli.Commands;
using Bert4Rec.Cli.Options;
using Bert4Rec.Cli.Output;
using Bert4Rec.Distributed;
using Bert4Rec.Kernels;
using Bert4Rec.Training;

namespace Bert4Rec.Cli;

/// <summary>
/// The command <c>bert4rec</c>: parses, hands over to a subcommand, and turns what goes wrong into one line and an exit code.
/// </summary>
internal static class Application
{
    private const string TraceVariable = "BERT4REC_TRACE";

    /// <summary>Runs a command; under mpirun, on rank 0, whose orders the other ranks follow.</summary>
    public static int Run(string[] args, Terminal terminal)
    {
        try
        {
            using ProcessGroup ranks = MpiGroup.Join();
            return ranks.Rank == 0 ? Lead(args, terminal, ranks) : Follow(terminal, ranks);
        }
        catch (InputException e)
        {
            return Explain(e, terminal);
        }
    }

    private static int Lead(string[] args, Terminal terminal, ProcessGroup ranks)
    {
        int exitCode = Run(args, terminal, ranks);
        // What failed here may have been what the others are waiting for.
        if (ranks.IsAwaited)
            ranks.Abort(Math.Max(ExitCodes.Failed, exitCode));
        TrainingEngine.Dismiss(ranks);
        return exitCode;
    }

    /// <summary>Says nothing but what goes wrong. Whether to stop is for rank 0 to decide: mpirun gives every rank the signal.</summary>
    private static int Follow(Terminal terminal, ProcessGroup ranks)
    {
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, context => context.Cancel = true);
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, context => context.Cancel = true);
        try
        {
            TrainingEngine.Follow(ranks);
            return ExitCodes.Success;
        }
        catch (Exception e)
        {
            int exitCode = Explain(Unwrap(e), terminal, $"rank {ranks.Rank} on {Environment.MachineName}: ");
            ranks.Abort(exitCode);
            return exitCode;
        }
    }

    private static int Run(string[] args, Terminal terminal, ProcessGroup ranks)
    {
        Command[] trainings =
        [
            RunCommand.Create(terminal, ranks),
            TrainCommand.Create(terminal, ranks),
            TuneCommand.Create(terminal, ranks),
        ];
        // Not a RootCommand: that one would go by the file's name, Bert4Rec.Cli.
        var root = new Command("bert4rec", "Trains BERT4Rec on purchase histories and recommends what comes next.")
        {
            trainings[0],
            trainings[1],
            trainings[2],
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
        foreach (Command subcommand in root.Subcommands)
            CommonOptions.RefuseEmpty(subcommand, mayBeEmpty: "--history");
        // A token may begin with '@'; it is no file of further arguments.
        ParseResult parsed = root.Parse(args, new ParserConfiguration { ResponseFileTokenReplacer = null });
        if (parsed.Action is ParseErrorAction usage)
        {
            usage.ShowHelp = args.Length == 0;
            using var text = new StringWriter();
            parsed.Invoke(new InvocationConfiguration { Output = text, Error = text });
            if (usage.ShowHelp)
            {
                terminal.Complain(text.ToString());
                return ExitCodes.WrongUsage;
            }
            foreach (string line in text.ToString().ReplaceLineEndings("\n").Split('\n').Where(line => line.Length > 0))
                terminal.Complain($"{line}\n");
            terminal.Complain($"see: {CommandPath(parsed)} --help\n");
            return ExitCodes.WrongUsage;
        }
        Command command = parsed.CommandResult.Command;
        if (ranks.Size > 1 && parsed.Action == command.Action && !trainings.Contains(command))
        {
            terminal.Complain(
                $"error: {CommandPath(parsed)} is for one process, and mpirun started {ranks.Size}; run, train and tune share their "
                + "work\n");
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
            return Explain(Unwrap(e), terminal, command: command);
        }
    }

    /// <summary>What went wrong, as one line: what the user can act on as it is, anything else with its type, to be reported.</summary>
    private static int Explain(Exception e, Terminal terminal, string where = "", Command? command = null)
    {
        string message = e switch
        {
            InputException or DeviceException or IOException or UnauthorizedAccessException => e.Message,
            DllNotFoundException or TypeInitializationException { InnerException: DllNotFoundException } =>
                "Parquet and ONNX need a library that there is for Linux with glibc, Windows and macOS, and not for this system; give and "
                + "take .csv in place of .parquet",
            OutOfMemoryException => $"out of memory{LessMemory(command)}",
            _ => $"this should not happen: {e.GetType().Name}: {e.Message} ({TraceVariable}=1 shows where)",
        };
        terminal.Complain($"error: {where}{Terminal.OneLine(message)}\n");
        if (Environment.GetEnvironmentVariable(TraceVariable) == "1")
            terminal.Complain($"{e.StackTrace}\n");
        return e is InputException { IsWrongUsage: true } ? ExitCodes.WrongUsage : ExitCodes.Failed;
    }

    /// <param name="command">The one that ran; null for a rank of a training.</param>
    private static string LessMemory(Command? command)
    {
        string[] names = [.. command?.Options.Select(option => option.Name) ?? ["--set"]];
        return names switch
        {
            _ when names.Contains("--set") => "; try less of it: a smaller train_batch_size or model, or fewer --threads",
            _ when names.Contains("--users") => "; try fewer --users, --items or --interactions",
            _ when names.Contains("--threads") => "; try fewer --threads",
            _ => "",
        };
    }

    /// <summary>The first of the exceptions that came out of several threads.</summary>
    private static Exception Unwrap(Exception e) => e is AggregateException aggregate ? aggregate.Flatten().InnerExceptions[0] : e;

    private static string CommandPath(ParseResult parsed) => parsed.CommandResult.Command == parsed.RootCommandResult.Command
        ? "bert4rec"
        : $"bert4rec {parsed.CommandResult.Command.Name}";
}
