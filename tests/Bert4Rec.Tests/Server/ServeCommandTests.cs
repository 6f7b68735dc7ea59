using System.Diagnostics;
using Bert4Rec.Tests.Cli;
using Bert4Rec.Tests.Faults;

namespace Bert4Rec.Tests.Server;

/// <summary>The command as a process, and the signals that end it.</summary>
[Collection(ServerTests.Name)]
public sealed class ServeCommandTests(ServedShop shop)
{
    [SkippableTheory]
    [InlineData("TERM", 1, 143)]
    [InlineData("INT", 1, 130)]
    [InlineData("TERM", 2, 143)]
    public async Task A_signal_ends_it_and_a_second_one_at_once(string signal, int times, int expected)
    {
        Skip.If(OperatingSystem.IsWindows(), "there are no such signals");
        Skip.If(signal == "INT" && Campaign.IgnoresInterrupt, "SIGINT is ignored here, as in a job in the background");
        // With two signals, the first one's waiting would go on for an hour.
        using var process = Process.Start(Campaign.Command(
            "serve", "--model", shop.Model, "--urls", "http://127.0.0.1:0", "--drain", times == 1 ? "0" : "3600", "--device", "cpu"))!;
        try
        {
            string line = (await process.StandardError.ReadLineAsync())!;
            Assert.Matches("^serving http://127.0.0.1:[1-9][0-9]* with model [0-9a-f]{16} \\(40 items\\) of ", line);
            using var client = new HttpClient { BaseAddress = new(line.Split(' ')[1]) };
            Assert.True((await client.GetAsync("/healthz/ready")).IsSuccessStatusCode);
            for (int i = 0; i < times; i++)
            {
                using Process kill = Process.Start("kill", [$"-{signal}", process.Id.ToString()]);
                await kill.WaitForExitAsync();
                if (i == 0)
                    await process.StandardError.ReadLineAsync().WaitAsync(TimeSpan.FromSeconds(30));
            }
            await process.WaitForExitAsync().WaitAsync(TimeSpan.FromSeconds(30));
            Assert.Equal(expected, process.ExitCode);
            Assert.Equal(
                "stopping when all requests are answered; once more stops at once\n", await process.StandardError.ReadToEndAsync());
            Assert.Empty(await process.StandardOutput.ReadToEndAsync());
        }
        finally
        {
            process.Kill();
        }
    }

    [Fact]
    public void No_url_is_wrong_usage()
    {
        CommandLine.Outcome outcome = CommandLine.Run(["serve", "--model", shop.Model, "--urls", ";"]);
        Assert.Equal(2, outcome.ExitCode);
        Assert.Contains("--urls: no URL.", outcome.Error);
    }

    [Fact]
    public void What_cannot_be_served_is_a_line_and_1()
    {
        Uri taken = new(shop.Running.Url);
        foreach ((string[] options, string message) in new[]
        {
            (new[] { "--model", "no-such-model" }, "no-such-model"),
            (["--model", shop.Model, "--api-key-file", "no-such-file"], "no-such-file"),
            (["--model", shop.Model, "--urls", shop.Running.Url], $"http://127.0.0.1:{taken.Port}: .*address already in use"),
        })
        {
            CommandLine.Outcome outcome = CommandLine.Run(["serve", .. options]);
            Assert.Equal((1, ""), (outcome.ExitCode, outcome.Out));
            Assert.Matches($"^error: .*{message}.*\n$", outcome.Error);
        }
    }
}
