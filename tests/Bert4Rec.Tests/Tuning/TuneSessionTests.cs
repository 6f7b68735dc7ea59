using System.Diagnostics;
using Bert4Rec.Configuration;
using Bert4Rec.Tests.Faults;
using Bert4Rec.Tests.Training;
using Bert4Rec.Training;
using Bert4Rec.Tuning;

namespace Bert4Rec.Tests.Tuning;

/// <summary>Which trials go on, that a tuning which was stopped chooses the same, and what it refuses.</summary>
public sealed class TuneSessionTests(SmallShop shop) : IClassFixture<SmallShop>
{
    private const string Journal = "trials.jsonl";

    private static readonly TuneBudget s_nine = TuneBudget.OfTrials(9);

    private static readonly string[] s_compared = [Journal, "tuned.yaml"];

    [Fact]
    public void A_third_goes_on_with_the_given_settings_and_the_best_is_taken()
    {
        string directory = shop.NewRun();
        var config = shop.Config("objective=cloze", "epochs=9");
        List<TrialReport> reports = [];
        TuneResult result = Tune(config, directory, onTrial: reports.Add);

        TrialReport[] first = [.. reports.Where(trial => trial.Rung == 0)], second = [.. reports.Where(trial => trial.Rung == 1)];
        Assert.Equal(Enumerable.Range(0, 9), first.Select(trial => trial.Trial));
        Assert.Empty(first[0].Settings);
        Assert.All(first, trial => Assert.Equal(1, trial.Epochs));
        Assert.All(second, trial => Assert.Equal(3, trial.Epochs));
        int[] best = [.. first.OrderByDescending(trial => trial.Value).Take(3).Select(trial => trial.Trial)];
        Assert.Equal(best.Append(0).Distinct().Order(), second.Select(trial => trial.Trial).Order());
        Assert.Equal(result.Trials.Max(trial => trial.Value), result.Best.Value);
        Assert.True(result.Best.Value >= second.First(trial => trial.Trial == 0).Value);
        Assert.Equal(config.ForData(900, 40, 150).WithFreshDefaults(result.Best.Settings).ToYaml(), result.Config.ToYaml());
        Assert.Equal(result.Config.ToYaml(), RunConfig.Load([Path.Combine(directory, "tuned.yaml")], []).ToYaml());

        // What the trial reached is what a training with these settings reaches after as many epochs.
        TrainingResult alone = SmallShop.Train(result.Config.With($"epochs={result.Best.Epochs}"), shop.NewRun());
        Assert.Equal(alone.BestValid["mrr@10"], result.Best.Value);
        Assert.Equal(Enumerable.Range(1, result.Best.Epochs), result.Best.Curve.Select(point => point.Epoch));
        // One that went no further than the first rung, and yet is the best, is trained anew.
        string[] kept = second.Any(trial => trial.Trial == result.Chosen) ? [$"{result.Chosen:D3}"] : [];
        Assert.Equal(kept, Directory.GetDirectories(Path.Combine(directory, "trials")).Select(Path.GetFileName));
    }

    [Fact]
    public void A_journal_that_lost_its_last_lines_leads_to_the_same_choice()
    {
        string whole = shop.NewRun(), cut = shop.NewRun();
        var config = shop.Config("objective=auto", "epochs=9", "n_layers=1");
        Tune(config, whole);
        Tune(config, cut);
        string journal = new TuneFolder(cut).Journal;
        File.WriteAllLines(journal, File.ReadLines(journal).Take(2).ToArray());
        File.Delete(Path.Combine(cut, "tuned.yaml"));
        Tune(config, cut);
        AssertSame(whole, cut);
    }

