using System.Diagnostics;
using System.Globalization;
using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Serialization;
using Bert4Rec.Training;

namespace Bert4Rec.Tuning;

/// <summary>
/// Chooses settings by what they reach on the validation part; the test part is never looked at. A trial is a run in a folder of its own
/// that goes no further than its rung; going on means resuming it. Everything is a function of the seed, the settings and the plan, and
/// every trial that is done stands in the <see cref="TuneJournal"/>: a tuning that was killed goes on, and chooses the same.
/// </summary>
/// <param name="budget">What a tuning may cost; null where the objectives are compared.</param>
/// <param name="space">What is drawn from; null for <see cref="SearchSpace.Default"/>.</param>
internal sealed class TuneSession(
    RunConfig config,
    RunOptions options,
    TuneBudget? budget,
    SearchSpace? space,
    Action<TrialReport>? onTrial,
    IProgress<ProgressUpdate>? progress,
    CancellationToken cancellation)
{
    /// <summary>Counted up when others are drawn, or other trials go on: a tuning that was begun before is not gone on with.</summary>
    internal const string Revision = "2";

    private const string SettingsOf = "the settings of trial ";

    /// <summary>What an epoch of a drawn trial is expected to cost, in epochs of the given settings: some models are larger.</summary>
    private const double DrawnCost = 1.2;

    /// <summary>Of a budget of time, what comparing the objectives may take; the rest is for the better one.</summary>
    private const double ComparedShare = 1.0 / 3;

    private readonly IReadOnlyList<IReadOnlyList<string>> _bases = Bases(config);
    private readonly TuneFolder _folder = new(options.OutputDirectory);
    private readonly Stopwatch _clock = Stopwatch.StartNew();

    // Run sets both, before anything but the plan is made.
    private TuneJournal _journal = null!;
    private TrialRanking _ranking = null!;
    private double _secondsBefore;
    private double _secondsDone;

    /// <summary>
    /// Tunes in a folder, or goes on there. Leaves <see cref="TuneFolder.Tuned"/>, and the folder of the trial that it took.
    /// </summary>
    /// <param name="config">The settings that are given, with atomic files; they are the first trial.</param>
    /// <param name="options">Where and on what. Resume has no meaning: a tuning always goes on.</param>
    /// <param name="tuning">What it may cost, and what is drawn from.</param>
    /// <param name="onTrial">Told of each trial after each rung, those of an earlier call included.</param>
    /// <param name="progress">Told of everything that takes time.</param>
    /// <param name="cancellation">Stops the tuning; the next call goes on.</param>
    /// <exception cref="InputException">Wrong data, settings or space; no validation to choose by; a journal that is damaged, or of other
    /// data, settings or budget.</exception>
    /// <exception cref="OperationCanceledException">The caller wants no more.</exception>
    public static TuneResult Tune(
        RunConfig config,
        RunOptions options,
        TuneOptions tuning,
        Action<TrialReport>? onTrial,
        IProgress<ProgressUpdate>? progress,
        CancellationToken cancellation)
    {
        config = TrainingSession.ForData(config, options, progress);
        Check(config, tuning);
        TuneResult result = new TuneSession(config, options, tuning.Budget, tuning.Space, onTrial, progress, cancellation).Run();
        // Always: what lies there may be altered, or of another data_path.
        string path = new TuneFolder(options.OutputDirectory).Tuned, text = result.Config.ToYaml();
        if (!File.Exists(path) || File.ReadAllText(path) != text)
            OutputFile.WriteText(path, text);
        return result;
    }

    /// <summary>
    /// Trains with each objective, its own defaults and the same few epochs, and takes the better one. The parameters are those of
    /// <see cref="Tune"/>.
    /// </summary>
    public static TuneResult CompareObjectives(
        RunConfig config, RunOptions options, IProgress<ProgressUpdate>? progress, CancellationToken cancellation)
    {
        config = TrainingSession.ForData(config, options, progress);
        if (config.EvalArgs.Split.HasValidation)
            return new TuneSession(config, options, null, null, null, progress, cancellation).Run();
        var cloze = new TrialReport(0, 0, Bases(config)[0], 0, 0, null, [], null, null);
        return new(config.WithFreshDefaults(cloze.Settings), cloze.Trial, [cloze], null);
    }

    /// <summary>Tries everything that a tuning may draw on the settings, without training.</summary>
    /// <returns>What to warn of.</returns>
    /// <exception cref="InputException">A value is wrong, or does not go with others; no validation to choose by.</exception>
    public static IReadOnlyList<string> Check(RunConfig config, TuneOptions tuning)
    {
        if (!config.EvalArgs.Split.HasValidation)
        {
            throw new InputException(
                $"{config.Where("eval_args", "split")}: no validation to choose by: the split has no validation part; "
                + "give another eval_args.split");
        }
        IReadOnlyList<IReadOnlyList<string>> bases = Bases(config);
        if (bases.Count > 1)
            tuning.Space?.RefuseObjective();
        int wanted = Math.Max(0, (tuning.Budget.Trials ?? TunePlan.MostTrialsInTime) - bases.Count);
        var found = new List<SpaceCheck>();
        foreach (IReadOnlyList<string> settings in bases)
        {
            RunConfig given = config.WithFreshDefaults(settings);
            found.Add((tuning.Space ?? SearchSpace.Default(given)).Check(given, wanted));
        }
        // What does nothing for one objective may do something for the other.
        List<string> warnings =
            [.. found[0].Idle.Where(key => found.All(check => check.Idle.ContainsKey(key.Key))).Select(key => key.Value)];
        int drawn = found.Min(check => check.Drawn);
        if (tuning.Budget.Trials is int trials && drawn < wanted)
        {
            warnings.Add(
                $"the search space has no more than {drawn} different settings: {drawn + bases.Count} trials, not the {trials} asked for");
        }
        return warnings;
    }

    /// <summary>What is not drawn: both objectives where neither is given.</summary>
    private static IReadOnlyList<IReadOnlyList<string>> Bases(RunConfig config) => config.LeavesObjectiveOpen()
        ? [.. new[] { Objective.Cloze, Objective.NextItem }.Select(objective => new[] { ObjectiveNames.Setting(objective) })]
        : [[]];

    private TuneResult Run()
    {
        var madeFrom = MadeFrom();
        _journal = TuneJournal.Load(options.OutputDirectory) ?? Begin(madeFrom);
        foreach (var (name, value) in madeFrom)
        {
            if (_journal.Header.MadeFrom.GetValueOrDefault(name) == value)
                continue;
            throw new InputException(
                $"{_folder.Journal}: {Difference(name, _journal.Header.MadeFrom.GetValueOrDefault(name), value)} not "
                + "the same as when this tuning was begun; restore it, give another --output, or remove the file to begin again");
        }
        _ranking = new TrialRanking(_journal, _bases.Count, config.ValidMetricBigger);
        _secondsBefore += (_journal.Header.Seconds ?? 0) + _journal.Trials.Sum(trial => trial.Seconds ?? 0);
        _secondsDone = _secondsBefore;
        _clock.Restart();
        foreach (TrialReport trial in _journal.Trials)
            onTrial?.Invoke(trial);
        if (_journal.Chosen is null)
        {
            Halve();
            _journal.End(_ranking.Choose());
        }
        _folder.KeepTrials(_journal.Chosen!.Value);
        TrialReport[] trials = _ranking.Last();
        TrialReport best = trials.First(trial => trial.Trial == _journal.Chosen);
        return new(config.WithFreshDefaults(best.Settings), best.Trial, trials, budget)
        {
            Compared = [.. _journal.Trials.Where(trial => trial.Rung == TrialReport.Comparison)],
            Rungs = [.. _journal.Header.Epochs.Take(_ranking.LastRung + 1)],
        };
    }

    private TuneJournal Begin(SortedDictionary<string, string> madeFrom)
    {
        _folder.Discard();
        return TuneJournal.Begin(options.OutputDirectory, Plan(madeFrom));
    }

    /// <summary>"the budget is", "the settings of trial 0 are" or, of a single one, "seed (of trial 0) is".</summary>
    private static string Difference(string name, string? before, string now)
    {
        if (!name.StartsWith(SettingsOf, StringComparison.Ordinal))
            return $"{name} is";
        string[] known = before?.Split('\n') ?? [];
        string[] changed = [.. now.Split('\n').Except(known).Concat(known.Except(now.Split('\n'))).Select(KeyOf).Distinct()];
        return $"{name}{(changed.Length is > 0 and <= 3 ? $" ({string.Join(", ", changed)})" : "")} are";

        static string KeyOf(string line) => line[..Math.Max(0, line.IndexOf(':'))].TrimStart(' ', '-');
    }

    /// <summary>What the choice depends on. A moved folder is the same data; a refit comes after it.</summary>
    private SortedDictionary<string, string> MadeFrom()
    {
        var files = new DatasetFiles(config).All.Select(path => Sha256.OfFile(path, progress, cancellation));
        var made = new SortedDictionary<string, string>(StringComparer.Ordinal)
        {
            ["the data"] = string.Join(' ', files),
            ["the budget"] = budget?.ToString() ?? "the objectives",
            ["the program"] = budget is null ? TrainingSession.Revision : $"{TrainingSession.Revision}, tuning {Revision}",
        };
        foreach (var (i, settings) in _bases.Index())
        {
            RunConfig given = config.WithFreshDefaults(settings);
            made[$"{SettingsOf}{i}"] = given.With("data_path=.", "refit=false").ToYaml();
            if (budget is not null)
                made[$"the search space over trial {i}"] = (space ?? SearchSpace.Default(given)).ToString();
        }
        return made;
    }

    private JournalHeader Plan(SortedDictionary<string, string> madeFrom)
    {
        (int epochs, int step) = (config.Epochs, config.EvalStep);
        double? seconds = null;
        TunePlan plan;
        if (budget is null)
        {
            plan = TunePlan.OfObjectives(_bases.Count, Events(), epochs, step);
        }
        else if (budget.Trials is int trials)
        {
            plan = TunePlan.OfTrials(Math.Max(trials, _bases.Count), epochs, step);
            if (_bases.Count > 1)
                plan = plan with { Compared = TunePlan.ComparedEpochs(Events(), epochs, step) };
        }
        else
        {
            double[] epoch = [.. _bases.Index().Select(given => MeasureEpoch(given.Index, given.Item))];
            seconds = _clock.Elapsed.TotalSeconds;
            double left = Math.Max(0, budget.Time!.Value.TotalSeconds - seconds.Value);
            int compared = 0;
            if (_bases.Count > 1)
            {
                double affordable = Math.Min(ComparedShare * left / epoch.Sum(), epochs);
                compared = TunePlan.Validated(Math.Min((int)affordable, TunePlan.ComparedEpochs(Events(), epochs, step)), epochs, step);
                left = Math.Max(0, left - (compared * epoch.Sum()));
            }
            plan = TunePlan.OfEpochs(left / (epoch.Max() * DrawnCost), _bases.Count, epochs, step) with { Compared = compared };
        }
        return new(madeFrom, plan.Trials, plan.Epochs, seconds, plan.Compared);
    }

    private int Events() => DatasetLoader.Load(config, progress, options.Cache).EventItems.Length;

    /// <summary>Begins a trial, to see how long an epoch takes; the very first has the runtime's compilation in it.</summary>
    private double MeasureEpoch(int number, IReadOnlyList<string> settings)
    {
        double begin = _clock.Elapsed.TotalSeconds;
        var ends = new List<double>();
        Train(number, config.WithFreshDefaults(settings), 2 * config.EvalStep, _ => ends.Add(_clock.Elapsed.TotalSeconds));
        return ends.Count > 1 ? (ends[^1] - ends[0]) / (ends.Count - 1) : _clock.Elapsed.TotalSeconds - begin;
    }

    private void Halve()
    {
        TunePlan plan = _journal.Header.Plan;
        List<(int Number, IReadOnlyList<string> Settings)> field = [.. _bases.Index()];
        foreach (var (number, settings) in field)
        {
            if (plan.Compared > 0)
                Compare(number, settings);
            else
                Try(number, settings, 0);
        }
        int firstBase = _ranking.FirstGiven;
        if (plan.Compared > 0)
            field = [field[firstBase]];
        if (budget is not null)
        {
            IReadOnlyList<string> given = _bases[firstBase];
            SearchSpace from = space ?? SearchSpace.Default(config.WithFreshDefaults(given));
            foreach (var (i, drawn) in from.Draw((ulong)config.Seed).Take(plan.Trials - _bases.Count).Index())
                field.Add((_bases.Count + i, [.. given, .. drawn]));
        }
        for (int rung = 0; rung < plan.Epochs.Count; rung++)
        {
            foreach (var (number, settings) in field)
                Try(number, settings, rung);
            // By what they reached in this rung: of a tuning that goes on, some are further already.
            TrialReport[] ranked = _ranking.InOrder(field.Select(trial => trial.Number), rung);
            if (ranked.Length == 0 || rung == plan.Epochs.Count - 1)
                break;
            // The given settings first: whatever else there is no time for, the choice is never worse than they are.
            int[] kept = [firstBase, .. ranked.Take(TunePlan.Kept(ranked.Length)).Select(trial => trial.Trial)];
            _folder.KeepTrials(kept);
            field = [.. kept.Distinct().Select(number => field.First(trial => trial.Number == number))];
            if (field.Count == 1)
                break;
        }
    }

    /// <summary>
    /// Takes an objective through the comparison. It stops at the end of every rung on the way, for in the rungs it is ranked among trials
    /// of fewer epochs: by what it had after as many.
    /// </summary>
    private void Compare(int number, IReadOnlyList<string> settings)
    {
        if (_ranking.Report(number, TrialReport.Comparison) is not null || !HasTime(number, TrialReport.Comparison))
            return;
        foreach (var (rung, _) in _journal.Header.Epochs.Index().Where(rung => rung.Item < _journal.Header.Compared))
            Reach(number, settings, rung);
        Reach(number, settings, TrialReport.Comparison);
    }

    /// <summary>Takes a trial through a rung, unless that is done, or there is no time for it.</summary>
    private void Try(int number, IReadOnlyList<string> settings, int rung)
    {
        if (HasTime(number, rung))
            Reach(number, settings, rung);
    }

    /// <summary>Takes a trial through a rung, unless that is done.</summary>
    private void Reach(int number, IReadOnlyList<string> settings, int rung)
    {
        cancellation.ThrowIfCancellationRequested();
        if (_ranking.Report(number, rung) is not null)
            return;
        DiscardUnknown(number, rung);
        RunConfig tried = config.WithFreshDefaults(settings);
        string metric = tried.ValidMetric.ToLowerInvariant();
        TrialReport report;
        try
        {
            TrainingResult trained = Train(number, tried, _ranking.Epochs(rung), null);
            bool hasValue = trained.BestValid.TryGetValue(metric, out double value);
            if (!hasValue && budget is not null)
            {
                throw new InputException(
                    $"no validation after {trained.Epochs} epochs to choose by: the split has no validation part, or eval_step is larger");
            }
            TrialPoint[] curve =
            [
                .. MetricsLog.Read(_folder.OfTrial(number)).Where(epoch => epoch.Valid is not null)
                    .Select(epoch => new TrialPoint(epoch.Epoch, epoch.Valid![metric])),
            ];
            report = new(number, rung, settings, trained.Epochs, trained.BestEpoch, hasValue ? value : null, curve, null, null);
        }
        catch (Exception e) when (Divergence(e) is { } failure)
        {
            report = new(number, rung, settings, 0, 0, null, [], failure, null);
        }
        double now = Elapsed;
        TrialReport timed = report with { Seconds = now - _secondsDone };
        _secondsDone = now;
        _journal.Add(budget?.Time is null ? report : timed);
        onTrial?.Invoke(timed);
    }

    /// <summary>
    /// Begins a trial anew that is further than its journal knows, which has lost lines: it would be compared with others of fewer epochs.
    /// (Within a time the first ones are begun before the journal is.)
    /// </summary>
    private void DiscardUnknown(int number, int rung)
    {
        string folder = _folder.OfTrial(number);
        if (budget?.Time is not null || Checkpoint.TryReadRun(folder) is not (_, { } reached))
            return;
        int known = Math.Max(_ranking.EpochsOf(number), _ranking.Epochs(rung));
        if (reached.Epoch > known)
            TrainingFolder.DiscardFolder(folder);
    }

    private TrainingResult Train(int number, RunConfig tried, int epochs, Action<EpochReport>? onEpoch)
    {
        // One that is stopped before its first validation would tell nothing.
        double last = Elapsed;
        var limit = new TrialLimit(epochs, epoch =>
        {
            double now = Elapsed, took = now - last;
            last = now;
            return epoch.Valid is not null && budget?.Time is { } time && now + took > time.TotalSeconds;
        });
        RunOptions limited = options with
        {
            OutputDirectory = _folder.OfTrial(number),
            Resume = true,
            Trial = limit,
        };
        string name = budget is null ? ObjectiveNames.Of(tried.Objective) : $"trial {number}";
        return TrainingSession.TrainHeldOut(tried, limited, new NamedProgress(name, progress), null, onEpoch, cancellation);
    }

    private double Elapsed => _secondsBefore + _clock.Elapsed.TotalSeconds;

    /// <summary>
    /// Whether a trial may begin a rung. The first rung may take no more than its share of the time; each is expected to take as long an
    /// epoch as it did before, a new one as long as the others.
    /// </summary>
    private bool HasTime(int number, int rung)
    {
        if (budget?.Time is not { } time || (number == 0 && rung <= 0))
            return true;
        TunePlan plan = _journal.Header.Plan;
        double limit = time.TotalSeconds;
        if (rung == 0)
        {
            // Once the next rung has begun, this one is over, also for a tuning that was resumed.
            if (_journal.Trials.Any(trial => trial.Rung > 0 && !_ranking.IsOfComparison(trial)))
                return false;
            double compared = _journal.Trials.Where(_ranking.IsOfComparison).Sum(trial => trial.Seconds ?? 0);
            double before = (_journal.Header.Seconds ?? 0) + compared;
            limit = before + ((limit - before) * plan.Costs[0] / plan.Costs.Sum());
        }
        var own = _journal.Trials.Where(trial => trial.Trial == number);
        var known = own.Any() ? own : _journal.Trials;
        double seconds = known.Sum(trial => trial.Seconds ?? 0), trained = known.Sum(_ranking.EpochsInRung);
        double epochs = Math.Max(0, _ranking.Epochs(rung) - _ranking.EpochsOf(number));
        return Elapsed + (trained > 0 ? epochs * seconds / trained : 0) <= limit;
    }

    /// <summary>What is said of a training that left the numbers; null of any other mistake.</summary>
    private static string? Divergence(Exception e) => e switch
    {
        InputException { IsDivergence: true } => e.Message,
        AggregateException several => several.Flatten().InnerExceptions.Select(Divergence).FirstOrDefault(),
        _ => null,
    };
}
