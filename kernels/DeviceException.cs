namespace Bert4Rec.Kernels;

/// <summary>A device was asked for that cannot be used here; the message says what was found and what to do.</summary>
public sealed class DeviceException(string message) : Exception(message)
{
    /// <summary>Whether it will fail from now on, whatever is asked of it: only a new process gets it back.</summary>
    internal bool IsLasting { get; init; }

    /// <summary>A device that cannot multiply in a precision, for it has no tensor cores.</summary>
    public static DeviceException NoTensorCores(string device, Precision precision) => new(
        $"{device}: precision {precision.Name()} needs a CUDA device of compute capability 8.0 or newer; "
        + "choose one with --device cuda, or leave --precision out");
}
