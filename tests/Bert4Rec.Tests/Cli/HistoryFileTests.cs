using System.Text.Json;
using Bert4Rec.Inference;
using Bert4Rec.Serialization;
using Bert4Rec.Tests.Inference;
using ParquetSharp;

namespace Bert4Rec.Tests.Cli;

/// <summary><c>recommend --histories</c> from files of each kind, and into them.</summary>
public sealed class HistoryFileTests(TrainedShop shop) : IClassFixture<TrainedShop>, IDisposable
{
    private static readonly (string Id, string[] Tokens)[] s_histories =
        [("u1", ["p1", "p2"]), ("2", ["p3"]), ("u3", []), ("u4", ["p4", "nothing", "p5"])];

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void An_id_does_not_break_its_row()
    {
        string histories = _folder.Write("a.jsonl", Json("a\\tb", ["p1"]) + "\n"), none = _folder.Write("none.jsonl", "");
        string[] lines = Recommend(histories, "-k", "1").Lines;
        Assert.Equal(2, lines.Length);
        Assert.StartsWith(@"a\tb" + "\t", lines[1]);
        Assert.Equal(lines[0].Split('\t').Length, lines[1].Split('\t').Length);
        Assert.Equal(lines[..1], Recommend(none).Lines);
    }

    [Fact]
    public void Ids_with_blanks_in_them_are_a_warning_where_a_blank_ends_an_id()
    {
        Directory.CreateDirectory(Path.Combine(_folder.Path, "d"));
        _folder.Write("d/d.inter", "user_id:token\titem_id:token\ttimestamp:float\n" + string.Concat(Enumerable.Range(0, 60).Select(
            i => $"u{i / 6}\t{new[] { "Lamp", "7", "Lamp 7", "Cup" }[(i + (i / 6)) % 4]}\t{i}\n")));
        string model = Path.Combine(_folder.Path, "m");
        string[] settings = [$"data_path={_folder.Path}", "dataset=d", "epochs=1", "hidden_size=8", "n_heads=1", "inner_size=8"];
        Assert.Equal(0, CommandLine.Run(["train", "-o", model, .. settings.SelectMany(setting => new[] { "--set", setting })]).ExitCode);

        string[] command = ["recommend", "--model", model];
        var words = CommandLine.Run([.. command, "--history", "Lamp 7"]);
        var json = CommandLine.Run([.. command, "--histories", _folder.Write("a.jsonl", "{\"history\": [\"Lamp 7\"]}\n")]);

        Assert.Equal(0, words.ExitCode);
        Assert.Contains("'Lamp 7' is an item of this model, and here a blank ends an id", words.Error);
        Assert.DoesNotContain("blank", CommandLine.Run([.. command, "--history", "7 Lamp"]).Error, StringComparison.Ordinal);
        Assert.Equal((0, false), (json.ExitCode, json.Error.Contains("blanks", StringComparison.Ordinal)));
    }

    [Theory]
    [InlineData("a.csv", "u1,p1 p2\n", "not read from .csv")]
    [InlineData("a.json", "[{\"id\": 1}]", "a.json:1: no line of tokens")]
    [InlineData("a.txt.gz", "u1\tp1\n", "not read from .gz")]
    [InlineData("a.txt", "u1\tp1\nu2\tcaf\xe9\n", "a.txt:2: this is no UTF-8 text")]
    public void What_is_no_list_of_histories_is_refused(string name, string text, string error)
    {
        string path = _folder.Write(name, System.Text.Encoding.Latin1.GetBytes(text));

        CommandLine.Outcome outcome = Recommend(path);

        Assert.Equal(1, outcome.ExitCode);
        Assert.Contains(error, outcome.Error);
    }

    [Fact]
    public void Standard_input_may_begin_with_a_byte_order_mark()
    {
        string text = "u1\tp1 p2\n";
        NamedHistory history = Assert.Single(HistoryFile.ReadLines(new StringReader('\uFEFF' + text), "-"));

        Assert.Equal(("u1", 2), (history.Id, history.Tokens.Length));
    }

    [Fact]
    public void Names_of_columns_are_all_different() =>
        Assert.Equal(["item__", "item___", "x", "x_"], UniqueNames.Beside(["item", "item_"], ["item", "item_", "x", "x"]));

