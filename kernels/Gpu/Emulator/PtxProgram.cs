using System.Globalization;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;

namespace Bert4Rec.Kernels.Gpu.Emulator;

internal enum InstructionKind
{
    Step,
    Branch,
    Return,
    Barrier,
}

/// <summary>An instruction, decoded.</summary>
/// <param name="Line">Of the PTX.</param>
/// <param name="Text">Of the PTX.</param>
/// <param name="Opcode">With its modifiers.</param>
internal sealed record Instruction(int Line, string Text, string Opcode)
{
    public InstructionKind Kind { get; init; }

    /// <summary>What the active lanes do; null for what changes the path.</summary>
    public Action<Warp>? Step { get; set; }

    /// <summary>The predicate that it depends on; −1 for none.</summary>
    public int Guard { get; init; } = -1;

    /// <summary>Whether it is executed where the guard is false.</summary>
    public bool IsNegated { get; init; }

    /// <summary>Of a branch: promises that all lanes take the same path.</summary>
    public bool IsUniform => Opcode == "bra.uni";

    /// <summary>Where a branch leads.</summary>
    public int Target { get; set; }

    /// <summary>Where both paths of a branch have joined again: its immediate postdominator; int.MaxValue for the end.</summary>
    public int Join { get; set; } = int.MaxValue;
}

/// <summary>
/// A kernel in PTX (NVIDIA, "Parallel Thread Execution ISA"), as ILGPU writes it: decoded once, with a place in the register file for each
/// register and each constant.
/// </summary>
internal sealed partial class PtxProgram
{
    private readonly Dictionary<string, int> _registers = [];
    private readonly Dictionary<string, int> _predicates = [];
    private readonly Dictionary<string, long> _symbols = [];
    private readonly List<(int Slot, ulong Value, int Size)> _constants = [];
    private readonly List<(int Slot, string Special)> _specials = [];
    private readonly List<Instruction> _code = [];
    private readonly Lazy<HashSet<Instruction>> _removed;

