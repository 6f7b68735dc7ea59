using Bert4Rec.Configuration;
using Bert4Rec.Evaluation;
using Bert4Rec.Inference;
using Bert4Rec.Reporting;
using Bert4Rec.Tuning;

namespace Bert4Rec.Pipeline;

/// <summary>
/// The report of a run as one page, for whoever decides about the shop: what the model is good for, on what data, with examples.
/// </summary>
internal static class ReportPage
{
    private const int Tenths = 10, ShownHistory = 10;

    /// <summary>What is said of validation events where no others are left to measure the model on.</summary>
    private const string ChoseModel = "did not teach the model, but chose the state of it that was kept";

    public static string Render(RunReport report)
    {
        var sections = new List<string>();
        if (report.Rankers.Count > 0)
            sections.Add(Html.Section("How good are the suggestions?", Quality(report), wide: true));
        sections.Add(Html.Section("The data", Data(report), wide: true));
        if (report.Choice is not null)
            sections.Add(Html.Section(TunePage.Title(report.Choice), TunePage.Content(report.Choice), wide: true));
        if (report.Epochs.Count > 0)
            sections.Add(Html.Section("How the model learned", Training(report), wide: true));
        if (report.Rankers.Count > 0)
            sections.Add(Html.Section("Do the suggestions show the whole shop?", Variety(report), wide: true));
        if (report.Examples.Count > 0)
            sections.Add(Html.Section("Some customers", Examples(report), wide: true));
        sections.Add(Html.Section("How this was made", Making(report), wide: true));
        return Html.Page($"What comes next: {report.Config.Dataset}", Lead(report), sections);
    }

    private static string Lead(RunReport report)
    {
        if (report.Rankers.Count == 0)
            return Html.Paragraph("The split leaves no events to test the model on; it is trained on all of them.", "lead");
        string Reached(int ranker) => Html.Number(Recall(report.Rankers[ranker]), 1);
        string[] unbeaten = [.. IsTest(report)
            ? report.Result.Comparisons.Where(pair => pair.Key != Baselines.NoBlend && !pair.Value.IsBetter).Select(pair => pair.Key)
            : report.Rankers.Skip(1).Where(rule => Recall(rule) >= Recall(report.Rankers[0])).Select(rule => rule.Name)];
        string verdict = unbeaten.Length == 0
            ? ""
            : $" By {(IsTest(report) ? report.Result.Comparisons.Values.First().Metric : "that")}, it is not shown that the model is "
                + $"better than a simple rule ({string.Join(", ", unbeaten)}): train it longer, or on more events, before it is put to "
                + "use.";
        return Html.Paragraph(
            $"Of 100 events that {(IsTest(report) ? "the model had not seen" : ChoseModel)}, {Reached(0)} were among its ten suggestions. "
            + $"The ten best sellers alone would have had {Reached(1)}; "
            + $"what others had after the customer's last item, {Reached(3)}.{verdict}",
            "lead");
    }

    private static bool IsTest(RunReport report) => report.Part == "test";

    /// <summary>Recall@10, in percent.</summary>
    private static double Recall(ListStatistics ranker) => 100 * ranker.Metrics["recall@10"];

