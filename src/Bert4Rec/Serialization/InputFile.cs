using System.Text;

namespace Bert4Rec.Serialization;

/// <summary>
/// A file of data that is read from its beginning to its end: plain or gzip, told by its first bytes. Its static methods open everything
/// else that is read, so that nothing that never opens or never ends (a pipe without a writer, /dev/zero) can hold a command up.
/// </summary>
internal sealed class InputFile : IDisposable
{
    private const char ByteOrderMark = '\uFEFF';

    /// <summary>Bytes, or characters, that a line has at most.</summary>
    internal const int LongestLine = 1 << 24;

    private static readonly TimeSpan s_longestOpening = TimeSpan.FromSeconds(2);

    private readonly FileStream? _file;

    /// <exception cref="InputException">There is no such file, it cannot be read, or it is no regular one.</exception>
    public InputFile(string path)
    {
        Path = path;
        _file = Open(path);
        try
        {
            Content = GzipInput.IsGzip(_file) ? new GzipInput(path, _file) : _file;
        }
        catch (IOException e)
        {
            _file.Dispose();
            throw Unreadable(path, e);
        }
    }

    /// <summary>What is written as it is read, and has no length.</summary>
    /// <param name="name">For errors.</param>
    /// <param name="content">Disposed with this.</param>
    internal InputFile(string name, Stream content)
    {
        Path = name;
        Content = content;
    }

    public string Path { get; }

    /// <summary>The unpacked bytes.</summary>
    public Stream Content { get; }

    /// <summary>Bytes read of <see cref="Length"/>, as they lie on the disk.</summary>
    public long Position => _file?.Position ?? 0;

    /// <summary>0 where it is not known.</summary>
    public long Length => _file?.Length ?? 0;

    /// <summary>Opens a regular file: one that has a length, and can be read twice.</summary>
    /// <exception cref="InputException">There is no such file, it cannot be read, or it is no regular one.</exception>
    public static FileStream Open(string path)
    {
        FileStream file = OpenStream(path);
        try
        {
            if (file.CanSeek && (file.Length > 0 || file.ReadByte() < 0))
                return file;
        }
        catch (IOException)
        {
            // A device that cannot be read is refused like one that can.
        }
        file.Dispose();
        throw new InputException($"{path}: a pipe or a device; write what it gives to a file, and name that");
    }

    /// <summary>Opens lines of text, which may also come from a pipe.</summary>
    /// <exception cref="InputException">There is no such file, it cannot be read, or nobody writes to the pipe.</exception>
    public static StreamReader OpenText(string path) => new(OpenStream(path));

    /// <summary>The whole text of a small file, or of a pipe.</summary>
    /// <param name="maximum">Bytes that it has at most.</param>
    /// <param name="what">What it should be, for errors: "a config".</param>
    /// <exception cref="InputException">There is no such file, it cannot be read, or it is longer.</exception>
    public static string ReadText(string path, int maximum, string what)
    {
        using FileStream file = OpenStream(path);
        using var content = new MemoryStream();
        byte[] buffer = new byte[1 << 16];
        try
        {
            while (file.Read(buffer) is > 0 and int read)
            {
                content.Write(buffer, 0, read);
                if (content.Length > maximum)
                    throw new InputException($"{path}: longer than {maximum >> 20} MB: this is not {what}");
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Unreadable(path, e);
        }
        content.Position = 0;
        using var reader = new StreamReader(content);
        return reader.ReadToEnd();
    }

    /// <summary>The lines of a text, LF or CRLF taken off; a CR within a line is a character like any other.</summary>
    /// <param name="path">Where it comes from, for errors.</param>
    /// <exception cref="InputException">A line is longer than <see cref="LongestLine"/>.</exception>
    public static IEnumerable<string> ReadLines(TextReader text, string path)
    {
        var line = new StringBuilder();
        for (long number = 1; ; number++)
        {
            int character;
            while ((character = text.Read()) is >= 0 and not '\n')
            {
                if (line.Length == LongestLine)
                    throw InputException.At(path, number, $"the line is longer than {LongestLine >> 20} MB; write one record a line");
                line.Append((char)character);
            }
            bool isLast = character < 0;
            if (isLast && line.Length == 0)
                yield break;
            if (line.Length > 0 && line[^1] == '\r')
                line.Length--;
            if (number == 1 && line.Length > 0 && line[0] == ByteOrderMark)
                line.Remove(0, 1); // standard input's, which no reader takes off
            yield return line.ToString();
            if (isLast)
                yield break;
            line.Clear();
        }
    }

    /// <summary>Reads at least some bytes; fewer means that the file is at its end.</summary>
    /// <param name="minimum">Bytes to read, unless the file ends before.</param>
    /// <param name="line">The line that the bytes belong to, for errors.</param>
    /// <exception cref="InputException">The disk fails, or the gzip data is damaged.</exception>
    public int Read(Span<byte> buffer, int minimum, long line)
    {
        try
        {
            return Content.ReadAtLeast(buffer, minimum, throwOnEndOfStream: false);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw CannotReadOn(line, e);
        }
    }

    /// <summary>The error of a disk that fails at a line.</summary>
    internal InputException CannotReadOn(long line, Exception e) =>
        new($"{Path}:{line}: the file cannot be read on from here: {Printable.OneLine(e.Message)}", e);

    public void Dispose()
    {
        Content.Dispose();
        _file?.Dispose();
    }

    /// <summary>Opens anything, if that takes no longer than a moment.</summary>
    private static FileStream OpenStream(string path)
    {
        try
        {
            // Pipes and devices have no length. To open a pipe waits for its writer, and no signal ends the waiting: another thread waits.
            if (new FileInfo(path) is { Exists: true, Length: > 0 })
                return OpenNow();
            var opening = Task.Factory.StartNew(OpenNow, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
            if (((IAsyncResult)opening).AsyncWaitHandle.WaitOne(s_longestOpening))
                return opening.GetAwaiter().GetResult();
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new InputException($"{path}: there is no such file", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw Unreadable(path, e);
        }
        throw new InputException($"{path}: a pipe that nobody writes to; start its writer first, or give a file");

        FileStream OpenNow() =>
            // On Windows what is being read can be replaced only so.
            new(path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete, bufferSize: 0, FileOptions.SequentialScan);
    }

    private static InputException Unreadable(string path, Exception e) =>
        new($"{path}: the file cannot be read: {Printable.OneLine(e.Message)}", e);
}