    /// <param name="name">For messages.</param>
    /// <param name="ptx">A module with one kernel.</param>
    /// <exception cref="DeviceException">An instruction that is not known here; the message has it.</exception>
    public PtxProgram(string name, string ptx)
    {
        Name = name;
        _removed = new(FindRemoved);
        var labels = new Dictionary<string, int>();
        var targets = new List<(Instruction Branch, string Label)>();
        string[] lines = ptx.Split('\n');
        for (int i = 0; i < lines.Length; i++)
        {
            string line = lines[i].Split("//")[0].Trim();
            if (line.Length <= 1 || Declare(line))
                continue;
            if (line.EndsWith(':'))
            {
                labels[line[..^1]] = _code.Count;
                continue;
            }
            foreach (string text in line.Split(';', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
                Decode(i + 1, text, targets);
        }
        foreach (var (branch, label) in targets)
            branch.Target = labels[label];
        FindJoins();
    }

    public string Name { get; }

    public IReadOnlyList<Instruction> Code => _code;

    public int ParameterBytes { get; private set; }

    public int SharedBytes { get; private set; }

    /// <summary>Of a lane.</summary>
    public int LocalBytes { get; private set; }

    /// <summary>Size of the register file of a warp.</summary>
    public int RegisterVectors { get; private set; }

    public int Predicates => _predicates.Count;

    /// <summary>With their sizes in bytes, 4 or 8.</summary>
    public IReadOnlyList<(int Slot, ulong Value, int Size)> Constants => _constants;

    /// <summary>Registers that tell a thread its place: "%tid.x".</summary>
    public IReadOnlyList<(int Slot, string Special)> Specials => _specials;

    /// <summary>Whether NVIDIA's assembler may be expected to do away with an instruction, for counts.</summary>
    public bool IsRemoved(Instruction instruction) => _removed.Value.Contains(instruction);

    /// <summary>Where a register lies that is written.</summary>
    public int Register<T>(string name)
    {
        bool isWide = name.StartsWith("%rd", StringComparison.Ordinal) || name.StartsWith("%fd", StringComparison.Ordinal);
        if (!name.StartsWith('%') || name.StartsWith("%p", StringComparison.Ordinal) || isWide != (Unsafe.SizeOf<T>() == sizeof(ulong)))
            throw new NotSupportedException($"{name} is no register of {8 * Unsafe.SizeOf<T>()} bits");
        return Slot(name, Unsafe.SizeOf<T>());
    }

    /// <summary>Where an operand lies: a register, a constant, or the address of a variable.</summary>
    public int Operand<T>(string text)
    {
        if (SpecialRegister().IsMatch(text))
        {
            bool isNew = !_registers.ContainsKey(text);
            int slot = Slot(text, sizeof(uint));
            if (isNew)
                _specials.Add((slot, text));
            return slot;
        }
        if (text.StartsWith('%'))
            return Register<T>(text);
        return Constant(Value(text), Unsafe.SizeOf<T>());
    }

    public int Predicate(string name)
    {
        if (!name.StartsWith("%p", StringComparison.Ordinal))
            throw new NotSupportedException($"{name} is no predicate");
        if (!_predicates.TryGetValue(name, out int index))
            _predicates[name] = index = _predicates.Count;
        return index;
    }

    private int Constant(ulong value, int size)
    {
        string name = $"{value}:{size}";
        bool isNew = !_registers.ContainsKey(name);
        int slot = Slot(name, size);
        if (isNew)
            _constants.Add((slot, value, size));
        return slot;
    }

    private int Slot(string name, int vectors)
    {
        if (!_registers.TryGetValue(name, out int slot))
        {
            _registers[name] = slot = RegisterVectors;
            RegisterVectors += vectors;
        }
        return slot;
    }

    private ulong Value(string text)
    {
        if (_symbols.TryGetValue(text, out long address))
            return (ulong)address;
        if (text is ['0', 'f' or 'F' or 'd' or 'D' or 'x' or 'X', .. var digits])
            return ulong.Parse(digits, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        return text.StartsWith('-')
            ? (ulong)long.Parse(text, CultureInfo.InvariantCulture)
            : ulong.Parse(text, CultureInfo.InvariantCulture);
    }

    /// <summary>Takes what is no instruction.</summary>
    private bool Declare(string line)
    {
        if (Parameter().Match(line) is { Success: true } parameter)
        {
            ParameterBytes = int.Parse(parameter.Groups[1].Value, CultureInfo.InvariantCulture);
        }
        else if (Variable().Match(line) is { Success: true } variable)
        {
            int alignment = int.Parse(variable.Groups["align"].Value, CultureInfo.InvariantCulture);
            int size = int.Parse(variable.Groups["size"].Value, CultureInfo.InvariantCulture);
            bool isShared = variable.Groups["space"].Value == "shared";
            int place = ((isShared ? SharedBytes : LocalBytes) + alignment - 1) / alignment * alignment;
            _symbols[variable.Groups["name"].Value] = place;
            if (isShared)
                SharedBytes = place + size;
            else
                LocalBytes = place + size;
        }
        return line.StartsWith('.');
    }

    private void Decode(int line, string text, List<(Instruction Branch, string Label)> targets)
    {
        text = text.TrimStart('{').TrimStart();
        if (text.Length == 0 || text == "}")
            return;
        var match = InstructionText().Match(text);
        string opcode = match.Groups["opcode"].Value;
        try
        {
            var instruction = new Instruction(line, text, opcode)
            {
                Kind = opcode switch
                {
                    "bra" or "bra.uni" => InstructionKind.Branch,
                    "ret" or "ret.uni" or "exit" => InstructionKind.Return,
                    "bar.sync" or "barrier.sync" => InstructionKind.Barrier,
                    _ => InstructionKind.Step,
                },
                Guard = match.Groups["guard"].Success ? Predicate(match.Groups["guard"].Value) : -1,
                IsNegated = match.Groups["not"].Length > 0,
            };
            string[] operands = Operands(match.Groups["operands"].Value);
            if (instruction.Kind == InstructionKind.Branch)
                targets.Add((instruction, operands[0]));
            else if (instruction.Kind == InstructionKind.Step)
                instruction.Step = PtxAccess.Decode(this, instruction, operands) ?? PtxArithmetic.Decode(this, opcode, operands);
            if (instruction.Kind == InstructionKind.Barrier && operands is not ["0"])
                throw new NotSupportedException("a barrier of some threads");
            _code.Add(instruction);
        }
        catch (Exception e) when (e is NotSupportedException or FormatException or OverflowException or IndexOutOfRangeException)
        {
            throw new DeviceException($"{Name}: PTX line {line}: '{text}' cannot be emulated: {e.Message}");
        }
    }

    /// <summary>"{%f1, %f2}, [%rd1+4]" as "{%f1, %f2}" and "[%rd1+4]".</summary>
    private static string[] Operands(string text)
    {
        var operands = new List<string>();
        int depth = 0, start = 0;
        for (int i = 0; i <= text.Length; i++)
        {
            char c = i < text.Length ? text[i] : ',';
            depth += c is '{' or '[' ? 1 : c is '}' or ']' ? -1 : 0;
            if (c != ',' || depth > 0)
                continue;
            if (i > start)
                operands.Add(text[start..i].Trim());
            start = i + 1;
        }
        return [.. operands];
    }

    /// <summary>
    /// Moves, through local memory too, of which nothing is left (a test asks ptxas), and multiplications that become a part of the one
    /// addition that takes their product.
    /// </summary>
    private HashSet<Instruction> FindRemoved()
    {
        var uses = _code.SelectMany(instruction => FloatRegister().Matches(instruction.Text)).CountBy(match => match.Value).ToDictionary();
        HashSet<string> addends =
        [
            .. _code.Where(instruction => instruction.Opcode is "add.f32" or "sub.f32")
                .SelectMany(instruction => FloatRegister().Matches(instruction.Text).Skip(1)).Select(match => match.Value),
        ];
        return
        [
            .. _code.Where(instruction => instruction.Opcode.Split('.')
                    is ["mov" or "cvta", ..] or ["ld", "param", ..] or ["ld" or "st", "local", ..]
                || (instruction.Opcode == "mul.f32" && FloatRegister().Match(instruction.Text).Value is var product
                    && uses[product] == 2 && addends.Contains(product))),
        ];
    }

    /// <summary>
    /// Of each branch the nearest block that all paths from it pass: postdominators by iteration over the blocks, as sets of bits.
    /// </summary>
    private void FindJoins()
    {
        var starts = new SortedSet<int> { 0, _code.Count };
        for (int i = 0; i < _code.Count; i++)
        {
            if (_code[i].Kind == InstructionKind.Branch)
                starts.Add(_code[i].Target);
            if (_code[i].Kind is InstructionKind.Branch or InstructionKind.Return)
                starts.Add(i + 1);
        }
        int[] first = [.. starts];
        int end = first.Length - 1, words = (end / 64) + 1;
        var blockAt = first.Select((start, block) => (start, block)).ToDictionary(entry => entry.start, entry => entry.block);
        var next = new int[end][];
        for (int block = 0; block < end; block++)
        {
            var last = _code[first[block + 1] - 1];
            int[] jump = last.Kind == InstructionKind.Branch ? [blockAt[last.Target]] : last.Kind == InstructionKind.Return ? [end] : [];
            next[block] = jump.Length == 0 || last.Guard >= 0 ? [.. jump, block + 1] : jump;
        }
        // after[b]: the blocks on every path from b to the end, b included.
        var after = new ulong[end + 1][];
        for (int block = 0; block <= end; block++)
        {
            after[block] = new ulong[words];
            Array.Fill(after[block], block == end ? 0 : ulong.MaxValue);
        }
        after[end][end / 64] |= 1ul << end;
        for (bool changed = true; changed;)
        {
            changed = false;
            for (int block = end - 1; block >= 0; block--)
            {
                for (int word = 0; word < words; word++)
                {
                    ulong common = next[block].Aggregate(ulong.MaxValue, (bits, other) => bits & after[other][word]);
                    common |= block / 64 == word ? 1ul << block : 0;
                    changed |= common != after[block][word];
                    after[block][word] = common;
                }
            }
        }
        // The nearest is the one after which the most others come.
        for (int block = 0; block < end; block++)
        {
            var branch = _code[first[block + 1] - 1];
            if (branch.Kind != InstructionKind.Branch)
                continue;
            int join = Enumerable.Range(0, end + 1).Where(other => other != block && Has(after[block], other))
                .MaxBy(other => after[other].Sum(word => BitOperations.PopCount(word)));
            branch.Join = join == end ? int.MaxValue : first[join];
        }

        static bool Has(ulong[] bits, int block) => (bits[block / 64] >> block & 1) != 0;
    }

    [GeneratedRegex(@"^%(tid|ntid|ctaid|nctaid)\.[xyz]$|^%laneid$")]
    private static partial Regex SpecialRegister();

    [GeneratedRegex(@"%f\d+")]
    private static partial Regex FloatRegister();

    [GeneratedRegex(@"^\.param .*\[(\d+)\]$")]
    private static partial Regex Parameter();

    [GeneratedRegex(@"^\.(?<space>shared|local) \.align (?<align>\d+) \.b8 (?<name>\w+)\[(?<size>\d+)\]")]
    private static partial Regex Variable();

    [GeneratedRegex(@"^(@(?<not>!?)(?<guard>%p\d+)\s+)?(?<opcode>[\w.]+)\s*(?<operands>.*)$")]
    private static partial Regex InstructionText();
}
