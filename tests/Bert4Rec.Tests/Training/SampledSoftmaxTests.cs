using Bert4Rec.Data;
using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Reference;
using Bert4Rec.Model;
using Bert4Rec.Tests.Kernels;
using Bert4Rec.Training;
using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Tests.Training;

/// <summary>
/// Sampled softmax: candidates whose sum has the catalogue's as its mean, steps that score them alone, and the full softmax where they are
/// the whole catalogue.
/// </summary>
public class SampledSoftmaxTests
{
    private const int Samples = 6;
    private static readonly int ItemCount = TrainerTests.Settings.Shape.ItemCount;

    [Fact]
    public void The_sum_over_the_candidates_has_the_catalogues_as_its_mean()
    {
        const int Items = 60, Draws = 40_000;
        var random = new Random(1);
        // Popular items are drawn several times a step, others in a few steps only.
        int[] counts = [0, .. Enumerable.Range(1, Items - 1).Select(rank => 500 / (rank * rank))];
        int[] events = [3, 59, 7, 3, 20];
        SequenceSpan[] batch = [new(0, 2), new(2, 3)];
        double[] exponentials = [.. random.Normal(Items, 1).Enumerate().Select(Math.Exp)];
        var candidates = new CandidateItems(8, counts, 5, 2, 3, predictsNext: false);
        double sum = 0, squares = 0;
        for (int step = 1; step <= Draws; step++)
        {
            candidates.Draw(step, events, batch);
            double estimate = 0;
            for (int place = 0; place < candidates.Count; place++)
                estimate += exponentials[candidates.Items[place]] * Math.Exp(candidates.Corrections[place]);
            sum += estimate;
            squares += estimate * estimate;
        }
        double mean = sum / Draws, error = Math.Sqrt(((squares / Draws) - (mean * mean)) / Draws), expected = exponentials.Sum();
        Assert.InRange(error / expected, 1e-6, 5e-3);
        Assert.InRange((mean - expected) / error, -4, 4);
    }

    [Fact]
    public void Candidates_are_the_batch_and_the_draws_each_once()
    {
        int[] events = [3, 59, 7, 3, 20], counts = new int[60];
        var candidates = new CandidateItems(8, counts, 5, 2, 3, predictsNext: true);
        var seen = new HashSet<int>();
        for (int step = 1; step <= 100; step++)
        {
            candidates.Draw(step, events, [new(0, 1), new(2, 2)]);
            int[] items = candidates.Items[..candidates.Count].ToArray();
            Assert.Equal(items.Distinct(), items);
            Assert.Equal([0, 3, 59, 7, 20], items[..5]);
            Assert.Equal([3, 59, 7, 3, 20], candidates.Events[..5].Select(place => items[place]));
            Assert.Equal([new SequenceSpan(0, 1), new SequenceSpan(2, 2)], candidates.Sequences.ToArray());
            Assert.InRange(candidates.Count, 6, 5 + 8);
            Assert.All(candidates.Corrections[..5].ToArray(), correction => Assert.Equal(0f, correction));
            foreach (float correction in candidates.Corrections[5..])
                Assert.Equal(-Math.Log(1 - Math.Pow(1 - (1 / 60.0), 8)), correction, 1e-6);
            seen.UnionWith(items);
        }
        Assert.Equal(60, seen.Count);
    }

    [Theory]
    [InlineData(false, true)]
    [InlineData(true, true)]
    [InlineData(true, false)]
    public void With_every_item_a_candidate_it_is_the_full_softmax(bool nextItem, bool outputHead)
    {
        var settings = (nextItem ? TrainerTests.NextItem(false, outputHead) : TrainerTests.Settings) with
        {
            ClipGradNorm = 0.5f,
            WeightDecay = 0.1f,
        };
        using TrainerTests.Run full = new(settings, 2), sampled = new(settings with { SoftmaxSamples = ItemCount }, 2);
        for (int first = 0; first + 16 <= full.Trainer.EpochSequences.Count; first += 16)
        {
            Assert.InRange(sampled.Trainer.TrainStep(first, 16) / full.Trainer.TrainStep(first, 16), 1 - 2e-6, 1 + 2e-6);
            // Of the first step they are the gradient, clipped and decayed, times 1 − β₁.
            Numbers.Close("first moments", full.FirstMoments.ToMatrix(1), sampled.FirstMoments, 1e-5);
        }
    }

