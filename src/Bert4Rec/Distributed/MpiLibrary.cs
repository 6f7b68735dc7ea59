using System.Runtime.InteropServices;

namespace Bert4Rec.Distributed;

/// <summary>
/// The few functions of an MPI library that are needed, found at run time. There are two binary interfaces: Open MPI's handles are
/// addresses of symbols of the library, MPICH's (and that of those compatible with it: Intel MPI, MVAPICH) are numbers. A number is handed
/// over in a whole register, of which the library reads the lower half.
/// </summary>
internal sealed unsafe class MpiLibrary
{
    private const int ThreadSerialized = 2;

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

    private MpiLibrary(nint library)
    {
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

    public int Rank { get; }

    public int Size { get; }

    /// <summary>Loads a library and joins the job that this process was started for.</summary>
    /// <param name="names">The file names that it may have, as the system's loader looks for them.</param>
    /// <returns>Null where there is none.</returns>
    public static MpiLibrary? TryLoad(params ReadOnlySpan<string> names)
    {
        foreach (string name in names)
        {
            if (NativeLibrary.TryLoad(name, out nint library) && NativeLibrary.TryGetExport(library, "MPI_Init_thread", out _))
                return new(library);
        }
        return null;
    }

    public void Abort(int exitCode) => _abort(_world, exitCode);

    public void Finish() => Check("MPI_Finalize", _finalize());

    /// <summary>Whether a message of a rank is there.</summary>
    public bool Probe(int rank)
    {
        int isThere;
        Check("MPI_Iprobe", _probe(rank, 0, _world, &isThere, _ignoredStatus));
        return isThere != 0;
    }

    public void Broadcast(Span<byte> values)
    {
        fixed (byte* at = values)
            Check("MPI_Bcast", _broadcast(at, values.Length, _byte, 0, _world));
    }

    public void AllGather(ReadOnlySpan<byte> own, Span<byte> all)
    {
        fixed (byte* ownAt = own, allAt = all)
            Check("MPI_Allgather", _allGather(ownAt, own.Length, _byte, allAt, own.Length, _byte, _world));
    }

    public void Exchange(int to, ReadOnlySpan<byte> sent, int from, Span<byte> received)
    {
        fixed (byte* sentAt = sent, receivedAt = received)
        {
            Check("MPI_Sendrecv", _exchange(
                sentAt, sent.Length, _byte, RankOf(to), 0, receivedAt, received.Length, _byte, RankOf(from), 0, _world, _ignoredStatus));
        }
    }

    private int RankOf(int rank) => rank == ProcessGroup.Nobody ? _nobody : rank;

    /// <summary>By default the library itself ends the job on an error; a site may have told it otherwise.</summary>
    private static void Check(string function, int error)
    {
        if (error != 0)
            throw new InputException($"{function} failed with the MPI library's error {error}");
    }
}
