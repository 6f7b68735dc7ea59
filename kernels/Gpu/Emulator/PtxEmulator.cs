using System.Numerics;

namespace Bert4Rec.Kernels.Gpu.Emulator;

/// <summary>Memory that a kernel is given.</summary>
/// <param name="Start">Its address.</param>
/// <param name="End">The address behind it.</param>
/// <param name="Allocation">Where the memory begins that it is a part of.</param>
internal readonly record struct MemoryRange(long Start, long End, long Allocation);

/// <summary>
/// Runs kernels in PTX on the processor, to prove them where there is no GPU: warps of 32 lanes in step, whose paths part at a branch and
/// join where both have come to; shared memory and registers full of noise. A kernel that accesses what it was not given or at a wrong
/// alignment, whose threads race, or which meets a barrier, a shuffle or a tensor core with some of its lanes only, ends in an error that
/// says where. On the way it counts what a GPU would have to do.
/// </summary>
internal sealed class PtxEmulator
{
    private const int Banks = 32, SectorBytes = 32;

    private readonly Dictionary<PtxProgram, KernelCounts> _counts = [];
    private readonly List<Warp> _warps = [];
    private readonly Random _noise = new(7);
    private MemoryRange[] _memory = [];

    /// <summary>[ranges of memory] Words that the launch was the first to read, and the first to write.</summary>
    private (long Read, long Written)[] _touched = [];
    private KernelCounts _kernel = null!;
    private (int X, int Y, int Z) _grid;
    private (int X, int Y, int Z) _group;
    private int _groupSize;
    private int _lastRange;

    /// <summary>What runs.</summary>
    public PtxProgram Program { get; private set; } = null!;

    /// <summary>The arguments as the kernel reads them.</summary>
    public byte[] Parameters { get; private set; } = [];

    /// <summary>The memory of a group.</summary>
    public byte[] Shared { get; private set; } = [];

    public RaceTracker Races { get; } = new();

    /// <summary>Of each kernel that has run.</summary>
    public IReadOnlyCollection<KernelCounts> Counts => _counts.Values;

    /// <summary>Is told of each launch what it did; null for nobody.</summary>
    public Action<KernelCounts>? Launched { get; set; }

    /// <summary>
    /// Of a grid's places in X and Y that many are run at most of a kernel with this name, spread evenly, with all their groups in Z, and
    /// counted for the others: for launches whose counts matter and whose results do not. All are run where groups of several places meet.
    /// </summary>
    public Func<string, int> MostPlaces { get; set; } = _ => int.MaxValue;

    /// <param name="program">The kernel.</param>
    /// <param name="grid">Groups.</param>
    /// <param name="groupSize">Threads of a group.</param>
    /// <param name="parameters">The arguments.</param>
    /// <param name="memory">From where to where global memory may be accessed.</param>
    /// <exception cref="DeviceException">The kernel does what it must not.</exception>
    public void Launch(
        PtxProgram program, (int X, int Y, int Z) grid, int groupSize, byte[] parameters, MemoryRange[] memory)
    {
        if (parameters.Length != program.ParameterBytes)
            throw new ArgumentException($"{program.Name} takes {program.ParameterBytes} bytes of arguments, not {parameters.Length}");
        if (grid.Y > ushort.MaxValue || grid.Z > ushort.MaxValue)
            throw new DeviceException($"{program.Name}: a grid of {grid.X} x {grid.Y} x {grid.Z} groups; Y and Z end at 65535");
        (Program, _grid, _groupSize, Parameters, _memory, _lastRange) = (program, grid, groupSize, parameters, memory, 0);
        _kernel = new(program) { Launches = 1, GroupSize = groupSize, Groups = (long)grid.X * grid.Y * grid.Z };
        if (Shared.Length < program.SharedBytes)
            Shared = new byte[program.SharedBytes];
        Races.StartLaunch(program.SharedBytes, groupSize);
        _touched = new (long, long)[memory.Length];
        int warps = (groupSize + Warp.Size - 1) / Warp.Size;
        while (_warps.Count < warps)
            _warps.Add(new(this));
        for (int i = 0; i < warps; i++)
            _warps[i].Load(program, i * Warp.Size, groupSize - (i * Warp.Size));
        long places = (long)grid.X * grid.Y, run = Math.Min(places, MostPlaces(program.Name));
        for (int z = 0; z < grid.Z; z++)
        {
            for (long i = 0; i < run; i++)
            {
                long place = run == places ? i : PlaceOf(i, run, places);
                _group = ((int)(place % grid.X), (int)(place / grid.X), z);
                RunGroup(_warps[..warps]);
                if (run < places && grid.Z == 1 && Races.HasMeetings)
                    run = places;
            }
        }
        double factor = (double)places / run;
        _kernel.GlobalBytesTouched = _touched.Select(
            (range, i) => BytesTouched(range.Read, factor, i) + BytesTouched(range.Written, factor, i)).Sum();
        var launch = new KernelCounts(program);
        launch.Add(_kernel, factor);
        if (!_counts.TryGetValue(program, out var counts))
            _counts[program] = counts = new(program);
        counts.Add(launch);
        Launched?.Invoke(launch);
    }

