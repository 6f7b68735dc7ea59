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
        return string.IsNullOrEmpty(given) ? Find("ptxas") : given;
    }

    /// <summary>A tool in one of the folders, or on the PATH; null where it is in neither.</summary>
    public static string? Find(string tool, params string[] folders) =>
        folders.Concat((Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator))
            .Select(folder => Path.Combine(folder, OperatingSystem.IsWindows() ? $"{tool}.exe" : tool)).FirstOrDefault(File.Exists);

    /// <summary>What a tool prints, errors first.</summary>
    /// <param name="name">For messages.</param>
    /// <param name="path">Of the tool.</param>
    /// <param name="arguments">What it is given.</param>
    /// <exception cref="InvalidOperationException">It fails; the message is its own.</exception>
    public static string Run(string name, string path, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(path, arguments)
        {
            RedirectStandardError = true,
            RedirectStandardOutput = true,
        })!;
        var output = process.StandardOutput.ReadToEndAsync();
        string printed = process.StandardError.ReadToEnd() + output.Result;
        process.WaitForExit();
        return process.ExitCode == 0 ? printed : throw new InvalidOperationException($"{name}: {printed}");
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
            string report = Run("ptxas", ptxas, "-v", $"-arch={architecture}", "-o", cubin, source);
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
