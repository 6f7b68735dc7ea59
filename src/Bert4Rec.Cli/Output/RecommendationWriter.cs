using Bert4Rec.Inference;
using Bert4Rec.Serialization;
using ParquetSharp;

namespace Bert4Rec.Cli.Output;

/// <summary>Writes lists of recommendations, one after another.</summary>
internal abstract class RecommendationWriter
{
    /// <summary>The endings of the files that <see cref="WriteFile"/> writes.</summary>
    public const string Endings = ".tsv, .jsonl, .ndjson or .parquet";

    public abstract void Add(NamedHistory history, RecommendationResult result);

    /// <summary>Ends what was written; to be called once.</summary>
    public virtual void Finish()
    {
    }

    /// <summary>Lines of TSV: an item each, with the history's id in front where there can be several.</summary>
    public static RecommendationWriter Tsv(TextWriter writer, IReadOnlyList<string> fields) => new TsvWriter(writer, fields);

    /// <summary>Lines of JSON: an object a history.</summary>
    public static RecommendationWriter Json(TextWriter writer) => new JsonWriter(writer);

    public static bool CanWrite(string path) =>
        HistoryFile.IsJsonLines(path) || ParquetInput.HasExtension(path) || path.EndsWith(".tsv", StringComparison.OrdinalIgnoreCase);

    /// <summary>Writes a file whole or not at all, as its ending says.</summary>
    public static void WriteFile(string path, IReadOnlyList<string> fields, Action<RecommendationWriter> write) =>
        OutputFile.Write(path, stream =>
        {
            if (ParquetInput.HasExtension(path))
            {
                ParquetOutput.Write(stream, ParquetWriter.Columns(fields), file => Run(new ParquetWriter(file, fields.Count)));
                return;
            }
            using var text = new StreamWriter(stream, leaveOpen: true) { NewLine = "\n" };
            Run(HistoryFile.IsJsonLines(path) ? Json(text) : Tsv(text, fields));

            void Run(RecommendationWriter writer)
            {
                write(writer);
                writer.Finish();
            }
        });

    private sealed class JsonWriter(TextWriter writer) : RecommendationWriter
    {
        public override void Add(NamedHistory history, RecommendationResult result) => Report.WriteJson(
            writer,
            new RecommendOutput(
                history.Id,
                result.UnknownTokens,
                result.IsPopularity,
                result.Items.Select(item => new RecommendOutputItem(item.Token, item.Score, item.Fields.ToDictionary()))));
    }

    private sealed class TsvWriter(TextWriter writer, IReadOnlyList<string> fields) : RecommendationWriter
    {
        private bool _hasHeader;

        public override void Add(NamedHistory history, RecommendationResult result)
        {
            string[] id = history.Id is null ? [] : [history.Id];
            if (!_hasHeader)
                WriteHeader([.. id.Length == 0 ? id : ["history"], "item", "score"]);
            string format = ScoreFormat(result);
            foreach (Recommendation item in result.Items)
                WriteRow([.. id, item.Token, item.Score.ToString(format), .. item.Fields.Select(field => field.Value)]);
        }

        public override void Finish()
        {
            if (!_hasHeader)
                WriteHeader(["history", "item", "score"]);
        }

        private void WriteHeader(string[] own)
        {
            WriteRow([.. own, .. UniqueNames.Beside(own, fields)]);
            _hasHeader = true;
        }

        private void WriteRow(IEnumerable<string> cells) => writer.WriteLine(string.Join('\t', cells.Select(Escaped)));

        /// <summary>A cell that would break its row, with \t, \r and \n for what breaks it.</summary>
        private static string Escaped(string cell) => cell.AsSpan().IndexOfAny("\t\r\n") < 0
            ? cell
            : cell.Replace("\\", "\\\\").Replace("\t", "\\t").Replace("\r", "\\r").Replace("\n", "\\n");
    }

    /// <summary>A row an item: history, rank (from 1), item, score, and the item's fields as text.</summary>
    private sealed class ParquetWriter(ParquetOutput output, int fields) : RecommendationWriter
    {
        private const int GroupSize = 1 << 17;

        private readonly List<(string? History, long Rank, Recommendation Item)> _rows = [];

        public static Column[] Columns(IReadOnlyList<string> fields)
        {
            string[] own = ["history", "rank", "item", "score"];
            return
            [
                new Column<string>(own[0]), new Column<long>(own[1]), new Column<string>(own[2]), new Column<float>(own[3]),
                .. UniqueNames.Beside(own, fields).Select(field => new Column<string>(field)),
            ];
        }

        public override void Add(NamedHistory history, RecommendationResult result)
        {
            _rows.AddRange(result.Items.Select((item, rank) => (history.Id, rank + 1L, item)));
            if (_rows.Count >= GroupSize)
                Finish();
        }

        public override void Finish()
        {
            if (_rows.Count == 0)
                return;
            output.WriteGroup(
            [
                _rows.Select(row => row.History).ToArray(),
                _rows.Select(row => row.Rank).ToArray(),
                _rows.Select(row => row.Item.Token).ToArray(),
                _rows.Select(row => row.Item.Score).ToArray(),
                .. Enumerable.Range(0, fields).Select(field => _rows.Select(row => Value(row.Item, field)).ToArray()),
            ]);
            _rows.Clear();
        }

        private static string? Value(Recommendation item, int field) => item.Fields[field].Value is { Length: > 0 } value ? value : null;
    }

    /// <summary>The score of a popular item is a count.</summary>
    public static string ScoreFormat(RecommendationResult result) => result.IsPopularity ? "F0" : "F4";
}
