using System.Globalization;
using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Reference;
using Bert4Rec.Serialization;
using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Tests.Kernels;

/// <summary>
/// A recbole-step*.safetensors file: RecBole's parameters, one masked batch, and what RecBole made of them. RecBole pads on the right;
/// here the sequences are packed.
/// </summary>
internal sealed class RecBoleStep : IDisposable
{
    private readonly SafeTensorsFile _file;

    public RecBoleStep(string path) => _file = SafeTensors.Read(path);

    public static TheoryData<string> Files => [.. TestFiles.Fixtures("recbole-step*.safetensors")];

    public int Items => Integer("n_items");

    public int Heads => Integer("n_heads");

    public int MaskToken => Integer("mask_token");

    public int MaximumLength => Integer("max_seq_length");

    public double LayerNormEpsilon => Number("layer_norm_eps");

    /// <summary>The first step of the optimiser.</summary>
    public AdamStep FirstStep => new(
        1,
        (float)Number("learning_rate"),
        WeightDecay: (float)Number("weight_decay", "0"),
        DecoupledDecay: _file.Metadata.GetValueOrDefault("learner") == "adamw");

    /// <summary>Adam steps that RecBole made, on the same batch.</summary>
    public int Steps => Integer("steps");

    /// <summary>State names, in the file's order.</summary>
    public IEnumerable<string> ParameterNames =>
        _file.Names.Where(name => name.StartsWith("param.", StringComparison.Ordinal)).Select(name => name["param.".Length..]);

    /// <summary>Loss before each Adam step.</summary>
    public float[] Losses => _file.ReadFloats("losses");

    /// <summary>A tensor as a matrix; a vector is one row, and leading dimensions are rows.</summary>
    public Matrix<double> Matrix(string name) => _file.ReadFloats(name).ToMatrix(_file.Shape(name)[^1]);

    /// <summary>[sequences, items] Scores after the last step.</summary>
    public Matrix<double> FinalScores => Matrix($"eval.scores_after{Steps}");

    /// <summary>The tensors of a prefix (param, grad, after1, after of the last step) by state name.</summary>
    public Dictionary<string, Matrix<double>> State(string prefix) =>
        ParameterNames.ToDictionary(name => name, name => Matrix($"{prefix}.{name}"));

    /// <summary>The masked batch and its targets. A masked_index of 0 is filling.</summary>
    public (ReferenceBatch Batch, int[] Targets) Training()
    {
        int[][] sequences = Sequences("input.masked_item_seq");
        int[][] indices = Rows("input.masked_index"), items = Rows("input.pos_items");
        int[][] positions = [.. indices.Select(row => row.Where(index => index > 0).ToArray())];
        int[] targets = [.. items.SelectMany((row, b) => row.Where((_, m) => indices[b][m] > 0))];
        return (Pack(sequences, positions), targets);
    }

    /// <summary>The training batch, all rows wanted; and where these rows lie in RecBole's padded encoder output.</summary>
    public (ReferenceBatch Batch, int[] PaddedRows) AllRows()
    {
        int[][] sequences = Sequences("input.masked_item_seq");
        int[][] all = [.. sequences.Select(sequence => Enumerable.Range(0, sequence.Length).ToArray())];
        return (Pack(sequences, all), [.. all.SelectMany((row, b) => row.Select(position => (b * MaximumLength) + position))]);
    }

    /// <summary>
    /// [mask] after each history, whose oldest event makes room for it, as RecBole's reconstruct_test_data has it: in every history, full
    /// or not. The masks' rows are wanted.
    /// </summary>
    public ReferenceBatch Evaluation()
    {
        int[][] sequences = [.. Sequences("input.item_seq").Select(history => history.Skip(1).Append(MaskToken).ToArray())];
        return Pack(sequences, [.. sequences.Select(sequence => new[] { sequence.Length - 1 })]);
    }

    public void Dispose() => _file.Dispose();

    private static ReferenceBatch Pack(int[][] sequences, int[][] positions)
    {
        int[] offsets = Numbers.Offsets([.. sequences.Select(sequence => sequence.Length)]);
        return new ReferenceBatch(
            [.. sequences.SelectMany(sequence => sequence)],
            [.. sequences.SelectMany(sequence => Enumerable.Range(0, sequence.Length))],
            offsets,
            [.. positions.SelectMany((row, b) => row.Select(position => offsets[b] + position))],
            Numbers.Offsets([.. positions.Select(row => row.Length)]));
    }

    private int[][] Sequences(string name) =>
        [.. Rows(name).Zip(_file.ReadInts("input.item_seq_len"), (row, length) => row[..length])];

    private int[][] Rows(string name) => [.. _file.ReadInts(name).Chunk(_file.Shape(name)[1])];

    private int Integer(string key) => int.Parse(_file.Metadata[key], CultureInfo.InvariantCulture);

    private double Number(string key) => double.Parse(_file.Metadata[key], CultureInfo.InvariantCulture);

    private double Number(string key, string otherwise) =>
        double.Parse(_file.Metadata.GetValueOrDefault(key, otherwise), CultureInfo.InvariantCulture);
}
