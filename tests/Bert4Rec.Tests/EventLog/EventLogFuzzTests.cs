using System.Text;
using Bert4Rec.Configuration;
using Bert4Rec.EventLog;

namespace Bert4Rec.Tests.EventLog;

/// <summary>Damaged logs: every one is cleaned, its rows accounted for, or refused with the file and the line.</summary>
public sealed class EventLogFuzzTests : IDisposable
{
    private static readonly int CasesOfASeed = Fuzz.Cases / 4;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void A_damaged_log_is_cleaned_or_refused_with_its_line(int seed)
    {
        var random = new Random(seed);
        int refused = 0;
        for (int i = 0; i < CasesOfASeed; i++)
        {
            byte[] log = Fuzz.Damage(Encoding.UTF8.GetBytes(SmallLog.Random(seed + i, 1 + random.Next(40))), random);
            string path = _folder.Write("a.csv", log), output = Path.Combine(_folder.Path, "out.csv");
            var options = new CleanOptions
            {
                Events = EventTypes.All,
                MaxBadRows = random.Next(2),
                SortMemory = random.Next(2) == 0 ? 1024 : 1 << 20,
                KeepNulls = random.Next(2) == 0 ? new HashSet<EventColumn>() : [EventColumn.Brand, EventColumn.UserSession],
            };
            try
            {
                // In memory: what makes a file safe against power cuts would take most of the test's time.
                using var cleaned = new MemoryStream();
                CleanSummary summary = EventLogCleaner.Clean([path], cleaned, output, options, progress: null, CancellationToken.None);
                File.WriteAllBytes(output, cleaned.ToArray());

                Assert.Equal(summary.RowsRead, summary.RowsKept + summary.Dropped.Values.Sum());
                Assert.Equal(Math.Min(10, summary.Read.BadRows), summary.Read.Examples.Count);
                int lines = log.Count(b => b == '\n') + 1;
                Assert.All(summary.Read.Examples, row => Assert.InRange(row.Line, 2, lines));
                // What it wrote is a clean log: every row of it can be read.
                Assert.Equal(summary.RowsKept, SmallLog.ReadAll([output], maxBadRows: 0).Rows.Count);
            }
            catch (InputException e)
            {
                Assert.Matches(@"a\.csv:\d+: ", e.Message);
                refused++;
            }
        }
        Assert.InRange(refused, 1, CasesOfASeed * 3 / 4);
    }
}
