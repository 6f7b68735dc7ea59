using System.Globalization;
using Bert4Rec.Kernels;
using Bert4Rec.Serialization;

namespace Bert4Rec.Data.Synthesis;

/// <summary>
/// Writes the purchase log of a <see cref="Shop"/> as atomic files, a customer at a time, so that the log's size is bound by the disk only.
/// The same parameters give the same bytes on every machine.
/// </summary>
internal static class ShopSynthesizer
{
    // More would make the bound no more certain (its standard error is below 0.003 then), only slower on a large catalogue.
    private const int OracleSamples = 25_000;

    internal const uint CustomerStream = 0x5409_0002;

    private const uint TimeStream = 0x5409_0003, PriceStream = 0x5409_0004;

    /// <summary>2019-10-01 00:00:00 UTC in Unix seconds.</summary>
    internal const long Opening = 1_569_888_000;

    private const int FirstMonth = 30 * 86_400, ShortestGap = 60, LongestGap = 3 * 86_400;

    /// <summary>The event type of a purchase.</summary>
    private const int Purchase = 5;

    /// <summary>Writes NAME.inter, NAME.item, NAME.user and oracle.json.</summary>
    /// <param name="directory">The folder of the files; made if it is not there.</param>
    /// <returns>What oracle.json says.</returns>
    /// <exception cref="InputException">A parameter that no shop can have.</exception>
    /// <exception cref="IOException">A file cannot be written.</exception>
    public static ShopOracle Write(ShopParameters parameters, string directory, string name, IProgress<ProgressUpdate>? progress = null)
    {
        var shop = new Shop(parameters);
        var oracle = new OracleMeasure(shop);
        int[] lengths = HistoryLengths.Draw(parameters.Users, parameters.Interactions, parameters.Seed);
        WriteLines($"{name}.item", "item_id:token\tcategory:token_seq\tbrand:token\tprice:float", writer =>
            WriteItems(shop, parameters, writer));
        WriteLines($"{name}.user", "user_id:token", writer =>
        {
            for (int user = 1; user <= parameters.Users; user++)
                writer.Write($"u{user}\n");
        });
        WriteLines($"{name}.inter", "user_id:token\titem_id:token\ttimestamp:float\tevent_type:float", writer =>
            WriteInteractions(shop, parameters, lengths, oracle, writer, progress));
        return WriteOracle(oracle.Result(parameters), directory);

        void WriteLines(string file, string header, Action<StreamWriter> write) => OutputFile.Write(Path.Combine(directory, file), stream =>
        {
            using var writer = new StreamWriter(stream, leaveOpen: true);
            writer.Write($"{header}\n");
            write(writer);
        });
    }

    /// <summary>Writes the same purchases as a raw event log, NAME.csv, and oracle.json; see <see cref="ShopLog"/>.</summary>
    /// <param name="directory">The folder of the files; made if it is not there.</param>
    /// <param name="name">The file's name, without .csv.</param>
    /// <returns>What oracle.json says: it holds for what cleaning and converting leave of the log.</returns>
    /// <exception cref="InputException">A parameter that no shop can have, or too few rows for the purchases.</exception>
    /// <exception cref="IOException">A file cannot be written.</exception>
    public static ShopOracle WriteLog(
        ShopParameters parameters, long rows, string directory, string name, IProgress<ProgressUpdate>? progress = null)
    {
        var shop = new Shop(parameters);
        int[] lengths = HistoryLengths.Draw(parameters.Users, parameters.Interactions, parameters.Seed);
        var log = new ShopLog(shop, parameters, lengths, rows);
        OutputFile.Write(Path.Combine(directory, $"{name}.csv"), stream => log.Write(stream, progress));
        var oracle = new OracleMeasure(shop);
        var purchases = new int[lengths.Max()];
        var sample = new OracleSample(lengths);
        for (int user = 0; user < lengths.Length; user++)
        {
            if (!sample.Takes(lengths[user]))
                continue;
            var random = new PhiloxSequence(parameters.Seed, CustomerStream, (uint)user);
            for (int n = 0; n < lengths[user]; n++)
                purchases[n] = shop.Draw(purchases.AsSpan(0, n), ref random);
            oracle.Add(purchases.AsSpan(0, lengths[user] - 1), purchases[lengths[user] - 1]);
            progress?.Report(new("measuring the best possible", user + 1, lengths.Length, "users"));
        }
        return WriteOracle(oracle.Result(parameters), directory);
    }

    private static ShopOracle WriteOracle(ShopOracle oracle, string directory)
    {
        OutputFile.WriteText(Path.Combine(directory, "oracle.json"), SynthesisJson.Records.Indented(oracle) + "\n");
        return oracle;
    }

    /// <summary>Which users' last purchases are measured: evenly over all of them, where they are too many to measure each.</summary>
    private struct OracleSample(int[] lengths)
    {
        // Leave-one-out tests the last event of those with at least two before it.
        private readonly int _testUsers = lengths.Count(n => n >= 3);
        private int _tested;
        private int _measured;

        public bool Takes(int length)
        {
            if (length < 3)
                return false;
            int due = (int)Math.Min(++_tested, (long)_tested * OracleSamples / _testUsers);
            bool takes = due > _measured;
            _measured = due;
            return takes;
        }
    }

    /// <summary>An item's price in cents.</summary>
    internal static long PriceOf(Shop shop, ShopParameters parameters, int item)
    {
        var random = new PhiloxSequence(parameters.Seed, PriceStream, (uint)item);
        return ShopNames.TypicalCents(shop.CategoryOf(item)) * (50 + random.NextBelow(101)) / 100;
    }

    private static void WriteItems(Shop shop, ShopParameters parameters, StreamWriter writer)
    {
        for (int item = 0; item < shop.ItemCount; item++)
        {
            int category = shop.CategoryOf(item);
            long cents = PriceOf(shop, parameters, item);
            writer.Write(string.Create(
                CultureInfo.InvariantCulture,
                $"p{item + 1}\t{ShopNames.Category(category)}\t{ShopNames.Brand(shop.BrandOf(item))}\t{cents / 100}.{cents % 100:00}\n"));
        }
    }

    private static void WriteInteractions(
        Shop shop, ShopParameters parameters, int[] lengths, OracleMeasure oracle, StreamWriter writer, IProgress<ProgressUpdate>? progress)
    {
        var purchases = new int[lengths.Max()];
        var sample = new OracleSample(lengths);
        long written = 0;
        for (int user = 0; user < lengths.Length; user++)
        {
            var random = new PhiloxSequence(parameters.Seed, CustomerStream, (uint)user);
            var times = new PhiloxSequence(parameters.Seed, TimeStream, (uint)user);
            long time = Opening + times.NextBelow(FirstMonth);
            int length = lengths[user];
            for (int n = 0; n < length; n++)
            {
                int item = purchases[n] = shop.Draw(purchases.AsSpan(0, n), ref random);
                writer.Write(string.Create(CultureInfo.InvariantCulture, $"u{user + 1}\tp{item + 1}\t{time}\t{Purchase}\n"));
                time += ShortestGap + times.NextBelow(LongestGap);
            }
            written += length;
            if (sample.Takes(length))
                oracle.Add(purchases.AsSpan(0, length - 1), purchases[length - 1]);
            progress?.Report(new("synthesizing purchases", written, parameters.Interactions, "rows"));
        }
    }
}
