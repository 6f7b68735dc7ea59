using System.Globalization;
using System.Text.Json.Serialization;
using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Inference;
using Bert4Rec.Serialization;
using ParquetSharp;

namespace Bert4Rec.Export;

/// <summary>What was exported.</summary>
/// <param name="ModelVersion">See <see cref="Recommender.ModelVersion"/>.</param>
/// <param name="Source">The folder of the model that it is: of one that was refitted, the refit's.</param>
/// <param name="Objective">cloze or next_item.</param>
/// <param name="Items">Items, without padding.</param>
/// <param name="HiddenSize">Numbers of an embedding.</param>
/// <param name="MaximumHistory">Newest events that the model looks at.</param>
/// <param name="LeavesOutBlend">Whether <c>recommend</c> adds a blend to the model's scores, which is in none of the files.</param>
/// <param name="Files">SHA-256 of each file.</param>
internal sealed record ExportSummary(
    string ModelVersion,
    string Source,
    string Objective,
    int Items,
    int HiddenSize,
    int MaximumHistory,
    bool LeavesOutBlend,
    IReadOnlyDictionary<string, string> Files);

[JsonSerializable(typeof(ExportSummary))]
internal sealed partial class ExportJson : JsonSerializerContext
{
    public static RecordJson Records { get; } = new(new ExportJson());
}

/// <summary>
/// Writes a trained model for other programs: the network as ONNX, the items' embeddings as .npy and Parquet, and what the ids mean. Of the
/// scores of <c>recommend</c> the blend is left out: it is a rule of its own, and no network.
/// </summary>
internal static class ModelExport
{
    public const string ModelFileName = "model.onnx", SummaryFileName = "export.json";

    private const string MaskToken = "[mask]";

    /// <summary>Exports the model that recommends. The summary, export.json, is written last: without it, an export is not whole.</summary>
    /// <param name="directory">The folder that training wrote.</param>
    /// <param name="output">The folder to write, which must not be a model's.</param>
    /// <exception cref="InputException">A folder is not what it should be, or the model too large for ONNX.</exception>
    /// <exception cref="IOException">The output cannot be written.</exception>
    public static ExportSummary Export(string directory, string output)
    {
        string[] models = [directory, RefitFolder.Of(directory)];
        if (models.Any(model => FullPath(model) == FullPath(output))
            || ModelFolder.FileNames.Any(name => File.Exists(Path.Combine(output, name))))
        {
            throw new InputException($"{output}: there is a model in it; choose another --output");
        }
        ModelFolder folder = RefitFolder.LoadDelivered(directory, out string checksum);
        using FolderLock taken = FolderLock.Take(output);
        File.Delete(Path.Combine(output, SummaryFileName));
        var files = new Dictionary<string, string>();
        InteractionDataset dataset = folder.Dataset;
        var layout = folder.Layout;
        int items = dataset.ItemCount, hidden = layout.Shape.HiddenSize;
        var embeddings = folder.Parameters.AsMemory((int)layout["item_embedding.weight"].Offset, items * hidden);
        var bias = layout.Shape.OutputHead ? folder.Parameters.AsMemory(layout["output_bias"].Range) : new float[items];
        string[] outputs = [.. Enumerable.Range(0, items).Select(item => dataset.Items[item])];
        string[] inputs = layout.Shape.Causal ? outputs : [.. outputs, MaskToken];
        string objective = ObjectiveNames.Of(folder.Config.Objective);

        Write(ModelFileName, stream => OnnxModel.Build(layout, folder.Parameters, folder.Config.RecboleCompatible).Write(
            stream,
            [
                new("model", checksum[..16]),
                new("objective", objective),
                new("maximum_history", layout.Shape.HistoryLength.ToString(CultureInfo.InvariantCulture)),
            ]));
        Write("item_embeddings.npy", stream => NpyFile.Write(stream, embeddings.Span, items, hidden));
        Write("item_bias.npy", stream => NpyFile.Write(stream, bias.Span, items));
        Write("input_vocabulary.npy", stream => NpyFile.Write(stream, inputs));
        Write("output_vocabulary.npy", stream => NpyFile.Write(stream, outputs));
        Write("input_vocabulary.parquet", stream => WriteVocabulary(stream, inputs));
        Write("output_vocabulary.parquet", stream => WriteVocabulary(stream, outputs));
        Write("items.parquet", stream => WriteItems(stream, dataset, embeddings, bias, hidden));
        var summary = new ExportSummary(
            checksum[..16],
            RefitFolder.State(directory).IsWhole ? RefitFolder.Of(directory) : directory,
            objective,
            items - 1,
            hidden,
            layout.Shape.HistoryLength,
            folder.Blend is not null,
            files);
        OutputFile.WriteText(Path.Combine(output, SummaryFileName), ExportJson.Records.Indented(summary) + "\n");
        return summary;

        static string FullPath(string path) => Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));

        void Write(string name, Action<Stream> write)
        {
            string path = Path.Combine(output, name);
            OutputFile.Write(path, write);
            files[name] = Sha256.OfFile(path);
        }
    }

    private static void WriteVocabulary(Stream stream, string[] tokens) => ParquetOutput.Write(
        stream,
        [new Column<long>("id"), new Column<string>("item")],
        file => file.WriteGroup(Enumerable.Range(0, tokens.Length).Select(id => (long)id).ToArray(), tokens));

    /// <summary>A row an item, without padding: id, item, its fields (numbers where .item has such), bias and embedding.</summary>
    private static void WriteItems(
        Stream stream, InteractionDataset dataset, ReadOnlyMemory<float> embeddings, ReadOnlyMemory<float> bias, int hidden)
    {
        int[] items = [.. Enumerable.Range(1, dataset.ItemCount - 1)];
        IEnumerable<string> fields = (dataset.ItemFields?.Fields ?? []).Select(field => field.Name);
        string[] names = [.. UniqueNames.Beside(["id", "item", "bias", "embedding"], fields)];
        List<Column> columns = [new Column<long>("id"), new Column<string>("item")];
        List<Array> values = [items.Select(item => (long)item).ToArray(), items.Select(item => dataset.Items[item]).ToArray()];
        foreach ((int index, AtomicField field) in (dataset.ItemFields?.Fields ?? []).Index())
        {
            string name = names[index];
            var texts = items.Select(item => dataset.ItemFields![item, index]);
            bool isNumber = field.Type == AtomicType.Number;
            columns.Add(isNumber ? new Column<double?>(name) : new Column<string>(name));
            values.Add(isNumber ? texts.Select(Number).ToArray() : texts.ToArray());
        }
        columns.AddRange([new Column<float>("bias"), new Column<float[]>("embedding")]);
        values.Add(bias[1..].ToArray());
        values.Add(items.Select(item => embeddings.Slice(item * hidden, hidden).ToArray()).ToArray());
        ParquetOutput.Write(stream, [.. columns], file => file.WriteGroup([.. values]));
    }

    private static double? Number(string? text) =>
        double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double number) ? number : null;
}