    private static string Quality(RunReport report)
    {
        bool isTest = IsTest(report);
        IReadOnlyDictionary<string, double> model = isTest ? report.Result.Test : report.Rankers[0].Metrics;
        IReadOnlyList<(string Name, IReadOnlyDictionary<string, double> Values)> baselines = isTest
            ? [.. report.Result.Baselines.Select(baseline => (baseline.Key, baseline.Value))]
            : [.. report.Rankers.Skip(1).Select(ranker => (ranker.Name, ranker.Metrics))];
        int decimals = report.Config.MetricDecimalPlace;
        string table = Html.Table(
            ["", "model", .. baselines.Select(baseline => baseline.Name)],
            model.Keys.Select(metric => (string[])
            [
                metric,
                Html.Number(model[metric], decimals),
                .. baselines.Select(baseline => Html.Number(baseline.Values[metric], decimals)),
            ]));
        string chart = Charts.Bars(
            "events whose item was among ten suggestions (Recall@10), in percent",
            report.Rankers.Select((ranker, i) => (i == 0 ? "model" : ranker.Name, Recall(ranker))));
        return Html.Paragraph(
                $"Measured on {Html.Whole(report.Samples.Length)} events that {(isTest ? "the model has not seen" : ChoseModel)}: for "
                + "each, it is given what the customer did before and names the items most likely to come next. Three simple rules stand "
                + "beside it; a model that does not beat them has learned nothing."
                + (isTest ? "" : " These figures flatter the model: only a split with a test part would show what it is worth.")
                + (!isTest && report.RulesExcludeSeen ? $" {Comparison.RulesLeaveOut}" : ""))
            + Html.Paragraph(
                "Recall@10 is the share of those events whose item is among the first ten. NDCG@10 and MRR@10 also count at which place "
                + "it stands: 1 would be always the first. The numbers after the @ are the lengths of the list.")
            + (isTest && report.Config.EvalArgs.TestMode.Source != CandidateSource.Full
                ? Html.Paragraph(
                    $"The table ranks by eval_args.mode: {report.Config.EvalArgs.TestMode}, each target among so many drawn items; "
                    + "the chart, and the shares that the page begins with, are of rankings of the whole catalogue.")
                : "")
            + (report.Config.ExcludeSeen
                ? Html.Paragraph(
                    $"In every ranking, {EvaluationSettings.SeenLeftOut}: what a customer had before is not suggested again, and an event "
                    + "with such an item counts as not found.")
                : "")
            + (report.RefitEpochs > 0 ? Html.Paragraph(Refit(report)) : "")
            + (isTest ? Html.Paragraph(Verdict(report)) : "")
            + Html.SideBySide(chart, Block(table));
    }

    private static string Refit(RunReport report) =>
        "These figures, and all on this page, are of a model from which these events were held back. The model that recommends (the folder "
        + $"{RefitFolder.Name}) was trained anew on all {Html.Whole(report.Dataset.EventItems.Length)} events, "
        + $"{Html.Whole(report.RefitEpochs)} times over (an only event of a customer teaches nothing); none is left to measure it on.";

    private static string Verdict(RunReport report) => Comparison.Verdict(
        report.Result.Comparisons,
        report.Result.BestEpoch == report.Result.Epochs,
        report.Config.Objective == Objective.NextItem
            || (report.Choice?.Trials.Any(trial => trial.Settings.Contains(ObjectiveNames.Setting(Objective.NextItem))) ?? false),
        report.Result.RulesExcludeSeen);

    private static string Data(RunReport report)
    {
        var dataset = report.Dataset;
        var lengths = Enumerable.Range(1, dataset.UserCount - 1)
            .Select(user => dataset.UserOffsets[user + 1] - dataset.UserOffsets[user])
            .Where(length => length > 0)
            .CountBy(length => length)
            .ToDictionary(count => count.Key, count => (long)count.Value);
        long[] popularity = [.. report.Statistics.EventCounts.Select(count => (long)count)];
        string[] charts =
        [
            .. report.Log is { } log ? [AnalysisPage.EventsByDay(log)] : Array.Empty<string>(),
            Charts.Bars(
                "customers by the number of their events", AnalysisPage.Binned(lengths).Select(bin => (bin.Label, (double)bin.Users))),
            Charts.Bars(
                "share of all events that go to each tenth of the items, best sellers first, in percent",
                TenthLabels().Zip(Shares(report, popularity))),
        ];
        IEnumerable<string> rows = report.Steps.Where(step => step.Rows.Count > 0).Select(step => Block(Html.Table(
            [$"{step.Name}: rows", ""], step.Rows.Select(row => (string[])[row.Key, Html.Whole(row.Value)]))));
        return Html.Paragraph(
                $"{Html.Whole(lengths.Values.Sum())} customers, {Html.Whole(dataset.ItemCount - 1)} items, "
                + $"{Html.Whole(dataset.EventItems.Length)} events. {Html.Whole(report.Split.Train.Length)} of them teach, "
                + $"{Html.Whole(report.Split.Valid.Length)} choose the best state of the model, "
                + $"{Html.Whole(report.Split.Test.Length)} test it. A customer with one event teaches nothing and cannot be tested.")
            + Html.SideBySide(charts)
            + Html.SideBySide(rows)
            + (report.Log is null
                ? ""
                : "<p>The whole log, column by column: <a href=\"analysis.html\">analysis.html</a>, in the same folder.</p>\n");
    }

