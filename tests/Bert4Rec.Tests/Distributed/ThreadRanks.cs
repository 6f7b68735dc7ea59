using System.Collections.Concurrent;
using System.Runtime.ExceptionServices;
using Bert4Rec.Distributed;

namespace Bert4Rec.Tests.Distributed;

/// <summary>Ranks that are threads of this process: what they do is what processes do, without an MPI.</summary>
internal sealed class ThreadRanks : ProcessGroup
{
    /// <summary>[from, to]</summary>
    private readonly BlockingCollection<byte[]>[,] _messages;

    private ThreadRanks(int rank, BlockingCollection<byte[]>[,] messages)
    {
        Rank = rank;
        _messages = messages;
    }

    public override int Rank { get; }

    public override int Size => _messages.GetLength(0);

    /// <summary>Runs an action on each of so many ranks, the first one on this thread; where one fails, all do.</summary>
    /// <returns>What each returned.</returns>
    public static T[] Run<T>(int size, Func<ThreadRanks, T> action)
    {
        var messages = new BlockingCollection<byte[]>[size, size];
        for (int i = 0; i < size * size; i++)
            messages[i / size, i % size] = [];
        var results = new T[size];
        var failures = new ConcurrentQueue<Exception>();
        Thread[] others = [.. Enumerable.Range(1, size - 1).Select(rank => new Thread(() => RunRank(rank)))];
        foreach (Thread other in others)
            other.Start();
        RunRank(0);
        foreach (Thread other in others)
            other.Join();
        if (failures.TryDequeue(out var failure))
            ExceptionDispatchInfo.Throw(failure);
        return results;

        void RunRank(int rank)
        {
            var ranks = new ThreadRanks(rank, messages);
            try
            {
                results[rank] = action(ranks);
            }
            catch (Exception e)
            {
                failures.Enqueue(e);
                ranks.Abort(1);
            }
        }
    }

    public override void Abort(int exitCode)
    {
        foreach (var queue in _messages)
            queue.CompleteAdding();
    }

    public override void Await(int rank)
    {
    }

    public override void Dispose()
    {
    }

    protected override void BroadcastBytes(Span<byte> values)
    {
        for (int rank = 1; rank < Size && Rank == 0; rank++)
            Send(rank, values);
        if (Rank > 0)
            Receive(0, values);
    }

    protected override void AllGatherBytes(ReadOnlySpan<byte> own, Span<byte> all)
    {
        for (int rank = 0; rank < Size; rank++)
            Send(rank, own);
        for (int rank = 0; rank < Size; rank++)
            Receive(rank, all.Slice(rank * own.Length, own.Length));
    }

    protected override void ExchangeBytes(int to, ReadOnlySpan<byte> sent, int from, Span<byte> received)
    {
        if (to != Nobody)
            Send(to, sent);
        if (from != Nobody)
            Receive(from, received);
    }

    private void Send(int to, ReadOnlySpan<byte> values) => _messages[Rank, to].Add(values.ToArray());

    /// <summary>What comes must have the length that is expected: MPI would cut it off, or wait for the rest.</summary>
    /// <exception cref="InvalidOperationException">Nothing comes: a rank has failed, or none sends.</exception>
    private void Receive(int from, Span<byte> values)
    {
        if (!_messages[from, Rank].TryTake(out byte[]? message, TimeSpan.FromMinutes(1)))
            throw new InvalidOperationException($"rank {Rank} waits for rank {from} in vain");
        Assert.Equal(values.Length, message.Length);
        message.CopyTo(values);
    }
}