    [Theory]
    [InlineData("a.jsonl")]
    [InlineData("a.NDJSON")]
    [InlineData("list.parquet")]
    [InlineData("text.parquet")]
    public void Every_kind_of_file_gives_what_the_text_does(string name)
    {
        string text = _folder.Write("a.txt", string.Concat(s_histories.Select(each => $"{each.Id}\t{string.Join(' ', each.Tokens)}\n")));
        string path = Path.Combine(_folder.Path, name);
        if (name.EndsWith(".parquet", StringComparison.Ordinal))
            WriteParquet(path, asList: name[0] == 'l');
        else
            _folder.Write(name, string.Concat(s_histories.Select(each => Json(each.Id, each.Tokens) + "\n")) + "\n");

        CommandLine.Outcome expected = Recommend(text), outcome = Recommend(path);

        Assert.Equal(0, outcome.ExitCode);
        Assert.Equal(expected, outcome);
        Assert.Equal(12, Recommend(path, "-k", "3", "--json").Lines.Sum(line => line.Split("\"token\"").Length - 1));
    }

    [Fact]
    public void A_history_without_an_id_is_called_after_its_line()
    {
        string json = _folder.Write("a.jsonl", "{\"history\":[\"p1\"]}\n\n{\"history\":[\"p2\"],\"id\":null}".Replace(",\"id\":null", ""));
        string parquet = Path.Combine(_folder.Path, "a.parquet");
        WriteParquet(parquet, asList: true, withIds: false);

        Assert.Equal(["1", "3"], Recommend(json, "-k", "1").Lines.Skip(1).Select(line => line.Split('\t')[0]));
        Assert.Equal(["1", "2", "3", "4"], Recommend(parquet, "-k", "1").Lines.Skip(1).Select(line => line.Split('\t')[0]));
    }

    [Fact]
    public void Files_hold_what_standard_output_would()
    {
        string path = Path.Combine(_folder.Path, "a.parquet"), tsv = Path.Combine(_folder.Path, "out.tsv");
        WriteParquet(path, asList: true);
        string json = Path.Combine(_folder.Path, "out.jsonl"), parquet = Path.Combine(_folder.Path, "out.parquet");
        foreach (string output in new[] { tsv, json, parquet })
        {
            CommandLine.Outcome outcome = Recommend(path, "--output", output);
            Assert.Equal((0, $"4 histories; recommendations in {output}\n"), (outcome.ExitCode, outcome.Out));
            Assert.Contains("left out of the history of u4, unknown to the model: nothing", outcome.Error);
        }

        string expected = Recommend(path).Out;
        Assert.Equal(expected, File.ReadAllText(tsv));
        Assert.Equal(Recommend(path, "--json").Out, File.ReadAllText(json));
        string[][] rows = [.. expected.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => line.Split('\t'))];
        using var file = new ParquetFileReader(parquet);
        using RowGroupReader group = file.RowGroup(0);
        Assert.Equal(rows.Length - 1, group.MetaData.NumRows);
        int[] columns = [.. Enumerable.Range(0, group.MetaData.NumColumns)];
        Assert.Equal(["history", "rank", .. rows[0][1..]], columns.Select(column => file.FileMetaData.Schema.Column(column).Name));
        Assert.Equal(rows.Skip(1).Select(row => row[0]), Read<string>(0));
        Assert.Equal(Enumerable.Repeat(Enumerable.Range(1, 10).Select(rank => (long)rank), 4).SelectMany(rank => rank), Read<long>(1));
        Assert.Equal(rows.Skip(1).Select(row => row[1]), Read<string>(2));
        Assert.All(rows.Skip(1).Zip(Read<float>(3)), pair => Assert.Equal(float.Parse(pair.First[2]), pair.Second, 1e-4f));
        Assert.Equal(rows.Skip(1).Select(row => row[3]), Read<string?>(4).Select(value => value ?? ""));

