using System.Buffers.Binary;
using System.Globalization;
using System.Runtime.InteropServices;

namespace Bert4Rec.EventLog;

/// <summary>A cleaned row on its way to the output.</summary>
/// <param name="Time">Unix milliseconds.</param>
/// <param name="LineLength">Bytes of the line, its line break included, at the start of the record's content.</param>
/// <param name="SessionStart">Where the session, unquoted, starts in the content; it reaches to SessionStart + SessionLength.</param>
/// <param name="SessionLength">Bytes of the session, or -1 where there is none.</param>
internal readonly record struct RecordHeader(long Time, int LineLength, int SessionStart, int SessionLength, int Length);

/// <summary>
/// Sorts cleaned rows by (user_session by code point, event_time), stable, rows without a session last. Rows pile up in memory up to a
/// budget; then they are sorted and written to a run beside the output, and the runs are merged at the end.
/// </summary>
internal sealed class SessionSorter : IDisposable
{
    private const int ChunkSize = 1 << 22;
    private const int LargestRunBuffer = 1 << 18, SmallestRunBuffer = 1 << 12;

    private static readonly int _headerSize = Marshal.SizeOf<RecordHeader>();

    private readonly string? _path;
    private readonly long _memoryBudget;
    private readonly List<byte[]> _chunks = [];
    private readonly List<string> _runs = [];
    private Entry[] _entries = new Entry[1 << 12];
    private int _count;
    private int _chunk;
    private int _used;