    [Theory]
    [InlineData(false, true)]
    [InlineData(true, true)]
    [InlineData(true, false)]
    public void A_step_scores_its_candidates_alone(bool nextItem, bool outputHead)
    {
        var settings = Sampled(nextItem, outputHead);
        using var run = new TrainerTests.Run(settings, 2);
        for (uint step = 1; step <= 4; step++)
        {
            float[] parameters = run.Parameters;
            int[][] sequences = run.Sequences((int)step * 4, 4);
            double loss = run.Trainer.TrainStep((int)step * 4, 4);
            var candidates = run.Trainer.Candidates!;
            Assert.InRange(candidates.Count, Samples, ItemCount - 1);

            int count = candidates.Count;
            int[] items = candidates.Items[..count].ToArray();
            var shape = settings.Shape;
            var compact = new ParameterLayout(shape).Entries.ToDictionary(
                entry => entry.Name,
                entry => parameters[(int)entry.Offset..(int)(entry.Offset + entry.Length)].ToMatrix(entry.Shape[^1]));
            int[] tokens = nextItem ? items : [.. items, shape.MaskToken];
            var table = compact["item_embedding.weight"] = Embedding.GatherRowsForward(compact["item_embedding.weight"], tokens);
            var corrections = candidates.Corrections.ToArray();
            var bias = Vector<double>.Build.Dense(
                count, i => corrections[i] + (outputHead ? compact["output_bias"][0, items[i]] : 0));

            var (batch, targets) = Batch(candidates, run.Trainer, sequences, nextItem, step);
            var hidden = new ReferenceModel(compact, shape.Heads, shape.LayerNormEpsilon, shape.Causal).Predict(
                batch, new ReferenceDropout(shape.HiddenDropout, shape.AttentionDropout, settings.Seed, step));
            double expected = SoftmaxCrossEntropy.Forward(hidden, table.SubMatrix(0, count, 0, table.ColumnCount), bias, targets)
                .Losses.Average();
            Assert.InRange(loss / expected, 1 - 2e-6, 1 + 2e-6);
        }
    }

    [Theory]
    [InlineData(false, true)]
    [InlineData(true, false)]
    public void Items_that_are_no_candidates_stay_with_their_moments(bool nextItem, bool outputHead)
    {
        var settings = Sampled(nextItem, outputHead) with { WeightDecay = 0.1f };
        using var run = new TrainerTests.Run(settings, 2);
        run.Trainer.TrainStep(0, 2);
        float[] before = run.Parameters, momentsBefore = run.FirstMoments;
        run.Trainer.TrainStep(2, 2);
        float[] after = run.Parameters, moments = run.FirstMoments;
        int[] candidates = run.Trainer.Candidates!.Items[..run.Trainer.Candidates.Count].ToArray();
        int h = settings.Shape.HiddenSize, unchanged = 0;
        for (int item = 0; item < settings.Shape.TokenCount; item++)
        {
            var row = (item * h)..((item + 1) * h);
            bool steps = candidates.Contains(item) || item == settings.Shape.MaskToken;
            Assert.NotEqual(steps, before[row].SequenceEqual(after[row]));
            Assert.True(steps || momentsBefore[row].SequenceEqual(moments[row]));
            unchanged += steps || moments[row].All(moment => moment == 0) ? 0 : 1;
        }
        Assert.True(unchanged > 0, "no item had moments to keep");
        if (!outputHead)
            return;
        int bias = (int)run.Trainer.Layout["output_bias"].Offset;
        for (int item = 0; item < ItemCount; item++)
            Assert.Equal(candidates.Contains(item), before[bias + item] != after[bias + item]);
    }

    [Theory]
    [InlineData(2)]
    [InlineData(3)]
    public void Replicas_change_neither_candidates_nor_losses(int replicas)
    {
        var settings = Sampled(nextItem: true, outputHead: true) with { ClipGradNorm = 0.05f };
        using TrainerTests.Run one = new(settings, 1), many = new(settings, replicas), again = new(settings, replicas);
        for (int first = 0; first + 4 <= one.Trainer.EpochSequences.Count; first += 4)
        {
            double expected = one.Trainer.TrainStep(first, 4), actual = many.Trainer.TrainStep(first, 4);
            Assert.InRange(actual / expected, 1 - 1e-5, 1 + 1e-5);
            Assert.Equal(actual, again.Trainer.TrainStep(first, 4));
            Assert.Equal(one.Trainer.Candidates!.Items.ToArray(), many.Trainer.Candidates!.Items.ToArray());
        }
        Assert.Equal(many.Parameters, again.Parameters);
    }

