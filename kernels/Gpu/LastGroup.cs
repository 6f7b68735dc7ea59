using System.Runtime.CompilerServices;
using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// Sums whose parts several groups of a launch make: whichever group comes last adds them up, always in the same order, so that neither
/// another launch is needed nor the result depends on chance.
/// </summary>
internal static class LastGroup
{
    /// <summary>
    /// Called by all threads of each group, behind what it stores for the others. In the last of them all may read what the others stored.
    /// </summary>
    /// <param name="counter">One integer: 0 before the first group comes, and again when the last has come.</param>
    /// <param name="groups">How many come.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsThis(ArrayView<int> counter, int groups)
    {
        ref int isLast = ref SharedMemory.Allocate<int>();
        // What a thread stored before is there for all when others see that it has been counted.
        MemoryFence.DeviceLevel();
        Group.Barrier();
        if (Group.IdxX == 0)
        {
            isLast = Atomic.Add(ref counter[0], 1) == groups - 1 ? 1 : 0;
            if (isLast != 0)
                Atomic.Add(ref counter[0], -groups);
        }
        Group.Barrier();
        MemoryFence.DeviceLevel();
        return isLast != 0;
    }
}