    [Fact]
    public void Stopped_anywhere_and_resumed_it_leaves_the_same_bytes()
    {
        string whole = shop.NewRun(), other = shop.NewRun();
        var config = shop.Config("objective=next_item", "epochs=9");
        Tune(config, whole);
        string[] stopsAt = ["trial 5, epoch 1", "epoch 3", "trial 0, epoch 1", "epoch 2"];
        foreach (string at in stopsAt[..(Campaign.Cases < 1000 ? 2 : 4)])
        {
            string cut = shop.NewRun();
            for (int stops = 0; ; stops++)
            {
                using var cancellation = new CancellationTokenSource();
                var progress = new Watcher(activity =>
                {
                    if (stops == 0 && activity.EndsWith(at, StringComparison.Ordinal))
                        cancellation.Cancel();
                });
                try
                {
                    Tune(config, cut, progress: progress, cancellation: cancellation.Token);
                    Assert.Equal(1, stops);
                    break;
                }
                catch (OperationCanceledException)
                {
                    Assert.False(File.Exists(Path.Combine(cut, "tuned.yaml")));
                }
            }
            AssertSame(whole, cut);
        }
        // Whole once more: nothing is trained, and what was altered is as it was.
        string tuned = Path.Combine(whole, "tuned.yaml"), text = File.ReadAllText(tuned);
        File.WriteAllText(tuned, "learning_rate: 0.5\n");
        List<string> activities = [];
        Tune(config, whole, progress: new Watcher(activities.Add));
        Assert.Equal(text, File.ReadAllText(tuned));
        Assert.DoesNotContain(activities, activity => activity.Contains("epoch", StringComparison.Ordinal));
        Tune(config.With("seed=8"), other);
        Assert.NotEqual(File.ReadAllBytes(Path.Combine(whole, Journal)), File.ReadAllBytes(Path.Combine(other, Journal)));
    }

    /// <summary>Other events to test on, of items that are there anyway: whoever looked at them would see something else.</summary>
    [Fact]
    public void The_test_part_has_no_part_in_it()
    {
        string folder = Path.Combine(shop.Folder, "data"), altered = Path.Combine(shop.NewRun(), "altered");
        Directory.CreateDirectory(Path.Combine(altered, "shop"));
        foreach (string path in Directory.GetFiles(Path.Combine(folder, "shop")))
            File.Copy(path, Path.Combine(altered, "shop", Path.GetFileName(path)));
        string file = Path.Combine(altered, "shop", "shop.inter");
        string[][] rows = [.. File.ReadLines(file).Select(line => line.Split('\t'))];
        string[] header = [.. rows[0].Select(name => name.Split(':')[0])];
        (int user, int item, int time) = (Column("user_id"), Column("item_id"), Column("timestamp"));
        int changed = 0;
        // Of a shorter history the last event may be one to train on.
        foreach (var events in rows.Skip(1).GroupBy(row => row[user]).Where(events => events.Count() >= 4))
        {
            string[] last = events.MaxBy(row => double.Parse(row[time]))!;
            int at = Array.IndexOf(rows, last);
            if (events.Count(row => row[time] == last[time]) > 1 || !rows[1..at].Any(row => row[item] == last[item]))
                continue;
            last[item] = rows[1][item];
            changed++;
        }
        Assert.InRange(changed, 30, 150);
        File.WriteAllLines(file, rows.Select(row => string.Join('\t', row)));

        string[] settings = ["objective=cloze", "epochs=9"];
        List<TrialReport> before = [], after = [];
        Tune(shop.Config(settings), shop.NewRun(), onTrial: before.Add);
        string directory = shop.NewRun();
        Tune(shop.Config([.. settings, $"data_path={altered}"]), directory, onTrial: after.Add);
        Assert.Equal(before.Select(Reached), after.Select(Reached));
        Assert.Empty(Directory.GetFiles(directory, "result.json", SearchOption.AllDirectories));
        TrainingResult[] tested =
            [.. new[] { folder, altered }.Select(path => SmallShop.Train(shop.Config([.. settings, $"data_path={path}"]), shop.NewRun()))];
        Assert.NotEqual(tested[0].Test, tested[1].Test);

        int Column(string name) => Array.IndexOf(header, name);

        static string Reached(TrialReport trial) => $"{trial.Trial} {trial.Name} {string.Join(' ', trial.Curve)}";
    }

    [Fact]
    public void A_budget_of_time_is_kept()
    {
        string directory = shop.NewRun();
        var config = shop.Config("objective=cloze", "epochs=100000", "stopping_step=100000");
        var clock = Stopwatch.StartNew();
        TuneResult result = Tune(config, directory, TuneBudget.OfTime(TimeSpan.FromSeconds(3)));
        Assert.InRange(clock.Elapsed.TotalSeconds, 0, 30);
        // One where a machine is so busy that there is no time for another.
        Assert.True(result.Trials.Count >= 2 || result.Trials[0].Seconds > 1, $"{result.Trials.Count} trials");
        Assert.All(result.Trials, trial => Assert.True(trial.Value is not null && trial.Seconds > 0));

        // Resumed, it is over, and its choice the same.
        TuneResult again = Tune(config, directory, TuneBudget.OfTime(TimeSpan.FromSeconds(3)));
        Assert.Equal(result.Chosen, again.Chosen);
        Assert.Equal(result.Trials.Select(trial => trial.Epochs), again.Trials.Select(trial => trial.Epochs));
    }

