namespace Bert4Rec.Kernels;

/// <summary>A flat array in the memory of one device. Freshly allocated buffers hold zeros.</summary>
public abstract class DeviceBuffer<T> : IDisposable
    where T : unmanaged
{
    private protected DeviceBuffer(long length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        Length = length;
    }

    /// <summary>Number of elements.</summary>
    public long Length { get; }

    /// <summary>Copies host memory to the elements from <paramref name="offset"/> on.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The range does not lie in the buffer.</exception>
    public abstract void Upload(ReadOnlySpan<T> source, long offset = 0);

    /// <summary>Copies the elements from <paramref name="offset"/> on to host memory.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The range does not lie in the buffer.</exception>
    public abstract void Download(Span<T> destination, long offset = 0);

    /// <summary>Whether the device's memory is the host's.</summary>
    internal virtual bool IsOnHost => false;

    /// <summary>The elements themselves, where <see cref="IsOnHost"/>.</summary>
    internal virtual Span<T> HostMemory(long offset, int count) => throw new NotSupportedException();

    /// <summary>Gives the memory back.</summary>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    private protected abstract void Dispose(bool disposing);

    private protected void CheckRange(long offset, long count)
    {
        if (offset < 0 || count < 0 || offset > Length - count)
            throw new ArgumentOutOfRangeException(nameof(offset), $"elements {offset}..{offset + count} of a buffer of {Length}");
    }
}
