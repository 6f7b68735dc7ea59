using Bert4Rec.Inference;
using Bert4Rec.Serialization;

namespace Bert4Rec.Training;

/// <summary>result.json: how a run ended, without the time it took, so that the same run gives the same file.</summary>
internal static class ResultFile
{
    public const string Name = ModelFolder.ResultFileName;

    private const int Longest = 1 << 24;

    public static void Write(string directory, TrainingResult result) => OutputFile.WriteText(
        Path.Combine(directory, Name), TrainingJson.Records.Indented(result with { Seconds = 0 }) + "\n");

    /// <summary>The result that a run left in its folder, with 0 for the seconds.</summary>
    /// <exception cref="InputException">The file is damaged, or cannot be read.</exception>
    public static TrainingResult Read(string directory)
    {
        string path = Path.Combine(directory, Name);
        return TrainingJson.Records.TryRead<TrainingResult>(InputFile.ReadText(path, Longest, "the result of a training run"))
            ?? throw new InputException($"{path}: not the result of a training run; train again, or restore it");
    }
}
