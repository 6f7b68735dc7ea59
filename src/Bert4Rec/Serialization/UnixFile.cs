using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Bert4Rec.Serialization;

/// <summary>
/// What .NET does not tell of a file, or do with it: its kind, and a folder's way to the disk. On other systems than
/// Linux, files are told apart by their names, and nothing is sent.
/// </summary>
internal static partial class UnixFile
{
    private const int CurrentFolder = -100, WantType = 1, WantInode = 0x100;
    private const int StatusLength = 256, ModeOffset = 28, InodeOffset = 32, DeviceOffset = 136;
    private const int TypeMask = 0xF000, RegularFile = 0x8000, FolderFile = 0x4000;

    /// <summary>Whether a path, links followed, is there and neither a regular file nor a folder: a device, a pipe, a socket.</summary>
    public static bool IsSpecial(string path)
    {
        // Others than Linux are asked by no call: what lies among the devices is one.
        if (!OperatingSystem.IsLinux())
            return !OperatingSystem.IsWindows() && Resolve(path).StartsWith("/dev/", StringComparison.Ordinal);
        var status = new byte[StatusLength];
        if (Statx(CurrentFolder, path, 0, WantType, status) != 0)
            return false;
        return (BinaryPrimitives.ReadUInt16LittleEndian(status.AsSpan(ModeOffset)) & TypeMask) is not (RegularFile or FolderFile);
    }

    /// <summary>Whether a path still names an open file, and not another that took its name.</summary>
    public static bool IsSame(SafeFileHandle file, string path) =>
        OperatingSystem.IsLinux() ? IsSame($"/proc/self/fd/{file.DangerousGetHandle()}", path) : File.Exists(path);

    /// <summary>Whether two paths, links followed, lead to the same file or folder.</summary>
    public static bool IsSame(string path, string other)
    {
        if (!OperatingSystem.IsLinux())
            return NameComparer.Equals(Resolve(path), Resolve(other));
        var one = new byte[StatusLength];
        var two = new byte[StatusLength];
        return Statx(CurrentFolder, path, 0, WantInode, one) == 0 && Statx(CurrentFolder, other, 0, WantInode, two) == 0
            && Identity(one) == Identity(two);

        static (ulong, ulong) Identity(byte[] status) => (
            BinaryPrimitives.ReadUInt64LittleEndian(status.AsSpan(InodeOffset)),
            BinaryPrimitives.ReadUInt64LittleEndian(status.AsSpan(DeviceOffset)));
    }

    /// <summary>Of file names as the system mostly has them.</summary>
    public static StringComparer NameComparer { get; } =
        OperatingSystem.IsWindows() || OperatingSystem.IsMacOS() ? StringComparer.OrdinalIgnoreCase : StringComparer.Ordinal;

    /// <summary>The full path without links, those of its folders included.</summary>
    public static string Resolve(string path)
    {
        string full = Path.GetFullPath(path), resolved = Path.GetPathRoot(full)!;
        foreach (string name in full[resolved.Length..].Split(Path.DirectorySeparatorChar, StringSplitOptions.RemoveEmptyEntries))
        {
            resolved = Path.Combine(resolved, name);
            if (Path.Exists(resolved) && File.ResolveLinkTarget(resolved, returnFinalTarget: true) is { } target)
                resolved = Resolve(target.FullName);
        }
        return resolved;
    }

    /// <summary>
    /// Sends a folder's entries to the disk, so that a rename outlives a power cut. Some file systems cannot, which is no error.
    /// </summary>
    public static void SyncFolder(string folder)
    {
        if (!OperatingSystem.IsLinux())
            return;
        int descriptor = Open(folder, 0);
        if (descriptor < 0)
            return;
        _ = Sync(descriptor);
        _ = Close(descriptor);
    }

    [LibraryImport("libc", EntryPoint = "statx", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Statx(int folder, string path, int flags, uint mask, [Out] byte[] status);

    [LibraryImport("libc", EntryPoint = "open", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "fsync")]
    private static partial int Sync(int descriptor);

    [LibraryImport("libc", EntryPoint = "close")]
    private static partial int Close(int descriptor);
}
