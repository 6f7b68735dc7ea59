using System.Runtime.InteropServices;

namespace Bert4Rec.Server;

/// <summary>The C library's heap, where the models' parameters lie.</summary>
internal static partial class NativeHeap
{
    private const int MmapThreshold = -3, LargeBlock = 1 << 16;

    /// <summary>
    /// Has glibc give large blocks back to the system when they are freed. Once one was freed it would keep the next ones, of up to 32 MiB,
    /// in the heaps of the threads that asked for them, and a process would grow with each model. See mallopt(3).
    /// </summary>
    public static void GiveBackLargeBlocks()
    {
        try
        {
            _ = SetOption(MmapThreshold, LargeBlock);
        }
        catch (Exception e) when (e is EntryPointNotFoundException or DllNotFoundException)
        {
            // Other libraries have other heaps.
        }
    }

    [LibraryImport("libc", EntryPoint = "mallopt")]
    private static partial int SetOption(int parameter, int value);
}