    [Fact]
    public void Where_there_is_time_for_nothing_the_given_settings_are_taken()
    {
        TuneResult result = Tune(
            shop.Config("objective=cloze", "epochs=100000"), shop.NewRun(), TuneBudget.OfTime(TimeSpan.FromSeconds(0.001)));
        Assert.Equal((0, 1), (result.Chosen, result.Trials.Count));
        Assert.Empty(result.Best.Settings);
    }

    [Fact]
    public void A_trial_that_leaves_the_numbers_is_out_and_the_others_go_on()
    {
        SearchSpace space = Space("learning_rate: [1e30, 0.002]");
        List<TrialReport> reports = [];
        TuneResult result = Tune(shop.Config("objective=cloze", "epochs=9"), shop.NewRun(), s_nine, space, reports.Add);
        Assert.Equal(3, result.Trials.Count);
        TrialReport failed = Assert.Single(result.Trials, trial => trial.Failure is not null);
        Assert.Equal(["learning_rate=1e30"], failed.Settings);
        Assert.Null(failed.Value);
        Assert.NotEqual(failed.Trial, result.Chosen);
        Assert.DoesNotContain(reports, trial => trial.Trial == failed.Trial && trial.Rung > 0);

        var config = shop.Config("objective=cloze", "epochs=9", "learning_rate=1e30");
        var failure = Assert.Throws<InputException>(() => Tune(config, shop.NewRun(), s_nine, Space("learning_rate: [1e29, 1e28]")));
        Assert.Contains("learning_rate", failure.Message);
    }

    /// <summary>As long as <see cref="TuneSession.CompareObjectives"/> does, and with the same choice; only the winner is tuned.</summary>
    [Fact]
    public void Objectives_are_compared_to_the_end_before_the_better_one_is_tuned()
    {
        List<TrialReport> reports = [];
        var config = shop.Config("epochs=9");
        TuneResult result = Tune(config, shop.NewRun(), onTrial: reports.Add);
        TuneResult compared = TuneSession.CompareObjectives(config, Options(shop.NewRun()), null, default);

        Assert.Equal([["objective=cloze"], ["objective=next_item"]], result.Trials.Take(2).Select(trial => trial.Settings));
        Assert.Equal(9, result.Trials.Count);
        // On the way they stop at the rungs' epochs, for there the others will be.
        Assert.Equal(
            [(0, 0, 1), (0, 1, 3), (0, -1, 9), (1, 0, 1), (1, 1, 3), (1, -1, 9)],
            reports.Take(6).Select(trial => (trial.Trial, trial.Rung, trial.Epochs)));
        Assert.Equal(compared.Trials.Select(trial => trial.Value), result.Compared.Select(trial => trial.Value));
        Assert.All(result.Trials.Skip(2), trial => Assert.Equal(compared.Best.Settings[0], trial.Settings[0]));
        Assert.DoesNotContain(reports.Skip(6), trial => trial.Trial == 1 - compared.Chosen);

        // Nowhere is it ranked by more than the others had: neither in a rung nor at the end.
        Assert.All(reports.Where(trial => trial.Rung >= 0), trial => Assert.Equal(trial.Rung == 0 ? 1 : 3, trial.Epochs));
        Assert.Equal((3, 9), (result.Trials[compared.Chosen].Epochs, result.Trials[1 - compared.Chosen].Epochs));
        TrialReport[] ranked = [.. result.Trials.Where(trial => trial.Trial != 1 - compared.Chosen)];
        Assert.Equal(ranked.Max(trial => trial.Value), result.Best.Value);
        string page = TunePage.Render(result);
        Assert.Contains($"First the objectives were compared ({result.Figures(result.Compared[0])}; ", page);
        Assert.Contains(
            "All began with up to 1 pass over the data; the best third of them, and the given ones, went on to 3 passes.", page);
    }

