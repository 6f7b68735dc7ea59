using Bert4Rec.Configuration;
using Bert4Rec.Evaluation;
using Bert4Rec.Inference;
using Bert4Rec.Training;
using Bert4Rec.Tuning;

namespace Bert4Rec.Cli.Output;

/// <summary>What a training looks like while it runs, and when it is done.</summary>
internal static class TrainingLog
{
    /// <summary>What is said of epochs that are compared so.</summary>
    public const string SeenLeftOut = $"epochs   compared with {EvaluationSettings.SeenLeftOut}: hardly anyone takes an item twice";

    public static void WriteHeader(TextWriter log, TrainingStart start, string directory, RunConfig config)
    {
        foreach (string warning in start.Warnings)
            log.WriteLine($"warning  {warning}");
        log.WriteLine($"data     {start.Dataset}: {start.Users:N0} users, {start.Items:N0} items, {start.Interactions:N0} interactions");
        log.WriteLine($"samples  {start.TrainSamples:N0} train, {start.ValidSamples:N0} valid, {start.TestSamples:N0} test");
        log.WriteLine($"model    {start.Parameters:N0} parameters");
        log.WriteLine($"device   {start.Device}");
        if (start.DeviceNote is not null)
            log.WriteLine($"         {start.DeviceNote}");
        if (start.SettingsNote is not null)
            log.WriteLine($"settings {start.SettingsNote}");
        if (start.LeavesSeenOut)
            log.WriteLine(SeenLeftOut);
        log.WriteLine($"output   {directory}");
        log.WriteLine();
        if (start.IsDone)
            log.WriteLine("all epochs were trained before");
        else
            WriteEpochHeader(log, config);
    }

    /// <summary>The names of the columns of <see cref="WriteEpoch"/>.</summary>
    public static void WriteEpochHeader(TextWriter log, RunConfig config) =>
        log.WriteLine($"epoch      loss   seconds    tokens/s  {"valid " + config.ValidMetric,14}");

    public static void WriteEpoch(TextWriter log, EpochReport epoch, RunConfig config)
    {
        string valid = "";
        if (epoch.Valid is not null)
        {
            double value = epoch.Valid.First(metric => metric.Key.Equals(config.ValidMetric, StringComparison.OrdinalIgnoreCase)).Value;
            valid = $"  {value.ToString($"F{config.MetricDecimalPlace}"),14}{(epoch.IsBest ? " *" : "")}";
        }
        log.WriteLine($"{epoch.Epoch,5}{epoch.Loss,10:F4}{epoch.Seconds,10:F1}{epoch.TokensPerSecond,12:N0}{valid}");
    }

    /// <summary>A trial after a rung; above the first one the names of the columns.</summary>
    public static void WriteTrial(TextWriter log, TrialReport trial, RunConfig config, bool isFirst)
    {
        if (isFirst)
            log.WriteLine($"{"trial",5}{"epochs",8}{"best",6}  {"valid " + config.ValidMetric,14}{"seconds",10}  settings");
        string value = trial.Value?.ToString($"F{config.MetricDecimalPlace}") ?? "-";
        string seconds = trial.Seconds?.ToString("F1") ?? "";
        log.WriteLine($"{trial.Trial,5}{trial.Epochs,8}{trial.BestEpoch,6}  {value,14}{seconds,10}  {trial.Failure ?? trial.Name}");
    }

    /// <summary>The best epoch and the test metrics beside the baselines'.</summary>
    public static void WriteResult(Terminal terminal, TrainingResult result, string directory, RunConfig config)
    {
        terminal.Out.WriteLine();
        bool hasTest = result.Test.Count > 0;
        // A result that was read back does not know how long it took.
        string time = result.Seconds > 0 ? $", {ProgressReporter.Duration(result.Seconds)} in all" : "";
        string named = EvaluationSettings.Named(config.EvalArgs.TestMode, result.ExcludeSeen);
        terminal.Out.WriteLine(
            $"best epoch {result.BestEpoch} of {result.Epochs}{time}; "
            + (hasTest ? $"on the test part{named}:" : "the split has no test part"));
        if (!hasTest)
            return;
        if (result.Blend is { } blend)
            terminal.Out.WriteLine(Blend(blend));
        Report.WriteMetrics(terminal, result.Test, result.TestErrors, result.Baselines, config.MetricDecimalPlace);
        bool hasTriedNext = new TuneFolder(directory).HasTriedNextItem(config);
        bool isLastBest = result.BestEpoch == result.Epochs;
        terminal.Out.WriteLine(Comparison.Verdict(result.Comparisons, isLastBest, hasTriedNext, result.RulesExcludeSeen));
        terminal.Out.WriteLine();
    }

    private static string Blend(BlendChoice blend)
    {
        string samples = $"on {blend.Samples:N0} validation samples";
        var (transition, scale, seen, recent, similar, _, next) = blend.Weights;
        string ofNext = next == 0 ? "" : $", of the very next item ({next} ln(1 + 10 N))";
        return blend.Weights == BlendWeights.None
            ? $"no blend: none of those tried {samples} is better than the model alone"
                + (blend.InsteadOfEpoch is int other ? $"; epoch {other}, the best while training, has less NDCG, blended or not" : "")
            : $"blend of transitions ({transition} ln(1 + {scale} T)){ofNext}"
                + $"{(similar == 0 ? "" : $", what is alike ({similar} A)")} and the history's items ({seen} + {recent} / lag): "
                + $"NDCG {blend.Without:F4} without, {blend.With:F4} with it {samples}"
                + (blend.InsteadOfEpoch is int epoch ? $"; epoch {epoch}, the best without a blend, has less with one" : "");
    }

    /// <summary>Where the model is, and what to do with it.</summary>
    public static void WriteModel(Terminal terminal, string directory, RunConfig config)
    {
        if (RefitFolder.WholeOf(directory) is string refit)
            terminal.Out.WriteLine($"the figures are of the held-out model; {refit} was trained anew on all events, and recommends");
        else if (config.Refit)
            terminal.Out.WriteLine("no refit: the split holds no event back");
        terminal.Out.WriteLine($"model in {directory}; try: bert4rec recommend --model {Terminal.Quote(directory)} --history \"...\"");
    }
}
