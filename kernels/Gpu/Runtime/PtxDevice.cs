using System.Collections.Concurrent;
using System.Reflection;
using System.Runtime.InteropServices;
using Bert4Rec.Kernels.Gpu.Emulator;
using ILGPU;
using ILGPU.Runtime;

namespace Bert4Rec.Kernels.Gpu.Runtime;

/// <summary>
/// Hands kernels to the emulator as a CUDA device would get them: compiled to PTX, with their arguments in a row of bytes, a view as its
/// address and its length.
/// </summary>
internal sealed class PtxDevice
{
    /// <summary>As few as still make several parts of whatever is split.</summary>
    private const int FewMultiprocessors = 4;

    private static readonly ConcurrentDictionary<(int, int), Lazy<PtxCompiler>> s_compilers = new();
    private static readonly ConcurrentDictionary<(MethodInfo, int, int), Lazy<PtxProgram>> s_programs = new();

    private readonly int _major;
    private readonly int _minor;

    /// <param name="id">"ptx", which is sm_80, or "ptx:90".</param>
    /// <param name="multiprocessors">What the device says it has; null for few, as tests want.</param>
    /// <exception cref="DeviceException">There is no such architecture.</exception>
    public PtxDevice(string id, int? multiprocessors)
    {
        string[] parts = id.Split(':');
        int capability = parts.Length == 1 ? 80 : int.Parse(parts[1]);
        if (capability is not (75 or 80 or 86 or 89 or 90))
            throw new DeviceException($"{id}: kernels are compiled for ptx:75, ptx:80, ptx:86, ptx:89 and ptx:90");
        (_major, _minor) = (capability / 10, capability % 10);
        Multiprocessors = multiprocessors ?? FewMultiprocessors;
        IsForTests = multiprocessors is null;
    }

    /// <summary>"sm_80"</summary>
    public string Architecture => $"sm_{_major}{_minor}";

    public bool HasTensorCores => _major >= 8;

    public int Multiprocessors { get; }

    /// <summary>Whether small operands are to be cut as large ones are elsewhere.</summary>
    public bool IsForTests { get; }

    public PtxEmulator Emulator { get; } = new();

    /// <summary>What launches a kernel and waits for its end.</summary>
    public Action<AcceleratorStream, KernelConfig, TArguments> Load<TArguments>(MethodInfo kernel)
        where TArguments : struct
    {
        var program = s_programs.GetOrAdd((kernel, _major, _minor), key => new(() =>
        {
            var compiler = s_compilers.GetOrAdd((_major, _minor), _ => new(() => new(_major, _minor)));
            return new(PtxCompiler.NameOf(kernel), compiler.Value.Compile(kernel));
        })).Value;
        return (_, config, arguments) =>
        {
            var (parameters, memory) = Pack(arguments);
            var grid = config.GridDim;
            Emulator.Launch(program, (grid.X, grid.Y, grid.Z), config.GroupDim.X, parameters, memory);
        };
    }

    /// <summary>The arguments as the kernel reads them, and the memory that they name.</summary>
    private static (byte[] Bytes, MemoryRange[] Memory) Pack<TArguments>(TArguments arguments)
        where TArguments : struct
    {
        var bytes = new List<byte>();
        var memory = new List<MemoryRange>();
        Append(arguments);
        return ([.. bytes], [.. memory]);

        void Append(object value)
        {
            var type = value.GetType();
            Align(AlignmentOf(type));
            if (IsView(type))
            {
                var view = (IContiguousArrayView)value;
                long address = 0;
                if (view.Length > 0)
                {
                    ObjectDisposedException.ThrowIf(view.Buffer.IsDisposed, view.Buffer);
                    address = view.Buffer.NativePtr + (view.Index * view.ElementSize);
                    memory.Add(new(address, address + view.LengthInBytes, view.Buffer.NativePtr));
                }
                bytes.AddRange(BitConverter.GetBytes(address));
                bytes.AddRange(BitConverter.GetBytes(view.Length));
                return;
            }
            if (type.IsPrimitive)
            {
                bytes.AddRange(value switch
                {
                    int i => BitConverter.GetBytes(i),
                    uint i => BitConverter.GetBytes(i),
                    float f => BitConverter.GetBytes(f),
                    long l => BitConverter.GetBytes(l),
                    _ => throw new NotSupportedException($"an argument of the type {type}"),
                });
                return;
            }
            foreach (var field in FieldsOf(type))
                Append(field.GetValue(value)!);
            Align(AlignmentOf(type));
        }

        void Align(int alignment)
        {
            while (bytes.Count % alignment != 0)
                bytes.Add(0);
        }
    }

    private static bool IsView(Type type) => type.IsGenericType && type.GetGenericTypeDefinition() == typeof(ArrayView<>);

    private static int AlignmentOf(Type type) =>
        IsView(type) ? sizeof(long)
        : type.IsPrimitive ? Marshal.SizeOf(type)
        : FieldsOf(type).Select(field => AlignmentOf(field.FieldType)).DefaultIfEmpty(1).Max();

    private static IEnumerable<FieldInfo> FieldsOf(Type type) =>
        type.GetFields(BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic).OrderBy(field => field.MetadataToken);
}