    [Fact]
    public void With_a_rung_to_come_two_go_on_and_the_page_says_how_few_there_were()
    {
        List<TrialReport> reports = [];
        TuneResult result = Tune(
            shop.Config("objective=cloze", "epochs=6", "n_layers=1"), shop.NewRun(), s_nine, Space("learning_rate: [1e-4, 2e-4, 3e-4]"),
            reports.Add);
        Assert.Equal(4, result.Trials.Count);
        var best = reports.Where(trial => trial.Rung == 0).OrderByDescending(trial => trial.Value).Take(2).Select(trial => trial.Trial);
        Assert.Equal(
            best.Append(0).Distinct().Order(), reports.Where(trial => trial.Rung == 1).Select(trial => trial.Trial).Order());
        Assert.Contains("The search space has no more than 4 trials in it.", TunePage.Render(result));
    }

    [Fact]
    public void With_one_rung_the_page_tells_of_no_other()
    {
        TuneResult result = Tune(shop.Config("objective=cloze", "epochs=3", "n_layers=1"), shop.NewRun(), TuneBudget.OfTrials(2));
        Assert.Contains("All had up to 1 pass over the data. A dash", TunePage.Render(result));
    }

    [Fact]
    public void A_journal_of_trials_that_were_drawn_otherwise_is_refused()
    {
        string directory = shop.NewRun();
        var config = shop.Config("objective=cloze", "epochs=3", "n_layers=1");
        Tune(config, directory, TuneBudget.OfTrials(1));
        JournalHeader header = TuneJournal.Load(directory)!.Header;
        var before = new Dictionary<string, string>(header.MadeFrom) { ["the program"] = TrainingSession.Revision };
        TuneJournal.Begin(directory, header with { MadeFrom = before });
        Assert.StartsWith(
            $"{Path.Combine(directory, Journal)}: the program is not the same",
            Assert.Throws<InputException>(() => Tune(config, directory, TuneBudget.OfTrials(1))).Message);
    }

    [Fact]
    public void A_budget_of_time_compares_objectives_within_a_part_of_it()
    {
        List<TrialReport> reports = [];
        var config = shop.Config("epochs=100000", "stopping_step=100000");
        TuneResult result = Tune(config, shop.NewRun(), TuneBudget.OfTime(TimeSpan.FromSeconds(5)), onTrial: reports.Add);
        TrialReport[] compared = [.. reports.Where(trial => trial.Rung < 0)];
        Assert.True(compared is [{ Trial: 0 }, { Trial: 1 }] or [{ Seconds: > 5.0 / 6 }], $"{compared.Length} objectives");
        // A busy machine takes longer for the epoch that it is in: what must be left is time for a trial.
        Assert.InRange(compared.Sum(trial => trial.Seconds!.Value), 0, 5);
        Assert.Contains(reports, trial => trial.Rung >= 0);
    }

    [Fact]
    public void The_objectives_are_compared_for_as_many_epochs_each_with_their_own_defaults()
    {
        string directory = shop.NewRun();
        var config = shop.Config("epochs=20", "objective=auto", "average_decay=~");
        TuneResult result = TuneSession.CompareObjectives(config, Options(directory), null, default);
        Assert.Equal([20, 20], result.Trials.Select(trial => trial.Epochs));
        string[] objectives = ["objective=cloze", "objective=next_item"];
        foreach (var (trial, objective) in result.Trials.Zip(objectives))
        {
            TrainingResult alone = SmallShop.Train(config.WithFreshDefaults([objective]), shop.NewRun());
            Assert.Equal(alone.BestValid["mrr@10"], trial.Value);
        }
        Assert.Equal(result.Trials.MaxBy(trial => trial.Value)!.Trial, result.Chosen);
        Assert.Equal(result.Chosen == 1 ? 0.2 : 0.1, result.Config.HiddenDropoutProbability);
        Assert.Contains("is taken", result.Verdict());
        Assert.False(File.Exists(Path.Combine(directory, "tuned.yaml")));
    }

    [Fact]
    public void Without_a_validation_nothing_can_be_tuned_and_cloze_is_kept()
    {
        var config = shop.Config("eval_args={split: {LS: test_only}}");
        var failure = Assert.Throws<InputException>(() => Tune(config, shop.NewRun()));
        Assert.Contains("no validation", failure.Message);
        string directory = shop.NewRun();
        TuneResult result = TuneSession.CompareObjectives(config, Options(directory), null, default);
        // Nothing is trained for it.
        Assert.Empty(Directory.GetFileSystemEntries(directory));
        Assert.DoesNotContain("Both were tried", TunePage.Render(result));
        Assert.Equal(Objective.Cloze, result.Config.Objective);
        Assert.Equal("cloze is taken: there is no validation to compare by", result.Verdict());
    }

