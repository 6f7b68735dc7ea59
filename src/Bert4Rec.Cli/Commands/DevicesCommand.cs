using System.CommandLine;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Bert4Rec.Cli.Options;
using Bert4Rec.Cli.Output;
using Bert4Rec.Kernels.Gpu.Runtime;
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
            var cpu = new DeviceLine(
                "cpu", ProcessorName(), null, null, $"{VectorBits()}-bit vectors", null, VectorBits(), Environment.ProcessorCount);
            var devices = new[] { cpu }
                .Concat(GpuDevices.List().Select(gpu => new DeviceLine(
                    gpu.Id, gpu.Name, gpu.MemoryBytes, gpu.ComputeCapability, gpu.Kernels, gpu.Problem, null, null)))
                .Append(new DeviceLine(GpuDevices.Simulator, "ILGPU's simulator, for tests", null, null, "shared memory", null, null, null))
                .Append(new DeviceLine(GpuDevices.Emulator, "emulated sm_80, for proofs", null, "8.0", "warp shuffles", null, null, null))
                .ToArray();
            if (parsed.GetValue(json))
            {
                Report.WriteJson(terminal.Out, devices);
                foreach (string missing in GpuDevices.Missing())
                    terminal.Error.WriteLine(missing);
                return ExitCodes.Success;
            }
            var table = new Table { Border = TableBorder.Simple };
            table.AddColumns("device", "name", "memory", "capability", "kernels");
            foreach (var line in devices)
            {
                string memory = line.MemoryBytes is long bytes ? $"{bytes / (double)(1 << 30):F1} GB" : "";
                string kernels = line.Threads is int threads ? $"{line.Kernels}, {threads} threads" : line.Kernels;
                table.AddRow(
                    new Text(line.Device),
                    new Text(line.Name),
                    new Text(memory),
                    new Text(line.ComputeCapability ?? ""),
                    new Text(line.Problem is null ? kernels : "cannot be used"));
            }
            Report.WriteTable(terminal, table);
            foreach (var line in devices.Where(line => line.Problem is not null))
                terminal.Warn($"{line.Device}: {line.Problem}");
            foreach (string missing in GpuDevices.Missing())
                terminal.Out.WriteLine(missing);
            return ExitCodes.Success;
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

    private sealed record DeviceLine(
        string Device,
        string Name,
        long? MemoryBytes,
        string? ComputeCapability,
        string Kernels,
        string? Problem,
        int? VectorBits,
        int? Threads);
}
