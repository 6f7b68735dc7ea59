namespace Bert4Rec.Kernels.Gpu.Runtime;

/// <summary>Whether a device's products go to tensor cores.</summary>
internal enum TensorCores
{
    None,
    Used,

    /// <summary>As on tensor cores, but each instruction is emulated: on any device with groups of 64 threads, for tests.</summary>
    Emulated,
}
