using System.Runtime.InteropServices;
using System.Text;
using Bert4Rec.Kernels.Gpu.Emulator;

#pragma warning disable CA1050 // The runtime looks for a class of this name in no namespace.

/// <summary>
/// Has the emulator run the kernels that the stand-in for NVIDIA's driver (libcuda.c) is given. The runtime calls this before the Main of a
/// program where $DOTNET_STARTUP_HOOKS names this assembly: the program sees a CUDA device and knows nothing of either.
/// </summary>
internal static unsafe class StartupHook
{
    private static readonly List<PtxProgram> s_modules = [];
    private static readonly PtxEmulator s_emulator = new();

    /// <summary>Does nothing where the driver is NVIDIA's, or none is there.</summary>
    public static void Initialize()
    {
        if (!NativeLibrary.TryLoad("libcuda.so.1", out nint driver)
            || !NativeLibrary.TryGetExport(driver, "standInConnect", out nint connect))
        {
            return;
        }
        ((delegate* unmanaged<
            delegate* unmanaged<nint, int*, byte*, int, int>,
            delegate* unmanaged<int, int*, byte*, int, MemoryRange*, int, byte*, int, int>,
            void>)connect)(&Load, &Run);
    }

    /// <summary>One at a time: the driver sees to that.</summary>
    [UnmanagedCallersOnly]
    private static int Load(nint ptx, int* id, byte* why, int whyBytes)
    {
        try
        {
            string text = Marshal.PtrToStringUTF8(ptx)!;
            s_modules.Add(new(text.Split(".entry ")[1].Split('(')[0], text));
            *id = s_modules.Count - 1;
            return 0;
        }
        catch (Exception e)
        {
            return Fail(e, new(why, whyBytes));
        }
    }

    [UnmanagedCallersOnly]
    private static int Run(
        int id, int* gridAndGroup, byte* parameters, int bytes, MemoryRange* memory, int ranges, byte* why, int whyBytes)
    {
        try
        {
            s_emulator.Launch(
                s_modules[id], (gridAndGroup[0], gridAndGroup[1], gridAndGroup[2]), gridAndGroup[3],
                new Span<byte>(parameters, bytes).ToArray(), new Span<MemoryRange>(memory, ranges).ToArray());
            return 0;
        }
        catch (Exception e)
        {
            return Fail(e, new(why, whyBytes));
        }
    }

    private static int Fail(Exception e, Span<byte> why)
    {
        Encoding.UTF8.GetEncoder().Convert(e.Message, why[..^1], flush: true, out _, out int length, out _);
        why[length] = 0;
        return -1;
    }
}
