using System.CommandLine;
using Bert4Rec.Checking;
using Bert4Rec.Cli.Options;
using Bert4Rec.Cli.Output;
using Bert4Rec.Kernels;
using Spectre.Console;

namespace Bert4Rec.Cli.Commands;

/// <summary><c>gradcheck</c>: every kernel of a device against the double-precision formula and its central differences.</summary>
internal static class GradientCheckCommand
{
    public static Command Create(Terminal terminal)
    {
        Option<string> device = CommonOptions.Device();
        Option<Precision> precision = CommonOptions.Precision(device);
        Option<int?> seed = CommonOptions.Seed();
        Option<bool> json = CommonOptions.Json();
        var kernel = new Option<string?>("--kernel") { Description = "Check this one only.", HelpName = "NAME" };
        kernel.AcceptOnlyFromAmong([.. GradientCheck.Kernels]);
        var broken = new Option<string?>("--break")
        {
            Description = "Make this kernel's backward (its result, if it has none) wrong by a factor of 1.01, to see it caught; "
                + "of the cloze mask, which has no gradient, one target.",
            HelpName = "NAME",
        };
        broken.AcceptOnlyFromAmong([.. GradientCheck.Breakable]);
        var command = new Command("gradcheck", "Checks every kernel, forward and backward, on a device.")
        {
            device, precision, kernel, broken, seed, json,
        };
        command.Validators.Add(result =>
        {
            // A whole model is made of the others.
            string? one = Given(kernel), other = Given(broken);
            if (one is not null && other is not null && one != other && GradientCheck.Breakable.Contains(one))
                result.AddError($"--break {other} would not be seen: --kernel checks {one} alone.");

            // One that was refused has no value.
            string? Given(Option<string?> option) =>
                result.GetResult(option) is { } given && !given.Errors.Any() ? result.GetValue(option) : null;
        });
        command.SetAction(parsed =>
        {
            var progress = new ProgressReporter(terminal);
            var results = GradientCheck.Run(
                parsed.GetRequiredValue(device), parsed.GetValue(kernel), parsed.GetValue(seed) ?? 1, parsed.GetValue(broken), progress,
                parsed.GetValue(precision));
            progress.Clear();
            int failed = results.Count(result => !result.Passed);
            if (parsed.GetValue(json))
                Report.WriteJson(terminal.Out, results);
            else
                Write(terminal, results, failed);
            return failed == 0 ? ExitCodes.Success : ExitCodes.Failed;
        });
        return command;
    }

    private static void Write(Terminal terminal, IReadOnlyList<CheckResult> results, int failed)
    {
        var table = new Table { Border = TableBorder.Simple };
        table.AddColumns("kernel", "shape", "forward", "backward", "differences", "bound", "verdict");
        foreach (var result in results)
        {
            table.AddRow(
                new Text(result.Kernel),
                new Text(result.Shape),
                new Text($"{result.ForwardError:0.0e+0}"),
                new Text(Error(result.BackwardError)),
                new Text(Error(result.DifferencesError)),
                new Text($"{result.Bound:0e+0}"),
                new Text(result.Passed ? "ok" : "WRONG", new Style(result.Passed ? Color.Green : Color.Red)));
        }
        Report.WriteTable(terminal.Out, terminal.OutIsTerminal, table);
        terminal.Out.WriteLine(failed == 0 ? $"all {results.Count} checks passed" : $"{failed} of {results.Count} checks failed");
    }

    private static string Error(double? error) => error is double value ? $"{value:0.0e+0}" : "none";
}
