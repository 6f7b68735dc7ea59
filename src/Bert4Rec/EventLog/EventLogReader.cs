using System.Collections.Concurrent;
using System.Text;
using Bert4Rec.Configuration;
using Bert4Rec.Serialization;
using CsvHelper;

namespace Bert4Rec.EventLog;

/// <summary>What the rows of a part of a log are gathered in, by one thread at a time.</summary>
internal interface IRowBlock
{
    /// <summary>Takes a row; a returned text says why the row cannot be read, null that it could.</summary>
    string? Add(EventRow row);

    /// <summary>Empties it, for other rows.</summary>
    void Clear();
}

/// <summary>
/// Streams the rows of event logs (CSV, plain or gzip; Parquet). One thread reads blocks of whole lines, several parse them, the results
/// come back in the order of the file; a bounded queue keeps memory the same for a log of any size. A line is a row: a quoted value cannot
/// hold a line break, so that one quote too many spoils its own row and no other.
/// </summary>
internal static class EventLogReader
{
    /// <summary>Bytes of a block, and of the longest line.</summary>
    internal const int BlockSize = 1 << 20;

    private const int KeptExamples = 10;

    /// <summary>A character that stands in no text, and that is not taken for a separator.</summary>
    private const char NoQuote = '\u0002';

    private const string Formats = "CSV, packed with gzip or not, or Parquet";

    /// <summary>Reads logs block by block.</summary>
    /// <param name="inputs">As <see cref="EventLogFiles.List"/> takes them.</param>
    /// <param name="options">How many threads parse, and how much may be unreadable.</param>
    /// <param name="newBlock">Makes an empty block; called by several threads.</param>
    /// <param name="takeBlock">
    /// Looks at the blocks, one after another in the order of the log, on the calling thread; then they are emptied and filled again.
    /// </param>
    /// <exception cref="InputException">
    /// A file is missing, cannot be read or lacks a column, or more rows than allowed cannot be read.
    /// </exception>
    public static ReadSummary Read<TBlock>(
        IReadOnlyList<string> inputs,
        ReadOptions options,
        Func<TBlock> newBlock,
        Action<TBlock> takeBlock,
        IProgress<ProgressUpdate>? progress = null,
        CancellationToken cancellationToken = default)
        where TBlock : IRowBlock
    {
        options.Format.CheckColumns();
        IReadOnlyList<string> files = EventLogFiles.List(inputs);
        long totalBytes = files.Sum(file => new FileInfo(file).Length);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        using var parsed = new BlockingCollection<Task<ParsedBlock>>(2 * options.Threads);
        var buffers = new ConcurrentBag<byte[]>();
        var blocks = new ConcurrentBag<IRowBlock>();
        EventNameTable? names = options.Format.EventNames is { Count: > 0 } theirs ? new(theirs) : null;
        using var parsers = new SemaphoreSlim(options.Threads);
        CancellationToken stopped = stop.Token;
        Task reading = Task.Factory.StartNew(
            () =>
            {
                try
                {
                    foreach (Block block in ReadBlocks(files, options.Format, buffers))
                    {
                        parsers.Wait(stopped);
                        parsed.Add(
                            Task.Run(
                                () =>
                                {
                                    try
                                    {
                                        return Parse(block, names, blocks.TryTake(out IRowBlock? free) ? free : newBlock(), buffers);
                                    }
                                    finally
                                    {
                                        parsers.Release();
                                    }
                                },
                                CancellationToken.None),
                            stopped);
                    }
                }
                finally
                {
                    parsed.CompleteAdding();
                }
            },
            CancellationToken.None,
            TaskCreationOptions.LongRunning,
            TaskScheduler.Default);

        var summary = new ReadSummary(0, 0, 0, [], totalBytes);
        try
        {
            foreach (Task<ParsedBlock> task in parsed.GetConsumingEnumerable(cancellationToken))
            {
                ParsedBlock block = task.GetAwaiter().GetResult();
                takeBlock((TBlock)block.Result);
                block.Result.Clear();
                blocks.Add(block.Result);
                summary = summary with
                {
                    Rows = summary.Rows + block.Rows,
                    BadRows = summary.BadRows + block.BadRows,
                    LeftOut = summary.LeftOut + block.LeftOut,
                    CutRows = summary.CutRows + block.CutRows,
                    Examples = block.Examples.Count == 0 || summary.Examples.Count == KeptExamples
                        ? summary.Examples
                        : [.. summary.Examples.Concat(block.Examples).Take(KeptExamples)],
                };
                progress?.Report(new(
                    $"reading {Path.GetFileName(block.File)}", block.BytesRead, totalBytes, "bytes", $"{summary.Rows:N0} rows"));
            }
            reading.GetAwaiter().GetResult();
        }
        finally
        {
            // Nothing may still use the queue when it goes.
            stop.Cancel();
            ((IAsyncResult)reading).AsyncWaitHandle.WaitOne();
            foreach (Task<ParsedBlock> task in parsed)
                ((IAsyncResult)task).AsyncWaitHandle.WaitOne();
        }
        ThrowIfTooManyAreBad(summary, options.MaxBadRows);
        return summary;
    }