    /// <summary>As TrainerTests has it of the whole catalogue: the norm is that of all parts of the gradient.</summary>
    [Fact]
    public void The_gradient_is_clipped_by_its_whole_norm()
    {
        var settings = Sampled(nextItem: false, outputHead: true);
        using TrainerTests.Run plain = new(settings, 2), clipped = new(settings with { ClipGradNorm = 0.05f }, 2);
        plain.Trainer.TrainStep(0, 4);
        clipped.Trainer.TrainStep(0, 4);
        double norm = plain.FirstMoments.ToMatrix(1).Norm() / 0.1;
        Assert.True(norm > 0.1, $"norm {norm}: clipping to 0.05 would do nothing");
        Numbers.Close("gradient", plain.FirstMoments.ToMatrix(1) * (0.05 / (norm + 1e-6)), clipped.FirstMoments, 1e-6);
    }

    [Fact]
    public void A_gradient_has_rows_for_the_candidates_only()
    {
        var shape = TrainerTests.Settings.Shape with { ItemCount = 100_000 };
        using var device = new DeviceSet("cpu", 1);
        var candidates = new CandidateItems(50, new int[shape.ItemCount], 1, 16, shape.MaximumLength, predictsNext: false);
        using var sampled = new SampledCatalogue(device.Kernels[0], shape, candidates.Capacity);
        Assert.Equal(1 + (16 * shape.MaximumLength) + 50, candidates.Capacity);
        long rows = sampled.Layout.Length - new ParameterLayout(shape with { ItemCount = 0 }).Length;
        Assert.Equal(candidates.Capacity * (shape.HiddenSize + 1L), rows);
    }

    /// <summary>A shape that the simulator does in seconds.</summary>
    public static TheoryData<string, bool> Gpus()
    {
        var data = new TheoryData<string, bool>();
        foreach (string name in Backends.Gpus)
        {
            data.Add(name, false);
            data.Add(name, true);
        }
        return data;
    }

    [Theory]
    [MemberData(nameof(Gpus))]
    public void A_gpu_steps_like_the_cpu(string name, bool nextItem)
    {
        var settings = Sampled(nextItem, outputHead: true) with { BatchSize = 2, ClipGradNorm = 1, WeightDecay = 0.01f };
        settings = settings with { Shape = settings.Shape with { HiddenSize = 8, InnerSize = 8, Layers = 1 } };
        using TrainerTests.Run cpu = new(settings, 1), gpu = new(settings, 1, name);
        for (int first = 0; first < 4; first += 2)
            Assert.InRange(gpu.Trainer.TrainStep(first, 2, 2) / cpu.Trainer.TrainStep(first, 2, 2), 1 - 1e-4, 1 + 1e-4);
        Numbers.Close("first moments", cpu.FirstMoments.ToMatrix(1), gpu.FirstMoments, 1e-3);
        Numbers.Close("second moments", cpu.SecondMoments.ToMatrix(1), gpu.SecondMoments, 1e-3);
    }

    private static TrainerSettings Sampled(bool nextItem, bool outputHead)
    {
        var settings = nextItem ? TrainerTests.NextItem(false, outputHead) : TrainerTests.Settings;
        return settings with { BatchSize = 4, SoftmaxSamples = Samples };
    }

    /// <summary>The step's batch under compact ids.</summary>
    private static (ReferenceBatch Batch, int[] Targets) Batch(
        CandidateItems candidates, Trainer trainer, int[][] sequences, bool nextItem, uint step)
    {
        int[] offsets = Numbers.Offsets([.. sequences.Select(sequence => sequence.Length)]);
        int[] positions = [.. sequences.SelectMany(sequence => Enumerable.Range(0, sequence.Length))];
        SequenceSpan[] spans = candidates.Sequences.ToArray();
        int[] tokens = [.. spans.SelectMany(span => candidates.Events[span.Start..(span.Start + span.Length)])];
        if (nextItem)
        {
            return (
                new(tokens, positions, offsets, [.. Enumerable.Range(0, tokens.Length)], offsets),
                [.. spans.SelectMany(span => candidates.Events[(span.Start + 1)..(span.Start + 1 + span.Length)])]);
        }
        var masking = trainer.Masking((int)step);
        Assert.Equal(candidates.Count, masking.MaskToken);
        var (masked, rows, targets, rowOffsets) = ClozeMask.Draw(tokens, offsets, masking);
        return (new(masked, positions, offsets, rows, rowOffsets), targets);
    }
}
