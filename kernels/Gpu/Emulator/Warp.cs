using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Bert4Rec.Kernels.Gpu.Emulator;

/// <summary>
/// 32 threads (lanes) that execute an instruction together. A register of 32 bits is four vectors of eight lanes, one of 64 bits eight
/// vectors of four; a predicate is a bit a lane. Where the lanes part, the branches wait on a stack until the others come to where the
/// paths join again.
/// </summary>
internal sealed class Warp(PtxEmulator emulator)
{
    public const int Size = 32;

    private static readonly Vector256<uint> Bits32 = Vector256.Create(1u, 2, 4, 8, 16, 32, 64, 128);
    private static readonly Vector256<ulong> Bits64 = Vector256.Create(1ul, 2, 4, 8);

    private Vector256<uint>[] _registers = [];

    public PtxEmulator Emulator { get; } = emulator;

    /// <summary>The lanes that execute the current instruction.</summary>
    public uint Active { get; set; }

    /// <summary>Their numbers.</summary>
    public LaneNumbers ActiveLanes => new(Active);

    /// <summary>Lanes that have not returned.</summary>
    public uint Alive { get; private set; }

    /// <summary>Lanes that the group has for this warp.</summary>
    public uint All { get; private set; }

    /// <summary>The group's thread that is lane 0.</summary>
    public int FirstThread { get; private set; }

    public uint[] Predicates { get; private set; } = [];

    /// <summary>Local memory: so many bytes a lane.</summary>
    public byte[] Local { get; private set; } = [];

    /// <summary>Paths to go, the current one last: from an instruction to where it joins the others.</summary>
    public List<(int Next, int Join, uint Lanes)> Paths { get; } = [];

    /// <summary>The barrier where it waits; −1 for none.</summary>
    public int Barrier { get; set; }

    /// <summary>Noise in all registers but constants, which a launch does not change.</summary>
    public void Load(PtxProgram program, int firstThread, int threads)
    {
        FirstThread = firstThread;
        All = threads >= Size ? uint.MaxValue : (1u << threads) - 1;
        if (_registers.Length < program.RegisterVectors)
            _registers = new Vector256<uint>[program.RegisterVectors];
        if (Predicates.Length < program.Predicates)
            Predicates = new uint[program.Predicates];
        if (Local.Length < program.LocalBytes * Size)
            Local = new byte[program.LocalBytes * Size];
        _registers.AsSpan(0, program.RegisterVectors).Fill(Vector256.Create(0xDEADBEEFu));
        Predicates.AsSpan().Fill(0xAAAAAAAA);
        Local.AsSpan().Fill(0xA5);
        Active = uint.MaxValue;
        foreach (var (slot, value, size) in program.Constants)
        {
            if (size == sizeof(uint))
                Fill(slot, (uint)value);
            else
                Fill(slot, value);
        }
        for (int lane = 0; lane < Size; lane++)
        {
            foreach (var (slot, special) in program.Specials)
                Lane<uint>(slot, lane) = Emulator.Special(special, firstThread + lane);
        }
    }

    /// <summary>To the first instruction, for a new group.</summary>
    public void Start(PtxProgram program)
    {
        Active = uint.MaxValue;
        foreach (var (slot, special) in program.Specials)
        {
            if (special.StartsWith("%ctaid", StringComparison.Ordinal))
                Fill(slot, Emulator.Special(special, 0));
        }
        Alive = All;
        Barrier = -1;
        Paths.Clear();
        Paths.Add((0, int.MaxValue, All));
    }

    /// <summary>Some lanes return.</summary>
    public void Return(uint lanes)
    {
        Alive &= ~lanes;
        for (int i = 0; i < Paths.Count; i++)
            Paths[i] = (Paths[i].Next, Paths[i].Join, Paths[i].Lanes & ~lanes);
    }

    /// <summary>The i-th vector of a register.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ref Vector256<T> At<T>(int slot, int i) => ref Unsafe.As<Vector256<uint>, Vector256<T>>(ref _registers[slot + i]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ref T Lane<T>(int slot, int lane)
        where T : unmanaged =>
        ref Unsafe.Add(ref Unsafe.As<Vector256<uint>, T>(ref _registers[slot]), lane);

    /// <summary>Sets the i-th vector of a register in the active lanes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Set<T>(int slot, int i, Vector256<T> value)
    {
        ref var place = ref At<T>(slot, i);
        place = Active == uint.MaxValue ? value : Vector256.ConditionalSelect(Mask<T>(Active, i), value, place);
    }

    /// <summary>All ones in the lanes of the i-th vector that have a bit.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> Mask<T>(uint lanes, int i) => Unsafe.SizeOf<T>() == sizeof(uint)
        ? Vector256.Equals(Vector256.Create(lanes >> (8 * i)) & Bits32, Bits32).As<uint, T>()
        : Vector256.Equals(Vector256.Create((ulong)(lanes >> (4 * i))) & Bits64, Bits64).As<ulong, T>();

    public void Fill<T>(int slot, T value)
        where T : unmanaged
    {
        for (int i = 0; i < Unsafe.SizeOf<T>(); i++)
            Set(slot, i, Vector256.Create(value));
    }

    /// <summary>The lanes that have a bit, for a loop over them.</summary>
    public struct LaneNumbers(uint lanes)
    {
        public int Current { get; private set; }

        public readonly LaneNumbers GetEnumerator() => this;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public bool MoveNext()
        {
            if (lanes == 0)
                return false;
            Current = BitOperations.TrailingZeroCount(lanes);
            lanes &= lanes - 1;
            return true;
        }
    }
}