    /// <summary>The first line of a file, as it is, and its first rows, of Parquet as CSV would have them: for a look at it.</summary>
    /// <exception cref="InputException">It is no event log.</exception>
    public static IReadOnlyList<string> Head(string input, LogFormat format, int rows)
    {
        string first = EventLogFiles.List([input])[0];
        if (ParquetInput.IsParquet(first))
            return new ParquetLog(format).Head(first, rows);
        using var file = new InputFile(first);
        // Of a line that never ends, a block is enough.
        byte[] start = new byte[BlockSize];
        int length = file.Read(start, start.Length, line: 1);
        using var reader = new StreamReader(new MemoryStream(start, 0, length));
        var lines = new List<string>();
        while (lines.Count <= rows && reader.ReadLine() is string line)
            lines.Add(line);
        return lines;
    }

    private static void ThrowIfTooManyAreBad(ReadSummary summary, double share)
    {
        long counted = summary.BadRows - summary.CutRows;
        if (counted <= share * summary.Rows)
            return;
        BadRow first = summary.Examples[0];
        throw InputException.At(
            first.File,
            first.Line,
            $"{first.Reason}; {counted:N0} of {summary.Rows:N0} rows ({100.0 * counted / summary.Rows:0.##}%) cannot be read, more than "
            + $"the {100 * share:0.####}% of --max-bad-rows (event_log.max_bad_rows in a config)");
    }

    private static IEnumerable<Block> ReadBlocks(IReadOnlyList<string> files, LogFormat format, ConcurrentBag<byte[]> buffers)
    {
        long bytesBefore = 0;
        var parquet = new ParquetLog(format);
        foreach (string path in files)
        {
            if (ParquetInput.IsParquet(path))
            {
                long length = new FileInfo(path).Length;
                foreach ((ParquetRows rows, double share) in parquet.Read(path))
                    yield return new Block(path, bytesBefore + (long)(share * length), rows.FirstRow) { Rows = rows };
                bytesBefore += length;
                continue;
            }
            using var file = new InputFile(path);
            byte[] buffer = Rent(buffers);
            int filled = file.Read(buffer, buffer.Length, line: 1);
            Header header = ReadHeader(path, format, buffer.AsSpan(0, filled), out int start);
            long line = format.HasHeader ? 2 : 1;
            buffer.AsSpan(start, filled - start).CopyTo(buffer);
            filled -= start;
            while (true)
            {
                filled += file.Read(buffer.AsSpan(filled), buffer.Length - filled, line);
                bool last = filled < buffer.Length;
                int end = last ? filled : buffer.AsSpan(0, filled).LastIndexOf((byte)'\n') + 1;
                byte[] next = Rent(buffers);
                int kept = filled - end;
                bool skipped = end == 0 && !last;
                if (skipped)
                    kept = SkipLine(file, next, line);
                else
                    buffer.AsSpan(end, kept).CopyTo(next);
                if (end > 0 || skipped)
                {
                    var lines = new CsvLines(header, buffer, end, last && end > 0 && buffer[end - 1] != '\n', skipped);
                    var block = new Block(path, bytesBefore + file.Position, line) { Lines = lines };
                    line += skipped ? 1 : buffer.AsSpan(0, end).Count((byte)'\n');
                    yield return block;
                }
                if (last)
                    break;
                buffer = next;
                filled = kept;
            }
            bytesBefore += new FileInfo(path).Length;
        }
    }

    private static byte[] Rent(ConcurrentBag<byte[]> buffers) => buffers.TryTake(out byte[]? buffer) ? buffer : new byte[BlockSize];

