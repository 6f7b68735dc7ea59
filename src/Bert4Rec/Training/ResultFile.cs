using System.Text.Json.Serialization;
using Bert4Rec.Evaluation;
using Bert4Rec.Inference;
using Bert4Rec.Serialization;

namespace Bert4Rec.Training;

/// <summary>result.json: how a run ended, without the time it took, so that the same run gives the same file.</summary>
internal static class ResultFile
{
    public const string Name = ModelFolder.ResultFileName;

    private const int Longest = 1 << 24;

    public static void Write(string directory, TrainingResult result)
    {
        var content = new Content(
            result.Epochs, result.BestEpoch, result.Parameters, result.BestValid, result.Test, result.TestErrors, result.Baselines,
            result.Comparisons, result.Blend, result.ExcludeSeen, result.RulesExcludeSeen);
        OutputFile.WriteText(Path.Combine(directory, Name), TrainingJson.Records.Indented(content) + "\n");
    }

    /// <summary>The result that a run left in its folder, with 0 for the seconds.</summary>
    /// <exception cref="InputException">The file is damaged, or cannot be read.</exception>
    public static TrainingResult Read(string directory)
    {
        string path = Path.Combine(directory, Name);
        return TrainingJson.Records.TryRead<Content>(InputFile.ReadText(path, Longest, "the result of a training run")) is { } saved
            ? new(
                saved.Epochs, saved.BestEpoch, 0, saved.Parameters, saved.BestValid, saved.Test, saved.TestErrors, saved.Baselines,
                saved.Comparisons, saved.Blend, saved.ExcludeSeen)
            {
                RulesExcludeSeen = saved.RulesExcludeSeen,
            }
            : throw new InputException($"{path}: not the result of a training run; train again, or restore it");
    }

    internal sealed record Content(
        int Epochs,
        int BestEpoch,
        long Parameters,
        IReadOnlyDictionary<string, double> BestValid,
        IReadOnlyDictionary<string, double> Test,
        IReadOnlyDictionary<string, double> TestErrors,
        IReadOnlyDictionary<string, IReadOnlyDictionary<string, double>> Baselines,
        IReadOnlyDictionary<string, Comparison> Comparisons,
        BlendChoice? Blend = null,
        bool ExcludeSeen = false,
        [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)] bool RulesExcludeSeen = false);
}
