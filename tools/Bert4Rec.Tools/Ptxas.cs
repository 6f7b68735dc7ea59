using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;

namespace Bert4Rec.Tools;

/// <summary>What a kernel takes of a multiprocessor, as ptxas -v says.</summary>
/// <param name="Registers">Of a thread.</param>
/// <param name="SharedBytes">Of a group.</param>
/// <param name="StackBytes">Local memory of a thread.</param>
/// <param name="SpillBytes">Stored and loaded because registers ran out.</param>
/// <param name="Cubin">The machine code.</param>
internal sealed record PtxasUsage(int Registers, int SharedBytes, int StackBytes, int SpillBytes, byte[] Cubin);

/// <summary>NVIDIA's assembler, where it is installed.</summary>
internal static partial class Ptxas
{
    /// <summary>$BERT4REC_PTXAS, or ptxas on the PATH; null where neither is.</summary>
    public static string? Find()
    {
        string? given = Environment.GetEnvironmentVariable("BERT4REC_PTXAS");
        if (!string.IsNullOrEmpty(given))
            return given;
        return (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator)
            .Select(folder => Path.Combine(folder, OperatingSystem.IsWindows() ? "ptxas.exe" : "ptxas")).FirstOrDefault(File.Exists);
    }

    /// <param name="ptxas">Its path.</param>
    /// <param name="ptx">A kernel.</param>
    /// <param name="architecture">Such as "sm_80".</param>
    /// <exception cref="InvalidOperationException">ptxas refuses it; the message is its own.</exception>
    public static PtxasUsage Assemble(string ptxas, string ptx, string architecture)
    {
        string folder = Directory.CreateTempSubdirectory("bert4rec-ptx").FullName;
        try
        {
            string source = Path.Combine(folder, "kernel.ptx"), cubin = Path.Combine(folder, "kernel.cubin");
            File.WriteAllText(source, ptx);
            using var process = Process.Start(new ProcessStartInfo(ptxas, ["-v", $"-arch={architecture}", "-o", cubin, source])
            {
                RedirectStandardError = true,
                RedirectStandardOutput = true,
            })!;
            var output = process.StandardOutput.ReadToEndAsync();
            string report = process.StandardError.ReadToEnd() + output.Result;
            process.WaitForExit();
            if (process.ExitCode != 0)
                throw new InvalidOperationException($"ptxas: {report}");
            return new(
                Number(report, Registers()), Number(report, Shared()), Number(report, Stack()),
                Number(report, SpillStores()) + Number(report, SpillLoads()), File.ReadAllBytes(cubin));
        }
        finally
        {
            Directory.Delete(folder, true);
        }
    }

    private static int Number(string report, Regex pattern)
    {
        var match = pattern.Match(report);
        return match.Success ? int.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture) : 0;
    }

    [GeneratedRegex(@"Used (\d+) registers")]
    private static partial Regex Registers();

    [GeneratedRegex(@"(\d+) bytes smem")]
    private static partial Regex Shared();

    [GeneratedRegex(@"(\d+) bytes stack frame")]
    private static partial Regex Stack();

    [GeneratedRegex(@"(\d+) bytes spill stores")]
    private static partial Regex SpillStores();

    [GeneratedRegex(@"(\d+) bytes spill loads")]
    private static partial Regex SpillLoads();
}
