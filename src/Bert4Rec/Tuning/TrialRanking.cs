using Bert4Rec.Configuration;

namespace Bert4Rec.Tuning;

/// <summary>
/// Who is how far, and who is best, by what the journal has. The first trials are given ones: one, or one for each objective, of which
/// the better goes on to the rungs.
/// </summary>
/// <param name="given">How many trials were not drawn.</param>
/// <param name="isBiggerBetter">Of what validation says.</param>
internal sealed class TrialRanking(TuneJournal journal, int given, bool isBiggerBetter)
{
    /// <summary>The best of the given trials.</summary>
    public int FirstGiven =>
        InOrder(Enumerable.Range(0, given), journal.Header.Compared > 0 ? TrialReport.Comparison : 0)[0].Trial;

    /// <summary>The last rung that a trial of it began, what an objective had in the comparison not counted.</summary>
    public int LastRung => journal.Trials.Where(trial => !IsOfComparison(trial)).Select(trial => trial.Rung).DefaultIfEmpty().Max();

    /// <summary>Epochs that trials have at the end of a rung.</summary>
    public int Epochs(int rung) => rung == TrialReport.Comparison ? journal.Header.Compared : journal.Header.Epochs[rung];

    /// <summary>Epochs that a trial has been trained.</summary>
    public int EpochsOf(int number) =>
        journal.Trials.Where(trial => trial.Trial == number).Select(trial => trial.Epochs).DefaultIfEmpty().Max();

    /// <summary>Those of them that it was trained in its rung.</summary>
    public int EpochsInRung(TrialReport trial) => Math.Max(0, trial.Epochs - journal.Trials
        .TakeWhile(other => !ReferenceEquals(other, trial)).Where(other => other.Trial == trial.Trial)
        .Select(other => other.Epochs).DefaultIfEmpty().Max());

    /// <summary>Whether a report is of an objective on its way through the comparison.</summary>
    public bool IsOfComparison(TrialReport trial) => trial.Rung == TrialReport.Comparison
        || (trial.Trial < given && Epochs(trial.Rung) < journal.Header.Compared);

    /// <summary>What a trial reached in a rung; null where it has not.</summary>
    public TrialReport? Report(int number, int rung) =>
        journal.Trials.FirstOrDefault(trial => trial.Trial == number && trial.Rung == rung);

    /// <summary>What these trials reached in a rung, the best first; of equals the one that began before.</summary>
    public TrialReport[] InOrder(IEnumerable<int> numbers, int rung) => InOrder(numbers.Select(number => Report(number, rung)));

    /// <summary>
    /// Each trial as far as it got, by its number; but an objective that was tuned as it was in the last rung of the others, and the one
    /// that was not as it was compared.
    /// </summary>
    public TrialReport[] Last()
    {
        int firstGiven = FirstGiven, last = LastRung;
        return [.. journal.Trials.GroupBy(trial => trial.Trial).Select(LastOf).OrderBy(trial => trial.Trial)];

        TrialReport LastOf(IEnumerable<TrialReport> rungs) =>
            (rungs.First().Trial == firstGiven ? rungs.LastOrDefault(trial => trial.Rung >= 0 && trial.Rung <= last) : null)
            ?? rungs.Last();
    }

    /// <summary>The trial to take.</summary>
    /// <exception cref="InputException">All of them diverged.</exception>
    public int Choose()
    {
        int firstGiven = FirstGiven;
        bool isCompared = journal.Header.Compared > 0;
        // The objective that was behind is out, and was ranked after more epochs than the others have.
        TrialReport best = InOrder(Last().Where(trial => !isCompared || trial.Trial >= given || trial.Trial == firstGiven))[0];
        return best is { Value: null, Failure: { } failure } ? throw new InputException(failure) : best.Trial;
    }

    private TrialReport[] InOrder(IEnumerable<TrialReport?> reports)
    {
        double sign = isBiggerBetter ? -1 : 1;
        return [.. reports.OfType<TrialReport>()
            .OrderBy(trial => trial.Value is double value && double.IsFinite(value) ? sign * value : double.PositiveInfinity)
            .ThenBy(trial => trial.Trial)];
    }
}
