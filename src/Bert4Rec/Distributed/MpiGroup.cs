using System.Runtime.InteropServices;

namespace Bert4Rec.Distributed;

/// <summary>The processes that mpirun started, by the few functions of an MPI library that are needed, found at run time.</summary>
/// <remarks>
/// There are two binary interfaces: Open MPI's handles are addresses of symbols of the library, MPICH's (and that of those compatible with
/// it: Intel MPI, MVAPICH) are numbers. A number is handed over in a whole register, of which the library reads the lower half.
/// </remarks>
internal sealed unsafe class MpiGroup : ProcessGroup
{
    private const int ThreadSerialized = 2;

    /// <summary>What the launchers tell a process, the size first, then its place on its machine.</summary>
    private static readonly (string Size, string LocalRank, string LocalSize, bool IsOpenMpi)[] s_launchers =
    [
        ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE", true),
        ("PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS", false),
    ];

    private readonly nint _world;
    private readonly nint _byte;
    private readonly nint _ignoredStatus;
    private readonly int _nobody;
    private readonly delegate* unmanaged<nint, int, int> _abort;
    private readonly delegate* unmanaged<int> _finalize;
    private readonly delegate* unmanaged<int, int, nint, int*, nint, int> _probe;
    private readonly delegate* unmanaged<void*, int, nint, int, nint, int> _broadcast;
    private readonly delegate* unmanaged<void*, int, nint, void*, int, nint, nint, int> _allGather;
    private readonly delegate* unmanaged<void*, int, nint, int, int, void*, int, nint, int, int, nint, nint, int> _exchange;

    /// <summary>Joins the job that this process was started for.</summary>
    private MpiGroup(nint library, int localRank, int localSize)
    {
        (LocalRank, LocalSize) = (localRank, localSize);
        bool isOpenMpi = NativeLibrary.TryGetExport(library, "ompi_mpi_comm_world", out _world);
        if (isOpenMpi)
        {
            _byte = NativeLibrary.GetExport(library, "ompi_mpi_byte");
            _ignoredStatus = 0;
            _nobody = -2;
        }
        else
        {
            _world = 0x44000000;
            _byte = 0x4c00010d;
            _ignoredStatus = 1;
            _nobody = -1;
        }
        _abort = (delegate* unmanaged<nint, int, int>)Find("MPI_Abort");
        _finalize = (delegate* unmanaged<int>)Find("MPI_Finalize");
        _probe = (delegate* unmanaged<int, int, nint, int*, nint, int>)Find("MPI_Iprobe");
        _broadcast = (delegate* unmanaged<void*, int, nint, int, nint, int>)Find("MPI_Bcast");
        _allGather = (delegate* unmanaged<void*, int, nint, void*, int, nint, nint, int>)Find("MPI_Allgather");
        _exchange =
            (delegate* unmanaged<void*, int, nint, int, int, void*, int, nint, int, int, nint, nint, int>)Find("MPI_Sendrecv");
        int provided;
        Check("MPI_Init_thread", ((delegate* unmanaged<nint, nint, int, int*, int>)Find("MPI_Init_thread"))(
            0, 0, ThreadSerialized, &provided));
        Rank = Number("MPI_Comm_rank");
        Size = Number("MPI_Comm_size");

        nint Find(string name) => NativeLibrary.GetExport(library, name);

        int Number(string name)
        {
            int number;
            Check(name, ((delegate* unmanaged<nint, int*, int>)Find(name))(_world, &number));
            return number;
        }
    }

    public override int Rank { get; }

    public override int Size { get; }

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
            string[] files = isOpenMpi ? ["libmpi.so.40", "libmpi.so.80"] : ["libmpich.so.12", "libmpi.so.12"];
            string name = isOpenMpi ? "Open MPI" : "MPICH", package = isOpenMpi ? "openmpi-bin" : "mpich";
            if (Load([.. files, "libmpi.so", "libmpi.dylib"]) is not nint library)
            {
                throw new InputException(
                    $"{sizeName}={size} says that mpirun started {size} processes, and no library of {name} is here; "
                    + $"install it (Debian: apt-get install {package}), on every machine");
            }
            var group = new MpiGroup(library, Number(localRank, 0), Math.Max(1, Number(localSize, 1)));
            if (group.Size != size)
            {
                throw new InputException(
                    $"mpirun started {size} processes, and the MPI library here counts {group.Size}: it is not the one of this mpirun, "
                    + $"which is {name}'s (Debian: apt-get install {package}, on every machine)");
            }
            return group;
        }
        return Alone;
    }

    public override void Abort(int exitCode) => _abort(_world, exitCode);

    public override void Await(int rank)
    {
        // What comes at once is not kept waiting; MPI's own way to wait would take a core for as long as rank 0 reads a file.
        for (int polls = 0; !HasMessage(rank); polls++)
        {
            if (polls > 1000)
                Thread.Sleep(1);
        }
    }

    public override void Dispose() => Check("MPI_Finalize", _finalize());

    protected override void BroadcastBytes(Span<byte> values)
    {
        fixed (byte* at = values)
            Check("MPI_Bcast", _broadcast(at, values.Length, _byte, 0, _world));
    }

    protected override void AllGatherBytes(ReadOnlySpan<byte> own, Span<byte> all)
    {
        fixed (byte* ownAt = own, allAt = all)
            Check("MPI_Allgather", _allGather(ownAt, own.Length, _byte, allAt, own.Length, _byte, _world));
    }

    protected override void ExchangeBytes(int to, ReadOnlySpan<byte> sent, int from, Span<byte> received)
    {
        fixed (byte* sentAt = sent, receivedAt = received)
        {
            Check("MPI_Sendrecv", _exchange(
                sentAt, sent.Length, _byte, RankOf(to), 0, receivedAt, received.Length, _byte, RankOf(from), 0, _world, _ignoredStatus));
        }
    }

    /// <summary>Whether a message of a rank is there.</summary>
    private bool HasMessage(int rank)
    {
        int isThere;
        Check("MPI_Iprobe", _probe(rank, 0, _world, &isThere, _ignoredStatus));
        return isThere != 0;
    }

    private int RankOf(int rank) => rank == Nobody ? _nobody : rank;

    /// <summary>Loads the first library there is of some names, as the system's loader looks for them; null where there is none.</summary>
    private static nint? Load(string[] names)
    {
        foreach (string name in names)
        {
            if (NativeLibrary.TryLoad(name, out nint library) && NativeLibrary.TryGetExport(library, "MPI_Init_thread", out _))
                return library;
        }
        return null;
    }

    /// <summary>By default the library itself ends the job on an error; a site may have told it otherwise.</summary>
    private static void Check(string function, int error)
    {
        if (error != 0)
            throw new InputException($"{function} failed with the MPI library's error {error}");
    }

    private static int Number(string name, int otherwise) =>
        int.TryParse(Environment.GetEnvironmentVariable(name), out int number) ? number : otherwise;
}
