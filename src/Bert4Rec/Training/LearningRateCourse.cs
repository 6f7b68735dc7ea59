using Bert4Rec.Configuration;

namespace Bert4Rec.Training;

/// <summary>
/// How the learning rate changes over a run: it rises evenly from 0 in the warm-up, then stays, or falls to 0 until the last epoch ends. A
/// function of the place in the run alone, so that a run that was stopped goes on with the rates it would have had.
/// </summary>
/// <param name="Schedule">What follows the warm-up.</param>
/// <param name="WarmupRatio">Share of the run that the warm-up takes.</param>
/// <param name="Epochs">Of the whole run.</param>
internal readonly record struct LearningRateCourse(LearningRateSchedule Schedule, double WarmupRatio, int Epochs)
{
    /// <summary>The share of the highest learning rate that a step takes.</summary>
    /// <param name="epoch">From 1.</param>
    /// <param name="share">The share of the epoch's sequences that are behind it in the middle of the step.</param>
    public double Factor(int epoch, double share)
    {
        // Nothing depends on Epochs where nothing changes, and Epochs may then be 0.
        if (Schedule == LearningRateSchedule.Constant && WarmupRatio == 0)
            return 1;
        // A run of more epochs than were foreseen ends as it would have.
        double done = Math.Min(1, (epoch - 1 + share) / Epochs);
        if (done < WarmupRatio)
            return done / WarmupRatio;
        double decayed = (done - WarmupRatio) / (1 - WarmupRatio);
        return Schedule switch
        {
            LearningRateSchedule.Linear => 1 - decayed,
            LearningRateSchedule.Cosine => (1 + Math.Cos(Math.PI * decayed)) / 2,
            _ => 1,
        };
    }
}
