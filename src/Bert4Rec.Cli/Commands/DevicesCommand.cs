using System.CommandLine;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Spectre.Console;

namespace Bert4Rec.Cli.Commands;

/// <summary><c>devices</c>: what --device can name on this machine.</summary>
internal static class DevicesCommand
{
    public static Command Create(Terminal terminal)
    {
        Option<bool> json = CommonOptions.Json();
        var command = new Command("devices", "Lists the devices of this machine.") { json };
        command.SetAction(parsed =>
        {
            var cpu = new { device = "cpu", name = ProcessorName(), vectorBits = VectorBits(), threads = Environment.ProcessorCount };
            if (parsed.GetValue(json))
            {
                Report.WriteJson(terminal.Out, new[] { cpu });
                return Application.Success;
            }
            var table = new Table { Border = TableBorder.Simple };
            table.AddColumns("device", "name", "vectors", "threads");
            table.AddRow(new Text(cpu.device), new Text(cpu.name), new Text($"{cpu.vectorBits} bits"), new Text($"{cpu.threads}"));
            Report.WriteTable(terminal.Out, terminal.OutIsTerminal, table);
            return Application.Success;
        });
        return command;
    }

    /// <summary>The widest vectors that the kernels use here.</summary>
    private static int VectorBits() =>
        Vector512.IsHardwareAccelerated ? 512 : Vector256.IsHardwareAccelerated ? 256 : Vector128.IsHardwareAccelerated ? 128 : 0;

    private static string ProcessorName()
    {
        const string CpuInfo = "/proc/cpuinfo";
        string? line = File.Exists(CpuInfo)
            ? File.ReadLines(CpuInfo).FirstOrDefault(line => line.StartsWith("model name", StringComparison.Ordinal))
            : null;
        return line is null
            ? Environment.GetEnvironmentVariable("PROCESSOR_IDENTIFIER") ?? RuntimeInformation.ProcessArchitecture.ToString()
            : line[(line.IndexOf(':') + 1)..].Trim();
    }
}
