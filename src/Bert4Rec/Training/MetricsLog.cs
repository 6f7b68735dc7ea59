using System.Text;
using Bert4Rec.Serialization;

namespace Bert4Rec.Training;

/// <summary>metrics.jsonl and the TensorBoard events, of epochs that a checkpoint stands behind.</summary>
internal sealed class MetricsLog : IDisposable
{
    public const string FileName = "metrics.jsonl";

    private const string Remedy = "restore the file, or remove it to go on without those epochs";

    private readonly FileStream _lines;
    private readonly TensorBoardWriter _board;

    /// <param name="done">Epochs of an earlier run to keep; what is logged of later ones is cut off.</param>
    /// <exception cref="InputException">A file is a pipe or a device.</exception>
    /// <exception cref="IOException">The files cannot be written.</exception>
    public MetricsLog(string directory, IReadOnlyList<EpochReport> done)
    {
        string path = Path.Combine(directory, FileName);
        OutputFile.WriteText(path, string.Concat(done.Select(Line)));
        _lines = new FileStream(path, FileMode.Append, FileAccess.Write, FileShare.Read, bufferSize: 0);
        _board = new TensorBoardWriter(directory, done.Count > 0 ? done[^1].Epoch : null);
        if (_board.Kept == done.Sum(epoch => 1 + (epoch.Valid?.Count ?? 0)))
            return;
        // The file is damaged. The lines hold all that it should, but for the times.
        _board.Dispose();
        _board = new TensorBoardWriter(directory);
        foreach (var epoch in done)
            WriteScalars(epoch);
    }

    /// <summary>The epochs of a run up to its checkpoint; none where there is no such file.</summary>
    /// <exception cref="InputException">The file is damaged.</exception>
    public static IReadOnlyList<EpochReport> Read(string directory) => Read(directory, Checkpoint.TryReadRun(directory)?.Progress);

    /// <param name="saved">What the checkpoint says; null where there is none. Lines after it may be half written, and are left
    /// out.</param>
    /// <exception cref="InputException">The file is damaged, or tells of other epochs.</exception>
    public static IReadOnlyList<EpochReport> Read(string directory, TrainingProgress? saved)
    {
        string path = Path.Combine(directory, FileName);
        var epochs = new List<EpochReport>();
        int last = saved?.Epoch ?? int.MaxValue;
        if (last == 0 || !File.Exists(path))
            return epochs;
        using var text = new StreamReader(InputFile.Open(path));
        foreach (string line in InputFile.ReadLines(text, path))
        {
            int before = epochs.Count > 0 ? epochs[^1].Epoch : 0;
            if (TrainingJson.Records.TryRead<EpochReport>(line) is not { } epoch || epoch.Epoch <= before || epoch.Epoch > last)
                throw InputException.At(path, epochs.Count + 1, $"not the line of a next epoch; {Remedy}");
            epochs.Add(epoch);
            if (epoch.Epoch == last)
                break;
        }
        if (saved is not null && Checksum(epochs) != saved.MetricsChecksum)
            throw new InputException($"{path}: not the epochs that {Checkpoint.FileName} was saved after; {Remedy}");
        return epochs;
    }

    /// <summary>SHA-256 of epochs without their times, each with the checksum of those before it; "" of none.</summary>
    public static string Checksum(IEnumerable<EpochReport> epochs, string before = "")
    {
        foreach (var epoch in epochs)
            before = Sha256.Of(Encoding.UTF8.GetBytes(before + Line(epoch with { Seconds = 0, TokensPerSecond = 0 })));
        return before;
    }

    /// <summary>The line is on the disk when this returns, before a checkpoint that speaks of it.</summary>
    public void Write(EpochReport report)
    {
        _lines.Write(Encoding.UTF8.GetBytes(Line(report)));
        _lines.Flush(flushToDisk: true);
        WriteScalars(report);
    }

    public void Dispose()
    {
        _lines.Dispose();
        _board.Dispose();
    }

    private static string Line(EpochReport report) => TrainingJson.Records.Line(report) + "\n";

    private void WriteScalars(EpochReport report)
    {
        _board.WriteScalar("train/loss", report.Epoch, report.Loss);
        foreach (var (name, value) in report.Valid ?? new Dictionary<string, double>())
            _board.WriteScalar($"valid/{name}", report.Epoch, value);
    }
}
