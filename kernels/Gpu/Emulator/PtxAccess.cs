using System.Globalization;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text.RegularExpressions;

namespace Bert4Rec.Kernels.Gpu.Emulator;

/// <summary>What lanes load, store and exchange; each access is checked and counted.</summary>
internal static partial class PtxAccess
{
    /// <returns>Null for what is arithmetic.</returns>
    /// <exception cref="NotSupportedException">A kind of access that is not known here.</exception>
    public static Action<Warp>? Decode(PtxProgram program, Instruction instruction, string[] operands)
    {
        string[] parts = instruction.Opcode.Split('.');
        return parts switch
        {
            ["ld", "param", var type] => LoadParameter(program, type, operands),
            ["ld" or "st", var space, var type] => Transfer(program, instruction, space, 1, type, operands),
            ["ld" or "st", var space, "v2", var type] => Transfer(program, instruction, space, 2, type, operands),
            ["ld" or "st", var space, "v4", var type] => Transfer(program, instruction, space, 4, type, operands),
            ["red", "add", "shared" or "global", "u32" or "s32"] => Add(program, instruction, parts[2], null, operands[0], operands[1]),
            ["atom", "add", "shared" or "global", "u32" or "s32"] =>
                Add(program, instruction, parts[2], operands[0], operands[1], operands[2]),
            ["membar", "gl"] => Fence,
            ["shfl", "sync", "bfly", "b32"] => Shuffle(program, instruction, operands),
            ["mma", "sync", "aligned", "m16n8k8", "row", "col", "f32", "tf32", "tf32", "f32"] =>
                Multiply(program, instruction, operands, stepsPerRegister: 1),
            ["mma", "sync", "aligned", "m16n8k16", "row", "col", "f32", "bf16", "bf16", "f32"] =>
                Multiply(program, instruction, operands, stepsPerRegister: 2),
            ["ld" or "st" or "red" or "atom" or "shfl" or "mma" or "membar", ..] => throw new NotSupportedException(
                $"the opcode {instruction.Opcode} is not known"),
            _ => null,
        };
    }

    private static int Size(string type) => type switch
    {
        "b32" or "f32" or "u32" or "s32" => sizeof(uint),
        "b64" or "u64" or "s64" => sizeof(ulong),
        _ => throw new NotSupportedException($"accesses of the type {type} are not known"),
    };

    private static Action<Warp> LoadParameter(PtxProgram program, string type, string[] operands)
    {
        var match = Parameter().Match(operands[1]);
        int offset = match.Groups[1].Success ? int.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture) : 0;
        return Size(type) == sizeof(uint) ? Load<uint>() : Load<ulong>();