    /// <param name="path">The output; runs take its name with a suffix. Null sorts in memory, whatever the budget.</param>
    /// <param name="memoryBudget">Bytes to hold before a run is written.</param>
    public SessionSorter(string? path, long memoryBudget)
    {
        _path = path;
        _memoryBudget = path is null ? long.MaxValue : memoryBudget;
        if (path is null)
            return;
        // A killed run may have left more of them than this one writes.
        string folder = Path.GetDirectoryName(Path.GetFullPath(path))!;
        if (Directory.Exists(folder))
        {
            string start = $"{Path.GetFileName(path)}.run";
            foreach (string left in Directory.GetFiles(folder, $"{start}*.tmp"))
            {
                string number = Path.GetFileName(left)[start.Length..^".tmp".Length];
                if (int.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out _))
                    File.Delete(left);
            }
        }
    }

    /// <summary>Takes a sorted record.</summary>
    public delegate void RecordAction(in RecordHeader header, ReadOnlySpan<byte> content);

    public long Count { get; private set; }

    public int Runs => _runs.Count;

    /// <summary>Appends a record to a block's bytes.</summary>
    public static void Append(ref byte[] bytes, ref int used, in RecordHeader header, ReadOnlySpan<byte> content)
    {
        int needed = used + _headerSize + content.Length;
        if (bytes.Length < needed)
            Array.Resize(ref bytes, Math.Max(needed, 2 * bytes.Length));
        MemoryMarshal.Write(bytes.AsSpan(used), header);
        content.CopyTo(bytes.AsSpan(used + _headerSize));
        used = needed;
    }

    /// <summary>Takes the records that <see cref="Append"/> put one after another.</summary>
    public void AddAll(ReadOnlySpan<byte> records)
    {
        while (!records.IsEmpty)
        {
            var header = MemoryMarshal.Read<RecordHeader>(records);
            int size = _headerSize + header.Length;
            Add(header, records[..size]);
            records = records[size..];
        }
    }

    /// <summary>Hands out all records in order.</summary>
    public void Drain(RecordAction action, CancellationToken cancellationToken)
    {
        Sort();
        if (_runs.Count == 0)
        {
            for (int i = 0; i < _count; i++)
            {
                if (i % (1 << 16) == 0)
                    cancellationToken.ThrowIfCancellationRequested();
                ReadOnlySpan<byte> record = At(_entries[i].Position, out RecordHeader header);
                action(header, record.Slice(_headerSize, header.Length));
            }
            return;
        }
        WriteRun();
        _chunks.Clear();
        _entries = [];
        int bufferSize = (int)Math.Clamp(_memoryBudget / 4 / _runs.Count, SmallestRunBuffer, LargestRunBuffer);
        var readers = new List<RunReader>();
        try
        {
            var heads = new PriorityQueue<RunReader, RunReader>(Comparer<RunReader>.Create(RunReader.Compare));
            foreach (string run in _runs)
            {
                var reader = new RunReader(run, readers.Count, bufferSize);
                readers.Add(reader);
                if (reader.Read())
                    heads.Enqueue(reader, reader);
            }
            for (long i = 0; heads.TryDequeue(out RunReader? head, out _); i++)
            {
                if (i % (1 << 16) == 0)
                    cancellationToken.ThrowIfCancellationRequested();
                action(head.Header, head.Content);
                if (head.Read())
                    heads.Enqueue(head, head);
            }
        }
        finally
        {
            foreach (RunReader reader in readers)
                reader.Dispose();
        }
    }

    public void Dispose()
    {
        foreach (string run in _runs)
            File.Delete(run);
    }

    private static ulong Prefix(in RecordHeader header, ReadOnlySpan<byte> session)
    {
        // No UTF-8 text starts with 0xFF: rows without a session come last.
        if (header.SessionLength < 0)
            return ulong.MaxValue;
        if (session.Length >= sizeof(ulong))
            return BinaryPrimitives.ReadUInt64BigEndian(session);
        Span<byte> padded = stackalloc byte[sizeof(ulong)];
        padded.Clear();
        session.CopyTo(padded);
        return BinaryPrimitives.ReadUInt64BigEndian(padded);
    }

    /// <summary>The session of a record's content; empty where there is none.</summary>
    public static ReadOnlySpan<byte> Session(in RecordHeader header, ReadOnlySpan<byte> content) =>
        content.Slice(header.SessionStart, Math.Max(0, header.SessionLength));

    private void Add(in RecordHeader header, ReadOnlySpan<byte> record)
    {
        if (_count > 0 && Held + record.Length > _memoryBudget)
        {
            Sort();
            WriteRun();
        }
        if (_chunk < _chunks.Count && _used + record.Length > _chunks[_chunk].Length)
        {
            _chunk++;
            _used = 0;
        }
        if (_chunk == _chunks.Count)
            _chunks.Add(new byte[Math.Max(ChunkSize, record.Length)]);
        else if (_chunks[_chunk].Length < record.Length)
            _chunks[_chunk] = new byte[record.Length];
        record.CopyTo(_chunks[_chunk].AsSpan(_used));
        if (_count == _entries.Length)
            Array.Resize(ref _entries, _count + (_count / 2));
        ReadOnlySpan<byte> session = Session(header, record[_headerSize..]);
        _entries[_count++] = new Entry(Prefix(header, session), header.Time, ((long)_chunk << 32) | (uint)_used);
        _used += record.Length;
        Count++;
    }

    private long Held => ((long)_chunk * ChunkSize) + _used + ((long)_count * Marshal.SizeOf<Entry>());

    private ReadOnlySpan<byte> At(long position, out RecordHeader header)
    {
        ReadOnlySpan<byte> record = _chunks[(int)(position >> 32)].AsSpan((int)(uint)position);
        header = MemoryMarshal.Read<RecordHeader>(record);
        return record;
    }

    private void Sort() => _entries.AsSpan(0, _count).Sort(new EntryComparer(this));

    private void WriteRun()
    {
        string run = $"{_path}.run{_runs.Count}.tmp";
        _runs.Add(run);
        using var stream = new FileStream(run, FileMode.CreateNew, FileAccess.Write, FileShare.None, LargestRunBuffer);
        for (int i = 0; i < _count; i++)
        {
            ReadOnlySpan<byte> record = At(_entries[i].Position, out RecordHeader header);
            stream.Write(record[..(_headerSize + header.Length)]);
        }
        _count = 0;
        _chunk = 0;
        _used = 0;
    }

    /// <summary>A record in memory: the first eight bytes of its session decide most comparisons without a look at the record.</summary>
    private readonly record struct Entry(ulong Prefix, long Time, long Position);

    private readonly struct EntryComparer(SessionSorter sorter) : IComparer<Entry>
    {
        public int Compare(Entry x, Entry y)
        {
            int order = x.Prefix.CompareTo(y.Prefix);
            if (order != 0)
                return order;
            ReadOnlySpan<byte> a = sorter.At(x.Position, out RecordHeader ha), b = sorter.At(y.Position, out RecordHeader hb);
            order = Session(ha, a[_headerSize..]).SequenceCompareTo(Session(hb, b[_headerSize..]));
            if (order == 0)
                order = x.Time.CompareTo(y.Time);
            return order != 0 ? order : x.Position.CompareTo(y.Position);
        }
    }

    private sealed class RunReader(string path, int index, int bufferSize) : IDisposable
    {
        private readonly FileStream _stream = new(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize);
        private readonly byte[] _headerBytes = new byte[_headerSize];
        private byte[] _content = new byte[1024];
        private RecordHeader _header;
        private ulong _prefix;

        public ref readonly RecordHeader Header => ref _header;

        public ReadOnlySpan<byte> Content => _content.AsSpan(0, _header.Length);

        public static int Compare(RunReader a, RunReader b)
        {
            int order = a._prefix.CompareTo(b._prefix);
            if (order == 0)
                order = Session(a._header, a.Content).SequenceCompareTo(Session(b._header, b.Content));
            if (order == 0)
                order = a._header.Time.CompareTo(b._header.Time);
            return order != 0 ? order : a.Index.CompareTo(b.Index);
        }

        public bool Read()
        {
            if (_stream.ReadAtLeast(_headerBytes, _headerSize, throwOnEndOfStream: false) == 0)
                return false;
            _header = MemoryMarshal.Read<RecordHeader>(_headerBytes);
            if (_content.Length < _header.Length)
                _content = new byte[2 * _header.Length];
            _stream.ReadExactly(_content, 0, _header.Length);
            _prefix = Prefix(_header, Session(_header, Content));
            return true;
        }

        public void Dispose() => _stream.Dispose();

        private int Index { get; } = index;
    }
}
