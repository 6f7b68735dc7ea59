using System.Text.Json;
using Bert4Rec.Configuration;
using Bert4Rec.EventLog;
using Bert4Rec.Tests.Cli;
using ParquetSharp;

namespace Bert4Rec.Tests.EventLog;

/// <summary>A log in Parquet gives what the same log gives in CSV, or a sentence that says what is wrong with it.</summary>
public sealed class ParquetLogTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("micros", "int64", "double", Compression.Snappy)]
    [InlineData("millis", "int32", "decimal", Compression.Zstd)]
    [InlineData("nanos", "text", "float", Compression.Gzip)]
    [InlineData("int96", "int64", "text", Compression.Uncompressed)]
    [InlineData("text", "int32", "double", Compression.Lz4)]
    public void The_cleaned_log_and_the_figures_are_those_of_the_csv(string time, string id, string price, Compression compression)
    {
        string text = SmallLog.Random(seed: 5, rows: 300).Replace(",20,", ",2053013550000,").Replace(":02 UTC", ":02.25 UTC");
        if (id == "int32")
            text = text.Replace("2053013550000", "20530135");
        string csv = _folder.Write("a.csv", text), parquet = Path.Combine(_folder.Path, "a.parquet");
        bool isText = time == "text";
        ParquetFiles.Write(parquet, text, new(time, id, price, compression, GroupRows: isText ? 1000 : 7, Dictionary: !isText));

        Assert.Equal(Clean(csv, EventTypes.All, []), Clean(parquet, EventTypes.All, []));
        Assert.Equal(Clean(csv, EventTypes.Purchase, [EventColumn.Brand]), Clean(parquet, EventTypes.Purchase, [EventColumn.Brand]));
        Assert.Equal(Analyze(csv), Analyze(parquet));

        byte[] Clean(string input, EventTypes events, HashSet<EventColumn> keepNulls)
        {
            string output = Path.Combine(_folder.Path, "out.csv");
            var summary = EventLogCleaner.Clean([input], output, new() { Events = events, KeepNulls = keepNulls, MaxBadRows = 0 });
            Assert.Equal(300, summary.RowsRead);
            return File.ReadAllBytes(output);
        }

        // The first rows are shown as they are, and 2.50 is 2.5 in a column of numbers.
        static string Analyze(string input) => JsonSerializer.Serialize(EventLogAnalysis.Analyze([input], new()) with { Head = [] });
    }

    [Fact]
    public void A_log_of_many_batches_and_row_groups_keeps_its_order()
    {
        string text = SmallLog.Text(
            [.. Enumerable.Range(0, 20_000).Select(i => SmallLog.Row(user: $"{i}", brand: i % 3 == 0 ? "" : $"b{i}"))]);
        string parquet = Path.Combine(_folder.Path, "a.parquet");
        ParquetFiles.Write(parquet, text, new(GroupRows: 9_001, Price: "decimal"));

        (List<string> rows, ReadSummary summary) = SmallLog.ReadAll([parquet], maxBadRows: 0);

        Assert.Equal(SmallLog.ReadAll([_folder.Write("a.csv", text)]).Rows, rows);
        Assert.Equal(20_000, summary.Rows);
    }

    [Fact]
    public void Folders_are_read_as_Spark_and_DuckDB_write_them()
    {
        string log = Path.Combine(_folder.Path, "log");
        ParquetFiles.Style style = new(LeftOut: ["event_type", "brand"], Price: "text");
        string[] parts =
        [
            "event_type=purchase/brand=__HIVE_DEFAULT_PARTITION__/part-00000-a.c000.snappy.parquet",
            "event_type=purchase/brand=a%3Ab/part-00000-a.c000.snappy.parquet", "event_type=view/brand=acme/year=2019/data_0.parquet",
        ];
        foreach ((int user, string part) in parts.Index())
            ParquetFiles.Write(Path.Combine(log, part), SmallLog.Text(SmallLog.Row(user: $"{user}")), style);
        foreach (string hidden in new[] { "_temporary/0/part-9.parquet", ".part-9.parquet", "_part.parquet" })
            ParquetFiles.Write(Path.Combine(log, hidden), SmallLog.Text(SmallLog.Row(user: "9")));
        File.WriteAllText(Path.Combine(log, "_SUCCESS"), "");
        File.WriteAllText(Path.Combine(log, "event_type=view", ".part.crc"), "x");

        Assert.Equal(
            [
                "2019-10-01 00:00:00 UTC|purchase|1|20|a.b||1.50|0|s1",
                "2019-10-01 00:00:00 UTC|purchase|1|20|a.b|a:b|1.50|1|s1",
                "2019-10-01 00:00:00 UTC|view|1|20|a.b|acme|1.50|2|s1",
            ],
            SmallLog.ReadAll([log], maxBadRows: 0).Rows);
    }

    /// <summary>Files of DuckDB: tests/fixtures/parquet/duckdb.sql.</summary>
    [Theory]
    [InlineData("partitioned")]
    [InlineData("types.parquet")]
    [InlineData("nanoseconds.parquet")]
    public void Files_of_DuckDB_are_cleaned_as_the_csv_that_they_were_made_of(string name)
    {
        Assert.Equal(Clean("events.csv"), Clean(name));

        string Clean(string input)
        {
            var options = new CleanOptions { Events = EventTypes.All, KeepNulls = new HashSet<EventColumn>(EventColumns.Optional) };
            string path = Path.Combine(TestFiles.RepositoryRoot, "tests", "fixtures", "parquet", input);
            return EventLogCleaner.Clean([path], Path.Combine(_folder.Path, "out.csv"), options).Sha256;
        }
    }

    [Fact]
    public void A_column_without_any_value_may_have_no_type()
    {
        string path = Path.Combine(_folder.Path, "a.parquet");
        ParquetFiles.Write(path, SmallLog.Text(SmallLog.Row(price: ""), SmallLog.Row(price: "")), new(Price: "nothing"));

        Assert.All(SmallLog.ReadAll([path], maxBadRows: 0).Rows, row => Assert.Equal("", row.Split('|')[6]));
    }

    [Fact]
    public void Rows_with_a_line_break_or_a_time_outside_the_calendar_are_counted_with_their_number()
    {
        string[][] rows = [.. new[] { "a", "b\nc", "d", "e" }.Select(brand => SmallLog.Row(brand: brand).Split(','))];
        rows[3][0] = "-1";
        string parquet = Path.Combine(_folder.Path, "a.parquet");
        ParquetFiles.Write(parquet, rows, new(Time: "text", GroupRows: 1));
        string output = Path.Combine(_folder.Path, "out.csv");

        CleanSummary summary = EventLogCleaner.Clean([parquet], output, new() { MaxBadRows = 0.5 });

        Assert.Equal((4, 2, 2), (summary.RowsRead, summary.RowsKept, summary.Read.BadRows));
        Assert.Equal([2L, 4L], summary.Read.Examples.Select(row => row.Line));
        Assert.Contains("brand has a line break in it", summary.Read.Examples[0].Reason);
        Assert.Contains("event_time must look like", summary.Read.Examples[1].Reason);
        InputException error = Assert.Throws<InputException>(() => EventLogCleaner.Clean([parquet], output, new()));
        Assert.StartsWith($"{parquet}:2: brand has a line break", error.Message);
    }

    [Theory]
    [InlineData("lacks", "there is no column brand, user_session among event_time, event_type")]
    [InlineData("number", "column product_id is Double; it must be a text or a whole number: cast it where the file is written")]
    [InlineData("list", "column price is a list; it must be a plain column")]
    [InlineData("bool", "column product_id is Boolean, which is no text, number or timestamp; cast it where the file is written")]
    [InlineData("cut", "no Parquet file, or one that was cut off or damaged: ")]
    [InlineData("csv", "no Parquet file, or one that was cut off or damaged: ")]
    [InlineData("damaged", "row group 2 of 3: column ")]
    [InlineData("schema", "a.parquet: column product_id is ByteArray (String), but Int64 (Int) in ")]
    [InlineData("both", "has both .csv and .parquet files; name those that are the log")]
    public void What_is_wrong_is_said_with_file_column_and_fix(string fault, string sentence)
    {
        string log = Path.Combine(_folder.Path, "log"), path = Path.Combine(log, "b.parquet");
        string text = SmallLog.Random(seed: 1, rows: 20);
        ParquetFiles.Write(path, text, fault switch
        {
            "lacks" => new(LeftOut: ["brand", "user_session"]),
            "number" => new(Id: "double"),
            "list" => new(Price: "list"),
            "bool" => new(Id: "bool"),
            _ => new(Compression: Compression.Uncompressed),
        });
        byte[] bytes = File.ReadAllBytes(path);
        switch (fault)
        {
            case "cut":
                File.WriteAllBytes(path, bytes[..^1]);
                break;
            case "csv":
                File.WriteAllText(path, text);
                break;
            case "damaged":
                // A value of the second row group's data.
                bytes[Places(bytes, "session-"u8)[7]]++;
                File.WriteAllBytes(path, bytes);
                break;
            case "schema":
                File.Move(path, Path.Combine(log, "0.parquet"));
                ParquetFiles.Write(Path.Combine(log, "a.parquet"), text, new(Id: "text"));
                break;
            case "both":
                File.WriteAllText(Path.Combine(log, "c.csv"), text);
                break;
        }

        InputException error = Assert.Throws<InputException>(() => SmallLog.ReadAll([log]));

        Assert.StartsWith(log, error.Message);
        Assert.Contains(sentence, error.Message);
        CommandLine.Outcome outcome = CommandLine.Run("analyze", log);
        Assert.Equal((1, $"error: {error.Message}\n"), (outcome.ExitCode, outcome.Error));
    }

    [Fact]
    public void A_cleaned_log_in_parquet_converts_to_the_same_atomic_files()
    {
        string text = SmallLog.Random(seed: 9, rows: 200).Replace("acme", "22\" wide");
        string raw = _folder.Write("raw.csv", text);
        foreach (string name in new[] { "cleaned.csv", "cleaned.parquet" })
        {
            string cleaned = Path.Combine(_folder.Path, name), atomic = Path.Combine(_folder.Path, Path.GetExtension(name));
            CommandLine.Outcome outcome = CommandLine.Run(
                "clean", raw, "-o", cleaned, "--events", "all", "--keep-nulls", "brand,price,category_code");
            Assert.Equal((0, ""), (outcome.ExitCode, outcome.Error));
            outcome = CommandLine.Run("convert", cleaned, "-o", atomic, "--name", "shop");
            Assert.Equal((0, ""), (outcome.ExitCode, outcome.Error));
        }
        foreach (string file in new[] { "shop.inter", "shop.item", "shop.user" })
        {
            string expected = File.ReadAllText(Path.Combine(_folder.Path, ".csv", file));
            Assert.Equal(expected, File.ReadAllText(Path.Combine(_folder.Path, ".parquet", file)));
            Assert.True(expected.Split('\n').Length > 5);
        }
    }

    [SkippableFact]
    public void A_full_disk_is_told_by_its_own_name()
    {
        Skip.IfNot(File.Exists("/dev/full"), "there is no /dev/full");
        string output = Path.Combine(_folder.Path, "out.parquet"), input = _folder.Write("a.csv", SmallLog.Random(1, 50));
        File.CreateSymbolicLink(output, "/dev/full");

        CommandLine.Outcome outcome = CommandLine.Run("clean", input, "-o", output, "--events", "all");

        Assert.Equal((1, ""), (outcome.ExitCode, outcome.Out));
        Assert.StartsWith("error: No space left on device", outcome.Error);
    }

    private static List<int> Places(byte[] bytes, ReadOnlySpan<byte> text)
    {
        var places = new List<int>();
        for (int at = 0; at + text.Length <= bytes.Length; at++)
        {
            if (bytes.AsSpan(at, text.Length).SequenceEqual(text))
                places.Add(at);
        }
        return places;
    }
}
