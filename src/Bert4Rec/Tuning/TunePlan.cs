using Bert4Rec.Configuration;

namespace Bert4Rec.Tuning;

/// <summary>
/// Successive halving: many trials begin with few epochs, and a third of them, the best, go on to three times as many; and so on, until
/// fewer than two would be left. K. Jamieson and A. Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization",
/// AISTATS 2016; the rate of 3 is from L. Li et al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization", JMLR 18,
/// 2018. Beside the third, the best of the trials that were not drawn always goes on: the choice is never worse than those after as many
/// epochs.
/// </summary>
/// <param name="Trials">How many begin.</param>
/// <param name="Epochs">[rungs] The epochs that the trials of a rung have at its end.</param>
/// <param name="Compared">The epochs that each objective gets before the first rung, to see which is tuned; 0 where one is given.</param>
internal sealed record TunePlan(int Trials, IReadOnlyList<int> Epochs, int Compared = 0)
{
    /// <summary>Of how many trials one goes on, and how many times the epochs it gets.</summary>
    private const int Rate = 3;

    /// <summary>The last rung of a number of trials has this part of the epochs that a run may have; few runs need more to stop.</summary>
    private const int LastRungShare = 3;

    /// <summary>
    /// Events that an objective is trained on to be compared. Small data is trained on to the end, for the order may turn late: on lastfm,
    /// 52,551 events, cloze is behind next_item after 36 epochs, and ahead after 140.
    /// </summary>
    private const long ComparedEvents = 4_000_000;

    /// <summary>
    /// Epochs that an objective gets at least. On a shop of 22,000 customers next_item passed at epoch 12 what cloze, of those days, ever
    /// reached.
    /// </summary>
    private const int FewestCompared = 12;

    /// <summary>Fewer epochs tell little of what more would bring.</summary>
    private const int FewestEpochs = 3;

    /// <summary>Time for more trials than these is better spent on more epochs for them.</summary>
    public const int MostTrialsInTime = 81;

    /// <summary>The plan for a number of trials.</summary>
    /// <param name="trials">How many begin.</param>
    /// <param name="epochs">Epochs that a run may have at most.</param>
    /// <param name="evalStep">Epochs from one validation to the next.</param>
    public static TunePlan OfTrials(int trials, int epochs, int evalStep) =>
        Of(trials, (epochs + LastRungShare - 1) / LastRungShare, epochs, evalStep);

    /// <summary>The plan for as many epochs as there is time for, all trials together: as many trials as can begin with some epochs,
    /// and what is left for more epochs.</summary>
    /// <param name="affordable">Epochs.</param>
    /// <param name="bases">Trials that are not drawn.</param>
    /// <inheritdoc cref="OfTrials"/>
    public static TunePlan OfEpochs(double affordable, int bases, int epochs, int evalStep)
    {
        for (int trials = MostTrialsInTime; ; trials /= Rate)
        {
            for (int last = epochs; last >= 1; last--)
            {
                var plan = Of(Math.Max(trials, bases), last, epochs, evalStep);
                bool isLong = plan.Epochs[0] >= Math.Min(FewestEpochs, epochs) || trials == Rate;
                if (isLong && plan.Costs.Sum() <= affordable)
                    return plan;
            }
            if (trials == Rate)
                return Of(Math.Max(trials, bases), 1, epochs, evalStep);
        }
    }

    /// <summary>
    /// One rung in which objectives are compared: for a few minutes, or to the end of what ends in some. The winner goes on from there.
    /// </summary>
    /// <param name="trials">Objectives.</param>
    /// <param name="events">Of the dataset.</param>
    /// <inheritdoc cref="OfTrials"/>
    public static TunePlan OfObjectives(int trials, int events, int epochs, int evalStep) =>
        new(trials, [ComparedEpochs(events, epochs, evalStep)]);

    /// <summary>The epochs for which objectives are compared.</summary>
    public static int ComparedEpochs(int events, int epochs, int evalStep) => Validated(
        events < DataShape.SmallBelow ? epochs : (int)Math.Max(FewestCompared, ComparedEvents / events), epochs, evalStep);

    /// <summary>A rung ends with a validation.</summary>
    public static int Validated(int epochs, int mostEpochs, int evalStep) =>
        (int)Math.Min(mostEpochs, Math.Max(1, (epochs + (long)evalStep - 1) / evalStep) * evalStep);

    /// <summary>[rungs] The epochs that all trials of a rung together are expected to cost.</summary>
    public IReadOnlyList<long> Costs => [.. Epochs.Select((epochs, rung) =>
        (rung == 0 ? Trials : Begun(rung) + 1L) * (epochs - (rung == 0 ? 0 : Epochs[rung - 1])))];

    /// <summary>Trials of a rung, without the one that goes on anyway.</summary>
    private long Begun(int rung) => Trials / (long)Math.Pow(Rate, rung);

    /// <summary>How many of the trials of a rung go on, one that goes on anyway not counted: with fewer than two, nothing is left to
    /// choose between.</summary>
    public static int Kept(int trials) => Math.Max(2, trials / Rate);

    private static TunePlan Of(int trials, int last, int mostEpochs, int evalStep)
    {
        int rungs = 1;
        for (int left = trials / Rate; left >= 2; left /= Rate)
            rungs++;
        var epochs = new int[rungs];
        double share = last;
        for (int rung = rungs - 1; rung >= 0; rung--, share /= Rate)
            epochs[rung] = Validated((int)Math.Ceiling(share), mostEpochs, evalStep);
        // A rung that adds no epochs tells nothing new, and would only drop trials.
        return new(trials, [.. epochs.Distinct()]);
    }
}