        Action<Warp> Load<T>()
            where T : unmanaged
        {
            int d = program.Register<T>(operands[0]);
            return warp => warp.Fill(d, MemoryMarshal.Read<T>(warp.Emulator.Parameters.AsSpan(offset)));
        }
    }

    /// <summary>"[%rd1+4]": where the register lies, and the distance.</summary>
    private static (int Slot, long Offset) Address(PtxProgram program, string operand)
    {
        var match = Place().Match(operand);
        if (!match.Success)
            throw new NotSupportedException($"{operand} is no address");
        long offset = match.Groups[2].Success ? long.Parse(match.Groups[2].Value, CultureInfo.InvariantCulture) : 0;
        return (program.Operand<ulong>(match.Groups[1].Value), offset);
    }

    private static string[] Names(string operand) =>
        operand.Trim('{', '}').Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);

    private static Action<Warp> Transfer(
        PtxProgram program, Instruction instruction, string space, int count, string type, string[] operands)
    {
        bool loads = instruction.Opcode.StartsWith("ld", StringComparison.Ordinal);
        string[] names = Names(operands[loads ? 0 : 1]);
        if (names.Length != count)
            throw new NotSupportedException($"{names.Length} operands");
        var (address, offset) = Address(program, operands[loads ? 1 : 0]);
        return Size(type) == sizeof(uint) ? Of<uint>() : Of<ulong>();

        Action<Warp> Of<T>()
            where T : unmanaged
        {
            int[] values = [.. names.Select(name => loads ? program.Register<T>(name) : program.Operand<T>(name))];
            bool isShared = space == "shared";
            return (space, loads) switch
            {
                ("global" or "shared", true) => warp => Move(warp, instruction, isShared, address, offset, values, default(Load<T>)),
                ("global" or "shared", false) => warp => Move(warp, instruction, isShared, address, offset, values, default(Store<T>)),
                ("local", true) => warp => Local(warp, instruction, address, offset, values, default(Load<T>)),
                ("local", false) => warp => Local(warp, instruction, address, offset, values, default(Store<T>)),
                _ => throw new NotSupportedException($"accesses of {space} memory are not known"),
            };
        }
    }

    private static void Check(Warp warp, int lane, Instruction instruction, bool isShared, long at, int bytes)
    {
        var emulator = warp.Emulator;
        if (isShared && (at < 0 || at + bytes > emulator.Program.SharedBytes))
            throw emulator.Failure(warp, lane, instruction, "accesses shared memory outside what the kernel has");
        if (!isShared && !emulator.IsOfArguments(at, bytes))
            throw emulator.Failure(warp, lane, instruction, "accesses global memory outside the kernel's arguments");
        if (at % bytes != 0)
            throw emulator.Failure(warp, lane, instruction, $"accesses {Space(isShared)} memory at no multiple of {bytes} bytes");
    }

    private static string Space(bool isShared) => isShared ? "shared" : "global";

    /// <summary>Loads from shared or global memory, or stores there.</summary>
    private static unsafe void Move<TTransfer>(
        Warp warp, Instruction instruction, bool isShared, int address, long offset, int[] values, TTransfer transfer)
        where TTransfer : struct, ITransfer
    {
        var emulator = warp.Emulator;
        int bytes = TTransfer.Size * values.Length;
        Span<long> addresses = stackalloc long[Warp.Size];
        int count = 0;
        foreach (int lane in warp.ActiveLanes)
        {
            int thread = warp.FirstThread + lane;
            long at = (long)warp.Lane<ulong>(address, lane) + offset;
            Check(warp, lane, instruction, isShared, at, bytes);
            for (int i = 0; i < bytes; i += sizeof(uint))
            {
                if (emulator.Touch(isShared, TTransfer.Loads ? Access.Read : Access.Write, at + i, thread) is string race)
                    throw emulator.Failure(warp, lane, instruction, $"{race} in {Space(isShared)} memory");
            }
            ref byte place = ref isShared ? ref emulator.Shared[at] : ref *(byte*)at;
            for (int i = 0; i < values.Length; i++)
                transfer.Move(warp, values[i], lane, ref Unsafe.Add(ref place, i * TTransfer.Size));
            addresses[count++] = at;
        }
        Count(emulator, isShared, addresses[..count], bytes, TTransfer.Loads);
    }

    private static void Count(PtxEmulator emulator, bool isShared, ReadOnlySpan<long> addresses, int bytes, bool loads)
    {
        if (isShared)
            emulator.CountShared(addresses, bytes);
        else
            emulator.CountGlobal(addresses, bytes, loads);
    }

    private static void Local<TTransfer>(
        Warp warp, Instruction instruction, int address, long offset, int[] values, TTransfer transfer)
        where TTransfer : struct, ITransfer
    {
        int bytes = TTransfer.Size * values.Length, size = warp.Emulator.Program.LocalBytes;
        foreach (int lane in warp.ActiveLanes)
        {
            long at = (long)warp.Lane<ulong>(address, lane) + offset;
            if (at < 0 || at + bytes > size)
                throw warp.Emulator.Failure(warp, lane, instruction, "accesses local memory outside what a thread has");
            for (int i = 0; i < values.Length; i++)
                transfer.Move(warp, values[i], lane, ref warp.Local[(lane * size) + at + (i * TTransfer.Size)]);
        }
    }

    private static unsafe Action<Warp> Add(
        PtxProgram program, Instruction instruction, string space, string? result, string place, string addend)
    {
        bool isShared = space == "shared";
        var (address, offset) = Address(program, place);
        int value = program.Operand<uint>(addend), old = result is null ? -1 : program.Register<uint>(result);
        return warp =>
        {
            var emulator = warp.Emulator;
            Span<long> addresses = stackalloc long[Warp.Size];
            int count = 0;
            foreach (int lane in warp.ActiveLanes)
            {
                int thread = warp.FirstThread + lane;
                long at = (long)warp.Lane<ulong>(address, lane) + offset;
                Check(warp, lane, instruction, isShared, at, sizeof(uint));
                if (emulator.Touch(isShared, Access.Add, at, thread) is string race)
                    throw emulator.Failure(warp, lane, instruction, $"{race} in {space} memory");
                ref uint sum = ref isShared ? ref Unsafe.As<byte, uint>(ref emulator.Shared[at]) : ref *(uint*)at;
                uint before = sum;
                sum += warp.Lane<uint>(value, lane);
                if (old >= 0)
                    warp.Lane<uint>(old, lane) = before;
                addresses[count++] = at;
            }
            Count(emulator, isShared, addresses[..count], sizeof(uint), loads: false);
        };
    }

    private static void Fence(Warp warp)
    {
        foreach (int lane in warp.ActiveLanes)
            warp.Emulator.Races.Fence(warp.FirstThread + lane);
    }

    private static Action<Warp> Shuffle(PtxProgram program, Instruction instruction, string[] operands)
    {
        int d = program.Register<uint>(operands[0]), a = program.Operand<uint>(operands[1]), across = program.Operand<uint>(operands[2]);
        int bounds = program.Operand<uint>(operands[3]), members = program.Operand<uint>(operands[4]);
        return warp =>
        {
            RequireAll(warp, instruction);
            Span<uint> values = stackalloc uint[Warp.Size];
            for (int lane = 0; lane < Warp.Size; lane++)
                values[lane] = warp.Lane<uint>(a, lane);
            foreach (int lane in warp.ActiveLanes)
            {
                if (warp.Lane<uint>(members, lane) != uint.MaxValue || warp.Lane<uint>(bounds, lane) != Warp.Size - 1)
                    throw warp.Emulator.Failure(warp, lane, instruction, "shuffles in a part of the warp");
                int other = lane ^ (int)warp.Lane<uint>(across, lane);
                warp.Lane<uint>(d, lane) = values[(uint)other < Warp.Size ? other : lane];
            }
        };
    }

    /// <summary>
    /// c = a · b + c: a [16, 8 · stepsPerRegister], b [8 · stepsPerRegister, 8], c [16, 8], held as <see cref="ITensorCore"/> says.
    /// </summary>
    private static Action<Warp> Multiply(PtxProgram program, Instruction instruction, string[] operands, int stepsPerRegister)
    {
        int steps = 8 * stepsPerRegister;
        int[] d = [.. Names(operands[0]).Select(program.Register<float>)];
        int[] a = [.. Names(operands[1]).Select(program.Operand<float>)], b = [.. Names(operands[2]).Select(program.Operand<float>)];
        int[] c = [.. Names(operands[3]).Select(program.Operand<float>)];
        if (d.Length != 4 || a.Length != 4 || b.Length != 2 || c.Length != 4)
            throw new NotSupportedException("another number of operands");
        return warp =>
        {
            RequireAll(warp, instruction);
            // [16, steps], and b transposed, [8, steps].
            Span<float> left = stackalloc float[16 * steps], right = stackalloc float[8 * steps];
            for (int lane = 0; lane < Warp.Size; lane++)
            {
                int group = lane / 4, step = lane % 4 * stepsPerRegister;
                for (int i = 0; i < 4; i++)
                    Put(warp, a[i], lane, left[(((group + (i % 2 * 8)) * steps) + step + (i / 2 * steps / 2))..]);
                for (int i = 0; i < 2; i++)
                    Put(warp, b[i], lane, right[((group * steps) + step + (i * steps / 2))..]);
            }
            for (int lane = 0; lane < Warp.Size; lane++)
            {
                for (int i = 0; i < 4; i++)
                {
                    int row = (lane / 4) + (i / 2 * 8), column = (2 * (lane % 4)) + (i % 2);
                    float sum = warp.Lane<float>(c[i], lane);
                    for (int k = 0; k < steps; k++)
                        sum += left[(row * steps) + k] * right[(column * steps) + k];
                    warp.Lane<float>(d[i], lane) = sum;
                }
            }
        };

        void Put(Warp warp, int slot, int lane, Span<float> place)
        {
            uint bits = warp.Lane<uint>(slot, lane);
            if (stepsPerRegister == 2)
            {
                place[0] = BitConverter.UInt32BitsToSingle(bits << 16);
                place[1] = BitConverter.UInt32BitsToSingle(bits & 0xFFFF0000);
                return;
            }
            if ((bits & 0x1FFF) != 0)
                throw warp.Emulator.Failure(warp, lane, instruction, "multiplies what is not rounded to TF32");
            place[0] = BitConverter.UInt32BitsToSingle(bits);
        }
    }

    private static void RequireAll(Warp warp, Instruction instruction)
    {
        if (warp.Active != warp.All)
        {
            throw warp.Emulator.Failure(
                warp, BitOperations.TrailingZeroCount(warp.Active), instruction,
                $"is one of {BitOperations.PopCount(warp.Active)} lanes where all {BitOperations.PopCount(warp.All)} must be");
        }
    }

    [GeneratedRegex(@"^\[\w+(?:\+(\d+))?\]$")]
    private static partial Regex Parameter();

    [GeneratedRegex(@"^\[\s*(%?\w+)\s*(?:\+\s*(-?\d+))?\s*\]$")]
    private static partial Regex Place();

    /// <summary>Which way values go.</summary>
    private interface ITransfer
    {
        static abstract int Size { get; }

        static abstract bool Loads { get; }

        void Move(Warp warp, int slot, int lane, ref byte place);
    }

    private readonly struct Load<T> : ITransfer
        where T : unmanaged
    {
        public static int Size => Unsafe.SizeOf<T>();

        public static bool Loads => true;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Move(Warp warp, int slot, int lane, ref byte place) =>
            warp.Lane<T>(slot, lane) = Unsafe.ReadUnaligned<T>(ref place);
    }

    private readonly struct Store<T> : ITransfer
        where T : unmanaged
    {
        public static int Size => Unsafe.SizeOf<T>();

        public static bool Loads => false;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Move(Warp warp, int slot, int lane, ref byte place) =>
            Unsafe.WriteUnaligned(ref place, warp.Lane<T>(slot, lane));
    }
}
