namespace Bert4Rec.Distributed;

/// <summary>The processes that mpirun started.</summary>
internal sealed class MpiGroup : ProcessGroup
{
    /// <summary>What the launchers tell a process, the size first, then its place on its machine.</summary>
    private static readonly (string Size, string LocalRank, string LocalSize, bool IsOpenMpi)[] s_launchers =
    [
        ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE", true),
        ("PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS", false),
    ];

    private readonly MpiLibrary _library;

    private MpiGroup(MpiLibrary library, int localRank, int localSize)
    {
        _library = library;
        LocalRank = localRank;
        LocalSize = localSize;
    }

    public override int Rank => _library.Rank;

    public override int Size => _library.Size;

    public override int LocalRank { get; }

    public override int LocalSize { get; }

    /// <summary>Whether mpirun started this process, and others beside it.</summary>
    public static bool IsLaunched => s_launchers.Any(launcher => Number(launcher.Size, 1) > 1);

    /// <summary>
    /// The processes that mpirun started beside this one: only where the environment says that it did is an MPI library looked for.
    /// </summary>
    /// <returns><see cref="ProcessGroup.Alone"/> where this is the only one.</returns>
    /// <exception cref="InputException">There is no MPI library, or another one than mpirun's.</exception>
    public static ProcessGroup Join()
    {
        foreach (var (sizeName, localRank, localSize, isOpenMpi) in s_launchers)
        {
            int size = Number(sizeName, 1);
            if (size <= 1)
                continue;
            var library = isOpenMpi
                ? MpiLibrary.TryLoad("libmpi.so.40", "libmpi.so.80", "libmpi.so", "libmpi.dylib")
                : MpiLibrary.TryLoad("libmpich.so.12", "libmpi.so.12", "libmpi.so", "libmpi.dylib");
            string name = isOpenMpi ? "Open MPI" : "MPICH", package = isOpenMpi ? "openmpi-bin" : "mpich";
            if (library is null)
            {
                throw new InputException(
                    $"{sizeName}={size} says that mpirun started {size} processes, and no library of {name} is here; "
                    + $"install it (Debian: apt-get install {package}), on every machine");
            }
            if (library.Size != size)
            {
                throw new InputException(
                    $"mpirun started {size} processes, and the MPI library here counts {library.Size}: it is not the one of this mpirun, "
                    + $"which is {name}'s (Debian: apt-get install {package}, on every machine)");
            }
            return new MpiGroup(library, Number(localRank, 0), Math.Max(1, Number(localSize, 1)));
        }
        return Alone;
    }

    public override void Abort(int exitCode) => _library.Abort(exitCode);

    public override void Await(int rank)
    {
        // What comes at once is not kept waiting; MPI's own way to wait would take a core for as long as rank 0 reads a file.
        for (int polls = 0; !_library.Probe(rank); polls++)
        {
            if (polls > 1000)
                Thread.Sleep(1);
        }
    }

    public override void Dispose() => _library.Finish();

    protected override void BroadcastBytes(Span<byte> values) => _library.Broadcast(values);

    protected override void AllGatherBytes(ReadOnlySpan<byte> own, Span<byte> all) => _library.AllGather(own, all);

    protected override void ExchangeBytes(int to, ReadOnlySpan<byte> sent, int from, Span<byte> received) =>
        _library.Exchange(to, sent, from, received);

    private static int Number(string name, int otherwise) =>
        int.TryParse(Environment.GetEnvironmentVariable(name), out int number) ? number : otherwise;
}
