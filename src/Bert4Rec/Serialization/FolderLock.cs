namespace Bert4Rec.Serialization;

/// <summary>
/// Keeps other runs out of a folder while one writes there. The system holds the lock, not the file's presence: what a killed run left is
/// no obstacle to the next.
/// </summary>
internal sealed class FolderLock(string directory, bool isNew, FileStream file) : IDisposable
{
    public const string FileName = ".lock";

    /// <summary>Locks a folder, which is made if it is not there.</summary>
    /// <exception cref="InputException">Another run has it, or a file is in its place.</exception>
    /// <exception cref="IOException">The folder cannot be made or written.</exception>
    public static FolderLock Take(string directory)
    {
        bool isNew = !Directory.Exists(directory);
        OutputFile.CreateFolder(directory);
        string path = Path.Combine(directory, FileName);
        if (new FileInfo(path).LinkTarget is not null)
            throw new InputException($"{path}: a link in the place of the lock file; remove it");
        try
        {
            while (true)
            {
                var file = new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
                // The run before this one may have deleted the file between its opening and its locking: that lock would hold nobody off,
                // not even the run that has since made another.
                if (UnixFile.IsSame(file.SafeFileHandle, path))
                    return new(directory, isNew, file);
                file.Dispose();
            }
        }
        catch (IOException e) when (File.Exists(path))
        {
            throw new InputException($"{directory}: another run is writing there; wait for it to end, or give another --output", e);
        }
    }

    /// <summary>Leaves nothing behind: not even the folder, where this lock made it and nothing was written.</summary>
    public void Dispose()
    {
        // Windows deletes no open file, and there none of that name that another run has opened since. Elsewhere a file that is closed
        // first could be another run's lock by then.
        if (OperatingSystem.IsWindows())
            file.Dispose();
        try
        {
            // The folder may have been moved, or removed, by whoever locked it.
            if (Directory.Exists(directory))
                File.Delete(file.Name);
        }
        catch (IOException) when (OperatingSystem.IsWindows())
        {
        }
        file.Dispose();
        if (isNew && Directory.Exists(directory) && !Directory.EnumerateFileSystemEntries(directory).Any())
            Directory.Delete(directory);
    }
}
