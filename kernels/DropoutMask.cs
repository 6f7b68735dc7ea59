namespace Bert4Rec.Kernels;

/// <summary>
/// Inverted dropout: a cell is dropped where its random word is below <see cref="Threshold"/>, and multiplied by <see cref="Scale"/>
/// elsewhere. <c>default</c> is no dropout.
/// </summary>
public readonly record struct DropoutMask
{
    /// <param name="probability">Share of cells dropped, in [0, 1).</param>
    /// <param name="key">The random numbers to draw.</param>
    /// <exception cref="ArgumentOutOfRangeException">The probability is outside [0, 1).</exception>
    public DropoutMask(float probability, RandomKey key)
    {
        if (!(probability >= 0 && probability < 1))
            throw new ArgumentOutOfRangeException(nameof(probability), $"dropout probability {probability} is not in [0, 1)");
        Probability = probability;
        Key = key;
    }

    /// <summary>Share of cells dropped.</summary>
    public float Probability { get; }

    /// <summary>The random numbers to draw.</summary>
    public RandomKey Key { get; }

    /// <summary>Whether nothing is dropped.</summary>
    public bool IsNone => Probability == 0;

    /// <summary>Words below this drop their cell: ⌊probability · 2³²⌋.</summary>
    public uint Threshold => (uint)(Probability * 4294967296.0);

    /// <summary>1 / (1 − probability).</summary>
    public float Scale => 1f / (1f - Probability);
}
