namespace Bert4Rec.Kernels;

/// <summary>A device was asked for that cannot be used here; the message says what was found and what to do.</summary>
public sealed class DeviceException(string message) : Exception(message)
{
    /// <summary>A device that cannot multiply in TF32.</summary>
    public static DeviceException NoTensorCores(string device) => new(
        $"{device}: precision tf32 needs a CUDA device of compute capability 8.0 or newer; "
        + "choose one with --device cuda, or leave --precision out");
}
