using Bert4Rec.Kernels;

namespace Bert4Rec.Training;

/// <summary>
/// The model that is validated and kept: a running mean of the parameters after each epoch (Polyak averaging). A constant learning rate
/// keeps the parameters moving about a good place; their mean is nearer to it than any of them, and its validation jumps less.
/// </summary>
/// <param name="length">How many parameters there are.</param>
/// <param name="decay">Weight of the past, at most; 0 for the parameters themselves. Epoch n takes in its parameters with weight
/// max(4 / (n + 3), 1 − decay): in a run that is still short the mean is of its last quarter, not of its beginnings (polynomial-decay
/// averaging with η = 3; Shamir and Zhang, "Stochastic Gradient Descent for Non-smooth Optimization", ICML 2013).</param>
internal sealed class ParameterAverage(long length, double decay)
{
    private readonly float[] _current = new float[Math.Min(length, 1 << 20)];

    /// <summary>[length]</summary>
    public float[] Values { get; } = new float[length];

    /// <summary>Takes in the parameters after an epoch, counted from 1.</summary>
    public void Add(DeviceBuffer<float> parameters, int epoch)
    {
        float weight = (float)Math.Max(4.0 / (epoch + 3), 1 - decay);
        for (int start = 0; start < Values.Length; start += _current.Length)
        {
            var values = Values.AsSpan(start, Math.Min(_current.Length, Values.Length - start));
            parameters.Download(_current.AsSpan(0, values.Length), start);
            for (int i = 0; i < values.Length; i++)
                values[i] = ((1 - weight) * values[i]) + (weight * _current[i]);
        }
    }
}
