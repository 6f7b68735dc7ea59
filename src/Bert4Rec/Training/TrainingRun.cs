using System.Diagnostics;
using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Evaluation;
using Bert4Rec.Inference;
using Bert4Rec.Model;

namespace Bert4Rec.Training;

/// <summary>A training that is not a run of its own, but the refit of one that is done.</summary>
/// <param name="HeldOut">SHA-256 of the model that is refitted.</param>
/// <param name="Epochs">How many to train.</param>
/// <param name="Blend">The weights that validation chose.</param>
internal sealed record RefitTask(string HeldOut, int Epochs, BlendWeights Blend);

/// <summary>
/// One training in its folder: goes on from the checkpoint if there is one, trains epoch by epoch, keeps the parameters that validate
/// best, chooses the blend, tests, and leaves a model.
/// </summary>
internal sealed class TrainingRun : IDisposable
{
    private readonly Stopwatch _clock = Stopwatch.StartNew();
    private readonly RunConfig _config;
    private readonly InteractionDataset _dataset;
    private readonly DatasetSplit _split;
    private readonly RunOptions _options;
    private readonly RefitTask? _refit;
    private readonly WarmStart? _start;
    private readonly EvaluationSettings _validation;

    /// <summary>How epochs are compared: as <see cref="_validation"/>, but for seen items where a blend will leave those out.</summary>
    private readonly EvaluationSettings _comparison;
    private readonly TrainingEngine _engine;
    private readonly ParameterAverage _average;
    private readonly float[] _best;
    private readonly SortedDictionary<string, string> _origin;
    private TrainingProgress _state = new();
    private IProgress<ProgressUpdate>? _progress;

    /// <param name="config">The settings, those that go with the data included.</param>
    /// <param name="dataset">All events.</param>
    /// <param name="progress">Told of everything that takes time.</param>
    /// <param name="refit">What is refitted; null for a run of its own.</param>
    /// <param name="start">A model to go on with; null to begin anew.</param>
    /// <exception cref="InputException">There is nothing to train on, or not the device.</exception>
    public TrainingRun(
        RunConfig config,
        InteractionDataset dataset,
        RunOptions options,
        IProgress<ProgressUpdate>? progress,
        RefitTask? refit = null,
        WarmStart? start = null)
    {
        (_config, _dataset, _options, _progress, _refit, _start) = (config, dataset, options, progress, refit, start);
        _split = Splitter.Split(dataset, config.EvalArgs);
        if (_split.Train.Length == 0)
            throw new InputException("no training samples: the split leaves none (a user needs two events to have a target)");
        _validation = EvaluationSettings.OfTraining(config, config.EvalArgs.ValidMode);
        bool leavesSeenOut = config.Blend && SeenItems.HardlyComeBack(dataset, _split.Valid);
        _comparison = leavesSeenOut ? _validation with { ExcludeSeen = true } : _validation;
        RunConfig drawn = start is null ? config : config.With($"seed={start.Seed}");
        _origin = Checkpoint.Origin(config, dataset, _split);
        if (refit is not null)
            _origin[Checkpoint.HeldOutKey] = refit.HeldOut;
        _engine = new TrainingEngine(drawn, dataset, _split, options, start?.Replay);
        _average = new ParameterAverage(Layout.Length, config.AverageDecay);
        _best = new float[Layout.Length];
    }

    private string Folder => _options.OutputDirectory;

    private ParameterLayout Layout => _engine.Trainer.Layout;

    /// <summary>
    /// A refit keeps the held-out run's epochs, so that its learning rate takes the same course, and stops at the best of them.
    /// </summary>
    private bool IsDone => _state.Stopping.ShouldStop(_config.StoppingStep)
        || _state.Epoch >= (_refit?.Epochs ?? Math.Min(_config.Epochs, _options.Trial?.Epochs ?? int.MaxValue));

    public void Dispose() => _engine.Dispose();

    /// <summary>Trains to the end.</summary>
    /// <param name="onStart">Told before the first epoch.</param>
    /// <param name="onEpoch">Told after each epoch, once its checkpoint is written.</param>
    /// <param name="cancellation">Stops after the current step; the last whole epoch can be resumed.</param>
    /// <returns>How it ended; of a trial, without the test.</returns>
    /// <exception cref="InputException">A checkpoint of something else, or a loss that is no longer a number.</exception>
    /// <exception cref="OperationCanceledException">The caller wants no more.</exception>
    public TrainingResult Run(Action<TrainingStart>? onStart, Action<EpochReport>? onEpoch, CancellationToken cancellation)
    {
        var epochs = TakeUp();
        onStart?.Invoke(Description());
        // To go on may be worse than to stay. (What goes on with a model is never resumed.)
        if (_start is not null && _split.Valid.Length > 0)
        {
            Validate(_start.Parameters);
            _start.Parameters.CopyTo(_best, 0);
        }
        TrainEpochs(epochs, onEpoch, cancellation);
        // Free the trainer: with a large catalogue its moments and gradients take as much memory as all that follows.
        _engine.Trainer.Dispose();
        // Not with several ranks: the others would wait for the one that stopped.
        if (_options.Ranks.Size == 1)
            _progress = new StoppingProgress(_progress, cancellation);
        return Deliver();
    }