        T[] Read<T>(int column)
        {
            using ColumnReader reader = group.Column(column);
            using LogicalColumnReader<T> values = reader.LogicalReader<T>();
            return values.ReadAll((int)group.MetaData.NumRows);
        }
    }

    [Theory]
    [InlineData("[1]", "2: this is no object; a line is {\"id\": \"u1\", \"history\": [\"a\", \"b\"]}")]
    [InlineData("{\"id\":\"a\"}", "2: there is no history")]
    [InlineData("{\"history\":\"a b\"}", "2: 'history' is not expected, is there twice, or is no list")]
    [InlineData("{\"history\":[],\"items\":1}", "2: 'items' is not expected")]
    [InlineData("{\"history\":[null]}", "2: history: null is no text and no whole number")]
    [InlineData("{\"history\":[\"a\"],\"id\":1.5}", "2: id: 1.5 is no text")]
    [InlineData("{\"history\":[\"\\ud800\"]}", "2: no JSON")]
    [InlineData("{\"history\":[", "2: no JSON")]
    public void A_line_that_is_no_history_is_named_and_nothing_is_written(string line, string reason)
    {
        string path = _folder.Write("a.jsonl", $"{Json("1", ["p1"])}\n{line}\n"), output = Path.Combine(_folder.Path, "out.parquet");

        CommandLine.Outcome outcome = Recommend(path, "--output", output);

        Assert.Equal(1, outcome.ExitCode);
        Assert.Contains($"error: {path}:{reason}", outcome.Error);
        Assert.Equal([path], Directory.GetFiles(_folder.Path));
    }

    [Theory]
    [InlineData("{\"id\": \"u1\", \"history\": [\"p1\"]}")]
    [InlineData("PAR1\u0015")]
    public void What_has_the_wrong_ending_is_not_taken_for_unknown_items(string line)
    {
        string path = _folder.Write("a.json", line + "\n");

        CommandLine.Outcome outcome = Recommend(path);

        Assert.Equal((1, ""), (outcome.ExitCode, outcome.Out));
        Assert.Contains($"error: {path}:1: no line of tokens; give a file whose name ends in .jsonl", outcome.Error);
    }

    [Theory]
    [InlineData("no column", "there is no column history among id, list")]
    [InlineData("null", ":2: the history of this row has a null in it; leave it out")]
    [InlineData("number", "column history is Double; it must be text or whole numbers: cast it where the file is written")]
    [InlineData("cut", "no Parquet file, or one that was cut off or damaged")]
    public void A_parquet_file_without_histories_is_refused(string fault, string reason)
    {
        string path = Path.Combine(_folder.Path, "a.parquet");
        if (fault == "number")
        {
            using var file = new ParquetFileWriter(path, [new Column<double[]>("history")]);
            using RowGroupWriter group = file.AppendRowGroup();
            using LogicalColumnWriter<double[]> values = group.NextColumn().LogicalWriter<double[]>();
            values.WriteBatch([[1.5]]);
            file.Close();
        }
        else
        {
            WriteParquet(path, asList: true, history: fault == "no column" ? "list" : "history", nullIn: fault == "null" ? 1 : -1);
        }
        if (fault == "cut")
            File.WriteAllBytes(path, File.ReadAllBytes(path)[..^3]);

        CommandLine.Outcome outcome = Recommend(path);

        Assert.Equal(1, outcome.ExitCode);
        Assert.Contains($"error: {path}", outcome.Error);
        Assert.Contains(reason, outcome.Error);
    }

    [Theory]
    [InlineData("out.csv", "--output must end in .tsv, .jsonl, .ndjson or .parquet, not 'out.csv'.")]
    [InlineData("out.jsonl", "--json is for standard output; for a file of it, end --output's name in .jsonl.", "--json")]
    public void Wrong_outputs_are_wrong_usage(string output, string error, params string[] more)
    {
        CommandLine.Outcome outcome = Recommend("a.txt", ["--output", output, .. more]);

        Assert.Equal((2, $"{error}\nsee: bert4rec recommend --help\n"), (outcome.ExitCode, outcome.Error));
    }

    private CommandLine.Outcome Recommend(string path, params string[] more) =>
        CommandLine.Run(["recommend", "--model", shop.Model, "--device", "cpu", "--histories", path, .. more]);

    private static string Json(string id, string[] tokens) =>
        $"{{\"id\":{(id == "2" ? id : $"\"{id}\"")},\"history\":{JsonSerializer.Serialize(tokens)}}}";

    private static void WriteParquet(string path, bool asList, bool withIds = true, string history = "history", int nullIn = -1)
    {
        Column[] columns = asList ? [new Column<string?[]>(history)] : [new Column<string>(history)];
        using var file = new ParquetFileWriter(path, withIds ? [new Column<string>("id"), .. columns] : columns);
        foreach ((string id, string[] tokens)[] rows in s_histories.Chunk(3))
        {
            using RowGroupWriter group = file.AppendRowGroup();
            if (withIds)
                Write([.. rows.Select(row => row.id)]);
            if (asList)
                Write<string?[]>([.. rows.Select((row, i) => i == nullIn ? [.. row.tokens, null!] : row.tokens)]);
            else
                Write([.. rows.Select(row => string.Join(' ', row.tokens))]);

            void Write<T>(T[] values)
            {
                using LogicalColumnWriter<T> writer = group.NextColumn().LogicalWriter<T>();
                writer.WriteBatch(values);
            }
        }
        file.Close();
    }
}
