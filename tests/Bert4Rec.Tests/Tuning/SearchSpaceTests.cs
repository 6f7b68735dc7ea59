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
    [InlineData("n_layers: []", "1: n_layers must be a list of choices")]
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
    [InlineData("n_layers: {uniform: [1, 3]}", "1: n_layers must be a whole number from 1 to 1000, not ")]
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

    private SearchSpace Load(string text) => SearchSpace.Load(_folder.Write("space.yaml", text));
}
