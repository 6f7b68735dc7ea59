using System.Globalization;
using System.IO.Compression;
using System.Text;
using Bert4Rec.Configuration;
using Bert4Rec.EventLog;

namespace Bert4Rec.Tests.EventLog;

/// <summary>Event logs of a few rows.</summary>
internal static class SmallLog
{
    public const string Header = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session";

    /// <summary>A row; every part can be changed.</summary>
    public static string Row(
        string time = "2019-10-01 00:00:00 UTC",
        string type = "purchase",
        string product = "1",
        string categoryId = "20",
        string category = "a.b",
        string brand = "acme",
        string price = "1.50",
        string user = "7",
        string session = "s1") => string.Join(',', time, type, product, categoryId, category, brand, price, user, session);

    public static string Text(params string[] rows) => string.Join('\n', [Header, .. rows]) + "\n";

    public static byte[] Gzip(string text)
    {
        using var packed = new MemoryStream();
        using (var gzip = new GZipStream(packed, CompressionLevel.Fastest))
            gzip.Write(Encoding.UTF8.GetBytes(text));
        return packed.ToArray();
    }

    /// <summary>A log of a seed: few sessions and times, so that ties and duplicates are many, with missing values among them.</summary>
    public static string Random(int seed, int rows)
    {
        var random = new Random(seed);
        string[] types = ["view", "cart", "purchase", "remove_from_cart"];
        return Text([.. Enumerable.Range(0, rows).Select(_ => Row(
            time: $"2019-10-{random.Next(1, 4):00} 0{random.Next(3)}:00:0{random.Next(3)} UTC",
            type: types[random.Next(types.Length)],
            product: random.Next(1, 30).ToString(CultureInfo.InvariantCulture),
            brand: random.Next(5) == 0 ? "" : "acme",
            category: random.Next(5) == 0 ? "" : "a.b",
            price: $"{random.Next(3)}.{random.Next(10)}0",
            user: random.Next(1, 9).ToString(CultureInfo.InvariantCulture),
            session: $"session-{random.Next(6)}"))]);
    }

    /// <summary>Every value of every row, columns separated by '|'.</summary>
    public static (List<string> Rows, ReadSummary Summary) ReadAll(IReadOnlyList<string> inputs, double maxBadRows = 1, int threads = 2)
    {
        var rows = new List<string>();
        ReadSummary summary = EventLogReader.Read(
            inputs,
            new ReadOptions { MaxBadRows = maxBadRows, Threads = threads },
            () => new TextBlock(),
            block => rows.AddRange(block.Rows));
        return (rows, summary);
    }

    private sealed class TextBlock : IRowBlock
    {
        public List<string> Rows { get; } = [];

        public string? Add(EventRow row)
        {
            var values = new List<string>();
            foreach (EventColumn column in Enum.GetValues<EventColumn>())
                values.Add(Encoding.UTF8.GetString(row[column]));
            Rows.Add(string.Join('|', values));
            return null;
        }

        public void Clear() => Rows.Clear();
    }
}
