namespace Bert4Rec.Kernels.Gpu.Emulator;

internal enum Access
{
    Read,
    Write,

    /// <summary>Atomically.</summary>
    Add,
}

/// <summary>Who touched a word of memory last.</summary>
internal struct WordAccess
{
    public uint Written;
    public uint Read;

    /// <summary>When a second group read the word.</summary>
    public uint ReadByGroups;

    public ushort Writer;
    public ushort Reader;
}

/// <summary>
/// Finds accesses to one word, one of them a write, whose order nothing defines: those of threads of a group that no barrier parts, and
/// those of two groups of a launch. Time is counted in intervals between barriers; groups run one after another, so that the time says
/// which group it was, and no entry has ever to be cleared.
/// <para>
/// Groups can meet at a word that each of them adds to atomically: what all threads of a group wrote before, and made visible by a fence
/// and a barrier, those of a group that comes later may read, behind a barrier and a fence of their own.
/// </para>
/// </summary>
internal sealed class RaceTracker
{
    /// <summary>In place of a thread: several of them, or one that wrote atomically.</summary>
    private const ushort Several = ushort.MaxValue, Atomically = ushort.MaxValue - 1;

    private const int PageWords = 1024;

    /// <summary>Pages that are kept between launches: 256 MB.</summary>
    private const int MostPages = 1 << 14;

    private readonly Dictionary<long, WordAccess[]> _pages = [];

    /// <summary>By the word where they meet: from when to when groups ran that have been there, and left nothing behind a fence.</summary>
    private readonly Dictionary<long, List<(uint First, uint Last)>> _meetings = [];

    /// <summary>Of each thread of the group: whether it has written since its last fence, and when that was.</summary>
    private (bool Wrote, uint Fenced)[] _threads = [];
    private (uint First, uint Last)[] _met = [];
    private uint _metAt;
    private WordAccess[] _shared = [];
    private WordAccess[] _page = [];
    private long _pageNumber = -1;
    private uint _now;
    private uint _group;
    private uint _launch;

    /// <summary>Whether groups of the launch have added to a word atomically.</summary>
    public bool HasMeetings => _meetings.Count > 0;

    public void StartLaunch(int sharedBytes, int groupSize)
    {
        _threads = new (bool, uint)[groupSize];
        _meetings.Clear();
        if (_shared.Length < sharedBytes / sizeof(uint))
            _shared = new WordAccess[sharedBytes / sizeof(uint)];
        if (_pages.Count > MostPages)
        {
            _pages.Clear();
            _pageNumber = -1;
        }
        _launch = _now = checked(_now + 1);
    }

    public void StartGroup()
    {
        _group = _now = checked(_now + 1);
        Array.Clear(_threads);
        _met = [];
    }

    /// <summary>A thread makes what it has written visible to other groups.</summary>
    public void Fence(int thread) => _threads[thread] = (false, _now);

    public void PassBarrier() => _now = checked(_now + 1);

    /// <param name="access">What is done to the word.</param>
    /// <param name="address">Of the word.</param>
    /// <param name="thread">Who does it.</param>
    /// <param name="isFirst">Whether the launch was the first to read the word, or the first to write it.</param>
    /// <returns>What is wrong with it; null where nothing is.</returns>
    public string? TouchGlobal(Access access, long address, int thread, out bool isFirst)
    {
        ref var word = ref Global(address);
        isFirst = (access == Access.Read ? word.Read : word.Written) < _launch;
        if (access == Access.Read)
            return Read(ref word, _launch, (ushort)thread);
        if (access == Access.Add)
            return AddGlobal(ref word, address, thread);
        _threads[thread].Wrote = true;
        return Write(ref word, _launch, (ushort)thread);
    }

    /// <returns>What is wrong with it; null where nothing is.</returns>
    public string? TouchShared(Access access, long address, int thread)
    {
        ref var word = ref _shared[address / sizeof(uint)];
        return access switch
        {
            Access.Read => Read(ref word, _group, (ushort)thread),
            Access.Write => Write(ref word, _group, (ushort)thread),
            _ => AddShared(ref word, thread),
        };
    }

    private string? AddGlobal(ref WordAccess word, long address, int thread)
    {
        if (word.Written >= _launch && word.Writer != Atomically
            && (word.Written < _group || (word.Written == _now && word.Writer != thread)))
        {
            return $"adds atomically to what {(word.Written < _group ? "another group" : Name(word.Writer))} wrote";
        }
        if (word.Read >= _launch && (word.Read < _group || (word.Read == _now && word.Reader != thread)))
            return $"adds atomically to what {(word.Read < _group ? "another group" : Name(word.Reader))} read";
        word.Written = _now;
        word.Writer = Atomically;
        if (!_meetings.TryGetValue(address, out var meeting))
            _meetings[address] = meeting = [];
        (_met, _metAt) = ([.. meeting], _now);
        if (Enumerable.Range(0, _threads.Length).All(i => !_threads[i].Wrote && (_threads[i].Fenced < _now || i == thread)))
            meeting.Add((_group, _now));
        return null;
    }

    private string? AddShared(ref WordAccess word, int thread)
    {
        if (word.Written == _now && word.Writer != thread && word.Writer != Atomically)
            return $"adds atomically to what {Name(word.Writer)} wrote since the last barrier";
        if (word.Read == _now && word.Reader != thread)
            return $"adds atomically to what {Name(word.Reader)} read since the last barrier";
        word.Written = _now;
        word.Writer = Atomically;
        return null;
    }

    private string? Read(ref WordAccess word, uint start, ushort thread)
    {
        if (word.Written >= start)
        {
            if (word.Written < _group && !HasMet(word.Written, thread))
                return "reads what another group wrote";
            if (word.Written == _now && word.Writer != thread)
                return $"reads what {Name(word.Writer)} wrote since the last barrier";
        }
        if (word.Read == _now)
        {
            if (word.Reader != thread)
                word.Reader = Several;
            return null;
        }
        if (word.Read >= start && word.Read < _group)
            word.ReadByGroups = _now;
        word.Read = _now;
        word.Reader = thread;
        return null;
    }

    private string? Write(ref WordAccess word, uint start, ushort thread)
    {
        if (word.Written >= start)
        {
            if (word.Written < _group)
                return "writes what another group wrote";
            if (word.Written == _now && word.Writer != thread)
                return $"writes what {Name(word.Writer)} wrote since the last barrier";
        }
        if (word.ReadByGroups >= start || (word.Read >= start && word.Read < _group))
            return "writes what another group read";
        if (word.Read == _now && word.Reader != thread)
            return $"writes what {Name(word.Reader)} read since the last barrier";
        word.Written = _now;
        word.Writer = thread;
        return null;
    }

    private bool HasMet(uint written, int thread) =>
        _met.Length > 0 && _threads[thread].Fenced > _metAt && Array.Exists(_met, group => written >= group.First && written <= group.Last);

    private ref WordAccess Global(long address)
    {
        long number = address / sizeof(uint) / PageWords;
        if (number != _pageNumber)
        {
            if (!_pages.TryGetValue(number, out var page))
                _pages[number] = page = new WordAccess[PageWords];
            (_page, _pageNumber) = (page, number);
        }
        return ref _page[address / sizeof(uint) % PageWords];
    }

    private static string Name(ushort thread) => thread switch
    {
        Several => "other threads",
        Atomically => "another thread, atomically,",
        _ => $"thread {thread}",
    };
}
