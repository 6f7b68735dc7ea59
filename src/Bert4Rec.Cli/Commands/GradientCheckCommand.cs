using System.CommandLine;
using Bert4Rec.Checking;
using Bert4Rec.Cli.Options;
using Bert4Rec.Cli.Output;
using Bert4Rec.Kernels;
using Bert4Rec.Model;
using Spectre.Console;

namespace Bert4Rec.Cli.Commands;

/// <summary><c>gradcheck</c>: every kernel of a device against the double-precision formula and its central differences.</summary>
internal static class GradientCheckCommand
{
    public static Command Create(Terminal terminal)
    {
        Option<string> device = CommonOptions.Device();
        Option<Precision> precision = CommonOptions.Precision(device);
        Option<int?> seed = CommonOptions.Seed("Seed of the random operands. [default: 1]");
        Option<bool> json = CommonOptions.Json();
        var kernel = new Option<string?>("--kernel")
        {
            Description = $"Check this one only: {string.Join(", ", GradientCheck.Kernels)}.",
            HelpName = "NAME",
        };
        kernel.AcceptOnlyFromAmong([.. GradientCheck.Kernels]);
        var broken = new Option<string?>("--break")
        {
            Description = "Make this kernel's backward (its result, if it has none) wrong by a factor of 1.01, or where the precision's "
                + "bound is wider by five times the bound, to see it caught; of the cloze mask, which has no gradient, one target: "
                + $"{string.Join(", ", GradientCheck.Breakable)}.",
            HelpName = "NAME",
        };
        broken.AcceptOnlyFromAmong([.. GradientCheck.Breakable]);
        var command = new Command("gradcheck", "Checks every kernel, forward and backward, on a device.")
        {
            device, precision, kernel, broken, seed, json,
        };
        command.SetAction(parsed =>
        {
            var what = parsed.GetValue(precision);
            int number = parsed.GetValue(seed) ?? 1;
            using var devices = new DeviceSet(parsed.GetRequiredValue(device), 1, what);
            if (devices.Note is string note)
                terminal.Error.WriteLine(note);
            IReadOnlyList<CheckResult> results;
            using (var progress = new ProgressReporter(terminal))
            {
                results = GradientCheck.Run(
                    devices.Kernels[0], parsed.GetValue(kernel), number, parsed.GetValue(broken), progress, what);
            }
            int failed = results.Count(result => !result.Passed);
            string name = devices.Kernels[0].Name;
            if (parsed.GetValue(json))
            {
                Report.WriteJson(terminal.Out, results.Select(result => new
                {
                    result.Kernel,
                    result.Shape,
                    result.ForwardError,
                    result.BackwardError,
                    result.DifferencesError,
                    result.Bound,
                    result.Passed,
                    Device = name,
                    Precision = what.Name(),
                    Seed = number,
                }));
            }
            else
            {
                terminal.Out.WriteLine($"{name}, {what.Name()}, seed {number}");
                Write(terminal, results, failed);
            }
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
                new Text(result.BackwardError is not null && result.DifferencesError is null ? "-" : Error(result.DifferencesError)),
                new Text($"{result.Bound:0e+0}"),
                new Text(result.Passed ? "ok" : "WRONG", new Style(result.Passed ? Color.Green : Color.Red)));
        }
        Report.WriteTable(terminal, table);
        if (results.Any(result => result.BackwardError is not null && result.DifferencesError is null))
            terminal.Out.WriteLine("-: too large for differences, compared with the derivation alone");
        string checks = results.Count == 1 ? "check" : "checks";
        terminal.Out.WriteLine(failed > 0 ? $"{failed} of {results.Count} {checks} failed"
            : results.Count == 1 ? "the one check passed" : $"all {results.Count} checks passed");
    }

    private static string Error(double? error) => error is double value ? $"{value:0.0e+0}" : "none";
}
