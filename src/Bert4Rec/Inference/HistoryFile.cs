using System.Globalization;
using System.Text.Json;
using Bert4Rec.Serialization;
using ParquetSharp;
using Encoding = System.Text.Encoding;

namespace Bert4Rec.Inference;

/// <param name="Id">What the line, or the user, is called; null for the only one.</param>
/// <param name="Tokens">Oldest first.</param>
internal sealed record NamedHistory(string? Id, string[] Tokens);

/// <summary>
/// Files of histories: lines of text, lines of JSON (.jsonl, .ndjson) or Parquet (.parquet). Where a history has no id, its line or row is
/// what it is called.
/// </summary>
internal static class HistoryFile
{
    private const string Id = "id", History = "history";

    private static readonly string[] s_otherEndings = [".csv", ".gz", ".zip", ".inter", ".xlsx"];

    /// <summary>Of JSON and of Parquet.</summary>
    private static readonly string[] s_otherBeginnings = ["{\"", "[{", "[\"", "PAR1"];

    /// <summary>Whether a name is that of a file with lines of JSON.</summary>
    public static bool IsJsonLines(string path) =>
        path.EndsWith(".jsonl", StringComparison.OrdinalIgnoreCase) || path.EndsWith(".ndjson", StringComparison.OrdinalIgnoreCase);

    /// <summary>Whether tokens of a file of this name, or "-", have blanks between them, so that none has one in it.</summary>
    public static bool IsText(string path) => !IsJsonLines(path) && !ParquetInput.HasExtension(path);

    /// <summary>Reads histories one by one.</summary>
    /// <param name="path">The file; what it holds is told by its ending.</param>
    /// <exception cref="InputException">A line or a row is no history.</exception>
    public static IEnumerable<NamedHistory> Read(string path)
    {
        if (ParquetInput.HasExtension(path))
        {
            foreach (NamedHistory history in ReadParquet(path))
                yield return history;
            yield break;
        }
        if (s_otherEndings.FirstOrDefault(ending => path.EndsWith(ending, StringComparison.OrdinalIgnoreCase)) is string other)
        {
            throw new InputException(
                $"{path}: histories are not read from {other}; give lines of 'id TAB token token ...' in a .txt, JSON lines in a .jsonl, "
                + "or Parquet");
        }
        using StreamReader text = InputFile.OpenText(path);
        foreach (NamedHistory history in IsJsonLines(path) ? ReadJson(text, path) : ReadLines(text, path))
            yield return history;
    }

    /// <summary>Lines of tokens with a blank between them; an id and a TAB may stand before.</summary>
    public static IEnumerable<NamedHistory> ReadLines(TextReader text, string path)
    {
        int number = 0;
        foreach (string line in InputFile.ReadLines(text, path))
        {
            number++;
            CheckText(line, path, number);
            if (number == 1 && s_otherBeginnings.Any(beginning => line.StartsWith(beginning, StringComparison.Ordinal)))
            {
                // Its pieces would be unknown items, and the answer the most popular ones.
                throw InputException.At(
                    path, number, "no line of tokens; give a file whose name ends in .jsonl for JSON, in .parquet for Parquet");
            }
            string[] parts = line.Split('\t');
            yield return parts.Length switch
            {
                1 => new NamedHistory(Text(number), Split(line)),
                2 => new NamedHistory(parts[0], Split(parts[1])),
                _ => throw InputException.At(path, number, "more than one TAB; a line is 'id TAB token token ...' or 'token token ...'"),
            };
        }
    }

    public static string[] Split(string tokens) => tokens.Split(' ', StringSplitOptions.RemoveEmptyEntries);

    private static string Text(long number) => number.ToString(CultureInfo.InvariantCulture);

    private static IEnumerable<NamedHistory> ReadJson(TextReader text, string path)
    {
        long number = 0;
        foreach (string line in InputFile.ReadLines(text, path))
        {
            number++;
            CheckText(line, path, number);
            if (!string.IsNullOrWhiteSpace(line))
                yield return ParseJson(line, path, number);
        }
    }

    private static void CheckText(string line, string path, long number)
    {
        // The reader puts that in the place of bytes that are none of UTF-8's; they would be unknown items.
        if (line.Contains('\uFFFD', StringComparison.Ordinal))
            throw InputException.At(path, number, "this is no UTF-8 text; unpack it if it is packed, or save it as UTF-8");
    }

