using System.Text.RegularExpressions;

namespace Bert4Rec.Tools;

/// <summary>A loop that has no other inside it.</summary>
/// <param name="Opcodes">Its instructions in order, with their modifiers but without operands: "FFMA", "LDS.128".</param>
internal sealed record CodeLoop(IReadOnlyList<string> Opcodes)
{
    /// <summary>Instructions of one name; modifiers count: "LDS" is not "LDS.128".</summary>
    public int Count(string opcode) => Opcodes.Count(other => other == opcode);
}

/// <summary>What ptxas made of a kernel, as NVIDIA's disassembler lists it.</summary>
internal sealed partial class MachineCode
{
    private MachineCode(IReadOnlyList<string> opcodes, IReadOnlyList<CodeLoop> innerLoops)
    {
        Opcodes = opcodes;
        InnerLoops = innerLoops;
    }

    /// <summary>All instructions, in order.</summary>
    public IReadOnlyList<string> Opcodes { get; }

    /// <summary>In order.</summary>
    public IReadOnlyList<CodeLoop> InnerLoops { get; }

    /// <summary>The inner loop with the most multiply-adds.</summary>
    public CodeLoop MainLoop => InnerLoops.MaxBy(loop => loop.Count("FFMA"))
        ?? throw new InvalidOperationException("the kernel has no loop");

    /// <summary>nvdisasm beside <see cref="Ptxas"/>, or on the PATH; null where neither is.</summary>
    public static string? FindDisassembler() => Ptxas.Find("nvdisasm", Path.GetDirectoryName(Ptxas.Find()) ?? "");

    /// <param name="disassembler">Path of nvdisasm.</param>
    /// <param name="cubin">One kernel.</param>
    /// <exception cref="InvalidOperationException">nvdisasm refuses it; the message is its own.</exception>
    public static MachineCode Of(string disassembler, byte[] cubin)
    {
        string file = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(file, cubin);
            return Parse(Ptxas.Run("nvdisasm", disassembler, "-c", file));
        }
        finally
        {
            File.Delete(file);
        }
    }

    /// <param name="listing">Labels and instructions as nvdisasm -c prints them, a line each.</param>
    public static MachineCode Parse(string listing)
    {
        var opcodes = new List<string>();
        var labels = new Dictionary<string, int>();
        var jumps = new List<(int From, string To)>();
        foreach (string line in listing.Split('\n'))
        {
            if (Label().Match(line) is { Success: true } label)
            {
                labels[label.Groups[1].Value] = opcodes.Count;
            }
            else if (Instruction().Match(line) is { Success: true } instruction)
            {
                if (instruction.Groups["target"].Success && instruction.Groups["opcode"].Value.StartsWith("BRA", StringComparison.Ordinal))
                    jumps.Add((opcodes.Count, instruction.Groups["target"].Value));
                opcodes.Add(instruction.Groups["opcode"].Value);
            }
        }
        // A loop is what lies between a jump back and its target.
        (int First, int Last)[] loops =
            [.. jumps.Where(jump => labels[jump.To] <= jump.From).Select(jump => (labels[jump.To], jump.From)).Order()];
        var inner = loops.Where(loop => !loops.Any(other => other != loop && other.First >= loop.First && other.Last <= loop.Last));
        // An idle jump to itself ends every kernel.
        var found = inner.Where(loop => loop.Last > loop.First).Select(loop => new CodeLoop(opcodes[loop.First..(loop.Last + 1)]));
        return new(opcodes, [.. found]);
    }

    [GeneratedRegex(@"^\s*(\.L\w+):")]
    private static partial Regex Label();

    /// <summary>"/*0650*/ @!P0 BRA `(.L_x_1) ;"</summary>
    [GeneratedRegex(@"^\s*/\*[0-9a-f]{4,}\*/\s+(@!?U?P\w+\s+)?(?<opcode>[A-Z][\w.]*)[^`;]*(`\((?<target>\.L\w+)\))?")]
    private static partial Regex Instruction();
}
