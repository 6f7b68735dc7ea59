namespace Bert4Rec.Serialization;

/// <summary>A file of data that is read from its beginning to its end: plain or gzip, told by its first bytes.</summary>
internal sealed class InputFile : IDisposable
{
    private readonly FileStream _file;

    /// <exception cref="InputException">There is no such file, or it cannot be read.</exception>
    public InputFile(string path)
    {
        Path = path;
        try
        {
            _file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0, FileOptions.SequentialScan);
            Content = GzipInput.IsGzip(_file) ? new GzipInput(path, _file) : _file;
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new InputException($"{path}: there is no such file", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            _file?.Dispose();
            throw new InputException($"{path}: the file cannot be read: {e.Message.ReplaceLineEndings(" ")}", e);
        }
    }

    public string Path { get; }

    /// <summary>The unpacked bytes.</summary>
    public Stream Content { get; }

    /// <summary>Bytes read of <see cref="Length"/>, as they lie on the disk.</summary>
    public long Position => _file.Position;

    public long Length => _file.Length;

    /// <summary>Reads at least some bytes; fewer means that the file is at its end.</summary>
    /// <param name="buffer">Where to.</param>
    /// <param name="minimum">How many at least.</param>
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
            throw new InputException($"{Path}:{line}: the file cannot be read on from here: {e.Message.ReplaceLineEndings(" ")}", e);
        }
    }

    public void Dispose()
    {
        Content.Dispose();
        _file.Dispose();
    }
}
