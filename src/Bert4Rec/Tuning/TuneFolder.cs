using System.Globalization;
using Bert4Rec.Configuration;
using Bert4Rec.Training;

namespace Bert4Rec.Tuning;

/// <summary>What a tuning has in its output folder. Files and folders that are none of its own stay.</summary>
internal readonly record struct TuneFolder(string Root)
{
    /// <summary>What the folder of the trials is called.</summary>
    public const string TrialsName = "trials";

    /// <summary>The settings that were chosen.</summary>
    public string Tuned => Path.Combine(Root, "tuned.yaml");

    /// <summary>The table and the picture of the trials.</summary>
    public string Page => Path.Combine(Root, "tune.html");

    /// <summary>What <see cref="TuneJournal"/> writes.</summary>
    public string Journal => Path.Combine(Root, TuneJournal.FileName);

    private string Trials => Path.Combine(Root, TrialsName);

    /// <summary>A trial's training, which can be gone on with.</summary>
    public string OfTrial(int trial) => Path.Combine(Trials, trial.ToString("D3", CultureInfo.InvariantCulture));

    /// <summary>Removes everything.</summary>
    public void Discard()
    {
        // The page shows the trials of the journal; without one it may be anybody's.
        if (File.Exists(Journal))
            File.Delete(Page);
        File.Delete(Tuned);
        File.Delete(Journal);
        DiscardTrials();
    }

    /// <summary>Removes what the trials left.</summary>
    public void DiscardTrials()
    {
        KeepTrials();
        if (Directory.Exists(Trials) && !Directory.EnumerateFileSystemEntries(Trials).Any())
            Directory.Delete(Trials);
    }

    /// <summary>Removes the others: a trial's checkpoint is five times its model, and there may be many.</summary>
    public void KeepTrials(params int[] trials)
    {
        var kept = trials.Select(OfTrial).ToHashSet();
        foreach (string trial in Directory.Exists(Trials) ? Directory.GetDirectories(Trials) : [])
        {
            if (!kept.Contains(trial) && int.TryParse(Path.GetFileName(trial), NumberStyles.None, CultureInfo.InvariantCulture, out _))
                TrainingFolder.DiscardFolder(trial);
        }
    }

    /// <summary>Whether a model that was trained so was to predict the next item, or was compared with one that was.</summary>
    public bool HasTriedNextItem(RunConfig config) => config.Objective == Objective.NextItem
        || (File.Exists(Journal) && File.ReadAllText(Journal).Contains($"\"{ObjectiveNames.Setting(Objective.NextItem)}\""));
}