    /// <summary>Where an earlier call or another model left off, if the run goes on with one.</summary>
    /// <returns>The epochs that are done.</returns>
    private IReadOnlyList<EpochReport> TakeUp()
    {
        if (_start is not null)
        {
            _engine.Trainer.Parameters.Upload(_start.Parameters);
            _start.Parameters.CopyTo(_average.Values, 0);
        }
        var resumed = _options.Resume ? Checkpoint.TryLoad(Folder, _origin, _engine, _average, _best) : null;
        _state = resumed ?? new();
        var epochs = MetricsLog.Read(Folder, _state);
        _state.MetricsChecksum = MetricsLog.Checksum(epochs);
        PrepareFolder(isNew: resumed is null);
        return epochs;
    }

    /// <summary>Leaves in the folder nothing that could be taken for this run's, not even if it is killed in its first epoch.</summary>
    private void PrepareFolder(bool isNew)
    {
        // Before config.yaml: a run that is killed from here on goes on with the settings of its checkpoint.
        if (_state.Epoch > 0 && Checkpoint.TryReadRun(Folder) is (var savedConfig, var saved)
            && (savedConfig != _config.ToYaml() || saved.MetricsChecksum != _state.MetricsChecksum))
            SaveCheckpoint();
        if (isNew)
            TrainingFolder.Discard(Folder);
        if (!IsDone)
        {
            // A result file says that a run is done, and this one is not.
            if (Directory.Exists(Folder))
                File.Delete(Path.Combine(Folder, ResultFile.Name));
            TrainingFolder.DiscardRefit(Folder);
        }
        // Written anew for a resumed run too: they may have been altered since, and the model says by checksum which ones are its own.
        ModelFolder.SaveData(Folder, _config, _dataset);
        if (_state.Stopping.HasBest && !IsDone)
            ModelFolder.SaveModel(Folder, _config, Layout, _best);
    }

    private TrainingStart Description() => new(
        _config.Dataset ?? _config.DataPath,
        _dataset.UserCount - 1,
        _dataset.ItemCount - 1,
        _dataset.EventItems.Length,
        _split.Train.Length,
        _split.Valid.Length,
        _split.Test.Length,
        Layout.Length,
        _engine.DeviceText,
        _engine.DeviceNote,
        _config.DataNote())
    {
        IsDone = IsDone,
        LeavesSeenOut = _comparison != _validation,
        Warnings = _dataset.Warnings,
    };

    private void TrainEpochs(IReadOnlyList<EpochReport> before, Action<EpochReport>? onEpoch, CancellationToken cancellation)
    {
        if (!IsDone)
            _engine.CompileKernels(_state.Epoch + 1);
        SpareMemory.GiveBackAfter(_dataset);
        using var log = new MetricsLog(Folder, before);
        bool isOver = false;
        while (!isOver && !IsDone)
        {
            var report = TrainEpoch(cancellation);
            log.Write(report);
            _state.MetricsChecksum = MetricsLog.Checksum([report], _state.MetricsChecksum);
            SaveCheckpoint();
            onEpoch?.Invoke(report);
            isOver = _options.Trial?.IsOver(report) ?? false;
        }
    }

    private EpochReport TrainEpoch(CancellationToken cancellation)
    {
        var clock = Stopwatch.StartNew();
        var (loss, tokens) = _engine.TrainEpoch(++_state.Epoch, _progress, cancellation);
        _state.Step = _engine.Trainer.Step;
        double seconds = clock.Elapsed.TotalSeconds;
        // A model that is trained further counts as trained for 2 · Epochs before. With less the mean would forget it; with more it would
        // learn too little.
        _average.Add(_engine.Trainer.Parameters, _state.Epoch + (_start is null ? 0 : 2 * _config.Epochs));
        IReadOnlyDictionary<string, double>? valid = null;
        bool isBest = _split.Valid.Length == 0;
        if (!isBest && _state.Epoch % _config.EvalStep == 0)
            (valid, isBest) = Validate(_average.Values);
        if (isBest)
        {
            _average.Values.CopyTo(_best, 0);
            // An unfinished refit must not be taken for a model.
            if (_refit is null)
                ModelFolder.SaveModel(Folder, _config, Layout, _best);
        }
        return new(_state.Epoch, loss, seconds, tokens / seconds, valid, isBest)
        {
            ExcludeSeen = valid is not null && _comparison.ExcludeSeen,
        };
    }

