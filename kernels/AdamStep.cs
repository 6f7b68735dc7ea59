namespace Bert4Rec.Kernels;

/// <summary>
/// Adam (Kingma &amp; Ba, 2015) as PyTorch computes it: g = clip · gradient + weightDecay · parameter; m = β₁m + (1−β₁)g;
/// v = β₂v + (1−β₂)g²; parameter −= learningRate · (m / (1−β₁ᵗ)) / (√(v / (1−β₂ᵗ)) + ε). With decoupled decay
/// (AdamW; Loshchilov &amp; Hutter, 2019), g is without the parameter, which shrinks by learningRate · weightDecay of itself instead.
/// </summary>
/// <param name="Step">t, from 1.</param>
/// <param name="LearningRate">Step length.</param>
/// <param name="Beta1">Decay of the first moment.</param>
/// <param name="Beta2">Decay of the second moment.</param>
/// <param name="Epsilon">Added outside the root.</param>
/// <param name="WeightDecay">L2 penalty, added to the gradient; or, decoupled, what shrinks the parameter.</param>
/// <param name="MaximumNorm">Where the gradient's global norm is known and larger, clip = MaximumNorm / (norm + 10⁻⁶), else 1.</param>
/// <param name="DecoupledDecay">Whether the decay stays out of the gradient, and so out of the moments.</param>
public readonly record struct AdamStep(
    int Step,
    float LearningRate,
    float Beta1 = 0.9f,
    float Beta2 = 0.999f,
    float Epsilon = 1e-8f,
    float WeightDecay = 0,
    float MaximumNorm = float.PositiveInfinity,
    bool DecoupledDecay = false)
{
    /// <summary>Share of the parameter that is added to the gradient.</summary>
    public float Penalty => DecoupledDecay ? 0 : WeightDecay;

    /// <summary>Share of itself that the parameter loses.</summary>
    public float Shrinkage => DecoupledDecay ? LearningRate * WeightDecay : 0;

    /// <summary>clip, from the norms of the gradient's parts.</summary>
    public float ClippingScale(ReadOnlySpan<float> norms)
    {
        double sum = 0;
        foreach (float part in norms)
            sum += (double)part * part;
        double norm = Math.Sqrt(sum);
        return norm > MaximumNorm ? (float)(MaximumNorm / (norm + 1e-6)) : 1;
    }
}
