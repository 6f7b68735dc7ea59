namespace Bert4Rec.Serialization;

/// <summary>
/// Writes a file so that its name never stands for half of it: the content goes to a temporary file beside it, to the disk, and only then
/// takes the name. A run killed at any point leaves the old file or the new one.
/// </summary>
public static class OutputFile
{
    /// <summary>Writes or replaces <paramref name="path"/>; the folder is made if it is not there.</summary>
    /// <exception cref="IOException">The disk is full, or the folder cannot be written; what <paramref name="path"/> held stays.</exception>
    public static void Write(string path, Action<Stream> write)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
        // Always the same name: what a killed run left is overwritten by the next, not collected.
        string temporary = path + ".tmp";
        using (var stream = new FileStream(temporary, FileMode.Create, FileAccess.Write, FileShare.None, bufferSize: 1 << 16))
        {
            try
            {
                write(stream);
                stream.Flush(flushToDisk: true);
            }
            catch
            {
                stream.Dispose();
                File.Delete(temporary);
                throw;
            }
        }
        File.Move(temporary, path, overwrite: true);
    }

    /// <summary>Writes or replaces <paramref name="path"/> with text, UTF-8 without a byte order mark.</summary>
    /// <inheritdoc cref="Write"/>
    public static void WriteText(string path, string text) => Write(path, stream =>
    {
        using var writer = new StreamWriter(stream, leaveOpen: true);
        writer.Write(text);
    });
}
