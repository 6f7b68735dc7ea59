using System.Diagnostics;
using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.EventLog;
using Bert4Rec.Tests.EventLog;
using Xunit.Abstractions;

namespace Bert4Rec.Tests.Faults;

/// <summary>Archives cut, damaged, joined and padded, and bombs: each is read as what was packed, or refused by name.</summary>
public sealed class ArchiveTests(ITestOutputHelper report) : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Of_atomic_files()
    {
        const string Header = "user_id:token\titem_id:token\ttimestamp:float\n";
        string[] rows = [.. Enumerable.Range(0, 300).Select(i => $"u{i % 40}\tp{(i * 7) % 30}\t{i}\n")];
        var config = RunConfig.Load([], [$"data_path={_folder.Path}", "dataset=a"]);
        Try("a.inter.gz", Header, rows, () => DatasetLoader.Load(config).Checksum());
    }

    [Fact]
    public void Of_event_logs()
    {
        string[] lines = SmallLog.Random(seed: 1, rows: 300).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        string path = Path.Combine(_folder.Path, "a.csv.gz");
        Try("a.csv.gz", $"{lines[0]}\n", [.. lines[1..].Select(line => $"{line}\n")], () =>
        {
            var options = new CleanOptions { Events = EventTypes.All, MaxBadRows = 1 };
            CleanSummary summary = EventLogCleaner.Clean([path], Path.Combine(_folder.Path, "out.csv"), options);
            return $"{summary.RowsRead} {summary.Sha256}";
        });
    }

    [Fact]
    public void Bombs_end_soon()
    {
        byte[] zeros = SmallLog.Gzip(new string('\0', 1 << 24));
        var clock = Stopwatch.StartNew();
        string path = _folder.Write("a.inter.gz", [.. Enumerable.Repeat(zeros, 1000).SelectMany(each => each)]);
        var config = RunConfig.Load([], [$"data_path={_folder.Path}", "dataset=a"]);
        Assert.StartsWith($"{path}:1: ", Assert.Throws<InputException>(() => DatasetLoader.Load(config)).Message);
        path = _folder.Write("b.csv.gz", File.ReadAllBytes(path));
        var failure = Assert.Throws<InputException>(() => EventLogAnalysis.Analyze([path], new AnalyzeOptions()));
        Assert.StartsWith($"{path}:1: ", failure.Message);
        Assert.InRange(clock.Elapsed.TotalSeconds, 0, 60);
        report.WriteLine("2 bombs of 16 GB refused at their first line");
    }

    private void Try(string name, string header, string[] rows, Func<string> read)
    {
        var random = new Random(Campaign.Seed);
        int refused = 0, same = 0;
        byte[] first = SmallLog.Gzip(header + string.Concat(rows[..100])), second = SmallLog.Gzip(string.Concat(rows[100..]));
        string path = _folder.Write(name, [.. first, .. second]);
        string expected = read();
        for (int i = 0; i < Campaign.Cases; i++)
        {
            byte[] good = random.Next(2) == 0 ? [.. first, .. second] : SmallLog.Gzip(header + string.Concat(rows));
            // Cut right behind its first member it would be a whole archive, of fewer rows.
            int at = random.Next(2, good.Length);
            at += at == first.Length ? 1 : 0;
            byte[] bad = [.. good];
            bad[at] ^= (byte)(1 << random.Next(8));
            byte[] bytes = random.Next(6) switch
            {
                0 => good[..at],
                1 => [.. good, .. good[..random.Next(1, good.Length)].Reverse()],
                2 => [.. good, .. second[..random.Next(1, second.Length - 1)]],
                3 => [.. good, .. new byte[random.Next(1, 9000)]],
                4 => [.. good[..^8], .. Random(random, 8)],
                _ => bad,
            };
            _folder.Write(name, bytes);
            try
            {
                Assert.True(expected == read(), $"seed {Campaign.Seed}, case {i}: another result");
                same++;
            }
            catch (InputException e)
            {
                Assert.True(e.Message.Contains(path, StringComparison.Ordinal), $"seed {Campaign.Seed}, case {i}: {e.Message}");
                refused++;
            }
        }
        report.WriteLine(
            $"{name}: {Campaign.Cases} archives: {refused} refused by name, {same} read as packed, 0 as something else "
            + $"(seed {Campaign.Seed})");
    }

    private static byte[] Random(Random random, int length)
    {
        byte[] bytes = new byte[length];
        random.NextBytes(bytes);
        return bytes;
    }
}