    private static string Training(RunReport report)
    {
        double[] epochs = [.. report.Epochs.Select(epoch => (double)epoch.Epoch)], losses = [.. report.Epochs.Select(epoch => epoch.Loss)];
        var charts = new List<string>
        {
            Charts.Line("training loss by epoch: how surprised the model is by what it should know", epochs, losses),
        };
        string metric = report.Config.ValidMetric.ToLowerInvariant();
        var validated = report.Epochs.Where(epoch => epoch.Valid is not null).ToList();
        if (validated.Count > 0)
        {
            string seen = validated[0].ExcludeSeen ? $", {EvaluationSettings.SeenLeftOut}" : "";
            int best = validated.FindIndex(epoch => epoch.Epoch == report.Result.BestEpoch);
            charts.Add(Charts.Line(
                $"{report.Config.ValidMetric} on the validation events by epoch{seen}; the dot is the state that was kept",
                [.. validated.Select(epoch => (double)epoch.Epoch)],
                [.. validated.Select(epoch => epoch.Valid![metric])],
                best < 0 ? null : best));
        }
        string kept = $"the state after pass {report.Result.BestEpoch} is the model{Instead(report)}";
        return Html.Paragraph($"{report.Result.Epochs} passes over the data; {kept}.")
            + Html.SideBySide(charts);
    }

    private static string Instead(RunReport report) => report.Result.Blend is { InsteadOfEpoch: int epoch } blend
        ? blend.Weights == BlendWeights.None
            ? $": by NDCG it is better than that after pass {epoch}, blended or not"
            : $": with the blend it is better than that after pass {epoch}, the best without"
        : "";

    private static string Variety(RunReport report)
    {
        var taken = new long[report.Dataset.ItemCount];
        foreach (var sample in report.Samples)
            taken[report.Dataset.Target(sample)]++;
        double[] places = [.. Shares(report, report.Rankers[0].Places)], events = [.. Shares(report, taken)];
        return Html.Paragraph(
                $"Over all lists of ten, the model shows {Html.Percent(Shown(report.Rankers[0]), 0)} of the items. The best-selling tenth "
                + $"of the items takes {Html.Number(places[0], 0)}% of the places in its lists, and {Html.Number(events[0], 0)}% of what "
                + "customers then had. The nearer the two, the less the model merely repeats the best sellers.")
            + Html.SideBySide(
                Charts.PairedBars(
                    "share of each tenth of the items, best sellers first, in percent",
                    [.. TenthLabels()],
                    ("places in the model's lists", places),
                    ("what customers had", events)),
                Block(Html.Table(
                    ["in lists of ten", "model", .. report.Rankers.Skip(1).Select(ranker => ranker.Name)],
                    [
                        Row("items shown", ranker => Html.Percent(Shown(ranker), 1)),
                        Row("mean training events of a shown item", ranker => Html.Number(MeanEvents(ranker.Places), 0)),
                        Row("places of the least popular tenth", ranker => $"{Html.Number(Shares(report, ranker.Places).Last(), 1)}%"),
                        Row("inequality of places (Gini, 0 to 1)", ranker => Html.Number(ranker.Metrics["giniindex@10"], 2)),
                    ])));

        string[] Row(string name, Func<ListStatistics, string> value) => [name, .. report.Rankers.Select(value)];

        double Shown(ListStatistics ranker) => ranker.Places.Count(count => count > 0) / Math.Max(1.0, report.Dataset.ItemCount - 1);

        double MeanEvents(long[] places) =>
            places.Zip(report.Statistics.EventCounts, (shown, count) => (double)shown * count).Sum() / Math.Max(1, places.Sum());
    }

