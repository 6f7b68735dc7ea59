using Bert4Rec.Reporting;

namespace Bert4Rec.Tuning;

/// <summary>What a tuning tried, as a table and a picture: a page of its own, and a section of a run's report.</summary>
internal static class TunePage
{
    public static string Render(TuneResult result) =>
        Html.Page(Title(result), "", [Html.Section("The trials", Content(result), wide: true)]);

    public static string Title(TuneResult result) =>
        result.Budget is null ? "How the objective was chosen" : "How the settings were chosen";

    public static string Content(TuneResult result)
    {
        string metric = result.Config.ValidMetric;
        string[] keys = [.. result.Trials.SelectMany(trial => trial.Settings).Select(Key).Distinct()];
        string table = Html.Table(
            ["trial", "", $"valid {metric}", "best epoch", "epochs", .. keys],
            result.Trials.Select(trial => (string[])
            [
                Html.Whole(trial.Trial),
                trial.Trial == result.Chosen ? "taken" : trial.Failure is null ? "" : "left the numbers",
                trial.Value is double value ? Html.Number(value, result.Config.MetricDecimalPlace) : "",
                Html.Whole(trial.BestEpoch),
                Html.Whole(trial.Epochs),
                .. keys.Select(key => trial.Settings.Where(setting => Key(setting) == key).Select(Value).LastOrDefault("–")),
            ]));
        TrialReport[] drawn = [.. result.Trials.Where(trial => trial.Curve.Count > 0)];
        string picture = drawn.Length == 0 ? "" : Charts.Lines(
            $"{metric} on the validation events by epoch, a line a trial{(result.Config.Blend ? "; without the blend" : "")}",
            [
                .. drawn.Select(trial => (
                    (IReadOnlyList<double>)[.. trial.Curve.Select(point => (double)point.Epoch)],
                    (IReadOnlyList<double>)[.. trial.Curve.Select(point => point.Value)])),
            ],
            Array.FindIndex(drawn, trial => trial.Trial == result.Chosen),
            ("the others", "the one that was taken"));
        return Html.Paragraph(Explanation(result)) + picture + table;
    }

    private static string Explanation(TuneResult result) =>
        (result.Budget is { } budget ? OfTuning(result, budget) : OfComparison(result))
        + $"{Capital(result.Verdict())}. The test events had no part in this.";

    private static string OfComparison(TuneResult result) =>
        "A model can learn by filling gaps in a history from both sides (cloze), or by saying what comes after each event (next_item). "
        + (result.Trials.Count > 1 ? "Both were tried for as many passes over the data, and the better one was trained on. " : "");

    private static string OfTuning(TuneResult result, TuneBudget budget)
    {
        string text = $"Within {budget}, settings drawn at random were tried beside the ones that were given. ";
        if (budget.Trials > result.Trials.Count)
            text += $"The search space has no more than {Html.Whole(result.Trials.Count)} trials in it. ";
        if (result.Compared.Count > 0)
        {
            text += $"First the objectives were compared ({string.Join("; ", result.Compared.Select(result.Figures))}), and the better one "
                + "was tuned; among the other trials it counts by what it had after as many passes over the data as they. ";
        }
        string[] rungs = [.. result.Rungs.Select(Passes)];
        text += rungs.Length == 1
            ? $"All had up to {rungs[0]} over the data. "
            : $"All began with up to {rungs[0]} over the data; the best third of them, and the given ones, went on to "
                + $"{string.Join(", the best third of those to ", rungs[1..])}. ";
        return text + "A dash is a setting as it was given. ";

        static string Passes(int epochs) => epochs == 1 ? "1 pass" : $"{Html.Whole(epochs)} passes";
    }

    private static string Capital(string text) => char.ToUpperInvariant(text[0]) + text[1..];

    private static string Key(string setting) => setting[..setting.IndexOf('=')];

    private static string Value(string setting) => setting[(setting.IndexOf('=') + 1)..];
}
