using Bert4Rec.Serialization;

namespace Bert4Rec.Training;

/// <summary>metrics.jsonl and the TensorBoard events, of epochs that a checkpoint stands behind.</summary>
internal sealed class MetricsLog : IDisposable
{
    private const string FileName = "metrics.jsonl";

    private readonly StreamWriter _lines;
    private readonly TensorBoardWriter _board;

    /// <param name="directory">The run's folder.</param>
    /// <param name="epochsDone">Epochs of an earlier run to keep; what is logged of later ones is cut off.</param>
    /// <exception cref="IOException">The files cannot be written.</exception>
    public MetricsLog(string directory, int epochsDone)
    {
        string path = Path.Combine(directory, FileName);
        string[] kept = epochsDone > 0 && File.Exists(path) ? [.. File.ReadLines(path).Take(epochsDone)] : [];
        OutputFile.WriteText(path, string.Concat(kept.Select(line => line + "\n")));
        _lines = new StreamWriter(path, append: true) { NewLine = "\n", AutoFlush = true };
        _board = new TensorBoardWriter(directory, epochsDone > 0 ? epochsDone : null);
    }

    /// <summary>The epochs of a run; none where there is no such file.</summary>
    /// <exception cref="InputException">The file is damaged.</exception>
    public static IReadOnlyList<EpochReport> Read(string directory)
    {
        string path = Path.Combine(directory, FileName);
        var epochs = new List<EpochReport>();
        foreach (string line in File.Exists(path) ? File.ReadLines(path) : [])
        {
            if (TrainingJson.TryRead<EpochReport>(line) is not { } epoch || epoch.Epoch <= (epochs.Count > 0 ? epochs[^1].Epoch : 0))
            {
                throw InputException.At(
                    path, epochs.Count + 1, "not the line of a next epoch; restore the file, or remove it to go on without the epochs");
            }
            epochs.Add(epoch);
        }
        return epochs;
    }

    public void Write(EpochReport report)
    {
        _lines.WriteLine(TrainingJson.Line(report));
        _board.WriteScalar("train/loss", report.Epoch, report.Loss);
        foreach (var (name, value) in report.Valid ?? new Dictionary<string, double>())
            _board.WriteScalar($"valid/{name}", report.Epoch, value);
    }

    public void Dispose()
    {
        _lines.Dispose();
        _board.Dispose();
    }
}
