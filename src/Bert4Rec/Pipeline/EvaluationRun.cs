using System.Diagnostics;
using System.Text.Json.Serialization;
using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Evaluation;
using Bert4Rec.Inference;
using Bert4Rec.Kernels;
using Bert4Rec.Model;

namespace Bert4Rec.Pipeline;

/// <summary>What an evaluation found, as <c>evaluate --json</c> says it.</summary>
/// <param name="Split">valid or test.</param>
/// <param name="ExcludeSeen">Whether seen items were left out of the rankings.</param>
/// <param name="StandardErrors">Of those that are means over samples.</param>
/// <param name="Baselines">The same metrics of each baseline, by its name.</param>
/// <param name="Comparisons">The model against each baseline, by its name.</param>
internal sealed record EvaluationResult(
    string Split,
    int Samples,
    double Seconds,
    bool ExcludeSeen,
    IReadOnlyDictionary<string, double> Metrics,
    IReadOnlyDictionary<string, double> StandardErrors,
    IReadOnlyDictionary<string, IReadOnlyDictionary<string, double>> Baselines,
    IReadOnlyDictionary<string, Comparison> Comparisons)
{
    /// <summary>Whether seen items were left out of the baselines' rankings because the model's blend leaves them out.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool RulesExcludeSeen { get; init; }
}

/// <summary>Evaluates a saved model beside the baselines.</summary>
internal static class EvaluationRun
{
    /// <param name="config">Settings; those of evaluation may differ from the ones the model was trained with.</param>
    /// <param name="part">valid or test.</param>
    /// <param name="device">auto, cpu, cuda[:i], opencl[:i], ilgpu-cpu or ptx[:sm].</param>
    /// <param name="threads">0 for one a core.</param>
    /// <param name="progress">Told after each batch.</param>
    /// <param name="cancellation">Looked at after each batch.</param>
    /// <param name="precision">What products multiply in.</param>
    /// <exception cref="InputException">The folder or the settings are wrong, or the part is empty.</exception>
    public static EvaluationResult Evaluate(
        string directory, RunConfig config, string part, string device, int threads, IProgress<ProgressUpdate>? progress,
        CancellationToken cancellation, Precision precision = Precision.Full)
    {
        var clock = Stopwatch.StartNew();
        progress = new StoppingProgress(progress, cancellation);
        var folder = ModelFolder.Load(directory, config, progress);
        if (folder.RefitOf is not null)
        {
            throw new InputException(
                $"{directory}: trained on all events, those that it would be tested on too; evaluate "
                + RefitFolder.ModelOf(directory));
        }
        var split = Splitter.Split(folder.Dataset, config.EvalArgs);
        var (samples, mode) = part == "valid" ? (split.Valid, config.EvalArgs.ValidMode) : (split.Test, config.EvalArgs.TestMode);
        if (folder.IsOurs)
            CheckIsHeldOut(directory, folder.Dataset, config, samples);
        using var devices = new DeviceSet(device, threads, precision);
        using var parameters = devices.Kernels[0].AllocateFloats(folder.Layout.Length);
        parameters.Upload(folder.Parameters);
        using var ranker = new ModelRanker(devices.Kernels, devices.Workers, folder.Layout, parameters, config.RecboleCompatible);
        ranker.Use(folder.Blend);
        var statistics = TrainingStatistics.Count(folder.Dataset, split.Train);
        var compared = Baselines.Compare(
            ranker,
            ranker.Unblended,
            folder.Dataset,
            split,
            statistics,
            samples,
            EvaluationSettings.Of(config, mode),
            leavesSeenOut: folder.Blend?.Weights.LeavesSeenOut ?? false,
            progress);
        return new(
            part,
            samples.Length,
            clock.Elapsed.TotalSeconds,
            config.ExcludeSeen,
            compared.Metrics,
            compared.StandardErrors,
            compared.Baselines,
            compared.Comparisons)
        {
            RulesExcludeSeen = compared.RulesExcludeSeen,
        };
    }

    /// <summary>A folder has its own events: no setting brings others in, and none makes a test of what was trained on.</summary>
    private static void CheckIsHeldOut(string directory, InteractionDataset dataset, RunConfig config, Sample[] samples)
    {
        RunConfig trained = UpdateRun.SettingsOf(directory);
        foreach (string key in RunConfig.DataKeys.Where(key => config.ValueOf(key) != trained.ValueOf(key)))
        {
            throw new InputException(
                $"{key} is {config.ValueOf(key)}, and was {trained.ValueOf(key)} when the model in {directory} was trained: it is "
                + "evaluated on its folder's events; train with the others");
        }
        int[] trainedEnds = new int[dataset.UserCount];
        foreach (SampleRun run in Splitter.Split(dataset, trained.EvalArgs).Train.Runs)
            trainedEnds[run.User] = run.End;
        int known = samples.Count(sample => sample.Event < trainedEnds[sample.User]);
        if (known > 0)
        {
            throw new InputException(
                $"eval_args.split: {known:N0} of the {samples.Length:N0} samples that it tests on are of events that the model was trained "
                + "on; train with this split");
        }
    }
}
