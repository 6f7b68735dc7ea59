using System.Text;
using Bert4Rec.EventLog;

namespace Bert4Rec.Tests.EventLog;

/// <summary>Damaged logs: every one is cleaned, its rows accounted for, or refused with the file and the line.</summary>
public sealed class EventLogFuzzTests : IDisposable
{
    private const int CasesOfASeed = 750;

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
            byte[] log = Damage(Encoding.UTF8.GetBytes(SmallLog.Random(seed + i, 1 + random.Next(40))), random);
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
                CleanAccount account = EventLogCleaner.Clean([path], cleaned, output, options, progress: null, CancellationToken.None);
                File.WriteAllBytes(output, cleaned.ToArray());

                Assert.Equal(account.RowsRead, account.RowsKept + account.Dropped.Values.Sum());
                Assert.Equal(Math.Min(10, account.Read.BadRows), account.Read.Examples.Count);
                int lines = log.Count(b => b == '\n') + 1;
                Assert.All(account.Read.Examples, row => Assert.InRange(row.Line, 2, lines));
                // What it wrote is a clean log: every row of it can be read.
                Assert.Equal(account.RowsKept, SmallLog.ReadAll([output], maxBadRows: 0).Rows.Count);
            }
            catch (InputException e)
            {
                Assert.Matches(@"a\.csv:\d+: ", e.Message);
                refused++;
            }
        }
        Assert.InRange(refused, 1, CasesOfASeed * 3 / 4);
    }

    private static byte[] Damage(byte[] log, Random random)
    {
        var bytes = new List<byte>(log);
        for (int times = random.Next(1, 4); times > 0; times--)
        {
            int at = random.Next(bytes.Count);
            switch (random.Next(11))
            {
                case 0:
                    bytes[at] ^= (byte)(1 << random.Next(8));
                    break;
                case 1:
                    bytes[at] = (byte)random.Next(256);
                    break;
                case 2:
                    bytes.RemoveRange(at, bytes.Count - at);
                    break;
                case 3:
                    bytes.RemoveRange(at, Math.Min(random.Next(200), bytes.Count - at));
                    break;
                case 4:
                    bytes.Insert(at, (byte)'"');
                    break;
                case 5:
                    bytes.InsertRange(at, Enumerable.Repeat((byte)"x,\"\n\0"[random.Next(5)], random.Next(20_000)));
                    break;
                case 6:
                    // Now and then a line longer than a block.
                    if (random.Next(20) == 0)
                        bytes.InsertRange(at, Enumerable.Repeat((byte)'y', EventLogReader.BlockSize + random.Next(100_000)));
                    break;
                case 7:
                    bytes.InsertRange(at, Encoding.Unicode.GetBytes("größe"));
                    break;
                case 8:
                    bytes.InsertRange(at, new byte[] { 0xEF, 0xBB, 0xBF });
                    break;
                case 9:
                    bytes = [.. Encoding.Unicode.GetPreamble(), .. Encoding.Unicode.GetBytes(Encoding.Latin1.GetString([.. bytes]))];
                    break;
                default:
                    bytes.InsertRange(at, bytes.GetRange(0, Math.Min(bytes.Count, random.Next(300))));
                    break;
            }
            if (bytes.Count == 0)
                bytes.Add((byte)'\n');
        }
        return [.. bytes];
    }
}
