using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Bert4Rec.Distributed;

/// <summary>
/// The processes that work on one training, by their ranks from 0, and what they tell each other. Every rank calls the same operations in
/// the same order, each from one thread at a time; a call returns when this rank's part is done.
/// </summary>
internal abstract class ProcessGroup : IDisposable
{
    /// <summary>In place of a rank: there is nothing to send, or nothing to receive.</summary>
    public const int Nobody = -1;

    /// <summary>Of a message, at most: MPI counts in 32 bits.</summary>
    private const int MostBytes = 1 << 30;

    /// <summary>This process, where it is the only one.</summary>
    public static ProcessGroup Alone { get; } = new SingleProcess();

    public abstract int Rank { get; }

    public abstract int Size { get; }

    /// <summary>Its place among the ranks of this machine, from 0.</summary>
    public virtual int LocalRank => Rank;

    /// <summary>How many ranks this machine has.</summary>
    public virtual int LocalSize => Size;

    /// <summary>Bytes that this rank has sent to others, one by one.</summary>
    public long BytesSent { get; private set; }

    /// <summary>Time that this rank has spent in the operations below, waiting for slower ranks included.</summary>
    public TimeSpan Time { get; private set; }

    /// <summary>Others may be waiting for this rank: where it gives up now, it has to <see cref="Abort"/>.</summary>
    public bool IsAwaited { get; set; }

    /// <summary>Ends all ranks, this one included.</summary>
    public abstract void Abort(int exitCode);

    /// <summary>Waits, without using the processor, until a rank has sent something.</summary>
    public abstract void Await(int rank);

    public abstract void Dispose();

    /// <summary>Gives rank 0's values to all.</summary>
    public void Broadcast<T>(Span<T> values)
        where T : unmanaged
    {
        long start = Stopwatch.GetTimestamp();
        for (; !values.IsEmpty; values = values[Chunk<T>(values.Length)..])
            BroadcastBytes(MemoryMarshal.AsBytes(values[..Chunk<T>(values.Length)]));
        Time += Stopwatch.GetElapsedTime(start);
    }

    /// <summary>Gathers what each rank has, which is of equal length, rank by rank.</summary>
    /// <param name="own">This rank's.</param>
    /// <param name="all">[ranks × own]</param>
    public void AllGather<T>(ReadOnlySpan<T> own, Span<T> all)
        where T : unmanaged
    {
        long start = Stopwatch.GetTimestamp();
        AllGatherBytes(MemoryMarshal.AsBytes(own), MemoryMarshal.AsBytes(all));
        Time += Stopwatch.GetElapsedTime(start);
    }

    /// <summary>Whether it is so on any rank.</summary>
    public bool Any(bool isSo)
    {
        Span<byte> all = stackalloc byte[Size];
        AllGather<byte>([isSo ? (byte)1 : (byte)0], all);
        return all.Contains((byte)1);
    }

    /// <summary>Sends to one rank while it receives from another, which does the same the other way round.</summary>
    /// <param name="to">Whom to send to, or <see cref="Nobody"/>.</param>
    /// <param name="sent">What.</param>
    /// <param name="from">Whom to receive from, or <see cref="Nobody"/>.</param>
    /// <param name="received">As much as that rank sends.</param>
    public void Exchange<T>(int to, ReadOnlySpan<T> sent, int from, Span<T> received)
        where T : unmanaged
    {
        long start = Stopwatch.GetTimestamp();
        BytesSent += (long)sent.Length * Unsafe.SizeOf<T>();
        // As many messages each way as it takes, none of them empty: the other ranks count in the same way.
        while (!sent.IsEmpty || !received.IsEmpty)
        {
            int sending = Chunk<T>(sent.Length), receiving = Chunk<T>(received.Length);
            ExchangeBytes(
                sending > 0 ? to : Nobody,
                MemoryMarshal.AsBytes(sent[..sending]),
                receiving > 0 ? from : Nobody,
                MemoryMarshal.AsBytes(received[..receiving]));
            sent = sent[sending..];
            received = received[receiving..];
        }
        Time += Stopwatch.GetElapsedTime(start);
    }

    protected abstract void BroadcastBytes(Span<byte> values);

    protected abstract void AllGatherBytes(ReadOnlySpan<byte> own, Span<byte> all);

    protected abstract void ExchangeBytes(int to, ReadOnlySpan<byte> sent, int from, Span<byte> received);

    private static int Chunk<T>(int length) => Math.Min(length, MostBytes / Unsafe.SizeOf<T>());

    private sealed class SingleProcess : ProcessGroup
    {
        public override int Rank => 0;

        public override int Size => 1;

        public override void Abort(int exitCode) => Environment.Exit(exitCode);

        public override void Await(int rank)
        {
        }

        public override void Dispose()
        {
        }

        protected override void BroadcastBytes(Span<byte> values)
        {
        }

        protected override void AllGatherBytes(ReadOnlySpan<byte> own, Span<byte> all) => own.CopyTo(all);

        protected override void ExchangeBytes(int to, ReadOnlySpan<byte> sent, int from, Span<byte> received) =>
            throw new InvalidOperationException("there is no other rank");
    }
}
