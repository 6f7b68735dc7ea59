using Bert4Rec.Configuration;
using Bert4Rec.Model;

namespace Bert4Rec.Training;

/// <summary>What a training step depends on, besides the data. <see cref="ConfigKeys"/> has the defaults.</summary>
/// <param name="BatchSize">Sequences of a batch.</param>
/// <param name="WeightDecay">λ: Adam's L2 penalty or, decoupled, the share that a parameter loses, times the learning rate.</param>
/// <param name="ClipGradNorm">Largest norm of the whole gradient, or null.</param>
/// <param name="InitializerRange">Standard deviation of the first weights.</param>
/// <param name="MaskRatio">Probability that an event is masked.</param>
/// <param name="LastOnlyShare">ft_ratio: how often only the last event is masked; of batches if RecboleCompatible, else of
/// sequences.</param>
/// <param name="RecboleCompatible">RecBole's way of masking, or of predicting the next event: after the last one only.</param>
/// <param name="Initializer">What the deviation of the first weights is; InitializerRange is Normal's.</param>
/// <param name="DecoupledDecay">Whether the weight decay stays out of Adam's gradient.</param>
/// <param name="SoftmaxSamples">Items drawn a step for sampled softmax (<see cref="CandidateItems"/>); null for the whole
/// catalogue.</param>
internal sealed record TrainerSettings(
    ModelShape Shape,
    ulong Seed,
    int BatchSize,
    float LearningRate,
    float WeightDecay,
    float? ClipGradNorm,
    double InitializerRange,
    double MaskRatio,
    float LastOnlyShare,
    bool RecboleCompatible,
    Initializer Initializer,
    float Beta1,
    float Beta2,
    bool DecoupledDecay,
    LearningRateCourse Rates,
    int? SoftmaxSamples)
{
    /// <summary>⌊mask_ratio · L⌋, which RecBole computes in double precision: of a sequence's masked events, as many count.</summary>
    public int CountedLimit => RecboleCompatible ? (int)(MaskRatio * Shape.MaximumLength) : int.MaxValue;

    public Objective Objective => Shape.Causal ? Objective.NextItem : Objective.Cloze;

    public static TrainerSettings Of(RunConfig config, int itemCount) => new(
        ModelShape.Of(config, itemCount),
        (ulong)config.Seed,
        config.TrainBatchSize,
        (float)config.LearningRate,
        (float)config.WeightDecay,
        (float?)config.ClipGradNorm,
        config.InitializerRange,
        config.MaskRatio,
        (float)config.FineTuningRatio,
        config.RecboleCompatible,
        config.Initializer,
        (float)config.AdamBeta1,
        (float)config.AdamBeta2,
        config.DecoupledDecay,
        new(config.LearningRateSchedule, config.WarmupRatio, config.Epochs),
        config.SoftmaxSamples);
}
