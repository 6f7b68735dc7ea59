using System.Text;
using System.Text.Json.Serialization;
using Bert4Rec.Serialization;

namespace Bert4Rec.Tuning;

/// <summary>
/// trials.jsonl: a line for what a tuning is made from and its plan, one for each trial that a rung is done with, one for the choice. It is
/// written anew with each line, so that it is always whole; each line has a checksum of itself and those before it.
/// </summary>
internal sealed class TuneJournal(string path, JournalHeader header)
{
    public const string FileName = "trials.jsonl";

    private const int LongestFile = 1 << 26;

    private readonly StringBuilder _text = new();
    private readonly List<TrialReport> _trials = [];
    private string _checksum = "";

    public JournalHeader Header => header;

    /// <summary>A report for each trial and rung, in the order in which they were done.</summary>
    public IReadOnlyList<TrialReport> Trials => _trials;

    /// <summary>The number of the trial that was chosen; null before.</summary>
    public int? Chosen { get; private set; }

    /// <summary>Begins a journal; one that is there is replaced.</summary>
    public static TuneJournal Begin(string directory, JournalHeader header)
    {
        var journal = new TuneJournal(Path.Combine(directory, FileName), header);
        journal.Write(new(Begin: header));
        return journal;
    }

    /// <summary>The journal of a folder; null where there is none.</summary>
    /// <exception cref="InputException">The file is damaged, or none of ours.</exception>
    public static TuneJournal? Load(string directory)
    {
        string path = Path.Combine(directory, FileName);
        if (!File.Exists(path))
            return null;
        TuneJournal? journal = null;
        using var text = new StringReader(InputFile.ReadText(path, LongestFile, "a journal of bert4rec tune"));
        long number = 0;
        foreach (string line in InputFile.ReadLines(text, path))
        {
            number++;
            if (TuningJson.Records.TryRead<JournalLine>(line) is not { } read || !IsWhole(read, journal))
                throw Damaged();
            journal ??= new(path, read.Begin!);
            if (journal.Append(read with { Sha256 = "" }) != line)
                throw Damaged();
        }
        return journal ?? throw Damaged();

        InputException Damaged() => InputException.At(
            path, Math.Max(1, number), "not as bert4rec tune wrote it; restore the file, or remove it to begin again");
    }

    public void Add(TrialReport trial) => Write(new(Trial: trial));

    /// <summary>The last line.</summary>
    public void End(int chosen) => Write(new(Chosen: chosen));

    /// <summary>The header comes first and once, the choice last.</summary>
    private static bool IsWhole(JournalLine line, TuneJournal? before) => before is null
        ? line is { Begin: { } header, Trial: null, Chosen: null }
            && header.MadeFrom.Values.All(value => value is not null) && header.Epochs.Count > 0
        : before.Chosen is null && line.Begin is null && (line.Trial is null) != (line.Chosen is null)
            && (line.Trial is not { } trial
                || (trial.Settings.All(setting => setting is not null) && trial.Curve.All(at => at is not null)))
            && (line.Chosen is not int chosen || before._trials.Any(trial => trial.Trial == chosen));

    /// <returns>The line as it stands in the file.</returns>
    private string Append(JournalLine line)
    {
        _checksum = Sha256.Of(Encoding.UTF8.GetBytes(_checksum + TuningJson.Records.Line(line)));
        string text = TuningJson.Records.Line(line with { Sha256 = _checksum });
        _text.Append(text).Append('\n');
        if (line.Trial is not null)
            _trials.Add(line.Trial);
        Chosen = line.Chosen;
        return text;
    }

    private void Write(JournalLine line)
    {
        Append(line);
        OutputFile.WriteText(path, _text.ToString());
    }
}

/// <param name="MadeFrom">What the choice depends on, by name.</param>
/// <param name="Trials">How many trials begin.</param>
/// <param name="Epochs">[rungs] The epochs that the trials of a rung have at its end.</param>
/// <param name="Seconds">What went before the plan: of a budget of time, measuring how long an epoch takes.</param>
/// <param name="Compared">The epochs of each objective before the first rung; 0 for none.</param>
internal sealed record JournalHeader(
    IReadOnlyDictionary<string, string> MadeFrom, int Trials, IReadOnlyList<int> Epochs, double? Seconds, int Compared = 0)
{
    public TunePlan Plan => new(Trials, Epochs, Compared);
}

/// <summary>One of the three.</summary>
/// <param name="Begin">The first line.</param>
/// <param name="Trial">A trial after a rung.</param>
/// <param name="Chosen">The last line.</param>
/// <param name="Sha256">Of the lines so far, this one without it.</param>
internal sealed record JournalLine(JournalHeader? Begin = null, TrialReport? Trial = null, int? Chosen = null, string Sha256 = "");

[JsonSerializable(typeof(JournalLine))]
internal sealed partial class TuningJson : JsonSerializerContext
{
    public static RecordJson Records { get; } = new(new TuningJson());
}
