using System.Text.RegularExpressions;
using Bert4Rec.Cli.Output;
using Bert4Rec.Configuration;
using Bert4Rec.Serialization;
using Bert4Rec.Tests.Cli;
using Bert4Rec.Tests.Training;
using Bert4Rec.Training;
using Xunit.Abstractions;

namespace Bert4Rec.Tests.Faults;

/// <summary>
/// A file of a folder flipped, cut, doubled, or taken from another folder: a command then refuses that file by name, or gives the very same
/// result.
/// </summary>
public sealed partial class DamageTests(ITestOutputHelper report) : IDisposable
{
    private static readonly int s_cases = (Campaign.Cases + 2) / 3;

    private readonly SmallShop _shop = new();
    private readonly Random _random = new(Campaign.Seed);

    public void Dispose() => _shop.Dispose();

    [Fact]
    public void Evaluate() =>
        Try("evaluate", Finished("a"), Finished("b", "seed=8"), s_cases, folder => ["evaluate", folder, "--json", .. Campaign.Computing]);

    [Fact]
    public void Recommend()
    {
        string[] users = ["u3\tp1 p2", "u4\tp3"];
        File.WriteAllLines(Path.Combine(_shop.Folder, "histories"), users);
        Try("recommend", Finished("a", "refit=true"), Finished("b", "refit=true", "seed=8"), s_cases, folder =>
            ["recommend", "--model", folder, "--histories", Path.Combine(_shop.Folder, "histories"), "--json", .. Campaign.Computing]);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Resume(bool inRefit)
    {
        string whole = Finished("whole", "refit=true");
        Try(
            $"train --resume{(inRefit ? ", in the refit" : "")}",
            Begun("a", "seed=7", inRefit),
            Begun("b", "seed=8", inRefit),
            s_cases / 2,
            Campaign.Resume,
            folder => Campaign.Difference(Campaign.Files(whole), folder));
    }

    /// <summary>A run repairs most: what is not as it wrote it is done again.</summary>
    [Fact]
    public void Run()
    {
        string folder = Path.Combine(_shop.Folder, "run"), other = Path.Combine(_shop.Folder, "other");
        string[] command = ["run", "--input", Campaign.WriteLog(_shop), .. Campaign.Settings, .. Campaign.Computing];
        Assert.Equal(0, CommandLine.Run([.. command, "--output", folder]).ExitCode);
        Assert.Equal(0, CommandLine.Run([.. command, "--output", other, "--seed", "8"]).ExitCode);
        var whole = Campaign.Files(folder);
        // Nothing reads these again, unless the training goes on: they may stay as they are.
        string[] unread = ["checkpoint.safetensors", "metrics.jsonl", TensorBoardWriter.FileName];
        unread = [.. unread, .. unread.Select(name => Path.Combine("refit", name))];
        foreach (string file in unread)
            whole.Remove(file);
        string kept = Path.Combine(_shop.Folder, "kept");
        Directory.Move(folder, kept);
        Try("run", kept, other, Math.Max(6, Campaign.Cases / 10), _ => [.. command, "--output", folder], _ =>
        {
            foreach (string file in unread)
                File.Delete(Path.Combine(folder, file));
            return Campaign.Difference(whole, folder);
        }, folder);
    }

    private string Finished(string name, params string[] settings)
    {
        string folder = Path.Combine(_shop.Folder, name);
        Assert.Equal(0, CommandLine.Run(Campaign.Train(_shop, folder, settings)).ExitCode);
        return folder;
    }

    /// <summary>Stopped after the third of six epochs, or after the second of the refit.</summary>
    private string Begun(string name, string seed, bool inRefit)
    {
        string folder = Path.Combine(_shop.Folder, name);
        string[] arguments = Campaign.Train(_shop, folder, seed, "refit=true");
        var pairs = arguments.Zip(arguments.Skip(1));
        var config = RunConfig.Load([], [.. pairs.Where(pair => pair.First == "--set").Select(pair => pair.Second)]);
        if (inRefit)
        {
            RefitTests.StopInRefit(config, folder, epoch: 2, threads: 1);
            return folder;
        }
        using var stop = new CancellationTokenSource();
        Assert.ThrowsAny<OperationCanceledException>(() => TrainingSession.Train(
            config, new RunOptions(folder, "cpu", 1, Resume: false), null, null, epoch =>
            {
                if (epoch.Epoch == 3)
                    stop.Cancel();
            }, stop.Token));
        return folder;
    }

    private void Try(
        string name,
        string good,
        string other,
        int cases,
        Func<string, string[]> command,
        Func<string, string?>? difference = null,
        string? place = null)
    {
        place ??= Path.Combine(_shop.Folder, "damaged");
        string[] files = [.. Campaign.Files(good).Keys];
        CommandLine.Outcome? expected = difference is null ? CommandLine.Run(command(good)) : null;
        int refused = 0, same = 0, untouched = 0;
        for (int i = 0; i < cases; i++)
        {
            if (Directory.Exists(place))
                Directory.Delete(place, recursive: true);
            Campaign.Copy(good, place);
            string file = files[i % files.Length], path = Path.Combine(place, file);
            string what = Damage(path, Path.Combine(other, file));
            if (File.Exists(path) && File.ReadAllBytes(path).AsSpan().SequenceEqual(File.ReadAllBytes(Path.Combine(good, file))))
                untouched++;
            CommandLine.Outcome outcome = CommandLine.Run(command(place));
            string which = $"{name}, seed {Campaign.Seed}, case {i}: {file} {what}: {outcome}";
            if (outcome.ExitCode == 0)
            {
                string? differs = expected is null ? difference!(place) : Result(outcome) == Result(expected) ? null : "another result";
                Assert.True(differs is null, $"{differs}: {which}");
                same++;
                continue;
            }
            string[] errors = [.. outcome.Error.Split('\n').Where(line => line.StartsWith("error: ", StringComparison.Ordinal))];
            Assert.True(outcome.ExitCode is ExitCodes.Failed or ExitCodes.WrongUsage && errors.Length == 1, which);
            Assert.True(errors[0].Contains(Path.GetFileName(file)) && !errors[0].Contains("should not happen"), which);
            refused++;
        }
        report.WriteLine(
            $"{name}: {cases} damaged folders: {refused} refused by the file's name, {same} with the same result "
            + $"({untouched} of them not altered), 0 with another (seed {Campaign.Seed})");
    }

    /// <summary>What was written to standard output, without times; of a training its files are compared instead.</summary>
    private static string Result(CommandLine.Outcome outcome) => Seconds().Replace(outcome.Out, "");

    /// <summary>Does something to a file.</summary>
    /// <returns>What.</returns>
    private string Damage(string path, string other)
    {
        byte[] bytes = File.ReadAllBytes(path);
        int at = _random.Next(bytes.Length), kind = _random.Next(8);
        switch (kind)
        {
            case 0 or 1 or 2:
                bytes[at] ^= (byte)(1 << _random.Next(8));
                File.WriteAllBytes(path, bytes);
                return $"with a bit of byte {at} flipped";
            case 3 or 4:
                File.WriteAllBytes(path, bytes[..at]);
                return $"cut at byte {at}";
            case 5:
                int end = Math.Min(bytes.Length, at + _random.Next(1, 200));
                File.WriteAllBytes(path, [.. bytes[..end], .. bytes[at..]]);
                return $"with bytes {at} to {end} doubled";
            case 6:
                int line = bytes.AsSpan(at).IndexOf((byte)'\n'), next = line < 0 ? -1 : bytes.AsSpan(at + line + 1).IndexOf((byte)'\n');
                if (next < 0)
                    goto default;
                File.WriteAllBytes(path, [.. bytes[..(at + line + 1)], .. bytes[(at + line + next + 2)..]]);
                return $"without the line after byte {at}";
            default:
                File.Copy(other, path, overwrite: true);
                return "of another folder";
        }
    }

    [GeneratedRegex("\"seconds\":[^,]*,")]
    private static partial Regex Seconds();
}
