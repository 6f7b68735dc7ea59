using System.Globalization;
using Bert4Rec.Configuration;
using Bert4Rec.Tests.Cli;
using Bert4Rec.Tuning;

namespace Bert4Rec.Tests.Tuning;

/// <summary>What may be drawn, what is drawn, and how a file that is wrong is told of.</summary>
public sealed class SearchSpaceTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Draws_lie_in_the_space_depend_on_the_seed_and_are_all_different()
    {
        SearchSpace space = Load(
            """
            learning_rate: {log_uniform: [0.0001, 0.01]}
            hidden_dropout_prob: {uniform: [0, 0.5]}
            train_batch_size: {int: [10, 12]}
            n_layers: [1, 2]
            """);
        IReadOnlyList<string>[] draws = [.. space.Draw(7).Take(200)];
        Assert.Equal(draws, space.Draw(7).Take(200));
        Assert.NotEqual(draws, space.Draw(8).Take(200));
        Assert.Equal(200, draws.Select(draw => string.Join(' ', draw)).Distinct().Count());

        double[] rates = Values(0), dropouts = Values(1), batches = Values(2), layers = Values(3);
        Assert.All(rates, rate => Assert.InRange(rate, 0.0001, 0.01));
        Assert.All(dropouts, dropout => Assert.InRange(dropout, 0, 0.5));
        Assert.Equal([10.0, 11, 12], batches.Distinct().Order());
        Assert.Equal([1.0, 2], layers.Distinct().Order());
        // Uniform in its logarithm: about half lie below the geometric mean, of a plain uniform a tenth would.
        Assert.InRange(rates.Count(rate => rate < 0.001), 70, 130);
        Assert.InRange(dropouts.Count(dropout => dropout < 0.25), 70, 130);

        double[] Values(int key) =>
            [.. draws.Select(draw => double.Parse(draw[key][(draw[key].IndexOf('=') + 1)..], CultureInfo.InvariantCulture))];
    }

    [Fact]
    public void A_small_space_is_drawn_as_a_whole_and_no_more()
    {
        SearchSpace space = Load("n_layers: [1, 2, 3]\nclip_grad_norm: [~, 5]\n");
        Assert.Equal(6, space.Draw(1).Count());
        space.Check(RunConfig.Load([], []), 100);
    }

    [Theory]
    [InlineData("cloze", true)]
    [InlineData("next_item", false)]
    public void The_default_space_goes_with_the_objective_and_the_settings(string objective, bool hasMask)
    {
        var config = RunConfig.Load([], [$"objective={objective}", "hidden_size=96", "n_heads=3"]);
        SearchSpace space = SearchSpace.Default(config);
        Assert.Equal(hasMask, space.ToString().Contains("mask_ratio", StringComparison.Ordinal));
        // Three heads divide neither 64 nor 128.
        Assert.DoesNotContain("hidden_size", space.ToString());
        space.Check(config, 100);
        SearchSpace.Default(RunConfig.Load([], [])).Check(RunConfig.Load([], []), 100);
    }

    [Theory]
    [InlineData("", "1: no key to tune; write lines like 'learning_rate: {log_uniform: [0.0003, 0.003]}'")]
    [InlineData("# nothing\n", "1: no key to tune")]
    [InlineData("{}", "1: no key to tune")]
    [InlineData("n_layers: [1]\nlerning_rate: [0.1]", "2: no such key to tune: 'lerning_rate'; the nearest known key is learning_rate")]
    [InlineData("LIST_SUFFIX: [a, b]", "1: no such key to tune: 'LIST_SUFFIX'")]
    [InlineData("epochs: [10, 20]", "1: epochs cannot be tuned: all trials have the same data, epochs and evaluation")]
    [InlineData("n_layers: 2", "1: n_layers must be a list of choices, or one of {uniform: [a, b]}")]
    [InlineData("n_layers: []", "1: n_layers is an empty list")]
    [InlineData("n_layers: [1]\nobjective: [cloze, auto]", "2: objective in a search space must be cloze or next_item, not 'auto'")]
    [InlineData("objective: [~]", "1: objective in a search space must be cloze or next_item, not '~'")]
    [InlineData("n_layers: {}", "1: n_layers must be a list of choices")]
    [InlineData("n_layers: [[1, 2]]", "1: n_layers: a choice is a single value")]
    [InlineData("n_layers: [1, two]", "1: n_layers must be a whole number from 1 to 1000, not 'two'")]
    [InlineData("learning_rate: {normal: [1, 2]}", "1: the range of learning_rate must be uniform or log_uniform or int, not 'normal'")]
    [InlineData("learning_rate: {uniform: 1}", "1: learning_rate: uniform must be a list of two numbers, the smaller one first")]
    [InlineData("learning_rate:\n  uniform: [0.1, x]", "2: learning_rate: uniform must be a number, not 'x'")]
    [InlineData("learning_rate: {uniform: [0.2, 0.1]}", "1: learning_rate: uniform: 0.2 is not below 0.1")]
    [InlineData("learning_rate: {log_uniform: [0, 0.1]}", "1: learning_rate: log_uniform must be a number above 0, not '0'")]
    [InlineData("n_layers: {int: [1, 2.5]}", "1: n_layers: int must be a whole number of at least 0, not '2.5'")]
    [InlineData("hidden_dropout_prob: {uniform: [0.5, 1.5]}", "1: hidden_dropout_prob must be a probability of at least 0 and below 1")]
    [InlineData("n_layers: {uniform: [1, 3]}", "1: n_layers is a whole number: write int in place of uniform")]
    [InlineData("n_heads: [1, 2]\nhidden_size: [32, 33]", "2: hidden_size 33 is not divisible by n_heads 2")]
    [InlineData("n_layers: [1", "2: not YAML")]
    public void A_wrong_space_is_told_by_its_line_before_anything_is_trained(string text, string message)
    {
        string file = _folder.Write("space.yaml", text), output = Path.Combine(_folder.Path, "out");
        foreach (string[] command in new[]
        {
            new[] { "tune", "--trials", "9", "--set", "dataset=none" },
            ["run", "--tune", "9", "--set", "event_log=none.csv", "--set", "objective=cloze"],
        })
        {
            CommandLine.Outcome outcome = CommandLine.Run([.. command, "--space", file, "--output", output]);
            Assert.Equal(2, outcome.ExitCode);
            Assert.StartsWith($"error: {file}:{message}", outcome.Error);
            Assert.False(Directory.Exists(output));
        }
    }

    /// <summary>What the config reads as a whole number is drawn with int, and nothing else is.</summary>
    [Fact]
    public void Whole_numbers_want_int()
    {
        foreach (string key in ConfigKeys.All.Select(key => key.Name))
        {
            string? loaded = MessageOf(() => RunConfig.Load([], [$"{key}=2.5"]));
            string? drawn = MessageOf(() => SearchSpace.Load(_folder.Write("whole.yaml", $"{key}: {{uniform: [2, 8]}}")));
            // Keys that all trials have in common cannot be drawn at all.
            if (drawn is null || drawn.Contains("write int"))
                Assert.Equal(loaded?.Contains("whole number") == true, drawn is not null);
        }

        static string? MessageOf(Func<object> act) => (Record.Exception(act) as InputException)?.Message;
    }

    [Fact]
    public void An_objective_that_is_compared_first_cannot_be_drawn()
    {
        string file = _folder.Write("space.yaml", "n_layers: [1, 2]\nobjective: [next_item, cloze]");
        string output = Path.Combine(_folder.Path, "out");
        string[] command = ["tune", "--trials", "9", "--set", "dataset=none", "--space", file, "--output", output];
        foreach (string[] open in new string[][] { [], ["--set", "objective=auto"] })
        {
            CommandLine.Outcome outcome = CommandLine.Run([.. command, .. open]);
            Assert.Equal(
                (
                    2,
                    $"error: {file}:2: both objectives are compared before anything is drawn; set objective, or leave it out of the "
                        + "space\n"),
                (outcome.ExitCode, outcome.Error));
        }
        Assert.Empty(TuneSession.Check(RunConfig.Load([], ["objective=cloze"]), new(TuneBudget.OfTrials(5), SearchSpace.Load(file))));
    }

    [Fact]
    public void A_space_that_cannot_be_read_is_no_wrong_command_line()
    {
        CommandLine.Outcome outcome = CommandLine.Run("tune", "--set", "dataset=none", "--space", _folder.Path);
        Assert.Equal(
            (1, $"error: {_folder.Path}: a folder; give a YAML file with what to draw from\n"), (outcome.ExitCode, outcome.Error));
    }

    [Theory]
    [InlineData("adam_beta2: {uniform: [0.999, 0.9999]}", 6, 500)]
    [InlineData("adam_beta2: {log_uniform: [0.999, 0.9999]}", 6, 500)]
    [InlineData("stopping_margin: {uniform: [0.5, 0.51]}", 5, 500)]
    [InlineData("learning_rate: {log_uniform: [0.0003, 0.003]}", 3, 500)]
    [InlineData("hidden_dropout_prob: {uniform: [0.1, 0.3]}", 3, 190)]
    [InlineData("clip_grad_norm: {uniform: [1, 10]}", 3, 500)]
    public void A_range_has_as_many_digits_as_it_takes_to_have_steps(string text, int digits, int steps)
    {
        string[] values = [.. Load(text).Draw(7).Take(2000).Select(draw => draw[0][(draw[0].IndexOf('=') + 1)..])];
        Assert.InRange(values.Length, steps, 2000);
        Assert.Equal(digits, values.Max(value => value.Replace(".", "").TrimStart('0').Length));
    }

    [Theory]
    [InlineData("n_layers: [1, 2]\nmask_ratio: [0.2, 0.3]", "objective=next_item", "2: mask_ratio has no effect: only the cloze objective")]
    [InlineData("n_layers: [1, 2]\ninitializer_range: [0.1, 0.3]", "initializer=xavier", "2: initializer_range has no effect: the init")]
    [InlineData("n_layers: [1, 2]\nmask_ratio: [0.2, 0.3]", "objective=cloze", null)]
    [InlineData("n_layers: [1, 2]\nmask_ratio: [0.2, 0.3]", "objective=auto", null)]
    [InlineData("objective: [cloze, next_item]\nmask_ratio: [0.2, 0.3]", "objective=next_item", null)]
    public void A_key_without_effect_is_warned_of_once(string text, string setting, string? warning)
    {
        IReadOnlyList<string> warnings = TuneSession.Check(RunConfig.Load([], [setting]), new(TuneBudget.OfTrials(5), Load(text)));
        if (warning is null)
            Assert.Empty(warnings);
        else
            Assert.StartsWith($"{Path.Combine(_folder.Path, "space.yaml")}:{warning}", Assert.Single(warnings));
    }

    [Fact]
    public void A_space_of_fewer_settings_than_trials_is_warned_of()
    {
        var tuning = new TuneOptions(TuneBudget.OfTrials(9), Load("n_layers: [1, 2, 3]"));
        Assert.Equal(
            ["the search space has no more than 3 different settings: 4 trials, not the 9 asked for"],
            TuneSession.Check(RunConfig.Load([], ["objective=cloze"]), tuning));
        Assert.Empty(TuneSession.Check(RunConfig.Load([], ["objective=cloze"]), tuning with { Budget = TuneBudget.OfTrials(4) }));
        Assert.Empty(TuneSession.Check(RunConfig.Load([], ["objective=cloze"]), tuning with { Budget = TuneBudget.Default }));
    }

    [Fact]
    public void Without_a_validation_part_nothing_is_begun()
    {
        string output = Path.Combine(_folder.Path, "out");
        CommandLine.Outcome outcome = CommandLine.Run(
            "tune", "--trials", "9", "--set", "dataset=none", "--set", "eval_args={split: {LS: test_only}}", "--output", output);
        Assert.Equal(
            (
                1,
                "error: --set eval_args={split: {LS: test_only}}: no validation to choose by: the split has no validation part; give "
                    + "another eval_args.split\n"),
            (outcome.ExitCode, outcome.Error));
        Assert.False(Directory.Exists(output));
    }

    private SearchSpace Load(string text) => SearchSpace.Load(_folder.Write("space.yaml", text));
}
