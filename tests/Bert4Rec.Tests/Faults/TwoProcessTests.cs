using System.Diagnostics;
using Bert4Rec.Tests.Training;
using Xunit.Abstractions;

namespace Bert4Rec.Tests.Faults;

/// <summary>Two processes that write to one folder at once: what is there in the end is all of one of them; the other is told so.</summary>
public sealed class TwoProcessTests(ITestOutputHelper report) : IDisposable
{
    private static readonly int s_pairs = Math.Max(1, Campaign.Cases / 50);

    private readonly SmallShop _shop = new();

    private string Output => Path.Combine(_shop.Folder, "out");

    public void Dispose() => _shop.Dispose();

    [Fact]
    public Task Train() => Race(Campaign.Train(_shop, Output), Campaign.Train(_shop, Output, "seed=8", "epochs=5"));

    [Fact]
    public Task Synthesize() => Race(Shop(seed: "1"), Shop(seed: "2"));

    private string[] Shop(string seed) =>
        ["synthesize", "--users", "3000", "--items", "300", "--interactions", "30000", "--output", Output, "--name", "s", "--seed", seed];

    private async Task Race(string[] first, string[] second)
    {
        var random = new Random(Campaign.Seed);
        SortedDictionary<string, byte[]>[] whole = [await Alone(first), await Alone(second)];
        int refused = 0, oneAfterTheOther = 0;
        for (int pair = 0; pair < s_pairs; pair++)
        {
            Directory.Delete(Output, recursive: true);
            using var one = Process.Start(Campaign.Command(first))!;
            await Task.Delay(random.Next(3) * random.Next(100));
            using var two = Process.Start(Campaign.Command(second))!;
            (int Exit, string Error)[] ends = await Task.WhenAll(Campaign.End(one), Campaign.End(two));
            string which = $"seed {Campaign.Seed}, pair {pair}: {string.Join("; ", ends)}";
            Assert.True(ends.Any(end => end.Exit == 0), which);
            foreach ((int exit, string error) in ends.Where(end => end.Exit != 0))
            {
                Assert.True(exit == 1 && error.Contains($"{Output}: another run is writing there"), which);
                refused++;
            }
            if (ends.All(end => end.Exit == 0))
                oneAfterTheOther++;
            string?[] differences = [.. whole.Where((_, i) => ends[i].Exit == 0).Select(files => Campaign.Difference(files, Output))];
            Assert.True(differences.Contains(null), $"{which}: {string.Join("; ", differences)}");
        }
        report.WriteLine(
            $"{first[0]}: {s_pairs} pairs in one folder: {refused} refused by its name, {oneAfterTheOther} one after the other, 0 mixed "
            + $"(seed {Campaign.Seed})");
    }

    private async Task<SortedDictionary<string, byte[]>> Alone(string[] command)
    {
        if (Directory.Exists(Output))
            Directory.Delete(Output, recursive: true);
        Assert.Equal((0, ""), await Campaign.Run(command));
        return Campaign.Files(Output);
    }
}
