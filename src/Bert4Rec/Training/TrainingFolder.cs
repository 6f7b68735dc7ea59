using Bert4Rec.Inference;
using Bert4Rec.Serialization;

namespace Bert4Rec.Training;

/// <summary>What a training leaves in its folder.</summary>
internal static class TrainingFolder
{
    /// <summary>All of it but the refit, which has a folder in it.</summary>
    public static IReadOnlyList<string> FileNames { get; } =
        [.. ModelFolder.FileNames, Checkpoint.FileName, MetricsLog.FileName, TensorBoardWriter.FileName, ResultFile.Name];

    /// <summary>Removes what a run left in its folder: its refit, its checkpoint, its model, its result.</summary>
    public static void Discard(string directory)
    {
        DiscardRefit(directory);
        string[] files = [Checkpoint.FileName, ModelFolder.ModelFileName, ResultFile.Name];
        foreach (string path in files.Select(name => Path.Combine(directory, name)).Where(File.Exists))
            File.Delete(path);
    }

    /// <summary>Removes a folder's refit; files in it that are none of ours stay.</summary>
    public static void DiscardRefit(string directory) => DiscardFolder(RefitFolder.Of(directory));

    /// <summary>Removes a training's folder; files in it that are none of ours stay, and then the folder does.</summary>
    public static void DiscardFolder(string directory)
    {
        if (!Directory.Exists(directory))
            return;
        foreach (string name in FileNames)
            OutputFile.Delete(Path.Combine(directory, name));
        if (!Directory.EnumerateFileSystemEntries(directory).Any())
            Directory.Delete(directory);
    }

    /// <summary>Moves what a stopped run goes on from elsewhere, last the checkpoint: without it the others say nothing.</summary>
    public static void Move(string from, string to)
    {
        foreach (string name in new[] { MetricsLog.FileName, TensorBoardWriter.FileName, Checkpoint.FileName })
        {
            string path = Path.Combine(from, name);
            if (File.Exists(path))
                File.Move(path, Path.Combine(to, name), overwrite: true);
        }
    }

    /// <summary>The files of a finished run that hold no times: the same run leaves the same bytes.</summary>
    public static IReadOnlyList<string> ResultFiles(string directory) =>
        [.. ModelFolder.FileNames.Append(ResultFile.Name).Select(name => Path.Combine(directory, name))];
}
