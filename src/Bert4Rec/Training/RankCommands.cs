using Bert4Rec.Distributed;

namespace Bert4Rec.Training;

/// <summary>A command of rank 0 to the other processes, with up to three numbers.</summary>
internal enum RankCommand
{
    /// <summary>The program is at its end.</summary>
    Leave,

    /// <summary>Begin a training. Bytes of the settings, number of user offsets, number of events; the three follow.</summary>
    Begin,
    End,

    /// <summary>The epoch, and the steps before it.</summary>
    CompileKernels,

    /// <summary>The epoch, and the steps before it.</summary>
    TrainEpoch,
    LoadMoments,
    ReadMoments,

    /// <summary>Follow the parameters that are ranked with.</summary>
    RankWith,

    /// <summary>Follow the blend's weights and, where they count, the items' words.</summary>
    Blend,

    /// <summary>Samples, length of the lists, flags; follow the samples.</summary>
    RankSamples,

    /// <summary>Samples, candidates of each, flags; follow both.</summary>
    ScoreSamples,
}

/// <summary>How a command gets from rank 0 to the others.</summary>
internal static class RankCommands
{
    /// <summary>Tells all others, who wait for it; alone, nobody.</summary>
    public static void Tell(ProcessGroup ranks, RankCommand command, int first = 0, int second = 0, int third = 0)
    {
        for (int rank = 1; rank < ranks.Size; rank++)
        {
            ranks.IsAwaited = true;
            ranks.Exchange<int>(rank, [(int)command, first, second, third], ProcessGroup.Nobody, []);
        }
    }

    /// <summary>Waits for a command of rank 0.</summary>
    public static (RankCommand Command, int First, int Second, int Third) Receive(ProcessGroup ranks)
    {
        Span<int> told = stackalloc int[4];
        ranks.Await(0);
        ranks.Exchange(ProcessGroup.Nobody, [], 0, told);
        return ((RankCommand)told[0], told[1], told[2], told[3]);
    }

    /// <summary>What ends a command on all ranks alike: rank 0 decides what it means.</summary>
    public static bool EndsOnAll(Exception e) =>
        e is OperationCanceledException or InputException { IsDivergence: true } or InputException { IsOfAllRanks: true };
}
