using System.Runtime.InteropServices;
using System.Text.Json;
using Bert4Rec.Export;
using Bert4Rec.Inference;
using Bert4Rec.Serialization;
using Bert4Rec.Tests.Cli;
using Bert4Rec.Tests.Inference;
using ParquetSharp;
using Encoding = System.Text.Encoding;

namespace Bert4Rec.Tests.Export;

public sealed class ModelExportTests(TrainedShop shop) : IClassFixture<TrainedShop>, IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Embeddings_and_vocabularies_are_the_models()
    {
        string output = Path.Combine(_folder.Path, "export");
        CommandLine.Outcome outcome = CommandLine.Run("export", "--model", shop.Model, "--output", output, "--json");
        Assert.Equal(0, outcome.ExitCode);
        ModelFolder folder = ModelFolder.Load(shop.Model, null);
        Assert.Equal(folder.Blend is not null, outcome.Error.Contains("the blend that recommend adds is not in it"));
        int items = folder.Dataset.ItemCount, hidden = folder.Layout.Shape.HiddenSize;
        float[] table = folder.Parameters[..(items * hidden)];
        float[] bias = folder.Parameters.AsSpan((int)folder.Layout["output_bias"].Offset, items).ToArray();

        Assert.Equal(table, Floats("item_embeddings.npy", $"'shape': ({items}, {hidden}), }}"));
        Assert.Equal(bias, Floats("item_bias.npy", $"'shape': ({items},), }}"));
        string[] tokens = [.. Enumerable.Range(0, items).Select(item => folder.Dataset.Items[item])];
        Assert.Equal(tokens, Texts("output_vocabulary.npy"));
        Assert.Equal([.. tokens, "[mask]"], Texts("input_vocabulary.npy"));
        Assert.Equal(tokens, Column<string>("output_vocabulary.parquet", "item"));
        Assert.Equal(Enumerable.Range(0, items + 1).Select(id => (long)id), Column<long>("input_vocabulary.parquet", "id"));
        Assert.Equal(tokens[1..], Column<string>("items.parquet", "item"));
        Assert.Equal(Enumerable.Range(1, items - 1).Select(id => (long)id), Column<long>("items.parquet", "id"));
        Assert.Equal(table[hidden..], Column<float[]>("items.parquet", "embedding").SelectMany(row => row));
        Assert.Equal(bias[1..], Column<float>("items.parquet", "bias"));
        var fields = folder.Dataset.ItemFields!;
        foreach ((int index, var field) in fields.Fields.Index())
        {
            string?[] expected = [.. Enumerable.Range(1, items - 1).Select(item => fields[item, index])];
            string?[] written = field.Type == Bert4Rec.Data.AtomicType.Number
                ? [.. Column<double?>("items.parquet", field.Name).Select(value => value is null ? null : $"{value:0.00}")]
                : Column<string?>("items.parquet", field.Name);
            Assert.Equal(expected.Length, written.Length);
            Assert.All(expected.Zip(written), pair => Assert.Equal(
                double.TryParse(pair.First, out double number) ? $"{number:0.00}" : pair.First,
                double.TryParse(pair.Second, out number) ? $"{number:0.00}" : pair.Second));
        }

        using var summary = JsonDocument.Parse(File.ReadAllText(Path.Combine(output, "export.json")));
        using var recommender = TrainedShop.Open(shop.Model);
        Assert.Equal(recommender.ModelVersion, summary.RootElement.GetProperty("model_version").GetString());
        var checksums = summary.RootElement.GetProperty("files").EnumerateObject().ToArray();
        Assert.Equal(Directory.GetFiles(output).Length - 1, checksums.Length);
        Assert.All(checksums, file => Assert.Equal(Sha256.OfFile(Path.Combine(output, file.Name)), file.Value.GetString()));

        float[] Floats(string name, string shape)
        {
            (string header, byte[] data) = Npy(name);
            Assert.StartsWith("{'descr': '<f4', 'fortran_order': False, ", header);
            Assert.Contains(shape, header);
            return MemoryMarshal.Cast<byte, float>(data).ToArray();
        }

        string[] Texts(string name)
        {
            (string header, byte[] data) = Npy(name);
            int longest = int.Parse(header.Split("<U")[1].Split('\'')[0]);
            return [.. data.Chunk(4 * longest).Select(text => Encoding.UTF32.GetString(text).TrimEnd('\0'))];
        }

        // As numpy reads version 1.0.
        (string Header, byte[] Data) Npy(string name)
        {
            byte[] file = File.ReadAllBytes(Path.Combine(output, name));
            Assert.Equal([0x93, .. "NUMPY"u8, 1, 0], file[..8]);
            int length = BitConverter.ToUInt16(file, 8);
            Assert.Equal(0, (10 + length) % 64);
            Assert.Equal((byte)'\n', file[10 + length - 1]);
            return (Encoding.ASCII.GetString(file, 10, length), file[(10 + length)..]);
        }

        T[] Column<T>(string name, string column)
        {
            using var file = new ParquetFileReader(Path.Combine(output, name));
            using RowGroupReader group = file.RowGroup(0);
            int index = Enumerable.Range(0, group.MetaData.NumColumns)
                .First(i => file.FileMetaData.Schema.Column(i).Path.ToDotVector()[0] == column);
            using ColumnReader reader = group.Column(index);
            using LogicalColumnReader<T> values = reader.LogicalReader<T>();
            return values.ReadAll((int)group.MetaData.NumRows);
        }
    }

    [Fact]
    public void A_models_folder_is_no_place_for_an_export()
    {
        string copy = shop.Copy();
        foreach (string output in new[] { shop.Model, copy, Path.Combine(shop.Model, "refit") })
        {
            CommandLine.Outcome outcome = CommandLine.Run("export", "--model", shop.Model, "--output", output);
            Assert.Equal((1, $"error: {output}: there is a model in it; choose another --output\n"), (outcome.ExitCode, outcome.Error));
        }
        Assert.False(File.Exists(Path.Combine(copy, "model.onnx")));
    }

    [Fact]
    public void The_refitted_model_is_what_is_exported()
    {
        string directory = shop.Train("refit=true", "blend=false"), output = Path.Combine(_folder.Path, "export");

        ExportSummary summary = ModelExport.Export(directory, output);
        // A second export takes the place of the first.
        File.WriteAllText(Path.Combine(output, "model.onnx"), "");
        Assert.Equal(summary.Files, ModelExport.Export(directory, output).Files);

        Assert.Equal(RefitFolder.Of(directory), summary.Source);
        var refit = ModelFolder.Load(RefitFolder.Of(directory), null);
        byte[] file = File.ReadAllBytes(Path.Combine(output, "item_embeddings.npy"));
        var bytes = MemoryMarshal.AsBytes(refit.Parameters.AsSpan(0, refit.Dataset.ItemCount * refit.Layout.Shape.HiddenSize));
        Assert.True(file.AsSpan(file.Length - bytes.Length).SequenceEqual(bytes));
    }

    [SkippableFact]
    public void A_full_disk_is_told_and_leaves_no_summary()
    {
        Skip.IfNot(File.Exists("/dev/full"), "there is no /dev/full");
        string output = Path.Combine(_folder.Path, "export");
        Directory.CreateDirectory(output);
        File.CreateSymbolicLink(Path.Combine(output, "items.parquet"), "/dev/full");

        CommandLine.Outcome outcome = CommandLine.Run("export", "--model", shop.Model, "--output", output);

        Assert.Equal(1, outcome.ExitCode);
        Assert.Contains("No space left on device", outcome.Error);
        Assert.False(File.Exists(Path.Combine(output, "export.json")));
    }
}
