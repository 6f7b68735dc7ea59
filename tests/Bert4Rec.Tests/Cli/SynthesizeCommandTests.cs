namespace Bert4Rec.Tests.Cli;

/// <summary>What synthesize says of sizes that cannot be: the options that were given.</summary>
public sealed class SynthesizeCommandTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(
        "--format csv --rows 300 --users 5000",
        "--rows 300, which makes 20 interactions: 5000 users have between 5000 and ")]
    [InlineData("--users 50 --interactions 49", "--interactions 49: 50 users have between 50 and ")]
    [InlineData("--users 2147483647", "out of memory; try fewer --users, --items or --interactions")]
    public void A_size_that_cannot_be_is_told_by_its_option(string options, string message)
    {
        CommandLine.Outcome outcome = CommandLine.Run(["synthesize", "-o", _folder.Path, .. options.Split(' ')]);
        Assert.Equal(1, outcome.ExitCode);
        Assert.StartsWith($"error: {message}", outcome.Error);
    }
}
