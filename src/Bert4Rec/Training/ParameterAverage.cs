using Bert4Rec.Kernels;

namespace Bert4Rec.Training;

/// <summary>
/// The model that is validated and kept: a running mean of the parameters after each epoch (Polyak averaging). A constant learning rate keeps
/// the parameters moving about a good place; their mean is nearer to it than any of them, and its validation jumps less.
/// </summary>
/// <param name="length">Parameters.</param>
/// <param name="decay">Weight of the past, reached once there is a past: epoch n takes in its parameters with weight max(1 / n, 1 − decay).
/// 0 for the parameters themselves.</param>
internal sealed class ParameterAverage(long length, double decay)
{
    private readonly float[] _current = new float[length];

    /// <summary>[length]</summary>
    public float[] Values { get; } = new float[length];

    /// <summary>Takes in the parameters after an epoch, counted from 1.</summary>
    public void Add(DeviceBuffer<float> parameters, int epoch)
    {
        parameters.Download(_current);
        float weight = (float)Math.Max(1.0 / epoch, 1 - decay);
        for (int i = 0; i < Values.Length; i++)
            Values[i] = ((1 - weight) * Values[i]) + (weight * _current[i]);
    }
}