    /// <summary>The i-th place to run: one of each of as many parts of the grid; the golden ratio meets no pattern of it.</summary>
    private static long PlaceOf(long i, long run, long places)
    {
        long start = i * places / run, length = ((i + 1) * places / run) - start;
        return start + (long)(i * 0.6180339887498949 % 1 * length);
    }

    /// <summary>Of words that a part of the groups touched; no more than the range has, for groups share them.</summary>
    private long BytesTouched(long words, double factor, int range) => factor == 1
        ? words * sizeof(uint)
        : (long)Math.Min(words * sizeof(uint) * factor, _memory[range].End - _memory[range].Start);

    /// <summary>Reads or writes a word of shared or global memory.</summary>
    /// <returns>What is wrong with it; null where nothing is.</returns>
    public string? Touch(bool isShared, Access access, long address, int thread)
    {
        if (isShared)
            return Races.TouchShared(access, address, thread);
        string? race = Races.TouchGlobal(access, address, thread, out bool isFirst);
        if (isFirst && access == Access.Read)
            _touched[_lastRange].Read++;
        else if (isFirst)
            _touched[_lastRange].Written++;
        return race;
    }

    /// <summary>What a special register tells a thread.</summary>
    public uint Special(string name, int thread) => (uint)(name switch
    {
        "%tid.x" => thread,
        "%tid.y" or "%tid.z" => 0,
        "%ntid.x" => _groupSize,
        "%ntid.y" or "%ntid.z" => 1,
        "%ctaid.x" => _group.X,
        "%ctaid.y" => _group.Y,
        "%ctaid.z" => _group.Z,
        "%nctaid.x" => _grid.X,
        "%nctaid.y" => _grid.Y,
        "%nctaid.z" => _grid.Z,
        "%laneid" => thread % Warp.Size,
        _ => throw new ArgumentException(name, nameof(name)),
    });

    /// <summary>Whether the bytes lie in what the kernel was given.</summary>
    public bool IsOfArguments(long address, int bytes)
    {
        if (_lastRange < _memory.Length && address >= _memory[_lastRange].Start && address + bytes <= _memory[_lastRange].End)
            return true;
        _lastRange = Array.FindIndex(_memory, range => address >= range.Start && address + bytes <= range.End);
        if (_lastRange >= 0)
            return true;
        _lastRange = 0;
        return false;
    }

    public void CountGlobal(ReadOnlySpan<long> addresses, int bytes, bool loads)
    {
        Span<long> sectors = stackalloc long[Warp.Size];
        // On a GPU, memory begins with a sector; here it need not.
        long shift = _memory[_lastRange].Allocation % SectorBytes;
        int count = 0;
        foreach (long address in addresses)
        {
            long sector = (address - shift) / SectorBytes;
            if (sectors[..count].LastIndexOf(sector) < 0)
                sectors[count++] = sector;
        }
        _kernel.GlobalRequests++;
        _kernel.GlobalSectors += count;
        if (loads)
            _kernel.GlobalBytesLoaded += addresses.Length * bytes;
        else
            _kernel.GlobalBytesStored += addresses.Length * bytes;
    }

    /// <summary>Of accesses of 8 bytes half a warp takes a turn together, of 16 bytes a quarter.</summary>
    public void CountShared(ReadOnlySpan<long> addresses, int bytes)
    {
        int lanes = Warp.Size * sizeof(uint) / bytes;
        Span<long> words = stackalloc long[Warp.Size];
        Span<int> turnsOfBank = stackalloc int[Banks];
        for (; !addresses.IsEmpty; addresses = addresses[Math.Min(lanes, addresses.Length)..])
        {
            int count = 0, turns = 1;
            turnsOfBank.Clear();
            foreach (long address in addresses[..Math.Min(lanes, addresses.Length)])
            {
                for (int i = 0; i < bytes; i += sizeof(uint))
                {
                    long word = (address + i) / sizeof(uint);
                    if (words[..count].LastIndexOf(word) >= 0)
                        continue;
                    words[count++] = word;
                    turns = Math.Max(turns, ++turnsOfBank[(int)(word % Banks)]);
                }
            }
            _kernel.SharedWavefronts += turns;
            _kernel.BankConflicts += turns - 1;
        }
        _kernel.SharedRequests++;
    }

