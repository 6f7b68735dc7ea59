namespace Bert4Rec.Serialization;

/// <summary>
/// Writes a file so that its name never stands for half of it: the content goes to a temporary file beside it, to the disk, and only then
/// takes the name. A run that is killed, or loses its power, leaves the old file or the new one.
/// </summary>
internal static class OutputFile
{
    private const string Suffix = ".tmp";

    /// <summary>Of a point and <see cref="Path.GetRandomFileName"/>.</summary>
    private const int UniqueLength = 1 + 12;

    /// <summary>
    /// Writes or replaces <paramref name="path"/>; the folder is made if it is not there. A link stays and its target is replaced; what is
    /// no regular file (a device, a pipe) is written into.
    /// </summary>
    /// <exception cref="InputException">Another run is writing the same file, or a folder has its name, or a file that of its
    /// folder.</exception>
    /// <exception cref="IOException">The disk is full, or the folder cannot be written; what <paramref name="path"/> held
    /// stays.</exception>
    public static void Write(string path, Action<Stream> write)
    {
        // Before links are followed: what /dev/stdout leads to may be a pipe, whose name is no path.
        if (UnixFile.IsSpecial(path))
        {
            using var special = new FileStream(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite);
            write(special);
            return;
        }
        path = Target(Path.GetFullPath(path));
        if (Directory.Exists(path))
            throw new InputException($"{path}: a folder, where a file is to be; give another --output");
        string folder = Path.GetDirectoryName(path)!;
        CreateFolder(folder);
        string temporary = $"{path}.{Path.GetRandomFileName()}{Suffix}";
        try
        {
            // CreateNew follows no link. The file has no buffer of its own: to dispose of it writes nothing, and so cannot fail on a full
            // disk.
            using (var file = new FileStream(temporary, FileMode.CreateNew, FileAccess.Write, FileShare.None, bufferSize: 0))
            {
                // Only now, so that of two runs that begin at once each sees the other's file.
                RemoveLeftovers(folder, path, temporary);
                var buffered = new BufferedStream(new LimitedFile(file, path), 1 << 16);
                write(buffered);
                buffered.Flush();
                file.Flush(flushToDisk: true);
            }
            File.Move(temporary, path, overwrite: true);
        }
        catch
        {
            File.Delete(temporary);
            throw;
        }
        UnixFile.SyncFolder(folder);
    }

    /// <summary>Makes a folder, and those it is in, where they are not there.</summary>
    /// <exception cref="InputException">A file has the name of one of them.</exception>
    /// <exception cref="IOException">It cannot be made.</exception>
    public static void CreateFolder(string folder)
    {
        for (string? part = Path.GetFullPath(folder); part is not null && !Directory.Exists(part); part = Path.GetDirectoryName(part))
        {
            if (File.Exists(part))
                throw new InputException($"{part}: a file, where a folder is to be; remove it, or give another --output");
        }
        Directory.CreateDirectory(folder);
    }

    /// <summary>Writes or replaces <paramref name="path"/> with text, UTF-8 without a byte order mark.</summary>
    /// <inheritdoc cref="Write"/>
    public static void WriteText(string path, string text) => Write(path, stream =>
    {
        using var writer = new StreamWriter(stream, leaveOpen: true);
        writer.Write(text);
    });

    /// <summary>Deletes a file, if it is there, and what killed runs left of it; its folder must be there.</summary>
    /// <exception cref="InputException">Another run is writing it.</exception>
    public static void Delete(string path)
    {
        path = Path.GetFullPath(path);
        RemoveLeftovers(Path.GetDirectoryName(path)!, path, own: "");
        File.Delete(path);
    }

    /// <summary>Where a chain of links ends.</summary>
    private static string Target(string path)
    {
        try
        {
            return File.ResolveLinkTarget(path, returnFinalTarget: true)?.FullName ?? path;
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return path;
        }
    }

    /// <summary>Deletes what killed runs left of this file. A file that a living run writes is locked by it.</summary>
    private static void RemoveLeftovers(string folder, string path, string own)
    {
        string name = Path.GetFileName(path);
        foreach (string left in Directory.EnumerateFiles(folder))
        {
            string leftName = Path.GetFileName(left);
            int unique = leftName.Length - name.Length - Suffix.Length;
            if (left == own || !leftName.StartsWith(name, StringComparison.Ordinal) || !leftName.EndsWith(Suffix, StringComparison.Ordinal)
                || unique != UniqueLength || leftName[name.Length] != '.')
                continue;
            if (File.ResolveLinkTarget(left, returnFinalTarget: false) is null && !UnixFile.IsSpecial(left))
            {
                try
                {
                    new FileStream(left, FileMode.Open, FileAccess.Read, FileShare.None).Dispose();
                }
                catch (FileNotFoundException)
                {
                    continue;
                }
                catch (IOException e)
                {
                    throw new InputException($"{path}: another run is writing it; wait for that one, or give another name", e);
                }
            }
            File.Delete(left);
        }
    }

    /// <summary>A file that is to take a name. Where it grows too large, its writer is told so as of a full disk; .NET takes that for a
    /// wrong argument.</summary>
    private sealed class LimitedFile(FileStream file, string path) : Stream
    {
        public override bool CanRead => false;

        public override bool CanSeek => file.CanSeek;

        public override bool CanWrite => true;

        public override long Length => file.Length;

        public override long Position
        {
            get => file.Position;
            set => file.Position = value;
        }

        public override void Flush() => file.Flush();

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => file.Seek(offset, origin);

        public override void SetLength(long value) => file.SetLength(value);

        public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            try
            {
                file.Write(buffer);
            }
            catch (ArgumentOutOfRangeException e)
            {
                const string Reason = "larger than the file system, or a limit such as that of ulimit -f, allows a file to be";
                throw new IOException($"{path}: {Reason}", e);
            }
        }
    }
}
