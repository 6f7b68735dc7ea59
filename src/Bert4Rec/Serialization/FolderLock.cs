namespace Bert4Rec.Serialization;

/// <summary>
/// Keeps other runs out of a folder while one writes there. The system holds the lock, not the file's presence: what a killed run left is no
/// obstacle to the next.
/// </summary>
public sealed class FolderLock : IDisposable
{
    /// <summary>Stays in the folder: to delete it would let two runs each lock a file of that name.</summary>
    public const string FileName = ".lock";

    private readonly FileStream _file;

    private FolderLock(FileStream file)
    {
        _file = file;
    }

    /// <summary>Locks a folder, which is made if it is not there.</summary>
    /// <exception cref="InputException">Another run has it.</exception>
    /// <exception cref="IOException">The folder cannot be made or written.</exception>
    public static FolderLock Take(string directory)
    {
        Directory.CreateDirectory(directory);
        string path = Path.Combine(directory, FileName);
        try
        {
            return new(new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None));
        }
        catch (IOException e) when (File.Exists(path))
        {
            throw new InputException($"{directory}: another run is writing there; wait for it to end, or give another --output", e);
        }
    }

    public void Dispose() => _file.Dispose();
}
