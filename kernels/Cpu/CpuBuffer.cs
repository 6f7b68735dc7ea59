using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Bert4Rec.Kernels.Cpu;

/// <summary>
/// Native memory on cache-line boundaries, with a margin behind the end: a product may read (never write) a vector or four past a row.
/// </summary>
internal sealed unsafe class CpuBuffer<T> : DeviceBuffer<T>
    where T : unmanaged
{
    private const int Margin = 64;

    public CpuBuffer(long length)
        : base(length)
    {
        nuint bytes = checked((nuint)(length + Margin) * (nuint)sizeof(T));
        Pointer = (T*)NativeMemory.AlignedAlloc(bytes, 64);
        NativeMemory.Clear(Pointer, bytes);
        GC.AddMemoryPressure((long)bytes);
    }

    ~CpuBuffer()
    {
        Dispose(false);
    }

    public T* Pointer { get; private set; }

    public override void Upload(ReadOnlySpan<T> source, long offset = 0)
    {
        CheckRange(offset, source.Length);
        source.CopyTo(new Span<T>(Pointer + offset, source.Length));
    }

    public override void Download(Span<T> destination, long offset = 0)
    {
        CheckRange(offset, destination.Length);
        new ReadOnlySpan<T>(Pointer + offset, destination.Length).CopyTo(destination);
    }

    internal override bool IsOnHost => true;

    internal override Span<T> HostMemory(long offset, int count)
    {
        CheckRange(offset, count);
        return new(Pointer + offset, count);
    }

    private protected override void Dispose(bool disposing)
    {
        if (Pointer == null)
            return;
        NativeMemory.AlignedFree(Pointer);
        Pointer = null;
        GC.RemoveMemoryPressure((Length + Margin) * sizeof(T));
    }
}

/// <summary>Work memory of one kernel set: grows to the largest request and stays.</summary>
internal sealed unsafe class Scratch : IDisposable
{
    private CpuBuffer<float>? _buffer;

    /// <summary>Room for so many floats, with old contents; valid until the next request.</summary>
    public float* Request(long length)
    {
        if (_buffer is null || _buffer.Length < length)
            Grow(length);
        return _buffer.Pointer;
    }

    public void Dispose() => _buffer?.Dispose();

    [MemberNotNull(nameof(_buffer))]
    [MethodImpl(MethodImplOptions.NoInlining)]
    private void Grow(long length)
    {
        _buffer?.Dispose();
        _buffer = new CpuBuffer<float>(length);
    }
}

/// <summary>Where the operands of a kernel lie.</summary>
internal static unsafe class Operand
{
    /// <summary>The first element; null of an operand that is not there.</summary>
    public static float* Pointer(this Tensor x) => x.IsNone ? null : ((CpuBuffer<float>)x.Buffer).Pointer + x.Offset;

    /// <inheritdoc cref="Pointer(Tensor)"/>
    public static int* Pointer(this Indices x) => x.IsNone ? null : ((CpuBuffer<int>)x.Buffer).Pointer + x.Offset;
}
