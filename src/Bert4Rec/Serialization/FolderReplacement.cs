using System.Runtime.InteropServices;

namespace Bert4Rec.Serialization;

/// <summary>
/// Puts a finished folder in another's place. On Linux and macOS the two change names in one step, so that whoever opens the folder has the
/// old one or the new one, whole.
/// </summary>
internal static partial class FolderReplacement
{
    /// <summary>In a folder that has taken another's place, until it has what it is to keep of the other.</summary>
    private const string Unfinished = ".unfinished";

    private const int CurrentFolder = -100, ExchangeOnLinux = 2, SwapOnMac = 2;

    /// <summary>
    /// Puts a folder in another's place. What the other has besides is kept: files of the same names are replaced, all else moves along.
    /// </summary>
    /// <param name="staged">The new folder, on the same disk; gone afterwards.</param>
    /// <param name="target">The one to replace, no link.</param>
    /// <param name="last">Where the system cannot exchange folders, files are replaced one by one, those of this name last.</param>
    /// <param name="dropped">Files of this name are not kept of the other.</param>
    /// <exception cref="IOException">A file cannot be moved.</exception>
    public static void Replace(string staged, string target, string last, string dropped)
    {
        string mark = Path.Combine(staged, Unfinished);
        OutputFile.WriteText(mark, "");
        if (TryExchange(staged, target))
        {
            UnixFile.SyncFolder(Path.GetDirectoryName(Path.GetFullPath(target))!);
            Finish(staged, target, dropped);
            return;
        }
        File.Delete(mark);
        string[] common = [.. Directory.GetDirectories(staged).Select(folder => Path.Combine(target, Path.GetFileName(folder)))];
        foreach (string folder in common.Where(Directory.Exists).Append(target))
            File.Delete(Path.Combine(folder, dropped));
        MoveOver(staged, target, file => file != last);
        MoveOver(staged, target, _ => true);
        Remove(staged);
    }

    /// <summary>Removes a folder that this process has locked. Windows deletes no open file: there the lock is left its own.</summary>
    public static void Remove(string locked)
    {
        if (!OperatingSystem.IsWindows())
        {
            Directory.Delete(locked, recursive: true);
            return;
        }
        foreach (string folder in Directory.GetDirectories(locked))
            Directory.Delete(folder, recursive: true);
        foreach (string file in Directory.GetFiles(locked).Where(file => Path.GetFileName(file) != FolderLock.FileName))
            File.Delete(file);
    }

    /// <summary>Whether an exchange was killed behind the one step: the folder that was staged is then the old one.</summary>
    public static bool IsUnfinished(string target) => File.Exists(Path.Combine(target, Unfinished));

    /// <summary>Ends an exchange that was killed behind the one step; nothing where there was none.</summary>
    public static void Finish(string staged, string target, string dropped)
    {
        if (!IsUnfinished(target))
            return;
        if (Directory.Exists(staged))
        {
            MoveWhatIsMissing(staged, target, dropped);
            Directory.Delete(staged, recursive: true);
        }
        File.Delete(Path.Combine(target, Unfinished));
    }

    private static bool TryExchange(string staged, string target)
    {
        try
        {
            return (OperatingSystem.IsLinux() && RenameAt2(CurrentFolder, staged, CurrentFolder, target, ExchangeOnLinux) == 0)
                || (OperatingSystem.IsMacOS() && RenameX(staged, target, SwapOnMac) == 0);
        }
        catch (EntryPointNotFoundException)
        {
            return false;
        }
    }

    /// <summary>Moves what only the old folder has into the new one; lock files stay.</summary>
    private static void MoveWhatIsMissing(string from, string to, string dropped)
    {
        foreach (string folder in Directory.GetDirectories(from))
        {
            string target = Path.Combine(to, Path.GetFileName(folder));
            if (Directory.Exists(target))
                MoveWhatIsMissing(folder, target, dropped);
            else
                Directory.Move(folder, target);
        }
        foreach (string file in Directory.GetFiles(from))
        {
            string name = Path.GetFileName(file), target = Path.Combine(to, name);
            if (name != FolderLock.FileName && name != dropped && !File.Exists(target))
                File.Move(file, target);
        }
    }

    private static void MoveOver(string from, string to, Func<string, bool> isWanted)
    {
        Directory.CreateDirectory(to);
        foreach (string folder in Directory.GetDirectories(from))
            MoveOver(folder, Path.Combine(to, Path.GetFileName(folder)), isWanted);
        foreach (string file in Directory.GetFiles(from).Select(Path.GetFileName).OfType<string>())
        {
            if (file != FolderLock.FileName && isWanted(file))
                File.Move(Path.Combine(from, file), Path.Combine(to, file), overwrite: true);
        }
    }

    [LibraryImport("libc", EntryPoint = "renameat2", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int RenameAt2(int oldFolder, string oldPath, int newFolder, string newPath, uint flags);

    [LibraryImport("libc", EntryPoint = "renamex_np", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int RenameX(string from, string to, uint flags);
}