    [Fact]
    public void A_journal_of_other_settings_data_or_budget_is_refused()
    {
        string directory = shop.NewRun(), path = Path.Combine(directory, Journal);
        var config = shop.Config("objective=cloze", "epochs=6");
        Tune(config, directory, TuneBudget.OfTrials(3));
        Refuses(
            "the settings of trial 0 (n_layers) are not the same",
            () => Tune(config.With("n_layers=1"), directory, TuneBudget.OfTrials(3)));
        Refuses(
            "the settings of trial 0 (seed) are not the same", () => Tune(config.With("seed=9"), directory, TuneBudget.OfTrials(3)));
        Refuses("the budget is not the same", () => Tune(config, directory, TuneBudget.OfTrials(4)));
        Refuses(
            "the search space over trial 0 is not the same",
            () => Tune(config, directory, TuneBudget.OfTrials(3), Space("n_layers: [1, 2]")));

        void Refuses(string what, Func<TuneResult> tune) =>
            Assert.StartsWith($"{path}: {what}", Assert.Throws<InputException>(tune).Message);
    }

    [Fact]
    public void A_damaged_journal_is_refused_by_its_line()
    {
        string directory = shop.NewRun(), path = Path.Combine(directory, Journal);
        var config = shop.Config("objective=cloze", "epochs=6");
        Tune(config, directory, TuneBudget.OfTrials(3));
        string[] lines = File.ReadAllLines(path);
        Assert.Equal(5, lines.Length);
        for (int i = 0; i < lines.Length; i++)
        {
            Refuses(i + 1, [.. lines[..i], lines[i].Replace("\"sha256\":\"", "\"sha256\":\"0"), .. lines[(i + 1)..]]);
            Refuses(i + 1, [.. lines[..i], lines[i][..^5], .. lines[(i + 1)..]]);
            Refuses(i + 1, [.. lines[..i], "null", .. lines[(i + 1)..]]);
            Refuses(i + 1, [.. lines[..i], "", .. lines[i..]]);
            Refuses(i + 2, [.. lines[..(i + 1)], .. lines[i..]]);
            if (i < lines.Length - 1)
                Refuses(i + 1, [.. lines[..i], .. lines[(i + 1)..]]);
        }
        Refuses(2, [lines[0], lines[1].Replace("\"value\":0", "\"value\":1"), .. lines[2..]]);
        Refuses(2, [lines[0], lines[1].Replace("\"best_epoch\"", "\"more\":1,\"best_epoch\""), .. lines[2..]]);
        Refuses(1, []);

        void Refuses(int line, string[] text)
        {
            File.WriteAllLines(path, text);
            var failure = Assert.Throws<InputException>(() => Tune(config, directory, TuneBudget.OfTrials(3)));
            Assert.Equal($"{path}:{line}: not as bert4rec tune wrote it; restore the file, or remove it to begin again", failure.Message);
        }
    }

    private static RunOptions Options(string directory)
    {
        Directory.CreateDirectory(directory);
        return new(directory, "cpu", Threads: 2, Resume: true);
    }

    private static TuneResult Tune(
        RunConfig config,
        string directory,
        TuneBudget? budget = null,
        SearchSpace? space = null,
        Action<TrialReport>? onTrial = null,
        IProgress<ProgressUpdate>? progress = null,
        CancellationToken cancellation = default) =>
        TuneSession.Tune(config, Options(directory), new(budget ?? s_nine, space), onTrial, progress, cancellation);

    private SearchSpace Space(string text)
    {
        string path = $"{shop.NewRun()}.yaml";
        File.WriteAllText(path, text);
        return SearchSpace.Load(path);
    }

    private static void AssertSame(string expected, string actual)
    {
        foreach (string name in s_compared)
            Assert.Equal(File.ReadAllText(Path.Combine(expected, name)), File.ReadAllText(Path.Combine(actual, name)));
    }

    private sealed class Watcher(Action<string> onActivity) : IProgress<ProgressUpdate>
    {
        public void Report(ProgressUpdate value) => onActivity(value.Activity);
    }
}