    private static NamedHistory ParseJson(string line, string path, long number)
    {
        string? id = null;
        string[]? tokens = null;
        try
        {
            using var json = JsonDocument.Parse(line);
            if (json.RootElement.ValueKind != JsonValueKind.Object)
                throw Wrong("this is no object");
            foreach (JsonProperty member in json.RootElement.EnumerateObject())
            {
                if (member.NameEquals(Id) && id is null)
                    id = Token(member.Value, Id);
                else if (member.NameEquals(History) && tokens is null && member.Value.ValueKind == JsonValueKind.Array)
                    tokens = [.. member.Value.EnumerateArray().Select(token => Token(token, History))];
                else
                    throw Wrong($"{Printable.Quoted(member.Name)} is not expected, is there twice, or is no list");
            }
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            // The latter is half a character, as \ud800.
            throw Wrong($"no JSON: {Printable.Short(e.Message)}");
        }
        return new(id ?? Text(number), tokens ?? throw Wrong("there is no history"));

        string Token(JsonElement value, string name) => value.ValueKind switch
        {
            JsonValueKind.String => value.GetString()!,
            JsonValueKind.Number when value.TryGetInt64(out long whole) => Text(whole),
            _ => throw Wrong($"{name}: {Printable.Short(value.GetRawText())} is no text and no whole number"),
        };

        InputException Wrong(string what) =>
            InputException.At(path, number, $$"""{{what}}; a line is {"id": "u1", "history": ["a", "b"]}""");
    }

    private static IEnumerable<NamedHistory> ReadParquet(string path)
    {
        using var file = new ParquetInput(path);
        ParquetColumn? ids = file.Column(Id);
        ParquetColumn history = file.Column(History, mayBeList: true)
            ?? throw new InputException($"{path}: there is no column {History} among {Printable.Short(string.Join(", ", file.Names))}");
        foreach (ParquetColumn column in new[] { ids, history }.OfType<ParquetColumn>())
        {
            if (column.Kind is not (ParquetKind.Text or ParquetKind.Integer))
            {
                throw new InputException(
                    $"{path}: column {column.Name} is {column.TypeName}; it must be text or whole numbers: cast it where the file is "
                    + "written");
            }
        }
        long row = 0;
        for (int group = 0; group < file.RowsOfGroup.Count; group++)
        {
            using RowGroupReader reader = file.RowGroup(group);
            ids?.Open(reader, group);
            history.Open(reader, group);
            long end = row + file.RowsOfGroup[group];
            using IEnumerator<string> names = (ids is null ? [] : Values(ids)).GetEnumerator();
            foreach (string[] tokens in Tokens(history, path, row))
            {
                row++;
                if (ids is not null && !names.MoveNext())
                    throw file.Damaged(group, $"column {Id} has fewer rows than {History}");
                yield return new(ids is null || names.Current.Length == 0 ? Text(row) : names.Current, tokens);
            }
            if (row != end || names.MoveNext())
                throw file.Damaged(group, "its columns have other numbers of rows than the footer tells of");
            ids?.Close();
            history.Close();
        }
    }

    private static IEnumerable<string> Values(ParquetColumn column)
    {
        ParquetBatch batch = column.NewBatch();
        for (int count; (count = Read(column, batch)) > 0;)
        {
            for (int i = 0; i < count; i++)
                yield return Encoding.UTF8.GetString(batch[i]);
        }
    }

    private static IEnumerable<string[]> Tokens(ParquetColumn column, string path, long row)
    {
        ParquetBatch batch = column.NewBatch();
        List<string>? tokens = null;
        for (int count; (count = Read(column, batch)) > 0;)
        {
            for (int i = 0; i < count; i++)
            {
                (bool isFirst, bool hasValue, bool isNull) = column[i];
                if (isFirst)
                {
                    if (tokens is not null)
                        yield return [.. tokens];
                    tokens = [];
                    row++;
                }
                if (column.IsList && isNull)
                    throw InputException.At(path, row, "the history of this row has a null in it; leave it out");
                if (!hasValue)
                    continue;
                string value = Encoding.UTF8.GetString(batch[i]);
                if (column.IsList)
                    tokens!.Add(value);
                else
                    tokens!.AddRange(Split(value));
            }
        }
        if (tokens is not null)
            yield return [.. tokens];
    }

    private static int Read(ParquetColumn column, ParquetBatch batch)
    {
        batch.Clear();
        return column.Read(batch, ParquetColumn.BatchSize);
    }
}
