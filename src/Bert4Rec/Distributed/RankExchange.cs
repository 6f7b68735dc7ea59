using Bert4Rec.Kernels;

namespace Bert4Rec.Distributed;

/// <summary>
/// What ranks exchange of buffers of equal layout: those of the cpu as they lie there, those of another device by way of the host.
/// </summary>
/// <remarks>
/// Each rank has a range of the buffer: <c>bounds[rank]</c> to <c>bounds[rank + 1]</c>. In step s of size − 1 a rank sends to the one s
/// places after it and receives from the one s places before it, so that at any time every rank has one partner each way.
/// </remarks>
internal sealed class RankExchange(ProcessGroup ranks)
{
    private const int Piece = 1 << 26;

    private float[] _sent = [];
    private float[] _received = [];

    public ProcessGroup Ranks => ranks;

    /// <summary>Gives rank 0's values to all.</summary>
    public void Broadcast(DeviceBuffer<float> buffer)
    {
        if (ranks.Size == 1)
            return;
        for (long start = 0; start < buffer.Length; start += Piece)
        {
            int count = (int)Math.Min(Piece, buffer.Length - start);
            var values = Host(buffer, start, count, ref _sent);
            if (ranks.Rank == 0)
                Bring(buffer, start, values);
            ranks.Broadcast(values);
            Take(buffer, start, values);
        }
    }

    /// <summary>Sends each rank's range to it, and receives what the others have for this one's.</summary>
    /// <param name="buffer">What to send of.</param>
    /// <param name="bounds">[ranks + 1]</param>
    /// <param name="received">Gets the others' values one rank behind the other, in order.</param>
    /// <param name="start">From here on.</param>
    public void Scatter(DeviceBuffer<float> buffer, long[] bounds, DeviceBuffer<float> received, long start)
    {
        long own = bounds[ranks.Rank + 1] - bounds[ranks.Rank];
        for (int step = 1; step < ranks.Size; step++)
        {
            int to = After(step), from = After(ranks.Size - step);
            Exchange(to, buffer, bounds[to], bounds[to + 1], from, received, start + (own * Slot(from)), start + (own * (Slot(from) + 1)));
        }
    }

    /// <summary>Gives each rank's range of the buffer to all.</summary>
    /// <param name="bounds">[ranks + 1]</param>
    public void AllGather(DeviceBuffer<float> buffer, long[] bounds)
    {
        for (int step = 1; step < ranks.Size; step++)
        {
            int to = After(step), from = After(ranks.Size - step);
            Exchange(to, buffer, bounds[ranks.Rank], bounds[ranks.Rank + 1], from, buffer, bounds[from], bounds[from + 1]);
        }
    }

    /// <summary>Which of the others a rank is.</summary>
    public int Slot(int rank) => rank < ranks.Rank ? rank : rank - 1;

    private int After(int step) => (ranks.Rank + step) % ranks.Size;

    private void Exchange(
        int to, DeviceBuffer<float> source, long start, long end, int from, DeviceBuffer<float> target, long first, long last)
    {
        var sent = Host(source, start, end - start, ref _sent);
        var received = Host(target, first, last - first, ref _received);
        Bring(source, start, sent);
        ranks.Exchange<float>(to, sent, from, received);
        Take(target, first, received);
    }

    /// <summary>The elements in host memory: where they lie, or in a copy.</summary>
    private static Span<float> Host(DeviceBuffer<float> buffer, long start, long count, ref float[] copy)
    {
        int length = checked((int)count);
        if (buffer.IsOnHost)
            return buffer.HostMemory(start, length);
        if (copy.Length < length)
            copy = new float[length];
        return copy.AsSpan(0, length);
    }

    private static void Bring(DeviceBuffer<float> buffer, long start, Span<float> host)
    {
        if (!buffer.IsOnHost)
            buffer.Download(host, start);
    }

    private static void Take(DeviceBuffer<float> buffer, long start, Span<float> host)
    {
        if (!buffer.IsOnHost)
            buffer.Upload(host, start);
    }
}