    /// <summary>Passes over the rest of a line that is longer than a block.</summary>
    /// <returns>The bytes after it that <paramref name="buffer"/> has.</returns>
    private static int SkipLine(InputFile file, byte[] buffer, long line)
    {
        while (true)
        {
            int filled = file.Read(buffer, buffer.Length, line);
            int end = buffer.AsSpan(0, filled).IndexOf((byte)'\n') + 1;
            if (end > 0)
            {
                buffer.AsSpan(end, filled - end).CopyTo(buffer);
                return filled - end;
            }
            if (filled < buffer.Length)
                return 0;
        }
    }

    private static Header ReadHeader(string path, LogFormat format, ReadOnlySpan<byte> content, out int end)
    {
        string[] needed = [.. Enum.GetValues<EventColumn>().Where(format.Needs).Select(format.NameOf)];
        string wanted = format.HasHeader ? $"the first line must name the columns {string.Join(",", needed)}"
            : $"the columns {string.Join(", ", needed)} are to be read";
        if (content.IsEmpty)
            throw InputException.At(path, 1, $"the file is empty; {wanted}");
        int length = content.IndexOf((byte)'\n');
        if (length < 0 && content.Length == BlockSize)
            throw InputException.At(path, 1, $"the line is longer than {BlockSize >> 20} MB: this is no event log; {wanted}");
        ReadOnlySpan<byte> line = length < 0 ? content : content[..length];
        end = length < 0 ? content.Length : length + 1;
        int mark = line.StartsWith(Encoding.UTF8.Preamble) ? Encoding.UTF8.Preamble.Length : 0;
        line = line[mark..].TrimEnd((byte)'\r');
        if (line.StartsWith("PK\u0003\u0004"u8))
            throw InputException.At(path, 1, $"this is a zip archive or a workbook; give {Formats}");
        if (line.Contains((byte)'\0') || line.StartsWith(Encoding.Unicode.Preamble) || line.StartsWith(Encoding.BigEndianUnicode.Preamble))
            throw InputException.At(path, 1, $"the first line {Printable.Quoted(line)} is not UTF-8; save the file as UTF-8");
        if (line.Contains((byte)'\r'))
            throw InputException.At(path, 1, "the line has a carriage return in it; end lines with a line feed, or with both");
        CsvReaderOptions options = new()
        {
            Separator = format.Separator,
            Quote = format.HasQuotes ? '"' : NoQuote,
            HasHeader = false,
            AllowLineBreaksInQuotes = false,
        };
        using CsvReader csv = CsvReader.Create(line.ToArray(), options);
        int count = csv.Read() ? csv.FieldCount : 0;
        string[] names = [.. Enumerable.Range(0, count).Select(i => format.HasHeader ? csv.GetString(i).Trim() : $"{i + 1}")];
        string[] missing = [.. needed.Except(names)];
        string called = format.HasHeader ? "header" : "first line";
        if (missing.Length > 0)
        {
            if (line.TrimStart((byte)' ') is [(byte)'{' or (byte)'[', ..])
                throw InputException.At(path, 1, $"this is JSON; give {Formats}");
            string lacks = missing.Length == EventColumns.Count ? "any of its columns" : string.Join(", ", missing);
            if (missing.Any(name => names.Contains(name, StringComparer.OrdinalIgnoreCase)))
                lacks += " (capitals count)";
            throw InputException.At(path, 1, $"the {called} {Printable.Quoted(line)} lacks {lacks}; {wanted}{Hint(format, line)}");
        }
        // A column that is not to be read has no name, and a header's cell may be empty.
        int[] columns =
        [
            .. Enum.GetValues<EventColumn>().Select(format.NameOf).Select(name => name.Length == 0 ? -1 : Array.IndexOf(names, name)),
        ];
        if (columns.Where(column => column >= 0).Select(column => names[column]).FirstOrDefault(IsTwice) is string twice)
            throw InputException.At(path, 1, $"the header names the column {twice} twice; rename one");
        if (!format.HasHeader)
            end = mark;
        return new Header(called, columns, names.Length, options);

        bool IsTwice(string name) => names.Count(other => other == name) > 1;
    }

    /// <summary>What to do about a header with other names.</summary>
    private static string Hint(LogFormat format, ReadOnlySpan<byte> line)
    {
        if (!format.HasHeader)
            return "; --columns user_id=1 and so on say by number which is which";
        return format.Suggest(Encoding.UTF8.GetString(line)) is string options ? $"; perhaps {Printable.OneLine(options)}"
            : "; --columns user_id=NAME,... gives other names, --separator ';' what is between them; --no-header says that there are none";
    }

