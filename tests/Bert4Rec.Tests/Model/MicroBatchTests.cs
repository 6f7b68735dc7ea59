using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Cpu;
using Bert4Rec.Model;
using Bert4Rec.Tests.Kernels;

namespace Bert4Rec.Tests.Model;

/// <summary>
/// Loss and gradients of a batch are the same, to rounding, however it is cut into micro-batches and however wide the vectors are: dropout
/// belongs to the rows of the whole batch. (That they are right is for WholeModelTests to show.)
/// </summary>
public class MicroBatchTests
{
    private static readonly ModelShape Shape = new(
        ItemCount: 37, MaximumLength: 9, HiddenSize: 24, InnerSize: 20, Layers: 2, Heads: 3, LayerNormEpsilon: 1e-12f,
        HiddenDropout: 0.2f, AttentionDropout: 0.3f);

    private static readonly int[][] Sequences = MakeSequences();

    /// <summary>Masked positions of each sequence; some have none, one has all.</summary>
    private static readonly int[][] Masked = [.. Sequences.Select((sequence, b) =>
        Enumerable.Range(0, sequence.Length).Where(position => b == 4 || (b + position) % 3 == 1).ToArray())];

    public static TheoryData<int, int[], bool> Cuts => new()
    {
        { 512, [0, 1, 12], false },
        { 512, [0, 5, 6, 12], false },
        { 512, [0, 5, 6, 12], true },
        { 512, [.. Enumerable.Range(0, 13)], false },
        { 256, [0, 12], false },
        { 256, [0, 7, 12], true },
        { 128, [0, 12], false },
        { 128, [0, 3, 4, 11, 12], true },
    };

    [Theory]
    [MemberData(nameof(Cuts))]
    public void Cuts_and_vectors_do_not_matter(int bits, int[] cuts, bool normFirst)
    {
        var layout = new ParameterLayout(Shape with { NormFirst = normFirst });
        var (expectedLoss, expected) = Run(layout, 512, [0, Sequences.Length], dropoutRows: true);
        var (loss, gradients) = Run(layout, bits, cuts, dropoutRows: true);

        Assert.InRange(loss / expectedLoss, 1 - 1e-6, 1 + 1e-6);
        foreach (var entry in layout.Entries)
        {
            var (first, end) = ((int)entry.Offset, (int)(entry.Offset + entry.Length));
            // A key's bias has a gradient of rounding alone, of terms about as large as this. Without fused multiply-adds some gradients
            // differ by 4e-6; with the dropout of other rows the loss itself differs by more than 1e-3.
            double norm = Math.Max(0.1, expected[first..end].ToMatrix(1).Norm());
            Numbers.Close(entry.Name, expected[first..end].ToMatrix(1), gradients[first..end], 1e-5, norm);
        }
    }

    /// <summary>Else the test above could not fail.</summary>
    [Fact]
    public void Dropout_matters()
    {
        var layout = new ParameterLayout(Shape);
        var (whole, _) = Run(layout, 512, [0, Sequences.Length], dropoutRows: true);
        var (cut, _) = Run(layout, 512, [0, 6, Sequences.Length], dropoutRows: false);
        Assert.NotEqual(whole, cut, whole * 1e-3);
    }

    /// <param name="layout">Of the model.</param>
    /// <param name="bits">Width of the vectors.</param>
    /// <param name="cuts">The sequences at which micro-batches begin, and the number of sequences.</param>
    /// <param name="dropoutRows">Whether a micro-batch knows which rows of the whole its rows are.</param>
    private static (double Loss, float[] Gradients) Run(ParameterLayout layout, int bits, int[] cuts, bool dropoutRows)
    {
        using var kernels = CpuKernels.Create(bits);
        using DeviceBuffer<float> parameters = kernels.AllocateFloats(layout.Length), gradients = kernels.AllocateFloats(layout.Length);
        using var loss = kernels.AllocateFloats(1);
        parameters.Upload(ParameterInitializer.Draw(layout, range: 0.3, seed: 3));
        using var model = new Bert4RecModel(kernels, layout, parameters, gradients, Sequences.Sum(sequence => sequence.Length));
        float scale = 1f / Masked.Sum(positions => positions.Length);
        for (int i = 0; i + 1 < cuts.Length; i++)
        {
            var (first, end) = (cuts[i], cuts[i + 1]);
            int[] offsets = Numbers.Offsets([.. Sequences[first..end].Select(sequence => sequence.Length)]);
            int[] tokens = [.. Sequences[first..end].SelectMany(sequence => sequence)];
            int[] rows = [.. Masked[first..end].SelectMany((positions, b) => positions.Select(position => offsets[b] + position))];
            if (rows.Length == 0)
                continue;
            int[] targets = [.. rows.Select(row => tokens[row])];
            foreach (int row in rows)
                tokens[row] = Shape.MaskToken;
            var input = new ModelInput(
                Put(tokens),
                Put([.. Sequences[first..end].SelectMany(sequence => Enumerable.Range(0, sequence.Length))]),
                Put(offsets),
                Put(rows),
                Put(Numbers.Offsets([.. Masked[first..end].Select(positions => positions.Length)])),
                dropoutRows ? (uint)Sequences[..first].Sum(sequence => sequence.Length) : 0,
                dropoutRows ? (uint)Masked[..first].Sum(positions => positions.Length) : 0);
            model.Forward(input, new RandomKey(Seed: 11, Step: 4, Stream: 0, FirstRow: 0));
            model.LossAndBackward(Put(targets), scale, Tensor.Of(loss));
        }
        return (Tensor.Of(loss).ToArray()[0], Tensor.Of(gradients).ToArray());

        Indices Put(int[] values)
        {
            var indices = Indices.Of(kernels.AllocateInts(values.Length));
            indices.Upload(values);
            return indices;
        }
    }

    private static int[][] MakeSequences()
    {
        var random = new Random(8);
        return [.. new[] { 3, 9, 1, 5, 2, 8, 4, 1, 6, 9, 2, 7 }.Select(length => random.Integers(length, 1, Shape.ItemCount))];
    }
}
