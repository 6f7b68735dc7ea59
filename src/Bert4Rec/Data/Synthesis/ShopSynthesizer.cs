using System.Globalization;
using System.Text.Json;
using Bert4Rec.Serialization;

namespace Bert4Rec.Data.Synthesis;

/// <summary>
/// Writes the purchase log of a <see cref="Shop"/> as atomic files, a customer at a time, so that the log's size is bound by the disk only.
/// The same parameters give the same bytes on every machine.
/// </summary>
public static class ShopSynthesizer
{
    // More would make the bound no more certain (its standard error is below 0.003 then), only slower on a large catalogue.
    private const int OracleSamples = 25_000;

    private const uint CustomerStream = 0x5409_0002, TimeStream = 0x5409_0003, PriceStream = 0x5409_0004;

    /// <summary>2019-10-01 00:00:00 UTC in Unix seconds.</summary>
    private const long Opening = 1_569_888_000;

    private const int FirstMonth = 30 * 86_400, ShortestGap = 60, LongestGap = 3 * 86_400;

    /// <summary>The event type of a purchase.</summary>
    private const int Purchase = 5;

    private static readonly JsonSerializerOptions OracleFormat = new()
    {
        WriteIndented = true,
        NewLine = "\n",
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
    };

    /// <summary>Writes NAME.inter, NAME.item, NAME.user and oracle.json.</summary>
    /// <param name="parameters">The shop.</param>
    /// <param name="directory">Where to; made if it is not there.</param>
    /// <param name="name">The dataset's name.</param>
    /// <param name="progress">Told now and then.</param>
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
        var result = oracle.Result(parameters);
        OutputFile.WriteText(Path.Combine(directory, "oracle.json"), JsonSerializer.Serialize(result, OracleFormat) + "\n");
        return result;

        void WriteLines(string file, string header, Action<StreamWriter> write) => OutputFile.Write(Path.Combine(directory, file), stream =>
        {
            using var writer = new StreamWriter(stream, leaveOpen: true);
            writer.Write($"{header}\n");
            write(writer);
        });
    }

    private static void WriteItems(Shop shop, ShopParameters parameters, StreamWriter writer)
    {
        for (int item = 0; item < shop.ItemCount; item++)
        {
            int category = shop.CategoryOf(item);
            var random = new PhiloxSequence(parameters.Seed, PriceStream, (uint)item);
            long cents = ShopNames.TypicalCents(category) * (50 + random.NextBelow(101)) / 100;
            writer.Write(string.Create(
                CultureInfo.InvariantCulture,
                $"p{item + 1}\t{ShopNames.Category(category)}\t{ShopNames.Brand(shop.BrandOf(item))}\t{cents / 100}.{cents % 100:00}\n"));
        }
    }

    private static void WriteInteractions(
        Shop shop, ShopParameters parameters, int[] lengths, OracleMeasure oracle, StreamWriter writer, IProgress<ProgressUpdate>? progress)
    {
        var purchases = new int[lengths.Max()];

        // Leave-one-out tests the last event of those with at least two before it.
        int testUsers = lengths.Count(n => n >= 3), tested = 0, measured = 0;
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
            if (length >= 3)
            {
                // Evenly over all of them, where they are too many to measure each.
                int due = (int)Math.Min(++tested, (long)tested * OracleSamples / testUsers);
                if (due > measured)
                {
                    oracle.Add(purchases.AsSpan(0, length - 1), purchases[length - 1]);
                    measured = due;
                }
            }
            progress?.Report(new("synthesizing purchases", written, parameters.Interactions, "rows"));
        }
    }
}