    private static ParsedBlock Parse(Block block, EventNameTable? names, IRowBlock result, ConcurrentBag<byte[]> buffers)
    {
        var parsed = new ParsedBlock(result, block);
        if (block.Lines is { } lines)
        {
            Parse(lines, names, parsed);
            buffers.Add(lines.Buffer);
            return parsed;
        }
        ParquetRows rows = block.Rows!;
        for (int row = 0; row < rows.Count; row++)
        {
            if ((rows.Oddity(row) ?? parsed.Take(new EventRow(rows, row, names))) is string reason)
                parsed.AddBad(block.FirstLine + row, reason);
        }
        parsed.Rows = rows.Count;
        rows.Return();
        return parsed;
    }

    private static void Parse(CsvLines block, EventNameTable? names, ParsedBlock parsed)
    {
        Header header = block.Header;
        if (block.IsSkippedLine)
        {
            parsed.Rows = 1;
            parsed.AddBad(parsed.FirstLine, $"the line is longer than {BlockSize >> 20} MB");
            return;
        }
        CsvMalformedReason? malformed = null;
        CsvReaderOptions options = header.Options with { OnMalformedRecord = record => malformed ??= record.Reason };
        var content = new ReadOnlyMemory<byte>(block.Buffer, 0, block.Length);
        bool lastIsBad = false;
        using (CsvReader csv = CsvReader.Create(content, options))
        {
            while (csv.Read())
            {
                parsed.Rows++;
                string? reason = Explain(malformed);
                malformed = null;
                int values = csv.FieldCount;
                if (reason is null && values != header.FieldCount)
                    reason = $"{Printable.Count(values, "value")} where the {header.Name} has {header.FieldCount} columns";
                reason ??= parsed.Take(new EventRow(csv, header.Columns, names));
                lastIsBad = reason is not null;
                if (reason is null)
                    continue;
                // A byte order mark in the middle of a file can put the offset out by a little, never out of the block.
                int offset = (int)Math.Clamp(csv.ByteOffset, 0, block.Length);
                bool isExample = parsed.Examples.Count < KeptExamples;
                parsed.AddBad(isExample ? parsed.FirstLine + content.Span[..offset].Count((byte)'\n') : 0, reason);
            }
        }
        if (block.IsOpen && lastIsBad)
        {
            parsed.CutRows = 1;
            BadRow row = parsed.Examples[^1];
            if (parsed.BadRows == parsed.Examples.Count)
                parsed.Examples[^1] = row with { Reason = $"{row.Reason}: the file ends in the middle of this line" };
        }
    }

    private static string? Explain(CsvMalformedReason? reason) => reason switch
    {
        // pandas takes it for a part of the value too: 22" is a screen's size.
        null or CsvMalformedReason.StrayQuote => null,
        CsvMalformedReason.TextAfterClosingQuote =>
            "a value goes on after its closing quote; double the quotes inside a value, or read none as such (--no-quotes)",
        _ => "a quote is not closed in its line (a value cannot hold a line break); close it, double the quotes inside a value, or read "
            + "none as such (--no-quotes)",
    };

    /// <summary>What the first line of a file says.</summary>
    private sealed record Header(string Name, int[] Columns, int FieldCount, CsvReaderOptions Options);

    /// <summary>Rows of a file: <paramref name="FirstLine"/> is the number of the first of them.</summary>
    private sealed record Block(string File, long BytesRead, long FirstLine)
    {
        public CsvLines? Lines { get; init; }

        public ParquetRows? Rows { get; init; }
    }

    /// <summary>Whole lines of a file, or (<paramref name="IsSkippedLine"/>) the place of one that is too long.</summary>
    private sealed record CsvLines(Header Header, byte[] Buffer, int Length, bool IsOpen, bool IsSkippedLine);

    private sealed class ParsedBlock(IRowBlock result, Block block)
    {
        public IRowBlock Result { get; } = result;

        public string File => block.File;

        public long FirstLine => block.FirstLine;

        public long BytesRead => block.BytesRead;

        public long Rows { get; set; }

        public long BadRows { get; private set; }

        public long CutRows { get; set; }

        public List<BadRow> Examples { get; } = [];

        public long LeftOut { get; private set; }

        public string? Take(EventRow row)
        {
            if (!row.IsLeftOut)
                return Result.Add(row);
            LeftOut++;
            return null;
        }

        public void AddBad(long line, string reason)
        {
            BadRows++;
            if (Examples.Count < KeptExamples)
                Examples.Add(new BadRow(File, line, reason));
        }
    }
}