    /// <summary>An error that says which thread does what where.</summary>
    public DeviceException Failure(Warp warp, int lane, Instruction instruction, string what) => new(
        $"{Program.Name}: thread {warp.FirstThread + lane} of group ({_group.X}, {_group.Y}, {_group.Z}) {what}; PTX line "
        + $"{instruction.Line}: {instruction.Text}");

    private void RunGroup(List<Warp> warps)
    {
        _noise.NextBytes(Shared.AsSpan(0, Program.SharedBytes));
        Races.StartGroup();
        foreach (var warp in warps)
            warp.Start(Program);
        // Each as far as it comes: if a barrier is missing, those that follow find nothing done, or all of it.
        while (true)
        {
            foreach (var warp in warps)
                Run(warp);
            var waiting = warps.Find(warp => warp.Barrier >= 0);
            if (waiting is null)
                return;
            foreach (var other in warps)
            {
                var barrier = Program.Code[waiting.Barrier];
                if (other.Barrier < 0)
                    throw Failure(waiting, 0, barrier, $"waits for thread {other.FirstThread}, which has returned");
                if (other.Barrier != waiting.Barrier)
                    throw Failure(waiting, 0, barrier, $"waits where thread {other.FirstThread} does not");
            }
            foreach (var warp in warps)
                warp.Barrier = -1;
            Races.PassBarrier();
        }
    }

    /// <summary>Until it waits or has returned.</summary>
    private void Run(Warp warp)
    {
        var code = Program.Code;
        while (warp.Paths.Count > 0)
        {
            var (next, join, lanes) = warp.Paths[^1];
            if (lanes == 0)
            {
                warp.Paths.RemoveAt(warp.Paths.Count - 1);
                continue;
            }
            // As far as the path goes straight on.
            for (; next != join && next < code.Count; next++)
            {
                var instruction = code[next];
                uint guard = instruction.Guard < 0 ? uint.MaxValue
                    : instruction.IsNegated ? ~warp.Predicates[instruction.Guard] : warp.Predicates[instruction.Guard];
                warp.Active = lanes;
                _kernel.Count(next, BitOperations.PopCount(lanes & guard));
                if (instruction.Kind == InstructionKind.Step)
                {
                    warp.Active = lanes & guard;
                    if (warp.Active != 0)
                        instruction.Step!(warp);
                    continue;
                }
                warp.Paths[^1] = (next + 1, join, lanes);
                if (instruction.Kind == InstructionKind.Branch)
                    Branch(warp, instruction, lanes & guard);
                else if (instruction.Kind == InstructionKind.Return)
                    warp.Return(lanes & guard);
                else
                    Wait(warp, instruction, next);
                break;
            }
            if (warp.Barrier >= 0)
                return;
            if (next == join || next >= code.Count)
                warp.Paths.RemoveAt(warp.Paths.Count - 1);
        }
    }

    private void Wait(Warp warp, Instruction instruction, int place)
    {
        if (warp.Active != warp.Alive)
        {
            uint missing = warp.Alive & ~warp.Active;
            throw Failure(
                warp, BitOperations.TrailingZeroCount(warp.Active), instruction,
                $"comes to a barrier without thread {warp.FirstThread + BitOperations.TrailingZeroCount(missing)} of its warp");
        }
        if (warp.Alive != warp.All)
        {
            throw Failure(
                warp, BitOperations.TrailingZeroCount(warp.Active), instruction,
                $"waits for thread {warp.FirstThread + BitOperations.TrailingZeroCount(warp.All & ~warp.Alive)}, which has returned");
        }
        _kernel.Barriers++;
        warp.Barrier = place;
    }

    private void Branch(Warp warp, Instruction branch, uint taken)
    {
        var (next, join, lanes) = warp.Paths[^1];
        if (branch.Guard >= 0)
            _kernel.Branches++;
        if (taken == lanes)
        {
            warp.Paths[^1] = (branch.Target, join, lanes);
            return;
        }
        if (taken == 0)
            return;
        if (branch.IsUniform)
        {
            throw Failure(
                warp, BitOperations.TrailingZeroCount(taken), branch,
                $"leaves thread {warp.FirstThread + BitOperations.TrailingZeroCount(lanes & ~taken)} at a branch that is not to part them");
        }
        _kernel.DivergentBranches++;
        // Where both join, all of them go on.
        if (branch.Join == join || branch.Join == int.MaxValue)
            warp.Paths.RemoveAt(warp.Paths.Count - 1);
        else
            warp.Paths[^1] = (branch.Join, join, lanes);
        warp.Paths.Add((next, branch.Join, lanes & ~taken));
        warp.Paths.Add((branch.Target, branch.Join, taken));
    }
}
