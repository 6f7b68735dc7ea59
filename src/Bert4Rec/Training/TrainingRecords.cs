using System.Text.Json.Serialization;
using Bert4Rec.Data;
using Bert4Rec.Distributed;
using Bert4Rec.Evaluation;
using Bert4Rec.Inference;
using Bert4Rec.Kernels;

namespace Bert4Rec.Training;

/// <summary>Where and on what a run trains.</summary>
/// <param name="OutputDirectory">Gets the model, the logs and the checkpoint.</param>
/// <param name="Device">auto, cpu, cuda[:i], opencl[:i], ilgpu-cpu or ptx[:sm].</param>
/// <param name="Threads">0 for one a core.</param>
/// <param name="Resume">Go on from the checkpoint in the folder; from the beginning if there is none yet.</param>
/// <param name="Precision">What products multiply in.</param>
/// <param name="Trial">Not a whole run, but a trial of settings; null for a whole one.</param>
internal sealed record RunOptions(
    string OutputDirectory, string Device, int Threads, bool Resume, Precision Precision = Precision.Full, TrialLimit? Trial = null)
{
    /// <summary>What was read of the dataset before; null to read its files.</summary>
    public DatasetCache? Cache { get; init; }

    /// <summary>The processes that train together.</summary>
    public ProcessGroup Ranks { get; init; } = ProcessGroup.Alone;
}

/// <summary>
/// Where a trial of settings stops. It is a run that goes no further, as if it had been killed there: it never looks at the test part,
/// leaves no result, and can be resumed.
/// </summary>
/// <param name="Epochs">The last epoch.</param>
/// <param name="IsOver">Asked after each epoch whether that was the last.</param>
internal sealed record TrialLimit(int Epochs, Func<EpochReport, bool> IsOver);

/// <summary>A trained model to go on with.</summary>
/// <param name="Parameters">[layout of the dataset's catalogue] Its parameters; Adam's means begin anew.</param>
/// <param name="Replay">Whose sequences an epoch takes.</param>
/// <param name="Seed">Of windows, masks and dropout, so that they are not those that the model has seen before.</param>
internal sealed record WarmStart(float[] Parameters, Replay Replay, int Seed);

/// <summary>What is about to be trained. Users and items without padding; notes are sentences, or null.</summary>
/// <param name="Device"><see cref="TrainingEngine.DeviceText"/>.</param>
internal sealed record TrainingStart(
    string Dataset,
    int Users,
    int Items,
    long Interactions,
    int TrainSamples,
    int ValidSamples,
    int TestSamples,
    long Parameters,
    string Device,
    string? DeviceNote,
    string? SettingsNote)
{
    /// <summary>Whether all its epochs were trained before.</summary>
    public bool IsDone { get; init; }

    /// <summary>Whether epochs are compared with seen items left out, though the result is not.</summary>
    public bool LeavesSeenOut { get; init; }

    /// <summary>What the dataset's files lack.</summary>
    public IReadOnlyList<string> Warnings { get; init; } = [];
}

/// <summary>A line of metrics.jsonl.</summary>
/// <param name="Epoch">Its number, from 1.</param>
/// <param name="Loss">Mean of the batches' mean losses.</param>
/// <param name="Seconds">Time that the training took, without validation.</param>
/// <param name="TokensPerSecond">Events trained on.</param>
/// <param name="Valid">Metrics by name, or null where the epoch was not validated.</param>
/// <param name="IsBest">No validation so far was better.</param>
public sealed record EpochReport(
    int Epoch, double Loss, double Seconds, double TokensPerSecond, IReadOnlyDictionary<string, double>? Valid, bool IsBest)
{
    /// <summary>Whether seen items were left out of the validation's rankings.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool ExcludeSeen { get; init; }
}

/// <summary>How a run ended.</summary>
/// <param name="Epochs">Epochs trained.</param>
/// <param name="BestEpoch">The one whose parameters were kept.</param>
/// <param name="Parameters">Parameters of the model.</param>
/// <param name="BestValid">Validation metrics of the best epoch's parameters, with the blend.</param>
/// <param name="Test">Test metrics of the best parameters.</param>
/// <param name="TestErrors">Standard errors of those that are means over samples.</param>
/// <param name="Baselines">The baselines' test metrics, by their names.</param>
/// <param name="Comparisons">The model against each baseline on the test part, by its name.</param>
/// <param name="Blend">What validation said of the blend; null where none was tried.</param>
/// <param name="ExcludeSeen">Whether seen items were left out of the rankings.</param>
public sealed record TrainingResult(
    [property: JsonPropertyOrder(-3)] int Epochs,
    [property: JsonPropertyOrder(-2)] int BestEpoch,
    long Parameters,
    IReadOnlyDictionary<string, double> BestValid,
    IReadOnlyDictionary<string, double> Test,
    IReadOnlyDictionary<string, double> TestErrors,
    IReadOnlyDictionary<string, IReadOnlyDictionary<string, double>> Baselines,
    IReadOnlyDictionary<string, Comparison> Comparisons,
    BlendChoice? Blend = null,
    bool ExcludeSeen = false)
{
    /// <summary>This call took, data, test and refit included; 0 of a result that was read back.</summary>
    // In JSON it stands behind BestEpoch.
    [JsonPropertyOrder(-1)]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public double Seconds { get; init; }

    /// <summary>Whether seen items were left out of the baselines' rankings because the model's blend leaves them out.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool RulesExcludeSeen { get; init; }
}