    private static string Examples(RunReport report)
    {
        return Html.Paragraph(
                "Drawn at random among the customers that the model was tested on; not the best ones. "
                + (report.Config.ExcludeSeen ? "What they had before is left out." : "What they had before may be suggested again."))
            + Html.SideBySide(report.Examples.Select(Card));

        string Card(ExampleUser example)
        {
            int all = example.History.Length;
            int[] shown = example.History[^Math.Min(ShownHistory, all)..];
            string last = shown.Length < all ? $" (the last {shown.Length} of {all})" : "";
            string place = example.Rank is int rank
                ? $"at place {Html.Whole(rank)}{(report.Config.ExcludeSeen ? "" : $" of {Html.Whole(report.Dataset.ItemCount - 1)}")}"
                : "had before and so left out";
            string missed = example.Recommended.Contains(example.Target)
                ? ""
                : $"<p>Came next: {Describe(report, example.Target)}, {place}.</p>\n";
            return $"<div><h3>Customer {Html.Escape(example.User)}</h3>\n<p>Had so far{last}, oldest first:</p>\n"
                + $"<ul>{string.Concat(shown.Select(item => $"<li>{Describe(report, item)}</li>\n"))}</ul>\n"
                + $"<p>Suggested:</p>\n<ol>{string.Concat(example.Recommended.Select(Suggested))}</ol>\n{missed}</div>\n";

            string Suggested(int item) => item == example.Target
                ? $"<li class=\"hit\">{Describe(report, item)} ✓ came next</li>\n"
                : $"<li>{Describe(report, item)}</li>\n";
        }
    }

    private static string Making(RunReport report)
    {
        var facts = report.Steps.SelectMany(step => step.Facts).ToDictionary();
        string table = Html.Table(["", ""], [
            ["device", facts.GetValueOrDefault("device", "unknown")],
            ["seed", $"{report.Config.Seed}"],
            ["model", $"{Html.Whole(report.Result.Parameters)} parameters"],
            ["training", $"best epoch {report.Result.BestEpoch} of {report.Result.Epochs}, by {report.Config.ValidMetric}"],
            .. report.RefitEpochs > 0 ? [["refit", $"{Html.Whole(report.RefitEpochs)} epochs on all events"]] : Array.Empty<string[]>(),
            ["Bert4Rec", PipelineRun.Version],
            [".NET", facts.GetValueOrDefault(".NET", "unknown")]]);
        string settings = Html.Preformatted(report.Config.With("data_path=.").ToYaml());
        return table + $"<details><summary>Every setting (config.yaml)</summary>{settings}</details>\n"
            + Html.Paragraph("manifest.json in the same folder has the checksums of every input and output.");
    }

    /// <summary>"electronics smartphone · samsung · 149.9 (1003316)", as HTML.</summary>
    private static string Describe(RunReport report, int item)
    {
        var table = report.Dataset.ItemFields;
        string token = Html.Escape(report.Dataset.Items[item]);
        IEnumerable<string?> fields = table is null ? [] : Enumerable.Range(0, table.Fields.Count).Select(field => table[item, field]);
        string[] values = [.. fields.OfType<string>().Where(value => value.Length > 0)];
        return values.Length == 0 ? token : $"{Html.Escape(string.Join(" · ", values))} <span class=\"token\">{token}</span>";
    }

    private static string Block(string content) => $"<div>{content}</div>\n";

    private static IEnumerable<string> TenthLabels() => Enumerable.Range(1, Tenths).Select(tenth => tenth == 1 ? "best" : $"{tenth}.");

    /// <summary>What share of the counts falls on each tenth of the items, by their popularity in training; in percent.</summary>
    private static IEnumerable<double> Shares(RunReport report, long[] counts)
    {
        int[] popularity = report.Statistics.EventCounts;
        int[] byPopularity = [.. Enumerable.Range(1, counts.Length - 1).OrderByDescending(item => popularity[item])];
        double all = Math.Max(1, counts.Sum());
        for (int tenth = 0; tenth < Tenths; tenth++)
            yield return 100 * byPopularity[Start(tenth)..Start(tenth + 1)].Sum(item => counts[item]) / all;

        int Start(int tenth) => (int)((long)byPopularity.Length * tenth / Tenths);
    }
}