    private (IReadOnlyDictionary<string, double> Metrics, bool IsBest) Validate(float[] parameters)
    {
        _engine.RankWith(parameters);
        var metrics = EvaluateValidation(_comparison);
        double value = Math.Round(metrics[_config.ValidMetric.ToLowerInvariant()], _config.MetricDecimalPlace);
        return (metrics, _state.Stopping.Observe(_state.Epoch, value, metrics, _config.ValidMetricBigger, _config.StoppingMargin));
    }

    private IReadOnlyDictionary<string, double> EvaluateValidation(EvaluationSettings settings) =>
        Evaluator.Evaluate(_engine.Ranker, _dataset, _engine.Statistics, _split.Valid, settings, _progress);

    /// <summary>Makes of the best parameters what recommends, and measures it.</summary>
    private TrainingResult Deliver()
    {
        // No validation chose: the last parameters are the model.
        if (!_state.Stopping.HasBest)
            _average.Values.CopyTo(_best, 0);
        SpareMemory.GiveBackAfter(_dataset);
        BlendChoice? blend = null;
        IReadOnlyDictionary<string, double> valid = _state.Stopping.BestMetrics;
        if (_config.Blend && _split.Valid.Length > 0)
        {
            blend = ChooseBlendAndEpoch();
            SpareMemory.GiveBackAfter(_dataset);
            if (blend.Weights != BlendWeights.None || blend.InsteadOfEpoch is not null || _comparison != _validation)
                valid = EvaluateValidation(_validation);
        }
        else
        {
            _engine.RankWith(_best);
        }
        // What a trial is judged by is what would be delivered, the blend included.
        if (_options.Trial is not null)
            return Result(valid, Baselines.None, blend);
        ModelFolder.SaveModel(Folder, _config, Layout, _best, _refit?.Blend ?? blend?.Weights, _refit?.HeldOut);
        var result = Result(valid, Test(blend), blend);
        if (_refit is null)
            ResultFile.Write(Folder, result);
        return result;
    }

    /// <summary>
    /// The epochs were compared without a blend. Where there is one, the last may be better than the best of them: what the blend's rules
    /// know the model need not, and what they do not know it goes on learning.
    /// </summary>
    /// <remarks>Apart from its caller, so that tables without a weight can be collected as soon as the weights are chosen.</remarks>
    private BlendChoice ChooseBlendAndEpoch()
    {
        var rules = Blend.ToChoose(_dataset, _split.Train, ItemSimilarity.Of(_dataset, _config.SequenceSeparator), _progress);
        SpareMemory.GiveBackAfter(_dataset);
        int k = Math.Min(Math.Min(_validation.ComparedCutoff, BlendSearch.LongestList), _dataset.ItemCount - 1);
        BlendChoice chosen = Choose(_best);
        bool mayBeLast = _start is null && _config.ValidMetricBigger && _state.Stopping.BestEpoch < _state.Epoch;
        if (mayBeLast && chosen.Weights != BlendWeights.None)
        {
            BlendChoice last = Choose(_average.Values);
            if (last.With > chosen.With)
            {
                _average.Values.CopyTo(_best, 0);
                chosen = last with { InsteadOfEpoch = _state.Stopping.BestEpoch };
            }
            else
            {
                _engine.RankWith(_best);
            }
        }
        _engine.Use(rules.With(chosen.Weights));
        return chosen;

        BlendChoice Choose(float[] parameters)
        {
            _engine.RankWith(parameters);
            return _engine.ChooseBlend(_split.Valid, rules, k, _config.ExcludeSeen, _progress);
        }
    }

    private ComparedMetrics Test(BlendChoice? blend) => _split.Test.Length == 0
        ? Baselines.None
        : Baselines.Compare(
            _engine.Ranker,
            _engine.Unblended,
            _dataset,
            _split,
            _engine.Statistics,
            _split.Test,
            EvaluationSettings.OfTraining(_config, _config.EvalArgs.TestMode),
            leavesSeenOut: blend?.Weights.LeavesSeenOut ?? false,
            _progress,
            whenMeasured: _engine.ForgetBlend);

    private TrainingResult Result(IReadOnlyDictionary<string, double> valid, ComparedMetrics tested, BlendChoice? blend) => new(
        _state.Epoch,
        _state.Stopping.HasBest && blend?.InsteadOfEpoch is null ? _state.Stopping.BestEpoch : _state.Epoch,
        Layout.Length,
        valid,
        tested.Metrics,
        tested.StandardErrors,
        tested.Baselines,
        tested.Comparisons,
        blend,
        _config.ExcludeSeen)
    {
        Seconds = _clock.Elapsed.TotalSeconds,
        RulesExcludeSeen = tested.RulesExcludeSeen,
    };

    private void SaveCheckpoint() => Checkpoint.Save(Folder, _config, _origin, _engine, _average, _best, _state);
}
