namespace Bert4Rec.Kernels;

/// <summary>
/// Inverted dropout: a cell is dropped where its random number is below <see cref="Threshold"/>, and multiplied by <see cref="Scale"/>
/// elsewhere. <c>default</c> is no dropout.
/// </summary>
public readonly record struct DropoutMask
{
    /// <param name="probability">Share of cells dropped, in [0, 1): the nearest multiple of 2⁻¹⁶ that is below 1.</param>
    /// <param name="key">The random numbers to draw.</param>
    /// <exception cref="ArgumentOutOfRangeException">The probability is outside [0, 1).</exception>
    public DropoutMask(float probability, RandomKey key)
    {
        if (!(probability >= 0 && probability < 1))
            throw new ArgumentOutOfRangeException(nameof(probability), $"dropout probability {probability} is not in [0, 1)");
        Threshold = Math.Min(Philox.Threshold(probability), ushort.MaxValue);
        Key = key;
    }

    /// <summary>A <see cref="Philox.Cell"/> below this is dropped.</summary>
    public uint Threshold { get; }

    /// <summary>Share of cells dropped.</summary>
    public float Probability => Threshold / (ushort.MaxValue + 1f);

    /// <summary>The random numbers to draw.</summary>
    public RandomKey Key { get; }

    /// <summary>Whether nothing is dropped.</summary>
    public bool IsNone => Threshold == 0;

    /// <summary>1 / (1 − probability).</summary>
    public float Scale => 1f / (1f - Probability);
}
